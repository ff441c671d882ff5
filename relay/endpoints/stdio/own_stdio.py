"""An endpoint over this process's own stdin and stdout, for an MCP client that launched the relay.

The event loop reads and writes pipes and sockets. It cannot poll regular files (``mcp-relay URL < file``) and Windows
consoles, and it must not make a terminal non-blocking under its other users. A thread reads or writes those.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import queue
import stat
import threading
from collections.abc import Callable, Sequence
from time import monotonic
from typing import Any

from relay.endpoints.base import Taker
from relay.endpoints.core.byte_stream import FrameReader, FrameWriter
from relay.endpoints.core.open_requests import OpenRequests, ended_by
from relay.endpoints.core.pipes import widen_pipe
from relay.endpoints.core.small_event import SmallEvent
from relay.errors import EndpointBroken, EndpointClosed, RelayError
from relay.frames import replies
from relay.frames.faults import size_fault
from relay.frames.frame import Frame
from relay.frames.head import Head, Kind
from relay.frames.lines import Oversized
from relay.frames.ndjson import encode_lines
from relay.limits import DEFAULT_LIMITS, Limits

__all__ = ["OwnStdio"]

_READ_SIZE = 256 * 1024


def _is_pollable(fd: int) -> bool:
    if os.name != "posix":
        return False
    mode = os.fstat(fd).st_mode
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _take_stdout() -> int:
    """Return stdout under another descriptor and put the null device in its place.

    stdout carries the protocol. The null device swallows whatever a library prints from now on, and the client sees
    an end when we close our descriptor.
    """
    ours = os.dup(1)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
    return ours


class OwnStdio:
    """The stdin and stdout of this process, made by ``OwnStdio.open``; no other code may write to that stdout."""

    name = "stdio"

    def __init__(self, limits: Limits) -> None:
        """Use ``OwnStdio.open``."""
        self._limits = limits
        self._reader = FrameReader(self.name, limits, on_oversized=self._refuse_oversized)
        self._read_transport: asyncio.ReadTransport | None = None
        self._thread: _ReadingThread | None = None
        self._writer: FrameWriter | _WritingThread
        self.ledger = OpenRequests(self.name, limits, self._give, forwards_unknown=True)
        """The client's requests that wait for an answer."""
        self.last_used = monotonic()
        """The time of the client's last write, by the monotonic clock."""
        self._closed = False

    @classmethod
    async def open(
        cls, *, limits: Limits = DEFAULT_LIMITS, stdin: int | None = None, stdout: int | None = None
    ) -> OwnStdio:
        """Take over the process's stdin and stdout, or the two file descriptors given."""
        self = cls(limits)
        await self._open_stdout(_take_stdout() if stdout is None else os.dup(stdout))
        await self._open_stdin(os.dup(0 if stdin is None else stdin))
        return self

    async def _open_stdin(self, fd: int) -> None:
        if _is_pollable(fd):
            widen_pipe(fd)
            loop = asyncio.get_running_loop()
            pipe = os.fdopen(fd, "rb", buffering=0)
            self._read_transport, _ = await loop.connect_read_pipe(lambda: self._reader, pipe)
        else:
            self._thread = _ReadingThread(fd, self._reader)
            self._reader.connection_made(self._thread)
            self._thread.start()

    async def _open_stdout(self, fd: int) -> None:
        if _is_pollable(fd):
            widen_pipe(fd)
            writer = FrameWriter(self.name, self._limits)
            pipe = os.fdopen(fd, "wb", buffering=0)
            await asyncio.get_running_loop().connect_write_pipe(lambda: writer, pipe)
            self._writer = writer
        else:
            self._writer = _WritingThread(self.name, fd, self._limits)

    async def receive(self) -> Sequence[Frame]:
        """Return what the client wrote, or ``()`` once the client has closed our stdin."""
        while True:
            frames = await self._reader.inbox.receive()
            self.last_used = monotonic()
            is_sound = all(map(_is_sound, frames))
            sound = frames if is_sound else self._answer_unsound(frames)
            if sound or is_sound:
                self.ledger.note_asked(sound)
                return sound

    def _answer_unsound(self, frames: Sequence[Frame]) -> list[Frame]:
        """Return the valid frames and answer the others with errors, because no server should choke on them."""
        from relay.frames.repair import sift

        onward: list[Frame] = []
        for frame in frames:
            if frame.head.kind is not Kind.INVALID:
                onward.append(frame)
                continue
            sifted = sift(frame, self.name, is_server=False)
            onward += sifted.onward
            if not self.is_held_back:  # no more errors for a client that sends noise and does not read
                for refusal in sifted.back:
                    self._writer.write_soon(refusal)
        return onward

    def offer_to(self, taker: Taker) -> None:
        """Offer the client's frames to ``taker``; see ``OffersFrames``."""

        def offer(frames: Sequence[Frame]) -> bool:
            self.last_used = monotonic()
            if not all(map(_is_sound, frames)) or not taker(frames):
                return False  # ``receive`` returns and records them
            self.ledger.note_asked(frames)
            return True

        self._reader.inbox.offer_to(offer)

    def call_at_end(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once the client will send no more."""
        self._reader.inbox.call_at_end(callback)

    async def send(self, frames: Sequence[Frame]) -> None:
        """Write frames to stdout; wait while the client does not read.

        Raises EndpointBroken once the client has closed its end.
        """
        if frames := self.ledger.answered(frames):
            await self._writer.send(frames)

    def send_at_once(self, frames: Sequence[Frame]) -> bool:
        """Write frames to stdout, unless that would wait or fail; return whether it did."""
        writer = self._writer
        if not writer.can_send:
            return False
        writer.write_at_once(self.ledger.answered(frames))
        return True

    def _give(self, outcome: Frame) -> None:
        for frame in self.ledger.answered((outcome,)):
            self._writer.write_soon(frame)

    def say(self, frame: Frame) -> None:
        """Write one small frame of the relay's own without waiting."""
        self._writer.write_soon(frame)

    @property
    def is_held_back(self) -> bool:
        """Whether the client has stopped reading."""
        return self._writer.is_held_back

    def finish(self) -> None:
        """Stop reading stdin, as if the client had closed it, because the relay is about to end."""
        self._reader.inbox.finish()

    @property
    def is_finished(self) -> bool:
        """Whether the client has closed our stdin."""
        return self._reader.inbox.is_finished

    async def send_eof(self) -> None:
        """Answer open requests with errors, then flush and close stdout, so that the client sees the end."""
        self._say_end(None)

    def _say_end(self, reason: RelayError | None) -> None:
        self.ledger.note_asked(self._reader.inbox.waiting)  # a server that never started has received none of them
        for answer in self.ledger.end(ended_by(reason)):
            self._writer.write_soon(answer)
        self._writer.send_eof()

    async def aclose(self, reason: RelayError | None = None) -> None:
        """Flush stdout for at most ``close_grace`` seconds, then release both descriptors."""
        if self._closed:
            return
        self._closed = True
        self._reader.inbox.finish()
        self._say_end(reason)
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._limits.close_grace):
                    await self._writer.lost.wait()
        finally:
            self._writer.abort()
            if self._read_transport is not None:
                self._read_transport.close()
            if self._thread is not None:
                self._thread.close()

    def _refuse_oversized(self, head: Head, piece: Oversized) -> None:
        """Answer a request that is too large to read; the client's other requests continue."""
        fault = f"{self.name}: {size_fault(piece.size, self._limits.max_frame_bytes)}"
        if head.kind is Kind.REQUEST and not self._closed:
            self._writer.write_soon(replies.too_large(head, head.id, fault))


def _is_sound(frame: Frame) -> bool:
    return frame.head.kind is not Kind.INVALID


class _ReadingThread(asyncio.ReadTransport):
    """Reads, as a transport, a file descriptor that the event loop cannot poll."""

    def __init__(self, fd: int, reader: FrameReader) -> None:
        super().__init__()
        self._fd = fd
        self._reader = reader
        self._loop = asyncio.get_running_loop()
        self._may_read = threading.Event()
        self._may_read.set()
        self._paused = False
        self._closing = False

    def start(self) -> None:
        # A daemon: nothing interrupts a read from a terminal, and that read must not keep the process alive.
        threading.Thread(target=self._read, name="read stdin", daemon=True).start()

    def _read(self) -> None:
        try:
            while True:
                self._may_read.wait()
                if self._closing:
                    return
                self._may_read.clear()  # one piece at a time: the loop sets this once it has taken the piece
                try:
                    data = os.read(self._fd, _READ_SIZE)
                except OSError:
                    data = b""
                self._loop.call_soon_threadsafe(self._deliver, data)
                if not data:
                    return
        except RuntimeError:
            pass  # the loop is closed, and so is its reader
        finally:
            os.close(self._fd)

    def _deliver(self, data: bytes) -> None:
        if not data:
            self._reader.eof_received()
            return
        self._reader.data_received(data)
        if not self._paused:
            self._may_read.set()

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        self._may_read.set()

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True
        self._may_read.set()


class _WritingThread:
    """Writes to a file descriptor that the event loop cannot poll; only the thread uses and closes the descriptor."""

    def __init__(self, name: str, fd: int, limits: Limits) -> None:
        self._name = name
        self._fd = fd
        self._high = limits.buffer_high
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._unwritten = 0
        self._news = asyncio.Event()
        self._failure: RelayError | None = None
        self._sent_eof = False
        self._aborted = False
        self.lost = SmallEvent()
        # A daemon: nothing interrupts a write to a stopped terminal, and that write must not keep the process alive.
        threading.Thread(target=self._run, name="write stdout", daemon=True).start()

    async def send(self, frames: Sequence[Frame]) -> None:
        self._check()
        await self._wait_for_room()
        self._put(encode_lines(frames))
        await self._wait_for_room()

    async def _wait_for_room(self) -> None:
        while self._unwritten > self._high and not self.lost.is_set():
            self._news.clear()
            await self._news.wait()
        if self._failure is not None:
            raise self._failure

    def write_at_once(self, frames: Sequence[Frame]) -> None:
        """Queue frames as lines; call it only while ``can_send`` is true."""
        self._put(encode_lines(frames))

    @property
    def can_send(self) -> bool:
        """Whether ``send`` would neither wait nor fail."""
        return self._failure is None and not self._sent_eof and self._unwritten <= self._high

    def write_soon(self, frame: Frame) -> None:
        """Write one small frame without waiting: an answer of the relay's own, from a callback."""
        if not self._sent_eof and self._failure is None:
            self._put(frame.line + b"\n")

    @property
    def is_held_back(self) -> bool:
        return self._unwritten > self._high

    def send_eof(self) -> None:
        if not self._sent_eof:
            self._sent_eof = True
            self._queue.put(None)

    def abort(self) -> None:
        self._aborted = True
        self.send_eof()

    def _check(self) -> None:
        if self._failure is not None:
            raise self._failure
        if self._sent_eof:
            raise EndpointClosed(f"{self._name}: send after its end")

    def _put(self, data: bytes) -> None:
        self._unwritten += len(data)
        self._queue.put(data)

    def _run(self) -> None:
        failure: OSError | None = None
        try:
            while (data := self._queue.get()) is not None and not self._aborted:
                view = memoryview(data)
                while view:
                    view = view[os.write(self._fd, view) :]
                self._tell(self._written, len(data))
        except OSError as exc:
            failure = exc
        finally:
            with contextlib.suppress(OSError):
                os.close(self._fd)
            self._tell(self._ended, failure)

    def _tell(self, callback: Callable[[Any], None], fact: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed, so no task waits for this
            self._loop.call_soon_threadsafe(callback, fact)

    def _written(self, size: int) -> None:
        self._unwritten -= size
        self._news.set()

    def _ended(self, failure: OSError | None) -> None:
        if failure is not None:
            self._failure = EndpointBroken(f"{self._name}: {failure}")
        self.lost.set()
        self._news.set()
