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
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from relay.app.logs import ChildStderr, FrameLog, StderrSink, say
from relay.app.settings import BridgeSettings, ServeSettings
from relay.app.wiring import ChildTarget, listen
from relay.endpoints.own_stdio import OwnStdio
from relay.errors import EndpointBroken, EndpointClosed
from relay.pipe import pipe

if TYPE_CHECKING:
    from relay.endpoints.http_server import HttpListener
    from relay.endpoints.http_session import HttpSession
from relay.endpoints.sse_server import SseSession

__all__ = ["bridge", "serve"]

logger = logging.getLogger("relay")

_INTERRUPTED = 130


class StopSignals:
    """The first SIGTERM or SIGINT asks for an orderly end, the second ends the process at once."""

    def __init__(self, sink: StderrSink) -> None:
        """Catch both from now on; enter it inside the event loop."""
        self._sink = sink
        self.stopped = asyncio.Event()

    def install(self) -> None:
        """Catch the signals."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            try:
                loop.add_signal_handler(number, self._caught, number)
            except NotImplementedError:  # Windows
                signal.signal(number, lambda caught, _: loop.call_soon_threadsafe(self._caught, caught))

    def _caught(self, number: int) -> None:
        if self.stopped.is_set():
            # The guardian ends the children: their ladder could take seconds, and the operator insists.
            say(self._sink, f"{signal.Signals(number).name} again: ending at once")
            os._exit(_INTERRUPTED)
        logger.info("%s: finishing what is in flight", signal.Signals(number).name)
        self.stopped.set()


async def serve(settings: ServeSettings, sink: StderrSink) -> int:
    """Offer a command over HTTP until a signal comes; return the exit code. Raises ConfigError."""
    stop = StopSignals(sink)
    stop.install()
    stderr = ChildStderr(settings.name, sink, settings.secrets)
    await stderr.open()
    try:
        target = ChildTarget(
            settings.command, env=settings.env, cwd=settings.cwd, limits=settings.limits, stderr=stderr
        )
        try:
            await _Serving(settings, target, sink).run(stop.stopped)
        finally:
            target.close()
    finally:
        stderr.close()
    return 0


class _Serving:
    """One listener in front of one command."""

    def __init__(self, settings: ServeSettings, target: ChildTarget, sink: StderrSink) -> None:
        self._settings = settings
        self._target = target
        self._sink = sink
        self._began = time.monotonic()
        self._last_activity = datetime.now(UTC)

    async def run(self, stopped: asyncio.Event) -> None:
        settings = self._settings
        listener = await listen(
            settings.host,
            settings.port,
            allowed_hosts=settings.allowed_hosts,
            allowed_origins=settings.allowed_origins,
            limits=settings.limits,
            status=self._status,
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
        async for session in listener:
            group.create_task(self._carry(session), name=f"session {session.name}")

    async def _carry(self, session: HttpSession | SseSession) -> None:
        """Join one session to a child of its own; whatever happens to it stays its own."""
        upstream = self._target.endpoint()
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
        report = await pipe(stdio, remote, limits=limits, observer=_frame_log(settings.secrets))
        stopping.cancel()
    if report.failure is not None and not isinstance(report.failure, EndpointClosed):
        logger.warning("ended: %s", report.failure)
    return 0


def _frame_log(secrets: Sequence[str]) -> FrameLog | None:
    return FrameLog(secrets) if logger.isEnabledFor(logging.DEBUG) else None
