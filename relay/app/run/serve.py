"""Run listeners in front of one server until a signal ends the relay.

Each session is joined to a server of its own, or to its share of one (``--share``).
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import msgspec

from relay.app.log.child_stderr import ChildStderr
from relay.app.log.setup import mask_also
from relay.app.log.stderr import StderrSink, say
from relay.app.run.child_target import ChildTarget
from relay.app.run.offer import Offer
from relay.app.run.signals import StopSignals
from relay.app.run.targets import AddressTarget, RemoteTarget, Target
from relay.app.settings import GatewaySettings, PoolSettings, ServeSettings
from relay.app.specs import ListenSpec, is_url
from relay.endpoints.base import ANONYMOUS, Listener
from relay.endpoints.core.binding import everywhere
from relay.endpoints.core.bounds import Bounds
from relay.endpoints.stdio.own_stdio import OwnStdio
from relay.errors import ConfigError

if TYPE_CHECKING:
    from relay.app.run.failover import PoolTarget
    from relay.app.run.named_servers import NamedServers
    from relay.endpoints.http.server.listener import HttpListener
    from relay.gateway.routes import Gateway

__all__ = ["serve", "target_of"]

logger = logging.getLogger("relay")


def gateway_of(settings: ServeSettings, wanted: GatewaySettings) -> Gateway:
    """Return the routes of a gateway. Raises ConfigError if its proxy is not one."""
    from yarl import URL

    import relay
    from relay.endpoints.core.egress import EgressGuard
    from relay.endpoints.http.client.proxy import proxy_for
    from relay.gateway.routes import Gateway

    guard = EgressGuard(wanted.rules, proxy=wanted.proxy)
    proxy_for(URL("https://mcp.example/"), guard)  # a wrong one is the operator's mistake, not the first page's
    dialling = msgspec.structs.replace(settings.dialling, guard=guard)
    return Gateway(guard, dialling, relay.__version__, timeout=wanted.within, session_idle=wanted.session_idle)


async def serve(settings: ServeSettings, sink: StderrSink) -> int:
    """Listen for clients until a signal comes; return the exit code. Raises ConfigError."""
    named = _named_servers(settings, sink)
    stop = StopSignals(sink, *_reloads(settings, named, sink))
    stop.install()
    if not settings.has_default:
        await _Serving(settings, None, named, sink).run(stop.stopped)
        return 0
    stderr = ChildStderr(settings.name, sink, settings.secrets)
    await stderr.open()
    try:
        target = target_of(settings, stderr)
        try:
            await _Serving(settings, target, named, sink).run(stop.stopped)
        finally:
            await target.aclose()
    finally:
        stderr.close()
    return 0


def _reloads(settings: ServeSettings, named: NamedServers | None, sink: StderrSink) -> list[Callable[[], None]]:
    """Return what SIGHUP asks for; if there is nothing, it ends the relay."""
    reloads = [named.reload_soon] if named is not None and named.is_watched else []
    login = settings.listening.login
    if login is None or not login.has_files:
        return reloads

    def read_tokens() -> None:
        try:
            login.reload()
        except ConfigError as exc:
            say(sink, f"{exc}; the tokens stay as they are")
            return
        mask_also(login.secrets)
        say(sink, f"read the tokens of clients again: {len(login.tokens)}")

    return [*reloads, read_tokens]


def _named_servers(settings: ServeSettings, sink: StderrSink) -> NamedServers | None:
    if settings.named is None:
        return None
    from relay.app.run.named_servers import NamedServers

    return NamedServers(settings.named, settings, sink)


def target_of(
    settings: ServeSettings, stderr: ChildStderr, *, ends_with_home: bool = True
) -> ChildTarget | RemoteTarget | AddressTarget | PoolTarget:
    """Return the server that clients are joined to. Raises ConfigError."""
    if settings.pool is not None:
        return _pool_target(settings, settings.pool, stderr, ends_with_home=ends_with_home)
    return _one_target(settings, stderr)


def _one_target(
    settings: ServeSettings, stderr: ChildStderr, *, is_alone: bool = True
) -> ChildTarget | RemoteTarget | AddressTarget:
    url = settings.url
    if url is None:
        return ChildTarget(
            settings.command,
            env=settings.env,
            cwd=settings.cwd,
            limits=settings.limits,
            stderr=stderr,
            must_exist=is_alone,
            may_refuse=is_alone,
        )
    if is_url(url):
        return RemoteTarget(url, settings.dialling)
    return AddressTarget(url, settings.dialling)


def _pool_target(
    settings: ServeSettings, pool: PoolSettings, stderr: ChildStderr, *, ends_with_home: bool
) -> PoolTarget:
    from relay.app.run.failover import PoolTarget

    return PoolTarget(
        [_member(target, settings, stderr) for target in pool.targets],
        strategy=pool.strategy,
        retry=pool.retry,
        limits=settings.limits,
        ends_with_home=ends_with_home,
    )


def _member(
    target: str | Sequence[str], settings: ServeSettings, stderr: ChildStderr
) -> ChildTarget | RemoteTarget | AddressTarget:
    one = msgspec.structs.replace(
        settings,
        pool=None,
        url=target if isinstance(target, str) else None,
        command=() if isinstance(target, str) else target,
    )
    return _one_target(one, stderr, is_alone=False)  # the pool ejects it when it fails instead


class _Serving:
    """Listeners in front of one command or address, of servers with names, or of both."""

    def __init__(
        self, settings: ServeSettings, target: Target | None, named: NamedServers | None, sink: StderrSink
    ) -> None:
        self._settings = settings
        self._offer = Offer(target, settings) if target is not None else None
        self._named = named
        self._sink = sink
        self._http: list[HttpListener] = []
        self._bounds = Bounds.of(settings.limits)
        self._began = time.monotonic()

    async def run(self, stopped: asyncio.Event) -> None:
        listeners: list[Listener] = []
        try:
            for spec in self._settings.listen:
                listeners.append(await self._listen(spec))  # noqa: PERF401 - those that there are must be closed
            for warning in self._settings.warnings:
                say(self._sink, f"WARNING: {warning}")  # at any log level: it tells what strangers may do here
            if self._named is not None:
                await self._named.begin(self._http)
            if self._offer is not None:
                self._begin(self._offer, listeners)
            for http in self._http:
                self._say_where(http)
            await self._wait(stopped)
            await self._be_seen_leaving()
            await self._drain()
        finally:
            for listener in listeners:
                await listener.aclose()
            if self._offer is not None:
                await self._offer.aclose()
            if self._named is not None:
                await self._named.aclose()

    def _begin(self, offer: Offer, listeners: Sequence[Listener]) -> None:
        for listener in listeners:
            offer.accept(listener, looks_after=listener in self._http)
        if self._settings.is_eager:
            offer.start_now()

    async def _wait(self, stopped: asyncio.Event) -> None:
        if "NOTIFY_SOCKET" not in os.environ:
            await stopped.wait()
            return
        from relay.app.systemd.notify import wait_watched

        limits = self._settings.limits
        await wait_watched(stopped, limits.drain + (limits.drain_delay if self._http else 0))

    async def _be_seen_leaving(self) -> None:
        """Keep serving for ``limits.drain_delay`` seconds while ``/health`` answers 503, for balancers to see."""
        seconds = self._settings.limits.drain_delay
        if seconds and self._http:
            for listener in self._http:
                listener.is_leaving = True
            logger.info("serving on for %g s, while /health says 503", seconds)
            await asyncio.sleep(seconds)

    async def _drain(self) -> None:
        """Wait until requests in flight are answered, for at most ``limits.drain`` seconds; HTTP takes no new ones."""
        seconds = self._settings.limits.drain
        await self._settings.dialling.end_logins()
        await asyncio.gather(*(listener.drain(seconds) for listener in self._http))
        if self._offer is not None:
            await self._offer.drain(seconds)

    async def _listen(self, spec: ListenSpec) -> Listener:
        settings = self._settings
        options = settings.listening if spec.is_tls else msgspec.structs.replace(settings.listening, tls=None)
        if spec.kind == "http":
            from relay.endpoints.http.server.listener import HttpListener

            listener = HttpListener(
                spec.host,
                spec.port,
                options,
                status=self._status,
                per_request=self._offer.per_request if self._offer is not None else "no",
                server=self._offer.dial if self._offer is not None else None,
                hub=self._offer.hub if self._offer is not None else None,
                has_root=self._offer is not None,
                descriptor=spec.descriptor,
                bounds=self._bounds,
                routes=None if settings.gateway is None else gateway_of(settings, settings.gateway),
            )
            await listener.start()
            self._http.append(listener)
            return listener
        if spec.kind == "stdio":
            from relay.endpoints.stdio.listener import StdioListener

            self._bounds.places.take(ANONYMOUS)  # its one client is connected from the start
            return StdioListener(await OwnStdio.open(limits=settings.limits))
        from relay.endpoints.socket.listener import TcpListener, UnixListener

        clients = self._offer.connections if self._offer is not None else None
        if spec.kind == "unix":
            unix = UnixListener(spec.path, options, bounds=self._bounds, owner=self._offer, clients=clients)
            await unix.start()
            say(self._sink, f"listening on {unix.url}")
            return unix
        tcp = TcpListener(spec.host, spec.port, options, bounds=self._bounds, owner=self._offer, clients=clients)
        await tcp.start()
        say(self._sink, f"listening on {tcp.url}{everywhere(tcp.addresses)}")
        return tcp

    def _say_where(self, http: HttpListener) -> None:
        base = http.base_url
        if self._settings.gateway is not None:
            say(self._sink, f"listening on {base}/proxy and {base}/ws (WebSocket){everywhere(http.addresses)}")
            return
        chosen = self._settings.listening.paths
        paths = [(chosen.mcp, "Streamable HTTP"), (chosen.sse, "HTTP+SSE")]
        named = self._named.describe() if self._named is not None else ""
        if self._offer is None:
            paths = [(f"{chosen.servers}/NAME{path}" if path else "", kind) for path, kind in paths]
        elif named:
            named = f"the same below {base}{chosen.servers}/NAME, where {named}"
        places = " and ".join(f"{base}{path} ({kind})" for path, kind in paths if path)
        say(self._sink, f"listening on {places}{everywhere(http.addresses)}" + (f"; {named}" if named else ""))

    def _status(self) -> dict[str, object]:
        """Return the body of ``/status``; the server without a name is called ``default``."""
        servers: dict[str, object] = {"default": self._offer.status()} if self._offer is not None else {}
        hubs = [self._offer.hub] if self._offer is not None else []
        instances = dict.fromkeys(servers, "configured")
        if self._named is not None:
            below = self._settings.listening.paths.servers
            for name, one in self._named.status().items():  # one of these may be called default, too
                servers[f"{below}/{name}" if name in servers else name] = one
            instances |= dict.fromkeys(self._named.names, "configured")
            hubs += self._named.hubs
        idle = time.monotonic() - max((self._began, *(hub.last_used for hub in hubs)))
        return {
            "uptime": round(time.monotonic() - self._began, 3),
            "api_last_activity": (datetime.now(UTC) - timedelta(seconds=idle)).isoformat(),
            "server_instances": instances,
            "servers": servers,
        }
