"""Serve HTTP+SSE of 2024-11-05 for one server: the stream at ``/sse``, and the POSTs at the address in its event."""

from __future__ import annotations

from aiohttp import web

from relay.endpoints.http.decisions import Accept, Admission, BodyWanted, Refused
from relay.endpoints.http.paths import HttpPaths
from relay.endpoints.http.server.bodies import body_of
from relay.endpoints.http.server.carrying import carry
from relay.endpoints.http.server.mount import Mount
from relay.endpoints.http.server.sse_session import SseSession
from relay.endpoints.http.walk import Walk
from relay.frames import replies
from relay.frames.frame import Frame
from relay.frames.sse import encode_event
from relay.routing.open_table import IdInUse

__all__ = ["SseRoutes"]


class SseRoutes:
    """The requests at ``/sse`` and ``/messages/`` of one server."""

    def __init__(self, mount: Mount, paths: HttpPaths) -> None:
        """Serve the clients of ``mount`` at ``paths`` below the prefix of the mount."""
        self._mount = mount
        self._context = mount.context
        self._messages = paths.base_url + mount.prefix + paths.messages

    async def carry_out(
        self, request: web.BaseRequest, walk: Walk, decision: Accept | BodyWanted
    ) -> web.StreamResponse:
        """Carry out the gate's decision about a request's head. Raises Refused."""
        if isinstance(decision, BodyWanted):
            return await self._take_message(request, walk, decision)
        assert decision.admission is not None, "its order asks who it is"
        return await self._open_stream(request, decision.admission)

    async def _open_stream(self, request: web.BaseRequest, admission: Admission) -> web.StreamResponse:
        session = self._mount.begin_sse(request.headers, admission.principal)
        address = f"{self._messages}?session_id={session.id}".encode()
        first = encode_event(address, event=b"endpoint")
        try:
            with self._context.while_admitted(request, admission, session.finish):
                return await self._context.stream(
                    request, session.stream, self._context.cors(request.headers), first=first
                )
        finally:
            session.finish()

    async def _take_message(self, request: web.BaseRequest, walk: Walk, wanted: BodyWanted) -> web.StreamResponse:
        async with body_of(request, walk, wanted, self._context) as body:
            accepted = await carry(self._context.gate, walk, self._mount, body)
            self._context.gate.let_go(walk)
            assert isinstance(accepted, Accept) and accepted.frame is not None, "read"
            self._accept(accepted.session, accepted.frame)
            del accepted, body
        return web.Response(status=202, text="Accepted", headers=self._context.cors(request.headers))

    def _accept(self, session: SseSession, frame: Frame) -> None:
        is_first = not session.is_initialized
        try:
            session.accept(frame)
        except IdInUse as exc:
            raise Refused(400, str(exc), code=replies.INVALID_REQUEST, request_id=frame.head.id) from exc
        if is_first and session.is_initialized:
            self._mount.offer(session)
