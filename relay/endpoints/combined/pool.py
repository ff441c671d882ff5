"""Several servers that stand in for one another: how each of them is doing, and who looks whether it has recovered.

A ``Balancer`` holds what all sessions know in common. Each session is a ``Choice`` (failover.py). Whether an ejected
server has recovered is found out by the relay's own ``initialize``: no client's request is spent on that.
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
from relay.routing.schedule import Rota, Strategy, wait_before_try

__all__ = ["Balancer", "Retry", "Target"]

logger = logging.getLogger("relay")

_PROBE_ID = "mcp-relay"
_PROBE = replies.request(
    _PROBE_ID,
    "initialize",
    {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "mcp-relay", "version": "1"}},
)


class Retry(msgspec.Struct, frozen=True):
    """How long an answer may take, and how often a request that nobody took is tried again."""

    timeout: float | None = 30.0
    """Seconds for each request, begun anew by each progress notification; None: no end. Subscriptions have none."""
    attempts: int = 3
    """How often all servers are tried before a request is given up."""
    delay: float = 1.0
    """Seconds between two such rounds."""


class Target(msgspec.Struct, frozen=True, eq=False):
    """One server, and how an endpoint for it is made."""

    name: str
    make: Callable[[bool], Endpoint]
    """Called with whether many clients will share the endpoint; it connects when first used."""
    patience: float = 4.0
    """How long it may take to answer when it is looked whether it has recovered."""
    spare: Endpoint | None = None
    """The only endpoint there is for it, if it cannot be made again."""


def only(endpoint: Endpoint) -> Target:
    """Return a target that is this endpoint and can be used once."""
    unused = [endpoint]

    def make(_: bool) -> Endpoint:
        if not unused:
            raise EndpointUnavailable(f"{endpoint.name}: has been used")
        return unused.pop()

    return Target(endpoint.name, make, spare=endpoint)


class Balancer:
    """The servers, in what order they are taken, and which of them are not asked for now."""

    def __init__(
        self,
        targets: Sequence[Target],
        *,
        strategy: Strategy = "round-robin",
        retry: Retry | None = None,
        limits: Limits = DEFAULT_LIMITS,
        leaves_out: bool = True,
    ) -> None:
        """Start and connect nothing. Unless it ``leaves_out`` who fails, every target is well. Raises ConfigError."""
        if not targets:
            raise ConfigError("no target to choose from")
        self.targets = tuple(targets)
        self.name = targets[0].name if len(targets) == 1 else f"{targets[0].name} and {len(targets) - 1} more"
        self.retry = retry or Retry()
        self.limits = limits
        self.rota = Rota([target.name for target in targets], strategy)
        self.watchers: set[Callable[[int], bool]] = set()
        """Told of each server that is ejected: the sessions, each of which says whether it ends with that."""
        self._leaves_out = leaves_out
        self._watched: set[int] = set()
        self._tasks = TaskScope()

    def answered(self, place: int) -> None:
        """Take note of an answer."""
        self.rota.answered(place)

    def failed(self, place: int, fault: str) -> None:
        """Take note of a server that did not answer, or broke off."""
        if self._leaves_out and self.rota.failed(place, fault):
            self._ejected(place, fault)

    def refused(self, place: int, fault: str) -> None:
        """Take note of a server that could not be reached."""
        if self._leaves_out and self.rota.refused(place, fault):
            self._ejected(place, fault)

    def _ejected(self, place: int, fault: str) -> None:
        target = self.targets[place]
        if target.spare is None and place not in self._watched:
            self._watched.add(place)
            self._tasks.spawn(self._watch(place), name=f"{target.name}: has it recovered")
        over = sum([watcher(place) for watcher in tuple(self.watchers)])
        lost = f"; {over} session{'s' if over > 1 else ''} there ended" if over else ""
        logger.warning("%s: not asked until it has recovered: %s%s", target.name, fault, lost)

    async def _watch(self, place: int) -> None:
        """Try a server again and again, and take it back when it answers."""
        try:
            await self._wait_for_recovery(place)
        finally:
            self._watched.discard(place)

    async def _wait_for_recovery(self, place: int) -> None:
        target, tries = self.targets[place], 0
        while True:
            await asyncio.sleep(wait_before_try(tries, random.random()))
            tries += 1
            if self.rota.standings[place].fault is None:
                return  # a client's request, there being no other server, has found it well
            try:
                async with asyncio.timeout(target.patience):
                    answer = await self._ask(target)
            except (RelayError, TimeoutError) as exc:
                logger.debug("%s: has not recovered: %s", target.name, str(exc) or "no answer")
                continue
            fault = replies.fault_of(answer)
            if fault is None or not fault.is_failure:
                self.rota.answered(place)
                logger.warning("%s: has recovered", target.name)
                return

    async def _ask(self, target: Target) -> Frame:
        endpoint = target.make(False)
        try:
            await endpoint.send((_PROBE,))
            while frames := await endpoint.receive():
                for frame in frames:
                    if frame.head.kind is Kind.RESPONSE and frame.head.id == _PROBE_ID:
                        return frame
            raise EndpointUnavailable(f"{target.name}: has ended")
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
            for one in self.rota.standings
        ]

    async def aclose(self) -> None:
        """Look after no server any more; sessions are closed by who has them."""
        await self._tasks.aclose()
        for target in self.targets:
            if target.spare is not None:
                await target.spare.aclose()
