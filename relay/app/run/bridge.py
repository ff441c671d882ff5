"""Join this process's own stdio to an address, or to servers, for clients that can only start programs."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging

from relay.app.log.child_stderr import ChildStderr
from relay.app.log.frames import log_frames_of
from relay.app.log.reach import ReachLog
from relay.app.log.stderr import StderrSink
from relay.app.run.signals import StopSignals
from relay.app.run.wiring import connect_with
from relay.app.settings import BridgeSettings, ServeSettings
from relay.app.specs import is_url
from relay.endpoints.base import Endpoint
from relay.endpoints.stdio.own_stdio import OwnStdio
from relay.errors import ConfigError, EndpointClosed, EndpointUnavailable
from relay.observe.hub import Clients, Hub
from relay.pipe import pipe

__all__ = ["bridge", "bridge_own_servers"]

logger = logging.getLogger("relay")


async def bridge(settings: BridgeSettings, sink: StderrSink, *, remote: Endpoint | None = None) -> int:
    """Join this process's stdin and stdout to a URL, or to ``remote``, until either ends; return the exit code.

    Raises ConfigError.
    """
    stop = StopSignals(sink)
    stop.install()
    limits = settings.dialling.limits
    if remote is not None:
        pass
    elif is_url(settings.url):
        from relay.endpoints.http.client.remote import Remote

        remote = Remote(settings.url, settings.dialling)
    else:
        remote = connect_with(settings.dialling, settings.url)
    reach = ReachLog(remote)
    hub = Hub()
    hub.subscribe("the log of unreachable servers", frames=reach.look)
    log_frames_of(hub, settings.secrets)
    stdio = await OwnStdio.open(limits=limits)
    Clients(hub, {stdio})

    async def stop_in_order() -> None:
        await stop.stopped.wait()
        await settings.dialling.end_logins()
        if not stdio.is_finished:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limits.drain):
                    while hub.in_flight:  # noqa: ASYNC110 - once in a relay's life
                        await asyncio.sleep(0.02)
        await remote.aclose(EndpointClosed("the relay is shutting down"))
        stdio.finish()

    ended = asyncio.Event()
    stdio.call_at_end(ended.set)

    async def end_in_order() -> None:
        """Leave a server that stays connected though no answer is due: the drain is for answers only."""
        await ended.wait()
        while hub.in_flight:  # noqa: ASYNC110 - once in a relay's life
            await asyncio.sleep(0.02)
        await asyncio.sleep(limits.linger)
        await remote.aclose()

    with contextlib.ExitStack() as while_it_runs:
        if settings.log_to == "client":
            from relay.app.log.client import ClientLog

            log = ClientLog(stdio, settings.secrets)
            hub.subscribe("the log to the client", frames=log.look, pipes=log)
            while_it_runs.enter_context(log.installed())
        async with asyncio.TaskGroup() as group:
            stopping = group.create_task(stop_in_order(), name="stop in order")
            ending = group.create_task(end_in_order(), name="end in order")
            # As after SIGTERM, requests in flight when stdin ends get their answers, for as long as the drain lasts.
            patient = dataclasses.replace(limits, linger=limits.drain)
            report = await pipe(stdio, remote, limits=patient, hub=hub)
            stopping.cancel()
            ending.cancel()
    if isinstance(report.failure, ConfigError):
        raise report.failure  # the address was first used in the pipe
    if report.failure is not None and not isinstance(report.failure, EndpointClosed):
        logger.warning("ended: %s", report.failure)
    return 1 if reach.is_unreached or isinstance(report.failure, EndpointUnavailable) else 0


async def bridge_own_servers(settings: ServeSettings, sink: StderrSink) -> int:
    """Join own stdin and stdout to a command, or to several servers, as ``bridge`` does. Raises ConfigError."""
    from relay.app.run.serve import target_of

    stderr = ChildStderr(settings.name, sink, settings.secrets)
    await stderr.open()
    try:
        # The client that started this program has one session and cannot begin another: the session stays put.
        target = target_of(settings, stderr, ends_with_home=False)
        try:
            bridging = BridgeSettings(
                url=target.name, dialling=settings.dialling, secrets=settings.secrets, log_to=settings.log_to
            )
            return await bridge(bridging, sink, remote=target.endpoint())
        finally:
            await target.aclose()
    finally:
        stderr.close()
