"""Bound the heads of requests in time and in size, and refuse heads that are too large.

aiohttp bounds each line of a head and the number of lines, but not their sum. It has one deadline for all connections,
whatever their state.
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
    """The head of a request is larger than ``limits.max_head_bytes``."""


def fault_of_head(exc: BaseException | None, limits: Limits) -> tuple[int, str] | None:
    """Return the status and the message for a head that is too large; None for any other fault."""
    most = limits.max_head_bytes
    if isinstance(exc, LineTooLong) and exc.args[1] == most:
        return 414, f"the request's target is longer than {most} bytes"
    if isinstance(exc, LargeHead | LineTooLong):
        return 431, f"the request's headers are larger than {most} bytes"
    if _TOO_MANY in str(exc):
        return 431, f"the request has more than {_MOST_LINES} headers"
    return None


class BoundedHeads(web.RequestHandler):
    """aiohttp's handler of one connection, with bounds on the size and the time of heads."""

    __slots__ = ("_head_size", "_is_deaf", "_is_head_due", "_limits")

    def __init__(self, *args: Any, limits: Limits, **kwargs: Any) -> None:
        """Apply ``limits.max_head_bytes`` and ``limits.header_deadline``."""
        most = limits.max_head_bytes
        # One line may fill the whole head. A header may be one byte longer than a target, to tell which was too long.
        kwargs |= {"max_line_size": most, "max_field_size": most + 1, "max_headers": _MOST_LINES}
        super().__init__(*args, keepalive_timeout=limits.idle_connection, **kwargs)
        self._limits = limits
        self._head_size = 0
        """Bytes of an incomplete head."""
        self._is_head_due = True
        """Whether the deadline of a head runs: the first head is due, or a head is incomplete."""
        self._is_deaf = False
        """Whether the relay ignores further bytes, because the connection ends with the answers that are due."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the deadline of the first request."""
        super().connection_made(transport)
        self._give(self._limits.header_deadline)

    @property
    def is_before_head(self) -> bool:
        """Whether the next bytes belong to a head, not to a body or a WebSocket."""
        request = self._current_request
        is_idle = self._waiter is not None and not self._messages
        is_upgraded = self._upgraded or self._payload_parser is not None
        return is_idle or (not is_upgraded and request is not None and request.content.is_eof())

    def watch_head(self, size: int, *, was_before_head: bool) -> None:
        """Check heads once aiohttp has parsed ``size`` more bytes.

        The deadline of a head starts with its first byte. The idle time of a connection starts with its last request.
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
        """Refuse the first complete head that is too large, and every request behind it."""
        for at, (message, _) in enumerate(self._messages):
            if isinstance(message, RawRequestMessage) and _size_of(message) > self._limits.max_head_bytes:
                while len(self._messages) > at:
                    self._messages.pop()
                self._refuse()
                return

    def _look_at_fault(self) -> None:
        """Refuse a head that aiohttp's parser found too large."""
        message = self._messages[-1][0]
        if isinstance(message, _ErrInfo) and fault_of_head(message.exc, self._limits) is not None:
            self._messages.pop()
            self._refuse(message.exc)

    def _refuse(self, fault: BaseException | None = None) -> None:
        """Answer with the fault in its turn, and ignore what the client still sends."""
        # An endless body: aiohttp then keeps reading for a while, so that no reset destroys the answer.
        unread = StreamReader(self, 1, loop=self._loop)
        self._messages.append((_ErrInfo(status=431, exc=fault or LargeHead(), message=""), unread))
        self._is_deaf = True

    def _give(self, seconds: float) -> None:
        """Close the connection unless a request arrives within ``seconds``; aiohttp's timer may fire later."""
        at = self._loop.time() + seconds
        self._next_keepalive_close_time = at
        if self._keepalive_handle is not None:
            self._keepalive_handle.cancel()
            self._keepalive_handle = self._loop.call_at(at, self._process_keepalive)


def _size_of(message: RawRequestMessage) -> int:
    around = 14  # two spaces, HTTP/1.1, and two line ends
    lines = sum(len(name) + len(value) + 4 for name, value in message.raw_headers)
    return around + len(message.method) + len(message.path) + lines
