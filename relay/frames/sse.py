"""Server-Sent Events, read and written as bytes.

Sans-I/O and bounded. Lines end at CRLF, LF or CR only (WHATWG HTML, "Server-sent events"): splitting on what Unicode
calls a line end would cut JSON that holds U+2028. Nothing is decoded: an event's data is a frame's bytes.
"""

from __future__ import annotations

import re

import msgspec

from relay.frames.growing import Growing
from relay.frames.lines import KEPT, LineBuffer, Oversized

__all__ = ["KEEP_ALIVE", "LARGEST_RETRY", "SseDecoder", "SseEvent", "SseLines", "encode_event", "parts_of_event"]

KEEP_ALIVE = b": keep-alive\n\n"
"""A comment: it keeps middleboxes awake and reveals a dead client, and no client takes it for an event."""

LARGEST_RETRY = 999_999_999
"""Milliseconds: eleven days. No server means more."""

_BOM = b"\xef\xbb\xbf"
_CR = 0x0D
_FIELD_SLACK = 64  # "data: " and other field names before a frame of the largest size
_MESSAGE = re.compile(rb"(?:(?:event: ?+message|id: ?+([^\r\n\0]{0,200}+))\r?\n){0,2}+data: ?+(?=[{\[])")
"""The bytes before the data of nearly every event that holds a frame."""


class SseEvent(msgspec.Struct, frozen=True, gc=False):  # made for every event: 0.1 us, a dataclass 0.9
    """One event; ``data`` is None if it had no data line, ``Oversized`` if it passed the limit."""

    event: str
    data: bytes | Oversized | None
    id: str | None
    """The last event id of the stream, with or before this event."""
    retry: int | None
    """Milliseconds to wait before reconnecting, if this event sets them."""
    has_bom: bool = False
    """Whether ``data`` began with a byte order mark, which JSON must not have and few clients can read."""


class SseLines:
    """Split an event stream into lines, wherever the transport cut it."""

    def __init__(self, max_event_bytes: int) -> None:
        """Return lines whole that hold up to ``max_event_bytes`` bytes beside the name of their field."""
        self._lines = LineBuffer(max_event_bytes + _FIELD_SLACK)
        self._after_cr = False
        self.is_started = False
        """Whether a line has come: only before it is a byte order mark one."""

    @property
    def pending(self) -> int:
        """Bytes of the unfinished line seen so far."""
        return self._lines.pending

    @property
    def is_at_line(self) -> bool:
        """Whether the next byte begins a line."""
        return not self._after_cr and not self._lines.pending

    def feed(self, data: bytes) -> list[bytes | Oversized]:
        """Take what the transport read; return the lines it completed, without their ends."""
        if self._after_cr or b"\r" in data:
            data = self._normalise(data)
        lines = self._lines.feed(data)
        if lines and not self.is_started:
            self.is_started = True
            first = lines[0]
            lines[0] = first.removeprefix(_BOM) if isinstance(first, bytes) else first
        return lines

    def _normalise(self, data: bytes) -> bytes:
        """Make every line end an LF; a CR that ends one chunk and an LF that begins the next are one end."""
        if self._after_cr and data:
            data = data.removeprefix(b"\n")
            self._after_cr = False
        if data.endswith(b"\r"):
            self._after_cr = True
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


class SseDecoder:
    """Turn bytes into events, wherever the transport cut them."""

    # Of the event that is unfinished; set where one begins line by line: many a decoder sees one whole event only.
    _event = ""
    _data: bytes | None = None
    _lines_of_data: Growing | None = None  # if there are several: a list would take 17 times their size
    _size = 0
    _oversized: Oversized | None = None
    _retry: int | None = None
    _has_fields = False
    _has_bom = False

    _last_id: str | None = None
    _is_started = False
    _cut: SseLines | None = None

    def __init__(self, max_event_bytes: int) -> None:
        """Accept events with up to ``max_event_bytes`` bytes of data."""
        self._max_event_bytes = max_event_bytes

    def _reset(self) -> None:
        self._event = ""
        self._data = self._lines_of_data = self._oversized = self._retry = None
        self._size = 0
        self._has_fields = self._has_bom = False

    @property
    def _lines(self) -> SseLines:
        """What cuts lines; made when an event does not come whole, or is not as nearly all are."""
        if self._cut is None:
            self._cut = SseLines(self._max_event_bytes)
            self._cut.is_started = self._is_started
        return self._cut

    @property
    def pending(self) -> int:
        """Bytes of the unfinished event seen so far, as near as its field names."""
        return self._size + (0 if self._cut is None else self._cut.pending)

    @property
    def is_between_events(self) -> bool:
        """Whether no event, and no line, is unfinished."""
        return not self._has_fields and self.is_between_lines

    @property
    def is_between_lines(self) -> bool:
        """Whether no line is unfinished."""
        return self._cut is None or not self._cut.pending

    def feed(self, data: bytes) -> list[SseEvent]:
        """Take what the transport read; return the events it completed."""
        cut = self._cut
        if cut is None or (not self._has_fields and cut.is_at_line):
            event = self._whole_event(data)
            if event is not None:
                return [event]
        events: list[SseEvent] = []
        for line in self._lines.feed(data):
            if isinstance(line, Oversized):
                self._take_oversized(line)
            elif line:
                self._take(line)
            elif self._has_fields:
                events.append(self._dispatch())
        return events

    def _whole_event(self, data: bytes) -> SseEvent | None:
        """Return the event if ``data`` is just one and as nearly all are; else None, and nothing is taken.

        It costs a third of what cutting and reading its lines does, and gives the same.
        """
        head = _MESSAGE.match(data)
        if head is None or len(data) > self._max_event_bytes:
            return None
        start = head.end()
        line_end = data.find(b"\n", start)
        if line_end < 0 or len(data) - line_end > 3 or data[line_end + 1 :] not in (b"\n", b"\r\n"):
            return None
        end = line_end - (data[line_end - 1] == _CR)
        if data.find(b"\r", start, end) >= 0:
            return None
        said = head.group(1)
        if said is not None:
            self._last_id = said.decode("utf-8", "replace")
        if self._cut is None:
            self._is_started = True
        else:
            self._cut.is_started = True
        return SseEvent("message", data[start:end], self._last_id, None)

    def _take(self, line: bytes) -> None:
        if line.startswith(b"data:"):  # first, because nearly all do
            self._take_data(line, 6 if line.startswith(b" ", 5) else 5)
            self._has_fields = True
            return
        name, colon, value = line.partition(b":")
        if not name and colon:
            return  # a comment
        value = value.removeprefix(b" ")
        if name == b"data":
            self._take_data(value, 0)
        elif name == b"event":
            self._event = value.decode("utf-8", "replace")
        elif name == b"id":
            if b"\0" in value:
                return
            self._last_id = value.decode("utf-8", "replace")
        elif name == b"retry":
            if not (value.isdigit() and len(value) <= len(str(LARGEST_RETRY))):
                return
            self._retry = int(value)
        else:
            return
        self._has_fields = True

    def _take_data(self, line: bytes, at: int) -> None:
        if not self._size and line.startswith(_BOM, at):
            self._has_bom, at = True, at + len(_BOM)
        value = line[at:]  # the only copy of what may be large
        self._size += len(value) + 1
        if self._size > self._max_event_bytes + 1:
            if self._oversized is None:
                kept = self._whole_data()
                before = (b"", b"") if kept is None else (kept[:KEPT] + b"\n", kept[-KEPT:] + b"\n")
                start, end = before[0] + value[:KEPT], before[1] + value[-KEPT:]
                self._oversized = Oversized(start[:KEPT], end[-KEPT:], self._size - 1)
                self._forget_data()
        elif self._data is None:
            self._data = value
        else:
            if self._lines_of_data is None:
                self._lines_of_data = Growing()
                self._lines_of_data.write(self._data)
            self._lines_of_data.write(b"\n")
            self._lines_of_data.write(value)

    def _whole_data(self) -> bytes | None:
        return self._data if self._lines_of_data is None else self._lines_of_data.whole()

    def _forget_data(self) -> None:
        self._data = self._lines_of_data = None

    def _take_oversized(self, line: Oversized) -> None:
        if line.start.startswith(b"data:"):
            start = line.start[5:].removeprefix(b" ")
            size = line.size - len(line.start) + len(start)
            self._size += size
            self._oversized = Oversized(start, line.end, size)
            self._forget_data()
            self._has_fields = True

    def _dispatch(self) -> SseEvent:
        data: bytes | Oversized | None = self._oversized
        if data is None:
            data = self._whole_data()
        event = SseEvent(self._event or "message", data, self._last_id, self._retry, self._has_bom)
        self._reset()
        return event


def encode_event(
    line: bytes, *, event: bytes = b"message", event_id: bytes | None = None, retry: float | None = None
) -> bytes:
    """Write one event; ``line`` must hold no CR or LF (``Frame.line``), ``retry`` is in seconds.

    ``event: message`` is always written: lenient clients broke where it was left out (toolhive #5655).
    """
    return b"".join(parts_of_event(line, event=event, event_id=event_id, retry=retry))


def parts_of_event(
    line: bytes, *, event: bytes = b"message", event_id: bytes | None = None, retry: float | None = None
) -> tuple[bytes, bytes, bytes]:
    """Return an event as ``encode_event`` does, in parts, so that a large line need not be copied."""
    assert b"\n" not in line and b"\r" not in line, "data on one line: a newline would let a peer write fields"
    head = b"event: " + event + b"\n"
    if event_id is not None:
        head += b"id: " + event_id + b"\n"
    if retry is not None:
        head += b"retry: %d\n" % round(retry * 1000)
    return head + b"data: ", line, b"\n\n"
