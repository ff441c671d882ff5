"""The connections to one server by HTTP, as a caller's own ``httpx.AsyncClient`` makes them: the extra ``[httpx]``.

For what httpx can do and we cannot: HTTP/2, SOCKS, an ``httpx.Auth``, an ASGI application in the same process. MCP's
rules are those of ``streamable``; here is only how a request goes out. One origin, no redirects, no read timeout, as
in ``aiohttp_dial``, whatever the client's own settings are. The client belongs to the caller, and is never closed.
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
        # As it was sent, where httpx lets us: what it would unpack has no bound. It has read a body made in memory.
        self.is_raw = not response.is_stream_consumed
        self.pieces = response.aiter_raw() if self.is_raw else response.aiter_bytes()

    async def aclose(self) -> None:
        # The pieces first: left to the garbage collector, they would be closed when the connection is another's.
        await self.pieces.aclose()  # type: ignore[attr-defined]  # it is a generator
        await self.response.aclose()


class HttpxDial(AnyDial):
    """The way to one MCP server through a client that somebody else made."""

    def __init__(self, url: str, client: httpx.AsyncClient, options: DiallingOptions = DEFAULT_DIALLING) -> None:
        """Speak to ``url`` with the headers and limits of ``options``, beside the client's own.

        Raises ConfigError if it is not an http(s) URL, or if the client is none.
        """
        address, self._headers = parse_url(url, options.headers)
        self._httpx = _library_of(client)
        super().__init__(address, options.limits, secrets_in({**client.headers, **self._headers}))
        self._own_secrets = self._secrets
        self._client = client
        # A stream may be silent for hours. What else the client says of time holds.
        theirs = client.timeout
        connect = options.limits.connect if theirs.connect is None else theirs.connect
        self._timeout = self._httpx.Timeout(connect=connect, read=None, write=theirs.write, pool=theirs.pool)
        # What is raised while no byte of the request has left.
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
        """Send one request and yield its answer once its headers are here; see ``AnyDial``; cookies are its own."""
        answer = _Answer(await self._send(self._build(method, headers, url, body)))
        try:
            yield answer
        finally:
            with contextlib.suppress(self._httpx.HTTPError):
                await answer.aclose()

    def _build(self, method: str, headers: Mapping[str, str], url: URL, body: bytes | None) -> httpx.Request:
        if self._client.is_closed:
            raise EndpointUnavailable(f"{self.name}: its httpx client has been closed")
        try:
            merged = self._httpx.Headers({"Accept-Encoding": "identity", **self._headers})
            merged.update(headers)  # whatever their case
            target = self._target(url)
            return self._client.build_request(
                method, target, content=body, headers=merged, timeout=self._timeout, extensions={"trace": _watch_path}
            )
        except (ValueError, TypeError, self._httpx.InvalidURL) as exc:
            raise EndpointUnavailable(f"{self.name}: a header or the address cannot be sent: {exc}") from exc

    def _target(self, url: URL) -> Any:
        """Return httpx's URL for ours, with the path and the query as they stand there.

        httpx makes ``%25zz`` of ``%zz``, and has no other way to be told not to: its extension ``target`` breaks
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
        except Exception as exc:  # the caller's own code runs in there: an Auth, a transport, an application
            raise EndpointBroken(f"{self.name}: its httpx client failed: {self._describe(exc)}") from exc
        if response.status_code >= 400:
            self._learn_secrets(response.request)
        return response

    def _learn_secrets(self, request: httpx.Request) -> None:
        """Know the credentials that an ``httpx.Auth`` has added: the error page may repeat them."""
        sent = {name: request.headers[name] for name in _CREDENTIALS if name in request.headers}
        self._secrets = sorted({*self._own_secrets, *secrets_in(sent)}, key=len, reverse=True)

    def coding_of(self, response: _Answer) -> str:
        """Return the coding that an answer's pieces are in."""
        return super().coding_of(response) if response.is_raw else ""

    async def pieces(self, response: _Answer) -> AsyncIterator[bytes]:
        """Yield an answer's body as it comes, as it was sent. Raises EndpointBroken if the connection breaks."""
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
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


async def _watch_path(event: str, info: Mapping[str, Any]) -> None:
    """Watch the path of each connection that httpcore opens for a request of ours: the client's own names none.

    httpcore tells "connection.connect_tcp.complete", or "socks.…"; a transport without connections tells nothing.
    """
    if event.endswith("connect_tcp.complete"):
        detect_dead_peer(info["return_value"].get_extra_info("socket"), SERVER_SILENCE)


def _library_of(client: object) -> Any:
    """Return the library that a client is of: httpx, or httpx2, which the official SDK 2 uses. Raises ConfigError."""
    for kind in type(client).__mro__:
        library = kind.__module__.partition(".")[0]
        if kind.__name__ == "AsyncClient" and library in ("httpx", "httpx2"):
            return importlib.import_module(library)
    raise ConfigError(f"client: a {type(client).__name__} is no httpx.AsyncClient")
