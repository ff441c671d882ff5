"""What a stream that passes still owes its client, and what to write if it ends too soon.

The bytes have gone to the client when they are looked at here: of an event that is large only its ends are kept, and
of one that will never be whole the half is out already. It cannot be taken back, but it can be made an event of a
kind that no client knows.
"""

from __future__ import annotations

import re

from relay.endpoints.http.through.taking import asked_in, take_each
from relay.errors import FrameTooLarge
from relay.frames import replies
from relay.frames.envelope import salvage_head
from relay.frames.frame import Frame
from relay.frames.head import Head, Kind, RequestId
from relay.frames.lines import Oversized
from relay.frames.sse import SseDecoder, SseEvent, encode_event
from relay.limits import Limits
from relay.routing.ledger import Ledger

__all__ = ["StreamWatch", "once_each"]

# The last ``event`` field of an event is the one that counts (WHATWG HTML, "Server-sent events"); clients that find
# none of theirs there leave its data unread.
_BROKEN_OFF = b"event: broken-off\n\n"
_BATCH = re.compile(rb"\s*\[")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_BLANK_LINE = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")  # atomic: CRLF alone is one line end, not two
_LAST_LINE_END = re.compile(rb"(?:\r\n|\n|\r)\Z")
_SLACK = 64  # field names before the data of an unfinished event


class StreamWatch:
    """The requests that a stream has yet to answer, from the events that pass; each is answered once."""

    def __init__(
        self, head: Head | None, limits: Limits, *, can_resume: bool, owed: Ledger[bool] | None = None,
        is_resumed: bool = False,
    ) -> None:  # fmt: skip
        """Wait for the answers to ``head``; ``can_resume`` if an event id means that the rest can be had later.

        Without a head the stream is one that its client has asked for: resumed, where it may owe answers that are
        known (``owed``), or for what the server says unasked, where no answer may come at all.
        """
        self._ledger = asked_in(head) if owed is None else owed
        self._is_unasked = head is None and not is_resumed
        self.dropped = 0
        """Answers that did not pass, as they had passed before or belong to no request."""
        self.last_event_id: str | None = None
        self._can_resume = can_resume
        self._max_frame_bytes = limits.max_frame_bytes
        self._decoder = SseDecoder(limits.buffer_high)
        self._rest_of_half: bytes | None = None

    @property
    def is_owed(self) -> bool:
        """Whether an answer has still to come."""
        return len(self._ledger) > 0

    @property
    def is_doubtful(self) -> bool:
        """Whether an answer has come that fits nobody, and none for the only request that waits."""
        return self._ledger.is_doubtful

    @property
    def owed(self) -> Ledger[bool]:
        """The requests whose answers have still to come: their life goes on where the stream is resumed."""
        return self._ledger

    @property
    def is_resumable(self) -> bool:
        """Whether the rest can be had with the last event id."""
        return self.last_event_id is not None

    def feed(self, chunk: bytes) -> bytes:
        """Take what came; return what is to pass: the same, unless it holds an answer that has passed before.

        Raises FrameTooLarge if it must not pass, with nothing of it taken for passed.
        """
        rest_of_half = self._after_half()
        has_begun = not self._decoder.is_between_events
        is_at_line = self._decoder.is_between_lines
        events = self._decoder.feed(chunk)
        if self._ledger:
            unfinished = self._decoder.pending - _SLACK
            size = max([unfinished, *(_size(event) for event in events)])
            if size > self._max_frame_bytes:
                self._rest_of_half = rest_of_half
                raise FrameTooLarge(f"an event of more than {self._max_frame_bytes} bytes; see --max-frame-bytes")
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
        """Return bytes without the events that have something else to pass instead.

        Of an event whose beginning has passed, a last ``event`` field makes one of a kind that nobody reads.
        """
        pieces = _cut(chunk, is_at_line=is_at_line)
        ends = [bool(SseDecoder(len(piece)).feed(piece)) for piece in pieces]
        ends[0] = sum(ends[1:]) < len(instead)  # what it ends may have begun before it
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
        """Take the answers in an event; None if it passes, else what passes in its place."""
        if isinstance(event.data, Oversized):
            head = salvage_head(event.data.start, event.data.end)
            if head.kind is Kind.INVALID:
                self._ledger.fail_all()  # written in no order we know: taken for the answer rather than given a second
        elif event.data and self._may_answer(event.data):
            frame = Frame(event.data)
            head = frame.head
            if event.event == "message" and self._is_odd(head):
                return self._settle_odd(frame)
        else:
            return _without_bom(event)
        answers = [one.id for one in head.messages if one.kind is Kind.RESPONSE and one.id is not None]
        fresh = [self._is_fresh(one) for one in answers]
        if all(fresh):
            return _without_bom(event)
        self.dropped += len(fresh) - sum(fresh)
        return _without_repeated(event, fresh)

    def _is_fresh(self, request_id: RequestId) -> bool:
        """Take an answer; return whether it passes, as the first to its request."""
        if self._ledger.answer(request_id):
            return True
        if self._is_unasked or self._ledger.is_late(request_id):
            return False
        self._ledger.note(request_id)
        return True

    def _may_answer(self, data: bytes) -> bool:
        return b'"result"' in data or b'"error"' in data or (self.is_owed and b'"method"' not in data)

    def _is_odd(self, head: Head) -> bool:
        """Tell whether an answer is not sound, or while somebody waits not under the id of a request that is known."""
        if not self._ledger:
            return head.kind is Kind.INVALID and (self._is_unasked or self._ledger.has_settled)
        answers = (one.id for one in head.messages if one.kind is Kind.RESPONSE)
        return head.kind is Kind.INVALID or not all(self._ledger.knows(one) for one in answers)

    def _settle_odd(self, frame: Frame) -> bytes:
        """Take what is not what an answer should be; return what passes in its place."""
        passing: list[bytes] = []
        for one, fate in take_each(frame, self._ledger, is_whole=False):
            if fate == "again" or (fate == "nobody's" and self._is_unasked):
                self.dropped += 1
            elif fate != "nobody's" or not self.is_doubtful:  # else it may be what is to be said later
                passing.append(encode_event(one.line))
        return b"".join(passing)

    def give_up(self, code: int, message: str) -> bytes:
        """Return what answers every request that waits, after whatever half of an event has passed."""
        lost = self._ledger.fail_all()
        errors = [one.stray or replies.error(one.request_id, code, message, delivered="unknown") for one in lost]
        return self._after_half() + b"".join(encode_event(one.line) for one in errors) if errors else b""

    def end_subscription(self) -> bytes:
        """Return what ends a subscription in good order."""
        return self._after_half() + b"".join(
            encode_event(replies.subscription_ended(one.request_id).line) for one in self._ledger.fail_all()
        )

    def _after_half(self) -> bytes:
        if self._rest_of_half is not None:
            return self._rest_of_half
        if self._decoder.is_between_events:
            return b""
        # One line end more than there are lines would be the end of the event, and give it to the client as whole.
        return _BROKEN_OFF if self._decoder.is_between_lines else b"\n" + _BROKEN_OFF


def _cut(chunk: bytes, *, is_at_line: bool) -> list[bytes]:
    """Cut bytes after each blank line, so that a piece holds the end of one event at most."""
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
    """Return the fields of an event that say where the stream stands, for one in its place."""
    fields = [line for line in _LINE_END.split(event) if line.startswith((b"id", b"retry"))]
    return b"".join(line + b"\n" for line in fields)


def _without_bom(event: SseEvent) -> bytes | None:
    """Return what passes in place of an event that has a byte order mark before its message; None if it has none."""
    if not event.has_bom or event.event != "message" or not isinstance(event.data, bytes):
        return None
    return encode_event(Frame(event.data).line)


def _size(event: SseEvent) -> int:
    if event.data is None:
        return 0
    return event.data.size if isinstance(event.data, Oversized) else len(event.data)


def once_each(body: bytes) -> bytes:
    """Leave out of a batch what answers a request for the second time."""
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
    """Return what remains of a batch when only its ``fresh`` answers pass."""
    if not any(fresh) or not isinstance(event.data, bytes):
        return b""
    left = iter(fresh)
    kept = [
        encode_event(one.line)
        for one in Frame(event.data).split()
        if one.head.kind is not Kind.RESPONSE or one.head.id is None or next(left)
    ]
    return b"".join(kept)
