"""The connections to one server by HTTP, as aiohttp makes them.

One origin, no redirects: credentials and session ids never go anywhere else. No read timeout: a stream may be silent
for hours, and only the kernel can tell a silent server from a path that is gone. aiohttp's errors stop here.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from relay import fast_ways
from relay.auth.maskable import maskable
from relay.endpoints.core.dialling import DEFAULT_DIALLING, DiallingOptions
from relay.endpoints.core.hops import own_headers
from relay.endpoints.core.tasks import TaskScope
from relay.endpoints.core.tls import is_refusal
from relay.endpoints.http import aiohttp_private
from relay.endpoints.http.address import parse_url
from relay.endpoints.http.client.connector import new_connector
from relay.endpoints.http.client.cookies import CookieJar
from relay.endpoints.http.client.dial import AnyDial, secrets_in
from relay.endpoints.http.client.failures import describe_failure, describe_unreached
from relay.endpoints.http.client.kept import ServerHint
from relay.endpoints.http.client.pool import ConnectionPool, PooledResponse, end_body
from relay.endpoints.http.client.proxy import proxy_for
from relay.errors import EndpointBroken, EndpointUnavailable

__all__ = ["Dial", "Response", "keeping"]

_LARGE_BODY = 256 * 1024
# What a connection raises that was made and then failed; the second is no ClientError.
_BROKEN = (aiohttp.ClientError, aiohttp.http_exceptions.HttpProcessingError, ConnectionError, TimeoutError)
# What it raises if no connection was made.
_UNREACHED = (
    aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.ClientSSLError, aiohttp.ClientHttpProxyError,
)  # fmt: skip


Response = aiohttp.ClientResponse | PooledResponse
"""An answer whose headers are here, from aiohttp's session or from the pool of kept connections."""


class Dial(AnyDial):
    """The connections to one MCP server by HTTP."""

    def __init__(self, url: str, options: DiallingOptions = DEFAULT_DIALLING) -> None:
        """Speak to ``url`` as ``options`` say, through the proxy that the environment names for it.

        Raises ConfigError if ``url`` is not an http(s) URL, or if the environment names no proxy that can be one.
        """
        address, self._headers = parse_url(url, options.headers)
        self.proxy = proxy_for(address)
        logins = {} if self.proxy is None else {"": self.proxy.authorization or ""}
        super().__init__(address, options.limits, secrets_in({**self._headers, **logins}))
        self._hops = own_headers()
        self.has_login = options.login is not None or any(name.lower() == "authorization" for name in self._headers)
        self._login = options.login
        self._ssl = options.tls
        self._session: aiohttp.ClientSession | None = None
        self._pool: ConnectionPool | None = None
        self._may_pool = fast_ways.may_be_taken() and aiohttp_private.has("client")
        self._hint = ServerHint()
        self.cookies = self.new_jar()

    def new_jar(self) -> CookieJar:
        """Return a jar for this server's cookies: one that hands on the requests of many clients has one for each."""
        own = next((value for name, value in self._headers.items() if name.lower() == "cookie"), "")
        return CookieJar(self.url.raw_host or "", is_secure=self.url.scheme == "https", own=own)

    @property
    def _all_headers(self) -> CIMultiDict[str]:
        headers = CIMultiDict({"Accept-Encoding": "identity", "User-Agent": "mcp-relay", **self._hops})
        headers.update(self._headers)
        if self.proxy is not None:
            headers.update(self.proxy.headers_for(self.url))
        return headers

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            is_tls = "https" in (self.url.scheme, self.proxy and self.proxy.url.scheme)
            self._session = aiohttp.ClientSession(
                connector=new_connector(self._ssl, is_tls=is_tls, hint=self._hint),
                # aiohttp puts a session's headers into CONNECT, too: a proxy must not see what is for the server.
                headers=self._all_headers if self.proxy is None else None,
                auto_decompress=False,  # nothing but what was asked for is read here: see content_coding
                cookie_jar=aiohttp.DummyCookieJar(),  # which quotes values, and keeps none of an address
                timeout=aiohttp.ClientTimeout(
                    total=None,
                    sock_connect=self.limits.connect,
                    connect=None if self.proxy is None else self.limits.connect,  # its answer to CONNECT, too
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
        """Send one request and yield its answer once its headers are here; see ``AnyDial``."""
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
                # The jar is the inner one: a login may send twice, and a refusal may set what its second try needs.
                middlewares=(keeping(jar),) if self._login is None else (self._login, keeping(jar)),
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
            raise EndpointUnavailable(f"{self.name}: a header cannot be sent: {exc}") from exc

    async def pieces(self, response: Response) -> AsyncIterator[bytes]:
        """Yield an answer's body as it comes, as it was sent. Raises EndpointBroken if the connection breaks."""
        try:
            async for chunk in response.content.iter_any():
                yield chunk
        except _BROKEN as exc:
            raise EndpointBroken(f"{self.name}: {describe_failure(exc)}") from exc

    def pool(self, tasks: TaskScope) -> ConnectionPool | None:
        """Return the pool of kept connections to this server, if it may be used.

        Not with TLS or through a proxy, and not with a login that is more than a header: aiohttp's session knows all
        three.
        """
        if self._login is not None or self.proxy is not None or not self._may_pool:
            return None
        if self._pool is None and self.url.scheme == "http":
            self._pool = ConnectionPool(self.where(self.url), self._all_headers, self.cookies, tasks, self._hint)
        return None if self._session is None else self._pool

    def moved(self) -> None:
        """Let the pool, too, ask at the address that the server has named."""
        if self._pool is not None:
            self._pool.move(self.where(self.url))

    @property
    def may_resend(self) -> bool:
        """Whether a request may go out again after a 401: its body must be there still."""
        return self._login is not None

    def _all_secrets(self) -> list[str]:
        known = () if self._login is None else self._login.secrets
        given = [*known, *self.cookies.secrets]
        return maskable([*given, *self._secrets])

    async def aclose(self) -> None:
        """Close every connection."""
        if self._pool is not None:
            self._pool.close()
        if self._session is not None:
            await self._session.close()


def keeping(jar: CookieJar) -> aiohttp.ClientMiddlewareType:
    """Return what gives each request the cookies of ``jar``, and keeps there those of its answer."""

    async def keep(request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        path = request.url.raw_path
        if cookies := jar.header(path):
            request.headers["Cookie"] = cookies
        response = await send(request)
        if set_there := response.headers.getall("Set-Cookie", ()):
            jar.take(set_there, path)
        return response

    return keep


def _in_pieces(body: bytes | aiohttp.Payload | None) -> bytes | io.BytesIO | aiohttp.Payload | None:
    """Let aiohttp write a large body piece by piece: in one go it would hold up the loop, as it warns."""
    return io.BytesIO(body) if isinstance(body, bytes) and len(body) > _LARGE_BODY else body


@contextlib.contextmanager
def _watched(response: aiohttp.ClientResponse) -> Iterator[None]:
    """See that a body ends when its connection does."""
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
    """Look at how a connection ended: asyncio logs a failure at which nobody has looked."""
    if not closed.cancelled():
        closed.exception()
