"""Streamable HTTP before one server: POST, GET and DELETE at ``/mcp``, and the upgrade to WebSocket.

This carries requests between aiohttp and the sessions: every check before the body is looked at, the body within its
bounds, the answer as JSON or as a stream. What an answer is, and where a frame goes, the sessions decide.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.http import RawRequestMessage
from multidict import MultiMapping

from relay.endpoints.core.turns import let_others_go_on
from relay.endpoints.http.gate import Refused
from relay.endpoints.http.media import EVENT_STREAM, JSON
from relay.endpoints.http.server.fast_connection import Checked, FastConnection
from relay.endpoints.http.server.modern import ModernClients
from relay.endpoints.http.server.mount import Mount
from relay.endpoints.http.server.pieces import send_whole
from relay.endpoints.http.server.session import Exchange, HttpSession
from relay.endpoints.http.server.stream import EventStream
from relay.errors import EndpointClosed
from relay.frames import replies
from relay.frames.frame import Frame
from relay.frames.head import NOTIFICATION, RESPONSE, Kind
from relay.frames.ids import Unnameable
from relay.mcp.facts import RequestFacts, read_facts
from relay.mcp.headers import LAST_EVENT_ID, SESSION_ID
from relay.routing.exchanges import IdInUse

if TYPE_CHECKING:
    from relay.endpoints.http.through.pass_through import PassThrough

__all__ = ["StreamableHttp"]

_ALLOWED = "GET, POST, DELETE, OPTIONS"


class StreamableHttp:
    """The requests at ``/mcp`` of one server."""

    def __init__(self, mount: Mount) -> None:
        """Serve those who use the server of ``mount``."""
        self._mount = mount
        self._context = mount.context
        self._checks = mount.context.checks
        self._limits = mount.context.limits

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request. Raises Refused."""
        method, passing = request.method, self._mount.passing
        if method not in ("POST", "GET", "DELETE"):
            raise Refused(405, f"method {method} is not one of {_ALLOWED}", headers={"Allow": _ALLOWED})
        if method == "GET" and request.headers.get("Upgrade", "").strip().lower() == "websocket":
            return await self._upgrade(request)
        if passing is not None and not self._mount.is_own(request, passing):
            return await self._hand_on(request, passing)
        if method == "POST":
            return await self._post(request)
        if method == "GET":
            return await self._get(request)
        return self._delete(request)

    def _cors(self, request: web.BaseRequest) -> dict[str, str]:
        return self._context.cors(request.headers)

    # POST.

    def accept_at_once(self, connection: FastConnection, message: RawRequestMessage, body: bytes) -> bool:
        """Check a POST by the same rules as any other and hand it to its session; False where those say more.

        What is refused, begins a session or comes from a browser goes the ordinary way, which finds the same and
        says so; so does what has met a full inbox and waited.
        """
        headers, passing = message.headers, self._mount.passing
        if len(body) > self._limits.max_frame_bytes:
            return False
        if passing is not None and self._mount.sessions.find(headers.get(SESSION_ID, "")) is None:
            return self._hand_on_at_once(connection, message, body, passing)
        session: HttpSession | ModernClients | None
        try:
            if connection.checked is not None and connection.checked.admits(self, message.raw_headers):
                session = connection.checked.session
            else:
                connection.checked = None
                session = self._check_at_once(headers)
            if session is None:
                return False
            frame = self._checks.check_frame(body, session.version)
            facts = None
            if isinstance(session, ModernClients):
                facts = self._checks.check_modern(headers, frame, session.server)
                if facts is not None and session.server.question(frame.head.method, facts) is not None:
                    return False
            if session.inbox.is_paused:
                return self._wait_for_room(connection, session, frame)
            exchange = self._accept(session, frame, connection.answered, facts)
        except Refused:
            return False
        if connection.checked is None and isinstance(session, HttpSession):
            connection.checked = Checked.of(self, message.raw_headers, session=session)
        self._context.requests += 1
        if exchange is None:
            connection.accepted()
        else:
            connection.expect(session, exchange)
        return True

    def _wait_for_room(self, connection: FastConnection, session: HttpSession | ModernClients, frame: Frame) -> bool:
        """Let a request wait on its connection; False if it must go the ordinary way."""
        if session.is_closing or frame.head.target is not None or session.waiting >= session.max_in_flight:
            return False
        self._mount.check_load(session, frame.head)
        connection.expect_room(session)
        return True

    def _check_at_once(self, headers: MultiMapping[str]) -> HttpSession | ModernClients | None:
        """Check the headers of a POST; return the session it is for, or None if it must go the ordinary way."""
        if "Origin" in headers or "Expect" in headers:
            return None
        self._checks.check_source(headers)
        self._checks.check_post(headers)
        return self._mount.session_of(headers) if self._checks.takes_streams(headers) else None

    def _hand_on_at_once(
        self, connection: FastConnection, message: RawRequestMessage, body: bytes, server: PassThrough
    ) -> bool:
        """Check a POST and hand it on to a server that answers for itself; False if it must go the ordinary way."""
        headers, checked = message.headers, connection.checked
        try:
            if checked is None or checked.session is not None or not checked.admits(self, message.raw_headers):
                connection.checked = checked = None
                if "Origin" in headers or "Expect" in headers:
                    return False
                self._checks.check_source(headers)
                self._checks.check_post(headers)
                if not self._checks.takes_streams(headers):
                    return False
            frame = self._checks.check_frame(body, None)
            self._mount.check_taking(frame.head)
            if checked is None:
                onward = server.onward_at_once(headers, frame)
                checked = None if onward is None else Checked.of(self, message.raw_headers, onward=onward)
                connection.checked = checked
            if checked is None or checked.onward is None or not server.post_at_once(connection, checked.onward, frame):
                return False
        except Refused:
            return False
        self._context.requests += 1
        return True

    async def _post(self, request: web.BaseRequest) -> web.StreamResponse:
        connection = request.protocol
        if isinstance(connection, FastConnection) and (adopted := connection.adopt()) is not None:
            self._context.requests -= 1  # it was counted when it was accepted
            return await self._stream_answer(request, *adopted)
        headers = request.headers
        self._checks.check_post(headers)
        known, stale = self._known(request)
        async with self._mount.body_of(request, known) as body:
            try:
                frame = await self._checks.check_frame_in_turns(body, known.version if known else None)
            except Refused as exc:
                if isinstance(known, HttpSession):  # it may have been an answer for which the server waits
                    await known.take_refused(exc.frame or Frame(body))
                raise stale or exc from None
            if stale is not None and frame.head.method != "initialize":
                raise stale
            answering = await self._take(request, known, frame)
            del body, frame  # while it waits for its answer a large request is with the server alone
        return await answering

    def _known(self, request: web.BaseRequest) -> tuple[HttpSession | ModernClients | None, Refused | None]:
        """Return what a POST belongs to as far as its headers tell, or why not, unless a session begins with it.

        A client whose session has ended may say its id with the next ``initialize``, too. Raises Refused.
        """
        try:
            return self._mount.session_of(request.headers), None
        except Refused as exc:
            is_small = (request.content_length or 0) <= self._limits.buffer_low
            if exc.status != 404 or not is_small:
                raise
            return None, exc

    async def _take(
        self, request: web.BaseRequest, known: HttpSession | ModernClients | None, frame: Frame
    ) -> Awaitable[web.StreamResponse]:
        """Hand a frame to its session; return what waits for the answer."""
        headers, mount = request.headers, self._mount
        if mount.per_request and frame.head.kind is not Kind.REQUEST:
            self._check_untold(headers, frame)
            return self._accepted(request)
        self._checks.check_streamed(headers, frame.head)
        session = mount.session_for(known, headers, frame)
        facts = read_facts(frame) if isinstance(session, ModernClients) else None
        if isinstance(session, ModernClients) and facts is not None:
            if await session.find_out(frame.head.method, facts):
                session = mount.session_for(known, headers, frame)  # and checked again
        await let_others_go_on(frame)
        await session.wait_for_room(frame)
        if isinstance(session, ModernClients) and session.is_closing:
            session = mount.session_for(known, headers, frame)  # the server has ended meanwhile: the next one's
        outcome: asyncio.Future[Frame | EventStream] = asyncio.get_running_loop().create_future()

        def decide(decided: Frame | EventStream) -> None:
            if not outcome.cancelled():  # else the client has left, and its task will say so when it runs
                outcome.set_result(decided)

        exchange = self._accept(session, frame, decide, facts, takes_stream=self._checks.takes_streams(headers))
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

    def _accept(
        self,
        session: HttpSession | ModernClients,
        frame: Frame,
        on_outcome: Callable[[Frame | EventStream], None],
        facts: RequestFacts | None,
        *,
        takes_stream: bool = True,
    ) -> Exchange | None:
        head = frame.head
        if head.kind is not NOTIFICATION and head.kind is not RESPONSE:
            self._mount.check_load(session, head)
        try:
            if isinstance(session, ModernClients):
                has_log = facts is not None and facts.has_log
                return session.accept(frame, on_outcome, takes_stream=takes_stream, has_log=has_log)
            return session.accept(frame, on_outcome, takes_stream=takes_stream)
        except (IdInUse, Unnameable) as exc:
            raise Refused(400, str(exc), code=replies.INVALID_REQUEST, request_id=head.id) from exc
        except EndpointClosed as exc:
            raise Refused(404, "the session has ended; begin a new one with initialize", request_id=head.id) from exc

    async def _hand_on(self, request: web.BaseRequest, server: PassThrough) -> web.StreamResponse:
        from relay.endpoints.http.through.direct_exchange import DirectExchange
        from relay.endpoints.http.through.pass_through import NotStreamable

        cors = self._cors(request)
        if request.method != "POST":
            return await server.other(request, cors)
        connection = request.protocol
        if isinstance(connection, FastConnection) and isinstance(direct := connection.adopt_direct(), DirectExchange):
            self._context.requests -= 1  # it was counted when it was accepted
            with contextlib.suppress(NotStreamable):
                return await server.go_on(request, direct, cors)
            return await (await self._take(request, None, direct.frame))
        self._checks.check_post(request.headers)
        async with server.slot_of(request, self._context.strangers) as slot:
            assert slot.frame is not None, "read"
            self._checks.check_streamed(request.headers, slot.frame.head)
            if slot.frame.head.asks:  # what is in flight may wait for an answer of the client's
                self._mount.check_taking(slot.frame.head)
            with contextlib.suppress(NotStreamable):
                return await server.post(request, slot, cors)
            answering = await self._take(request, None, slot.frame)
        return await answering

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
        status = session.status_of(outcome)
        answer = web.Response(status=status, body=outcome.raw, content_type=JSON, headers=headers)
        return await send_whole(request, answer, self._limits)

    async def _stream_answer(
        self, request: web.BaseRequest, session: HttpSession | ModernClients, exchange: Exchange, stream: EventStream
    ) -> web.StreamResponse:
        """Answer with the stream of an exchange."""
        headers: Mapping[str, str] = {**self._cors(request), **session.stream_headers}
        try:
            return await self._context.stream(request, stream, headers)
        finally:
            session.reader_left(exchange)

    # The others.

    async def _get(self, request: web.BaseRequest) -> web.StreamResponse:
        self._checks.check_accept(request.headers, EVENT_STREAM)
        session = self._mount.find_session(request.headers)
        session.touch()
        headers = self._cors(request)
        headers[SESSION_ID] = session.id
        last_event_id = request.headers.get(LAST_EVENT_ID)
        if last_event_id is None:
            return await self._context.stream(request, session.standalone_stream(), headers)
        found = session.find_stream(last_event_id)
        if found is None:
            raise Refused(400, f"event {last_event_id!r} is not kept (any more): its stream cannot be resumed")
        stream, number = found
        return await self._context.stream(request, stream, headers, after=number)

    async def _upgrade(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer with a WebSocket, whose end is the session's."""
        self._mount.check_taking()
        from relay.endpoints.websocket.websocket import accept_websocket  # 9 ms of start-up, which few need

        trail = self._mount.trail_of(request.headers)
        with self._context.place():
            endpoint = await accept_websocket(
                request, self._limits, strangers=self._context.strangers, refusals=self._context.refusals
            )
            endpoint.trail = trail
            self._mount.offer(endpoint)
            return await endpoint.serve()

    def _delete(self, request: web.BaseRequest) -> web.Response:
        session = self._mount.find_session(request.headers)
        session.finish()
        return web.Response(status=200, headers=self._cors(request))
