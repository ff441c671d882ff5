"""All clients of revision 2026-07-28 of one HTTP listener, as one endpoint.

There are no sessions: each POST stands alone, and a handle that a server gave one client must find the same server
again, so they share one. Each request gets an id of the relay's own and is named back on its way home. A client that
leaves has cancelled its request. MCP 2026-07-28, Transports, "Streamable HTTP".
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence, Sized
from typing import Literal

from relay.endpoints.core.books import Books
from relay.endpoints.http.server.session import ClientSession, Exchange
from relay.endpoints.http.server.stream import EventStream
from relay.errors import EndpointClosed
from relay.frames import replies
from relay.frames.frame import Frame, each_message
from relay.frames.head import Kind
from relay.limits import Limits
from relay.mcp.errors import is_foreign_error, status_of
from relay.mcp.facts import RequestFacts
from relay.mcp.handshake import modern_request
from relay.mcp.profile import ServerProfile, next_cursor
from relay.routing.matching import answers_in
from relay.routing.renaming import Renamed, Renaming

__all__ = ["ModernClients"]

logger = logging.getLogger("relay")

_OF_REQUESTS = frozenset(("notifications/cancelled", "notifications/progress"))
_MOST_PAGES = 20  # of a list of tools


class ModernClients(ClientSession):
    """The requests of many clients, each known to the server under a number of its own."""

    speaks: Literal["modern"] = "modern"
    answer_headers: Mapping[str, str] = {}
    stream_headers: Mapping[str, str] = {}
    header_line = b""
    _end = "the relay is shutting down"

    def __init__(self, limits: Limits, on_end: Callable[[ModernClients], None]) -> None:
        """Call ``on_end`` when no request is taken any more."""
        super().__init__(limits)
        self.name = "clients of 2026-07-28"
        # A plain answer can say 404 or 400, a stream cannot: wait for as long as connections may be silent.
        self.answer_wait = limits.keep_alive
        self.server = ServerProfile(self._loop.time)
        self._asking = asyncio.Lock()
        self._on_end = on_end
        self._books: Books[Renamed[Exchange]] = Books(self.name, limits, lambda due: self._route(due.outcome))
        self._requests = Renaming(self._books)
        self.open_requests: Sized = self._requests
        self.dropped = 0
        self.takes_one = False
        """Whether it ends with its first request: every request has an endpoint, and a server, of its own."""
        self.greeting: str | None = None
        """The version of a request of the legacy era that came alone: its server wants ``initialize`` first."""

    @property
    def is_listening(self) -> bool:
        """Whether a stream is open for what the server sends unasked: there is none in 2026-07-28."""
        return False

    @property
    def in_flight(self) -> int:
        """Requests that wait for an answer, subscriptions left out."""
        return len(self._requests)

    @property
    def max_in_flight(self) -> int:
        """How many requests may wait at one time."""
        return self._limits.max_shared_in_flight

    # What the HTTP handlers ask for.

    def accept(
        self,
        frame: Frame,
        on_outcome: Callable[[Frame | EventStream], None],
        *,
        takes_stream: bool = True,
        has_log: bool = False,
    ) -> Exchange | None:
        """Take a frame a client has POSTed; return the exchange that waits for its answer, if it is a request.

        ``on_outcome`` is told how that exchange is answered: never as a stream, unless it takes one. ``has_log``: the
        request asks for log messages. Raises Unnameable and
        EndpointClosed.
        """
        self._check_taking()
        self.touch()
        if frame.head.kind is not Kind.REQUEST:
            # A client's own ids mean nothing to the server, and leaving is how a request is cancelled here.
            if frame.head.method not in _OF_REQUESTS:
                self.inbox.put((frame,))
            return None
        exchange = Exchange(on_outcome, takes_stream=takes_stream)
        renamed, outward = self._requests.open(exchange, frame, has_log=has_log)
        exchange.owed, exchange.number = 1, renamed.number
        self.inbox.put((outward,))
        return exchange

    async def find_out(self, method: str | None, facts: RequestFacts) -> bool:
        """Ask the server what must be known to check a request; return whether anything was asked.

        A server that does not answer in time, or not well, leaves the request unchecked.
        """
        if self.takes_one or self.server.question(method, facts) is None:
            return False
        async with self._asking:
            while (question := self.server.question(method, facts)) is not None and not self.is_closing:
                answer = await self._ask(question)
                for _ in range(_MOST_PAGES):
                    if question != "tools/list" or answer is None or (cursor := next_cursor(answer)) is None:
                        break
                    answer = await self._ask(question, cursor=cursor)
                if question == "tools/list":
                    self.server.note_listed()
                elif self.server.versions is None:
                    break
        return True

    async def _ask(self, method: str, **params: object) -> Frame | None:
        """Ask the server for ourselves; None if it does not answer."""
        answered: asyncio.Future[Frame | EventStream] = self._loop.create_future()

        def take(outcome: Frame | EventStream) -> None:
            if not answered.done():
                answered.set_result(outcome)

        try:
            exchange = self.accept(modern_request(0, method, params), take)
        except EndpointClosed:
            return None
        assert exchange is not None, "a request"
        try:
            async with asyncio.timeout(self._limits.find_out):
                outcome = await answered
        except TimeoutError:
            return None
        finally:
            self.abandon(exchange)  # nothing if it is answered
        return outcome if isinstance(outcome, Frame) else None

    def status_of(self, answer: Frame) -> int:
        """Return the HTTP status that a plain answer has."""
        return status_of(answer)

    def begin_stream(self, exchange: Exchange) -> None:
        """Answer this exchange as an SSE stream."""
        if exchange.stream is None and exchange.on_outcome is not None and exchange.takes_stream:
            exchange.stream = EventStream(exchange.number, self._limits, has_ids=False)
            exchange.stream.await_reader()
            exchange.decide(exchange.stream)

    def abandon(self, exchange: Exchange) -> None:
        """Cancel a request whose client has left; nothing more is delivered for it ("Cancellation")."""
        exchange.is_abandoned = True
        number = exchange.number
        if self._requests.abandon(number, self._loop.time(), self._limits.abandoned_memory) is None:
            return
        logger.debug("%s: the client of request %d has left: cancelled", self.name, number)
        self.inbox.put((replies.cancelled(number, "the client has left"),))
        self._one_taken()

    def reader_left(self, exchange: Exchange) -> None:
        """Note that an exchange's stream has no reader any more: it has ended, or its client has left."""
        self.abandon(exchange)

    def idle_since(self) -> float | None:
        """Return when a request came last, or None while one is open."""
        if self._books:
            self.touch()
            return None
        return self._last_used

    def tidy(self, now: float) -> None:
        """Keep nothing that could grow old."""

    def end_subscriptions(self) -> None:
        """End every subscription as its server would: its client knows that no more will come."""
        for renamed in self._requests:
            if renamed.is_subscription:
                self._requests.settle(renamed.number)
                self._end_subscription(renamed)
                self.inbox.put((replies.cancelled(renamed.number, "the relay is shutting down"),))

    def finish(self) -> None:
        """Take no more requests."""
        super().finish()
        self._on_end(self)

    # What the pipe asks for.

    async def send(self, frames: Sequence[Frame]) -> None:
        """Give each frame to the client it is for. Never waits: no client may hold up the others."""
        self._check_open()
        self.send_at_once(frames)

    def send_at_once(self, frames: Sequence[Frame]) -> bool:
        """Give each frame to the client it is for, while this is open."""
        if self.is_closed:
            return False
        for one in each_message(frames):
            self._route(one)
        return True

    def _route(self, frame: Frame) -> None:
        kind = frame.head.kind
        if kind is Kind.INVALID:
            for one in answers_in(frame):
                self._route(one)
        elif kind is Kind.RESPONSE:
            answered = self._requests.answered(frame, self._loop.time())
            if answered is None:
                self._drop(frame, "an answer that no request waits for")
                return
            renamed, home = answered
            self.server.take(renamed.method, home)
            self._answer(renamed, home)
            if renamed.method == "server/discover" and is_foreign_error(home) and not self._books:
                self.finish()  # a server of the legacy era, which serves sessions only: this one is of no use
        elif kind is Kind.REQUEST:
            # "The server MUST NOT write JSON-RPC requests" (stdio of this revision): it must not wait for an answer.
            fault = "clients without a session take no requests"
            refusal = replies.error(frame.head.id, replies.METHOD_NOT_FOUND, fault)
            self.inbox.put((refusal,))
        elif (related := self._requests.related(frame)) is not None:
            self._notify(*related)
        else:
            self._drop(frame, "a notification that could be any client's")

    def _drop(self, frame: Frame, what: str) -> None:
        self.dropped += 1
        logger.debug("%s: dropped %s: %s", self.name, what, frame.head.method or frame.head.id)

    def _answer(self, renamed: Renamed[Exchange], frame: Frame) -> None:
        exchange = renamed.owner
        if exchange.stream is None:
            exchange.decide(frame)
        else:
            exchange.stream.push(frame.line)
            exchange.stream.end()
        self._one_taken()

    def _one_taken(self) -> None:
        if self.takes_one:
            self.finish()

    def _notify(self, renamed: Renamed[Exchange], frame: Frame) -> None:
        exchange = renamed.owner
        if not exchange.takes_stream:
            self._drop(frame, "a notification to a client that takes no stream")
            return
        self.begin_stream(exchange)
        assert exchange.stream is not None, "begun"
        exchange.stream.push(frame.line)
        if frame.head.target is not None:  # the server has ended this subscription
            self._requests.settle(renamed.number)
            self._end_subscription(renamed)
        elif exchange.stream.log.unwritten_bytes > self._limits.replay_bytes:
            logger.warning("%s: a client reads too slowly: its request is cancelled", self.name)
            self.abandon(exchange)
            exchange.stream.cut()

    def _end_subscription(self, renamed: Renamed[Exchange]) -> None:
        self.begin_stream(renamed.owner)
        self._answer(renamed, replies.subscription_ended(renamed.id))

    def _fail_open(self, end: replies.End) -> None:
        # Subscriptions end in good order.
        for renamed in self._requests.fail_all():
            if renamed.is_subscription:
                self._end_subscription(renamed)
            else:
                self._answer(renamed, end.answer(renamed.id))
