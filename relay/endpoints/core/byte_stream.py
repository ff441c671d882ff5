"""Read and write newline-delimited frames over an asyncio transport, for stdio, children, TCP and Unix sockets.

These are asyncio protocols, not StreamReaders. One callback per read delivers a whole batch of frames, lines have no
64 KiB limit, and pausing the transport is the backpressure.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from time import monotonic
from typing import Literal, cast

from relay.endpoints.core.inbox import FrameInbox
from relay.endpoints.core.pipes import FULL_PIPE
from relay.endpoints.core.small_event import SmallEvent
from relay.endpoints.core.turns import LARGE, breath
from relay.errors import EndpointBroken, EndpointClosed, RelayError
from relay.frames.envelope import Steps, salvage_head
from relay.frames.faults import size_fault
from relay.frames.frame import Frame
from relay.frames.head import Head, Kind
from relay.frames.lines import Oversized
from relay.frames.ndjson import LineSplitter, encode_lines, pieces_of_lines
from relay.limits import Limits

__all__ = ["FrameReader", "FrameWriter", "OnOversized"]

logger = logging.getLogger("relay")

_LARGE = 256 * 1024  # bytes; a larger frame is not joined with others to one write
_LONG = 0.005  # seconds of a step over a large frame, after which others run
_GATHER = 50e-6  # seconds after a write in which frames wait for more; a single call takes longer than that

OnOversized = Callable[[Head, Oversized], None]


class FrameReader(asyncio.Protocol):
    """The reading half, which splits a transport's bytes into frames for an inbox."""

    is_server = False
    """Whether the frames are those of a server that the relay runs itself."""
    passes: Literal["all", "messages", ""] = "all"
    """Which lines ``accept`` lets go on as they are: all, those that are JSON-RPC messages, or not all of those."""

    def __init__(self, name: str, limits: Limits, *, on_oversized: OnOversized | None = None) -> None:
        """Call ``on_oversized`` for each frame beyond ``limits.max_frame_bytes``, with what is known of its head."""
        self.name = name
        self._limits = limits
        self._splitter = LineSplitter(limits.max_frame_bytes)
        self._on_oversized = on_oversized
        self.inbox = FrameInbox(name, limits, pause=self.pause, resume=self.resume)
        self._transport: asyncio.ReadTransport | None = None
        self._is_between = True
        """Whether the bytes so far end with a whole line."""
        self.reads = 0
        self._late: list[Frame | Oversized] = []
        """Frames that a later turn of the loop delivers."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport, to pause it later."""
        self._transport = cast(asyncio.ReadTransport, transport)  # uvloop's transport does not declare the type

    def pause(self) -> None:
        """Stop reading, because the receiver is slow."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume(self) -> None:
        """Start reading again."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.resume_reading()

    def data_received(self, data: bytes) -> None:
        """Split the bytes and deliver the frames that they complete."""
        self.reads += 1
        was_between, self._is_between = self._is_between, data[-1:] == b"\n"
        # A call's answer is one line that comes whole: it needs none of the splitter's rules.
        size = len(data) - 1
        if size + 1 >= FULL_PIPE:
            self.pipe_was_full()
        elif (
            was_between
            and self.passes
            and size <= self._limits.max_frame_bytes
            and data.find(b"\n") == size
            and data[:1] == b"{"
            and data[-2:-1] == b"}"
            and not self._late
        ):
            frame = Frame(bytes(data[:-1]))
            if self.passes == "all" or frame.head.kind is not Kind.INVALID:
                inbox, frames = self.inbox, (frame,)
                taker, receiver = inbox.taker, inbox.receiver
                if taker is None or receiver is None or receiver.done() or not taker(frames):
                    inbox.keep(frames)
                return
        self._deliver(self._splitter.feed(data))

    def buffer_read(self, buffer: bytearray, size: int) -> None:
        """Do the same with the first ``size`` bytes of a buffer that the next read overwrites."""
        self.reads += 1
        self._is_between = buffer[size - 1 : size] == b"\n"
        if size >= FULL_PIPE:
            self.pipe_was_full()
        self._deliver(self._splitter.feed(buffer, size))

    def pipe_was_full(self) -> None:
        """Hear that as much was read at once as a pipe holds."""

    def _deliver(self, pieces: list[Frame | Oversized]) -> None:
        if not pieces:
            return
        first = pieces[0]  # only the first can be large: any other has come whole in one read
        if self._late:
            self._late += pieces
        elif isinstance(first, Frame) and first.size > LARGE:
            self._late = pieces
            self.pause()
            self._read_in_turns(first, first.steps(is_server=self.is_server))
        else:
            self.inbox.put(self.accept(pieces))

    def _read_in_turns(self, first: Frame, steps: Steps) -> None:
        """Read the head of a large frame; let other clients run after each long step, and before the delivery."""
        if not self._late:
            return  # the stream has ended meanwhile
        loop, began = asyncio.get_running_loop(), monotonic()
        for _ in steps:
            if monotonic() - began > _LONG:  # others may wait behind this frame, so it should not pause needlessly
                loop.call_later(breath(first.size), self._read_in_turns, first, steps)
                return
        loop.call_later(breath(first.size), self.deliver_late)

    def deliver_late(self) -> None:
        """Deliver now the frames that a later turn would deliver."""
        if self._late:
            pieces, self._late = self._late, []
            self.inbox.put(self.accept(pieces))
            if not self.inbox.is_paused:
                self.resume()

    def _deliver_last(self) -> None:
        """Deliver all frames that have arrived, and a last line that has no newline."""
        self.deliver_late()
        if pieces := self._splitter.finish():
            self.inbox.put(self.accept(pieces))

    def accept(self, pieces: list[Frame | Oversized]) -> list[Frame]:
        """Return the frames to deliver, and report the lines that are too large."""
        frames: list[Frame] = []
        for piece in pieces:
            if isinstance(piece, Frame):
                frames.append(piece)
            else:
                self.report_oversized(piece)
        return frames

    def report_oversized(self, piece: Oversized) -> None:
        """Log a frame beyond the limit, and pass what is known of it to the endpoint, which answers it."""
        head = salvage_head(piece.start, piece.end)
        what = "a line" if head.kind is Kind.INVALID else f"a {head.kind.value} (id {head.id!r})"
        fault = size_fault(piece.size, self._limits.max_frame_bytes, what)
        logger.warning("%s: %s: dropped", self.name, fault)
        if self._on_oversized is not None:
            self._on_oversized(head, piece)

    def eof_received(self) -> bool:
        """Deliver a last line that has no newline, then the end; keep the transport's other half open."""
        self._deliver_last()
        self.inbox.finish()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        """End the inbox: as finished if the peer ended it, as broken if the connection failed."""
        if exc:
            self.deliver_late()
        else:
            self._deliver_last()
        self._splitter.forget()  # else its bytes stay until the garbage collector runs
        self.inbox.finish(EndpointBroken(f"{self.name}: {exc}") if exc else None)


class FrameWriter(asyncio.BaseProtocol):
    """The writing half, which writes frames as lines to a transport and applies its flow control."""

    def __init__(self, name: str, limits: Limits) -> None:
        """Make ``send`` wait while more than ``limits.buffer_high`` bytes are unsent."""
        self.name = name
        self._limits = limits
        self._transport: asyncio.WriteTransport | None = None
        self._may_write = SmallEvent()
        self._may_write.set()
        self.is_held_back = False
        """Whether more than the high mark is unsent, because the peer does not read."""
        self._failure: RelayError | None = None
        self._sent_eof = False
        self._loop = asyncio.get_running_loop()
        self._gathered: list[Frame] = []
        self._gathered_bytes = 0
        self._rest: Iterator[bytes] | None = None
        """What is unwritten of large frames. Frames that come meanwhile are gathered."""
        self._last_written = 0.0
        self._has_written = False
        self.lost = SmallEvent()
        """Set once the transport is closed, by either side."""

    @property
    def has_sent(self) -> bool:
        """Whether a frame has been written to the transport."""
        return self._has_written or self._last_written > 0

    def attach(self, transport: asyncio.WriteTransport) -> None:
        """Write to this transport, with the relay's watermarks."""
        self._transport = transport
        if transport.is_closing():
            # A child that exits at once closes its stdin before this call, and uvloop then raises RuntimeError.
            self._failure = EndpointBroken(f"{self.name}: the peer has closed its end")
            return
        transport.set_write_buffer_limits(high=self._limits.buffer_high, low=self._limits.buffer_low)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Attach to the transport that asyncio has connected."""
        self.attach(cast(asyncio.WriteTransport, transport))

    def pause_writing(self) -> None:
        """Make senders wait, because the peer does not read."""
        self.is_held_back = True
        self._may_write.clear()

    def resume_writing(self) -> None:
        """Write on, then let senders go on."""
        self.is_held_back = False
        self._write_on()
        if not self.is_held_back:
            self._may_write.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake every sender, so that it learns that the peer is gone."""
        if not self._sent_eof:
            self._failure = EndpointBroken(f"{self.name}: {exc or 'the peer stopped reading'}")
        self._gathered.clear()
        self._rest = None
        self.is_held_back = False
        self._may_write.set()
        self.lost.set()

    async def send(self, frames: Sequence[Frame]) -> None:
        """Write frames as lines; return once the buffer is below its high mark.

        Raises EndpointBroken and EndpointClosed.
        """
        self.check()
        self._flush()
        await self._wait_for_room()
        assert self._transport is not None, "attached before anything is sent"
        self._write(self._transport, frames)
        await self._wait_for_room()

    def _write(self, transport: asyncio.WriteTransport, frames: Sequence[Frame]) -> None:
        """Write frames as lines, joined in one write, but do not copy a large frame."""
        self._has_written = True
        if len(frames) == 1 and frames[0].size <= _LARGE:  # the usual case
            transport.write(frames[0].line + b"\n")
            return
        largest = max([frame.size for frame in frames], default=0)  # an answer in doubt leaves none
        if largest > LARGE:
            self._rest = pieces_of_lines(frames)
            self._write_on()
        elif largest > _LARGE:
            transport.writelines([part for one in frames for part in (one.line, b"\n")])
        else:
            transport.write(encode_lines(frames))

    def _write_on(self) -> None:
        """Write the rest of large frames while the peer reads it: a transport may copy what it cannot send at once."""
        transport = self._transport
        while self._rest is not None and not self.is_held_back:
            piece = next(self._rest, None)
            if piece is None or transport is None or transport.is_closing():
                self._rest = None
                self._flush()
            else:
                transport.write(piece)

    async def _wait_for_room(self) -> None:
        while self.is_held_back:
            await self._may_write.wait()
            self.check()

    def send_at_once(self, frames: Sequence[Frame]) -> bool:
        """Write frames as lines, unless that would wait or fail; return whether it did.

        Frames that come soon after others are joined and written in the next turn of the loop. Otherwise many sources
        that the loop reads in one turn would cost a write each.
        """
        if not self.can_send:
            return False
        # A call is one small frame, and comes alone.
        now = monotonic()
        if len(frames) == 1 and not self._gathered and now - self._last_written >= _GATHER:
            frame = frames[0]
            if frame.size <= _LARGE and self._transport is not None:
                self._transport.write(frame.line + b"\n")
                self._last_written = now
                return True
        self.write_at_once(frames)
        return True

    def write_at_once(self, frames: Sequence[Frame]) -> None:
        """Write frames as ``send_at_once`` does; call it only while ``can_send`` is true."""
        if self._gathered or monotonic() - self._last_written < _GATHER:
            if not self._gathered:
                self._loop.call_soon(self._flush)
            self._gathered += frames
            for frame in frames:
                self._gathered_bytes += frame.size
        else:
            assert self._transport is not None, "attached"
            self._write(self._transport, frames)
            self._last_written = monotonic()

    def _flush(self) -> None:
        """Write the gathered frames, unless a large frame is still being written."""
        if self._gathered and self._rest is None:
            frames, self._gathered, self._gathered_bytes = self._gathered, [], 0
            if self._transport is not None and not self._transport.is_closing():
                self._write(self._transport, frames)
                self._last_written = monotonic()

    @property
    def can_send(self) -> bool:
        """Whether ``send`` would neither wait nor fail."""
        transport = self._transport
        if transport is None or self._failure is not None or self._sent_eof or self.is_held_back:
            return False
        return self._gathered_bytes <= self._limits.buffer_high and not transport.is_closing()

    def write_soon(self, frame: Frame) -> None:
        """Write one small frame without waiting: an answer of the relay's own, from a callback."""
        if self._transport is not None and not self._transport.is_closing() and not self._sent_eof:
            self._flush()
            if self._rest is None:
                self._transport.write(frame.line + b"\n")
            else:
                self._gathered.append(frame)
                self._gathered_bytes += frame.size

    def check(self) -> None:
        """Raise EndpointBroken or EndpointClosed if frames cannot be sent."""
        if self._failure is not None:
            raise self._failure
        if self._transport is not None and self._transport.is_closing() and not self._sent_eof:
            raise EndpointBroken(f"{self.name}: the peer has closed its end")
        if self._sent_eof:
            raise EndpointClosed(f"{self.name}: send after its end")

    def send_eof(self) -> None:
        """Close the writing half after the buffered bytes."""
        if self._rest is not None and self._transport is not None:
            self._transport.writelines(self._rest)
            self._rest = None
        self._flush()
        self._sent_eof = True
        if self._transport is not None and not self._transport.is_closing():
            self.end_transport(self._transport)

    def end_transport(self, transport: asyncio.WriteTransport) -> None:
        """Close the transport; a subclass whose transport has two halves closes only the writing half."""
        transport.close()

    def abort(self) -> None:
        """Close the writing half at once and drop unsent bytes."""
        self._sent_eof = True
        self._rest = None
        transport = self._transport
        if transport is None or self.lost.is_set():
            return
        # asyncio fails if it aborts a pipe that is closing with an empty buffer: it would end the pipe twice.
        is_ending = transport.is_closing() and not transport.get_write_buffer_size()
        if not is_ending or transport.get_extra_info("pipe") is None:
            transport.abort()
