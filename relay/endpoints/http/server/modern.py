"""Serve all clients of revision 2026-07-28 of one HTTP listener, or those of one principal, as one endpoint.

This revision has no sessions: each POST stands alone. A handle that a server gave to one client must reach the same
server again, so all clients of a principal share one server. The relay replaces each request's id with its own, and
restores the client's id in the answer. A client that leaves cancels its request. MCP 2026-07-28, Transports,
"Streamable HTTP".
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from relay.endpoints.base import ANONYMOUS
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
_MOST_PAGES = 20  # pages of a list of tools


class ModernClients(ClientSession):
    """The requests of many clients, each known to the server by its own number."""

    speaks: Literal["modern"] = "modern"
    answer_headers: Mapping[str, str] = {}
    stream_headers: Mapping[str, str] = {}
    header_line = b""
    _end = "the relay is shutting down"

    def __init__(self, limits: Limits, on_end: Callable[[ModernClients], None], owner: str = ANONYMOUS) -> None:
        """Call ``on_end`` once the endpoint accepts no more requests of ``owner``."""
        super().__init__(limits, owner)
        self.name = "clients of 2026-07-28"
        # A plain answer can have status 404 or 400, a stream cannot: wait for as long as connections may be silent.
        self.answer_wait = limits.keep_alive
        self.server = ServerProfile(self._loop.time)
        self._asking = asyncio.Lock()
        self._on_end = on_end
        self.ledger: Books[Renamed[Exchange]] = Books(self.name, limits, lambda due: self._route(due.outcome))
        self._requests = Renaming(self.ledger)
        self.open_requests = self._requests
        self.dropped = 0
        self.takes_one = False
        """Whether the endpoint ends with its first request, because every request has its own endpoint and server."""
        self.greeting: str | None = None
        """The version of a single legacy request, whose server needs an ``initialize`` first."""

    @property
    def is_listening(self) -> bool:
        """Whether a client listens for the server's own messages; 2026-07-28 has no stream for them."""
        return False

    @property
    def max_in_flight(self) -> int:
        """The maximum number of open requests."""
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
        """Take a frame that a client has POSTed; return the exchange that waits for its answer, if it is a request.

        ``on_outcome`` receives the answer: a frame, or a stream if the client accepts one. ``has_log``: the request
        asks for log messages. Raises Unnameable and EndpointClosed.
        """
        self._check_taking()
        self.touch()
        if frame.head.kind is not Kind.REQUEST:
            # A client's ids mean nothing to the server, and a client cancels a request by leaving.
            if frame.head.method not in _OF_REQUESTS:
                self.inbox.put((frame,))
            return None
        exchange = Exchange(on_outcome, takes_stream=takes_stream)
        renamed, outward = self._requests.open(exchange, frame, has_log=has_log)
        exchange.owed, exchange.number = 1, renamed.number
        self.inbox.put((outward,))
        return exchange

    async def find_out(self, method: str | None, facts: RequestFacts) -> bool:
        """Ask the server for the facts that the check of a request needs; return whether a question was asked.

        If the server does not answer properly in time, the request goes unchecked.
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
        """Send a request of the relay's own to the server; return None if the server does not answer."""
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
            self.abandon(exchange)  # does nothing once it is answered
        return outcome if isinstance(outcome, Frame) else None

    def status_of(self, answer: Frame) -> int:
        """Return the HTTP status of a plain answer."""
        return status_of(answer)

    def begin_stream(self, exchange: Exchange) -> None:
        """Answer this exchange as an SSE stream."""
        if exchange.stream is None and exchange.on_outcome is not None and exchange.takes_stream:
            exchange.stream = EventStream(exchange.number, self._limits, has_ids=False)
            exchange.stream.await_reader()
            exchange.decide(exchange.stream)

    def abandon(self, exchange: Exchange) -> None:
        """Cancel a request whose client has left; the relay delivers nothing more for it ("Cancellation")."""
        exchange.is_abandoned = True
        number = exchange.number
        if self._requests.abandon(number, self._loop.time(), self._limits.abandoned_memory) is None:
            return
        logger.debug("%s: cancelled request %d: its client has left", self.name, number)
        self.inbox.put((replies.cancelled(number),))
        self._one_taken()

    def reader_left(self, exchange: Exchange) -> None:
        """Note that an exchange's stream has no reader any more: the stream has ended, or its client has left."""
        self.abandon(exchange)

    def idle_since(self) -> float | None:
        """Return when the last request arrived, or None while a request is open."""
        if self.ledger:
            self.touch()
            return None
        return self._last_used

    def tidy(self, now: float) -> None:
        """Do nothing: the endpoint keeps nothing that expires."""

    def end_subscriptions(self, of: Exchange | None = None, why: str = "the relay is shutting down") -> None:
        """End every subscription, or that of one exchange, as its server would, so that the client expects no more."""
        for renamed in self._requests:
            if renamed.is_subscription and (of is None or renamed.owner is of):
                self._requests.settle(renamed.number)
                self._end_subscription(renamed)
                self.inbox.put((replies.cancelled(renamed.number, why),))

    def finish(self) -> None:
        """Accept no more requests."""
        super().finish()
        self._on_end(self)

    # What the pipe asks for.

    async def send(self, frames: Sequence[Frame]) -> None:
        """Give each frame to its client. Never waits: no client may block the others."""
        self._check_open()
        self.send_at_once(frames)

    def send_at_once(self, frames: Sequence[Frame]) -> bool:
        """Give each frame to its client, while the endpoint is open."""
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
            if renamed.method == "server/discover" and is_foreign_error(home) and not self.ledger:
                self.finish()  # a legacy server, which serves sessions only: this endpoint cannot use it
        elif kind is Kind.REQUEST:
            # "The server MUST NOT write JSON-RPC requests" (stdio of this revision): answer it with an error at once.
            fault = "clients without a session accept no requests"
            refusal = replies.error(frame.head.id, replies.METHOD_NOT_FOUND, fault)
            self.inbox.put((refusal,))
        elif (related := self._requests.related(frame)) is not None:
            self._notify(*related)
        else:
            self._drop(frame, "a notification that matches no client")

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
            self._drop(frame, "a notification to a client that accepts no stream")
            return
        self.begin_stream(exchange)
        assert exchange.stream is not None, "begun"
        exchange.stream.push(frame.line)
        if frame.head.target is not None:  # the server has ended this subscription
            self._requests.settle(renamed.number)
            self._end_subscription(renamed)
        elif exchange.stream.log.unwritten_bytes > self._limits.replay_bytes:
            logger.warning("%s: cancelled a request: its client reads too slowly", self.name)
            self.abandon(exchange)
            exchange.stream.cut()

    def _end_subscription(self, renamed: Renamed[Exchange]) -> None:
        self.begin_stream(renamed.owner)
        self._answer(renamed, replies.subscription_ended(renamed.id))

    def _fail_open(self, end: replies.End) -> None:
        # Subscriptions end gracefully.
        for renamed in self._requests.fail_all():
            if renamed.is_subscription:
                self._end_subscription(renamed)
            else:
                self._answer(renamed, end.answer(renamed.id))
