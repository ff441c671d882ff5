"""Parse an accepted WebSocket in front of aiohttp's parser, which lacks three things.

1. A client must mask its frames, and RFC 6455 §5.1 makes the server fail the connection otherwise. A web page could
   send unmasked bytes that a proxy takes for a request and caches. aiohttp's parser accepts both.
2. A large message should take only its own size. aiohttp's parser holds it four times while it joins, unmasks and
   copies it. Here it gets a mark instead, which keeps the order, also while aiohttp's parser holds frames back.
3. A client that has not proven itself shares the memory of strangers (arrivals.py), which aiohttp's parser ignores.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Any, NamedTuple

from aiohttp import WebSocketError, WSMsgType, web
from aiohttp.http_websocket import WSCloseCode, WSMessageTextBytes

from relay.endpoints.core.arrivals import Arrival, Arrivals
from relay.endpoints.http.aiohttp_private import websocket_mask
from relay.frames.growing import Growing

__all__ = ["MaskedSocket"]

_FIN, _RESERVED, _OPCODE, _MASKED = 0x80, 0x70, 0x0F, 0x80
_CONTINUATION, _TEXT, _BINARY = 0, 1, 2
_LARGE = 64 * 1024  # bytes of payload; aiohttp's parser takes smaller frames
_MOST_UNREAD = 256 * 1024  # bytes of large messages in the queue, beyond which the relay stops reading
_MARK = 16


class _Header(NamedTuple):
    """The head of a frame."""

    first: int
    key: bytes
    length: int
    """The size of the payload in bytes."""
    size: int
    """The size of the head in bytes."""

    @classmethod
    def at(cls, data: bytes, at: int) -> _Header | None:
        """Parse a head, or return None if it is incomplete; raise WebSocketError if the frame is not masked."""
        if len(data) - at < 2:
            return None
        short = data[at + 1]
        if not short & _MASKED:
            raise WebSocketError(WSCloseCode.PROTOCOL_ERROR, "a frame that is not masked")
        short &= ~_MASKED
        key = at + 2 + (0 if short < 126 else 2 if short == 126 else 8)
        if len(data) < key + 4:
            return None
        length = short if short < 126 else int.from_bytes(data[at + 2 : key], "big")
        return cls(data[at], data[key : key + 4], length, key + 4 - at)


class _Parser:
    """Stands in front of aiohttp's parser of one connection; a fault here ends the connection."""

    def __init__(self, parser: Any, queue: Any, max_bytes: int, hold: Callable[[bool], None]) -> None:
        """Pass small frames to ``parser``, which fills ``queue``; keep large and fragmented messages here.

        Call ``hold`` with True to stop reading and with False to go on.
        """
        self.mark = secrets.token_bytes(_MARK)
        self.large: deque[WSMessageTextBytes] = deque()
        """The messages for which ``mark`` stands in the queue."""
        self._unread = 0
        self._hold = hold
        self._is_crowded = False
        self._parser = parser
        self._queue = queue
        self._max_bytes = max_bytes
        self._head = b""
        self._left = 0
        """The bytes of the payload that have not arrived yet."""
        self._message: Growing | None = None
        self._kind = _TEXT
        self._key = b""
        self._at = 0
        self._is_ours = False
        self._is_last = False
        self._is_broken = False
        self._arrival: Arrival | None = None
        self.begun_at: float | None = None
        """The time at which a stranger's unfinished message began, else None."""

    def feed_data(self, data: bytes) -> tuple[bool, bytes]:
        """Parse bytes from the connection, with the result of aiohttp's own parser."""
        if self._is_broken:
            return True, data
        if self._arrival is None and self._is_small_and_whole(data):  # 2 us, where the code below takes 9
            self._is_broken, tail = self._parser.feed_data(data)
            return self._is_broken, tail
        try:
            self._take(self._head + data if self._head else data)
        except WebSocketError as exc:
            self.fail(exc)
        if self._arrival is not None:
            is_within = bool(self._left or self._head or self._message is not None)
            self.begun_at = (self.begun_at or monotonic()) if is_within else None
            if not self._arrival.grow(len(data)):
                self._is_crowded = True
                self._look()
        return self._is_broken, b""

    def _is_small_and_whole(self, data: bytes) -> bool:
        """Tell whether these bytes are exactly one masked frame and one message, as most reads are."""
        if len(data) < 6 or self._left or self._head or self._message is not None:
            return False
        short = data[1] - _MASKED  # negative if the frame is not masked
        if short < 0 or data[0] & (_FIN | _RESERVED) != _FIN or short == 127:
            return False
        return len(data) == (6 + short if short < 126 else 8 + (data[2] << 8 | data[3]))

    def feed_eof(self) -> None:
        """Pass on the end of the connection."""
        self.share_room(None)
        self._message = None
        self._parser.feed_eof()

    def fail(self, fault: WebSocketError) -> None:
        """Fail the connection with ``fault``."""
        self._is_broken = True
        self._message = None
        self.share_room(None)
        self._queue.set_exception(fault)

    def share_room(self, strangers: Arrivals | None) -> None:
        """Count bytes from now on against the memory of ``strangers``; None stops the count."""
        if self._arrival is not None:
            self._arrival.end()
        self._arrival = None if strangers is None else strangers.begin(None)
        if self._arrival is not None:
            late = WebSocketError(WSCloseCode.TRY_AGAIN_LATER, "the first message stalled while others waited")
            self._arrival.on_room = self._go_on
            self._arrival.on_refused = lambda: self.fail(late)
        if self._is_crowded:
            self._go_on()

    def _go_on(self) -> None:
        self._is_crowded = False
        self._look()

    def _look(self) -> None:
        self._hold(self._is_crowded or self._unread > _MOST_UNREAD)

    def take_large(self) -> WSMessageTextBytes:
        """Return the message for which the mark stood."""
        message = self.large.popleft()
        self._unread -= len(message.data)
        if self._unread + len(message.data) > _MOST_UNREAD >= self._unread:
            self._look()
        return message

    def _take(self, data: bytes) -> None:
        at = given = 0
        try:
            while at < len(data):
                if self._left:
                    end = min(len(data), at + self._left)
                    self._left -= end - at
                    if self._is_ours:
                        self._keep(data[at:end])
                        given = end
                    at = end
                elif (header := _Header.at(data, at)) is not None:
                    if self._begin(header):
                        self._give(data[given:at])
                        given = at + header.size
                        self._end_if_last()
                    at += header.size
                else:
                    break
        finally:
            self._give(data[given:at])
        self._head = data[at:]

    def _give(self, data: bytes) -> None:
        if data and not self._is_broken:
            self._is_broken = self._parser.feed_data(data)[0]

    def _begin(self, header: _Header) -> bool:
        """Begin a frame; return whether this parser keeps it, rather than aiohttp's."""
        opcode, is_last = header.first & _OPCODE, bool(header.first & _FIN)
        self._left = header.length
        self._is_ours = False
        if header.first & _RESERVED or opcode > _BINARY or (opcode == _CONTINUATION and self._message is None):
            return False
        if opcode != _CONTINUATION:
            if self._message is not None:
                raise WebSocketError(WSCloseCode.PROTOCOL_ERROR, "a new message inside a fragmented one")
            if is_last and header.length <= _LARGE:
                return False
            self._message, self._kind = Growing(), opcode
        assert self._message is not None, "just seen"
        size = self._message.tell() + header.length
        if size >= self._max_bytes:
            raise WebSocketError(WSCloseCode.MESSAGE_TOO_BIG, f"Message size {size} exceeds limit {self._max_bytes}")
        self._is_ours, self._is_last, self._key, self._at = True, is_last, header.key, 0
        return True

    def _keep(self, masked: bytes) -> None:
        piece = bytearray(masked)
        turned = self._at % 4
        websocket_mask(self._key[turned:] + self._key[:turned], piece)
        self._at += len(piece)
        assert self._message is not None, "begun"
        self._message.write(piece)
        self._end_if_last()

    def _end_if_last(self) -> None:
        if self._is_last and not self._left and self._message is not None:
            message, self._message = self._message.whole(), None
            kind = WSMsgType.TEXT if self._kind == _TEXT else WSMsgType.BINARY
            self.large.append(WSMessageTextBytes(kind, message, ""))
            self._unread += len(message)
            self._give(bytes((_FIN | _BINARY, _MASKED | _MARK, 0, 0, 0, 0)) + self.mark)
            if self._unread > _MOST_UNREAD:
                self._look()


class MaskedSocket(web.WebSocketResponse[Any]):
    """aiohttp's response of an accepted WebSocket, whose client must mask its frames."""

    def __init__(self, *, max_msg_size: int, strangers: Arrivals | None, **kwargs: Any) -> None:
        """Count bytes before ``vouch`` against the memory of ``strangers``, if given."""
        super().__init__(max_msg_size=max_msg_size, **kwargs)
        self._most = max_msg_size
        self._strangers = strangers
        self._ours: _Parser | None = None

    def _post_start(self, request: web.BaseRequest, protocol: str | None, writer: Any) -> None:
        connection: Any = request.protocol
        # Bytes that came with the handshake must pass this parser, too; aiohttp gives them to its own parser at once.
        early, connection._message_tail = connection._message_tail, b""
        super()._post_start(request, protocol, writer)

        def hold(is_held: bool) -> None:
            if is_held:
                connection._pause_reading_for_buffer()
            elif connection._buffer_paused:
                connection._resume_reading_for_buffer()

        self._ours = connection._payload_parser = _Parser(connection._payload_parser, self._reader, self._most, hold)
        self._ours.share_room(self._strangers)
        if early:
            self._ours.feed_data(early)

    def large_for(self, message: Any) -> Any:
        """Return the large message for which this binary message is the mark, else this message."""
        ours = self._ours
        if ours is not None and ours.large and message.data == ours.mark:
            return ours.take_large()
        return message

    @property
    def begun_at(self) -> float | None:
        """The time at which the unfinished first message began, by the monotonic clock; None if none has begun."""
        return None if self._ours is None else self._ours.begun_at

    def expect_message(self) -> None:
        """Start the count anew, because the last message was not a frame."""
        if self._ours is not None:
            self._ours.share_room(self._strangers)

    def vouch(self) -> None:
        """Stop counting against the memory of strangers, because the client has proven itself."""
        if self._ours is not None:
            self._ours.share_room(None)
