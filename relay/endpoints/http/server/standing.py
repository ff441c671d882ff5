"""End what outlives a request when its client's login ends: streams, sessions of HTTP+SSE, and WebSockets.

A call that was admitted gets its answer. What has no end of its own lasts no longer than the login: the relay asks
again when the login ends, and whenever logins change.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator

from aiohttp import web

from relay.auth.inbound.login import InboundLogin
from relay.auth.inbound.verdicts import Pending, Principal, Verdict
from relay.endpoints.core.tasks import TaskScope
from relay.endpoints.http.decisions import Admission

__all__ = ["Standings"]

logger = logging.getLogger("relay")

_PATIENCE = 60.0  # seconds for which a login that nobody can judge counts as it was
_AGAIN = 5.0


class _Standing:
    """One stream or connection, and the request that began it."""

    def __init__(self, request: web.BaseRequest, admission: Admission, end: Callable[[], None]) -> None:
        self.request = request
        self.principal = admission.principal
        self.end = end
        self.timer: asyncio.TimerHandle | None = None
        self.doubted_since: float | None = None

    def stop(self) -> None:
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None


class Standings:
    """All of one listener."""

    def __init__(self, login: InboundLogin) -> None:
        """Ask ``login``."""
        self._login = login
        self._open: set[_Standing] = set()
        self._tasks = TaskScope()

    @contextlib.contextmanager
    def during(self, request: web.BaseRequest, admission: Admission, end: Callable[[], None]) -> Iterator[None]:
        """Call ``end`` once the login of ``request`` has ended, unless the block has exited."""
        one = _Standing(request, admission, end)
        self._open.add(one)
        self._wait(one, admission.until)
        try:
            yield
        finally:
            one.stop()
            self._open.discard(one)

    def spawn_close(self, closing: Callable[[], object]) -> None:
        """Run a coroutine that closes something."""
        self._tasks.spawn(closing(), name="a login has ended")  # type: ignore[arg-type] # a coroutine

    def look_again(self) -> None:
        """Ask about all of them, because logins have changed."""
        for one in tuple(self._open):
            self._look(one)

    async def aclose(self) -> None:
        """Ask no more."""
        for one in self._open:
            one.stop()
        await self._tasks.aclose()

    def _wait(self, one: _Standing, until: float | None) -> None:
        one.stop()
        if until is not None:
            one.timer = asyncio.get_running_loop().call_at(until, self._look, one)

    def _look(self, one: _Standing) -> None:
        now = asyncio.get_running_loop().time()
        verdict = self._login.look(
            one.request.headers, one.request.remote, now, lambda: one.request.get_extra_info("peercert")
        )
        if isinstance(verdict, Pending):
            self._tasks.spawn(self._verify(one, verdict, now), name="ask about a login again")
        else:
            self._take(one, verdict, now)

    async def _verify(self, one: _Standing, pending: Pending, now: float) -> None:
        self._take(one, await self._login.verify(pending, one.request.remote, now), now)

    def _take(self, one: _Standing, verdict: Verdict, now: float) -> None:
        if one not in self._open:
            return
        if isinstance(verdict, Principal) and verdict.name == one.principal:
            one.doubted_since = None
            self._wait(one, verdict.until)
            return
        if not isinstance(verdict, Principal | Pending) and verdict.status == 503:
            one.doubted_since = now if one.doubted_since is None else one.doubted_since
            if now - one.doubted_since < _PATIENCE:
                self._wait(one, now + _AGAIN)
                return
        logger.info("http: ended a stream of %s: its login has ended", one.request.remote or "a client")
        one.stop()
        self._open.discard(one)
        one.end()
