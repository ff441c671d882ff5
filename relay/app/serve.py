"""Run a relay until it ends: the two jobs people start one for, and how signals end them.

``serve`` offers a command over HTTP, a child for each session; ``bridge`` joins this process's stdio to a URL.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import os
import signal
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from relay.app.logs import ChildStderr, FrameLog, ReachLog, StderrSink, say
from relay.app.settings import BridgeSettings, ServeSettings
from relay.app.wiring import ChildTarget, RemoteTarget, listen
from relay.endpoints.base import Endpoint
from relay.endpoints.greeted import Greeted
from relay.endpoints.modern_clients import ModernClients
from relay.endpoints.own_stdio import OwnStdio
from relay.endpoints.shared import SharedPool, SharedSessions
from relay.errors import EndpointBroken, EndpointClosed
from relay.pipe import pipe

if TYPE_CHECKING:
    from relay.endpoints.http_dial import Dial
    from relay.endpoints.http_server import AnySession, HttpListener

__all__ = ["bridge", "serve"]

logger = logging.getLogger("relay")

_INTERRUPTED = 130


class StopSignals:
    """The first SIGTERM, SIGINT or SIGHUP asks for an orderly end, a second SIGTERM or SIGINT ends the process at once.

    Not a second SIGHUP: a terminal that closes may say so twice, and systemd can send one right after its SIGTERM.
    """

    def __init__(self, sink: StderrSink) -> None:
        """Catch them once installed, inside the event loop."""
        self._sink = sink
        self.stopped = asyncio.Event()

    def install(self) -> None:
        """Catch the signals."""
        loop = asyncio.get_running_loop()
        numbers = [signal.SIGTERM, signal.SIGINT]
        if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup ignores it
            numbers.append(signal.SIGHUP)
        for number in numbers:
            try:
                loop.add_signal_handler(number, self._caught, number)
            except NotImplementedError:  # Windows
                signal.signal(number, lambda caught, _: loop.call_soon_threadsafe(self._caught, caught))

    def _caught(self, number: int) -> None:
        name = signal.Signals(number).name
        if self.stopped.is_set():
            if name == "SIGHUP":
                return
            # The guardian ends the children: their ladder could take seconds, and the operator insists.
            say(self._sink, f"{name} again: ending at once")
            os._exit(_INTERRUPTED)
        logger.info("%s: finishing what is in flight", name)
        self.stopped.set()


async def serve(settings: ServeSettings, sink: StderrSink) -> int:
    """Offer a command over HTTP until a signal comes; return the exit code. Raises ConfigError."""
    stop = StopSignals(sink)
    stop.install()
    stderr = ChildStderr(settings.name, sink, settings.secrets)
    await stderr.open()
    try:
        target = _target(settings, stderr)
        try:
            await _Serving(settings, target, sink).run(stop.stopped)
        finally:
            await target.aclose()
    finally:
        stderr.close()
    return 0


def _target(settings: ServeSettings, stderr: ChildStderr) -> ChildTarget | RemoteTarget:
    if settings.url is not None:
        return RemoteTarget(
            settings.url, headers=settings.headers, transport=settings.transport, limits=settings.limits
        )
    return ChildTarget(settings.command, env=settings.env, cwd=settings.cwd, limits=settings.limits, stderr=stderr)


class _Serving:
    """One listener in front of one command or URL."""

    def __init__(self, settings: ServeSettings, target: ChildTarget | RemoteTarget, sink: StderrSink) -> None:
        self._settings = settings
        self._target = target
        self._sink = sink
        self._began = time.monotonic()
        self._last_activity = datetime.now(UTC)

    def _dial(self) -> Dial | None:
        """Return the way to a server to which requests are handed on as they come, without keeping sessions."""
        target = self._target
        if isinstance(target, RemoteTarget) and target.passes_requests and self._settings.share is None:
            return target.dial
        return None

    async def run(self, stopped: asyncio.Event) -> None:
        settings = self._settings
        listener = await listen(
            settings.host,
            settings.port,
            allowed_hosts=settings.allowed_hosts,
            allowed_origins=settings.allowed_origins,
            limits=settings.limits,
            status=self._status,
            per_request=settings.share == "request",
            server=self._dial(),
        )
        base = listener.base_url
        say(self._sink, f"listening on {base}/mcp (Streamable HTTP) and {base}/sse (HTTP+SSE)")
        for warning in settings.warnings:
            logger.warning("%s", warning)
        async with asyncio.TaskGroup() as group:
            accepting = group.create_task(self._accept(listener, group), name="accept sessions")
            try:
                await stopped.wait()
                await listener.drain(settings.limits.drain)
            finally:
                await listener.aclose()
                await asyncio.wait([accepting])

    async def _accept(self, listener: HttpListener, group: asyncio.TaskGroup) -> None:
        def begin(shared: SharedSessions) -> None:
            upstream = self._target.endpoint(is_shared=True)
            group.create_task(self._carry(shared, upstream), name=f"shared server {shared.name}")

        pool = SharedPool(self._target.name, self._settings.limits, begin)
        async for session in listener:
            upstream = self._upstream(session, pool)
            group.create_task(self._carry(session, upstream), name=f"session {session.name}")

    def _upstream(self, session: AnySession, pool: SharedPool) -> Endpoint:
        """Return what one session is joined to: a server of its own, or its share of one."""
        if isinstance(session, ModernClients):
            upstream = self._target.endpoint(is_shared=not session.takes_one)
            if session.greeting is None:
                return upstream
            return Greeted(upstream, session.greeting, self._settings.limits.handshake)
        if self._settings.share == "shared":
            return pool.member(lambda: session.is_listening)
        return self._target.endpoint()

    async def _carry(self, session: AnySession | SharedSessions, upstream: Endpoint) -> None:
        """Join a session to its server; whatever happens to it stays its own."""
        self._last_activity = datetime.now(UTC)
        observer = _frame_log(self._settings.secrets)
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


async def bridge(settings: BridgeSettings, sink: StderrSink) -> int:
    """Join this process's stdin and stdout to a URL until either ends; return the exit code. Raises ConfigError."""
    from relay.endpoints.remote import Remote

    stop = StopSignals(sink)
    stop.install()
    remote = Remote(settings.url, headers=settings.headers, transport=settings.transport, limits=settings.limits)
    reach = ReachLog(remote, then=_frame_log(settings.secrets))
    stdio = await OwnStdio.open(limits=settings.limits)

    async def stop_in_order() -> None:
        await stop.stopped.wait()
        if not stdio.is_finished:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(settings.limits.drain):
                    await remote.settle()
        await remote.aclose(EndpointClosed("the relay is shutting down"))
        stdio.finish()

    async with asyncio.TaskGroup() as group:
        stopping = group.create_task(stop_in_order(), name="stop in order")
        # What is in flight when stdin ends is delivered, as after SIGTERM, and for as long.
        limits = dataclasses.replace(settings.limits, linger=settings.limits.drain)
        report = await pipe(stdio, remote, limits=limits, observer=reach)
        stopping.cancel()
    if report.failure is not None and not isinstance(report.failure, EndpointClosed):
        logger.warning("ended: %s", report.failure)
    return 1 if reach.is_unreached else 0


def _frame_log(secrets: Sequence[str]) -> FrameLog | None:
    return FrameLog(secrets) if logger.isEnabledFor(logging.DEBUG) else None
