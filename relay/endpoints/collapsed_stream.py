"""Find the answer in a stream, for a client that takes plain JSON and no streams; what comes beside it is left out."""

from __future__ import annotations

from relay.errors import FrameTooLarge
from relay.frames.frame import Frame, Head, Kind, RequestId, each_message
from relay.frames.lines import Oversized
from relay.frames.sse import SseDecoder

__all__ = ["CollapsedStream"]


class CollapsedStream:
    """The answers to one POST, as they come as events."""

    def __init__(self, head: Head, max_frame_bytes: int) -> None:
        """Wait for the answers to ``head``."""
        self._is_batch = head.kind is Kind.BATCH
        self._waiting: set[RequestId | None] = {one.id for one in head.messages if one.kind is Kind.REQUEST}
        self._found: list[bytes] = []
        self._max_frame_bytes = max_frame_bytes
        self._decoder = SseDecoder(max_frame_bytes)

    def feed(self, chunk: bytes) -> bytes | None:
        """Take some of the stream; return the body of the plain answer once all is there. Raises FrameTooLarge."""
        for event in self._decoder.feed(chunk):
            if isinstance(event.data, Oversized):
                raise FrameTooLarge(f"an event of more than {self._max_frame_bytes} bytes; see --max-frame-bytes")
            for one in each_message((Frame(event.data),)) if event.data else ():
                if one.head.kind is Kind.RESPONSE and one.head.id in self._waiting:
                    self._waiting.discard(one.head.id)
                    self._found.append(one.raw)
        if self._waiting:
            return None
        return b"[" + b",".join(self._found) + b"]" if self._is_batch else self._found[0]
