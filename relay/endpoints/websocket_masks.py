"""See that a WebSocket client masks what it sends: RFC 6455 §5.1 has the server fail the connection otherwise.

A proxy that takes unmasked bytes for a request of its own could be made to keep what a page made up; aiohttp's parser
takes either. The headers of the frames are read here before that parser gets them; payloads are skipped, not copied.
"""

from __future__ import annotations

from typing import Any

from aiohttp import WebSocketError, web
from aiohttp.http_websocket import WSCloseCode

__all__ = ["MaskedSocket"]

_MASKED = 0x80
_KEY = 4  # bytes of the masking key, which every masked frame has


class _MaskGuard:
    """Stands before aiohttp's parser of one connection; its fault is the connection's."""

    def __init__(self, parser: Any, queue: Any) -> None:
        """Hand on to ``parser`` what is masked; tell ``queue``, which it fills, of the first frame that is not."""
        self._parser = parser
        self._queue = queue
        self._left = 0
        self._head = b""
        self._is_broken = False

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Take what was read, as aiohttp's parser does."""
        if self._is_broken:
            return True, data
        at = self._first_unmasked(data)
        if at is None:
            return self._parser.feed_data(data)  # type: ignore[no-any-return] # aiohttp's own, untyped where compiled
        self._is_broken = True
        if at:
            self._parser.feed_data(data[:at])
        self._queue.set_exception(WebSocketError(WSCloseCode.PROTOCOL_ERROR, "a frame that is not masked"))
        return True, b""

    def feed_eof(self) -> None:
        """Take the end of the connection."""
        self._parser.feed_eof()

    def _first_unmasked(self, data: bytes) -> int | None:
        """Return where a frame begins that is not masked; None if all that begin here are."""
        at, size = 0, len(data)
        while self._left < size - at:
            at += self._left
            self._left = 0
            kept = len(self._head)
            head = self._head + data[at : at + 10 - kept]
            if len(head) < 2:
                self._head = head
                return None
            if not head[1] & _MASKED:
                return at
            short = head[1] & ~_MASKED
            width = {126: 2, 127: 8}.get(short, 0)
            if len(head) < 2 + width:
                self._head = head
                return None
            self._left = _KEY + (int.from_bytes(head[2 : 2 + width], "big") if width else short)
            self._head = b""
            at += 2 + width - kept
        self._left -= size - at
        return None


class MaskedSocket(web.WebSocketResponse[Any]):
    """aiohttp's side of an accepted WebSocket, whose client must mask its frames."""

    def _post_start(self, request: web.BaseRequest, protocol: str | None, writer: Any) -> None:
        connection: Any = request.protocol
        # What came with the handshake must pass the guard, too: aiohttp hands it to its parser at once.
        early, connection._message_tail = connection._message_tail, b""
        super()._post_start(request, protocol, writer)
        guard = connection._payload_parser = _MaskGuard(connection._payload_parser, self._reader)
        if early:
            guard.feed_data(early)
