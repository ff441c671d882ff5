"""An event that takes memory for those who wait once somebody does: of 700 bytes, which a session has six times."""

from __future__ import annotations

import asyncio

__all__ = ["SmallEvent"]


class SmallEvent:
    """What ``asyncio.Event`` is, for one loop."""

    __slots__ = ("_event", "_is_set")

    def __init__(self) -> None:
        """Start unset."""
        self._is_set = False
        self._event: asyncio.Event | None = None

    def is_set(self) -> bool:
        """Tell whether it is set."""
        return self._is_set

    def set(self) -> None:
        """Let go on who waits, and who comes until it is cleared."""
        self._is_set = True
        if self._event is not None:
            self._event.set()

    def clear(self) -> None:
        """Let wait who comes from now on."""
        self._is_set = False
        if self._event is not None:
            self._event.clear()

    async def wait(self) -> None:
        """Return once it is set."""
        if self._is_set:
            return
        if self._event is None:
            self._event = asyncio.Event()
        await self._event.wait()
