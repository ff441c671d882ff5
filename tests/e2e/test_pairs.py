"""Any listener before any target: nothing lost, doubled, reordered or astray."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from tests.e2e.pairs import LISTENERS, TARGETS, far_end, run_pairs


@pytest.mark.async_timeout(100)
@pytest.mark.only_loop("uvloop")
@pytest.mark.parametrize("target", TARGETS)
async def test_every_listener_before(target: str) -> None:
    """8 clients with the same ids, 1,000 calls a pair: progress, requests of the server, cancelling, idle, 16 MiB."""
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are too deep for the path of a socket
        async with far_end(Path(folder)) as far:
            rows = await run_pairs(target, Path(folder), far, 1000)
    assert [row.listener for row in rows] == list(LISTENERS)
    for row in rows:
        assert not row.faults, row
        assert row.answered >= 1000
