"""One SSE stream towards a client: its events, and the connection that reads them, if one does.

The stream outlives its connections: a client may come back for it with ``Last-Event-ID``, and a second connection
takes over from the first. Events wait in an EventLog; a connection that does not read holds the source back, and
loses the connection after ``limits.stall`` seconds, not the stream.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from relay.endpoints.core.small_event import SmallEvent
from relay.endpoints.http.pieces import pieces_of
from relay.frames.sse import KEEP_ALIVE, encode_event
from relay.limits import Limits
from relay.routing.event_log import EventLog, Kept

__all__ = ["EventStream", "Stalled"]

logger = logging.getLogger("relay")

_WRITE_SIZE = 64 * 1024  # events are joined up to this size: one system call for a burst of notifications


class Stalled(Exception):
    """The client left its stream unread for ``limits.stall`` seconds, or more of it than may wait."""


class EventStream:
    """Events for one client, in order, each written once unless the client asks for it again."""

    def __init__(
        self, number: int, limits: Limits, *, has_ids: bool, has_priming: bool = False, kept: Kept | None = None
    ) -> None:
        """Give events ids if the transport has them (2025-03-26 on), and open with an empty one (2025-11-25).

        ``kept`` counts what all streams of a session keep.
        """
        self._limits = limits
        self._has_ids = has_ids
        self._has_priming = has_priming
        # Without ids nothing can be asked for again: written events need not be kept.
        self.log = EventLog(number, limits.replay_bytes if has_ids else 0, limits.replay_events if has_ids else 0, kept)
        self.is_ended = False
        self.is_cut = False
        self._loop = asyncio.get_running_loop()
        self._news = SmallEvent()
        self._room = SmallEvent()
        self._reader: object | None = None
        self._is_awaited = False

    @property
    def has_reader(self) -> bool:
        """Whether a connection is reading this stream, or about to."""
        return self._reader is not None or self._is_awaited

    def await_reader(self) -> None:
        """Count the client as reading from now on: its connection is there and will, so nothing may be dropped."""
        self._is_awaited = True

    def stop_awaiting(self) -> None:
        """The connection was lost before it began to read."""
        if self._is_awaited:
            self._is_awaited = False
            self.log.trim(has_reader=self.has_reader)
            self._room.set()

    def set_priming(self, *, has_priming: bool) -> None:
        """Open with an empty event from the next connection on: the version is known only after ``initialize``."""
        self._has_priming = has_priming

    def push(self, line: bytes) -> None:
        """Add an event; without a reader the oldest are dropped beyond the log's bounds."""
        now = self._loop.time()
        self.log.append(line, now, has_reader=self.has_reader)
        self._news.set()

    def end(self) -> None:
        """Say that no further event will come: readers are done once they have what is there."""
        self.is_ended = True
        self._news.set()
        self._room.set()

    def cut(self) -> None:
        """Let the connection that reads this stream end at once, in the middle: what waits for it is dropped."""
        self.is_cut = True
        self.log.clear()
        self.end()

    @property
    def is_full(self) -> bool:
        """Whether a reader is so far behind that the source must wait."""
        return self.has_reader and self.log.unwritten_bytes > self._limits.buffer_high

    async def wait_for_room(self) -> None:
        """Wait until the reader has caught up, or is gone."""
        while self.is_full:
            self._room.clear()
            await self._room.wait()

    async def feed(self, write: Callable[[bytes | memoryview], Awaitable[None]], *, after: int | None = None) -> None:
        """Write events to a connection until the stream ends or another connection takes it over.

        ``after`` is the number of the last event the client has seen. Raises Stalled if it does not read, or the
        stream was cut.
        """
        reader = self._reader = object()
        self._is_awaited = False
        if after is not None:
            self.log.rewind(after)
        self._news.set()
        try:
            if self._has_priming:
                await self._write(write, self._priming())
            while self._reader is reader:
                data = self._take()
                if data:
                    for piece in pieces_of(data):
                        await self._write(write, piece)
                    self.log.trim(has_reader=True)
                    self._room.set()
                elif self.is_cut:
                    raise Stalled
                elif self.is_ended:
                    return
                elif not await self._wait_for_news():
                    await self._write(write, KEEP_ALIVE)
        finally:
            if self._reader is reader:
                self._reader = None
                self.log.trim(has_reader=False)
            self._room.set()

    def _priming(self) -> bytes:
        """Return the empty event that names where the stream stands, so that its client can come back to there."""
        return encode_event(b"", event_id=self.log.event_id(self.log.written), retry=self._limits.sse_retry)

    def _take(self) -> bytes:
        parts: list[bytes] = []
        size = 0
        while size < _WRITE_SIZE and (event := self.log.next_unwritten()) is not None:
            parts.append(encode_event(event.line, event_id=self.log.event_id(event.number) if self._has_ids else None))
            size += len(event.line)
        return b"".join(parts)

    async def _wait_for_news(self) -> bool:
        self._news.clear()
        if not self.log.is_drained or self.is_ended:
            return True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._limits.keep_alive):
                await self._news.wait()
                return True
        return False

    async def _write(self, write: Callable[[bytes | memoryview], Awaitable[None]], data: bytes | memoryview) -> None:
        try:
            async with asyncio.timeout(self._limits.stall):
                await write(data)
        except TimeoutError:
            raise Stalled from None
