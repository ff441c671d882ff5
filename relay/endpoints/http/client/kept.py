"""How long a kept connection may wait for its next request.

A POST that meets the server's close may or may not have been executed and must not be sent again, so connections are
closed here first: after four seconds, for many servers wait five; sooner if the server says so in ``Keep-Alive``.
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


class ServerHint:
    """What a server has said last of how long it keeps connections: it counts before the first answer on one, too."""

    __slots__ = ("keep_for",)

    def __init__(self) -> None:
        self.keep_for = KEEP_IDLE


class KeptConnection(ResponseHandler):
    """One connection to a server that knows how long it may be kept."""

    requests_left: int | None = None
    """How many requests the server takes on it yet; None: it has not said."""

    def __init__(self, loop: asyncio.AbstractEventLoop, hint: ServerHint) -> None:
        """Keep it as ``hint`` says, until an answer on it says otherwise."""
        super().__init__(loop)
        self._hint = hint
        self._keep_for: float | None = None

    @property
    def keep_for(self) -> float:
        """Seconds that it may be idle."""
        return self._hint.keep_for if self._keep_for is None else self._keep_for

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Take an answer from the parser, which calls this for each."""
        self.note_hint(data[0].headers)
        super().feed_data(data)

    def note_hint(self, headers: Mapping[str, str]) -> None:
        """Note what an answer says of the connection's time."""
        value = headers.get("Keep-Alive")
        if value is None and self.requests_left is None and self._keep_for is None and self._hint.keep_for > 0:
            return  # as nearly always
        if self.requests_left is not None:
            self.requests_left = max(0, self.requests_left - 1)
        if value is not None:
            self._take(value)
        if self.keep_for <= 0 or self.requests_left == 0:
            self.force_close()  # once this answer is read

    def _take(self, value: str) -> None:
        self._keep_for, left = read_hint(value)
        self._hint.keep_for = self._keep_for
        if left is not None:
            self.requests_left = left if self.requests_left is None else min(left, self.requests_left)


class KeepingConnector(aiohttp.TCPConnector):
    """aiohttp's pool of connections, each kept for as long as its server wants it."""

    def __init__(self, hint: ServerHint | None = None, **options: Any) -> None:
        """Take aiohttp's options, and what is known of the server."""
        super().__init__(**{"keepalive_timeout": KEEP_IDLE, **options})
        factory = functools.partial(KeptConnection, self._loop, hint or ServerHint())
        self._factory = cast("functools.partial[ResponseHandler]", factory)

    def _release(self, key: Any, protocol: ResponseHandler, *, should_close: bool = False) -> None:
        super()._release(key, protocol, should_close=should_close)
        pool = self._conns.get(key)
        if not pool or pool[-1][0] is not protocol or not isinstance(protocol, KeptConnection):
            return
        # aiohttp has one time for all: this connection is as old as makes it end when its own is over.
        pool[-1] = (protocol, time.monotonic() - max(0.0, (self._keepalive_timeout or KEEP_IDLE) - protocol.keep_for))
