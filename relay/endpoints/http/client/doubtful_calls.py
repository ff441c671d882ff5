"""Watch doubtful calls, whose answer may never arrive: their stream was resumed, or their session is lost.

A healthy call may be silent for hours, and the kernel sees only the path to the next proxy. So the relay sends MCP's
``ping`` in the session of a doubtful call. If the server does not accept the ping, the relay answers the call with an
error. The relay never doubts a call whose stream has not broken.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from relay.endpoints.core.tasks import TaskScope
from relay.endpoints.http.client.dial import AnyDial
from relay.endpoints.http.client.post import Post
from relay.errors import RelayError
from relay.mcp.handshake import ping

__all__ = ["DoubtfulCalls"]


class DoubtfulCalls:
    """The watches over one client's doubtful calls."""

    def __init__(
        self, dial: AnyDial, tasks: TaskScope, headers: Callable[[object], Mapping[str, str]],
        fail: Callable[[Post, str], None],
    ) -> None:  # fmt: skip
        """Ping through ``dial`` with the ``headers`` of a POST in a session; ``fail`` answers a call with an error."""
        self._dial = dial
        self._tasks = tasks
        self._headers = headers
        self._fail = fail
        self._pings = 0

    def add(self, post: Post) -> None:
        """Watch a call until the call has its answer, or the relay sends the call again in another session."""
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
                self._fail(post, "the stream is silent, and the server does not answer a ping in the session")
                if post.cancel is not None:
                    post.cancel()
        post.watch = None

    async def _is_known(self, session: object) -> bool:
        """Ping the server; return whether the server is alive and knows the session: any status below 300, or 429."""
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
