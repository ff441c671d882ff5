"""Hold one SSE stream towards a client: its events, and the connection that reads them, if any.

The stream outlives its connections: a client may resume it with ``Last-Event-ID``, and a second connection takes over
from the first. Events wait in an EventLog. A client that does not read slows the source down. After ``limits.stall``
seconds the client loses its connection, but not the stream.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from relay.endpoints.core.small_event import SmallEvent
from relay.endpoints.http.pieces import joined
from relay.frames.sse import KEEP_ALIVE, encode_event, parts_of_event
from relay.limits import Limits
from relay.routing.event_log import EventLog, Kept

__all__ = ["EventStream", "Stalled"]

logger = logging.getLogger("relay")

_WRITE_SIZE = 64 * 1024  # the stream joins events up to this size: one system call for a burst of notifications


class Stalled(Exception):
    """The client left its stream unread for ``limits.stall`` seconds, or left too much of it unread."""


class EventStream:
    """Events for one client, in order; the stream writes each once unless the client resumes before it."""

    def __init__(
        self, number: int, limits: Limits, *, has_ids: bool, has_priming: bool = False, kept: Kept | None = None
    ) -> None:
        """Give events ids if the transport has them (since 2025-03-26), and open with an empty event (2025-11-25).

        ``kept`` counts the bytes that all streams of a session keep.
        """
        self._limits = limits
        self._has_ids = has_ids
        self._has_priming = has_priming
        # Without ids no client can resume, so the log need not keep written events.
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
        """Whether a connection reads this stream or is about to read it."""
        return self._reader is not None or self._is_awaited

    def await_reader(self) -> None:
        """Count the client as a reader from now on, so that no event is dropped before its connection reads."""
        self._is_awaited = True

    def stop_awaiting(self) -> None:
        """Count the client as a reader no longer: its connection was lost before it began to read."""
        if self._is_awaited:
            self._is_awaited = False
            self.log.trim(has_reader=self.has_reader)
            self._room.set()

    def set_priming(self, *, has_priming: bool) -> None:
        """Set whether later connections open with an empty event; ``initialize`` negotiates the version."""
        self._has_priming = has_priming

    def push(self, line: bytes) -> None:
        """Add an event; without a reader, the log drops the oldest events beyond its bounds."""
        now = self._loop.time()
        self.log.append(line, now, has_reader=self.has_reader)
        self._news.set()

    def end(self) -> None:
        """End the stream: readers finish once they have written the remaining events."""
        self.is_ended = True
        self._news.set()
        self._room.set()

    def release(self) -> None:
        """Let the connection that reads finish; the stream goes on for the next one."""
        self._reader = None
        self._news.set()

    def cut(self) -> None:
        """End the reading connection at once, in the middle, and drop the events that wait."""
        self.is_cut = True
        self.log.clear()
        self.end()

    @property
    def is_full(self) -> bool:
        """Whether the reader is so far behind that the source must wait."""
        return self.has_reader and self.log.unwritten_bytes > self._limits.buffer_high

    async def wait_for_room(self) -> None:
        """Wait until the reader has caught up or has gone."""
        while self.is_full:
            self._room.clear()
            await self._room.wait()

    async def feed(self, write: Callable[[bytes | memoryview], Awaitable[None]], *, after: int | None = None) -> None:
        """Write events to a connection until the stream ends or another connection takes it over.

        ``after`` is the number of the last event that the client has seen. Raises Stalled if the client does not read,
        or if the stream was cut.
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
                taken = self._take()
                if taken:
                    for piece in joined(taken):
                        await self._write(write, piece)
                    del taken, piece
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
        """Return the empty event whose id names the stream's position, so that the client can resume there."""
        return encode_event(b"", event_id=self.log.event_id(self.log.written), retry=self._limits.sse_retry)

    def _take(self) -> list[bytes]:
        parts: list[bytes] = []
        size = 0
        while size < _WRITE_SIZE and (event := self.log.next_unwritten()) is not None:
            parts += parts_of_event(event.line, event_id=self.log.event_id(event.number) if self._has_ids else None)
            size += len(event.line)
        return parts

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
