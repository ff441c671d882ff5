"""Give way to other clients between two steps over a large frame: each takes as long as some calls of theirs."""

from __future__ import annotations

import asyncio

from relay.frames.frame import Frame

__all__ = ["BREATH", "LARGE", "let_others_go_on", "read_in_turn"]

LARGE = 4 * 2**20
"""Bytes of a frame that it takes 10 ms and more to go over."""
BREATH = 0.002
"""Seconds in which a call of another client comes and goes."""


async def let_others_go_on(frame: Frame | bytes) -> None:
    """Do nothing for a moment if a frame, or what may become one, is large: more is about to be done with it."""
    if len(frame if isinstance(frame, bytes) else frame.raw) > LARGE:
        await asyncio.sleep(BREATH)


async def read_in_turn(frame: Frame) -> None:
    """Read the head of a large frame in a turn of its own; of a small one do nothing."""
    if len(frame.raw) > LARGE:
        await asyncio.sleep(BREATH)
        assert frame.head is not None, "read"
        await asyncio.sleep(BREATH)
