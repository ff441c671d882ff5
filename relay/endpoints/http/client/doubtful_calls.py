"""Calls whose answer may never come: their stream was resumed, or their session is lost.

A call may be silent for hours where all is well, and the kernel sees only the path to the next proxy. So the relay asks
the server, with MCP's own ``ping``, whether it still knows the session of a doubtful call, and gives the call an error
if it does not. A call whose stream has not broken is never doubted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from relay.endpoints.core.tasks import TaskScope
from relay.endpoints.http.client.dial import AnyDial
from relay.endpoints.http.client.remote_client import Post
from relay.errors import RelayError
from relay.mcp.handshake import ping

__all__ = ["DoubtfulCalls"]


class DoubtfulCalls:
    """The watches of one client's doubtful calls."""

    def __init__(
        self, dial: AnyDial, tasks: TaskScope, headers: Callable[[object], Mapping[str, str]],
        fail: Callable[[Post, str], None],
    ) -> None:  # fmt: skip
        """Ask through ``dial``, with the ``headers`` of a POST in a session; ``fail`` gives a call its error."""
        self._dial = dial
        self._tasks = tasks
        self._headers = headers
        self._fail = fail
        self._pings = 0

    def add(self, post: Post) -> None:
        """Doubt a call until it is answered, or sent again in another session."""
        if post.watch is None and post.owed:
            name = f"{self._dial.name}: watch of {post.frame.head.method}"
            post.watch = self._tasks.spawn(self._watch(post, post.session), name=name)

    async def _watch(self, post: Post, session: object) -> None:
        patience = self._dial.limits.doubt
        while post.owed and post.session == session:
            post.has_spoken = False
            await asyncio.sleep(patience)
            if post.has_spoken or post.session != session or await self._is_known(session):
                continue
            if post.owed and post.session == session and not post.has_spoken:
                self._fail(post, "its stream is silent, and the server does not answer for its session")
                if post.cancel is not None:
                    post.cancel()
        post.watch = None

    async def _is_known(self, session: object) -> bool:
        """Ask the server whether it lives and knows a session; it has said so with any answer of status 200."""
        self._pings += 1
        question = ping(f"mcp-relay-ping-{self._pings}")
        try:
            async with (
                asyncio.timeout(self._dial.limits.doubt),
                self._dial.request("POST", self._headers(session), body=question.raw) as response,
            ):
                status: int = response.status
                return status < 300 or status == 429
        except (RelayError, TimeoutError):
            return False
