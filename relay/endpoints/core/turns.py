"""Give way to other clients between two steps over a large frame: each takes as long as some calls of theirs."""

from __future__ import annotations

import asyncio

from relay.frames.frame import Frame

__all__ = ["LARGE", "let_others_go_on"]

LARGE = 4 * 2**20
"""Bytes of a frame that it takes 10 ms and more to go over."""
_BREATH = 0.002  # seconds in which a call of another client comes and goes


async def let_others_go_on(frame: Frame) -> None:
    """Do nothing for a moment if the frame is large: more is about to be done with it."""
    if len(frame.raw) > LARGE:
        await asyncio.sleep(_BREATH)
