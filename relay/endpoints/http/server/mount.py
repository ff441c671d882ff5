"""Track who uses one server over HTTP: the sessions, and the clients of 2026-07-28, which have no session.

Each server that a listener offers has a mount of its own, so that a session opened at one is unknown at the others.
The mount begins sessions and endpoints, and ends them. The gate decides whether they may begin (gate.py). streamable.py
and sse_routes.py turn requests into frames, and answers into responses.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import weakref
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Literal, TypeAlias, TypeVar

from relay.endpoints.core.hops import Trail, new_mark
from relay.endpoints.http.decisions import SessionWanted
from relay.endpoints.http.paths import SSE
from relay.endpoints.http.server.context import ListenerContext
from relay.endpoints.http.server.modern import ModernClients
from relay.endpoints.http.server.session import HttpSession
from relay.endpoints.http.server.sse_session import SseSession
from relay.errors import EndpointClosed
from relay.observe.hub import Clients, Hub
from relay.routing.sessions import Sessions

if TYPE_CHECKING:
    from relay.endpoints.http.client.aiohttp_dial import Dial
    from relay.endpoints.http.through.pass_through import PassThrough
    from relay.endpoints.websocket.websocket import WebSocketEndpoint

__all__ = ["AnyEndpoint", "AnySession", "Mount", "PerRequest"]

logger = logging.getLogger("relay")

AnySession = HttpSession | SseSession | ModernClients
AnyEndpoint: TypeAlias = "AnySession | WebSocketEndpoint"
"""What a mount yields: one endpoint per session, and one for all clients without a session."""
Begun = TypeVar("Begun", HttpSession, ModernClients)

PerRequest = Literal["no", "legacy", "all"]
"""Which requests have their own endpoint: none, the legacy ones, or all."""


class Mount:
    """One server that a listener offers below a prefix; iterate over it for one endpoint per session."""

    def __init__(
        self,
        prefix: str,
        context: ListenerContext,
        *,
        sse_path: str = SSE,
        per_request: PerRequest = "no",
        server: Dial | None = None,
        hub: Hub | None = None,
    ) -> None:
        """Serve below ``prefix``, which is empty or begins with a slash, as in a URL; HTTP+SSE is at ``sse_path``.

        ``per_request`` gives each request of the legacy era, or of both eras, its own endpoint and no session.
        ``server`` speaks Streamable HTTP itself: the relay forwards the requests at ``/mcp`` to it, one by one.
        ``hub`` hears what happens here; without one, that of ``server`` does, or a new one.
        """
        self.prefix = prefix
        self.sse_address = prefix + sse_path
        self.context = context
        self.per_request = per_request != "no"
        self.is_modern_per_request = per_request == "all"
        self.sessions: Sessions[AnySession] = Sessions(context.places)
        self.find_session = self.sessions.find
        self.mark = new_mark()
        self.through = self._pass_to(server) if server is not None else None
        self.modern: dict[str, ModernClients] = {}
        """The endpoint of all clients of 2026-07-28 of each principal."""
        self.hub = hub or (server.hub if server is not None else Hub())
        # Includes ended endpoints, which may still give late answers.
        self._unclosed: Clients[AnyEndpoint] = Clients(self.hub, weakref.WeakSet())
        self._offered: asyncio.Queue[AnyEndpoint | None] = asyncio.Queue()
        self.is_leaving = False

    def _pass_to(self, server: Dial) -> PassThrough:
        from relay.endpoints.http.through.pass_through import PassThrough

        return PassThrough(
            server,
            self.context,
            self.mark,
            has_owners=self.context.gate.login is not None,
            forward_headers=self.context.forward_headers,
        )

    # Life.

    async def __aiter__(self) -> AsyncIterator[AnyEndpoint]:
        """Yield each session at its first frame, and the endpoint of clients without a session at their first."""
        while (session := await self._offered.get()) is not None:
            yield session

    @property
    def is_draining(self) -> bool:
        """Whether the mount accepts no new work: the relay is about to end, or no longer offers the server."""
        return self.is_leaving or self.context.is_draining

    @property
    def in_flight(self) -> int:
        """The number of requests that wait for an answer here; other listeners may have more for the same server."""
        forwarded = self.through.ledger.calls if self.through is not None else 0
        return forwarded + self._unclosed.in_flight

    def tidy(self, now: float) -> None:
        """End sessions that have been idle for too long."""
        max_idle = self.context.limits.session_idle
        self.hub.touched = self.hub.last_used  # includes the sessions that end now
        for session in self.sessions.expired(now, max_idle):
            logger.info("%s: closed after %g s idle", session.name, max_idle)
            session.finish()
        for session in self.sessions:
            session.tidy(now)
        kept = self.context.limits.shared_idle
        kept = max_idle if kept is None else kept
        for modern in list(self.modern.values()):
            if (since := modern.idle_since()) is not None and now - since >= kept:
                modern.finish()

    async def drain(self, seconds: float) -> None:
        """Accept no new work, and wait for at most ``seconds`` until every request in flight has its answer."""
        self.is_leaving = True
        if self.through is not None:
            self.through.end_subscriptions()
        for session in self._unclosed:
            if isinstance(session, ModernClients):
                session.end_subscriptions()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.in_flight:  # noqa: ASYNC110 - once in a server's life
                    await asyncio.sleep(0.02)

    async def aclose(self, why: str = "the relay is shutting down") -> None:
        """End every session, and yield no more."""
        self.is_leaving = True
        if self.through is not None:
            await self.through.aclose()
        for session in self._unclosed:
            await session.aclose(EndpointClosed(why))
        self._offered.put_nowait(None)

    # What begins. The gate has decided that it may.

    def begin(self, wanted: SessionWanted, headers: Mapping[str, str]) -> HttpSession | ModernClients:
        """Begin a session, the endpoint of a principal's clients of 2026-07-28, or an endpoint for one frame."""
        owner = wanted.owner
        if wanted.begins == "session":
            session = HttpSession(self.context.limits, self.sessions.publish, self.sessions.remove, owner)
            return self._begin(session, headers)
        if wanted.begins == "one":
            one = ModernClients(self.context.limits, self.sessions.remove, owner)
            one.takes_one = True
            one.greeting = wanted.version
            return self._begin(one, headers)
        modern = self.modern[owner] = ModernClients(self.context.limits, self._forget_modern, owner)
        modern.trail = self.trail_of(headers, is_shared=True)
        if self.context.gate.login is not None:
            self.sessions.add(modern)
        self.offer(modern)
        return modern

    def _begin(self, session: Begun, headers: Mapping[str, str]) -> Begun:
        session.trail = self.trail_of(headers)
        self.sessions.add(session)
        self.offer(session)
        return session

    def _forget_modern(self, modern: ModernClients) -> None:
        self.sessions.remove(modern)
        if self.modern.get(modern.owner) is modern:
            del self.modern[modern.owner]

    def begin_sse(self, headers: Mapping[str, str], owner: str) -> SseSession:
        """Begin an HTTP+SSE session of ``owner``, which the mount yields at its first frame."""
        session = SseSession(self.context.limits, self.sessions.remove, owner)
        session.trail = self.trail_of(headers)
        self.sessions.add(session)
        self._unclosed.add(session)
        self.sessions.publish(session)
        return session

    def trail_of(self, headers: Mapping[str, str], *, is_shared: bool = False) -> Trail:
        """Return the relays that a client's request has passed, up to this one, and its headers that go on.

        ``is_shared``: other clients share the server, so that no client's headers may go there.
        """
        names = () if is_shared else self.context.forward_headers
        trail = Trail(self.mark, {name: headers[name] for name in names if name in headers})
        trail.lead_here(headers)
        return trail

    def hold(self, endpoint: AnyEndpoint) -> None:
        """Close an endpoint with the mount if the endpoint is still open."""
        self._unclosed.add(endpoint)

    def offer(self, endpoint: AnyEndpoint) -> None:
        """Yield an endpoint, and hold it."""
        self.hold(endpoint)
        self._offered.put_nowait(endpoint)
