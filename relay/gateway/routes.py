"""What the listener of a gateway serves: ``POST /proxy``, WebSocket at ``/ws``, and a banner at ``/``.

The gate has admitted the page, and read the call, before anything here runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import orjson
from aiohttp import web

from relay.endpoints.core.hops import Trail, new_mark
from relay.endpoints.http import paths
from relay.endpoints.http.decisions import Accept, Admission, BodyWanted, Decision, Purpose, Refused
from relay.endpoints.http.media import JSON
from relay.endpoints.http.server.bodies import body_of
from relay.errors import ConfigError, EndpointClosed, RelayError
from relay.frames import replies
from relay.frames.frame import Frame
from relay.frames.ids import Unnameable, with_id, with_spelling
from relay.gateway.answers import UNREACHABLE, Answering, detail_body, takes_json, takes_stream
from relay.gateway.sockets import PageSockets
from relay.gateway.targets import CALLED, check_server
from relay.gateway.upstream import Refusal
from relay.gateway.upstreams import Upstreams
from relay.mcp.facts import read_facts
from relay.observe.hub import Hub
from relay.routing.open_table import LISTEN

if TYPE_CHECKING:
    from relay.endpoints.core.dialling import DiallingOptions
    from relay.endpoints.core.egress import EgressGuard
    from relay.endpoints.http.proxied_call import ProxiedCall
    from relay.endpoints.http.server.context import ListenerContext
    from relay.endpoints.http.server.stream import EventStream
    from relay.endpoints.http.views import RequestHead
    from relay.endpoints.http.walk import Walk
    from relay.gateway.upstream import Upstream

__all__ = ["Gateway"]

_PURPOSES = {paths.BANNER: Purpose.BANNER, paths.PROXY: Purpose.PROXY, paths.PROXY_SOCKET: Purpose.PROXY_SOCKET}


class Gateway:
    """The routes of a gateway on one listener."""

    is_leaving = False
    """Whether it takes no new requests; the listener says so before it ends."""
    places = "calls are at POST /proxy, WebSocket is at /ws"

    def __init__(
        self, guard: EgressGuard, options: DiallingOptions, version: str, *, timeout: float, session_idle: float
    ) -> None:
        """Dial with ``options``, which hold ``guard``.

        ``version`` is the program's. A call may take ``timeout`` seconds; a session with a server ends after
        ``session_idle`` seconds without a call.
        """
        self.guard = guard
        self.mark = new_mark()
        self._banner = orjson.dumps({"name": "MCP Proxy Server", "version": version, "status": "running"})
        self._options = options
        self._timeout = timeout
        self.hub = Hub()
        self._upstreams = Upstreams(options, self.hub, idle=session_idle)
        self._sockets: PageSockets | None = None
        self._answering: Answering | None = None
        self._context: ListenerContext | None = None

    def attach(self, context: ListenerContext) -> None:
        """Serve the pages of a listener."""
        self._context = context
        context.refusal_body = detail_body
        self._answering = Answering(context, self._timeout)
        self._sockets = PageSockets(context, self.guard, self._options, self.hub)

    def begin(self, addresses: Sequence[tuple[str, int]]) -> None:
        """Never dial these addresses: the listener's own."""
        self.guard.own_ports = {port for _, port in addresses}

    def purpose_of(self, request: RequestHead) -> Purpose | None:
        """Return the purpose of a request to a path of the gateway's; None for other paths."""
        return _PURPOSES.get(request.path)

    def fault_of_server(self, url: str) -> str | None:
        """Return why the gateway does not call the server at this URL; None if it may."""
        try:
            check_server(self.guard, url, CALLED)
        except ConfigError as exc:
            return str(exc)
        return None

    async def carry_out(self, request: web.BaseRequest, walk: Walk, decision: Decision) -> web.StreamResponse:
        """Carry out the gate's decision about a request's head. Raises Refused."""
        assert self._context is not None and self._sockets is not None, "attached"
        now = self.hub.touched = asyncio.get_running_loop().time()
        if walk.purpose is Purpose.BANNER:
            headers = self._context.cors(request.headers)
            return web.Response(body=self._banner, content_type=JSON, headers=headers)
        if walk.purpose is Purpose.PROXY_SOCKET:
            return await self._sockets.serve(request, self._trail_of(request))
        assert isinstance(decision, BodyWanted), "a call has a body"
        async with body_of(request, walk, decision, self._context) as body:
            decided = self._context.gate.decide(walk, now, body)
            del body
        self._context.gate.let_go(walk)
        if isinstance(decided, Refused):
            raise decided
        assert isinstance(decided, Accept) and decided.admission is not None, "the gate has read the call"
        return await self._call(request, walk.call, decided.admission)

    def _trail_of(self, request: web.BaseRequest) -> Trail:
        trail = Trail(self.mark)
        trail.lead_here(request.headers)
        return trail

    # Calls.

    async def _call(self, request: web.BaseRequest, call: ProxiedCall, admission: Admission) -> web.StreamResponse:
        assert self._answering is not None, "attached"
        method, trail, principal = call.frame.head.method, self._trail_of(request), admission.principal
        is_endless = method == LISTEN and takes_stream(request.headers)
        deadline = None if is_endless else asyncio.get_running_loop().time() + self._timeout
        try:
            if method == "initialize" and not call.is_modern:
                async with asyncio.timeout_at(deadline):
                    answer = await self._initialize(call, principal, trail)
                return await self._answering.write(request, answer)
            async with self._upstreams.using(principal, call, trail) as upstream:
                async with asyncio.timeout_at(deadline):
                    await upstream.make_ready()
                    frame = upstream.frame_of(call)
                    if (facts := read_facts(frame)) is not None:
                        await upstream.calls.find_out(method, facts)
                return await self._ask(request, admission, upstream, call, frame, deadline)
        except TimeoutError:
            raise Refused(504, self._answering.too_late) from None
        except Refusal as exc:
            if isinstance(exc.answer, replies.OwnError):
                return await self._answering.write(request, exc.answer)
            return await self._answering.write(request, _home(exc.answer, call))
        except ConfigError as exc:
            raise Refused(400, f"Invalid MCP server URL: {exc}") from None
        except RelayError:
            raise Refused(502, UNREACHABLE) from None

    async def _ask(
        self,
        request: web.BaseRequest,
        admission: Admission,
        upstream: Upstream,
        call: ProxiedCall,
        frame: Frame,
        deadline: float | None,
    ) -> web.StreamResponse:
        """Send a call to a server that is ready, and answer with what it says. Raises Refused."""
        assert self._answering is not None and self._context is not None, "attached"
        decided: asyncio.Future[Frame | EventStream] = asyncio.get_running_loop().create_future()

        def decide(outcome: Frame | EventStream) -> None:
            if not decided.done():
                decided.set_result(outcome)

        if frame.head.method == "notifications/initialized":
            exchange = None  # the relay has said so
        else:
            try:
                exchange = upstream.calls.call(frame, decide, call, takes_stream=takes_stream(request.headers))
            except Unnameable as exc:
                raise Refused(422, f"params: {exc}") from None
        if exchange is None:
            return web.Response(status=202, headers=self._context.cors(request.headers))
        if not takes_json(request.headers):
            upstream.calls.begin_stream(exchange)
        return await self._answering.answer(request, upstream.calls, exchange, decided, admission, deadline=deadline)

    async def _initialize(self, call: ProxiedCall, principal: str, trail: Trail) -> Frame:
        """Begin a session with a page's own handshake, which replaces the one in use. Raises RelayError."""
        upstream = self._upstreams.dial(call, trail)
        try:
            answer = await upstream.initialize(call.frame)
        except BaseException:
            self._upstreams.discard(upstream)
            raise
        if upstream.is_over:
            self._upstreams.discard(upstream)
        else:
            self._upstreams.keep(principal, call, upstream)
        return answer if isinstance(answer, replies.OwnError) else _home(answer, call)

    # Life.

    def tidy(self, now: float) -> None:
        """Leave servers that no page has used for too long."""
        self._upstreams.tidy(now)

    async def drain(self, seconds: float) -> None:
        """Wait for at most ``seconds`` until every call has its answer."""
        self.is_leaving = True
        self._upstreams.end_subscriptions()
        deadline = asyncio.get_running_loop().time() + seconds
        while self._upstreams.in_flight and asyncio.get_running_loop().time() < deadline:  # noqa: ASYNC110 - once in its life
            await asyncio.sleep(0.02)

    async def aclose(self) -> None:
        """Leave every server, and every page."""
        self.is_leaving = True
        if self._sockets is not None:
            await self._sockets.aclose(EndpointClosed("the relay is shutting down"))
        await self._upstreams.aclose()


def _home(answer: Frame, call: ProxiedCall) -> Frame:
    """Return the answer to the relay's handshake, or to the page's, under the page's id."""
    request_id = call.frame.head.id
    if call.spelling is not None:
        return with_spelling(answer, call.spelling)
    return answer if request_id is None or answer.head.id == request_id else with_id(answer, request_id)
