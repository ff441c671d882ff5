"""What the relay says to its operator: lines on stderr, never a secret, never a wait.

stderr may be a pipe that nobody reads; a blocked log line would stop every client. So lines go through a bounded
buffer to a thread that writes them, and what does not fit is dropped and counted. Children's stderr goes the same way.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence

from relay.app.log.secret_text import mask_secrets, printable, printable_bytes, start_of
from relay.endpoints.base import Endpoint
from relay.frames import replies
from relay.frames.frame import Frame
from relay.pipe import Observer

__all__ = [
    "ChildStderr",
    "FrameLog",
    "ReachLog",
    "StderrSink",
    "frame_log",
    "mask_also",
    "mask_secrets",
    "say",
    "set_up_logging",
]

logger = logging.getLogger("relay")

_MAX_BUFFERED = 1024 * 1024
_CHILD_RATE = 256 * 1024  # bytes a second of what children say that are shown: a flood costs nothing but itself
_CHILD_LINES = 4096  # lines a second of it: an empty one costs as much as 300 bytes
_LONGEST_LINE = 8192
_LONGEST_RECORD = 32 * 1024  # characters: what a peer says may be in it
_SHOWN_FRAME = 2048


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
        """Write the data soon, or drop it if 1 MiB waits already."""
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


class _Handler(logging.Handler):
    def __init__(self, sink: StderrSink) -> None:
        super().__init__()
        self._sink = sink

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._sink.write(printable(self.format(record)).encode("utf-8", "backslashreplace") + b"\n")
        except Exception:
            self.handleError(record)


class _Masking(logging.Formatter):
    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S")
        self._secrets = sorted(set(secrets), key=len, reverse=True)

    def add(self, secrets: Iterable[str]) -> None:
        self._secrets = sorted({*self._secrets, *secrets}, key=len, reverse=True)

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        start = start_of(text, self._secrets, _LONGEST_RECORD)
        return mask_secrets(start, self._secrets) + _more(len(start), len(text), "characters")


def _more(shown: int, size: int, unit: str) -> str:
    return f"… ({size} {unit})" if shown < size else ""


def set_up_logging(level: int, secrets: Iterable[str], sink: StderrSink) -> None:
    """Send the program's log to ``sink``, at ``level`` and above, with these secrets masked."""
    handler = _Handler(sink)
    handler.setFormatter(_Masking(secret for secret in secrets if len(secret) >= 4))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # asyncio's debug lines would drown ours.
    logging.getLogger("asyncio").setLevel(max(level, logging.WARNING))


def mask_also(secrets: Iterable[str]) -> None:
    """Mask these secrets, too: a file that is read again may name new ones."""
    found = [secret for secret in secrets if len(secret) >= 4]
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, _Masking):
            handler.formatter.add(found)


class FrameLog(Observer):
    """A pipe's observer: every frame as an arrow in the debug log."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        """Cut no frame in the middle of one of ``secrets``: half of one would not be masked."""
        self._secrets = [secret.encode("utf-8", "surrogateescape") for secret in secrets]

    def frames_forwarded(self, source: Endpoint, sink: Endpoint, frames: Sequence[Frame]) -> None:
        """Log the frames, each cut to 2 KiB."""
        self.show(source.name, sink.name, frames)

    def show(self, source: str, sink: str, frames: Sequence[Frame]) -> None:
        """Log frames that go from one to another."""
        if not logger.isEnabledFor(logging.DEBUG):
            return
        for frame in frames:
            start = start_of(frame.raw, self._secrets, _SHOWN_FRAME)
            text = start.decode("utf-8", "backslashreplace") + _more(len(start), len(frame.raw), "bytes")
            logger.debug("%s > %s: %s", source, sink, text)


def frame_log(secrets: Sequence[str]) -> FrameLog | None:
    """Return an observer that logs every frame, if that is wanted."""
    return FrameLog(secrets) if logger.isEnabledFor(logging.DEBUG) else None


class ReachLog(Observer):
    """A pipe's observer: says once for each cause that a server cannot be reached, and notes whether it ever was."""

    def __init__(self, server: Endpoint, then: Observer | None = None) -> None:
        """Look at what comes from ``server``; tell ``then`` of every frame, too."""
        self._server = server
        self._then = then
        self._causes: set[str] = set()
        self._was_reached = False

    @property
    def is_unreached(self) -> bool:
        """Whether requests came and the server has answered none of them, because there was no way to it."""
        return bool(self._causes) and not self._was_reached

    def frames_forwarded(self, source: Endpoint, sink: Endpoint, frames: Sequence[Frame]) -> None:
        """Look for the errors that stand in for answers of a server that could not be asked."""
        if self._then is not None:
            self._then.frames_forwarded(source, sink, frames)
        if source is not self._server:
            return
        for frame in frames:
            fault = replies.fault_of(frame)
            if fault is None or not fault.is_undelivered:
                if self._causes or not self._was_reached:  # asked for every frame: no more than this
                    self._was_reached = True
                    self._causes.clear()  # when it is lost again, that is news
            elif fault.message not in self._causes and len(self._causes) < 64:
                self._causes.add(fault.message)
                logger.warning("%s", fault.message)


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
        """Show what fits the rate; the rest is read and dropped, so that a flooding child does not block."""
        self._refill()
        if self._is_amid_dropped:  # half a line, from its middle on, might show half a secret
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
        """Show a line of a child's stdout that is no message, if the rate admits it."""
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
        """Close both ends; what children have written is shown first, as far as it has come."""
        if self._rest:
            self.show(self._rest)
        self._say_dropped()
        if self._transport is not None:
            self._transport.close()
            os.close(self.fd)


def say(sink: StderrSink, message: str) -> None:
    """Tell the operator one line, whatever the log level; what looks like a secret in a URL is masked."""
    sink.write(f"mcp-relay: {printable(mask_secrets(message, ()))}\n".encode("utf-8", "backslashreplace"))
    sink.flush()
