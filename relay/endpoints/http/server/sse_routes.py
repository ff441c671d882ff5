"""HTTP+SSE of 2024-11-05 before one server: the stream at ``/sse``, and the POSTs at the address that it names."""

from __future__ import annotations

from aiohttp import web

from relay.endpoints.http.gate import Refused
from relay.endpoints.http.media import EVENT_STREAM
from relay.endpoints.http.paths import HttpPaths
from relay.endpoints.http.server.mount import Mount
from relay.endpoints.http.server.sse_session import SseSession
from relay.errors import EndpointClosed
from relay.frames import replies
from relay.frames.frame import Frame
from relay.frames.head import Kind
from relay.frames.sse import encode_event
from relay.routing.exchanges import IdInUse

__all__ = ["SseRoutes"]


class SseRoutes:
    """The requests at ``/sse`` and ``/messages/`` of one server."""

    def __init__(self, mount: Mount, paths: HttpPaths) -> None:
        """Serve those who use the server of ``mount``, below whose prefix are ``paths``."""
        self._mount = mount
        self._context = mount.context
        self._checks = mount.context.checks
        self._address = mount.prefix + paths.sse
        self._messages = paths.base_url + mount.prefix + paths.messages

    async def handle_stream(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request at ``/sse``: open a session. Raises Refused."""
        if request.method != "GET":
            raise Refused(405, f"method {request.method} is not one of GET, OPTIONS", headers={"Allow": "GET, OPTIONS"})
        self._checks.check_accept(request.headers, EVENT_STREAM)
        session = self._mount.begin_sse(request.headers)
        address = f"{self._messages}?session_id={session.id}".encode()
        first = encode_event(address, event=b"endpoint")
        try:
            return await self._context.stream(request, session.stream, self._context.cors(request.headers), first=first)
        finally:
            session.finish()

    async def handle_message(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request at ``/messages/``: take a frame. Raises Refused."""
        if request.method != "POST":
            raise Refused(
                405, f"method {request.method} is not one of POST, OPTIONS", headers={"Allow": "POST, OPTIONS"}
            )
        self._checks.check_content(request.headers)
        session_id = request.query.get("session_id")
        if session_id is None:
            raise Refused(400, "no session_id in the query; it comes with the endpoint event of the SSE stream")
        session = self._mount.sessions.find(session_id)
        if not isinstance(session, SseSession) or session.is_closing:
            raise Refused(
                404, f"no such session: its stream has ended, or never was; begin a new one at {self._address}"
            )
        async with self._mount.body_of(request, session) as body:
            frame = await self._check_frame(body, session)
            await session.wait_for_room(frame)
            self._accept(session, frame)
        return web.Response(status=202, text="Accepted", headers=self._context.cors(request.headers))

    async def _check_frame(self, body: bytes, session: SseSession) -> Frame:
        try:
            return await self._checks.check_frame_in_turns(body, None)
        except Refused as exc:
            # It may have been an answer for which the server waits.
            await session.take_refused(exc.frame or Frame(body))
            raise

    def _accept(self, session: SseSession, frame: Frame) -> None:
        head = frame.head
        is_first = not session.is_initialized
        if head.kind is Kind.REQUEST or head.kind is Kind.BATCH:
            self._mount.check_load(session, head)
            if is_first and head.method != "initialize":
                raise Refused(400, "a session begins with initialize", request_id=head.id)
        try:
            session.accept(frame)
        except IdInUse as exc:
            raise Refused(400, str(exc), code=replies.INVALID_REQUEST, request_id=head.id) from exc
        except EndpointClosed as exc:
            fault = f"the session has ended; begin a new one at {self._address}"
            raise Refused(404, fault, request_id=head.id) from exc
        if is_first and session.is_initialized:
            self._mount.offer(session)
