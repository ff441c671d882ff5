"""One frame that an HTTP client sends, and where the stream of its answers stands."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from relay.frames.frame import Frame
from relay.frames.head import REQUEST
from relay.frames.sse import SseEvent
from relay.mcp.facts import RequestFacts

if TYPE_CHECKING:
    from relay.auth.outbound.tries import Tries

__all__ = ["Post", "StreamCursor"]


class StreamCursor:
    """The position of an SSE stream: the last event id, and the seconds to wait before reopening the stream."""

    __slots__ = ("last_event_id", "retry")

    def __init__(self) -> None:
        """Start at the beginning."""
        self.last_event_id: str | None = None
        self.retry: float | None = None

    def advance(self, event: SseEvent) -> None:
        """Note the id and the retry time of an event."""
        if event.retry is not None:
            self.retry = event.retry / 1000
        if event.id is not None:
            self.last_event_id = event.id or None


class Post:
    """One frame on its way to the server, and the number of answers that the server owes for it."""

    __slots__ = (
        "_cursor", "cancel", "facts", "frame", "has_spoken", "is_handshake", "is_resent", "is_subscription", "owed",
        "session", "tries", "watch",
    )  # fmt: skip

    def __init__(self, frame: Frame, facts: RequestFacts | None = None) -> None:
        """Hold ``frame``, whose requests ``RemoteClient`` registers; ``facts`` makes it a modern frame."""
        self.frame = frame
        self.facts = facts
        self.owed = 0
        """Requests of the frame that wait for an answer."""
        method = frame.head.method
        self.is_handshake = method == "initialize" and facts is None and frame.head.kind is REQUEST
        self.is_subscription = method == "subscriptions/listen" and facts is not None
        self.is_resent = False
        self.session: object = None
        """The session in which the frame was last sent."""
        self.has_spoken = False
        """Whether an event for this frame has arrived since this flag was cleared."""
        self.watch: asyncio.Task[None] | None = None
        """The task that fails the frame's requests once their answers have become doubtful."""
        self.cancel: Callable[[], object] | None = None
        """Cancels the exchange of the frame, once no request waits for its answer."""
        self.tries: Tries | None = None
        """The tries of the frame, if the relay logs in to the server."""
        self._cursor: StreamCursor | None = None

    @property
    def cursor(self) -> StreamCursor:
        """The position of the stream that carries the answers."""
        if self._cursor is None:  # most answers need no cursor; creating one takes 0.2 us
            self._cursor = StreamCursor()
        return self._cursor
