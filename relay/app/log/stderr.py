"""Lines on stderr that never make the relay wait.

stderr may be a pipe that nobody reads, and a blocked log line would stop every client. So lines go through a bounded
buffer to a thread that writes them. Lines that do not fit are dropped and counted. Children's stderr goes the same way.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque

from relay.app.log.printable import printable
from relay.app.secrets.text import mask_secrets

__all__ = ["StderrSink", "say"]

_MAX_BUFFERED = 1024 * 1024


class StderrSink:
    """Writes to stderr from a thread of its own; ``write`` never waits."""

    def __init__(self, fd: int = 2) -> None:
        """Write to ``fd``; the thread starts with the first line."""
        self._fd = fd
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._dropped = 0
        self._news = threading.Condition()
        self._thread: threading.Thread | None = None
        self._busy = False

    def write(self, data: bytes) -> None:
        """Queue the data for writing, or drop it if 1 MiB waits already."""
        with self._news:
            if self._size + len(data) > _MAX_BUFFERED:
                self._dropped += len(data)
                return
            self._waiting.append(data)
            self._size += len(data)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="stderr", daemon=True)
                self._thread.start()
            self._news.notify()

    def flush(self, seconds: float = 1.0) -> None:
        """Wait until everything is written, for at most ``seconds``."""
        until = time.monotonic() + seconds
        with self._news:
            while (self._waiting or self._busy) and (left := until - time.monotonic()) > 0:
                self._news.wait(min(left, 0.05))

    def _run(self) -> None:
        while True:
            with self._news:
                self._busy = False
                self._news.notify_all()
                while not self._waiting:
                    self._news.wait()
                data = b"".join(self._waiting)
                self._waiting.clear()
                self._size = 0
                dropped, self._dropped = self._dropped, 0
                self._busy = True
            if dropped:
                data += f"mcp-relay: {dropped} bytes of log dropped: stderr was not read\n".encode()
            with contextlib.suppress(OSError):
                while data:
                    data = data[os.write(self._fd, data) :]


def say(sink: StderrSink, message: str) -> None:
    """Print one line for the operator at any log level, with secrets in URLs masked."""
    sink.write(f"mcp-relay: {printable(mask_secrets(message, ()))}\n".encode("utf-8", "backslashreplace"))
    sink.flush()
