"""A WebSocket peer over the ``websockets`` library, as a client or a server."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Sequence

import websockets.asyncio.connection
import websockets.exceptions

from relay.frames.frame import Frame

__all__ = ["LibraryFar"]


class LibraryFar:
    """A peer in the hands of the ``websockets`` library."""

    def __init__(self, connection: websockets.asyncio.connection.Connection) -> None:
        """Take over a connection."""
        self.connection = connection

    async def receive(self) -> Sequence[Frame]:
        try:
            return (Frame(await self.connection.recv(decode=False)),)
        except websockets.exceptions.ConnectionClosed:
            return ()

    async def send(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            await self.connection.send(frame.raw, text=True)

    async def send_eof(self) -> None:
        """Close with 1000: there is no half-close."""
        await asyncio.wait([asyncio.get_running_loop().create_task(self.connection.close())], timeout=5)

    async def vanish(self) -> None:
        self.connection.transport.abort()
        with contextlib.suppress(websockets.exceptions.ConnectionClosed):
            await self.connection.wait_closed()
