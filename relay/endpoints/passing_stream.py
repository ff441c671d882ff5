"""What a stream that passes still owes its client, and what to write if it ends too soon.

The bytes have gone to the client when they are looked at here: of an event that is large only its ends are kept, and
of one that will never be whole the half is out already. It cannot be taken back, but it can be made an event of a
kind that no client knows.
"""

from __future__ import annotations

from relay.errors import FrameTooLarge
from relay.frames import replies
from relay.frames.frame import Frame, Head, Kind, RequestId, salvage_head
from relay.frames.lines import Oversized
from relay.frames.sse import SseDecoder, SseEvent, encode_event
from relay.limits import Limits

__all__ = ["StreamWatch"]

# The last ``event`` field of an event is the one that counts (WHATWG HTML, "Server-sent events"); clients that find
# none of theirs there leave its data unread.
_BROKEN_OFF = b"event: broken-off\n\n"
_SLACK = 64  # field names before the data of an unfinished event


class StreamWatch:
    """The requests that a stream has yet to answer, from the events that pass."""

    def __init__(self, head: Head | None, limits: Limits, *, can_resume: bool) -> None:
        """Wait for the answers to ``head``; ``can_resume`` if an event id means that the rest can be had later."""
        asked = (one for one in (head.messages if head is not None else ()) if one.kind is Kind.REQUEST)
        self._waiting: dict[RequestId, None] = {one.id: None for one in asked if one.id is not None}
        self.is_resumable = False
        self._can_resume = can_resume
        self._max_frame_bytes = limits.max_frame_bytes
        self._decoder = SseDecoder(limits.buffer_high)
        self._rest_of_half: bytes | None = None

    @property
    def is_owed(self) -> bool:
        """Whether an answer has still to come."""
        return bool(self._waiting)

    def feed(self, chunk: bytes) -> None:
        """Look at what is about to pass. Raises FrameTooLarge if it must not, with nothing of it taken for passed."""
        if not self._waiting:
            return
        rest_of_half = self._after_half()
        events = self._decoder.feed(chunk)
        unfinished = self._decoder.pending - _SLACK
        size = max([unfinished, *(_size(event) for event in events)])
        if size > self._max_frame_bytes:
            self._rest_of_half = rest_of_half
            raise FrameTooLarge(f"an event of more than {self._max_frame_bytes} bytes; see --max-frame-bytes")
        for event in events:
            self.is_resumable = self._can_resume and bool(event.id)
            self._settle(event)

    def _settle(self, event: SseEvent) -> None:
        if isinstance(event.data, Oversized):
            head = salvage_head(event.data.start, event.data.end)
            if head.kind is Kind.INVALID:
                self._waiting.clear()  # written in no order we know: taken for the answer rather than given a second
        elif event.data:
            head = Frame(event.data).head
        else:
            return
        for one in head.messages:
            if one.kind is Kind.RESPONSE and one.id is not None:
                self._waiting.pop(one.id, None)

    def give_up(self, code: int, message: str) -> bytes:
        """Return what answers every request that waits, after whatever half of an event has passed."""
        errors = replies.errors(self._waiting, code, message, delivered="unknown")
        return self._after_half() + b"".join(encode_event(one.line) for one in errors) if errors else b""

    def end_subscription(self) -> bytes:
        """Return what ends a subscription in good order."""
        return self._after_half() + b"".join(
            encode_event(replies.subscription_ended(one).line) for one in self._waiting
        )

    def _after_half(self) -> bytes:
        if self._rest_of_half is not None:
            return self._rest_of_half
        if self._decoder.is_between_events:
            return b""
        # One line end more than there are lines would be the end of the event, and give it to the client as whole.
        return _BROKEN_OFF if self._decoder.is_between_lines else b"\n" + _BROKEN_OFF


def _size(event: SseEvent) -> int:
    if event.data is None:
        return 0
    return event.data.size if isinstance(event.data, Oversized) else len(event.data)
