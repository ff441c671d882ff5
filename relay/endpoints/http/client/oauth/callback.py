"""The page on this machine to which the browser returns with the code (RFC 8252, 7.3).

It listens before the browser opens, on loopback only. What is not the response of this login gets 400, and the login
goes on: a stranger cannot end it. The page repeats nothing that came with the request.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator
from types import TracebackType
from urllib.parse import urlsplit

from aiohttp import web

from relay.auth.origin import is_loopback
from relay.auth.outbound.oauth.authorization import AuthorizationRefused, ResponseIgnored, code_in_response
from relay.auth.outbound.oauth.records import OpenWindow

__all__ = ["CallbackListener", "PortBusy", "bind_callback"]

_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_PAGE = "<!doctype html><meta charset=utf-8><title>mcp-relay</title><h1>{title}</h1><p>{text}</p>\n"
_DONE = ("You are logged in", "You can close this page and return to your program.")
_FAILED = ("The login failed", "Your program and its log say why. You can close this page.")
_WRONG = ("Not found", "This page belongs to a login that is not under way.")
_LINGER = 5.0
_BUSY = (errno.EADDRINUSE, errno.EACCES)


class PortBusy(Exception):
    """Another program listens on the port of the callback."""


def bind_callback(host: str, port: int) -> list[socket.socket]:
    """Bind the callback's port on loopback; ``localhost`` on IPv4 and IPv6. ``port`` 0: any. Raises PortBusy."""
    families = {"localhost": (socket.AF_INET, socket.AF_INET6), "::1": (socket.AF_INET6,)}
    bound: list[socket.socket] = []
    try:
        for family in families.get(host.strip("[]").lower(), (socket.AF_INET,)):
            try:
                sock = _bind(family, port)
            except OSError as exc:
                if family is socket.AF_INET6 and bound and exc.errno not in _BUSY:
                    continue  # a machine without IPv6
                raise PortBusy(f"port {port} on this machine is in use") from exc
            bound.append(sock)
            port = sock.getsockname()[1]
    except BaseException:
        for sock in bound:
            sock.close()
        raise
    return bound


def _bind(family: socket.AddressFamily, port: int) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if family is socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if hasattr(socket, "SO_EXCLUSIVEADDRUSE"):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("::1" if family is socket.AF_INET6 else "127.0.0.1", port))
        sock.listen(16)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


class CallbackListener:
    """Waits for the response to one authorization request."""

    def __init__(self, sockets: list[socket.socket], window: OpenWindow) -> None:
        """Listen on ``sockets`` for the response to ``window``."""
        self._sockets = sockets
        self._window = window
        self._redirect = urlsplit(window.redirect_uri)
        self._response: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._is_done = asyncio.Event()
        self._has_succeeded = False
        self._answering: set[asyncio.Event] = set()
        self._server = web.Server(self._answer, access_log=None, max_line_size=8190, max_field_size=8190)
        self._listeners: list[asyncio.Server] = []

    async def __aenter__(self) -> CallbackListener:
        """Start to listen."""
        loop = asyncio.get_running_loop()
        for sock in self._sockets:
            self._listeners.append(await loop.create_server(self._server, sock=sock))
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Answer the browser, and stop."""
        self._has_succeeded = kind is None
        self._is_done.set()
        for listener in self._listeners:
            listener.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER):
                for answered in tuple(self._answering):
                    await answered.wait()
        await self._server.shutdown(_LINGER)
        if not self._response.done():
            self._response.cancel()

    async def code(self) -> str:
        """Wait for the response, and return its code. Raises AuthorizationRefused."""
        return await asyncio.shield(self._response)

    def deliver(self, query: str) -> None:
        """Take a response that came another way. Raises ResponseIgnored."""
        if self._response.done():
            raise ResponseIgnored
        try:
            self._response.set_result(code_in_response(query, self._window))
        except AuthorizationRefused as exc:
            self._response.set_exception(exc)
            self._response.exception()  # it counts as retrieved, should nobody wait any more

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.method != "GET" or request.path != self._redirect.path or not self._is_for_us(request.host):
            return _page(404, *_WRONG)
        try:
            self.deliver(request.rel_url.raw_query_string)
        except ResponseIgnored:
            return _page(400, *_WRONG)
        async with self._is_answering():
            await self._is_done.wait()
            return _page(200, *_DONE) if self._has_succeeded else _page(400, *_FAILED)

    @contextlib.asynccontextmanager
    async def _is_answering(self) -> AsyncIterator[None]:
        answered = asyncio.Event()
        self._answering.add(answered)
        try:
            yield
        finally:
            self._answering.discard(answered)
            answered.set()

    def _is_for_us(self, host: str) -> bool:
        """Tell whether ``Host`` names this machine and this port, so that no page of another name can ask."""
        name, _, port = host.rpartition(":")
        return is_loopback(name) and port == str(self._redirect.port)


def _page(status: int, title: str, text: str) -> web.Response:
    return web.Response(
        status=status, text=_PAGE.format(title=title, text=text), content_type="text/html", headers=_HEADERS
    )
