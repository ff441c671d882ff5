"""Keep the servers that pages use, for as long as they use them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import weakref
from collections import OrderedDict
from collections.abc import AsyncIterator
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from relay.endpoints.core.tasks import TaskScope
from relay.endpoints.http.decisions import Refused
from relay.gateway.upstream import Calls, Upstream
from relay.observe.hub import Clients

if TYPE_CHECKING:
    from relay.endpoints.core.dialling import DiallingOptions
    from relay.endpoints.core.hops import Trail
    from relay.endpoints.http.proxied_call import ProxiedCall
    from relay.observe.hub import Hub

__all__ = ["Upstreams"]

logger = logging.getLogger("relay")

_MOST = 1024


class _Key(NamedTuple):
    """What must be equal for two calls to share a session: nobody gets another's."""

    principal: str
    url: str
    token: bytes
    """A hash: the table need not keep the token."""
    is_modern: bool


class Upstreams:
    """The sessions with servers, the least recently used first."""

    def __init__(self, options: DiallingOptions, hub: Hub, *, idle: float, most: int = _MOST) -> None:
        """Dial with ``options``, and tell ``hub`` what passes.

        Leave a server ``idle`` seconds after its last call, or when ``most`` are in use.
        """
        self._options = options
        self._hub = hub
        self._callers: Clients[Calls] = Clients(hub, weakref.WeakSet())
        self._idle = idle
        self._most = most
        self._kept: OrderedDict[_Key, Upstream] = OrderedDict()
        self._tasks = TaskScope()

    def __len__(self) -> int:
        """Count the servers that are in use."""
        return len(self._kept)

    @property
    def in_flight(self) -> int:
        """The number of requests that use a server now."""
        return sum(upstream.users for upstream in self._kept.values())

    @contextlib.asynccontextmanager
    async def using(self, principal: str, call: ProxiedCall, trail: Trail) -> AsyncIterator[Upstream]:
        """Yield the server of a call. Raises ConfigError if its URL is refused, and Refused if there is no room."""
        key = _key(principal, call)
        upstream = self._kept.get(key)
        if upstream is None or upstream.is_over:
            upstream = self.dial(call, trail)
            self.keep(principal, call, upstream)
        self._kept.move_to_end(key)
        upstream.users += 1
        try:
            yield upstream
        finally:
            upstream.users -= 1
            upstream.touch()
            if upstream.is_over:
                self._leave(key, upstream)

    def dial(self, call: ProxiedCall, trail: Trail) -> Upstream:
        """Return the server of a call, with which no session exists yet. Raises ConfigError if its URL is refused."""
        headers = {"Authorization": f"Bearer {call.token}"} if call.token else {}
        options = msgspec.structs.replace(self._options.for_many_clients(), headers=headers)
        upstream = Upstream(call.url, options, trail, self._hub, is_modern=call.is_modern)
        self._callers.add(upstream.calls)
        return upstream

    def keep(self, principal: str, call: ProxiedCall, upstream: Upstream) -> None:
        """Use this server for calls such as ``call`` from now on. Raises Refused if there is no room."""
        key = _key(principal, call)
        before = self._kept.get(key)
        if before is not None:
            self._leave(key, before)
        elif len(self._kept) >= self._most:
            unused = next(((one, other) for one, other in self._kept.items() if not other.users), None)
            if unused is None:
                self.discard(upstream)
                raise Refused(503, f"{self._most} MCP servers are in use already", headers={"Retry-After": "5"})
            self._leave(*unused)
        self._kept[key] = upstream

    def discard(self, upstream: Upstream) -> None:
        """End the session with a server in the background."""
        self._tasks.spawn(self._end(upstream), name=f"{upstream.name}: leave")

    def _leave(self, key: _Key, upstream: Upstream) -> None:
        if self._kept.get(key) is upstream:
            del self._kept[key]
            self.discard(upstream)

    async def _end(self, upstream: Upstream) -> None:
        while upstream.users and not upstream.is_over:  # noqa: ASYNC110 - once in a session's life
            await asyncio.sleep(0.05)
        await upstream.aclose()

    def end_subscriptions(self) -> None:
        """End the calls that have no end of their own."""
        for upstream in self._kept.values():
            upstream.calls.end_subscriptions()

    def tidy(self, now: float) -> None:
        """Leave the servers that no page has used for too long."""
        for key, upstream in list(self._kept.items()):
            if upstream.users:
                upstream.last_used = now
            elif now - upstream.last_used >= self._idle:
                logger.info("%s: left after %g s idle", upstream.name, self._idle)
                self._leave(key, upstream)

    async def aclose(self) -> None:
        """Leave every server."""
        for key, upstream in list(self._kept.items()):
            upstream.is_over = True
            self._leave(key, upstream)
        await self._tasks.join()


def _key(principal: str, call: ProxiedCall) -> _Key:
    return _Key(principal, call.url, sha256(call.token.encode()).digest(), call.is_modern)
