"""Give way to other clients between two steps over a large frame: each takes as long as some calls of theirs."""

from __future__ import annotations

import asyncio

from relay.frames.frame import Frame

__all__ = ["LARGE", "breath", "let_others_go_on", "read_in_turn"]

LARGE = 4 * 2**20
"""Bytes of a frame that it takes 10 ms and more to go over."""
_BREATH = 0.002  # seconds in which a call of another client comes and goes
_BREATH_PER_BYTE = 3e-10  # after 50 ms, which 16 MiB take, there is more that has waited: 5 ms


def breath(size: int) -> float:
    """Return for how many seconds others go on between two steps over so many bytes."""
    return max(_BREATH, size * _BREATH_PER_BYTE)


async def let_others_go_on(frame: Frame | bytes) -> None:
    """Do nothing for a moment if a frame, or what may become one, is large: more is about to be done with it."""
    size = len(frame if isinstance(frame, bytes) else frame.raw)
    if size > LARGE:
        await asyncio.sleep(breath(size))


async def read_in_turn(frame: Frame) -> None:
    """Read the head of a large frame in a turn of its own; of a small one do nothing."""
    if len(frame.raw) > LARGE:
        await let_others_go_on(frame)
        assert frame.head is not None, "read"
        await let_others_go_on(frame)
