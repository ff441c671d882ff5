"""One client of the HTTP listener by HTTP+SSE of 2024-11-05, as an endpoint.

One stream carries everything to the client, POSTs carry the rest; the session is the stream.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from relay.endpoints.http_session import ClientSession
from relay.endpoints.http_stream import EventStream
from relay.frames import replies
from relay.frames.frame import Frame, Kind
from relay.limits import Limits
from relay.routing.exchanges import Exchanges

__all__ = ["SseSession"]


class SseSession(ClientSession):
    """An HTTP+SSE session of 2024-11-05: one stream carries everything to the client, POSTs carry the rest."""

    def __init__(self, limits: Limits, on_end: Callable[[SseSession], None]) -> None:
        """Call ``on_end`` when the session is over."""
        super().__init__(limits)
        self._on_end = on_end
        self.max_in_flight = limits.max_in_flight
        self.stream = EventStream(0, limits, has_ids=False)
        self.exchanges: Exchanges[SseSession] = Exchanges()
        self._began = self._last_used
        self.is_initialized = False

    @property
    def is_listening(self) -> bool:
        """Whether the client reads what the server says unasked: its one stream carries everything."""
        return True

    @property
    def in_flight(self) -> int:
        """Requests that wait for an answer."""
        return len(self.exchanges)

    def accept(self, frame: Frame) -> None:
        """Take a frame the client has POSTed. Raises IdInUse, EndpointClosed."""
        self._check_taking()
        self.touch()
        head = frame.head
        self.exchanges.open(self, head.messages)
        if head.method == "initialize":
            self.is_initialized = True
        if head.method == "notifications/cancelled" and head.target is not None:
            self.exchanges.settle(head.target)  # the stream stays open without an answer: nothing hangs
        self.inbox.put((frame,))

    def idle_since(self) -> float | None:
        """Return None: a session lives as long as its stream, which the keep-alive probes."""
        return None

    def tidy(self, now: float) -> None:
        """End a session whose client opened a stream and never said ``initialize``."""
        if not self.is_initialized and now - self._began > self._limits.handshake:
            self.finish()

    async def send(self, frames: Sequence[Frame]) -> None:
        """Write frames to the stream; waits while the client does not read. Raises EndpointClosed after its end."""
        self._check_taking()
        for frame in frames:
            for message in frame.head.messages:
                if message.kind is Kind.RESPONSE:
                    self.exchanges.settle(message.id)
            self.stream.push(frame.line)
        if self.stream.is_full:
            await self.stream.wait_for_room()
            self._check_taking()

    def finish(self) -> None:
        """Take no more from the client and let its stream end."""
        super().finish()
        self.stream.end()
        self._on_end(self)

    def _fail_open(self, end: replies.End) -> None:
        for request_id, _ in self.exchanges.fail_all():
            self.stream.push(end.answer(request_id).line)
