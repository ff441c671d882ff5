"""Many clients on one server, from how users name it: ``relay.shared``."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence

from relay.app.run.wiring import connect_with
from relay.endpoints.base import Endpoint, HasStream
from relay.endpoints.combined.shared import IDLE, SharedPool, SharedSessions
from relay.endpoints.combined.shared_pools import SharedPools
from relay.endpoints.core.dialling import DiallingOptions
from relay.endpoints.core.lazy import Lazy
from relay.endpoints.core.tasks import TaskScope
from relay.endpoints.http.server.modern import ModernClients
from relay.errors import EndpointClosed, EndpointUnavailable
from relay.limits import DEFAULT_LIMITS, Limits
from relay.pipe import pipe

__all__ = ["Shared", "shared"]

logger = logging.getLogger("relay")


def shared(
    target: str | Sequence[str] | Endpoint | Callable[[], Endpoint],
    *,
    headers: Mapping[str, str] | None = None,
    limits: Limits = DEFAULT_LIMITS,
) -> Shared:
    """Return one server for many clients: ``session(client)`` is the endpoint for each of them.

        server = relay.shared(["my-server"])
        async for client in await relay.listen():
            group.create_task(relay.pipe(client, server.session(client)))

    ``target`` is what ``connect`` takes, a function that returns an endpoint, or an endpoint. The first
    ``initialize`` of each protocol version starts a server, and its answer serves the later ones. The server ends 10
    seconds after its last client has left (``Limits.shared_idle``); the next client starts it again. The relay gives
    each request an id of its own, and gives the client's id back with the answer. Close it with ``aclose``.

    An endpoint is there once: it serves the clients of one protocol version, and none after its end; others get an
    error. A function makes one whenever it is needed: ``lambda: relay.fallback(…)``.
    """
    if isinstance(target, Endpoint):
        return Shared(target.name, _Once(target).take, limits, spare=target, idle=None)
    if callable(target):
        return Shared("shared server", target, limits)
    options = DiallingOptions(headers=headers or {}, limits=limits).for_many_clients()
    name = connect_with(options, target).name  # raises ConfigError now, not when it is used
    idle = None if target == "stdio:" else IDLE  # which is there once, too
    return Shared(name, lambda: connect_with(options, target), limits, idle=idle)


class _Once:
    """An endpoint that can be used once."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._is_taken = False

    def take(self) -> Endpoint:
        """Return it the first time; later, an endpoint that refuses every request."""
        if self._is_taken:
            return Lazy(self._endpoint.name, self._refuse)
        self._is_taken = True
        return self._endpoint

    async def _refuse(self) -> Endpoint:
        raise EndpointUnavailable(
            f"{self._endpoint.name}: another server would be needed, for another protocol version or after an end, and "
            "this endpoint is there once; relay.shared(lambda: …) makes one each time"
        )


class Shared:
    """One server, or one for each protocol version, and the pipes that join clients to it."""

    def __init__(
        self,
        name: str,
        make: Callable[[], Endpoint],
        limits: Limits,
        *,
        spare: Endpoint | None = None,
        idle: float | None = IDLE,
    ) -> None:
        """Connect with ``make`` when a client needs it; ``spare`` is closed with it, in case it was never used.

        Unless ``limits`` say when, what was connected to ends ``idle`` seconds after the last client has left.
        """
        self._make = make
        self._spare = spare
        self._limits = limits
        self._tasks = TaskScope()
        kept = idle if limits.shared_idle is None else limits.shared_idle
        self._pools = SharedPools(lambda: SharedPool(name, limits, self._begin, idle=kept))
        self._is_closed = False

    def session(self, client: Endpoint | None = None) -> Endpoint:
        """Return a client's share of the server: join the two with ``pipe``.

        Pass the endpoint of a client that comes by HTTP, because only that knows three things: whether its GET stream
        is open, who the client is, and whether it stands for all clients of 2026-07-28. Those clients share a server
        of their own, and so do the clients of each principal.
        """
        if self._is_closed:
            raise EndpointClosed("the shared server was closed")
        if isinstance(client, ModernClients):
            return self._make()
        return self._pools.of(client).member(lambda: not isinstance(client, HasStream) or client.is_listening)

    def _begin(self, clients: SharedSessions) -> None:
        self._tasks.spawn(self._carry(clients, self._make()), name=f"shared server {clients.name}")

    async def _carry(self, clients: SharedSessions, server: Endpoint) -> None:
        report = await pipe(clients, server, limits=self._limits)
        if report.failure is not None and not self._is_closed:
            logger.warning("%s: ended: %s", clients.name, report.failure)

    async def aclose(self) -> None:
        """End the server and every session on it; open requests get their errors."""
        self._is_closed = True
        await self._pools.aclose()
        await self._tasks.aclose()
        if self._spare is not None:
            await self._spare.aclose()
