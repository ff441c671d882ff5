"""Add to aiohttp's connections what an HTTP listener needs and aiohttp lacks.

The additions are a cap on their number, keep-alive probes for dead peers, and the relay's own answer to invalid HTTP.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from aiohttp import web

from relay import fast_ways
from relay.endpoints.core.keepalive import detect_dead_peer
from relay.endpoints.core.refusal_log import RefusalLog
from relay.endpoints.http import aiohttp_private
from relay.endpoints.http.media import JSON
from relay.endpoints.http.server.fast_connection import FastConnection
from relay.endpoints.http.server.heads import fault_of_head
from relay.endpoints.http.server.remembered import Door
from relay.frames import replies
from relay.limits import Limits

__all__ = ["ConnectionServer"]

logger = logging.getLogger("relay")


class _Explaining(web.RequestHandler):
    """A connection that reports a request which aiohttp rejects by one log line and a JSON-RPC error."""

    __slots__ = ()
    _refusals: RefusalLog
    _limits: Limits

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer invalid HTTP, or a failure of the relay, and close the connection."""
        large = fault_of_head(exc, self._limits)
        status, said = large or (status, "the request is not valid HTTP")
        if status < 500:
            why = said if large else _kind_of(message or "a malformed request")
            self._refusals.note(f"{status} of a head", why, f"http: {status} {why}")
        else:
            logger.error("http: %s %s: unexpected %s", request.method, request.path, type(exc).__name__, exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun")
        said = said if status < 500 else "the relay failed at this request"
        response = web.Response(status=status, body=replies.error(None, replies.REFUSED, said).raw, content_type=JSON)
        response.force_close()
        return response


class _Connection(FastConnection, _Explaining):
    """A connection with heads of bounded size and time, on which ordinary POSTs go the fast way."""

    __slots__ = ("_refusals",)

    def __init__(self, *args: Any, refusals: RefusalLog, **kwargs: Any) -> None:
        """Note refused requests in ``refusals``."""
        super().__init__(*args, **kwargs)
        self._refusals = refusals


class _PlainConnection(_Explaining):
    """A plain aiohttp connection, for a version of aiohttp that lacks what ``FastConnection`` needs."""

    __slots__ = ("_limits", "_refusals")

    def __init__(self, *args: Any, limits: Limits, refusals: RefusalLog, **kwargs: Any) -> None:
        """Apply ``limits`` as far as aiohttp's options allow; note refused requests in ``refusals``."""
        most = limits.max_head_bytes
        kwargs |= {"max_line_size": most, "max_field_size": most + 1, "keepalive_timeout": limits.idle_connection}
        super().__init__(*args, **kwargs)
        self._limits = limits
        self._refusals = refusals


def _kind_of(fault: str) -> str:
    """Return aiohttp's text about a malformed head without the quoted bytes, which may be a secret."""
    return fault.partition("\n")[0].partition(":")[0]


class ConnectionServer(web.Server):
    """aiohttp's server with a cap on the number of connections."""

    def __init__(
        self,
        handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        doors: Mapping[str, Door],
        *,
        limits: Limits,
        refusals: RefusalLog,
        **kwargs: Any,
    ) -> None:
        """Give requests to ``handle``; take POSTs to the paths of ``doors`` the fast way, and drop silent peers."""
        super().__init__(handle, **kwargs)
        self._doors = doors if fast_ways.may_be_taken() else {}
        self._limits = limits
        self._refusals = refusals

    def __call__(self) -> web.RequestHandler:
        """Make the protocol of one connection."""
        if not aiohttp_private.has("listener"):
            return _PlainConnection(self, loop=self._loop, limits=self._limits, refusals=self._refusals, **self._kwargs)
        return _Connection(
            self, loop=self._loop, doors=self._doors, limits=self._limits, refusals=self._refusals, **self._kwargs
        )

    def connection_made(self, handler: Any, transport: asyncio.Transport) -> None:
        """Admit a connection, or reject it if too many are open."""
        super().connection_made(handler, transport)
        if len(self.connections) > self._limits.max_connections:
            fault = f"503 {self._limits.max_connections} connections are open already"
            self._refusals.note("503", fault, f"http: {fault}")
            transport.write(b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            transport.close()
            return
        detect_dead_peer(transport.get_extra_info("socket"), self._limits.stall)

    async def flush(self, seconds: float) -> None:
        """Wait for at most ``seconds`` until clients have read the answers."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while any(isinstance(one, FastConnection) and one.is_writing for one in self.connections):  # noqa: ASYNC110
                    await asyncio.sleep(0.02)
