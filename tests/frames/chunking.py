"""Cut bytes into pieces as a transport might: whole, byte by byte, or wherever hypothesis chooses."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from hypothesis import strategies as st

__all__ = ["cuttings", "each_cutting", "fed"]

Item = TypeVar("Item")


def fed(feed: Callable[[bytes], Sequence[Item]], chunks: Sequence[bytes]) -> list[Item]:
    """Return all that feeding these chunks one by one yields."""
    return [item for chunk in chunks for item in feed(chunk)]


def each_cutting(data: bytes) -> list[list[bytes]]:
    """Return ``data`` whole, byte by byte, in two pieces at every place, and with empty reads in between."""
    two = [[data[:at], data[at:]] for at in range(min(len(data), 200) + 1)]
    return [[data], [data[at : at + 1] for at in range(len(data))], [b"", data, b""], *two]


@st.composite
def cuttings(draw: st.DrawFn, source: st.SearchStrategy[bytes]) -> tuple[bytes, list[bytes]]:
    """Draw bytes and one way to cut them."""
    data = draw(source)
    places = sorted(draw(st.lists(st.integers(0, len(data)), max_size=12)))
    ends = [*places, len(data)]
    return data, [data[begin:end] for begin, end in zip([0, *places], ends, strict=True)]
