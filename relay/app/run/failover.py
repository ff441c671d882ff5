"""Several servers that stand in for one another, from how users name them: ``relay.fallback`` and ``relay.balance``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from ssl import SSLContext
from typing import Literal

from relay.app.run.child_target import ChildTarget
from relay.app.run.targets import AddressTarget, RemoteTarget
from relay.app.run.wiring import connect_with
from relay.endpoints.base import Endpoint
from relay.endpoints.combined.failover import Failover
from relay.endpoints.combined.pool import Pool, Retry, Upstream, only
from relay.endpoints.core.dialling import DiallingOptions
from relay.errors import ConfigError
from relay.limits import DEFAULT_LIMITS, Limits
from relay.routing.schedule import Strategy

__all__ = ["PoolTarget", "SessionPool", "TimedTarget", "balance", "fallback"]

_SPREADING = ("round-robin", "least-in-flight")


def fallback(
    *targets: str | Sequence[str] | Endpoint,
    headers: Mapping[str, str] | None = None,
    ssl: SSLContext | None = None,
    timeout: float | None = 30.0,
    retry_attempts: int = 3,
    retry_delay: float = 1.0,
    limits: Limits = DEFAULT_LIMITS,
) -> Endpoint:
    """Return an endpoint that is the first of ``targets`` that connects; nothing is started before it is used.

    A target is what ``connect`` takes, or an endpoint. It has connected when its child has started, its connection is
    made, or its first POST has an answer. A session stays where it began; requests of 2026-07-28 look for the first
    target each time, leaving out those that could not be reached until they can. If none can, after ``retry_attempts``
    rounds ``retry_delay`` seconds apart, a request gets an error that says what each answered. One that is not answered
    within ``timeout`` seconds gets an error, too, and is not sent again: it may have been executed.
    """
    retry = Retry(timeout, retry_attempts, retry_delay)
    options = DiallingOptions(headers=headers or {}, tls=ssl, limits=limits)
    found = [_target(target, options) for target in targets]
    pool = Pool(found, strategy="in-order", retry=retry, limits=limits)
    return Failover(pool, owns_pool=True)


def balance(
    *targets: str | Sequence[str],
    strategy: Literal["round-robin", "least-in-flight"] = "round-robin",
    headers: Mapping[str, str] | None = None,
    ssl: SSLContext | None = None,
    timeout: float | None = 30.0,
    retry_attempts: int = 3,
    retry_delay: float = 1.0,
    limits: Limits = DEFAULT_LIMITS,
) -> SessionPool:
    """Return a pool of ``targets``, each what ``connect`` takes: ``session()`` is an endpoint for each client.

        servers = relay.balance("https://a/mcp", "https://b/mcp")
        async for client in await relay.listen():
            group.create_task(relay.pipe(client, servers.session()))

    Sessions are spread, and stay where they began; requests of 2026-07-28 are spread one by one. A target that refuses
    a connection, or fails three times in a row, is left out until it answers again. Close it with ``aclose``.
    """
    if strategy not in _SPREADING:
        raise ConfigError(f"strategy: {strategy!r} is not one of {', '.join(_SPREADING)}")
    retry = Retry(timeout, retry_attempts, retry_delay)
    options = DiallingOptions(headers=headers or {}, tls=ssl, limits=limits)
    found = [_target(target, options) for target in targets]
    return SessionPool(found, strategy=strategy, retry=retry, limits=limits)


class SessionPool(Pool):
    """A pool that makes an endpoint for each client."""

    def session(self) -> Endpoint:
        """Return an endpoint for one client; it connects to a server when frames come."""
        return Failover(self)


def _target(target: str | Sequence[str] | Endpoint, options: DiallingOptions) -> Upstream:
    if isinstance(target, Endpoint):
        return only(target)
    if target == "stdio:":
        return only(connect_with(options, target))
    name = connect_with(options, target).name  # raises ConfigError now, not when it is used

    def make(is_shared: bool) -> Endpoint:
        return connect_with(options.for_many_clients() if is_shared else options, target)

    if isinstance(target, str):
        return Upstream(name, make)
    return Upstream(name, make, patience=options.limits.handshake)


class PoolTarget:
    """Several servers as the one that sessions of the program are joined to."""

    def __init__(
        self,
        members: Sequence[ChildTarget | RemoteTarget | AddressTarget],
        *,
        strategy: Strategy,
        retry: Retry,
        limits: Limits,
        ends_with_home: bool,
    ) -> None:
        """Take over the members. ``ends_with_home``: see ``Failover``."""
        if any(member.name == "stdio" for member in members):
            raise ConfigError("stdio: cannot be one of several servers: it is there once, and this program's own")
        self._members = members
        self._ends_with_home = ends_with_home
        targets = [
            Upstream(member.name, _maker(member), limits.handshake if isinstance(member, ChildTarget) else 4.0)
            for member in members
        ]
        self.pool = Pool(targets, strategy=strategy, retry=retry, limits=limits)
        self.name = self.pool.name

    def endpoint(self, *, is_shared: bool = False) -> Endpoint:
        """Return an endpoint for one session, or for all clients that have none."""
        return Failover(self.pool, is_shared=is_shared, ends_with_home=self._ends_with_home)

    def forget(self, endpoint: Endpoint) -> None:
        """Forget those children that have ended."""
        for member in self._members:
            if isinstance(member, ChildTarget):
                member.forget(endpoint)

    def status(self) -> dict[str, object]:
        """Return their entries in ``/status``."""
        return {"targets": self.pool.status()}

    async def aclose(self) -> None:
        """Look after no server any more."""
        await self.pool.aclose()
        for member in self._members:
            await member.aclose()


def _maker(member: ChildTarget | RemoteTarget | AddressTarget) -> Callable[[bool], Endpoint]:
    return lambda is_shared: member.endpoint(is_shared=is_shared)


class TimedTarget:
    """One server whose answers have a time limit: a pool of one, which is never ejected."""

    def __init__(self, member: ChildTarget | RemoteTarget | AddressTarget, timeout: float, limits: Limits) -> None:
        """Take over the member; each request gets an error ``timeout`` seconds after its last progress."""
        self.name = member.name
        self._member = member
        target = Upstream(member.name, _maker(member))
        retry = Retry(timeout, attempts=1, delay=0)
        self._pool = Pool([target], strategy="in-order", retry=retry, limits=limits, ejects=False)

    def endpoint(self, *, is_shared: bool = False) -> Endpoint:
        """Return an endpoint for one session, or for all clients that have none."""
        return Failover(self._pool, is_shared=is_shared)

    def forget(self, endpoint: Endpoint) -> None:
        """Forget those children that have ended."""
        self._member.forget(endpoint)

    async def keep_spare(self) -> None:
        """Start a child before the first session, if the server is a command."""
        if isinstance(self._member, ChildTarget):
            await self._member.keep_spare()

    def status(self) -> dict[str, object]:
        """Return its entry in ``/status``."""
        return self._member.status()

    async def aclose(self) -> None:
        """Let go of the server."""
        await self._pool.aclose()
        await self._member.aclose()
