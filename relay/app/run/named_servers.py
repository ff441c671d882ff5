"""Servers with names: the relay offers them below ``/servers/NAME`` and replaces them while it runs.

Each has an offer of its own, with sessions, children, circuit and stderr, so that no server affects another. A server
that cannot start refuses its own clients only. A server that is replaced drains while its successor already serves.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from relay.app.config.entries import check_name, segment_of
from relay.app.config.servers_source import ServersSource
from relay.app.log.child_stderr import ChildStderr
from relay.app.log.setup import mask_also
from relay.app.log.stderr import StderrSink, say
from relay.app.named_server import NamedServer
from relay.app.run.child_target import ChildTarget
from relay.app.run.offer import Offer
from relay.app.run.targets import AddressTarget, RemoteTarget, Target
from relay.app.settings import ServeSettings
from relay.app.specs import is_url
from relay.endpoints.base import Endpoint
from relay.endpoints.child.child import child_environment, resolve_program
from relay.endpoints.core.dialling import DiallingOptions
from relay.endpoints.core.refusing import Refusing
from relay.endpoints.core.tasks import TaskScope
from relay.errors import ConfigError
from relay.observe.hub import Hub

if TYPE_CHECKING:
    from relay.endpoints.http.server.listener import HttpListener
    from relay.endpoints.http.server.mount import Mount

__all__ = ["NamedServers"]

logger = logging.getLogger("relay")

_PERIOD = 1.0  # seconds between two checks of the file: one stat, which costs nothing
_SHOWN_NAMES = 20
_SETTLING = 0.05  # some editors empty a file before they write it


class _RefusedTarget:
    """A server that cannot run."""

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self._reason = reason

    def endpoint(self, *, is_shared: bool = False) -> Endpoint:
        return Refusing(self.name, f"{self.name}: {self._reason}")

    def forget(self, endpoint: Endpoint) -> None:
        """Keep nothing."""

    def status(self) -> dict[str, object]:
        return {"state": "failing", "last_error": self._reason}

    async def aclose(self) -> None:
        """Release nothing."""


class _Served:
    """One server that is offered."""

    def __init__(self, server: NamedServer, offer: Offer, stderr: ChildStderr) -> None:
        self.server = server
        self.offer = offer
        self.mounts: list[tuple[HttpListener, Mount]] = []
        self._stderr: ChildStderr | None = stderr

    async def aclose(self) -> None:
        """End its sessions, once no listener offers it any more."""
        await self.offer.aclose()
        await self.offer.target.aclose()
        stderr, self._stderr = self._stderr, None
        if stderr is not None:  # called twice if the relay ends while this server drains
            stderr.close()


class NamedServers:
    """All servers with names, of all HTTP listeners."""

    def __init__(self, source: ServersSource, settings: ServeSettings, sink: StderrSink) -> None:
        """Offer the servers that ``source`` names; ``settings`` are common to all of them."""
        self._source = source
        self._settings = settings
        self._sink = sink
        self._listeners: Sequence[HttpListener] = ()
        self._served: dict[str, _Served] = {}
        self._disabled: dict[str, NamedServer] = {}
        self._leaving: set[_Served] = set()
        self._tasks = TaskScope()
        self._asked = asyncio.Event()

    # Life.

    async def begin(self, listeners: Sequence[HttpListener]) -> None:
        """Offer the servers at these listeners, and watch the file that names them, if there is one."""
        self._listeners = listeners
        await self._exchange(self._source.servers)
        if self.is_watched:
            self._tasks.spawn(self._watch(), name="watch the servers' file")

    @property
    def is_watched(self) -> bool:
        """Whether a file names the servers, so that they may change."""
        return self._source.path is not None

    def reload_soon(self) -> None:
        """Read the file again soon, even if it has not changed."""
        self._asked.set()

    async def aclose(self) -> None:
        """End all of them, once the listeners are closed."""
        await self._tasks.aclose()
        await asyncio.gather(*(served.aclose() for served in (*self._served.values(), *self._leaving)))

    # Reports.

    @property
    def names(self) -> list[str]:
        """The names of the servers that are offered now."""
        return list(self._served)

    def describe(self) -> str:
        """Return the names in one line, or the first of them."""
        names = [segment_of(name) for name in self._served]
        more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
        return f"NAME is one of {', '.join(names[:_SHOWN_NAMES])}{more}" if names else "no server has a name now"

    @property
    def hubs(self) -> Iterable[Hub]:
        """What is known of the traffic with each server."""
        return (served.offer.hub for served in self._served.values())

    def status(self) -> dict[str, object]:
        """Return the entry of each server in ``/status``."""
        served = {name: one.offer.status() for name, one in self._served.items()}
        return {**served, **{name: {"state": "disabled"} for name in self._disabled}}

    # The file.

    async def _watch(self) -> None:
        while True:
            await self._changed()
            try:
                self._source.read()
            except ConfigError as exc:
                say(self._sink, f"{exc}; the servers stay as they are")
                continue
            for warning in self._source.warnings:
                logger.warning("%s", warning)
            said = await self._exchange(self._source.servers)
            waiting = ", ".join(self._source.waiting)
            restart = f"{waiting} changed: that counts when the relay is started again, only servers at once"
            parts = [part for part in (said, restart if waiting else "") if part]
            say(self._sink, f"{self._source.path}: {'; '.join(parts) or 'nothing has changed'}")

    async def _changed(self) -> None:
        """Wait until the file changes, or SIGHUP asks for it to be read again."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PERIOD):
                    await self._asked.wait()
            found = self._source.look()
            if not self._asked.is_set() and found == self._source.seen:
                continue
            self._asked.clear()
            while (seen := found) is not None:
                await asyncio.sleep(_SETTLING)
                if (found := self._source.look()) == seen:
                    break
            return

    # Replacement.

    async def _exchange(self, servers: Mapping[str, NamedServer]) -> str:
        """Add, remove and replace servers until these are offered; return what was done, in words."""
        mask_also([secret for server in servers.values() for secret in server.secrets])
        wanted = {name: one for name, one in servers.items() if one.is_enabled and check_name(name) is None}
        removed = [name for name in self._served if name not in wanted]
        differing = [name for name, one in self._served.items() if name in wanted and _differ(one.server, wanted[name])]
        kept = [name for name in differing if self._is_better_kept(self._served[name].server, wanted[name])]
        replaced = [name for name in differing if name not in kept]
        added = [name for name in wanted if name not in self._served]
        coming: list[_Served] = []
        try:
            for name in (*replaced, *added):
                coming.append(await self._prepare(wanted[name]))  # noqa: PERF401 - those that there are must be closed
        except BaseException:
            for one in coming:
                await one.aclose()
            raise
        # No await from here on: there is no moment in which a replaced server is missing.
        for name in (*removed, *replaced):
            self._withdraw(self._served.pop(name))
        for one in coming:
            self._offer(one)
        self._disabled = {name: server for name, server in servers.items() if not server.is_enabled}
        done = (
            ("added", added),
            ("replaced", replaced),
            ("removed", removed),
            ("cannot run now, stays as it was:", kept),
        )
        return "; ".join(f"{what} {', '.join(names)}" for what, names in done if names)

    def _is_better_kept(self, server: NamedServer, successor: NamedServer) -> bool:
        """Tell whether a server that can run would be replaced by one that cannot: the file has a mistake."""
        return server.problem is None and (successor.problem is not None or self._fault_of(successor) is not None)

    def _fault_of(self, server: NamedServer) -> str | None:
        """Return why a server without a problem in its description still cannot run now; None if it can."""
        if server.url is not None:
            return None
        try:
            resolve_program(server.command, self._environment_of(server), server.cwd)
        except ConfigError as exc:
            return str(exc)
        return None

    def _environment_of(self, server: NamedServer) -> dict[str, str]:
        return child_environment(server.env, pass_all=self._settings.pass_environment, withheld=self._settings.withheld)

    def _withdraw(self, served: _Served) -> None:
        seconds = self._settings.limits.drain
        ends = [listener.unmount(mount, seconds) for listener, mount in served.mounts]
        self._leaving.add(served)

        async def leave() -> None:
            await asyncio.gather(*ends)
            await served.aclose()
            self._leaving.discard(served)

        self._tasks.spawn(leave(), name=f"{served.server.name}: leave")

    async def _prepare(self, server: NamedServer) -> _Served:
        settings = msgspec.structs.replace(self._settings, secrets=server.secrets)
        stderr = ChildStderr(server.name, self._sink, server.secrets)
        if server.url is None:
            await stderr.open()
        target = self._target(server, stderr)
        return _Served(server, Offer(target, settings, notes_faults=True), stderr)

    def _offer(self, served: _Served) -> None:
        name, offer = served.server.name, served.offer
        self._served[name] = served
        for listener in self._listeners:
            mount = listener.mount(name, per_request=offer.per_request, server=offer.dial, hub=offer.hub)
            served.mounts.append((listener, mount))
            offer.accept(mount, looks_after=True)
        if self._settings.is_eager:
            offer.start_now()

    def _target(self, server: NamedServer, stderr: ChildStderr) -> Target:
        if server.problem is not None:
            return _RefusedTarget(server.name, f"cannot run: {server.problem}")
        try:
            target = self._runnable(server, stderr)
        except ConfigError as exc:
            logger.warning("%s: %s", server.where or server.name, exc)
            return _RefusedTarget(server.name, str(exc))
        if server.timeout is None:
            return target
        from relay.app.run.failover import TimedTarget

        return TimedTarget(target, server.timeout, self._settings.limits)

    def _runnable(self, server: NamedServer, stderr: ChildStderr) -> ChildTarget | RemoteTarget | AddressTarget:
        limits, url = self._settings.limits, server.url
        if url is None:
            if (fault := self._fault_of(server)) is not None:  # it may be installed before the first session
                logger.warning("%s: %s", server.where or server.name, fault)
            return ChildTarget(
                server.command,
                env=self._environment_of(server),
                cwd=server.cwd,
                limits=limits,
                stderr=stderr,
                name=server.name,
                must_exist=False,
            )
        dialling = self._settings.dialling
        options = DiallingOptions(
            headers=server.headers,
            transport=server.transport,
            tls=dialling.tls,
            login=dialling.login if is_url(url) and dialling.logs_in_everywhere else None,
            limits=limits,
        )
        return RemoteTarget(url, options) if is_url(url) else AddressTarget(url, options)


def _differ(one: NamedServer, other: NamedServer) -> bool:
    """Tell whether two descriptions differ; a different line number in the file does not count."""
    return dataclasses.replace(one, where="", mistakes=()) != dataclasses.replace(other, where="", mistakes=())
