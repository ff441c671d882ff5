"""Bound how long a kept connection may stay idle before its next request.

A POST that crosses the server's close may have been executed, so the relay must not retry it. The relay therefore
closes idle connections first: after four seconds, because many servers wait five. A ``Keep-Alive`` header of the
server may shorten that time.
"""

from __future__ import annotations

import asyncio
import functools
import re
import time
from collections.abc import Mapping
from typing import Any, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from aiohttp.streams import StreamReader

__all__ = ["KEEP_IDLE", "KeepingConnector", "KeptConnection", "ServerHint", "read_hint"]

KEEP_IDLE = 4.0
# The server's clock starts once its answer is written, and stops once our request is read. Both take time on the way.
_LEAST_MARGIN = 0.5
_MARGIN = 0.2
_PARAMETER = re.compile(r"(?:^|[,;\s])(timeout|max)\s*=\s*\"?([0-9]{1,9})", re.IGNORECASE)


def read_hint(value: str) -> tuple[float, int | None]:
    """Return how many seconds a connection may be idle after this ``Keep-Alive``, and how many requests may follow.

    Some servers count in ``max`` the requests that are left, others all requests of a connection. The relay assumes the
    meaning that leaves fewer requests.
    """
    found = {name.lower(): int(number) for name, number in _PARAMETER.findall(value)}
    left = max(found["max"] - 1, 0) if "max" in found else None
    if "timeout" not in found:
        return KEEP_IDLE, left
    seconds = found["timeout"]
    return max(0.0, min(KEEP_IDLE, seconds - max(_LEAST_MARGIN, seconds * _MARGIN))), left


class ServerHint:
    """The server's latest idle time for connections. It applies to a new connection before its first answer, too."""

    __slots__ = ("keep_for",)

    def __init__(self) -> None:
        self.keep_for = KEEP_IDLE


class KeptConnection(ResponseHandler):
    """One connection to a server, which knows how long it may stay idle."""

    requests_left: int | None = None
    """How many more requests the server accepts on this connection; None if the server has not said."""

    def __init__(self, loop: asyncio.AbstractEventLoop, hint: ServerHint) -> None:
        """Use the idle time of ``hint`` until an answer on this connection names another."""
        super().__init__(loop)
        self._hint = hint
        self._keep_for: float | None = None

    @property
    def keep_for(self) -> float:
        """Seconds that the connection may be idle."""
        return self._hint.keep_for if self._keep_for is None else self._keep_for

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Take one answer from the parser, which calls this method."""
        self.note_hint(data[0].headers)
        super().feed_data(data)

    def note_hint(self, headers: Mapping[str, str]) -> None:
        """Update the idle time and the remaining requests from an answer's headers."""
        value = headers.get("Keep-Alive")
        if value is None and self.requests_left is None and self._keep_for is None and self._hint.keep_for > 0:
            return  # nearly every answer
        if self.requests_left is not None:
            self.requests_left = max(0, self.requests_left - 1)
        if value is not None:
            self._take(value)
        if self.keep_for <= 0 or self.requests_left == 0:
            self.force_close()  # takes effect once this answer is read

    def _take(self, value: str) -> None:
        self._keep_for, left = read_hint(value)
        self._hint.keep_for = self._keep_for
        if left is not None:
            self.requests_left = left if self.requests_left is None else min(left, self.requests_left)


class KeepingConnector(aiohttp.TCPConnector):
    """aiohttp's connection pool, which keeps each connection only as long as its server does."""

    def __init__(self, hint: ServerHint | None = None, **options: Any) -> None:
        """Take aiohttp's options, and the idle time that the server last named."""
        super().__init__(**{"keepalive_timeout": KEEP_IDLE, **options})
        factory = functools.partial(KeptConnection, self._loop, hint or ServerHint())
        self._factory = cast("functools.partial[ResponseHandler]", factory)

    def _release(self, key: Any, protocol: ResponseHandler, *, should_close: bool = False) -> None:
        super()._release(key, protocol, should_close=should_close)
        pool = self._conns.get(key)
        if not pool or pool[-1][0] is not protocol or not isinstance(protocol, KeptConnection):
            return
        # aiohttp has one idle timeout for all connections: backdate this one so that it expires at its own time.
        pool[-1] = (protocol, time.monotonic() - max(0.0, (self._keepalive_timeout or KEEP_IDLE) - protocol.keep_for))
