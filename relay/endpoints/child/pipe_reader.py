"""Read a child's pipe into one buffer, which all readers of a thread share.

An event loop makes a ``bytes`` object of each read, and reads again at once if that read was full. Both are slow here.
The loop copies a large frame twice more, and its second read waits while the child writes, because a pipe has one
lock. A result of 1 MB takes 0.34 ms of the relay's time this way, and 0.62 ms with uvloop.
"""

from __future__ import annotations

import asyncio
import os
import threading
from typing import IO

from relay.endpoints.core.byte_stream import FrameReader

__all__ = ["READ_SIZE", "PipeReader"]

READ_SIZE = 256 * 1024
"""Bytes for one read, and for a widened pipe; 128 KiB and 512 KiB are slower."""
_SMALL = 16 * 1024  # bytes; copying fewer costs less than a view of them

_of_thread = threading.local()  # a read releases the interpreter's lock, so two threads must not share a buffer


class PipeReader(asyncio.ReadTransport):
    """The transport of a pipe's reading end, which passes everything it reads to a reader."""

    def __init__(self, pipe: IO[bytes], reader: FrameReader) -> None:
        """Take ownership of ``pipe`` and read from it in the running loop."""
        super().__init__({"pipe": pipe})
        self._loop = asyncio.get_running_loop()
        self._pipe = pipe
        self._descriptor = pipe.fileno()
        self._reader = reader
        self._is_closing = False
        self._is_paused = False
        if not hasattr(_of_thread, "buffer"):
            _of_thread.buffer = bytearray(READ_SIZE)
        self._buffer: bytearray = _of_thread.buffer
        self._buffers = [self._buffer]
        os.set_blocking(self._descriptor, False)
        reader.connection_made(self)
        self._loop.add_reader(self._descriptor, self._read)

    def _read(self) -> None:
        try:
            size = os.readv(self._descriptor, self._buffers)
        except (BlockingIOError, InterruptedError):
            return
        except OSError as exc:
            self._end(exc)
            return
        if size > _SMALL:
            self._reader.buffer_read(self._buffer, size)
        elif size:
            self._reader.data_received(bytes(memoryview(self._buffer)[:size]))
        else:
            self._reader.eof_received()
            self._end(None)

    def pause_reading(self) -> None:
        """Stop reading and leave the data in the pipe."""
        if not self._is_closing and not self._is_paused:
            self._is_paused = True
            self._loop.remove_reader(self._descriptor)

    def resume_reading(self) -> None:
        """Start reading again."""
        if not self._is_closing and self._is_paused:
            self._is_paused = False
            self._loop.add_reader(self._descriptor, self._read)

    def is_closing(self) -> bool:
        """Tell whether the transport has stopped reading for good."""
        return self._is_closing

    def close(self) -> None:
        """Stop reading; the loop calls the reader's ``connection_lost`` in its next turn."""
        self._end(None)

    def _end(self, exc: Exception | None) -> None:
        if not self._is_closing:
            self._is_closing = True
            self._loop.remove_reader(self._descriptor)
            self._loop.call_soon(self._lost, exc)

    def _lost(self, exc: Exception | None) -> None:
        try:
            self._reader.connection_lost(exc)
        finally:
            self._pipe.close()
