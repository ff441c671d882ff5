"""Which secrets messages mask."""

from __future__ import annotations

from relay.auth.maskable import maskable


def test_short_ones_are_not_masked_and_long_ones_come_first() -> None:
    """Three characters are ordinary text; what is part of another is masked after it; each counts once."""
    assert maskable(["abc", "abcd", "1234", "abcdef", "abcd", ""]) == ["abcdef", "abcd", "1234"]
