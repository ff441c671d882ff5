"""A test's peer on a raw socket: the far end of a TCP connection or a Unix socket."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Sequence

from relay.frames.frame import Frame
from relay.frames.ndjson import LineSplitter, encode_lines

__all__ = ["SocketFar", "StreamFar"]


def frames_in(splitter: LineSplitter, data: bytes) -> list[Frame]:
    """Return the frames that these bytes complete."""
    pieces = splitter.feed(data)
    return [piece for piece in pieces if isinstance(piece, Frame)]


class SocketFar:
    """Speaks lines over a plain socket, and reads only when the test does."""

    def __init__(self, sock: socket.socket) -> None:
        """Take over a connected socket."""
        sock.setblocking(False)
        self.sock = sock
        self._splitter = LineSplitter(256 * 2**20)
        self._loop = asyncio.get_running_loop()

    async def receive(self) -> Sequence[Frame]:
        while data := await self._loop.sock_recv(self.sock, 65536):
            if frames := frames_in(self._splitter, data):
                return frames
        return ()

    async def receive_bytes(self) -> bytes:
        """Read to the end; a reset is one."""
        data = b""
        try:
            while piece := await self._loop.sock_recv(self.sock, 65536):
                data += piece
        except ConnectionError:
            pass
        return data

    async def send(self, frames: Sequence[Frame]) -> None:
        await self.send_bytes(encode_lines(frames))

    async def send_bytes(self, data: bytes) -> None:
        await self._loop.sock_sendall(self.sock, data)

    async def send_eof(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    async def vanish(self) -> None:
        self.sock.close()

    def reset(self) -> None:
        """Go with a RST, as a machine does that was switched off and on again."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class StreamFar:
    """Speaks lines over asyncio's streams: TLS, where the loop must help."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Take over a connection."""
        self._reader = reader
        self._writer = writer
        self._splitter = LineSplitter(256 * 2**20)

    async def receive(self) -> Sequence[Frame]:
        while data := await self._reader.read(65536):
            if frames := frames_in(self._splitter, data):
                return frames
        return ()

    async def send(self, frames: Sequence[Frame]) -> None:
        self._writer.write(encode_lines(frames))
        await self._writer.drain()

    async def send_eof(self) -> None:
        self._writer.close()

    async def vanish(self) -> None:
        self._writer.transport.abort()
