"""Listen for MCP clients over HTTP: Streamable HTTP and WebSocket at ``/mcp``, HTTP+SSE at ``/sse``, on one port.

This file carries requests between aiohttp and the sessions: every check before the body is looked at, the body within
its bounds, the answer as JSON or as a stream. What an answer is, and where a frame goes, the sessions decide.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, TypeAlias

import orjson
from aiohttp import http_parser, web
from multidict import MultiMapping

from relay.auth.origin import OriginPolicy
from relay.endpoints.http_checks import Checks, Refused
from relay.endpoints.http_connections import ConnectionServer
from relay.endpoints.http_server_lane import FastLane
from relay.endpoints.http_session import Exchange, HttpSession
from relay.endpoints.http_stream import EventStream, Stalled
from relay.endpoints.modern_clients import ModernClients
from relay.endpoints.sse_server import SseSession
from relay.errors import ConfigError, EndpointClosed
from relay.frames import replies
from relay.frames.frame import Frame, Head, Kind
from relay.frames.http_rules import (
    EVENT_STREAM,
    JSON,
    LAST_EVENT_ID,
    PROTOCOL_VERSION,
    SESSION_ID,
)
from relay.frames.modern import read_facts
from relay.frames.rename import Unnameable
from relay.frames.sse import KEEP_ALIVE, encode_event
from relay.limits import DEFAULT_LIMITS, Limits
from relay.routing.exchanges import IdInUse
from relay.routing.sessions import Sessions

if TYPE_CHECKING:
    from relay.endpoints.http_dial import Dial
    from relay.endpoints.http_pass import PassThrough
    from relay.endpoints.websocket import WebSocketEndpoint

__all__ = ["HttpListener"]

logger = logging.getLogger("relay")

MCP_PATH = "/mcp"
SSE_PATH = "/sse"
MESSAGES_PATH = "/messages/"

_STREAM_HEADERS = {
    "Content-Type": EVENT_STREAM,
    # Proxies that buffer or compress would hold events back (nginx: X-Accel-Buffering).
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}


AnySession = HttpSession | SseSession | ModernClients
AnyEndpoint: TypeAlias = "AnySession | WebSocketEndpoint"
"""What the listener yields: an endpoint for each session, and one for all clients that have none."""


@dataclass(slots=True)
class _Counts:
    connections: int = 0
    requests: int = 0
    refused: int = 0
    active_streams: int = 0


class HttpListener:
    """An HTTP server that yields one endpoint for each session."""

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        limits: Limits = DEFAULT_LIMITS,
        policy: OriginPolicy | None = None,
        status: Callable[[], dict[str, object]] | None = None,
        per_request: bool = False,
        server: Dial | None = None,
    ) -> None:
        """Listen on ``host``:``port`` (0: a free one) once ``start`` is called; ``status`` adds to ``/status``.

        ``per_request`` gives each request an endpoint of its own, in both eras: there are no sessions then.
        ``server`` speaks Streamable HTTP itself: what comes to ``/mcp`` is handed on to it, request by request.
        """
        self._host = host
        self._port = port
        self._limits = limits
        self._policy = policy or OriginPolicy(host)
        self._checks = Checks(limits, self._policy)
        self._status = status or (dict)
        self._sessions: Sessions[AnySession] = Sessions(limits.max_sessions)
        self._per_request = per_request
        self._pass = self._pass_to(server) if server is not None else None
        self._modern: ModernClients | None = None
        # Those too that have ended and may still give late answers.
        self._unclosed: weakref.WeakSet[AnyEndpoint] = weakref.WeakSet()
        self._offered: asyncio.Queue[AnyEndpoint | None] = asyncio.Queue()
        self._counts = _Counts()
        self._server: asyncio.Server | None = None
        self._http: ConnectionServer | None = None
        self._housekeeping: asyncio.Task[None] | None = None
        self.is_draining = False
        self.addresses: list[tuple[str, int]] = []

    def _pass_to(self, server: Dial) -> PassThrough:
        from relay.endpoints.http_pass import PassThrough

        return PassThrough(server, self._limits, self._checks)

    # Life.

    async def start(self) -> None:
        """Bind and accept connections. Raises ConfigError if the address cannot be had."""
        if not http_parser.HttpRequestParser.__module__.startswith("aiohttp._http_parser"):
            raise ConfigError(
                "aiohttp runs without its C parser, which is open to request smuggling; reinstall aiohttp"
            )
        limits = self._limits
        self._http = ConnectionServer(
            self.handle,
            self,
            max_connections=limits.max_connections,
            max_silence=limits.stall,
            handler_cancellation=True,
            keepalive_timeout=limits.header_deadline,
            lingering_time=limits.close_grace,
            access_log=None,
            auto_decompress=False,
            logger=logger,
        )
        loop = asyncio.get_running_loop()
        try:
            # The kernel drops, and resets later, what comes in one burst beyond this (or net.core.somaxconn).
            backlog = limits.max_connections
            self._server = await loop.create_server(self._http, self._host, self._port, backlog=backlog)
        except (OSError, OverflowError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
            raise ConfigError(f"cannot listen on {self._host}:{self._port}: {reason}") from exc
        self.addresses = [sock.getsockname()[:2] for sock in self._server.sockets]
        self._housekeeping = loop.create_task(self._tidy(), name="http listener: housekeeping")

    @property
    def url(self) -> str:
        """The address of the Streamable HTTP endpoint, as a client on this machine would write it."""
        return self.base_url + MCP_PATH

    @property
    def base_url(self) -> str:
        """Scheme, host and port."""
        host, port = self.addresses[0]
        if host in ("0.0.0.0", "::"):
            host = "127.0.0.1" if host == "0.0.0.0" else "::1"
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def __aiter__(self) -> AsyncIterator[AnyEndpoint]:
        """Yield each session when its first frame has come, and the clients that have none at their first."""
        while (session := await self._offered.get()) is not None:
            yield session

    async def drain(self, seconds: float) -> None:
        """Accept nothing new and wait until every request in flight has its answer, for at most ``seconds``."""
        self.is_draining = True
        if self._server is not None:
            self._server.close()
        if self._pass is not None:
            self._pass.end_subscriptions()
        for session in self._unclosed:
            if isinstance(session, ModernClients):
                session.end_subscriptions()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.in_flight:  # noqa: ASYNC110 - once in a relay's life
                    await asyncio.sleep(0.02)

    async def aclose(self) -> None:
        """Stop listening and close every connection; sessions that live get their end."""
        self.is_draining = True
        if self._housekeeping is not None:
            self._housekeeping.cancel()
            await asyncio.wait([self._housekeeping])
        if self._server is not None:
            self._server.close()
        if self._pass is not None:
            self._pass.close()
        for session in list(self._unclosed):
            await session.aclose(EndpointClosed("the relay is shutting down"))
        self._offered.put_nowait(None)
        if self._http is not None:
            self._http.pre_shutdown()  # connections that are idle end at once
            await self._http.shutdown(self._limits.close_grace)

    @property
    def in_flight(self) -> int:
        """Requests that wait for an answer, in all sessions."""
        handed_on = self._pass.in_flight if self._pass is not None else 0
        return handed_on + sum(session.in_flight for session in self._unclosed)

    async def _tidy(self) -> None:
        loop = asyncio.get_running_loop()
        period = min(1.0, self._limits.session_idle / 2)
        while True:
            await asyncio.sleep(period)
            now = loop.time()
            for session in self._sessions.expired(now, self._limits.session_idle):
                logger.info("%s: idle for %g s: closed", session.name, self._limits.session_idle)
                session.finish()
            for session in self._sessions:
                session.tidy(now)
            modern = self._modern
            if modern is not None and (since := modern.idle_since()) is not None:
                if now - since >= self._limits.session_idle:
                    modern.finish()

    # Requests.

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one HTTP request, whatever it is."""
        self._counts.requests += 1
        try:
            response = await self._dispatch(request)
        except Refused as exc:
            self._counts.refused += 1
            logger.info("http: %s %s: %d %s", request.method, request.path, exc.status, exc)
            response = self._refusal(exc)
            if not response.prepared and (cors := self._cors(request)):
                response.headers.update(cors)
        return response

    def _refusal(self, refused: Refused) -> web.Response:
        body = replies.error(refused.request_id, refused.code, str(refused), **refused.data).raw
        response = web.Response(status=refused.status, body=body, content_type=JSON, headers=refused.headers)
        if refused.headers.get("Connection") == "close":
            response.force_close()
        return response

    def _cors(self, request: web.BaseRequest, requested: str | None = None) -> dict[str, str]:
        return self._policy.cors_headers(request.headers.get("Origin"), requested)

    async def _dispatch(self, request: web.BaseRequest) -> web.StreamResponse:
        headers = request.headers
        self._checks.check_source(headers)
        path, method = request.path, request.method
        if method == "OPTIONS":
            return self._preflight(request)
        if path in (MCP_PATH, MCP_PATH + "/"):
            if method not in ("POST", "GET", "DELETE"):
                self._method_refused(method, "GET, POST, DELETE, OPTIONS")
            if method == "GET" and headers.get("Upgrade", "").strip().lower() == "websocket":
                return await self._upgrade(request)
            if self._pass is not None and not self._is_own(request, self._pass):
                return await self._hand_on(request, self._pass)
            if method == "POST":
                return await self._post(request)
            if method == "GET":
                return await self._get(request)
            return self._delete(request)
        if path == SSE_PATH:
            if method == "GET":
                return await self._open_sse(request)
            self._method_refused(method, "GET, OPTIONS")
        if path in (MESSAGES_PATH, MESSAGES_PATH.rstrip("/")):
            if method == "POST":
                return await self._post_message(request)
            self._method_refused(method, "POST, OPTIONS")
        if path in ("/health", "/status"):
            if method in ("GET", "HEAD"):
                return self._report(path)
            self._method_refused(method, "GET, HEAD, OPTIONS")
        raise Refused(404, f"nothing at {path}; MCP is at {MCP_PATH}, HTTP+SSE at {SSE_PATH}")

    def _method_refused(self, method: str, allowed: str) -> NoReturn:
        raise Refused(405, f"method {method} is not one of {allowed}", headers={"Allow": allowed})

    def _preflight(self, request: web.BaseRequest) -> web.Response:
        requested = request.headers.get("Access-Control-Request-Headers", "")
        return web.Response(
            status=204, headers=self._cors(request, requested) or {"Allow": "GET, POST, DELETE, OPTIONS"}
        )

    def _report(self, path: str) -> web.Response:
        if path == "/health":
            body: dict[str, object] = {"status": "draining" if self.is_draining else "healthy"}
            return web.Response(status=503 if self.is_draining else 200, body=orjson.dumps(body), content_type=JSON)
        body = {
            "sessions": len(self._sessions),
            "in_flight": self.in_flight,
            "connections": len(self._http.connections) if self._http is not None else 0,
            "requests": self._counts.requests,
            "refused": self._counts.refused,
            "active_sse_connections": self._counts.active_streams,
            "draining": self.is_draining,
            **self._status(),
        }
        return web.Response(body=orjson.dumps(body), content_type=JSON)

    # Streamable HTTP.

    async def _post(self, request: web.BaseRequest) -> web.StreamResponse:
        lane = request.protocol
        if isinstance(lane, FastLane) and (adopted := lane.adopt()) is not None:
            return await self._stream_answer(request, *adopted)
        headers = request.headers
        self._checks.check_post(headers)
        known = self._known(headers)
        async with self._turn_to_read(known, request):
            frame = self._checks.check_frame(await self._checks.read_body(request), known.version if known else None)
            answering = await self._take(request, known, frame)
        return await answering

    async def _take(
        self, request: web.BaseRequest, known: HttpSession | ModernClients | None, frame: Frame
    ) -> Awaitable[web.StreamResponse]:
        """Hand a frame to its session; return what waits for the answer."""
        headers = request.headers
        if self._per_request and frame.head.kind is not Kind.REQUEST:
            self._check_untold(headers, frame)
            return self._accepted(request)
        session = self._session_for(known, headers, frame)
        if isinstance(session, ModernClients) and (facts := read_facts(frame)) is not None:
            if await session.find_out(frame.head.method, facts):
                session = self._session_for(known, headers, frame)  # and checked again
        await session.wait_for_room(frame)
        if isinstance(session, ModernClients) and session.is_closing:
            session = self._session_for(known, headers, frame)  # the server has ended meanwhile: the next one's
        outcome: asyncio.Future[Frame | EventStream] = asyncio.get_running_loop().create_future()

        def decide(decided: Frame | EventStream) -> None:
            if not outcome.cancelled():  # else the client has left, and its task will say so when it runs
                outcome.set_result(decided)

        exchange = self._accept(session, frame, decide)
        return self._accepted(request) if exchange is None else self._answer(request, session, exchange, outcome)

    def _check_untold(self, headers: MultiMapping[str], frame: Frame) -> None:
        """Refuse what expects more than 202 where there is no server to tell it."""
        if self._checks.is_modern(headers):
            self._checks.check_modern(headers, frame, None)
        if frame.head.asks:
            fault = "each request has a server of its own here: POST them one by one"
            raise Refused(400, fault, code=replies.INVALID_REQUEST)

    async def _accepted(self, request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=202, headers=self._cors(request))

    def _is_own(self, request: web.BaseRequest, server: PassThrough) -> bool:
        """Tell whether a request is of a session that the listener began, not the server behind it.

        Before a server that speaks HTTP+SSE every session is, or was: those that have ended are not known any more.
        A POST can be tried on it; a GET would open a stream of HTTP+SSE.
        """
        session_id = request.headers.get(SESSION_ID)
        if session_id is None:
            return False
        return self._sessions.find(session_id) is not None or (server.is_elsewhere and request.method != "POST")

    async def _hand_on(self, request: web.BaseRequest, server: PassThrough) -> web.StreamResponse:
        from relay.endpoints.http_pass import Elsewhere

        cors = self._cors(request)
        if request.method != "POST":
            return await server.other(request, cors)
        self._checks.check_post(request.headers)
        async with server.turn_to_read(request) as turn:
            turn.frame = self._checks.check_frame(await self._checks.read_body(request), None)
            if self.is_draining and turn.frame.head.asks:  # what is in flight may wait for an answer of the client's
                raise self._draining(turn.frame.head)
            with contextlib.suppress(Elsewhere):
                return await server.post(request, turn, cors)
            answering = await self._take(request, None, turn.frame)
        return await answering

    def _known(self, headers: Mapping[str, str]) -> HttpSession | ModernClients | None:
        """Return what a POST belongs to as far as its headers tell; None if its body will."""
        if self._checks.is_modern(headers):
            return self._modern
        return self._find_session(headers) if SESSION_ID in headers and not self._per_request else None

    def _session_for(
        self, known: HttpSession | ModernClients | None, headers: MultiMapping[str], frame: Frame
    ) -> HttpSession | ModernClients:
        if isinstance(known, HttpSession):
            return known
        if self._checks.is_modern(headers) or self._checks.is_modern_frame(headers, frame):
            self._checks.check_modern(headers, frame, self._modern.server if self._modern else None)
            return self._for_one(frame.head) if self._per_request else self._modern_clients(frame.head)
        if self._per_request:
            return self._for_one(frame.head, headers.get(PROTOCOL_VERSION, "2025-03-26"))
        return self._begin_session(frame.head)

    def _modern_clients(self, head: Head) -> ModernClients:
        """Return the endpoint of all clients of 2026-07-28."""
        if self._modern is None or self._modern.is_closing:
            if self.is_draining:
                raise self._draining(head)
            self._modern = ModernClients(self._limits, self._forget_modern)
            self._unclosed.add(self._modern)
            self._offered.put_nowait(self._modern)
        return self._modern

    def _for_one(self, head: Head, version: str | None = None) -> ModernClients:
        """Return an endpoint for one request; ``version`` is that of a request whose server must be greeted first."""
        if self.is_draining:
            raise self._draining(head)
        self._check_room(head)
        session = ModernClients(self._limits, self._sessions.remove)
        session.takes_one = True
        session.greeting = None if head.method == "initialize" else version
        self._sessions.add(session)
        self._unclosed.add(session)
        self._offered.put_nowait(session)
        return session

    def _forget_modern(self, modern: ModernClients) -> None:
        if self._modern is modern:
            self._modern = None

    @contextlib.asynccontextmanager
    async def _turn_to_read(self, session: AnySession | None, request: web.BaseRequest) -> AsyncIterator[None]:
        """Let only so many small bodies wait for a server that does not read; leave large ones in the network.

        A session is None where one is about to begin: it has no server yet that could be slow.
        """
        length = request.content_length
        if session is None:
            yield
        elif length is not None and length <= self._limits.buffer_low:
            if session.waiting >= session.max_in_flight:
                raise Refused(503, f"{session.waiting} messages wait for the server already")
            yield
        else:
            async with session.large_body:
                await session.wait_for_room()
                yield

    def accept_at_once(self, lane: FastLane, headers: MultiMapping[str], body: bytes) -> bool:
        """Check a POST by the same rules as any other and hand it to its session; False where those say more.

        What is refused, begins a session, comes from a browser or meets a full inbox goes the ordinary way, which
        finds the same and says so.
        """
        if "Origin" in headers or len(body) > self._limits.max_frame_bytes:
            return False
        if self._pass is not None and self._sessions.find(headers.get(SESSION_ID, "")) is None:
            return False  # it is for the server to answer
        try:
            self._checks.check_source(headers)
            self._checks.check_post(headers)
            session = self._known(headers)
            if session is None:
                return False
            frame = self._checks.check_frame(body, session.version)
            if isinstance(session, ModernClients):
                facts = self._checks.check_modern(headers, frame, session.server)
                if facts is not None and session.server.question(frame.head.method, facts) is not None:
                    return False
            if session.inbox.is_paused:
                return False
            exchange = self._accept(session, frame, lane.answered)
        except Refused:
            return False
        self._counts.requests += 1
        if exchange is None:
            lane.accepted()
        else:
            lane.expect(session, exchange)
        return True

    def _accept(
        self, session: HttpSession | ModernClients, frame: Frame, on_outcome: Callable[[Frame | EventStream], None]
    ) -> Exchange | None:
        head = frame.head
        if head.kind is not Kind.NOTIFICATION and head.kind is not Kind.RESPONSE:
            self._check_load(session, head)
        try:
            return session.accept(frame, on_outcome)
        except (IdInUse, Unnameable) as exc:
            raise Refused(400, str(exc), code=replies.INVALID_REQUEST, request_id=head.id) from exc
        except EndpointClosed as exc:
            raise Refused(404, "the session has ended; begin a new one with initialize", request_id=head.id) from exc

    def _check_load(self, session: AnySession, head: Head) -> None:
        if self.is_draining:
            raise self._draining(head)
        if session.in_flight + len(head.messages) > session.max_in_flight:
            raise Refused(503, f"{session.max_in_flight} requests are in flight already", request_id=head.id)

    def _find_session(self, headers: Mapping[str, str]) -> HttpSession:
        session_id = headers.get(SESSION_ID)
        if self._per_request or (session_id is None and self._checks.is_modern(headers)):
            raise Refused(405, "there are no sessions here: POST each request", headers={"Allow": "POST, OPTIONS"})
        if session_id is None:
            raise Refused(400, f"no {SESSION_ID} header; a session begins with initialize")
        session = self._sessions.find(session_id)
        if not isinstance(session, HttpSession) or session.is_closing:
            raise Refused(404, "no such session: expired, ended or never begun; begin a new one with initialize")
        self._checks.check_version(headers, session.version)
        return session

    def _begin_session(self, head: Head) -> HttpSession:
        if head.method != "initialize" or head.kind is not Kind.REQUEST:
            raise Refused(400, f"no {SESSION_ID} header; a session begins with initialize", request_id=head.id)
        if self.is_draining:
            raise self._draining(head)
        self._check_room(head)
        session = HttpSession(self._limits, self._sessions.publish, self._sessions.remove)
        self._sessions.add(session)
        self._unclosed.add(session)
        self._offered.put_nowait(session)
        return session

    def _check_room(self, head: Head | None = None) -> None:
        if self._sessions.is_full:
            raise Refused(
                429,
                f"{self._limits.max_sessions} sessions are open already; --max-sessions admits more",
                request_id=head.id if head else None,
                headers={"Retry-After": "5"},
            )

    def _draining(self, head: Head) -> Refused:
        return Refused(503, "the relay is shutting down", request_id=head.id, headers={"Connection": "close"})

    async def _answer(
        self,
        request: web.BaseRequest,
        session: HttpSession | ModernClients,
        exchange: Exchange,
        decided: asyncio.Future[Frame | EventStream],
    ) -> web.StreamResponse:
        timer = asyncio.get_running_loop().call_later(session.answer_wait, session.begin_stream, exchange)
        try:
            outcome = await decided
        except asyncio.CancelledError:
            session.abandon(exchange)
            raise
        finally:
            timer.cancel()
        if not isinstance(outcome, Frame):
            return await self._stream_answer(request, session, exchange, outcome)
        headers = {**self._cors(request), **session.answer_headers}
        return web.Response(status=session.status_of(outcome), body=outcome.raw, content_type=JSON, headers=headers)

    async def _stream_answer(
        self, request: web.BaseRequest, session: HttpSession | ModernClients, exchange: Exchange, stream: EventStream
    ) -> web.StreamResponse:
        """Answer with the stream of an exchange."""
        try:
            return await self._stream(request, stream, {**self._cors(request), **session.stream_headers})
        finally:
            session.reader_left(exchange)

    async def _get(self, request: web.BaseRequest) -> web.StreamResponse:
        self._checks.check_accept(request.headers, EVENT_STREAM)
        session = self._find_session(request.headers)
        session.touch()
        headers = self._cors(request)
        headers[SESSION_ID] = session.id
        last_event_id = request.headers.get(LAST_EVENT_ID)
        if last_event_id is None:
            return await self._stream(request, session.standalone_stream(), headers)
        found = session.find_stream(last_event_id)
        if found is None:
            raise Refused(400, f"event {last_event_id!r} is not kept (any more): its stream cannot be resumed")
        stream, number = found
        return await self._stream(request, stream, headers, after=number)

    async def _upgrade(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer with a WebSocket, whose end is the session's."""
        if self.is_draining:
            raise Refused(503, "the relay is shutting down", headers={"Connection": "close"})
        self._check_room()
        from relay.endpoints.websocket import accept_websocket  # 9 ms of start-up, which few need

        endpoint = await accept_websocket(request, self._limits)
        self._unclosed.add(endpoint)
        self._offered.put_nowait(endpoint)
        return await endpoint.serve()

    def _delete(self, request: web.BaseRequest) -> web.Response:
        session = self._find_session(request.headers)
        session.finish()
        return web.Response(status=200, headers=self._cors(request))

    async def _stream(
        self,
        request: web.BaseRequest,
        stream: EventStream,
        headers: dict[str, str],
        *,
        after: int | None = None,
        first: bytes | None = None,
    ) -> web.StreamResponse:
        """Answer with an SSE stream until it ends, its client leaves or stalls, or another connection takes it over."""
        response = web.StreamResponse(headers={**_STREAM_HEADERS, **headers})
        self._counts.active_streams += 1
        try:
            await response.prepare(request)
            await response.write(first or KEEP_ALIVE)
            await stream.feed(response.write, after=after)
            await response.write_eof()
        except Stalled:
            logger.warning("http: a client left its stream unread for %g s: connection closed", self._limits.stall)
            self._abort(request)
        except (ConnectionError, OSError) as exc:
            logger.debug("http: a client left its stream: %s", exc)
        finally:
            stream.stop_awaiting()
            self._counts.active_streams -= 1
        return response

    def _abort(self, request: web.BaseRequest) -> None:
        if request.transport is not None:
            request.transport.abort()

    # HTTP+SSE of 2024-11-05.

    async def _open_sse(self, request: web.BaseRequest) -> web.StreamResponse:
        self._checks.check_accept(request.headers, EVENT_STREAM)
        if self.is_draining:
            raise Refused(503, "the relay is shutting down", headers={"Connection": "close"})
        self._check_room()
        session = SseSession(self._limits, self._sessions.remove)
        self._sessions.add(session)
        self._unclosed.add(session)
        self._sessions.publish(session)
        address = f"{MESSAGES_PATH}?session_id={session.id}".encode()
        try:
            return await self._stream(
                request, session.stream, self._cors(request), first=encode_event(address, event=b"endpoint")
            )
        finally:
            session.finish()

    async def _post_message(self, request: web.BaseRequest) -> web.StreamResponse:
        self._checks.check_content(request.headers)
        session_id = request.query.get("session_id")
        if session_id is None:
            raise Refused(400, "no session_id in the query; it comes with the endpoint event of the SSE stream")
        session = self._sessions.find(session_id)
        if not isinstance(session, SseSession) or session.is_closing:
            raise Refused(404, "no such session: its stream has ended, or never was; begin a new one at " + SSE_PATH)
        async with self._turn_to_read(session, request):
            frame = self._checks.check_frame(await self._checks.read_body(request), None)
            await session.wait_for_room(frame)
            self._accept_message(session, frame)
        return web.Response(status=202, text="Accepted", headers=self._cors(request))

    def _accept_message(self, session: SseSession, frame: Frame) -> None:
        head = frame.head
        is_first = not session.is_initialized
        if head.kind is Kind.REQUEST or head.kind is Kind.BATCH:
            self._check_load(session, head)
            if is_first and head.method != "initialize":
                raise Refused(400, "a session begins with initialize", request_id=head.id)
        try:
            session.accept(frame)
        except IdInUse as exc:
            raise Refused(400, str(exc), code=replies.INVALID_REQUEST, request_id=head.id) from exc
        except EndpointClosed as exc:
            raise Refused(404, "the session has ended; begin a new one at " + SSE_PATH, request_id=head.id) from exc
        if is_first and session.is_initialized:
            self._offered.put_nowait(session)
