"""POST over kept connections and take each answer in the callback that read it.

aiohttp's session costs 85 µs a request, more than all else the relay does with it. Here connections that are already
open carry a request as one write, its head made once for a session; aiohttp's C parser reads the answer, and a whole
one is handed on without a task. Anything else is handed on as it stands, to be read the ordinary way. Only for plain
``http``: beyond that, the network costs more than we could save.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence

from aiohttp import ClientPayloadError
from aiohttp.http import RawResponseMessage
from aiohttp.streams import StreamReader
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from relay.endpoints.core.keepalive import SERVER_SILENCE, detect_dead_peer
from relay.endpoints.core.tasks import TaskScope
from relay.endpoints.http.client.content_coding import CONTENT_ENCODING
from relay.endpoints.http.client.cookies import CookieJar
from relay.endpoints.http.client.kept import KeptConnection, ServerHint
from relay.endpoints.http.head_cache import HEAD_END, CachedHead, is_whole, look_at_body
from relay.limits import DEFAULT_LIMITS

__all__ = ["PooledResponse", "ConnectionPool", "PooledConnection", "end_body"]

_JOINED = 16 * 1024
_SWITCHING = 101  # no HTTP follows: to a POST that asked for no upgrade this is all the answer there will be


class PooledResponse:
    """An answer whose headers are here; the part of aiohttp's ClientResponse that its readers use."""

    __slots__ = ("_content", "_connection", "_whole", "cookies", "headers", "is_plain", "status")

    def __init__(
        self,
        connection: PooledConnection,
        message: RawResponseMessage,
        body: StreamReader | bytes,
        cookies: Sequence[str] = (),
    ) -> None:
        """Take what the parser made, and which cookies it sets; or its message of before, and a whole body."""
        self.cookies = cookies
        self.status = message.code
        self.headers: CIMultiDictProxy[str] = message.headers
        self._connection = connection
        self._whole: bytes | None = None
        self._content: StreamReader | None = None
        self.is_plain = True
        """Whether the body is in no coding of its own: any other is read the ordinary way."""
        if isinstance(body, bytes):
            self._whole = body
        else:
            self._content = body
            self.is_plain = CONTENT_ENCODING not in message.headers

    @property
    def url(self) -> URL:
        """What was asked for."""
        return self._connection.url

    @property
    def content(self) -> StreamReader:
        """The body as a stream."""
        if self._content is None:
            body = self._whole or b""
            # With room for all of it: the parser, which knows nothing of this body, is not to be paused.
            self._content = StreamReader(self._connection, len(body) + 1, loop=self._connection._loop)
            self._content.feed_data(body)
            self._content.feed_eof()
        return self._content

    @property
    def is_whole(self) -> bool:
        """Whether the body is here to its end."""
        return self._content is None or self._content.is_eof()

    @property
    def size(self) -> int:
        """Bytes of the body that have come."""
        return self._content.total_bytes if self._whole is None and self._content else len(self._whole or b"")

    def call_when_whole(self, callback: Callable[[], None], most: int) -> bool:
        """Call ``callback`` once the body is here, or will never be; False if it is here, or how large it is unknown.

        Nor is that done for a body of more than ``most`` bytes.
        """
        said = self.headers.get("Content-Length", "")
        if self._content is None or self._content.is_eof() or not (said.isascii() and said.isdigit()):
            return False
        if int(said[:20]) > most or not self.is_plain:
            return False
        self._connection.call_when_whole(callback, self._content, int(said))
        return True

    def whole_body(self) -> bytes:
        """Take the body of a whole answer."""
        return self.content.read_nowait(-1) if self._whole is None else self._whole


def end_body(content: StreamReader) -> None:
    """See that a body ends when its connection does.

    aiohttp 3.14 closes the connection on bytes that are no chunk, and leaves whoever reads the body waiting for ever.
    """
    if not content.is_eof() and content.exception() is None:
        content.set_exception(ClientPayloadError())


OnAnswer = Callable[[PooledResponse | None], None]
"""Told of an answer, or with None that the connection was lost before one came."""


class PooledConnection(KeptConnection):
    """One connection, for one request at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop, pool: ConnectionPool) -> None:
        """Belong to ``pool``."""
        super().__init__(loop, pool.hint)
        self.pool = pool
        self.url = pool.url
        self._on_answer: OnAnswer | None = None
        self._on_whole: Callable[[], None] | None = None
        self._content: StreamReader | None = None
        self._cached_head: CachedHead[RawResponseMessage] | None = None
        self._is_between = True
        """Whether all that came so far were whole answers: the parser is between two, and one may pass it by."""
        self._reading = b""
        """What the parser is given while it is between two answers."""
        self.idle_since = 0.0
        self.homeward: tuple[object, bytes] | None = None
        """The headers of an answer that was handed on, and the lines that its client got of them."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Watch the path of a new connection."""
        super().connection_made(transport)
        detect_dead_peer(transport.get_extra_info("socket"), SERVER_SILENCE)

    def ask(self, head: bytes, body: bytes, on_answer: OnAnswer) -> None:
        """Send a request and tell ``on_answer`` once."""
        self._on_answer = on_answer
        self.url = self.pool.url
        transport = self.transport
        assert transport is not None, "an idle connection is connected"
        if len(body) <= _JOINED:
            transport.write(head + body)
        else:
            transport.writelines((head, body))

    def data_received(self, data: bytes) -> None:
        """Take an answer whose head has come before; let aiohttp parse any other."""
        known, on_answer = self._cached_head, self._on_answer
        if known is not None and on_answer is not None and self._is_between:
            head, _, body = data.partition(HEAD_END)
            if head == known.form % len(body):
                self._on_answer = None
                on_answer(PooledResponse(self, known.message, body))
                return
        if data:  # aiohttp calls this with nothing when a body has been read
            self._reading = data if self._is_between else b""
            self._is_between = False
        super().data_received(data)

    def feed_data(self, data: tuple[RawResponseMessage, StreamReader], size: int = 0) -> None:
        """Take an answer from the parser; called by ``data_received`` for each."""
        message, content = data
        if 100 <= message.code < 200 and message.code != _SWITCHING:
            return  # 100 Continue, 103 Early Hints: the answer follows
        on_answer, self._on_answer = self._on_answer, None
        if on_answer is None:
            self.abort()  # an answer to nothing: whatever this peer speaks, it is not what we asked
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
            # Not where each answer counts (one request less, cookies whose time begins anew), or is to be unpacked.
            is_simple = answer.is_plain and not cookies and self.requests_left is None
            if is_simple and not message.should_close:
                self._cached_head = CachedHead.of(reading, body, message)
        self._loop.call_soon(on_answer, answer) if not content.is_eof() else on_answer(answer)

    def call_when_whole(self, callback: Callable[[], None], content: StreamReader, size: int) -> None:
        """Call ``callback`` once this body of ``size`` bytes is here to its end, or the connection is lost."""
        self._on_whole = callback
        content.on_eof(self._body_ended)
        content.set_read_chunk_size(size)  # nobody reads before its end
        if self._reading_paused:
            self.resume_reading()

    def _body_ended(self) -> None:
        self._loop.call_soon(self._tell_whole)  # not within the parser, which is not done with it yet

    def _tell_whole(self) -> None:
        on_whole, self._on_whole = self._on_whole, None
        if on_whole is not None:
            on_whole()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Let who waits for an answer know that none will come."""
        self.pool.forget(self)
        super().connection_lost(exc)
        if self._content is not None:
            end_body(self._content)
        self._tell_whole()
        on_answer, self._on_answer = self._on_answer, None
        if on_answer is not None:
            on_answer(None)

    def release(self) -> None:
        """Let the next request have this connection."""
        self.pool.release(self)

    @property
    def is_reusable(self) -> bool:
        """Whether it may carry another request: its last answer was read and the server keeps it open."""
        return self.is_connected() and not self.should_close


class ConnectionPool:
    """The kept connections to one server."""

    def __init__(
        self, url: URL, headers: Mapping[str, str], cookies: CookieJar, tasks: TaskScope, hint: ServerHint
    ) -> None:
        """POST to ``url`` with ``headers``; opened by ``grow``, and kept as ``hint`` says."""
        self.move(url)
        self._headers = dict(headers)
        self.hint = hint
        self._tasks = tasks
        self._idle: list[PooledConnection] = []
        self._connections: set[PooledConnection] = set()
        self._opening = 0
        self._loop = asyncio.get_running_loop()
        self.has_mcp_headers = any(name.lower().startswith("mcp-") for name in self._headers)
        """Whether the headers given hold some that a modern request may have for itself: not to be sent twice."""
        self.cookies = cookies
        """What the server has set, for who has this pool to himself."""
        self.has_cookie_header = any(name.lower() == "cookie" for name in self._headers)
        """Whether cookies stand among the headers given: they and those of the server's are to be one header."""
        self._head = b""
        self._bare_head = b""
        self._is_closed = False

    def move(self, url: URL) -> None:
        """POST to ``url``, of the same origin, from now on: heads that were made before are of no use any more."""
        self.url = url
        self.path = url.raw_path

    def set_headers(self, extra: Mapping[str, str]) -> None:
        """Send these headers besides with every request from now on. Raises ValueError if one cannot be sent."""
        # The one place for "%" is the length: header values may hold it.
        self._head = self.beginning(extra).replace(b"%", b"%%") + b"Content-Length: %d\r\n\r\n"

    def set_bare_headers(self, extra: Mapping[str, str]) -> None:
        """Send these headers with requests that have headers of their own. Raises ValueError if one cannot be sent."""
        self._bare_head = self.beginning(extra)

    def beginning(self, extra: Mapping[str, str]) -> bytes:
        """Return the head of a request with these headers besides, but for the length of its body.

        Raises ValueError if one of them cannot be sent.
        """
        headers = CIMultiDict({"Host": self.url.host_port_subcomponent or ""})
        headers.update(self._headers)
        headers.update(extra)
        lines = [f"POST {self.url.raw_path_qs} HTTP/1.1"]
        for name, value in headers.items():
            if any(c in name + value for c in "\r\n\0"):
                raise ValueError(f"header {name!r} has a line break in it")
            lines.append(f"{name}: {value}")
        return ("\r\n".join(lines) + "\r\n").encode()

    def keep_cookies(self, answer: PooledResponse) -> None:
        """Keep what an answer has set."""
        self.cookies.take(answer.cookies, self.path)

    def take(self) -> PooledConnection | None:
        """Return an open connection that nobody uses, if there is one."""
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
        """Return the head of a request with this body and headers of its own: known to be sound, and nowhere else."""
        own = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
        return b"%b%bContent-Length: %d\r\n\r\n" % (self._bare_head, own.encode(), len(body))

    def release(self, connection: PooledConnection) -> None:
        """Keep a connection for the next request, or close it if there can be none."""
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
        host, port = self.url.host or "", self.url.port or 80
        loop = self._loop
        try:
            # localhost is both loopback addresses (RFC 6761), whatever the hosts file says.
            for address in ("127.0.0.1", "::1") if host == "localhost" else (host,):
                with contextlib.suppress(OSError):  # a TimeoutError is one
                    async with asyncio.timeout(DEFAULT_LIMITS.connect):
                        _, connection = await loop.create_connection(
                            lambda: PooledConnection(loop, self), address, port
                        )
                    connection.set_response_params(
                        read_until_eof=True, auto_decompress=False, max_line_size=65536, max_field_size=65536
                    )
                    self._connections.add(connection)
                    self.release(connection)
                    return
        finally:
            self._opening -= 1

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
