"""One SSE stream's events: those not yet written to its client, and those kept for a client that comes back.

Pure: bounded in bytes, events and age; the caller says what time it is. One structure serves the live queue and the
replay log, so that no event can be in neither: an event is written from here, and stays until the bounds push it out.
MCP 2025-11-25, Streamable HTTP, "Resumability and Redelivery".
"""

from __future__ import annotations

from collections import deque

import msgspec

__all__ = ["Event", "EventLog", "Kept", "parse_event_id"]


class Kept:
    """How many bytes the logs of one session keep together: counted as they change, asked for with every event."""

    __slots__ = ("bytes",)

    def __init__(self) -> None:
        """Start with none."""
        self.bytes = 0


class Event(msgspec.Struct, frozen=True, gc=False):
    """One event of a stream: its number there, its data on one line, and when it came (seconds, any clock)."""

    number: int
    line: bytes
    came: float


def parse_event_id(value: str) -> tuple[int, int] | None:
    """Read an event id of ours, ``stream-number``; None if it is not one."""
    stream, dash, number = value.partition("-")
    if dash and stream.isascii() and stream.isdigit() and number.isascii() and number.isdigit():
        return (int(stream), int(number)) if len(value) <= 40 else None
    return None


class EventLog:
    """The events of one stream, numbered from 1; number 0 is the priming event."""

    def __init__(self, stream: int, max_bytes: int, max_events: int, kept: Kept | None = None) -> None:
        """Keep at most ``max_bytes`` and ``max_events`` of what has been written, or has no reader.

        ``kept`` counts what this log and others keep together.
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
        """Bytes that wait for the stream's reader: what backpressure looks at."""
        self.dropped = 0
        """Events pushed out before anybody had read them."""

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
        """Whether the event after this one has been pushed out: who has seen ``number`` cannot go on from here."""
        return number < (self._events[0].number - 1 if self._events else self._last)

    @property
    def is_drained(self) -> bool:
        """Whether every event has been written once."""
        return self._written == self._last

    def event_id(self, number: int) -> bytes:
        """Return the id under which an event of this stream is sent."""
        return b"%d-%d" % (self.stream, number)

    def append(self, line: bytes, now: float, *, has_reader: bool) -> None:
        """Add an event. With a reader attached nothing unread is pushed out: the caller holds the source back."""
        self._last += 1
        self._events.append(Event(self._last, line, now))
        self._bytes += len(line)
        self._kept.bytes += len(line)
        self.unwritten_bytes += len(line)
        self.trim(has_reader=has_reader)

    def next_unwritten(self) -> Event | None:
        """Take the oldest event that has not been written; it stays in the log."""
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
        """Let the stream go on after event ``number``: its client comes back and has seen that one.

        What has been pushed out since cannot be sent again: the stream goes on with the oldest event kept.
        """
        pushed_out = self._events[0].number - 1 if self._events else self._last
        self._written = max(pushed_out, min(number, self._last))
        self.unwritten_bytes = sum(len(event.line) for event in self._events if event.number > self._written)

    def trim(self, *, has_reader: bool, before: float | None = None, max_bytes: int | None = None) -> None:
        """Push out the oldest events beyond the bounds (``max_bytes``: a tighter one), and those before ``before``."""
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
        """Forget every event: nobody will ask for this stream again."""
        self._kept.bytes -= self._bytes
        self._events.clear()
        self._bytes = self.unwritten_bytes = 0
        self._written = self._last

    def __len__(self) -> int:
        """Count the events kept."""
        return len(self._events)
