"""How long a kept connection may wait for its next request.

A POST that meets the server's close may or may not have been executed and must not be sent again, so connections are
closed here first: after four seconds, for many servers wait five; sooner if the server says so in ``Keep-Alive``.
"""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Mapping
from typing import Any, cast

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.http import RawResponseMessage
from aiohttp.streams import StreamReader

__all__ = ["KEEP_IDLE", "KeepingConnector", "KeptConnection", "read_hint"]

KEEP_IDLE = 4.0
# The server's clock started when it had written its answer, and stops when it has read our request: both take time.
_LEAST_MARGIN = 0.5
_MARGIN = 0.2
_PARAMETER = re.compile(r"(?:^|[,;\s])(timeout|max)\s*=\s*\"?([0-9]{1,9})", re.IGNORECASE)


def read_hint(value: str) -> tuple[float, int | None]:
    """Return how long a connection may be idle after this ``Keep-Alive``, and how many requests may follow.

    Servers count in ``max`` the requests that are left, or all that they take on one connection: we take it for what
    leaves fewer.
    """
    found = {name.lower(): int(number) for name, number in _PARAMETER.findall(value)}
    left = max(found["max"] - 1, 0) if "max" in found else None
    if "timeout" not in found:
        return KEEP_IDLE, left
    seconds = found["timeout"]
    return max(0.0, min(KEEP_IDLE, seconds - max(_LEAST_MARGIN, seconds * _MARGIN))), left


class KeptConnection(ResponseHandler):
    """One connection to a server that knows how long it may be kept."""

    keep_for = KEEP_IDLE
    """Seconds that it may be idle."""
    requests_left: int | None = None
    """How many requests the server takes on it yet; None: it has not said."""

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Take an answer from the parser, which calls this for each."""
        self.note_hint(data[0].headers)
        super().feed_data(data)

    def note_hint(self, headers: Mapping[str, str]) -> None:
        """Note what an answer says of the connection's time."""
        value = headers.get("Keep-Alive")
        if self.requests_left is not None:
            self.requests_left = max(0, self.requests_left - 1)
        if value is not None:
            self._take(value)
        if self.keep_for <= 0 or self.requests_left == 0:
            self.force_close()  # once this answer is read

    def _take(self, value: str) -> None:
        self.keep_for, left = read_hint(value)
        if left is not None:
            self.requests_left = left if self.requests_left is None else min(left, self.requests_left)


class KeepingConnector(aiohttp.TCPConnector):
    """aiohttp's pool of connections, each kept for as long as its server wants it."""

    def __init__(self, **options: Any) -> None:
        """Take aiohttp's options."""
        super().__init__(**{"keepalive_timeout": KEEP_IDLE, **options})
        self._factory = cast("functools.partial[ResponseHandler]", functools.partial(KeptConnection, loop=self._loop))

    def _release(self, key: Any, protocol: ResponseHandler, *, should_close: bool = False) -> None:
        super()._release(key, protocol, should_close=should_close)
        pool = self._conns.get(key)
        if not pool or pool[-1][0] is not protocol or not isinstance(protocol, KeptConnection):
            return
        # aiohttp has one time for all: this connection is as old as makes it end when its own is over.
        pool[-1] = (protocol, time.monotonic() - max(0.0, (self._keepalive_timeout or KEEP_IDLE) - protocol.keep_for))
