"""A command that the relay starts for each session: its running children, and when the next one may start."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from relay.endpoints.base import Endpoint
from relay.endpoints.child.child import Child, resolve_program
from relay.endpoints.child.guardian import Guardian
from relay.endpoints.child.restarts import Restarts
from relay.endpoints.core.lazy import Lazy
from relay.endpoints.core.refusing import Refusing
from relay.errors import EndpointUnavailable
from relay.limits import Limits

if TYPE_CHECKING:
    from relay.app.log.child_stderr import ChildStderr

__all__ = ["ChildTarget"]

logger = logging.getLogger("relay")


class ChildTarget:
    """A command and its running children."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: str | None,
        limits: Limits,
        stderr: ChildStderr,
        name: str | None = None,
        must_exist: bool = True,
        may_refuse: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Check that the command can be found, if it ``must_exist`` now. Raises ConfigError.

        If it ``may_refuse``, ends of children count: a session that begins too soon after one waits, or gets errors.
        """
        self.command = resolve_program(command, env, cwd) if must_exist else list(command)
        self.program = os.path.basename(command[0])
        self.name = name or self.program
        self.children: set[Child] = set()
        self.started = 0
        self.restarts = Restarts(self.name, clock)
        self._may_refuse = may_refuse
        self._env = env
        self._cwd = cwd
        self._limits = limits
        self._stderr = stderr
        self._spare: Child | None = None
        self._guardian = Guardian.hold()  # one for all children, not one for each

    def endpoint(self, *, is_shared: bool = False) -> Endpoint:
        """Return an endpoint that starts its child when first used."""
        return Lazy(self.name, self._begin)

    async def _begin(self) -> Endpoint:
        """Return the spare child, or a new one, or an endpoint that refuses every request with the reason."""
        spare, self._spare = self._spare, None
        if spare is not None and spare.is_alive and spare.own_end is None:
            return spare
        if not self._may_refuse:
            return await self._start()
        try:
            return await self.restarts.start(self._start)
        except EndpointUnavailable as exc:
            return Refusing(self.name, str(exc))

    async def _start(self) -> Child:
        child = await Child.start(
            self.command,
            env=self._env,
            cwd=self._cwd,
            name=self.name,
            limits=self._limits,
            stderr=self._stderr.fd,
            on_noise=self._stderr.take_noise,
        )
        self.started += 1
        self.children.add(child)
        logger.info("%s: started, pid %d", self.name, child.pid)
        return child

    async def keep_spare(self) -> None:
        """Start a child before the first session, and again if it ends, until a session takes it."""
        while True:
            try:
                child = await self.restarts.start(self._start)
            except EndpointUnavailable:
                await asyncio.sleep(self.restarts.wait)
                continue
            ended = asyncio.Event()
            child.call_at_end(ended.set)
            self._spare = child
            try:
                await ended.wait()
            finally:
                is_taken, self._spare = self._spare is not child, None
                if not is_taken:
                    await child.aclose()
                    self.forget(child)
            if is_taken:
                return

    def forget(self, endpoint: Endpoint) -> None:
        """Forget a child whose pipe has ended."""
        self.children = {child for child in self.children if child.is_alive}

    def status(self) -> dict[str, object]:
        """Return its entry in ``/status``, without arguments or environment."""
        self.restarts.look()
        alive = sum(child.is_alive for child in self.children)
        circuit = self.restarts.circuit
        known: dict[str, object] = {
            "state": "idle",
            "command": self.program,
            "children": alive,
            "started": self.started,
            "last_error": self.restarts.last_error,
        }
        if circuit.is_open:
            state = "open" if self.restarts.is_shut else "half-open"
            return {**known, "state": state, "open_until": self.restarts.opens_at()}
        if circuit.fault is not None:
            return {**known, "state": "failing"}
        if not alive:
            return known
        is_starting = all(child.is_starting for child in self.children if child.is_alive)
        return {**known, "state": "starting" if is_starting else "running"}

    async def aclose(self) -> None:
        """Release the guardian."""
        if self._guardian is not None:
            self._guardian.release()
            self._guardian = None
