"""Find the answer in a stream for a client that accepts only plain JSON, and drop the stream's other messages."""

from __future__ import annotations

from relay.endpoints.http.through.taking import asked_in, take_each
from relay.errors import FrameTooLarge
from relay.frames.faults import size_fault
from relay.frames.frame import Frame
from relay.frames.head import Head, Kind
from relay.frames.lines import Oversized
from relay.frames.sse import SseDecoder

__all__ = ["CollapsedStream"]


class CollapsedStream:
    """The answers to one POST, collected from events."""

    def __init__(self, head: Head, max_frame_bytes: int) -> None:
        """Wait for the answers to ``head``."""
        self._is_batch = head.kind is Kind.BATCH
        self._ledger = asked_in(head)
        self._found: list[bytes] = []
        self._max_frame_bytes = max_frame_bytes
        self._decoder = SseDecoder(max_frame_bytes)

    @property
    def is_doubtful(self) -> bool:
        """Whether an answer without a match has arrived, and the only open request has no answer."""
        return self._ledger.is_doubtful

    def feed(self, chunk: bytes) -> bytes | None:
        """Take a piece of the stream; return the plain body once every answer is there. Raises FrameTooLarge."""
        for event in self._decoder.feed(chunk):
            if isinstance(event.data, Oversized):
                raise FrameTooLarge(size_fault(event.data.size, self._max_frame_bytes, "an event"))
            if event.data:
                for one, fate in take_each(Frame(event.data), self._ledger, is_whole=False):
                    if fate == "answers":
                        self._found.append(one.raw)
        return None if self._ledger else self._body()

    def last_resort(self) -> bytes | None:
        """Return a body with the unmatched answer, if the stream has ended and only that answer can be the owed one."""
        lost = self._ledger.fail_all()
        self._found += [one.stray.raw for one in lost if one.stray is not None]
        return self._body() if all(one.stray is not None for one in lost) else None

    def _body(self) -> bytes:
        return b"[" + b",".join(self._found) + b"]" if self._is_batch else self._found[0]
