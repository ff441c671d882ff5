"""The far end of an endpoint with lines: a test's peer over two file descriptors."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable, Sequence

from relay.endpoints.core.byte_stream import FrameReader, FrameWriter
from relay.frames.frame import Frame
from relay.limits import Limits

__all__ = ["ByteFar"]


class ByteFar:
    """Reads frames from one descriptor and writes them to another."""

    def __init__(self, limits: Limits, on_vanish: Callable[[], None] | None = None) -> None:
        """Use ``ByteFar.open``."""
        # What the relay refuses, the test must be able to send.
        self._reader = FrameReader("far", Limits(max_frame_bytes=2 * limits.max_frame_bytes, buffer_high=64 * 1024))
        self._writer = FrameWriter("far", limits)
        self._on_vanish = on_vanish
        self._reading: asyncio.ReadTransport | None = None

    @classmethod
    async def open(
        cls, read_fd: int, write_fd: int, limits: Limits, on_vanish: Callable[[], None] | None = None
    ) -> ByteFar:
        """Take over both descriptors."""
        far = cls(limits, on_vanish)
        loop = asyncio.get_running_loop()
        far._reading, _ = await loop.connect_read_pipe(lambda: far._reader, os.fdopen(read_fd, "rb", buffering=0))
        await loop.connect_write_pipe(lambda: far._writer, os.fdopen(write_fd, "wb", buffering=0))
        far._reader.pause()  # like a program that reads when it wants to
        return far

    async def receive(self) -> Sequence[Frame]:
        """Read on until at least one frame has come."""
        self._reader.resume()
        try:
            return await self._reader.inbox.receive()
        finally:
            self._reader.pause()

    async def send(self, frames: Sequence[Frame]) -> None:
        """Write frames as lines."""
        await self._writer.send(frames)

    async def send_eof(self) -> None:
        """Close the writing descriptor."""
        self._writer.send_eof()

    async def vanish(self) -> None:
        """Close both at once, or do what the test says."""
        if self._on_vanish is not None:
            with contextlib.suppress(ProcessLookupError):
                self._on_vanish()
        self._writer.abort()
        if self._reading is not None:
            self._reading.close()
