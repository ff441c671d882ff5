"""What a session of each revision may do."""

from __future__ import annotations

import pytest

from relay.mcp import revisions


@pytest.mark.parametrize(
    ("version", "has_batches", "has_priming"),
    [
        (None, True, False),
        ("2024-11-05", False, False),
        ("2025-03-26", True, False),
        ("2025-06-18", False, False),
        ("2025-11-25", False, True),
    ],
)
def test_what_a_version_has(version: str | None, has_batches: bool, has_priming: bool) -> None:
    """Batches are of 2025-03-26 alone, priming events begin with 2025-11-25."""
    assert revisions.has_batches(version) is has_batches
    assert revisions.has_priming(version) is has_priming
    assert version is None or version in revisions.LEGACY_VERSIONS
