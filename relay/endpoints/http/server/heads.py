"""Bound the heads of requests: how long one may take, how large it may be, and what is said of one that is too large.

aiohttp bounds each line of a head and their number, not the sum, and has one deadline for connections of every state.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web, web_protocol
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import StreamReader

from relay.limits import Limits

__all__ = ["BoundedHeads", "LargeHead", "fault_of_head"]

_MOST_LINES = 128
_ErrInfo: Any = getattr(web_protocol, "_ErrInfo", None)  # None: see aiohttp_private
_TOO_MANY = "Too many headers received"  # aiohttp's own words


class LargeHead(Exception):
    """The head of a request is beyond ``limits.max_head_bytes``."""


def fault_of_head(exc: BaseException | None, limits: Limits) -> tuple[int, str] | None:
    """Return status and words for a head that is too large; None for one that is wrong in another way."""
    most = limits.max_head_bytes
    if isinstance(exc, LineTooLong) and exc.args[1] == most:
        return 414, f"the request's target is longer than {most} bytes"
    if isinstance(exc, LargeHead | LineTooLong):
        return 431, f"the request's headers are larger than {most} bytes"
    if _TOO_MANY in str(exc):
        return 431, f"the request has more than {_MOST_LINES} headers"
    return None


class BoundedHeads(web.RequestHandler):
    """aiohttp's handler of one connection, on which heads have a size and a time."""

    __slots__ = ("_head_size", "_is_deaf", "_is_head_due", "_limits")

    def __init__(self, *args: Any, limits: Limits, **kwargs: Any) -> None:
        """Keep to ``limits.max_head_bytes`` and ``limits.header_deadline``."""
        most = limits.max_head_bytes
        # A line may be all of a head. A header may be one byte longer than a target: that tells which was too long.
        kwargs |= {"max_line_size": most, "max_field_size": most + 1, "max_headers": _MOST_LINES}
        super().__init__(*args, keepalive_timeout=limits.idle_connection, **kwargs)
        self._limits = limits
        self._head_size = 0
        """Bytes of a head that is not whole."""
        self._is_head_due = True
        """Whether the time for a head runs: the first is still to come, or some of one has."""
        self._is_deaf = False
        """Whether what comes is not looked at any more: the connection ends with the answers that are due."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Give the client its time for the first request."""
        super().connection_made(transport)
        self._give(self._limits.header_deadline)

    @property
    def is_before_head(self) -> bool:
        """Whether what comes next is a head, or more of one: no body, and nothing of a WebSocket."""
        request = self._current_request
        is_idle = self._waiter is not None and not self._messages
        is_upgraded = self._upgraded or self._payload_parser is not None
        return is_idle or (not is_upgraded and request is not None and request.content.is_eof())

    def watch_head(self, size: int, *, was_before_head: bool) -> None:
        """Look at heads once aiohttp has parsed ``size`` more bytes.

        The time for a head begins with its first byte, that of an idle connection with the request before.
        """
        if self._messages:
            self._look_at_fault()
            if self._head_size + size > self._limits.max_head_bytes:
                self._refuse_large()
            self._head_size = 0
            if self._is_head_due:
                self._is_head_due = False
                self._give(self._keepalive_timeout)
        elif was_before_head:
            self._head_size += size
            if self._waiter is not None and not self._is_head_due:
                self._is_head_due = True
                self._give(self._limits.header_deadline)
            if self._head_size > self._limits.max_head_bytes:
                self._refuse()

    def _refuse_large(self) -> None:
        """Refuse the first whole head that is too large, and what is behind it."""
        for at, (message, _) in enumerate(self._messages):
            if isinstance(message, RawRequestMessage) and _size_of(message) > self._limits.max_head_bytes:
                while len(self._messages) > at:
                    self._messages.pop()
                self._refuse()
                return

    def _look_at_fault(self) -> None:
        """Take up what aiohttp's parser has found too large."""
        message = self._messages[-1][0]
        if isinstance(message, _ErrInfo) and fault_of_head(message.exc, self._limits) is not None:
            self._messages.pop()
            self._refuse(message.exc)

    def _refuse(self, fault: BaseException | None = None) -> None:
        """Answer with the fault in its turn, and hear no more of a client that may still send."""
        # A body without an end: aiohttp reads on for a while, so that no reset takes the answer from the client.
        unread = StreamReader(self, 1, loop=self._loop)
        self._messages.append((_ErrInfo(status=431, exc=fault or LargeHead(), message=""), unread))
        self._is_deaf = True

    def _give(self, seconds: float) -> None:
        """Close the connection unless a request has come in so many seconds; aiohttp's timer may be for later."""
        at = self._loop.time() + seconds
        self._next_keepalive_close_time = at
        if self._keepalive_handle is not None:
            self._keepalive_handle.cancel()
            self._keepalive_handle = self._loop.call_at(at, self._process_keepalive)


def _size_of(message: RawRequestMessage) -> int:
    around = 14  # two spaces, HTTP/1.1, and two line ends
    lines = sum(len(name) + len(value) + 4 for name, value in message.raw_headers)
    return around + len(message.method) + len(message.path) + lines
