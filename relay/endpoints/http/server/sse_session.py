"""Serve one client of HTTP+SSE of 2024-11-05 as an endpoint.

One stream carries all frames to the client, and POSTs carry the client's frames. The stream is the session.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from relay.endpoints.base import ANONYMOUS
from relay.endpoints.core.books import Books
from relay.endpoints.http.server.session import ClientSession
from relay.endpoints.http.server.stream import EventStream
from relay.frames import replies
from relay.frames.frame import Frame
from relay.frames.head import Head, Kind
from relay.limits import Limits
from relay.routing.matching import answers_in

__all__ = ["SseSession"]


class SseSession(ClientSession):
    """An HTTP+SSE session of 2024-11-05, which lives as long as its stream."""

    speaks: Literal["sse"] = "sse"

    def __init__(self, limits: Limits, on_end: Callable[[SseSession], None], owner: str = ANONYMOUS) -> None:
        """Call ``on_end`` when the session of ``owner`` is over."""
        super().__init__(limits, owner)
        self._on_end = on_end
        self.max_in_flight = limits.max_in_flight
        self.stream = EventStream(0, limits, has_ids=False)
        self.ledger: Books[SseSession] = Books(self.name, limits, lambda due: self._push(due.outcome))
        self.open_requests = self.ledger.open_ids
        self._began = self._last_used
        self.is_initialized = False

    @property
    def is_listening(self) -> bool:
        """Whether the client reads the server's own messages, which its one stream carries, too."""
        return True

    @property
    def dropped(self) -> int:
        """The number of dropped answers, which no request waited for."""
        return self.ledger.dropped

    def accept(self, frame: Frame) -> None:
        """Take a frame that the client has POSTed. Raises IdInUse, EndpointClosed."""
        self._check_taking()
        self.touch()
        head = frame.head
        self.ledger.open_frame(self, head)
        if head.method == "initialize":
            self.is_initialized = True
        if head.method == "notifications/cancelled":
            self.ledger.forget(head.target)  # the stream stays open without an answer, so nothing blocks
        self.inbox.put((frame,))

    def idle_since(self) -> float | None:
        """Return None: the session lives as long as its stream, and keep-alive probes detect a dead one."""
        return None

    def tidy(self, now: float) -> None:
        """End a session whose client opened a stream and never sent ``initialize``."""
        if not self.is_initialized and now - self._began > self._limits.handshake:
            self.finish()

    async def send(self, frames: Sequence[Frame]) -> None:
        """Write frames to the stream; wait while the client does not read. Raises EndpointClosed after the end."""
        self._check_taking()
        for frame in frames:
            self._push(frame)
        if self.stream.is_full:
            await self.stream.wait_for_room()
            self._check_taking()

    def _push(self, frame: Frame) -> None:
        """Write a frame; give an answer its request's id, and drop an answer that no request waits for."""
        kind = frame.head.kind
        if kind is Kind.BATCH and not all(self._is_due(message) for message in frame.head.members):
            for member in frame.split():
                self._push(member)
            return
        if kind is Kind.INVALID:
            for answer in answers_in(frame):
                self._push(answer)
            return
        if kind is Kind.RESPONSE and self.ledger.answer(frame.head.id, frame) is None:
            found = self.ledger.answer_oddly(frame, self._loop.time(), "the server")
            if found is not None:
                frame = found[1]
            elif frame.head.id is not None or self.ledger.is_doubtful:
                self.ledger.drop(frame)
                return
        elif kind is Kind.BATCH:
            for message in frame.head.members:
                self.ledger.answer(message.id if message.kind is Kind.RESPONSE else None)
        self.stream.push(frame.line)

    def _is_due(self, message: Head) -> bool:
        return message.kind is not Kind.RESPONSE or message.id in self.ledger

    def finish(self) -> None:
        """Accept no more frames from the client, and end its stream."""
        super().finish()
        self.stream.end()
        self._on_end(self)

    def _fail_open(self, end: replies.End) -> None:
        for lost in self.ledger.fail_all():
            self.stream.push(end.answer(lost.request_id).line)
