"""Offer a server wherever clients may come from, until a signal ends it: listeners in front of one target.

Each client is joined to a server of its own, or to its share of one (``--share``).
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import logging
import os
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from relay.app.logs import ChildStderr, StderrSink, frame_log, say
from relay.app.settings import ChoiceSettings, ServeSettings
from relay.app.signals import StopSignals
from relay.app.specs import ListenSpec
from relay.app.wiring import AddressTarget, ChildTarget, RemoteTarget, is_url, listen_http
from relay.endpoints.base import Endpoint, Listener
from relay.endpoints.modern_clients import ModernClients
from relay.endpoints.own_stdio import OwnStdio
from relay.errors import EndpointBroken, EndpointClosed
from relay.pipe import pipe

if TYPE_CHECKING:
    from relay.app.choosing import ChoiceTarget
    from relay.endpoints.http_dial import Dial
    from relay.endpoints.http_server import HttpListener
    from relay.endpoints.shared import SharedPool, SharedSessions
    from relay.endpoints.socket_listener import TcpListener, UnixListener

__all__ = ["serve", "target_of"]

logger = logging.getLogger("relay")


async def serve(settings: ServeSettings, sink: StderrSink) -> int:
    """Offer a command over HTTP until a signal comes; return the exit code. Raises ConfigError."""
    stop = StopSignals(sink)
    stop.install()
    stderr = ChildStderr(settings.name, sink, settings.secrets)
    await stderr.open()
    try:
        target = target_of(settings, stderr)
        try:
            await _Serving(settings, target, sink).run(stop.stopped)
        finally:
            await target.aclose()
    finally:
        stderr.close()
    return 0


def target_of(
    settings: ServeSettings, stderr: ChildStderr, *, ends_with_home: bool = True
) -> ChildTarget | RemoteTarget | AddressTarget | ChoiceTarget:
    """Return what stands behind. Raises ConfigError."""
    if settings.choice is not None:
        return _choice_target(settings, settings.choice, stderr, ends_with_home=ends_with_home)
    return _one_target(settings, stderr)


def _one_target(settings: ServeSettings, stderr: ChildStderr) -> ChildTarget | RemoteTarget | AddressTarget:
    limits, url = settings.limits, settings.url
    if url is None:
        return ChildTarget(settings.command, env=settings.env, cwd=settings.cwd, limits=limits, stderr=stderr)
    if is_url(url):
        return RemoteTarget(url, headers=settings.headers, transport=settings.transport, limits=limits)
    return AddressTarget(url, headers=settings.headers, limits=limits)


def _choice_target(
    settings: ServeSettings, choice: ChoiceSettings, stderr: ChildStderr, *, ends_with_home: bool
) -> ChoiceTarget:
    from relay.app.choosing import ChoiceTarget

    return ChoiceTarget(
        [_member(target, settings, stderr) for target in choice.targets],
        strategy=choice.strategy,
        retry=choice.retry,
        limits=settings.limits,
        ends_with_home=ends_with_home,
    )


def _member(
    target: str | Sequence[str], settings: ServeSettings, stderr: ChildStderr
) -> ChildTarget | RemoteTarget | AddressTarget:
    one = dataclasses.replace(
        settings,
        choice=None,
        url=target if isinstance(target, str) else None,
        command=() if isinstance(target, str) else target,
    )
    return _one_target(one, stderr)


class _Serving:
    """Listeners in front of one command or address."""

    def __init__(
        self,
        settings: ServeSettings,
        target: ChildTarget | RemoteTarget | AddressTarget | ChoiceTarget,
        sink: StderrSink,
    ) -> None:
        self._settings = settings
        self._target = target
        self._sink = sink
        self._http: list[HttpListener] = []
        self._connections: set[Endpoint] = set()
        self._began = time.monotonic()
        self._last_activity = datetime.now(UTC)

    def _dial(self) -> Dial | None:
        """Return the way to a server to which requests are handed on as they come, without keeping sessions."""
        target = self._target
        if isinstance(target, RemoteTarget) and target.passes_requests and self._settings.share is None:
            return target.dial
        return None

    async def run(self, stopped: asyncio.Event) -> None:
        listeners: list[Listener] = []
        try:
            for spec in self._settings.listen:
                listeners.append(await self._listen(spec))  # noqa: PERF401 - those that there are must be closed
            await self._run(listeners, stopped)
        finally:
            for listener in listeners:
                await listener.aclose()

    async def _run(self, listeners: Sequence[Listener], stopped: asyncio.Event) -> None:
        for warning in self._settings.warnings:
            logger.warning("%s", warning)
        async with asyncio.TaskGroup() as group:
            pool = self._pool(group) if self._settings.share == "shared" else None
            accepting = [
                group.create_task(self._accept(listener, pool, group), name="accept sessions") for listener in listeners
            ]
            try:
                await self._wait(stopped)
                await self._drain()
            finally:
                for listener in listeners:
                    await listener.aclose()
                for session in tuple(self._connections):
                    await session.aclose(EndpointClosed("the relay is shutting down"))
                await asyncio.wait(accepting)
                if pool is not None:
                    await pool.aclose()

    async def _wait(self, stopped: asyncio.Event) -> None:
        if "NOTIFY_SOCKET" not in os.environ:
            await stopped.wait()
            return
        from relay.app.service_manager import wait_watched

        await wait_watched(stopped, self._settings.limits.drain)

    async def _drain(self) -> None:
        """Let what is in flight be answered, for at most ``limits.drain`` seconds; HTTP takes nothing new meanwhile."""
        seconds = self._settings.limits.drain
        await asyncio.gather(*(listener.drain(seconds) for listener in self._http))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while any(getattr(session, "in_flight", 0) for session in self._connections):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)

    async def _listen(self, spec: ListenSpec) -> Listener:
        settings = self._settings
        if spec.kind == "http":
            listener = await listen_http(
                spec.host,
                spec.port,
                allowed_hosts=settings.allowed_hosts,
                allowed_origins=settings.allowed_origins,
                limits=settings.limits,
                status=self._status,
                per_request=settings.share == "request",
                server=self._dial(),
                descriptor=spec.descriptor,
            )
            self._http.append(listener)
            base = listener.base_url
            say(self._sink, f"listening on {base}/mcp (Streamable HTTP) and {base}/sse (HTTP+SSE)")
            return listener
        if spec.kind == "stdio":
            from relay.endpoints.stdio_listener import StdioListener

            return StdioListener(await OwnStdio.open(limits=settings.limits))
        from relay.endpoints.socket_listener import TcpListener, UnixListener

        sockets: TcpListener | UnixListener
        if spec.kind == "tcp":
            sockets = TcpListener(spec.host, spec.port, limits=settings.limits)
        else:
            sockets = UnixListener(spec.path, limits=settings.limits)
        await sockets.start()
        say(self._sink, f"listening on {sockets.url}")
        return sockets

    def _pool(self, group: asyncio.TaskGroup) -> SharedPool:
        from relay.endpoints.shared import SharedPool

        def begin(shared: SharedSessions) -> None:
            upstream = self._target.endpoint(is_shared=True)
            group.create_task(self._carry(shared, upstream), name=f"shared server {shared.name}")

        return SharedPool(self._target.name, self._settings.limits, begin)

    async def _accept(self, listener: Listener, pool: SharedPool | None, group: asyncio.TaskGroup) -> None:
        async for session in listener:
            upstream = self._upstream(session, pool)
            task = group.create_task(self._carry(session, upstream), name=f"session {session.name}")
            if listener not in self._http:  # which look after their own
                self._connections.add(session)
                task.add_done_callback(functools.partial(self._forget, session))

    def _forget(self, session: Endpoint, _: asyncio.Task[None]) -> None:
        self._connections.discard(session)

    def _upstream(self, session: Endpoint, pool: SharedPool | None) -> Endpoint:
        """Return what one session is joined to: a server of its own, or its share of one."""
        if isinstance(session, ModernClients):
            upstream = self._target.endpoint(is_shared=not session.takes_one)
            if session.greeting is None:
                return upstream
            from relay.endpoints.greeted import Greeted

            return Greeted(upstream, session.greeting, self._settings.limits.handshake)
        if pool is not None:
            # Only over Streamable HTTP is there a stream that a client may leave closed.
            return pool.member(lambda: getattr(session, "is_listening", True))
        return self._target.endpoint()

    async def _carry(self, session: Endpoint, upstream: Endpoint) -> None:
        """Join a session to its server; whatever happens to it stays its own."""
        self._last_activity = datetime.now(UTC)
        observer = frame_log(self._settings.secrets)
        try:
            report = await pipe(session, upstream, limits=self._settings.limits, observer=observer)
        except Exception:
            # A bug of ours: it must end this session and no other.
            logger.exception("%s: unexpected failure", session.name)
            await session.aclose(EndpointBroken("the relay failed"))
            return
        finally:
            self._target.forget(upstream)
        if report.failure is not None:
            logger.warning("%s: ended: %s", session.name, report.failure)

    def _status(self) -> dict[str, object]:
        return {
            "uptime": round(time.monotonic() - self._began, 3),
            "api_last_activity": self._last_activity.isoformat(),
            "server_instances": {"default": "configured"},
            "servers": {"default": self._target.status()},
        }
