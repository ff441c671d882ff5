"""The stderr of children, as named lines on ours."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence

from relay.app.log.printable import printable_bytes
from relay.app.log.stderr import StderrSink
from relay.app.secrets.text import mask_secrets, start_of

__all__ = ["ChildStderr"]

_CHILD_RATE = 256 * 1024  # bytes a second that are shown: a flood of lines must not slow the relay
_CHILD_LINES = 4096  # lines a second: an empty one costs as much as 300 bytes
_LONGEST_LINE = 8192


class ChildStderr(asyncio.Protocol):
    """One pipe into which all children of a server write their stderr; its lines go to ours, named and escaped."""

    def __init__(self, name: str, sink: StderrSink, secrets: Sequence[str] = ()) -> None:
        """Show lines as ``[name] line``; call ``open`` before ``fd`` is used."""
        self._name = name
        self._sink = sink
        self._secrets = secrets
        self._as_bytes = [secret.encode("utf-8", "surrogateescape") for secret in secrets]
        self._rest = b""
        self._budget, self._lines = _CHILD_RATE, _CHILD_LINES
        self._refilled = 0.0
        self._dropped = 0
        self._is_amid_dropped = False
        self._transport: asyncio.BaseTransport | None = None
        self.fd = -1
        """The write end, for children."""

    async def open(self) -> None:
        """Make the pipe and read it."""
        read_end, self.fd = os.pipe()
        pipe = os.fdopen(read_end, "rb", buffering=0)
        self._transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: self, pipe)

    def data_received(self, data: bytes) -> None:
        """Show the lines that fit the rate; read and drop the rest, so that a flooding child does not block."""
        self._refill()
        if self._is_amid_dropped:  # the second half of a line might show half a secret
            end = data.find(b"\n") + 1 or len(data)
            self._drop(data[:end])
            data = data[end:]
        fits = data[: self._budget]
        self._budget -= len(fits)
        *lines, self._rest = (self._rest + fits).split(b"\n", self._lines)
        if len(fits) < len(data) or b"\n" in self._rest:
            self._drop(self._rest + data[len(fits) :])
            self._rest = b""
        while len(self._rest) > _LONGEST_LINE:
            piece = self._start_of(self._rest)
            lines.append(piece)
            self._rest = self._rest[len(piece) :]
        self._lines -= min(len(lines), self._lines)
        if lines:
            self._sink.write(b"".join(map(self._shown, lines)))

    def _refill(self) -> None:
        now = time.monotonic()
        if now - self._refilled >= 1:
            self._refilled, self._budget, self._lines = now, _CHILD_RATE, _CHILD_LINES
            self._say_dropped()

    def _drop(self, data: bytes) -> None:
        if data:
            self._dropped += len(data)
            self._is_amid_dropped = not data.endswith(b"\n")

    def _say_dropped(self) -> None:
        dropped, self._dropped = self._dropped, 0
        if dropped:
            self._sink.write(f"[{self._name}] … {dropped} bytes of stderr dropped\n".encode())

    def take_noise(self, line: bytes) -> None:
        """Show a line of a child's stdout that is not a message, if the rate allows it."""
        self._refill()
        size = min(len(line), _LONGEST_LINE)
        if self._lines <= 0 or size > self._budget:
            self._dropped += len(line)
            return
        self._lines -= 1
        self._budget -= size
        self.show(line)

    def show(self, line: bytes) -> None:
        """Show one line of a child."""
        self._sink.write(self._shown(line))

    def _shown(self, line: bytes) -> bytes:
        if not line:
            return f"[{self._name}] \n".encode()
        text = mask_secrets(printable_bytes(self._start_of(line).rstrip(b"\r")), self._secrets)
        return f"[{self._name}] {text}\n".encode("utf-8", "backslashreplace")

    def _start_of(self, line: bytes) -> bytes:
        return start_of(line, self._as_bytes, _LONGEST_LINE)

    def close(self) -> None:
        """Show the text that children have written so far, then close both ends."""
        if self._rest:
            self.show(self._rest)
        self._say_dropped()
        if self._transport is not None:
            self._transport.close()
            os.close(self.fd)
