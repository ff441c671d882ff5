"""Connect to one server over HTTP with aiohttp.

Requests go to one origin, and aiohttp follows no redirects, so credentials and session ids go nowhere else. There is no
read timeout: a stream may be silent for hours, and only the kernel can tell a silent server from a dead path. This
module translates aiohttp's errors.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from relay import fast_ways
from relay.auth.maskable import maskable
from relay.endpoints.core.dialling import DEFAULT_DIALLING, DiallingOptions
from relay.endpoints.core.hops import own_headers
from relay.endpoints.core.keepalive import open_socket
from relay.endpoints.core.tasks import TaskScope
from relay.endpoints.core.tls import is_refusal
from relay.endpoints.http import aiohttp_private
from relay.endpoints.http.address import parse_url
from relay.endpoints.http.client.connector import new_connector
from relay.endpoints.http.client.cookies import CookieJar
from relay.endpoints.http.client.dial import NO_HEADERS, AnyDial, secrets_in
from relay.endpoints.http.client.failures import describe_failure, describe_unreached
from relay.endpoints.http.client.kept import ServerHint
from relay.endpoints.http.client.piecewise import PiecewiseBody
from relay.endpoints.http.client.pool import ConnectionPool, PooledResponse, end_body
from relay.endpoints.http.client.proxy import proxy_for
from relay.errors import EndpointBroken, EndpointUnavailable

__all__ = ["Dial", "Response", "keeping"]

_LARGE_BODY = 256 * 1024
# Errors of a connection that was made and then failed; HttpProcessingError is not a ClientError.
_SHORT_LINES = 4096  # lines in what has arrived at once: so many take their reader 3 ms
_PIECE = 32 * 1024
_BROKEN = (aiohttp.ClientError, aiohttp.http_exceptions.HttpProcessingError, ConnectionError, TimeoutError)
# Errors that mean that no connection was made.
_UNREACHED = (
    aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientSSLError, aiohttp.ClientHttpProxyError,
)  # fmt: skip


Response = aiohttp.ClientResponse | PooledResponse
"""An answer whose headers have arrived, from aiohttp's session or from the pool of kept connections."""


class Dial(AnyDial):
    """The connections to one MCP server over HTTP, made by aiohttp."""

    def __init__(self, url: str, options: DiallingOptions = DEFAULT_DIALLING) -> None:
        """Connect to ``url`` with ``options``, through the proxy that the environment names for ``url``.

        Raises ConfigError if ``url`` is not an http(s) URL, if the environment's proxy is invalid, or if the guard in
        ``options`` refuses ``url``.
        """
        address, self._headers = parse_url(url, options.headers)
        self._guard = guard = options.guard
        if guard is not None:
            guard.check_url(address)
        self.proxy = proxy_for(address, guard)
        logins = {} if self.proxy is None else {"": self.proxy.authorization or ""}
        credentials, self._middleware = options.logins_for(url)
        super().__init__(address, options.limits, secrets_in({**self._headers, **logins}), credentials)
        self._hops = own_headers()
        self._has_header = any(name.lower() == "authorization" for name in self._headers)
        self.ends_with_server = options.ends_with_server
        self._ssl = options.tls
        self._session: aiohttp.ClientSession | None = None
        self._pool: ConnectionPool | None = None
        self._may_pool = fast_ways.may_be_taken() and aiohttp_private.has("client")
        self._hint = ServerHint()
        self.cookies = self.new_jar()

    @property
    def has_login(self) -> bool:
        """Whether requests carry credentials, so that a 401 means wrong credentials rather than missing ones."""
        return self._middleware is not None or self._has_header or self.login_headers() != NO_HEADERS

    def new_jar(self) -> CookieJar:
        """Return a new jar for this server's cookies. A relay that forwards for many clients needs one per client."""
        own = next((value for name, value in self._headers.items() if name.lower() == "cookie"), "")
        return CookieJar(self.url.raw_host or "", is_secure=self.url.scheme == "https", own=own)

    @property
    def _all_headers(self) -> CIMultiDict[str]:
        headers = CIMultiDict({"Accept-Encoding": "identity", "User-Agent": "mcp-relay"})
        headers.update(self._headers)
        headers.update(self._hops)
        if self.proxy is not None:
            headers.update(self.proxy.headers_for(self.url))
        return headers

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            is_tls = "https" in (self.url.scheme, self.proxy and self.proxy.url.scheme)
            self._session = aiohttp.ClientSession(
                connector=new_connector(self._ssl, is_tls=is_tls, hint=self._hint, guard=self._guard),
                # aiohttp adds a session's headers to CONNECT, too, and a proxy must not see the server's headers.
                headers=self._all_headers if self.proxy is None else None,
                auto_decompress=False,  # content_coding decodes answers, within bounds
                cookie_jar=aiohttp.DummyCookieJar(),  # aiohttp's own jar quotes values, and ignores IP addresses
                timeout=aiohttp.ClientTimeout(
                    total=None,
                    sock_connect=self.limits.connect,
                    connect=None if self.proxy is None else self.limits.connect,  # bounds the CONNECT, too
                ),
                max_line_size=65536,
                max_field_size=65536,
            )
        return self._session

    @contextlib.asynccontextmanager
    async def exchange(
        self,
        method: str,
        url: URL,
        headers: Mapping[str, str],
        body: bytes | aiohttp.Payload | None,
        jar: CookieJar | None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """Send one request and yield its answer once the headers have arrived; see ``AnyDial``."""
        has_answer = False
        through: dict[str, Any] = {}
        if self.proxy is not None:
            through = self.proxy.request_arguments(self.url)
            own, headers = headers, self._all_headers
            headers.update(own)
        jar = self.cookies if jar is None else jar
        try:
            async with self._open().request(
                method,
                url,
                data=_in_pieces(body),
                headers=headers,
                allow_redirects=False,
                # The jar is the inner middleware: a login may retry, and a refusal may set a cookie for the retry.
                middlewares=(keeping(jar),) if self._middleware is None else (self._middleware, keeping(jar)),
                **through,
            ) as response:
                has_answer = True
                with _watched(response):
                    yield response
        except _UNREACHED as exc:
            raise EndpointUnavailable(f"{self.name}: {describe_unreached(exc, self.proxy)}") from exc
        except _BROKEN as exc:
            if not has_answer and is_refusal(exc):
                raise EndpointUnavailable(f"{self.name}: {describe_unreached(exc, self.proxy)}") from exc
            raise EndpointBroken(f"{self.name}: {describe_failure(exc)}") from exc
        except ValueError as exc:
            if has_answer:
                raise
            raise EndpointUnavailable(f"{self.name}: invalid header: {exc}") from exc

    async def pieces(self, response: Response) -> AsyncIterator[bytes]:
        """Yield an answer's body, still encoded, as it arrives. Raises EndpointBroken if the connection breaks.

        Several MiB of very short lines take their reader 0.3 s, so other connections get their turn after each piece.
        """
        try:
            async for chunk in response.content.iter_any():
                if chunk.count(b"\n") + chunk.count(b"\r") < _SHORT_LINES:
                    yield chunk
                    continue
                for at in range(0, len(chunk), _PIECE):
                    yield chunk[at : at + _PIECE]
                    await asyncio.sleep(0)
        except _BROKEN as exc:
            raise EndpointBroken(f"{self.name}: {describe_failure(exc)}") from exc

    def pool(self, tasks: TaskScope) -> ConnectionPool | None:
        """Return the pool of kept connections to this server, or None if only aiohttp's session may be used.

        TLS, a proxy, and a login that answers challenges need aiohttp's session.
        """
        if self._middleware is not None or self.proxy is not None or not self._may_pool:
            return None
        if self._pool is None and self.url.scheme == "http":
            self._pool = ConnectionPool(
                self.where(self.url),
                self._all_headers,
                self.cookies,
                tasks,
                self._hint,
                open_socket if self._guard is None else self._guard.open_socket,
            )
        return None if self._session is None else self._pool

    @property
    def follows_moves(self) -> bool:
        """Whether the relay follows a redirect; never behind a guard."""
        return self._guard is None

    def moved(self) -> None:
        """Move the pool to the address that the server redirected to, too."""
        if self._pool is not None:
            self._pool.move(self.where(self.url))

    @property
    def may_resend(self) -> bool:
        """Whether a login may send a request again after a 401, so that the body must be kept."""
        return self._middleware is not None or self.login_headers() != NO_HEADERS

    def _all_secrets(self) -> list[str]:
        known = () if self._middleware is None else self._middleware.secrets
        return maskable([*known, *self.cookies.secrets, *super()._all_secrets()])

    async def aclose(self) -> None:
        """Close every connection."""
        if self._pool is not None:
            self._pool.close()
        if self._session is not None:
            await self._session.close()


def keeping(jar: CookieJar) -> aiohttp.ClientMiddlewareType:
    """Return a middleware that sends the cookies of ``jar``, and keeps the answer's cookies there."""

    async def keep(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        path = request.url.raw_path
        if cookies := jar.header(path):
            request.headers["Cookie"] = cookies
        response = await send(request)
        if set_there := response.headers.getall("Set-Cookie", ()):
            jar.take(set_there, path)
        return response

    return keep


def _in_pieces(body: bytes | aiohttp.Payload | None) -> bytes | aiohttp.Payload | None:
    """Let aiohttp write a large body piece by piece: as aiohttp warns, one large write would block the loop."""
    return PiecewiseBody(body) if isinstance(body, bytes) and len(body) > _LARGE_BODY else body


@contextlib.contextmanager
def _watched(response: aiohttp.ClientResponse) -> Iterator[None]:
    """End a body together with its connection."""
    protocol = response.connection.protocol if response.connection is not None else None
    closed = protocol.closed if protocol is not None else None
    if closed is None:  # the body is complete already
        yield
        return

    def connection_lost(_: asyncio.Future[None]) -> None:
        end_body(response.content)

    closed.remove_done_callback(_look_at)
    closed.add_done_callback(_look_at)
    closed.add_done_callback(connection_lost)
    try:
        yield
    finally:
        closed.remove_done_callback(connection_lost)


def _look_at(closed: asyncio.Future[None]) -> None:
    """Retrieve the failure of a closed connection: asyncio logs failures that were never retrieved."""
    if not closed.cancelled():
        closed.exception()
