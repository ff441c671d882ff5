"""Several servers that stand in for one another: how each is doing, and whether an ejected one has recovered.

A ``Pool`` holds what all sessions know in common. Each session is a ``Failover`` (failover.py). The relay's own
``initialize`` finds out whether an ejected server has recovered: no client's request is spent on that.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Sequence

import msgspec

from relay.endpoints.base import Endpoint
from relay.endpoints.core.tasks import TaskScope
from relay.errors import ConfigError, EndpointUnavailable, RelayError
from relay.frames import replies
from relay.frames.frame import Frame
from relay.frames.head import Kind
from relay.limits import DEFAULT_LIMITS, Limits
from relay.mcp.handshake import OWN_ID, initialize
from relay.routing.schedule import Schedule, Strategy, wait_before_try

__all__ = ["Pool", "Retry", "Upstream", "only", "said_by"]

logger = logging.getLogger("relay")

_PATIENCE = 1.0  # seconds for which requests wait for the first answer of a server


class Retry(msgspec.Struct, frozen=True):
    """How long an answer may take, and how often a request that no server took is tried again."""

    timeout: float | None = 30.0
    """Seconds for each request, begun anew by each progress notification; None: no limit. Subscriptions have none."""
    attempts: int = 3
    """How often all servers are tried before the relay gives a request up."""
    delay: float = 1.0
    """Seconds between two such rounds."""


class Upstream(msgspec.Struct, frozen=True, eq=False):
    """One server, and how an endpoint for it is made."""

    name: str
    make: Callable[[bool], Endpoint]
    """Called with whether many clients will share the endpoint; it connects when first used."""
    patience: float = 4.0
    """Seconds that a probe of the ejected server may take."""
    spare: Endpoint | None = None
    """The only endpoint there is for it, if it cannot be made again."""


def only(endpoint: Endpoint) -> Upstream:
    """Return an upstream that is this endpoint and can be used once."""
    unused = [endpoint]

    def make(_: bool) -> Endpoint:
        if not unused:
            raise EndpointUnavailable(f"{endpoint.name}: has been used")
        return unused.pop()

    return Upstream(endpoint.name, make, spare=endpoint)


def said_by(name: str, fault: str) -> str:
    """Return a fault with the name of its server; errors of endpoints begin with it already."""
    return fault if fault.startswith(name) else f"{name}: {fault}"


class Pool:
    """The servers, whose turn it is, and which of them are ejected."""

    def __init__(
        self,
        servers: Sequence[Upstream],
        *,
        strategy: Strategy = "round-robin",
        retry: Retry | None = None,
        limits: Limits = DEFAULT_LIMITS,
        ejects: bool = True,
    ) -> None:
        """Start and connect nothing. Unless it ``ejects``, every server counts as well. Raises ConfigError."""
        if not servers:
            raise ConfigError("no target to choose from")
        self.servers = tuple(servers)
        self.name = servers[0].name if len(servers) == 1 else f"{servers[0].name} and {len(servers) - 1} more"
        self.retry = retry or Retry()
        self.limits = limits
        self.schedule = Schedule([server.name for server in servers], strategy)
        self.watchers: set[Callable[[int], bool]] = set()
        """The sessions: each hears of a server that is ejected, and says whether it ends with that."""
        self._ejects = ejects
        self._waiting: dict[int, list[Callable[[], None]]] = {}
        """By server, the requests that wait for its first answer."""
        self._patience: dict[int, asyncio.TimerHandle] = {}
        self._watched: set[int] = set()
        self._tasks = TaskScope()

    def call_at_answer(self, place: int, go_on: Callable[[], None]) -> None:
        """Call ``go_on`` once a server has answered or was ejected, or has kept silent for a second."""
        if place not in self._waiting:
            self._waiting[place] = []
            loop = asyncio.get_running_loop()
            self._patience[place] = loop.call_later(_PATIENCE, self._kept_silent, place)
        self._waiting[place].append(go_on)

    def _kept_silent(self, place: int) -> None:
        self.schedule.kept_silent(place)
        self._let_go_on(place)

    def _let_go_on(self, place: int) -> None:
        if place in self._waiting:
            self._patience.pop(place).cancel()
            for go_on in self._waiting.pop(place):
                go_on()

    def answered(self, place: int) -> None:
        """Take note of an answer."""
        self.schedule.answered(place)
        self._let_go_on(place)

    def failed(self, place: int, fault: str) -> None:
        """Take note of a server that did not answer, or broke off."""
        if self._ejects and self.schedule.failed(place, fault):
            self._ejected(place, fault)

    def refused(self, place: int, fault: str) -> None:
        """Take note of a server that could not be reached."""
        if self._ejects and self.schedule.refused(place, fault):
            self._ejected(place, fault)

    def _ejected(self, place: int, fault: str) -> None:
        server = self.servers[place]
        if server.spare is None and place not in self._watched:
            self._watched.add(place)
            self._tasks.spawn(self._watch(place), name=f"{server.name}: has it recovered")
        over = sum([watcher(place) for watcher in tuple(self.watchers)])
        lost = f"; {over} session{'s' if over > 1 else ''} there ended" if over else ""
        logger.warning("%s: not asked until it has recovered: %s%s", server.name, fault, lost)
        self._let_go_on(place)

    async def _watch(self, place: int) -> None:
        """Probe a server again and again, and take it back when it answers."""
        try:
            await self._wait_for_recovery(place)
        finally:
            self._watched.discard(place)

    async def _wait_for_recovery(self, place: int) -> None:
        server, tries = self.servers[place], 0
        while True:
            await asyncio.sleep(wait_before_try(tries, random.random()))
            tries += 1
            if self.schedule.standings[place].fault is None:
                return  # with all servers ejected, a client's request has found it well
            try:
                async with asyncio.timeout(server.patience):
                    answer = await self._probe(server)
            except (RelayError, TimeoutError) as exc:
                logger.debug("%s: has not recovered: %s", server.name, str(exc) or "no answer")
                continue
            fault = replies.fault_of(answer)
            if fault is None or not fault.is_failure:
                self.answered(place)
                logger.warning("%s: has recovered", server.name)
                return

    async def _probe(self, server: Upstream) -> Frame:
        endpoint = server.make(False)
        try:
            await endpoint.send((initialize(),))
            while frames := await endpoint.receive():
                for frame in frames:
                    if frame.head.kind is Kind.RESPONSE and frame.head.id == OWN_ID:
                        return frame
            raise EndpointUnavailable(f"{server.name}: has ended")
        finally:
            await endpoint.aclose()

    def status(self) -> list[dict[str, object]]:
        """Return how each server is doing."""
        return [
            {
                "name": one.name,
                "in_flight": one.in_flight,
                "sessions": one.sessions,
                "failures": one.failures,
                "ejected": one.fault,
            }
            for one in self.schedule.standings
        ]

    async def aclose(self) -> None:
        """Probe no server any more. Sessions are closed by their owners."""
        for place in tuple(self._waiting):
            self._let_go_on(place)
        await self._tasks.aclose()
        for server in self.servers:
            if server.spare is not None:
                await server.spare.aclose()
