"""Let other clients run between two steps over a large frame, each of which takes as long as several calls."""

from __future__ import annotations

import asyncio

from relay.frames.frame import Frame

__all__ = ["LARGE", "breath", "let_others_go_on", "read_in_turn"]

LARGE = 4 * 2**20
"""Bytes of a frame that takes 10 ms or more to scan."""
_BREATH = 0.002  # seconds, enough for a call of another client
_BREATH_PER_BYTE = 3e-10  # more calls wait after a longer step: 16 MiB take 50 ms, and then pause for 5 ms


def breath(size: int) -> float:
    """Return the pause in seconds between two steps over ``size`` bytes."""
    return max(_BREATH, size * _BREATH_PER_BYTE)


async def let_others_go_on(frame: Frame | bytes) -> None:
    """Pause briefly if a frame, or the bytes of one, is large, before the next step over it."""
    size = len(frame) if isinstance(frame, bytes) else frame.size
    if size > LARGE:
        await asyncio.sleep(breath(size))


async def read_in_turn(frame: Frame) -> None:
    """Read the head of a large frame in turns of its own; do nothing for a small frame."""
    if frame.size > LARGE:
        await let_others_go_on(frame)
        for _ in frame.steps():
            await let_others_go_on(frame)
        await let_others_go_on(frame)
