"""Join a page's WebSocket to the server that its address names.

A browser cannot read the status of a refused upgrade. So a wrong token or address is an upgrade that closes at once,
with the code that says why, and nothing is dialled. Host and Origin are refused before the upgrade, like everywhere.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web
from multidict import CIMultiDict

from relay.addresses import shown_address
from relay.auth.inbound.verdicts import Challenge, Pending, Principal
from relay.endpoints.base import ANONYMOUS, Endpoint
from relay.endpoints.core.hops import Trail, following
from relay.endpoints.core.lazy import Lazy
from relay.endpoints.core.tasks import TaskScope
from relay.endpoints.http.client.remote import Remote
from relay.endpoints.http.decisions import Admission
from relay.endpoints.http.proxied_call import is_token
from relay.endpoints.websocket.turning_away import turn_away
from relay.endpoints.websocket.websocket import accept_websocket, dial_websocket
from relay.errors import ConfigError, EndpointBroken, RelayError
from relay.frames import replies
from relay.frames.frame import Frame
from relay.gateway.answers import UNREACHABLE
from relay.gateway.targets import JOINED, check_server
from relay.observe.hub import Clients, Hub
from relay.pipe import pipe

if TYPE_CHECKING:
    from relay.endpoints.core.dialling import DiallingOptions
    from relay.endpoints.core.egress import EgressGuard
    from relay.endpoints.http.server.context import ListenerContext
    from relay.endpoints.websocket.websocket import WebSocketEndpoint

__all__ = ["PageSockets"]

logger = logging.getLogger("relay")

_PROTOCOL_ERROR, _POLICY, _LATER = 1002, 1008, 1013
_LINGER = 1.0  # seconds for late frames after one side has left: the other must know within three


class PageSockets:
    """The WebSockets of all pages of one listener."""

    def __init__(self, context: ListenerContext, guard: EgressGuard, options: DiallingOptions, hub: Hub) -> None:
        """Dial with ``options``, which hold ``guard``, and tell ``hub`` what passes."""
        self._context = context
        self._guard = guard
        self._options = options
        self._limits = dataclasses.replace(options.limits, linger=_LINGER)
        self._hub = hub
        self._tasks = TaskScope()
        self._open: Clients[WebSocketEndpoint] = Clients(hub, set())

    async def serve(self, request: web.BaseRequest, trail: Trail) -> web.StreamResponse:
        """Answer an upgrade, and carry frames until a side leaves."""
        url, token = request.query.get("mcp_server_url", ""), request.query.get("mcp_token", "")
        request = _with_token_in_header(request)
        admission = await self._admit(request)
        if admission is None:
            return await turn_away(request, _POLICY, "Invalid proxy token")
        places = self._context.places
        if places.is_full or places.is_full_for(admission.principal):
            return await turn_away(request, _LATER, "too many connections; try again later")
        if not url:
            return await turn_away(request, _PROTOCOL_ERROR, "MCP server URL required")
        try:
            check_server(self._guard, url, JOINED)
            if not is_token(token):
                raise ConfigError("its token cannot stand in a header")
            with following(self, trail):
                server = self._dial(url, token)
        except ConfigError as exc:
            logger.info("gateway: refused a page's server: %s", exc)
            return await turn_away(request, _PROTOCOL_ERROR, "Invalid MCP server URL")
        with self._context.place(admission.principal):
            return await self._join(request, admission, server, trail)

    async def _admit(self, request: web.BaseRequest) -> Admission | None:
        """Return the admission of a page that has a token of the gateway's, else None."""
        login, generation = self._context.gate.login, self._context.gate.generation
        if login is None:
            return Admission(ANONYMOUS, None, generation)
        now = asyncio.get_running_loop().time()
        verdict = login.look(request.headers, request.remote, now)
        if isinstance(verdict, Pending):
            verdict = await login.verify(verdict, request.remote, now)
        if isinstance(verdict, Principal):
            return Admission(verdict.name, verdict.until, generation)
        if isinstance(verdict, Challenge) and verdict.is_failed_login:
            login.note_failure(request.remote, now)
        self._context.refused += 1
        return None

    def _dial(self, url: str, token: str) -> Endpoint:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        options = msgspec.structs.replace(self._options, headers=headers, limits=self._limits, ends_with_server=True)
        if url.lower().startswith(("ws:", "wss:")):
            return Lazy(shown_address(url), lambda: dial_websocket(url, options))
        return Remote(url, options)

    async def _join(
        self, request: web.BaseRequest, admission: Admission, server: Endpoint, trail: Trail
    ) -> web.StreamResponse:
        context = self._context
        try:
            page = await accept_websocket(request, context.limits, refusals=context.refusals)
        except BaseException:
            await server.aclose()
            raise
        context.take_in(page, request, admission)
        page.vouch()
        self._open.add(page)
        # Not in this task: aiohttp cancels it when the page leaves, and the server must still be left in good order.
        with following(self, trail):
            self._tasks.spawn(self._carry(page, _Discreet(server)), name=f"gateway: {page.name}")
        with context.while_connected(request, admission, page):
            return await page.serve()

    async def _carry(self, page: WebSocketEndpoint, server: Endpoint) -> None:
        try:
            report = await pipe(page, server, limits=self._limits, hub=self._hub)
            if report.failure is not None:
                logger.info("gateway: %s: %s", page.name, report.failure)
        finally:
            self._open.discard(page)

    async def aclose(self, reason: RelayError) -> None:
        """Close every page's connection, and leave every server."""
        await asyncio.gather(*(page.aclose(reason) for page in self._open))
        await self._tasks.join()


def _with_token_in_header(request: web.BaseRequest) -> web.BaseRequest:
    """Return a request whose token is in a header, although a browser can only put it into the address."""
    if (token := request.query.get("proxy_token")) is None:
        return request
    headers = CIMultiDict(request.headers)
    headers.add("X-Proxy-Token", token)
    return request.clone(headers=headers)


class _Discreet:
    """A server whose failures reach the page without their causes, which would let it map the network."""

    def __init__(self, server: Endpoint) -> None:
        self._server = server
        self._has_failed = False

    @property
    def name(self) -> str:
        return self._server.name

    async def receive(self) -> Sequence[Frame]:
        """Return the server's frames. Raises EndpointBroken once the server cannot be reached."""
        if self._has_failed:
            raise EndpointBroken(UNREACHABLE)
        try:
            frames = await self._server.receive()
        except RelayError as exc:
            raise self._failure(exc) from exc
        self._has_failed = any(isinstance(one, replies.OwnError) and one.is_unreached for one in frames)
        return [self._discreet(one) if isinstance(one, replies.OwnError) else one for one in frames]

    def _discreet(self, error: replies.OwnError) -> Frame:
        said = f"MCP server error: HTTP {error.status}" if error.status >= 400 else UNREACHABLE
        return replies.error(error.head.id, error.code, said, delivered=error.delivered)

    def _failure(self, exc: RelayError) -> EndpointBroken:
        logger.info("gateway: %s", exc)
        return EndpointBroken(UNREACHABLE)

    def call_at_end(self, callback: Callable[[], None]) -> None:
        self._server.call_at_end(callback)

    async def send(self, frames: Sequence[Frame]) -> None:
        try:
            await self._server.send(frames)
        except RelayError as exc:
            raise self._failure(exc) from exc

    async def send_eof(self) -> None:
        await self._server.send_eof()

    async def aclose(self, reason: RelayError | None = None) -> None:
        await self._server.aclose(reason)
