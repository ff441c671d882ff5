"""Track which answers a forwarded stream still owes its client, and write the errors if the stream ends early.

The watch keeps only the ends of a large event, because the event's bytes pass to the client as they arrive. If an event
breaks off, its first half has already passed. The relay cannot recall that half, but it can turn it into an event of a
type that no client reads.
"""

from __future__ import annotations

import re

from relay.endpoints.http.through.taking import asked_in, take_each
from relay.errors import FrameTooLarge
from relay.frames import replies
from relay.frames.envelope import salvage_head
from relay.frames.faults import size_fault
from relay.frames.frame import Frame
from relay.frames.head import Head, Kind, RequestId
from relay.frames.lines import Oversized
from relay.frames.sse import SseDecoder, SseEvent, encode_event
from relay.limits import Limits
from relay.routing.ledger import Ledger

__all__ = ["StreamWatch", "once_each"]

# The last ``event`` field of an event counts (WHATWG HTML, "Server-sent events"). Clients ignore the data of an event
# type that they do not know.
_BROKEN_OFF = b"event: broken-off\n\n"
_BATCH = re.compile(rb"\s*\[")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_BLANK_LINE = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")  # atomic: CRLF alone is one line end, not two
_LAST_LINE_END = re.compile(rb"(?:\r\n|\n|\r)\Z")
_SLACK = 64  # field names before the data of an unfinished event


class StreamWatch:
    """The requests that a stream has yet to answer; each gets one answer from the events that pass."""

    def __init__(
        self, head: Head | None, limits: Limits, *, can_resume: bool, owed: Ledger[bool] | None = None,
        is_resumed: bool = False,
    ) -> None:  # fmt: skip
        """Wait for the answers to ``head``; ``can_resume`` if the client can resume the stream after an event id.

        Without a head, the client opened the stream with a GET. A resumed stream may owe the answers in ``owed``.
        Any other GET stream carries the server's own messages, and must not carry answers.
        """
        self._ledger = asked_in(head) if owed is None else owed
        self._is_unasked = head is None and not is_resumed
        self.dropped = 0
        """The number of dropped answers: repeated ones, and answers to no known request."""
        self.last_event_id: str | None = None
        self._can_resume = can_resume
        self._max_frame_bytes = limits.max_frame_bytes
        self._decoder = SseDecoder(limits.buffer_high)
        self._rest_of_half: bytes | None = None

    @property
    def is_between_events(self) -> bool:
        """Whether the next bytes begin an event."""
        return self._decoder.is_between_events

    @property
    def is_owed(self) -> bool:
        """Whether a request still waits for its answer."""
        return len(self._ledger) > 0

    @property
    def is_doubtful(self) -> bool:
        """Whether an answer without a match has arrived, and the only open request has no answer."""
        return self._ledger.is_doubtful

    @property
    def owed(self) -> Ledger[bool]:
        """The requests that still wait for answers, for the stream that resumes this one."""
        return self._ledger

    @property
    def is_resumable(self) -> bool:
        """Whether the client can resume the stream after the last event id."""
        return self.last_event_id is not None

    def feed(self, chunk: bytes) -> bytes:
        """Take a chunk of the stream; return the bytes to forward: the chunk, or a copy with some answers replaced.

        Raises FrameTooLarge if the chunk must not pass; the watch then counts none of it as passed.
        """
        rest_of_half = self._after_half()
        has_begun = not self._decoder.is_between_events
        is_at_line = self._decoder.is_between_lines
        events = self._decoder.feed(chunk)
        if self._ledger:
            unfinished = self._decoder.pending - _SLACK
            size = max([unfinished, *(_size(event) for event in events)])
            if size > self._max_frame_bytes:
                self._rest_of_half, limit = rest_of_half, self._max_frame_bytes
                raise FrameTooLarge(size_fault(limit + 1, limit, "an event", is_cut=True))
        is_changed = False
        instead: list[bytes | None] = []
        for event in events:
            if self._can_resume:
                self.last_event_id = event.id or None
            one = self._settle(event)
            is_changed = is_changed or one is not None
            instead.append(one)
        return self._without(chunk, instead, has_begun=has_begun, is_at_line=is_at_line) if is_changed else chunk

    def _without(self, chunk: bytes, instead: list[bytes | None], *, has_begun: bool, is_at_line: bool) -> bytes:
        """Return ``chunk`` with each event in ``instead`` replaced.

        If the beginning of an event has passed, a last ``event`` field turns it into a type that no client reads.
        """
        pieces = _cut(chunk, is_at_line=is_at_line)
        ends = [bool(SseDecoder(len(piece)).feed(piece)) for piece in pieces]
        ends[0] = sum(ends[1:]) < len(instead)  # the first piece may end an event of an earlier chunk
        left = iter(instead)
        passing = []
        for number, (piece, is_end) in enumerate(zip(pieces, ends, strict=True)):
            again = next(left, None) if is_end else None
            if again is not None and (number or not has_begun):
                position = _position_in(piece)
                piece = position + (again or (b"\n" if position else b""))
            elif again is not None:
                end = _LAST_LINE_END.search(piece)
                at = end.start() if end is not None else len(piece)
                piece = piece[:at] + b"event: broken-off\n" + piece[at:] + again
            passing.append(piece)
        return b"".join(passing)

    def _settle(self, event: SseEvent) -> bytes | None:
        """Take the answers in an event; return None if the event passes, or the bytes that replace it."""
        frame: Frame | None = None
        if isinstance(event.data, Oversized):
            head = salvage_head(event.data.start, event.data.end)
            if head.kind is Kind.INVALID:
                # An unreadable large event counts as the answer, so that the client gets no second one.
                self._ledger.fail_all("answered")
        elif event.data and self._may_answer(event.data):
            frame = Frame(event.data)
            head = frame.head
            if event.event == "message" and self._is_odd(head):
                return self._settle_odd(frame)
        else:
            return _without_bom(event)
        answers = [one.id for one in head.messages if one.kind is Kind.RESPONSE and one.id is not None]
        fresh = [self._is_fresh(one, frame) for one in answers]
        if all(fresh):
            return _without_bom(event)
        self.dropped += len(fresh) - sum(fresh)
        return _without_repeated(event, fresh)

    def _is_fresh(self, request_id: RequestId, answer: Frame | None) -> bool:
        """Take an answer; return whether the answer passes, because it is the first to its request."""
        if self._ledger.answer(request_id, answer):
            return True
        if self._is_unasked or self._ledger.is_late(request_id):
            return False
        self._ledger.note(request_id)
        return True

    def _may_answer(self, data: bytes) -> bool:
        return b'"result"' in data or b'"error"' in data or (self.is_owed and b'"method"' not in data)

    def _is_odd(self, head: Head) -> bool:
        """Tell whether a frame is invalid, or holds an answer to no known request while a request waits."""
        if not self._ledger:
            return head.kind is Kind.INVALID and (self._is_unasked or self._ledger.has_settled)
        answers = (one.id for one in head.messages if one.kind is Kind.RESPONSE)
        return head.kind is Kind.INVALID or not all(self._ledger.knows(one) for one in answers)

    def _settle_odd(self, frame: Frame) -> bytes:
        """Take an odd answer; return the bytes that pass in its place."""
        passing: list[bytes] = []
        for one, fate in take_each(frame, self._ledger, is_whole=False):
            if fate == "again" or (fate == "nobody's" and self._is_unasked):
                self.dropped += 1
            elif fate != "nobody's" or not self.is_doubtful:  # otherwise ``give_up`` may forward it later
                passing.append(encode_event(one.line))
        return b"".join(passing)

    def give_up(self, code: int, message: str) -> bytes:
        """Return errors for every open request, after the end of an event of which a half has passed."""
        lost = self._ledger.fail_all()
        errors = [one.stray or replies.error(one.request_id, code, message, delivered="unknown") for one in lost]
        return self._after_half() + b"".join(encode_event(one.line) for one in errors) if errors else b""

    def end_subscription(self) -> bytes:
        """Return the bytes that end a subscription gracefully."""
        return self._after_half() + b"".join(
            encode_event(replies.subscription_ended(one.request_id).line) for one in self._ledger.fail_all("answered")
        )

    def _after_half(self) -> bytes:
        if self._rest_of_half is not None:
            return self._rest_of_half
        if self._decoder.is_between_events:
            return b""
        # A blank line would end the event, and the client would take its half for a complete one.
        return _BROKEN_OFF if self._decoder.is_between_lines else b"\n" + _BROKEN_OFF


def _cut(chunk: bytes, *, is_at_line: bool) -> list[bytes]:
    """Split bytes after each blank line, so that each piece ends at most one event."""
    at = 0
    pieces: list[bytes] = []
    if is_at_line and (first := _LINE_END.match(chunk)) is not None:
        at = first.end()
        pieces.append(chunk[:at])
    for found in _BLANK_LINE.finditer(chunk, at):
        pieces.append(chunk[at : found.end()])
        at = found.end()
    if at < len(chunk):
        pieces.append(chunk[at:])
    return pieces


def _position_in(event: bytes) -> bytes:
    """Return the ``id`` and ``retry`` fields of an event, for the bytes that replace it."""
    fields = [line for line in _LINE_END.split(event) if line.startswith((b"id", b"retry"))]
    return b"".join(line + b"\n" for line in fields)


def _without_bom(event: SseEvent) -> bytes | None:
    """Return the replacement of an event whose message begins with a byte order mark; None for any other event."""
    if not event.has_bom or event.event != "message" or not isinstance(event.data, bytes):
        return None
    return encode_event(Frame(event.data).line)


def _size(event: SseEvent) -> int:
    if event.data is None:
        return 0
    return event.data.size if isinstance(event.data, Oversized) else len(event.data)


def once_each(body: bytes) -> bytes:
    """Return a batch without repeated answers to the same request."""
    if body[:1] == b"{" or not _BATCH.match(body):
        return body
    frame = Frame(body.strip())
    members = frame.split() if frame.head.kind is Kind.BATCH else []
    kept: dict[object, bytes] = {}
    for number, one in enumerate(members):
        is_answer = one.head.kind is Kind.RESPONSE and one.head.id is not None
        kept.setdefault((one.head.id,) if is_answer else number, one.raw)
    return body if len(kept) == len(members) else b"[" + b",".join(kept.values()) + b"]"


def _without_repeated(event: SseEvent, fresh: list[bool]) -> bytes:
    """Return the batch in an event as events, without the answers that are not ``fresh``."""
    if not any(fresh) or not isinstance(event.data, bytes):
        return b""
    left = iter(fresh)
    kept = [
        encode_event(one.line)
        for one in Frame(event.data).split()
        if one.head.kind is not Kind.RESPONSE or one.head.id is None or next(left)
    ]
    return b"".join(kept)
