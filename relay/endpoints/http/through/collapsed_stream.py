"""Find the answer in a stream, for a client that takes plain JSON and no streams; what comes beside it is left out."""

from __future__ import annotations

from relay.errors import FrameTooLarge
from relay.frames.frame import Frame
from relay.frames.head import Head, Kind, RequestId
from relay.frames.lines import Oversized
from relay.frames.sse import SseDecoder
from relay.routing.matching import Strays, fitting, only_of

__all__ = ["CollapsedStream"]


class CollapsedStream:
    """The answers to one POST, as they come as events."""

    def __init__(self, head: Head, max_frame_bytes: int) -> None:
        """Wait for the answers to ``head``."""
        self._is_batch = head.kind is Kind.BATCH
        asked = (one.id for one in head.messages if one.kind is Kind.REQUEST)
        self._waiting: dict[RequestId, None] = {one: None for one in asked if one is not None}
        self._answered: set[RequestId] = set()
        self._strays = Strays()
        self._strays.on_doubt = lambda _: None  # whoever reads the stream looks at ``is_doubtful``
        self._found: list[bytes] = []
        self._max_frame_bytes = max_frame_bytes
        self._decoder = SseDecoder(max_frame_bytes)

    @property
    def is_doubtful(self) -> bool:
        """Whether an answer has come that fits nobody, and none for the only request that waits."""
        return bool(self._strays.doubts)

    def feed(self, chunk: bytes) -> bytes | None:
        """Take some of the stream; return the body of the plain answer once all is there. Raises FrameTooLarge."""
        for event in self._decoder.feed(chunk):
            if isinstance(event.data, Oversized):
                raise FrameTooLarge(f"an event of more than {self._max_frame_bytes} bytes; see --max-frame-bytes")
            if event.data:
                for one in fitting(Frame(event.data), self._waiting, self._answered, "the server", is_whole=False):
                    self._take(one)
        return None if self._waiting else self._body()

    def _take(self, frame: Frame) -> None:
        said = frame.head.id
        if frame.head.kind is not Kind.RESPONSE:
            return
        if said is None or said not in self._waiting:
            self._strays.take(frame, only_of(self._waiting), "the server", known=self._answered)
            return
        del self._waiting[said]
        self._answered.add(said)
        self._strays.doubts.pop(said, None)
        self._found.append(frame.raw)

    def last_resort(self) -> bytes | None:
        """Return the body of the answer that may be the only one that is owed, if one came and no other will."""
        for outcome in tuple(self._strays.doubts.values()):
            self._take(outcome)
        return None if self._waiting else self._body()

    def _body(self) -> bytes:
        return b"[" + b",".join(self._found) + b"]" if self._is_batch else self._found[0]
