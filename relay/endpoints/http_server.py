"""Listen for MCP clients over HTTP: Streamable HTTP at ``/mcp`` and HTTP+SSE at ``/sse`` on one port.

This file carries requests between aiohttp and the sessions: every check before the body is looked at, the body within
its bounds, the answer as JSON or as a stream. What an answer is, and where a frame goes, the sessions decide.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import weakref
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

import orjson
from aiohttp import http_parser, web

from relay.auth.origin import OriginPolicy
from relay.endpoints.http_server_lane import FastLane
from relay.endpoints.http_session import Exchange, HttpSession, SseSession
from relay.endpoints.http_stream import EventStream, Stalled
from relay.errors import ConfigError, EndpointClosed
from relay.frames import replies
from relay.frames.frame import Frame, Head, Kind, repeated_key
from relay.frames.http_rules import (
    EVENT_STREAM,
    JSON,
    LAST_EVENT_ID,
    LEGACY_VERSIONS,
    PROTOCOL_VERSION,
    SESSION_ID,
    accepts,
    has_batches,
    media_type,
)
from relay.frames.sse import KEEP_ALIVE, encode_event
from relay.limits import DEFAULT_LIMITS, Limits
from relay.routing.exchanges import IdInUse
from relay.routing.sessions import Sessions

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
_KEEPALIVE_PROBES = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))


class Refused(Exception):
    """A request that is answered with a 4xx or 5xx status and a JSON-RPC error."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: int = replies.REFUSED,
        request_id: str | int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        """Say ``message`` to the client, for the request with this id if one is known."""
        super().__init__(message)
        self.status = status
        self.code = code
        self.request_id = request_id
        self.headers = dict(headers or {})


@dataclass(slots=True)
class _Counts:
    connections: int = 0
    requests: int = 0
    refused: int = 0
    active_streams: int = 0


class _Connection(FastLane):
    """A connection that says no in one line of the log and a JSON-RPC error, whatever aiohttp stumbled over."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is not proper HTTP, or what we failed at, and close the connection."""
        if status < 500:
            logger.info("http: %s: %d %s", request.remote, status, message or "a malformed request")
        else:
            logger.error("http: %s %s: unexpected %s", request.method, request.path, type(exc).__name__, exc_info=exc)
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun")
        said = "the request is not proper HTTP" if status < 500 else "the relay failed at this request"
        response = web.Response(status=status, body=replies.error(None, replies.REFUSED, said).raw, content_type=JSON)
        response.force_close()
        return response


class _Server(web.Server):
    """aiohttp's server with a cap on connections, which it lacks."""

    def __init__(self, listener: HttpListener, max_connections: int, **kwargs: Any) -> None:
        super().__init__(listener.handle, **kwargs)
        self._rules = listener
        self._max_connections = max_connections

    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=self._loop, rules=self._rules, **self._kwargs)

    def connection_made(self, handler: Any, transport: asyncio.Transport) -> None:
        super().connection_made(handler, transport)
        if len(self.connections) > self._max_connections:
            transport.write(b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
            transport.close()
            return
        _detect_dead_peer(transport.get_extra_info("socket"), self._max_silence)

    _max_silence = 30.0


def _detect_dead_peer(sock: Any, silence: float) -> None:
    """Let the kernel find out that a client is gone: half-open connections would keep their sessions for ever."""
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE_PROBES:
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(silence * 1000))


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
    ) -> None:
        """Listen on ``host``:``port`` (0: a free one) once ``start`` is called; ``status`` adds to ``/status``."""
        self._host = host
        self._port = port
        self._limits = limits
        self.answer_wait = limits.answer_wait
        self._policy = policy or OriginPolicy(host)
        self._status = status or (dict)
        self._sessions: Sessions[HttpSession | SseSession] = Sessions(limits.max_sessions)
        # Those too that have ended and may still give late answers.
        self._unclosed: weakref.WeakSet[HttpSession | SseSession] = weakref.WeakSet()
        self._offered: asyncio.Queue[HttpSession | SseSession | None] = asyncio.Queue()
        self._counts = _Counts()
        self._server: asyncio.Server | None = None
        self._http: _Server | None = None
        self._housekeeping: asyncio.Task[None] | None = None
        self.is_draining = False
        self.addresses: list[tuple[str, int]] = []

    # Life.

    async def start(self) -> None:
        """Bind and accept connections. Raises ConfigError if the address cannot be had."""
        if not http_parser.HttpRequestParser.__module__.startswith("aiohttp._http_parser"):
            raise ConfigError(
                "aiohttp runs without its C parser, which is open to request smuggling; reinstall aiohttp"
            )
        limits = self._limits
        self._http = _Server(
            self,
            limits.max_connections,
            handler_cancellation=True,
            keepalive_timeout=limits.header_deadline,
            lingering_time=limits.close_grace,
            access_log=None,
            auto_decompress=False,
            logger=logger,
        )
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(self._http, self._host, self._port, backlog=1024)
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

    async def __aiter__(self) -> AsyncIterator[HttpSession | SseSession]:
        """Yield each session when its first frame has come."""
        while (session := await self._offered.get()) is not None:
            yield session

    async def drain(self, seconds: float) -> None:
        """Accept nothing new and wait until every request in flight has its answer, for at most ``seconds``."""
        self.is_draining = True
        if self._server is not None:
            self._server.close()
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
        for session in list(self._unclosed):
            await session.aclose(EndpointClosed("the relay is shutting down"))
        self._offered.put_nowait(None)
        if self._http is not None:
            self._http.pre_shutdown()  # connections that are idle end at once
            await self._http.shutdown(self._limits.close_grace)

    @property
    def in_flight(self) -> int:
        """Requests that wait for an answer, in all sessions."""
        return sum(len(session.exchanges) for session in self._sessions)

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
        body = replies.error(refused.request_id, refused.code, str(refused)).raw
        response = web.Response(status=refused.status, body=body, content_type=JSON, headers=refused.headers)
        if refused.headers.get("Connection") == "close":
            response.force_close()
        return response

    def _cors(self, request: web.BaseRequest, requested: str | None = None) -> dict[str, str]:
        return self._policy.cors_headers(request.headers.get("Origin"), requested)

    async def _dispatch(self, request: web.BaseRequest) -> web.StreamResponse:
        headers = request.headers
        self._check_source(headers)
        path, method = request.path, request.method
        if method == "OPTIONS":
            return self._preflight(request)
        if path in (MCP_PATH, MCP_PATH + "/"):
            if method == "POST":
                return await self._post(request)
            if method == "GET":
                return await self._get(request)
            if method == "DELETE":
                return self._delete(request)
            self._method_refused(method, "GET, POST, DELETE, OPTIONS")
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

    def _check_source(self, headers: Mapping[str, str]) -> None:
        """Refuse what a web page sent, or a name that is not ours, before anything else is looked at."""
        host = headers.get("Host")
        if not self._policy.admits_host(host):
            raise Refused(421, f"host {host!r} is not served here; --allowed-host adds one")
        origin = headers.get("Origin")
        if not self._policy.admits_origin(origin, headers.get("Sec-Fetch-Site")):
            raise Refused(403, f"origin {origin!r} may not use this server; --allow-origin adds one")

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
            session, stream = adopted
            return await self._stream(request, stream, {SESSION_ID: session.id, **self._cors(request)})
        headers = request.headers
        self._check_post(headers)
        known = self._find_session(headers) if SESSION_ID in headers else None
        outcome: asyncio.Future[Frame | EventStream] = asyncio.get_running_loop().create_future()
        async with self._turn_to_read(known, request):
            frame = self._check_frame(await self._read_body(request), known.version if known else None)
            session = known or self._begin_session(frame.head)
            await session.wait_for_room(frame)
            exchange = self._accept(session, frame, outcome.set_result)
        if exchange is None:
            return web.Response(status=202, headers=self._cors(request))
        return await self._answer(request, session, exchange, outcome)

    @contextlib.asynccontextmanager
    async def _turn_to_read(
        self, session: HttpSession | SseSession | None, request: web.BaseRequest
    ) -> AsyncIterator[None]:
        """Let only so many small bodies wait for a server that does not read; leave large ones in the network.

        A session is None where one is about to begin: it has no server yet that could be slow.
        """
        length = request.content_length
        if session is None:
            yield
        elif length is not None and length <= self._limits.buffer_low:
            if session.waiting >= self._limits.max_in_flight:
                raise Refused(503, f"{session.waiting} messages wait for the server already")
            yield
        else:
            async with session.large_body:
                await session.wait_for_room()
                yield

    def accept_at_once(self, lane: FastLane, headers: Mapping[str, str], body: bytes) -> bool:
        """Check a POST by the same rules as any other and hand it to its session; False where those say more.

        What is refused, begins a session, comes from a browser or meets a full inbox goes the ordinary way, which
        finds the same and says so.
        """
        if "Origin" in headers or len(body) > self._limits.max_frame_bytes:
            return False
        try:
            self._check_source(headers)
            self._check_post(headers)
            session = self._find_session(headers)
            frame = self._check_frame(body, session.version)
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
        self, session: HttpSession, frame: Frame, on_outcome: Callable[[Frame | EventStream], None]
    ) -> Exchange | None:
        head = frame.head
        if head.kind is not Kind.NOTIFICATION and head.kind is not Kind.RESPONSE:
            self._check_load(session, head)
        try:
            return session.accept(frame, on_outcome)
        except IdInUse as exc:
            raise Refused(400, str(exc), code=replies.INVALID_REQUEST, request_id=head.id) from exc
        except EndpointClosed as exc:
            raise Refused(404, "the session has ended; begin a new one with initialize", request_id=head.id) from exc

    def _check_load(self, session: HttpSession | SseSession, head: Head) -> None:
        if self.is_draining:
            raise self._draining(head)
        if len(session.exchanges) + len(head.messages) > self._limits.max_in_flight:
            raise Refused(503, f"{self._limits.max_in_flight} requests are in flight already", request_id=head.id)

    def _check_post(self, headers: Mapping[str, str]) -> None:
        content_type = headers.get("Content-Type")
        if media_type(content_type) != JSON:
            raise Refused(415, f"content type {content_type!r} is not {JSON}")
        encoding = headers.get("Content-Encoding", "identity")
        if encoding.lower() != "identity":
            raise Refused(415, f"content encoding {encoding!r} is not identity")
        accept = headers.get("Accept")
        if not (accepts(accept, JSON) and accepts(accept, EVENT_STREAM)):
            raise Refused(406, f"accept {accept!r} must list both {JSON} and {EVENT_STREAM}")

    def _find_session(self, headers: Mapping[str, str]) -> HttpSession:
        session_id = headers.get(SESSION_ID)
        if session_id is None:
            raise Refused(400, f"no {SESSION_ID} header; a session begins with initialize")
        session = self._sessions.find(session_id)
        if not isinstance(session, HttpSession) or session.is_closing:
            raise Refused(404, "no such session: expired, ended or never begun; begin a new one with initialize")
        version = headers.get(PROTOCOL_VERSION)
        if version is not None and version != session.version and version not in LEGACY_VERSIONS:
            known = ", ".join(LEGACY_VERSIONS)
            raise Refused(
                400, f"{PROTOCOL_VERSION} {version!r} is not the session's {session.version!r}, nor one of {known}"
            )
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

    def _check_frame(self, raw: bytes, version: str | None) -> Frame:
        """See that a body is one frame that may come here. Raises Refused."""
        frame = Frame(raw)
        # Cheap for nearly all: a frame must be some size before its nodes can hold the loop.
        if len(raw) > self._limits.max_json_nodes and raw.count(b"{") + raw.count(b"[") > self._limits.max_json_nodes:
            raise Refused(
                413, f"more than {self._limits.max_json_nodes} JSON arrays and objects", code=replies.TOO_LARGE
            )
        if not raw.isascii():
            try:
                raw.decode()
            except UnicodeDecodeError as exc:
                raise Refused(400, f"the body is not UTF-8: {exc.reason}", code=replies.PARSE_ERROR) from exc
        head = frame.read_whole()
        if head.kind is Kind.INVALID:
            code = replies.INVALID_REQUEST if head.is_json else replies.PARSE_ERROR
            raise Refused(400, f"not a JSON-RPC message: {head.fault}", code=code, request_id=head.id)
        if (key := repeated_key(frame)) is not None:
            raise Refused(400, f"the key {key!r} stands twice", code=replies.INVALID_REQUEST)
        if head.kind is Kind.BATCH:
            self._check_batch(head, version)
        return frame

    def _check_batch(self, head: Head, version: str | None) -> None:
        if not has_batches(version):
            raise Refused(400, f"batches are not part of {version}", code=replies.INVALID_REQUEST)
        if len(head.members) > self._limits.max_batch:
            raise Refused(
                413, f"a batch of {len(head.members)}; at most {self._limits.max_batch}", code=replies.TOO_LARGE
            )
        if any(member.method == "initialize" for member in head.members):
            raise Refused(400, "initialize must not be part of a batch", code=replies.INVALID_REQUEST)

    async def _read_body(self, request: web.BaseRequest) -> bytes:
        limit = self._limits.max_frame_bytes
        length = request.content_length
        if length is not None and length > limit:
            raise self._too_large(length)
        pieces: list[bytes] = []
        size = 0
        began = asyncio.get_running_loop().time() + self._limits.body_deadline
        try:
            async with asyncio.timeout_at(began) as deadline:
                async for piece in request.content.iter_any():
                    size += len(piece)
                    deadline.reschedule(began + size / 65536)
                    if size > limit:
                        raise self._too_large(size)
                    pieces.append(piece)
        except TimeoutError:
            raise Refused(408, "the body took too long", headers={"Connection": "close"}) from None
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _too_large(self, size: int) -> Refused:
        return Refused(
            413,
            f"a body of {size} bytes or more; at most {self._limits.max_frame_bytes}, see --max-frame-bytes",
            code=replies.TOO_LARGE,
            headers={"Connection": "close"},
        )

    async def _answer(
        self,
        request: web.BaseRequest,
        session: HttpSession,
        exchange: Exchange,
        decided: asyncio.Future[Frame | EventStream],
    ) -> web.StreamResponse:
        headers = self._cors(request)
        timer = asyncio.get_running_loop().call_later(self._limits.answer_wait, session.begin_stream, exchange)
        try:
            outcome = await decided
        except asyncio.CancelledError:
            session.abandon(exchange)
            raise
        finally:
            timer.cancel()
        is_initialized = session.is_initialized
        if is_initialized or not isinstance(outcome, Frame):
            headers[SESSION_ID] = session.id
        if isinstance(outcome, Frame):
            return web.Response(body=outcome.raw, content_type=JSON, headers=headers)
        try:
            return await self._stream(request, outcome, headers)
        finally:
            if not is_initialized:
                session.abandon(exchange)

    async def _get(self, request: web.BaseRequest) -> web.StreamResponse:
        accept = request.headers.get("Accept")
        if not accepts(accept, EVENT_STREAM):
            raise Refused(406, f"accept {accept!r} must list {EVENT_STREAM}")
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
            self._counts.active_streams -= 1
        return response

    def _abort(self, request: web.BaseRequest) -> None:
        if request.transport is not None:
            request.transport.abort()

    # HTTP+SSE of 2024-11-05.

    async def _open_sse(self, request: web.BaseRequest) -> web.StreamResponse:
        accept = request.headers.get("Accept")
        if not accepts(accept, EVENT_STREAM):
            raise Refused(406, f"accept {accept!r} must list {EVENT_STREAM}")
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
        content_type = request.headers.get("Content-Type")
        if media_type(content_type) != JSON:
            raise Refused(415, f"content type {content_type!r} is not {JSON}")
        session_id = request.query.get("session_id")
        if session_id is None:
            raise Refused(400, "no session_id in the query; it comes with the endpoint event of the SSE stream")
        session = self._sessions.find(session_id)
        if not isinstance(session, SseSession) or session.is_closing:
            raise Refused(404, "no such session: its stream has ended, or never was; begin a new one at " + SSE_PATH)
        async with self._turn_to_read(session, request):
            frame = self._check_frame(await self._read_body(request), None)
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
