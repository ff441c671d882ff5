"""Hold one SSE stream's events: those not yet written to the client, and those kept for a client that resumes.

No I/O and no clock: the caller passes the time. The log is bounded in bytes, events and age. One structure is both the
live queue and the replay log, so no event can be in neither. An event stays after it is written, until the bounds
remove it.
MCP 2025-11-25, Streamable HTTP, "Resumability and Redelivery".
"""

from __future__ import annotations

from collections import deque

import msgspec

__all__ = ["Event", "EventLog", "Kept", "parse_event_id"]


class Kept:
    """The bytes that all logs of one session keep together, counted at each change."""

    __slots__ = ("bytes",)

    def __init__(self) -> None:
        """Start at zero bytes."""
        self.bytes = 0


class Event(msgspec.Struct, frozen=True, gc=False):
    """One event of a stream: its number, its data on one line, and its arrival time (seconds of any clock)."""

    number: int
    line: bytes
    came: float


def parse_event_id(value: str) -> tuple[int, int] | None:
    """Read an event id of the relay, ``stream-number``; return None for any other id."""
    stream, dash, number = value.partition("-")
    if dash and stream.isascii() and stream.isdigit() and number.isascii() and number.isdigit():
        return (int(stream), int(number)) if len(value) <= 40 else None
    return None


class EventLog:
    """The events of one stream, numbered from 1; number 0 is the priming event."""

    def __init__(self, stream: int, max_bytes: int, max_events: int, kept: Kept | None = None) -> None:
        """Keep at most ``max_bytes`` and ``max_events`` of events that are written or have no reader.

        ``kept`` counts the bytes that all logs of a session keep together.
        """
        self._kept = kept or Kept()
        self.stream = stream
        self._max_bytes = max_bytes
        self._max_events = max_events
        self._events: deque[Event] = deque()
        self._bytes = 0
        self._last = 0
        self._written = 0
        self.unwritten_bytes = 0
        """Bytes that wait for the stream's reader, which decide about backpressure."""
        self.dropped = 0
        """The number of events removed before any client had read them."""

    @property
    def last(self) -> int:
        """The number of the newest event."""
        return self._last

    @property
    def written(self) -> int:
        """The number of the last event that was written."""
        return self._written

    @property
    def size(self) -> int:
        """Bytes of the events kept."""
        return self._bytes

    def has_gap_after(self, number: int) -> bool:
        """Whether the event after ``number`` has been removed, so that a client cannot resume there."""
        return number < (self._events[0].number - 1 if self._events else self._last)

    @property
    def is_drained(self) -> bool:
        """Whether every event has been written once."""
        return self._written == self._last

    def event_id(self, number: int) -> bytes:
        """Return the event id of an event of this stream."""
        return b"%d-%d" % (self.stream, number)

    def append(self, line: bytes, now: float, *, has_reader: bool) -> None:
        """Add an event. With a reader, the log removes no unread event, and the caller must slow the source down."""
        self._last += 1
        self._events.append(Event(self._last, line, now))
        self._bytes += len(line)
        self._kept.bytes += len(line)
        self.unwritten_bytes += len(line)
        self.trim(has_reader=has_reader)

    def next_unwritten(self) -> Event | None:
        """Return the oldest unwritten event and count it as written; the event stays in the log."""
        if self.is_drained:
            return None
        first = self._events[0].number
        index = self._written + 1 - first
        # Unwritten events are the tail of the log: with an eager reader that is the last one.
        event = self._events[-1] if index == len(self._events) - 1 else self._events[index]
        self._written = event.number
        self.unwritten_bytes -= len(event.line)
        return event

    def rewind(self, number: int) -> None:
        """Continue the stream after event ``number``, the last one that a resuming client has seen.

        The log cannot repeat removed events, so the stream may continue with the oldest event kept.
        """
        pushed_out = self._events[0].number - 1 if self._events else self._last
        self._written = max(pushed_out, min(number, self._last))
        self.unwritten_bytes = sum(len(event.line) for event in self._events if event.number > self._written)

    def trim(self, *, has_reader: bool, before: float | None = None, max_bytes: int | None = None) -> None:
        """Remove the oldest events beyond the bounds (``max_bytes``: a tighter one), and those before ``before``."""
        bound = self._max_bytes if max_bytes is None else min(max_bytes, self._max_bytes)
        while self._events:
            oldest = self._events[0]
            is_over = self._bytes > bound or len(self._events) > self._max_events
            if not is_over and (before is None or oldest.came >= before):
                return
            if oldest.number > self._written:
                if has_reader:
                    return
                self._written = oldest.number
                self.unwritten_bytes -= len(oldest.line)
                self.dropped += 1
            self._events.popleft()
            self._bytes -= len(oldest.line)
            self._kept.bytes -= len(oldest.line)

    def clear(self) -> None:
        """Forget every event, because no client can resume this stream."""
        self._kept.bytes -= self._bytes
        self._events.clear()
        self._bytes = self.unwritten_bytes = 0
        self._written = self._last

    def __len__(self) -> int:
        """Count the events kept."""
        return len(self._events)
