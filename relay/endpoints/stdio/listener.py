"""A listener over the relay's own stdin and stdout; its one client is already connected."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from relay.endpoints.stdio.own_stdio import OwnStdio

__all__ = ["StdioListener"]


class StdioListener:
    """Yields this process's stdin and stdout, once."""

    url = "stdio:"

    def __init__(self, stdio: OwnStdio) -> None:
        """Offer ``stdio``."""
        self._stdio = stdio
        self._is_closed = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[OwnStdio]:
        """Yield the endpoint once; then wait until the listener closes."""
        yield self._stdio
        await self._is_closed.wait()

    async def aclose(self) -> None:
        """End the iteration; the endpoint that it yielded stays open."""
        self._is_closed.set()
