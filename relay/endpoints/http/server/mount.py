"""Who uses one server by HTTP: its sessions, and its clients of 2026-07-28, which have none.

Each server that a listener offers has a mount of its own, so that a session opened at one is unknown at the others.
The mount says to whom a request belongs, begins what begins with it, and sees all of it to its end. How a request
becomes a frame, and an answer a response, is the matter of the routes (streamable.py, sse_routes.py).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import weakref
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Literal, TypeAlias

from aiohttp import web
from multidict import MultiMapping

from relay.endpoints.core.hops import Trail, new_mark
from relay.endpoints.http.gate import Refused
from relay.endpoints.http.server.bodies import STRANGERS_RATE, read_body
from relay.endpoints.http.server.context import ListenerContext
from relay.endpoints.http.server.modern import ModernClients
from relay.endpoints.http.server.session import HttpSession
from relay.endpoints.http.server.sse_session import SseSession
from relay.errors import EndpointClosed
from relay.frames.frame import Frame
from relay.frames.head import Head, Kind
from relay.mcp.headers import PROTOCOL_VERSION, SESSION_ID
from relay.routing.sessions import Sessions

if TYPE_CHECKING:
    from relay.endpoints.http.client.aiohttp_dial import Dial
    from relay.endpoints.http.through.pass_through import PassThrough
    from relay.endpoints.websocket.websocket import WebSocketEndpoint

__all__ = ["AnyEndpoint", "AnySession", "Mount", "PerRequest"]

logger = logging.getLogger("relay")

AnySession = HttpSession | SseSession | ModernClients
AnyEndpoint: TypeAlias = "AnySession | WebSocketEndpoint"
"""What a mount yields: an endpoint for each session, and one for all clients that have none."""
_RATE = 64 * 1024  # bytes a second that a body in a session must come with, after its deadline

PerRequest = Literal["no", "legacy", "all"]
"""Which requests have an endpoint of their own: none, those of the legacy era, or all."""


class Mount:
    """One server as a listener offers it, below a prefix; yields an endpoint for each session."""

    def __init__(
        self, prefix: str, context: ListenerContext, *, per_request: PerRequest = "no", server: Dial | None = None
    ) -> None:
        """Serve below ``prefix``, which is empty or begins with a slash, in a URL's spelling.

        ``per_request`` gives each request of the legacy era, or of both, an endpoint of its own: no sessions then.
        ``server`` speaks Streamable HTTP itself: what comes to ``/mcp`` is handed on to it, request by request.
        """
        self.prefix = prefix
        self.context = context
        self.per_request = per_request != "no"
        self._is_modern_per_request = per_request == "all"
        self.sessions: Sessions[AnySession] = Sessions(context.places)
        self._mark = new_mark()
        self.passing = self._pass_to(server) if server is not None else None
        self.modern: ModernClients | None = None
        # Those too that have ended and may still give late answers.
        self._unclosed: weakref.WeakSet[AnyEndpoint] = weakref.WeakSet()
        self._offered: asyncio.Queue[AnyEndpoint | None] = asyncio.Queue()
        self._is_leaving = False
        self._last_used = 0.0

    def _pass_to(self, server: Dial) -> PassThrough:
        from relay.endpoints.http.through.pass_through import PassThrough

        return PassThrough(server, self.context, self._mark)

    # Life.

    async def __aiter__(self) -> AsyncIterator[AnyEndpoint]:
        """Yield each session when its first frame has come, and the clients that have none at their first."""
        while (session := await self._offered.get()) is not None:
            yield session

    @property
    def is_draining(self) -> bool:
        """Whether nothing new is taken: the relay is about to end, or the server is offered no more."""
        return self._is_leaving or self.context.is_draining

    @property
    def in_flight(self) -> int:
        """Requests that wait for an answer, in all sessions."""
        handed_on = self.passing.in_flight if self.passing is not None else 0
        return handed_on + sum(session.in_flight for session in self._unclosed)

    @property
    def last_used(self) -> float:
        """When somebody used the server last, by the loop's clock; 0 if nobody did. Sessions that have ended count."""
        handed_on = self.passing.last_used if self.passing is not None else 0.0
        self._last_used = max(self._last_used, handed_on, *(session.last_used for session in self._unclosed), 0.0)
        return self._last_used

    def tidy(self, now: float) -> None:
        """End what has been idle for too long."""
        max_idle = self.context.limits.session_idle
        self._last_used = self.last_used  # of sessions too that end now
        for session in self.sessions.expired(now, max_idle):
            logger.info("%s: idle for %g s: closed", session.name, max_idle)
            session.finish()
        for session in self.sessions:
            session.tidy(now)
        modern, kept = self.modern, self.context.limits.shared_idle
        kept = max_idle if kept is None else kept
        if modern is not None and (since := modern.idle_since()) is not None and now - since >= kept:
            modern.finish()

    async def drain(self, seconds: float) -> None:
        """Take nothing new and wait until every request in flight has its answer, for at most ``seconds``."""
        self._is_leaving = True
        if self.passing is not None:
            self.passing.end_subscriptions()
        for session in self._unclosed:
            if isinstance(session, ModernClients):
                session.end_subscriptions()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.in_flight:  # noqa: ASYNC110 - once in a server's life
                    await asyncio.sleep(0.02)

    async def aclose(self, why: str = "the relay is shutting down") -> None:
        """Give every session that lives its end, and yield no more."""
        self._is_leaving = True
        if self.passing is not None:
            await self.passing.aclose()
        for session in list(self._unclosed):
            await session.aclose(EndpointClosed(why))
        self._offered.put_nowait(None)

    # To whom a request belongs.

    def is_own(self, request: web.BaseRequest, server: PassThrough) -> bool:
        """Tell whether a request is of a session that the listener began, not the server behind it.

        Before a server that speaks HTTP+SSE every session is, or was: those that have ended are not known any more.
        A POST can be tried on it; a GET would open a stream of HTTP+SSE.
        """
        session_id = request.headers.get(SESSION_ID)
        if session_id is None:
            return False
        return self.sessions.find(session_id) is not None or (server.is_elsewhere and request.method != "POST")

    def session_of(self, headers: Mapping[str, str]) -> HttpSession | ModernClients | None:
        """Return what a POST belongs to as far as its headers tell; None if its body will."""
        if self.context.checks.is_modern(headers):
            if self.modern is not None:
                self._follow(self.modern.trail, headers)
            return self.modern
        return self.find_session(headers) if SESSION_ID in headers and not self.per_request else None

    def find_session(self, headers: Mapping[str, str]) -> HttpSession:
        """Return the session that a request names. Raises Refused."""
        session_id = headers.get(SESSION_ID)
        checks = self.context.checks
        if self.per_request or (session_id is None and checks.is_modern(headers)):
            raise Refused(405, "there are no sessions here: POST each request", headers={"Allow": "POST, OPTIONS"})
        if session_id is None:
            raise Refused(400, f"no {SESSION_ID} header; a session begins with initialize")
        session = self.sessions.find(session_id)
        if not isinstance(session, HttpSession) or session.is_closing:
            raise Refused(404, "no such session: expired, ended or never begun; begin a new one with initialize")
        checks.check_version(headers, session.version)
        return session

    def session_for(
        self, known: HttpSession | ModernClients | None, headers: MultiMapping[str], frame: Frame
    ) -> HttpSession | ModernClients:
        """Return what a POSTed frame belongs to, begun now if it begins with it. Raises Refused."""
        if isinstance(known, HttpSession):
            return known
        checks = self.context.checks
        if checks.is_modern(headers) or checks.is_modern_frame(headers, frame):
            checks.check_modern(headers, frame, self.modern.server if self.modern else None)
            return (
                self._for_one(frame.head, headers)
                if self._is_modern_per_request
                else self._modern_clients(frame.head, headers)
            )
        if self.per_request:
            return self._for_one(frame.head, headers, headers.get(PROTOCOL_VERSION, "2025-03-26"))
        return self._begin_session(frame.head, headers)

    def check_load(self, session: AnySession, head: Head) -> None:
        """See that a session may have one more request open. Raises Refused."""
        if self.context.is_draining or self._is_leaving:
            self.check_taking(head)
        if session.in_flight + len(head.messages) > session.max_in_flight:
            raise Refused(503, f"{session.max_in_flight} requests are in flight already", request_id=head.id)

    def check_taking(self, head: Head | None = None) -> None:
        """See that something new may come. Raises Refused."""
        if self.context.is_draining:
            request_id = head.id if head is not None else None
            raise Refused(503, "the relay is shutting down", request_id=request_id, headers={"Connection": "close"})
        if self._is_leaving:
            request_id = head.id if head is not None else None
            raise Refused(404, "this server is offered no more; begin a new session", request_id=request_id)

    def trail_of(self, headers: Mapping[str, str], head: Head | None = None) -> Trail:
        """Return the way that a client has come. Raises Refused if it has been here."""
        trail = Trail(self._mark)
        self._follow(trail, headers, head)
        return trail

    def _follow(self, trail: Trail | None, headers: Mapping[str, str], head: Head | None = None) -> None:
        if trail is not None and (fault := trail.lead_here(headers)) is not None:
            raise Refused(508, fault, request_id=head.id if head is not None else None)

    # What begins.

    def _modern_clients(self, head: Head, headers: Mapping[str, str]) -> ModernClients:
        """Return the endpoint of all clients of 2026-07-28."""
        if self.modern is None or self.modern.is_closing:
            self.check_taking(head)
            trail = self.trail_of(headers, head)
            self.modern = ModernClients(self.context.limits, self._forget_modern)
            self.modern.trail = trail
            self.offer(self.modern)
        return self.modern

    def _forget_modern(self, modern: ModernClients) -> None:
        if self.modern is modern:
            self.modern = None

    def _for_one(self, head: Head, headers: Mapping[str, str], version: str | None = None) -> ModernClients:
        """Return an endpoint for one request; ``version`` is that of a request whose server must be greeted first."""
        self.check_taking(head)
        self.context.check_room(head)
        trail = self.trail_of(headers, head)
        session = ModernClients(self.context.limits, self.sessions.remove)
        session.trail = trail
        session.takes_one = True
        session.greeting = None if head.method == "initialize" else version
        self.sessions.add(session)
        self.offer(session)
        return session

    def _begin_session(self, head: Head, headers: Mapping[str, str]) -> HttpSession:
        if head.method != "initialize" or head.kind is not Kind.REQUEST:
            raise Refused(400, f"no {SESSION_ID} header; a session begins with initialize", request_id=head.id)
        self.check_taking(head)
        self.context.check_room(head)
        trail = self.trail_of(headers, head)
        session = HttpSession(self.context.limits, self.sessions.publish, self.sessions.remove)
        session.trail = trail
        self.sessions.add(session)
        self.offer(session)
        return session

    def begin_sse(self, headers: Mapping[str, str]) -> SseSession:
        """Begin a session of HTTP+SSE, which is offered with its first frame. Raises Refused."""
        self.check_taking()
        self.context.check_room()
        trail = self.trail_of(headers)
        session = SseSession(self.context.limits, self.sessions.remove)
        session.trail = trail
        self.sessions.add(session)
        self._unclosed.add(session)
        self.sessions.publish(session)
        return session

    def offer(self, endpoint: AnyEndpoint) -> None:
        """Yield an endpoint, and close it with the mount if it lives as long."""
        self._unclosed.add(endpoint)
        self._offered.put_nowait(endpoint)

    # A body.

    @contextlib.asynccontextmanager
    async def body_of(self, request: web.BaseRequest, session: AnySession | None) -> AsyncIterator[bytes]:
        """Yield a body once it is whole; raises Refused. Until this is left it counts as waiting for its server.

        Only so many small bodies wait for a server that does not read; large ones stay in the network. ``session`` is
        None where one may begin: it has no server yet that could be slow.
        """
        limits, length = self.context.limits, request.content_length
        is_small = length is not None and length <= limits.buffer_low
        if session is not None and is_small and session.waiting >= session.max_in_flight:
            raise Refused(503, f"{session.waiting} messages wait for the server already")
        body = await self._read(request, session, is_small=is_small)
        if session is None or is_small:
            yield body
            return
        size = len(body)
        session.body_bytes += size
        try:
            yield body
        finally:
            session.body_bytes -= size
            session.on_bodies_wanted()

    async def _read(self, request: web.BaseRequest, session: AnySession | None, *, is_small: bool) -> bytes:
        limits, headers = self.context.limits, request.headers
        if session is not None and not isinstance(session, ModernClients):  # whoever knows its id was let in
            arrival = None
            if not is_small:
                session.on_bodies_wanted = session.arrivals.look_again
                arrival = session.arrivals.begin(request.content_length, session.wants_bodies)
            return await read_body(request, limits, arrival, rate=_RATE)
        most = limits.max_frame_bytes
        if not self.per_request and not self.context.checks.is_modern(headers):
            most = min(most, limits.max_stranger_bytes)
        wants = _wants
        if session is not None and not is_small:
            session.on_bodies_wanted = self.context.strangers.look_again
            wants = session.wants_bodies
        arrival = self.context.strangers.begin(request.content_length, wants)
        return await read_body(request, limits, arrival, rate=STRANGERS_RATE, most=most)


def _wants() -> bool:
    return True
