"""Connect to one server over HTTP through a caller's own ``httpx.AsyncClient``: the extra ``[httpx]``.

httpx offers what the relay does not: HTTP/2, SOCKS, an ``httpx.Auth``, an ASGI application in the same process. This
module only sends requests; ``streamable`` has the rules of MCP. As in ``aiohttp_dial``, there is one origin, no
redirect and no read timeout, whatever the client's settings are. The caller owns the client, so the relay never closes
it.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from yarl import URL

from relay.addresses import without_logins
from relay.endpoints.core.dialling import DEFAULT_DIALLING, DiallingOptions
from relay.endpoints.core.keepalive import SERVER_SILENCE, detect_dead_peer
from relay.endpoints.http.address import parse_url
from relay.endpoints.http.client.dial import AnyDial, secrets_in
from relay.endpoints.http.client.httpx_events import HttpxEvents
from relay.errors import ConfigError, EndpointBroken, EndpointUnavailable
from relay.frames.sse import SseEvent

if TYPE_CHECKING:
    import httpx

    from relay.endpoints.http.client.cookies import CookieJar

__all__ = ["HttpxDial"]

_CREDENTIALS = ("authorization", "proxy-authorization", "cookie")


class _Answer:
    """An httpx response under the names that the HTTP clients use."""

    def __init__(self, response: httpx.Response) -> None:
        self.status = response.status_code
        self.headers = response.headers
        self.response = response
        self.url = response.url
        # Read raw bytes where httpx allows: httpx decodes without a bound. It has already read a body made in memory.
        self.is_raw = not response.is_stream_consumed
        self.pieces = response.aiter_raw() if self.is_raw else response.aiter_bytes()

    async def aclose(self) -> None:
        # The pieces first: the garbage collector would close them once another request has the connection.
        await self.pieces.aclose()  # type: ignore[attr-defined]  # it is a generator
        await self.response.aclose()


class HttpxDial(AnyDial):
    """The connections to one MCP server through a caller's httpx client."""

    def __init__(self, url: str, client: httpx.AsyncClient, options: DiallingOptions = DEFAULT_DIALLING) -> None:
        """Connect to ``url`` with the headers and limits of ``options``, in addition to the client's own.

        Raises ConfigError if ``url`` is not an http(s) URL, or if ``client`` is not an httpx client.
        """
        address, self._headers = parse_url(url, options.headers)
        self._httpx = _library_of(client)
        login, middleware = options.logins_for(url)
        if middleware is not None:
            raise ConfigError("login: an httpx client has its own Digest; give an httpx.DigestAuth to it, as auth=…")
        super().__init__(address, options.limits, secrets_in({**client.headers, **self._headers}), login)
        self._own_secrets = self._secrets
        self._client = client
        # No read timeout: a stream may be silent for hours. The client's other timeouts apply.
        theirs = client.timeout
        connect = options.limits.connect if theirs.connect is None else theirs.connect
        self._timeout = self._httpx.Timeout(connect=connect, read=None, write=theirs.write, pool=theirs.pool)
        # Errors that mean that no byte of the request was sent.
        self._unsent = (
            self._httpx.ConnectError,
            self._httpx.ConnectTimeout,
            self._httpx.PoolTimeout,
            self._httpx.ProxyError,
            self._httpx.UnsupportedProtocol,
        )

    @contextlib.asynccontextmanager
    async def exchange(
        self, method: str, url: URL, headers: Mapping[str, str], body: bytes | None, jar: CookieJar | None
    ) -> AsyncIterator[_Answer]:
        """Send one request and yield its answer; see ``AnyDial``. The httpx client keeps its own cookies."""
        answer = _Answer(await self._send(self._build(method, headers, url, body)))
        try:
            yield answer
        finally:
            with contextlib.suppress(self._httpx.HTTPError):
                await answer.aclose()

    def _build(self, method: str, headers: Mapping[str, str], url: URL, body: bytes | None) -> httpx.Request:
        if self._client.is_closed:
            raise EndpointUnavailable(f"{self.name}: the httpx client is closed")
        try:
            merged = self._httpx.Headers({"Accept-Encoding": "identity", **self._headers})
            merged.update(headers)  # case-insensitively
            target = self._target(url)
            return self._client.build_request(
                method, target, content=body, headers=merged, timeout=self._timeout, extensions={"trace": _watch_path}
            )
        except (ValueError, TypeError, self._httpx.InvalidURL) as exc:
            raise EndpointUnavailable(f"{self.name}: invalid header or address: {exc}") from exc

    def _target(self, url: URL) -> Any:
        """Return httpx's URL for ``url``, with the path and the query unchanged.

        httpx turns ``%zz`` into ``%25zz``, and has no other way to prevent that: its extension ``target`` breaks
        requests through a forwarding proxy.
        """
        target = self._httpx.URL(str(url))
        parts = getattr(target, "_uri_reference", None)
        if parts is not None:
            target._uri_reference = parts._replace(path=url.raw_path, query=url.raw_query_string or None)
        return target

    async def _send(self, request: httpx.Request) -> httpx.Response:
        try:
            response = await self._client.send(request, stream=True, follow_redirects=False)
        except self._unsent as exc:
            raise EndpointUnavailable(f"{self.name}: cannot connect: {self._describe(exc)}") from exc
        except self._httpx.HTTPError as exc:
            raise EndpointBroken(f"{self.name}: {self._describe(exc)}") from exc
        except Exception as exc:  # the client runs the caller's code: an Auth, a transport, an application
            raise EndpointBroken(f"{self.name}: the httpx client failed: {self._describe(exc)}") from exc
        if response.status_code >= 400:
            self._learn_secrets(response.request)
        return response

    def _learn_secrets(self, request: httpx.Request) -> None:
        """Remember the credentials that an ``httpx.Auth`` added, because the error page may repeat them."""
        sent = {name: request.headers[name] for name in _CREDENTIALS if name in request.headers}
        self._secrets = sorted({*self._own_secrets, *secrets_in(sent)}, key=len, reverse=True)

    def coding_of(self, response: _Answer) -> str:
        """Return the content coding of the pieces of an answer; "" if httpx has decoded them."""
        return super().coding_of(response) if response.is_raw else ""

    async def pieces(self, response: _Answer) -> AsyncIterator[bytes]:
        """Yield an answer's body as it arrives. Raises EndpointBroken if the connection breaks."""
        try:
            async for piece in response.pieces:
                yield piece
        except self._httpx.HTTPError as exc:
            raise EndpointBroken(f"{self.name}: {self._describe(exc)}") from exc

    async def events(self, response: _Answer) -> AsyncIterator[list[SseEvent]]:
        """Yield an answer's events as httpx-sse decodes them. Raises EndpointBroken."""
        async for event in HttpxEvents(self.chunks(response), self.limits.max_frame_bytes, self._httpx):
            yield [event]

    def _describe(self, exc: Exception) -> str:
        text = without_logins(str(exc)) or type(exc).__name__
        for secret in self._all_secrets():
            text = text.replace(secret, "***")
        return text


async def _watch_path(event: str, info: Mapping[str, Any]) -> None:
    """Turn on dead-peer detection for each connection that httpcore opens for a request of the relay.

    httpcore reports "connection.connect_tcp.complete", or "socks.…". A transport without connections reports nothing.
    """
    if event.endswith("connect_tcp.complete"):
        detect_dead_peer(info["return_value"].get_extra_info("socket"), SERVER_SILENCE)


def _library_of(client: object) -> Any:
    """Return the library of a client: httpx, or httpx2, which the official SDK 2 uses. Raises ConfigError."""
    for kind in type(client).__mro__:
        library = kind.__module__.partition(".")[0]
        if kind.__name__ == "AsyncClient" and library in ("httpx", "httpx2"):
            return importlib.import_module(library)
    raise ConfigError(f"client: expected an httpx.AsyncClient, not {type(client).__name__}")
