"""Own stdio as a listener: one client, who is there already."""

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
        """Yield it, and no other until the end."""
        yield self._stdio
        await self._is_closed.wait()

    async def aclose(self) -> None:
        """Yield no more; the endpoint that was yielded lives on."""
        self._is_closed.set()
