"""Serve Streamable HTTP for one server: POST, GET and DELETE at ``/mcp``, and the upgrade to WebSocket.

This module carries out the decisions of the gate (gate.py). It passes requests from aiohttp to the sessions, and writes
answers as JSON or as a stream. The sessions decide where a frame goes and what answers a request.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias

from aiohttp import web

from relay.endpoints.core.turns import LARGE
from relay.endpoints.http.decisions import Accept, Admission, BodyWanted, HandOn, Purpose, Refused
from relay.endpoints.http.media import JSON
from relay.endpoints.http.pieces import send_whole
from relay.endpoints.http.server.bodies import body_of
from relay.endpoints.http.server.carrying import carry
from relay.endpoints.http.server.modern import ModernClients
from relay.endpoints.http.server.mount import Mount
from relay.endpoints.http.server.session import Exchange, HttpSession
from relay.endpoints.http.server.stream import EventStream
from relay.endpoints.http.walk import Walk
from relay.frames import replies
from relay.frames.frame import Frame
from relay.frames.ids import Unnameable
from relay.mcp.headers import SESSION_ID
from relay.routing.open_table import IdInUse

if TYPE_CHECKING:
    from relay.endpoints.http.through.direct_exchange import DirectExchange
    from relay.endpoints.http.views import HouseView

__all__ = ["Adopted", "StreamableHttp"]

Adopted: TypeAlias = "tuple[HttpSession | ModernClients, Exchange, EventStream] | DirectExchange"
"""What a callback leaves to a task: a stream that has begun, or a forwarded request that waits for its answer."""


SUBSCRIBE = "subscriptions/listen"


def _abort(request: web.BaseRequest) -> None:
    if request.transport is not None:
        request.transport.abort()


class StreamableHttp:
    """The requests at ``/mcp`` of one server."""

    def __init__(self, mount: Mount, house: HouseView) -> None:
        """Serve the clients of ``mount``, which the listener ``house`` offers."""
        self.mount = mount
        self.house = house
        self.context = mount.context
        self.gate = mount.context.gate

    async def carry_out(
        self, request: web.BaseRequest, walk: Walk, decision: Accept | HandOn | BodyWanted
    ) -> web.StreamResponse:
        """Carry out the gate's decision about a request's head. Raises Refused."""
        if isinstance(decision, BodyWanted):
            through = walk.purpose is Purpose.POST_THROUGH
            return await (self._post_through if through else self._post)(request, walk, decision)
        if isinstance(decision, HandOn):
            assert self.mount.through is not None, "the gate forwards only to such a server"
            with self.context.while_admitted(request, decision.admission, functools.partial(_abort, request)):
                return await self.mount.through.other(request, decision.admission.principal, self._cors(request))
        if decision.purpose is Purpose.STREAM:
            return await self._get(request, decision)
        if decision.purpose is Purpose.UPGRADE:
            assert decision.admission is not None, "its order asks who it is"
            return await self._upgrade(request, decision.admission)
        decision.session.finish()
        return web.Response(status=200, headers=self._cors(request))

    def _cors(self, request: web.BaseRequest) -> dict[str, str]:
        return self.context.cors(request.headers) if "Origin" in request.headers else {}

    # POST.

    async def _post(self, request: web.BaseRequest, walk: Walk, wanted: BodyWanted) -> web.StreamResponse:
        async with body_of(request, walk, wanted, self.context) as body:
            answering = await self._take(request, walk, body)
            del body  # while a large request waits for its answer, only the server keeps its body
        return await answering

    async def _take(self, request: web.BaseRequest, walk: Walk, body: bytes | None) -> Awaitable[web.StreamResponse]:
        """Give a frame to its session once the gate accepts it; return an awaitable of the answer. Raises Refused."""
        accepted: object = None
        if walk.purpose is Purpose.POST_IN_SESSION and body is not None and len(body) <= LARGE:
            walk.body = body
            accepted = self.gate.decide(walk, asyncio.get_running_loop().time())  # nearly always final
        if not isinstance(accepted, Accept):
            accepted = await carry(self.gate, walk, self.mount, body)
        assert isinstance(accepted, Accept), "it is for a session here, or for none"
        self.gate.let_go(walk)
        session = accepted.session
        if session is None:
            return self._accepted(request)
        if session.speaks == "modern" and session.trail is not None:
            session.trail.lead_here(request.headers)  # the trail covers all its clients
        outcome: asyncio.Future[Frame | EventStream] = asyncio.get_running_loop().create_future()

        def decide(decided: Frame | EventStream) -> None:
            if not outcome.cancelled():  # otherwise the client has left, and its task cleans up when it runs
                outcome.set_result(decided)

        exchange = self._accept(accepted, decide)
        return (
            self._accepted(request)
            if exchange is None
            else self._answer(request, session, exchange, outcome, accepted.admission)
        )

    async def _accepted(self, request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=202, headers=self._cors(request))

    def _accept(self, accepted: Accept, on_outcome: Callable[[Frame | EventStream], None]) -> Exchange | None:
        frame, facts = accepted.frame, accepted.facts
        session: HttpSession | ModernClients = accepted.session
        assert frame is not None, "read"
        has_log = facts is not None and facts.has_log
        try:
            return session.accept(frame, on_outcome, takes_stream=accepted.takes_stream, has_log=has_log)
        except (IdInUse, Unnameable) as exc:
            raise Refused(400, str(exc), code=replies.INVALID_REQUEST, request_id=frame.head.id) from exc

    async def _post_through(self, request: web.BaseRequest, walk: Walk, wanted: BodyWanted) -> web.StreamResponse:
        from relay.endpoints.http.through.forwarded import NotStreamable

        through, cors = self.mount.through, self._cors(request)
        assert through is not None, "the gate forwards only to such a server"
        with through.slot(self.context.strangers) as slot:
            async with body_of(request, walk, wanted, self.context) as body:
                handed_on = await carry(self.gate, walk, self.mount, body)
                assert isinstance(handed_on, HandOn) and handed_on.frame is not None, "read"
                slot.hold(handed_on.frame, is_small=wanted.is_small)
                admission = handed_on.admission
                del body, handed_on
            self.gate.let_go(walk)
            with contextlib.suppress(NotStreamable), self._while_subscribed(request, slot.frame, admission):
                return await through.post(request, admission.principal, slot, cors)
            assert slot.frame is not None, "it may be needed still"
            answering = await self._take_back(request, walk, slot.frame)
        return await answering

    def _while_subscribed(
        self, request: web.BaseRequest, frame: Frame | None, admission: Admission
    ) -> contextlib.AbstractContextManager[None]:
        """End a forwarded subscription with its login; a call has an end of its own."""
        if frame is None or frame.head.method != SUBSCRIBE:
            return contextlib.nullcontext()
        return self.context.while_admitted(request, admission, functools.partial(_abort, request))

    async def _take_back(self, request: web.BaseRequest, walk: Walk, frame: Frame) -> Awaitable[web.StreamResponse]:
        """Give a frame to a session here, because the server speaks another transport. Raises Refused."""
        walk.purpose = Purpose.POST
        walk.take_frame(frame)
        return await self._take(request, walk, None)

    async def go_on(
        self, request: web.BaseRequest, adopted: Adopted, walk: Walk, admission: Admission
    ) -> web.StreamResponse:
        """Continue a request that a callback accepted, and that needs more than a plain answer."""
        if isinstance(adopted, tuple):
            return await self._stream_answer(request, *adopted, admission)
        from relay.endpoints.http.through.forwarded import NotStreamable

        assert self.mount.through is not None, "the callback forwarded the request to it"
        with contextlib.suppress(NotStreamable):
            return await self.mount.through.go_on(request, admission.principal, adopted, self._cors(request))
        return await (await self._take_back(request, walk, adopted.frame))

    async def _answer(
        self,
        request: web.BaseRequest,
        session: HttpSession | ModernClients,
        exchange: Exchange,
        decided: asyncio.Future[Frame | EventStream],
        admission: Admission | None,
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
            return await self._stream_answer(request, session, exchange, outcome, admission)
        headers = {**self._cors(request), **session.answer_headers}
        status = session.status_of(outcome)
        answer = web.Response(status=status, body=outcome.raw, content_type=JSON, headers=headers)
        is_small = outcome.size <= self.context.limits.buffer_low
        return answer if is_small else await send_whole(request, answer, self.context.limits)

    async def _stream_answer(
        self,
        request: web.BaseRequest,
        session: HttpSession | ModernClients,
        exchange: Exchange,
        stream: EventStream,
        admission: Admission | None,
    ) -> web.StreamResponse:
        """Answer with the stream of an exchange; a subscription ends with the login, a call with its answer."""
        headers: Mapping[str, str] = {**self._cors(request), **session.stream_headers}

        def end_subscription() -> None:
            if isinstance(session, ModernClients):
                session.end_subscriptions(exchange, "the login has ended")

        try:
            with self.context.while_admitted(request, admission, end_subscription):
                return await self.context.stream(request, stream, headers)
        finally:
            session.reader_left(exchange)

    # GET, DELETE and the upgrade.

    async def _get(self, request: web.BaseRequest, accepted: Accept) -> web.StreamResponse:
        session: HttpSession = accepted.session
        session.touch()
        headers = self._cors(request)
        headers[SESSION_ID] = session.id
        stream, number = accepted.resumed or (session.standalone_stream(), None)
        with self.context.while_admitted(request, accepted.admission, stream.release):
            return await self.context.stream(request, stream, headers, after=number)

    async def _upgrade(self, request: web.BaseRequest, admission: Admission) -> web.StreamResponse:
        """Answer with a WebSocket, whose end ends the session."""
        from relay.endpoints.websocket.websocket import accept_websocket  # 9 ms of start-up that few relays need

        context = self.context
        with context.place(admission.principal):
            endpoint = await accept_websocket(
                request, context.limits, strangers=context.strangers, refusals=context.refusals
            )
            context.take_in(endpoint, request, admission)
            endpoint.trail = self.mount.trail_of(request.headers)
            self.mount.hold(endpoint)
            is_proven = False
            try:
                is_proven = await endpoint.proves_itself()
            finally:
                if not is_proven:
                    await endpoint.aclose()  # no server was started for it
            if is_proven:
                self.mount.offer(endpoint)
            with context.while_connected(request, admission, endpoint):
                return await endpoint.serve()
