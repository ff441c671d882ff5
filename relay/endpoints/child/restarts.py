"""Decide whether a child may start at once, after a wait, or not now, from how earlier children ended.

``routing/circuit.py`` has the rules. This module gives them a clock and random numbers, and watches the children.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from relay.endpoints.child.child import Child
from relay.errors import ConfigError, EndpointUnavailable
from relay.routing.circuit import Circuit

__all__ = ["Restarts"]

logger = logging.getLogger("relay")


class Restarts:
    """Starts the children of one server and keeps its circuit."""

    def __init__(self, name: str, clock: Callable[[], float], chance: Callable[[], float] = random.random) -> None:
        """Take a ``clock`` that returns seconds and a ``chance`` that returns numbers from 0 to 1."""
        self.circuit = Circuit()
        self.last_error: str | None = None
        """Why a child last failed to start or ended by itself; it stays after a recovery."""
        self._name = name
        self._clock = clock
        self._chance = chance
        self._running: dict[Child, float] = {}
        """The start time of each child that has not ended."""
        self._probe: Child | None = None

    async def start(self, make: Callable[[], Awaitable[Child]]) -> Child:
        """Start a child once the circuit allows it; raise EndpointUnavailable if it cannot or may not start."""
        is_probe = await self._wait_for_turn()
        try:
            child = await make()
        except (ConfigError, EndpointUnavailable) as exc:
            known, fault = self.last_error, str(exc).removeprefix(f"{self._name}: ")
            self._failed(fault, is_probe=is_probe)
            if fault != known:
                logger.warning("%s: %s", self._name, fault)
            raise EndpointUnavailable(f"{self._name}: {self.last_error}") from exc
        except BaseException:
            if is_probe:
                self.circuit.probe_ended()
            raise
        self._running[child] = self._clock()
        if is_probe:
            self._probe = child
        child.call_at_end(functools.partial(self._ended, child))
        return child

    async def _wait_for_turn(self) -> bool:
        """Wait as long as the circuit says; return whether this start probes an open circuit."""
        while True:
            self.look()
            verdict = self.circuit.ask(self._clock())
            if verdict == "start":
                return self.circuit.is_open
            if verdict == "refuse":
                raise EndpointUnavailable(self._why_not())
            await asyncio.sleep(self.circuit.until - self._clock())

    def _why_not(self) -> str:
        """Return why the child does not start, and when the relay tries again."""
        seconds = self.circuit.until - self._clock()
        when = f"in {seconds:.1f} s, at {self.opens_at()}" if seconds > 0 else "now, by another request"
        return f"{self._name}: not started, because it keeps failing: {self.circuit.fault}; it is tried again {when}"

    def opens_at(self) -> str:
        """Return when an open circuit admits a start, as an ISO 8601 date."""
        moment = datetime.now(UTC) + timedelta(seconds=max(self.circuit.until - self._clock(), 0))
        return moment.isoformat(timespec="seconds")

    @property
    def is_shut(self) -> bool:
        """Whether the circuit admits no start now, not even a probe."""
        return self.circuit.is_open and self._clock() < self.circuit.until

    @property
    def wait(self) -> float:
        """Seconds until a child may start."""
        return max(self.circuit.until - self._clock(), 0.1)  # not at once, where a probe decides

    def look(self) -> None:
        """Tell the circuit of children that have answered since the last failure, or have run for long."""
        now = self._clock()
        for child, began in self._running.items():
            if child.has_written and (child is self._probe or not self.circuit.is_open):
                self._probe = None
                if self.circuit.is_open:
                    logger.warning("%s: runs again", self._name)
                self.circuit.answered()
            self.circuit.ran(now - began)

    def _ended(self, child: Child) -> None:
        began = self._running.pop(child)
        is_probe, self._probe = child is self._probe, None if child is self._probe else self._probe
        ran = self._clock() - began
        if child.own_end is not None:
            self._failed(child.own_end, ran=ran, is_probe=is_probe)
            return
        self.circuit.ran(ran)
        if not is_probe:
            return
        if child.has_written:
            self.circuit.answered()
        else:
            self.circuit.probe_ended()

    def _failed(self, fault: str, *, ran: float = 0.0, is_probe: bool) -> None:
        self.last_error = fault
        if self.circuit.failed(self._clock(), fault, ran=ran, chance=self._chance(), is_probe=is_probe):
            count = self.circuit.recent_failures
            logger.warning(
                "%s: failed %d times in a minute: %s; not started before %s", self._name, count, fault, self.opens_at()
            )
        else:
            logger.info("%s: %s", self._name, fault)
