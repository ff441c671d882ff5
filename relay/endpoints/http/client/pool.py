"""POST over kept connections and take each answer in the callback that read it.

aiohttp's session costs 85 µs a request, more than everything else the relay does with the request. The pool sends a
request in one write, over a connection that is already open, and builds the head once per session. aiohttp's C parser
reads the answer. The pool delivers a complete answer without a task, and leaves any other answer to the ordinary
reader. The pool serves plain ``http`` only: beyond that, the network costs more than the pool could save.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aiohttp import ClientPayloadError
from aiohttp.http import RawResponseMessage
from aiohttp.streams import StreamReader
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from relay.endpoints.core.keepalive import open_socket
from relay.endpoints.core.tasks import TaskScope
from relay.endpoints.http.client.connector import addresses_of
from relay.endpoints.http.client.content_coding import CONTENT_ENCODING
from relay.endpoints.http.client.cookies import CookieJar
from relay.endpoints.http.client.kept import KeptConnection, ServerHint
from relay.endpoints.http.head_cache import HEAD_END, CachedHead, is_whole, look_at_body
from relay.limits import DEFAULT_LIMITS

__all__ = ["PooledResponse", "ConnectionPool", "PooledConnection", "end_body"]

_JOINED = 16 * 1024
_SWITCHING = 101  # no HTTP follows: a POST that asked for no upgrade gets no further answer


class PooledResponse:
    """An answer whose headers have arrived, with the part of aiohttp's ClientResponse that readers use."""

    __slots__ = ("_content", "_connection", "_whole", "cookies", "headers", "is_plain", "status")

    def __init__(
        self,
        connection: PooledConnection,
        message: RawResponseMessage,
        body: StreamReader | bytes,
        cookies: Sequence[str] = (),
    ) -> None:
        """Take the parser's message and body, and the answer's cookies; or a cached message and a complete body."""
        self.cookies = cookies
        self.status = message.code
        self.headers: CIMultiDictProxy[str] = message.headers
        self._connection = connection
        self._whole: bytes | None = None
        self._content: StreamReader | None = None
        self.is_plain = True
        """Whether the body has no Content-Encoding. The ordinary reader decodes a body that has one."""
        if isinstance(body, bytes):
            self._whole = body
        else:
            self._content = body
            self.is_plain = CONTENT_ENCODING not in message.headers

    @property
    def url(self) -> URL:
        """The URL of the request."""
        return self._connection.url

    @property
    def content(self) -> StreamReader:
        """The body as a stream."""
        if self._content is None:
            body = self._whole or b""
            # A limit above the body's size: a full stream would pause the parser, which did not read this body.
            self._content = StreamReader(self._connection, len(body) + 1, loop=self._connection._loop)
            self._content.feed_data(body)
            self._content.feed_eof()
        return self._content

    @property
    def is_whole(self) -> bool:
        """Whether the complete body has arrived."""
        return self._content is None or self._content.is_eof()

    @property
    def size(self) -> int:
        """Bytes of the body that have arrived."""
        return self._content.total_bytes if self._whole is None and self._content else len(self._whole or b"")

    def call_when_whole(self, callback: Callable[[], None], most: int) -> bool:
        """Call ``callback`` once the body is complete, or the connection is lost; return whether that was arranged.

        False if the body is complete already, has a coding, has no known length, or is longer than ``most`` bytes.
        """
        said = self.headers.get("Content-Length", "")
        if self._content is None or self._content.is_eof() or not (said.isascii() and said.isdigit()):
            return False
        if int(said[:20]) > most or not self.is_plain:
            return False
        self._connection.call_when_whole(callback, self._content, int(said))
        return True

    def whole_body(self) -> bytes:
        """Return the complete body."""
        return self.content.read_nowait(-1) if self._whole is None else self._whole


def end_body(content: StreamReader) -> None:
    """End a body together with its connection.

    aiohttp 3.14 closes the connection on an invalid chunk, and leaves the reader of the body waiting indefinitely.
    """
    if not content.is_eof() and content.exception() is None:
        content.set_exception(ClientPayloadError())


OnAnswer = Callable[[PooledResponse | None], None]
"""Receives the answer, or None if the connection was lost before an answer arrived."""


class PooledConnection(KeptConnection):
    """One connection, which carries one request at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pool: ConnectionPool) -> None:
        """Create a connection of ``pool``."""
        super().__init__(loop, pool.hint)
        self.pool = pool
        self.url = pool.url
        self._on_answer: OnAnswer | None = None
        self._on_whole: Callable[[], None] | None = None
        self._content: StreamReader | None = None
        self._cached_head: CachedHead[RawResponseMessage] | None = None
        self._is_between = True
        """Whether the parser is between two answers, so that an answer with a cached head may bypass the parser."""
        self._reading = b""
        """The bytes that the parser was last fed while it was between two answers."""
        self.idle_since = 0.0
        self.homeward: tuple[object, bytes] | None = None
        """The headers of a forwarded answer, and the header lines that the client received for them."""

    def ask(self, head: bytes, body: bytes, on_answer: OnAnswer) -> None:
        """Send a request, and call ``on_answer`` once."""
        self._on_answer = on_answer
        self.url = self.pool.url
        transport = self.transport
        assert transport is not None, "an idle connection is connected"
        if len(body) <= _JOINED:
            transport.write(head + body)
        else:
            transport.writelines((head, body))

    def data_received(self, data: bytes) -> None:
        """Take an answer whose head is cached; let aiohttp parse any other answer."""
        known, on_answer = self._cached_head, self._on_answer
        if known is not None and on_answer is not None and self._is_between:
            head, _, body = data.partition(HEAD_END)
            if head == known.form % len(body):
                self._on_answer = None
                on_answer(PooledResponse(self, known.message, body))
                return
        if data:  # aiohttp calls this with no bytes once a body has been read
            self._reading = data if self._is_between else b""
            self._is_between = False
        super().data_received(data)

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Take one answer from the parser, which calls this method within ``data_received``."""
        message, content = data
        if 100 <= message.code < 200 and message.code != _SWITCHING:
            return  # 100 Continue, 103 Early Hints: the answer follows
        on_answer, self._on_answer = self._on_answer, None
        if on_answer is None:
            self.abort()  # an answer without a request: this peer does not speak HTTP as expected
            return
        if message.code == _SWITCHING:
            self.force_close()
        self._content = content
        self.note_hint(message.headers)
        cookies = message.headers.getall("Set-Cookie", ())
        answer = PooledResponse(self, message, content, cookies)
        reading, self._reading = self._reading, b""
        if reading and content.is_eof():
            body = look_at_body(content)
            self._is_between = is_whole(reading, body, message)
            # A cached head skips the parser. So cache none that sets cookies, counts requests down, or has a coding.
            is_simple = answer.is_plain and not cookies and self.requests_left is None
            if is_simple and not message.should_close:
                self._cached_head = CachedHead.of(reading, body, message)
        self._loop.call_soon(on_answer, answer) if not content.is_eof() else on_answer(answer)

    def call_when_whole(self, callback: Callable[[], None], content: StreamReader, size: int) -> None:
        """Call ``callback`` once this body of ``size`` bytes is complete, or the connection is lost."""
        self._on_whole = callback
        content.on_eof(self._body_ended)
        content.set_read_chunk_size(size)  # the reader starts at the end of the body
        if self._reading_paused:
            self.resume_reading()

    def _body_ended(self) -> None:
        self._loop.call_soon(self._tell_whole)  # not within the parser, which is not done with it yet

    def _tell_whole(self) -> None:
        on_whole, self._on_whole = self._on_whole, None
        if on_whole is not None:
            on_whole()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Tell the waiting request that no answer will arrive."""
        self.pool.forget(self)
        super().connection_lost(exc)
        if self._content is not None:
            end_body(self._content)
        self._tell_whole()
        on_answer, self._on_answer = self._on_answer, None
        if on_answer is not None:
            on_answer(None)

    def release(self) -> None:
        """Return this connection to the pool."""
        self.pool.release(self)

    @property
    def is_reusable(self) -> bool:
        """Whether the connection may carry another request: its last answer was read and the server keeps it open."""
        return self.is_connected() and not self.should_close


class ConnectionPool:
    """The kept connections to one server."""

    def __init__(
        self,
        url: URL,
        headers: Mapping[str, str],
        cookies: CookieJar,
        tasks: TaskScope,
        hint: ServerHint,
        open_socket: Callable[[tuple[Any, ...]], socket.socket] = open_socket,
    ) -> None:
        """POST to ``url`` with ``headers``. ``grow`` opens connections; ``hint`` bounds how long they stay idle.

        ``open_socket`` returns the socket for an entry of ``getaddrinfo``, or raises OSError if it may not be dialled.
        """
        self.move(url)
        self._headers = dict(headers)
        self.hint = hint
        self._tasks = tasks
        self._open_socket = open_socket
        self._idle: list[PooledConnection] = []
        self._connections: set[PooledConnection] = set()
        self._opening = 0
        self._loop = asyncio.get_running_loop()
        self.has_mcp_headers = any(name.lower().startswith("mcp-") for name in self._headers)
        """Whether ``headers`` has an ``Mcp-`` header. A modern request may set the same one, which must go out once."""
        self.cookies = cookies
        """The server's cookies. Only a pool with a single user may use them."""
        self.has_cookie_header = any(name.lower() == "cookie" for name in self._headers)
        """Whether ``headers`` has a Cookie. Those cookies and the server's must go out in one header."""
        self._head = b""
        self._bare_head = b""
        self._is_closed = False

    def move(self, url: URL) -> None:
        """POST to ``url``, of the same origin, from now on. Heads that were built for the old URL become invalid."""
        self.url = url
        self.path = url.raw_path

    def set_headers(self, extra: Mapping[str, str]) -> None:
        """Add these headers to every request from now on. Raises ValueError if a header cannot be sent."""
        # Header values may contain "%", so escape it: only the length is formatted.
        self._head = self.beginning(extra).replace(b"%", b"%%") + b"Content-Length: %d\r\n\r\n"

    def set_bare_headers(self, extra: Mapping[str, str]) -> None:
        """Add these headers to requests that bring their own. Raises ValueError if a header cannot be sent."""
        self._bare_head = self.beginning(extra)

    def beginning(self, extra: Mapping[str, str]) -> bytes:
        """Return the head of a request with these additional headers, up to the length of the body.

        Raises ValueError if a header cannot be sent.
        """
        headers = CIMultiDict({"Host": self.url.host_port_subcomponent or ""})
        headers.update(self._headers)
        headers.update(extra)
        lines = [f"POST {self.url.raw_path_qs} HTTP/1.1"]
        for name, value in headers.items():
            if any(c in name + value for c in "\r\n\0"):
                raise ValueError(f"header {name!r} contains a line break")
            lines.append(f"{name}: {value}")
        return ("\r\n".join(lines) + "\r\n").encode()

    def keep_cookies(self, answer: PooledResponse) -> None:
        """Keep the cookies that an answer sets."""
        self.cookies.take(answer.cookies, self.path)

    def take(self) -> PooledConnection | None:
        """Return an idle connection that may carry a request; None if there is none."""
        now = self._loop.time()
        while self._idle:
            connection = self._idle.pop()
            if connection.is_reusable and now - connection.idle_since < connection.keep_for:
                return connection
            connection.close()
        return None

    def head(self, body: bytes) -> bytes:
        """Return the head of a request with this body."""
        return self._head % len(body)

    def head_with(self, headers: Mapping[str, str], body: bytes) -> bytes:
        """Return the head of a request with this body and its own headers.

        The caller has validated ``headers``, and the pool's headers contain none of them.
        """
        own = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        return b"%b%bContent-Length: %d\r\n\r\n" % (self._bare_head, own.encode(), len(body))

    def release(self, connection: PooledConnection) -> None:
        """Keep a connection for the next request, or close a connection that cannot be reused."""
        if self._is_closed or not connection.is_reusable:
            connection.close()
            return
        connection.idle_since = self._loop.time()
        self._idle.append(connection)

    def grow(self, wanted: int) -> None:
        """Open one more connection in the background if there are fewer than ``wanted``."""
        if len(self._connections) + self._opening < wanted and not self._is_closed:
            self._opening += 1
            self._tasks.spawn(self._open(), name=f"{self.url.origin()}: connect")

    async def _open(self) -> None:
        try:
            with contextlib.suppress(OSError):  # a TimeoutError is one
                async with asyncio.timeout(DEFAULT_LIMITS.connect):
                    infos = await addresses_of(self.url.host or "", self.url.port or 80)
                await self._open_one(infos)
        finally:
            self._opening -= 1

    async def _open_one(self, infos: Sequence[tuple[Any, ...]]) -> None:
        for info in infos:
            with contextlib.suppress(OSError):
                async with asyncio.timeout(DEFAULT_LIMITS.connect):
                    connection = await self._connect(info)
                connection.set_response_params(
                    read_until_eof=True, auto_decompress=False, max_line_size=65536, max_field_size=65536
                )
                self._connections.add(connection)
                self.release(connection)
                return

    async def _connect(self, info: tuple[Any, ...]) -> PooledConnection:
        """Return a connection to an address. Raises OSError."""
        loop = self._loop
        sock = self._open_socket(info)
        try:
            sock.setblocking(False)
            await loop.sock_connect(sock, info[4])
            _, connection = await loop.create_connection(lambda: PooledConnection(loop, self), sock=sock)
        except BaseException:
            sock.close()
            raise
        return connection

    def forget(self, connection: PooledConnection) -> None:
        """Drop a connection that was lost."""
        self._connections.discard(connection)
        with contextlib.suppress(ValueError):
            self._idle.remove(connection)

    def close(self) -> None:
        """Close every connection."""
        self._is_closed = True
        for connection in tuple(self._connections):
            connection.abort()
