"""Timers that a test fires itself, because a busy machine may lose a tenth of a second between two lines."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["HeldTimers", "held_timers"]

_NEVER = 3600.0


class HeldTimers:
    """What the loop was asked to do after one certain delay, and has not done."""

    def __init__(self) -> None:
        """Begin with none."""
        self._held: list[tuple[asyncio.TimerHandle, Callable[[], object]]] = []

    def hold(self, handle: asyncio.TimerHandle, call: Callable[[], object]) -> None:
        """Keep one."""
        self._held.append((handle, call))

    def __len__(self) -> int:
        return sum(not handle.cancelled() for handle, _ in self._held)

    def go_off(self) -> None:
        """Do all of it now, but what has been cancelled."""
        held, self._held = self._held, []
        for handle, call in held:
            if not handle.cancelled():
                handle.cancel()
                call()


@contextlib.contextmanager
def held_timers(delay: float) -> Iterator[HeldTimers]:
    """Hold every timer of the running loop that asks for exactly this delay; no other is touched."""
    loop: Any = asyncio.get_running_loop()
    call_later = loop.call_later
    timers = HeldTimers()

    def hold(seconds: float, callback: Callable[..., object], *args: object, **kwargs: Any) -> asyncio.TimerHandle:
        is_held = seconds == delay
        handle: asyncio.TimerHandle = call_later(_NEVER if is_held else seconds, callback, *args, **kwargs)
        if is_held:
            timers.hold(handle, lambda: callback(*args))
        return handle

    loop.call_later = hold
    try:
        yield timers
    finally:
        del loop.call_later
