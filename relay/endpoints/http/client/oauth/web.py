"""Ask authorization servers: no redirects, no cookies, a bounded answer, and a session of its own for each request.

Nothing that belongs to the MCP server goes to an authorization server, nor the reverse.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
from yarl import URL

from relay.addresses import shown_address
from relay.auth.egress import EgressRules
from relay.auth.outbound.tries import challenges_in
from relay.endpoints.core.egress import EgressGuard, EgressRefused
from relay.endpoints.http.client.connector import new_connector
from relay.endpoints.http.client.failures import describe_failure, describe_unreached
from relay.endpoints.http.client.proxy import proxy_for
from relay.errors import ConfigError, EndpointUnavailable

__all__ = ["AuthorizationWeb", "ServerUnreachable"]

_SECONDS = 30.0
_CONNECT_SECONDS = 10.0
_PRIVATE = "a public server may not name a private address; --oauth-allow-private allows it"
_PING = b'{"jsonrpc":"2.0","id":0,"method":"ping"}'


class ServerUnreachable(EndpointUnavailable):
    """No usable answer came. The message says from where and why, in one line."""

    def __init__(self, url: str, why: str) -> None:
        """``why`` is a line without the address."""
        super().__init__(f"{shown_address(url)}: {why}")
        self.why = why


class _PublicOnly(EgressGuard):
    """Lets sockets open to public addresses only, and remembers whether it has refused one."""

    has_refused = False

    def open_socket(self, info: tuple[Any, ...]) -> socket.socket:
        """Return a socket. Raises EgressRefused."""
        try:
            return super().open_socket(info)
        except EgressRefused:
            self.has_refused = True
            raise


class AuthorizationWeb:
    """Requests to authorization servers, and for metadata."""

    def __init__(self, ssl_context: ssl.SSLContext | None = None, *, server: str | None = None) -> None:
        """``ssl_context`` is used if it verifies: another would show secrets to anyone on the way.

        ``server`` is the URL of the MCP server that names the other addresses. If its own address is public, it may
        name only public ones: it could otherwise make the relay look around in a private network.
        """
        is_verifying = ssl_context is not None and ssl_context.verify_mode is ssl.CERT_REQUIRED
        self._ssl = ssl_context if is_verifying else None
        self._server = server
        self._guard: _PublicOnly | None = None

    async def get(self, url: str, *, limit: int) -> tuple[int, bytes]:
        """Return the status and the body of a JSON document. Raises ServerUnreachable."""
        return await self._ask("GET", url, {"Accept": "application/json"}, None, limit)

    async def post(self, url: str, headers: Mapping[str, str], body: bytes, *, limit: int) -> tuple[int, bytes]:
        """Send a body, and return the status and the body of the answer. Raises ServerUnreachable."""
        return await self._ask("POST", url, headers, body, limit)

    async def challenges(self, url: str) -> tuple[str, ...]:
        """Send the MCP server a ping without a login; return the challenges of its refusal, none if it refuses not.

        Raises ServerUnreachable.
        """
        headers = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
        async with self._response("POST", url, headers, _PING) as response:
            return challenges_in(response.headers) if response.status in (401, 403) else ()

    async def _ask(
        self, method: str, text: str, headers: Mapping[str, str], body: bytes | None, limit: int
    ) -> tuple[int, bytes]:
        async with self._response(method, text, headers, body) as response:
            return response.status, await _read(response, limit)

    @contextlib.asynccontextmanager
    async def _response(
        self, method: str, text: str, headers: Mapping[str, str], body: bytes | None
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        url = URL(text, encoded=True)
        guard = await self._guard_of_server()
        try:
            proxy = proxy_for(url)
        except ConfigError as exc:
            raise ServerUnreachable(text, str(exc)) from exc
        if guard is not None and guard.rules.fault_of_url(url) is not None:
            raise ServerUnreachable(text, _PRIVATE)
        arguments: dict[str, Any] = {} if proxy is None else proxy.request_arguments(url)
        headers = {**headers, **({} if proxy is None else proxy.headers_for(url))}
        # A proxy opens its connections itself.
        connector = new_connector(
            self._ssl,
            is_tls="https" in (url.scheme, proxy and proxy.url.scheme),
            guard=guard if proxy is None else None,
        )
        try:
            async with (
                aiohttp.ClientSession(
                    connector=connector,
                    cookie_jar=aiohttp.DummyCookieJar(),
                    timeout=aiohttp.ClientTimeout(total=_SECONDS, sock_connect=_CONNECT_SECONDS),
                    headers={"User-Agent": "mcp-relay", "Accept-Encoding": "identity"},
                ) as session,
                session.request(
                    method, url, data=body, headers=headers, allow_redirects=False, **arguments
                ) as response,
            ):
                yield response
        except (aiohttp.ClientError, OSError, ValueError) as exc:  # TimeoutError is an OSError
            why = describe_failure(exc) if proxy is None else describe_unreached(exc, proxy)
            why = _PRIVATE if guard is not None and guard.has_refused else why
            raise ServerUnreachable(text, why) from exc

    async def _guard_of_server(self) -> _PublicOnly | None:
        """Return the guard that admits only public addresses; None if the server's own address is private."""
        if self._server is None:
            return self._guard
        server, self._server = URL(self._server), None
        rules = EgressRules()
        try:
            found = await addresses_of(server.host, server.port)
        except OSError:
            found = []  # only a proxy can reach it
        if found and all(rules.fault_of_address(str(info[4][0])) is None for info in found):
            self._guard = _PublicOnly(rules)
        return self._guard


async def addresses_of(host: str | None, port: int | None) -> list[Any]:
    """Return the addresses of a name, as ``getaddrinfo`` does. Raises OSError."""
    return await asyncio.get_running_loop().getaddrinfo(host, port)


async def _read(response: aiohttp.ClientResponse, limit: int) -> bytes:
    body = b""
    async for piece in response.content.iter_any():
        body += piece
        if len(body) > limit:
            raise ValueError(f"the answer is longer than {limit} bytes")
    return body
