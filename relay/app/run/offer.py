"""One server as the relay offers it: each session is joined to a server of its own, or to its share of one.

There is one offer for the command or address on the command line, and one for each server with a name.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncIterable
from time import monotonic
from typing import TYPE_CHECKING

from relay.app.log.frames import log_frames_of
from relay.app.run.targets import AddressTarget, KeepsSpare, RemoteTarget, Target
from relay.app.settings import ServeSettings
from relay.endpoints.base import CountsUse, Endpoint, HasStream, HasTrail
from relay.endpoints.core.hops import following
from relay.endpoints.core.refusal_log import RefusalLog
from relay.endpoints.core.tasks import TaskScope
from relay.endpoints.http.server.modern import ModernClients
from relay.errors import EndpointBroken, EndpointClosed, RelayError, ServerLeftOut
from relay.observe.hub import Clients, Hub
from relay.pipe import pipe

if TYPE_CHECKING:
    from relay.endpoints.combined.shared import SharedSessions
    from relay.endpoints.combined.shared_pools import SharedPools
    from relay.endpoints.http.client.aiohttp_dial import Dial
    from relay.endpoints.http.server.mount import PerRequest
    from relay.observe.requests import Request

__all__ = ["Offer"]

logger = logging.getLogger("relay")

_PER_REQUEST: dict[str, PerRequest] = {"stateless": "legacy", "request": "all"}  # by what clients share


class _Faults:
    """Notes in the hub of a server whether that server answers the requests of sessions."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def request_opened(self, request: Request) -> None:
        """Wait for its end."""

    def request_cancelled(self, request: Request) -> None:
        """Wait for its end."""

    def request_ended(self, request: Request) -> None:
        if request.answer is not None:
            self._hub.note_fault(request.fault)


class Offer:
    """One server, and a task for each session that uses it."""

    def __init__(self, target: Target, settings: ServeSettings, *, notes_faults: bool = False) -> None:
        """Offer ``target`` with the secrets, limits and sharing of ``settings``.

        ``notes_faults``: watch the frames of a URL for whether it answers, which costs a little.
        """
        self.target = target
        self._settings = settings
        self.hub = target.dial.hub if isinstance(target, RemoteTarget) else Hub()
        """Hears of everything between clients and the server, by whichever way it goes."""
        log_frames_of(self.hub, settings.secrets)
        if notes_faults and isinstance(target, RemoteTarget):
            self.hub.subscribe(f"{target.name}: the faults in /status", requests=_Faults(self.hub))
        self._pools = self._make_pools() if settings.share in ("shared", "stateless") else None
        self._tasks = TaskScope()
        self._starting: asyncio.Task[None] | None = None
        self._carrying: set[asyncio.Task[None]] = set()
        self.connections: Clients[CountsUse] = Clients(self.hub, set())
        """The clients of listeners that do not look after them: TCP, Unix sockets and own stdio."""
        self._endings = RefusalLog()

    @property
    def dial(self) -> Dial | None:
        """The connections to a server to which requests are forwarded as they come, without sessions here."""
        target = self.target
        if not isinstance(target, RemoteTarget) or not target.passes_requests or self._settings.share is not None:
            return None
        return target.dial

    @property
    def per_request(self) -> PerRequest:
        """Which requests have no session, and are joined to the server one at a time."""
        return _PER_REQUEST.get(self._settings.share or "", "no")

    @property
    def sessions(self) -> int:
        """How many sessions are open now; all clients of 2026-07-28 count as one."""
        return len(self._carrying)

    def accept(self, listener: AsyncIterable[Endpoint], *, looks_after: bool) -> None:
        """Join the sessions of ``listener`` to the server; ``looks_after``: the listener drains and closes them."""
        work = self._accept(listener, looks_after=looks_after)
        self._tasks.spawn(work, name=f"{self.target.name}: accept sessions")

    async def _accept(self, listener: AsyncIterable[Endpoint], *, looks_after: bool) -> None:
        async for session in listener:
            if not looks_after and isinstance(session, CountsUse):
                self.connections.add(session)
            with following(self, session.trail if isinstance(session, HasTrail) else None):
                self._join(session, self._upstream(session), f"session {session.name}")

    def _join(self, session: Endpoint, upstream: Endpoint, name: str) -> None:
        task = self._tasks.spawn(self._carry(session, upstream), name=name)
        self._carrying.add(task)
        task.add_done_callback(functools.partial(self._forget, session))

    def start_now(self) -> None:
        """Start the server before the first session, if it is a command."""
        if isinstance(self.target, KeepsSpare):
            name = f"{self.target.name}: started before it is used"
            self._starting = self._tasks.spawn(self.target.keep_spare(), name=name)

    def _forget(self, session: Endpoint, task: asyncio.Task[None]) -> None:
        self._carrying.discard(task)
        if isinstance(session, CountsUse):
            self.connections.discard(session)

    def _make_pools(self) -> SharedPools:
        from relay.endpoints.combined.shared import IDLE, SharedPool
        from relay.endpoints.combined.shared_pools import SharedPools

        limits = self._settings.limits
        # A client without a session leaves unnoticed: each of its requests may be the last.
        unsaid = limits.session_idle if self._settings.share == "stateless" else IDLE
        idle = unsaid if limits.shared_idle is None else limits.shared_idle
        is_there_once = isinstance(self.target, AddressTarget) and self.target.is_there_once

        def begin(shared: SharedSessions) -> None:
            self._join(shared, self.target.endpoint(is_shared=True), f"shared server {shared.name}")

        return SharedPools(lambda: SharedPool(self.target.name, limits, begin, idle=None if is_there_once else idle))

    def _upstream(self, session: Endpoint) -> Endpoint:
        """Return the endpoint for one session: a server of its own, or its share of one."""
        clients = session if isinstance(session, ModernClients) else None
        is_for_many = clients is not None and not clients.takes_one
        if self._pools is None or is_for_many:
            upstream = self.target.endpoint(is_shared=is_for_many)
        else:
            # Only a client of Streamable HTTP may leave its stream closed; without a session there is no stream.
            client = session if isinstance(session, HasStream) else None
            upstream = self._pools.of(session).member(lambda: client is None or client.is_listening)
        if clients is None or clients.greeting is None:
            return upstream
        from relay.endpoints.combined.initialized import Initialized

        return Initialized(upstream, clients.greeting, self._settings.limits.handshake)

    async def _carry(self, session: Endpoint, upstream: Endpoint) -> None:
        """Join a session to its server; a failure ends this session only."""
        self.hub.touched = monotonic()
        try:
            report = await pipe(session, upstream, limits=self._settings.limits, hub=self.hub)
        except Exception:
            # A bug in the relay ends this session and no other.
            logger.exception("%s: unexpected failure", session.name)
            await session.aclose(EndpointBroken("the relay failed"))
            return
        finally:
            self.target.forget(upstream)
        if report.failure is not None:
            self._say_end(session, report.failure)

    def _say_end(self, session: Endpoint, failure: RelayError) -> None:
        """Log why a session ended: each time for a server's end, and once for each way in which clients leave."""
        by_client = f"{session.name}: "
        if (why := str(failure)).startswith(by_client):
            why = why.removeprefix(by_client)
            self._endings.note("ended", why, f"{session.name}: ended: {why}")
        else:
            is_said = isinstance(failure, ServerLeftOut)
            logger.log(logging.INFO if is_said else logging.WARNING, "%s: ended: %s", session.name, why)

    async def drain(self, seconds: float) -> None:
        """Wait until connections have no request in flight, for at most ``seconds``."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.connections.in_flight:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)

    async def aclose(self) -> None:
        """End every session, once the listeners yield no more; return when all have ended."""
        for session in self.connections:
            await session.aclose(EndpointClosed("the relay is shutting down"))
        if self._starting is not None:
            self._starting.cancel()
        if self._pools is not None:
            await self._pools.aclose()
        await self._tasks.join()

    def status(self) -> dict[str, object]:
        """Return its entry in ``/status``."""
        return {**self.target.status(), "sessions": self.sessions}
