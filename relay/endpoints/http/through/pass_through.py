"""Streamable HTTP to Streamable HTTP, request by request: the relay keeps nothing of a session.

The session id, the event ids and the statuses are the server's own and pass as they are, so a relay that is restarted
between two requests is not noticed. Each request is checked as any other, its answer is the server's, and a request
whose server cannot be reached, breaks off or answers something else gets a JSON-RPC error with its id, unless it can
come back for the rest with Last-Event-ID. Both eras are alike here, but that nothing can be resumed in the modern one.

What does not pass: the client's credentials and cookies, the server's challenges and cookies (who is logged in there
is the relay, not the client), redirects, and pages that are neither JSON-RPC nor events. The server's cookies are kept
for each session here, and sent with that session's requests. Those, and which answers a stream owed when it ended
(``owed_answers``), are all that the relay knows of a session.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import BytesPayload, web
from aiohttp.abc import AbstractStreamWriter
from multidict import CIMultiDict, MultiMapping

from relay.busy_poll import BusyPoll
from relay.endpoints.core.arrivals import Arrivals
from relay.endpoints.core.hops import Trail
from relay.endpoints.core.tasks import TaskScope
from relay.endpoints.core.turns import LARGE, let_others_go_on, read_in_turn
from relay.endpoints.http.client.aiohttp_dial import Dial, Response
from relay.endpoints.http.client.cookies import CookieJar, SessionJars
from relay.endpoints.http.client.pool import PooledResponse
from relay.endpoints.http.decisions import Refused
from relay.endpoints.http.media import EVENT_STREAM, JSON, accepts, listed, media_type, without_bom
from relay.endpoints.http.server.pieces import abort, pieces_of, send_whole, write
from relay.endpoints.http.through.collapsed_stream import CollapsedStream
from relay.endpoints.http.through.direct_exchange import DirectClient, DirectExchange, Onward
from relay.endpoints.http.through.owed_answers import OwedAnswers
from relay.endpoints.http.through.stream_watch import StreamWatch, once_each
from relay.errors import EndpointBroken, EndpointUnavailable, FrameTooLarge
from relay.frames import replies
from relay.frames.frame import Frame
from relay.frames.head import REQUEST, RESPONSE, Head, Kind, RequestId
from relay.frames.repair import StandIn, respelled
from relay.frames.sse import SseDecoder, encode_event
from relay.mcp.errors import is_modern_error
from relay.mcp.headers import LAST_EVENT_ID, METHOD, NAME, PROTOCOL_VERSION, SESSION_ID
from relay.mcp.revisions import is_modern_version
from relay.mcp.tool_headers import PARAM_PREFIX
from relay.routing.matching import alike, fitting, is_again
from relay.routing.sessions import name_of_session

if TYPE_CHECKING:
    from relay.endpoints.http.server.context import ListenerContext

__all__ = ["NotStreamable", "PassThrough", "BodySlot"]

logger = logging.getLogger("relay")

# What is the transport's of a client's headers. Its credentials and cookies are for this relay, not for the server.
_ONWARD = (SESSION_ID, PROTOCOL_VERSION, LAST_EVENT_ID, METHOD, NAME, "Traceparent", "Tracestate", "Baggage")
_HOMEWARD = (SESSION_ID, "Retry-After", "Allow", "Cache-Control", "X-Accel-Buffering")
_STREAM_HEADERS = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}
_BOTH = f"{JSON}, {EVENT_STREAM}"
_SUBSCRIBE = "subscriptions/listen"
_INITIALIZE = "initialize"


class NotStreamable(Exception):
    """The server takes no POST here and says so without JSON-RPC: it may speak HTTP+SSE. Nothing was executed."""


class BodySlot:
    """The frame of a POST for as long as it may be needed, and its bytes among those that wait for the server."""

    __slots__ = ("_count", "_look_again", "_size", "frame")

    def __init__(self, count: Callable[[int], None], look_again: Callable[[], None]) -> None:
        """Have no frame yet; ``count`` a large one, and ``look_again`` once others may come in its place."""
        self.frame: Frame | None = None
        self._size = 0
        self._count, self._look_again = count, look_again

    def hold(self, frame: Frame, *, is_small: bool) -> None:
        """Have this frame."""
        self.frame = frame
        if not is_small:
            self._size = len(frame.raw)
            self._count(self._size)

    def end(self) -> None:
        """Let go of the frame. Twice is no harm."""
        self.frame = None
        size, self._size = self._size, 0
        if size:
            self._count(-size)
            self._look_again()


class _LargeBody(BytesPayload):
    """A body that is dropped once it is on its way: it is never sent twice."""

    def __init__(self, body: bytes, on_sent: Callable[[], None]) -> None:
        super().__init__(b"", content_type=JSON)
        self._value, self._size = body, len(body)
        self._on_sent = on_sent

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        body, self._value = self._value, b""
        for piece in pieces_of(body):
            await writer.write(piece)
        del body, piece
        self._on_sent()


@dataclass(frozen=True, slots=True)
class _Forwarded:
    """A request that is handed on: its client's, the headers that a page of its origin needs, and what was read."""

    request: web.BaseRequest
    cors: Mapping[str, str]
    slot: BodySlot | None
    head: Head | None


class PassThrough:
    """A server behind an HTTP listener that hands requests on."""

    def __init__(self, dial: Dial, context: ListenerContext, mark: str) -> None:
        """Hand requests on through ``dial``, those that pass the checks of ``context``, in whose counts they are.

        Each bears ``mark`` from here on.
        """
        self._mark = mark
        self.in_flight = 0
        self.last_used = 0.0
        """When a request was handed on last, by the loop's clock; 0 if none was."""
        self.is_elsewhere = False
        """Whether the server took no POST of a client that began: it may have no GET streams of our kind either."""
        self._dial = dial
        self._jars = SessionJars(dial.new_jar)
        self._owed = OwedAnswers()
        self._looking: asyncio.Future[bool] | None = None
        self._loop = asyncio.get_running_loop()
        self._context = context
        self._limits = context.limits
        self._unsent = 0  # bytes of bodies that are here and not yet on their way
        self._is_draining = False
        self._is_closed = False
        self._open: dict[asyncio.Timeout, bool] = {}  # what waits for the server; True if it is a subscription
        self._directs: set[DirectExchange] = set()
        self._without_connection = 0
        self._busy_poll = BusyPoll()
        self._tasks = TaskScope()  # of the pool, which opens connections

    async def post(self, request: web.BaseRequest, slot: BodySlot, cors: Mapping[str, str]) -> web.StreamResponse:
        """Hand a POST on and give its answer back. Raises Refused, NotStreamable."""
        headers = self._onward(request.headers, slot.frame)
        headers["Content-Type"] = JSON
        jar = self._jars.find(headers.get(SESSION_ID))
        if self._dial.show is not None and slot.frame is not None:
            self._dial.show(_client(request.headers.get(SESSION_ID)), self._dial.name, (slot.frame,))
        entering = self._dial.request("POST", headers, body=self._body(slot), jar=jar)
        return await self._hand_on(request, entering, cors, slot, jar)

    async def other(self, request: web.BaseRequest, cors: Mapping[str, str]) -> web.StreamResponse:
        """Hand a GET or a DELETE on."""
        jar = self._jars.find(request.headers.get(SESSION_ID))
        entering = self._dial.request(request.method, self._onward(request.headers), jar=jar)
        return await self._hand_on(request, entering, cors, jar=jar)

    def onward_at_once(self, client_headers: MultiMapping[str], frame: Frame) -> Onward | None:
        """Return what a client's headers are on a kept connection; None if there is none."""
        pool = self._dial.pool(self._tasks)
        if pool is None or frame.head.method == _INITIALIZE:
            return None
        headers = self._onward(client_headers, frame)
        headers["Content-Type"] = JSON
        try:
            return Onward(pool.beginning(headers), client_headers.get(SESSION_ID), pool.url)
        except ValueError:
            return None  # the ordinary way says what is wrong with them

    def post_at_once(self, connection: DirectClient, onward: Onward, frame: Frame) -> bool:
        """Hand an ordinary request on over a kept connection, if one is free; it will answer ``connection``."""
        head, body = frame.head, frame.raw
        is_ordinary = head.kind is REQUEST and head.method not in (_INITIALIZE, _SUBSCRIBE)
        if not is_ordinary or self._is_closed or self.in_flight >= self._limits.max_shared_in_flight:
            return False
        pool = self._dial.pool(self._tasks)
        if pool is None or len(body) > self._limits.buffer_high:
            return False
        if onward.url is not pool.url:
            connection.forget_onward()  # the server has moved: the head is made anew with the next request
            return False
        cookies = b""
        if self._jars.kept:
            if pool.has_cookie_header:
                return False  # to be one header with ours, which the ordinary way makes
            cookies = self._cookies_of(onward.session_id, pool.path)
        pooled = pool.take()
        if pooled is None:
            # Those that found none in this turn of the loop are in flight from the next one on.
            if not self._without_connection:
                asyncio.get_running_loop().call_soon(self._forget_without_connection)
            self._without_connection += 1
            pool.grow(self.in_flight + self._without_connection)
            return False
        direct = DirectExchange(
            connection,
            pooled,
            frame,
            homeward=_HOMEWARD,
            max_bytes=min(self._limits.max_frame_bytes, LARGE),  # a larger answer is looked at in several turns
            on_end=self._direct_ended,
        )
        self._directs.add(direct)
        self.in_flight += 1
        self._busy_poll.frames_came()
        connection.expect_direct(direct, self._limits.answer_wait)

        def answer_in(body: bytes, whole: PooledResponse) -> bytes | None:
            found = _answer_in(head, body, whole)
            if found is not None:
                self._dial.fault = None
                if self._dial.show is not None:
                    self._dial.show(self._dial.name, _client(onward.session_id), (Frame(found),))
            return found

        def take(answer: PooledResponse | None) -> None:
            if answer is not None and answer.cookies:
                self._keep_cookies(onward.session_id, answer, pool.path)
            direct.take(answer, answer_in)

        self.last_used = self._loop.time()
        if self._dial.show is not None:
            self._dial.show(_client(onward.session_id), self._dial.name, (frame,))

        pooled.ask(b"%b%bContent-Length: %d\r\n\r\n" % (onward.head, cookies, len(body)), body, take)
        return True

    # Cookies. A session's are its own; requests without one have none, for nothing tells their clients apart.

    def _cookies_of(self, session_id: str | None, path: str) -> bytes:
        header = self._jars.find(session_id).header(path)
        return f"Cookie: {header}\r\n".encode() if header else b""

    def _keep_cookies(self, session_id: str | None, answer: PooledResponse, path: str) -> None:
        jar = self._jars.find(session_id)
        jar.take(answer.cookies, path)
        self._note_session(session_id, answer, jar)

    def _note_session(self, session_id: str | None, response: Response, jar: CookieJar, method: str = "POST") -> None:
        """Keep what an answer has set for the session that it begins, or is in; forget one that has ended."""
        is_good = 200 <= response.status < 300
        if session_id is not None and (response.status in (404, 410) or (is_good and method == "DELETE")):
            self._jars.forget(session_id)
        elif (owner := response.headers.get(SESSION_ID) if session_id is None else session_id) is not None:
            self._jars.keep(owner, jar, is_known=is_good)

    def _forget_without_connection(self) -> None:
        self._without_connection = 0

    def _direct_ended(self, direct: DirectExchange) -> None:
        self._directs.discard(direct)
        self.in_flight -= 1
        self._busy_poll.frames_came()

    async def go_on(
        self, request: web.BaseRequest, direct: DirectExchange, cors: Mapping[str, str]
    ) -> web.StreamResponse:
        """Give the answer of what was handed on at once. Raises Refused, NotStreamable."""
        slot = BodySlot(self._count_unsent, lambda: None)
        slot.hold(direct.frame, is_small=True)
        jar = self._jars.find(request.headers.get(SESSION_ID))
        return await self._hand_on(request, self._after(direct, request, jar), cors, slot, jar)

    @contextlib.asynccontextmanager
    async def _after(self, direct: DirectExchange, request: web.BaseRequest, jar: CookieJar) -> AsyncIterator[Response]:
        """Yield the answer of what was handed on at once, or of where it was redirected to."""
        async with direct.response(self._dial.name) as answer:
            if not self._dial.learn_move(answer, self._dial.url, answer.url):
                yield answer
                return
        headers = self._onward(request.headers, direct.frame)
        headers["Content-Type"] = JSON
        body = direct.frame.raw
        async with self._dial.request("POST", headers, body=body, jar=jar, may_follow=False) as response:
            yield response

    @contextlib.contextmanager
    def slot(self, arrivals: Arrivals) -> Iterator[BodySlot]:
        """Yield the slot of a POST's frame, which ends when the frame is sent, or this is left.

        Large ones are left in the network while the server does not take those that are here.
        """
        slot = BodySlot(self._count_unsent, arrivals.look_again)
        try:
            yield slot
        finally:
            slot.end()

    def _count_unsent(self, size: int) -> None:
        self._unsent += size

    def wants_bodies(self) -> bool:
        """Tell whether the server takes more: else large bodies are left in the network."""
        return self._unsent <= self._limits.max_frame_bytes

    def end_subscriptions(self) -> None:
        """Wait no longer for what would never end by itself: the relay takes nothing new."""
        self._is_draining = True
        self._end(lambda is_subscription: is_subscription)

    async def aclose(self) -> None:
        """End every exchange: with an error, or so that its client can come back for the rest."""
        self._is_closed = True
        self._end(lambda _: True)
        for direct in tuple(self._directs):
            direct.go_on()
        await self._tasks.aclose()

    def _end(self, is_chosen: Callable[[bool], bool]) -> None:
        now = asyncio.get_running_loop().time()
        for scope, is_subscription in self._open.items():
            if is_chosen(is_subscription):
                scope.reschedule(now)

    @contextlib.asynccontextmanager
    async def _until_closed(self, head: Head | None = None) -> AsyncIterator[None]:
        """Do what waits for the server; raises EndpointBroken when the relay ends."""
        is_subscription = head is not None and head.method == _SUBSCRIBE
        try:
            async with asyncio.timeout(0 if self._is_closed else None) as scope:
                self._open[scope] = is_subscription
                try:
                    yield
                finally:
                    del self._open[scope]
        except TimeoutError:
            raise EndpointBroken("the relay is shutting down") from None

    def _onward(self, client_headers: MultiMapping[str], frame: Frame | None = None) -> CIMultiDict[str]:
        prefix = PARAM_PREFIX.lower()
        # With all its lines: whether one that has two is a fault, the server says.
        headers = CIMultiDict((name, value) for name in _ONWARD for value in client_headers.getall(name, ()))
        if frame is not None and frame.head.method == _INITIALIZE:
            headers.popall(SESSION_ID, None)  # a session begins: a client may still say the last one's id
        for name, value in client_headers.items():
            if name.lower().startswith(prefix):
                headers.add(name, value)
        accept = listed(client_headers, "Accept")
        # Who takes no stream gets the answer out of it (``CollapsedStream``): servers want to hear both.
        is_plain = frame is not None and not accepts(accept, EVENT_STREAM)
        headers["Accept"] = _BOTH if accept is None or is_plain else accept
        trail = Trail(self._mark)
        trail.lead_here(client_headers, may_return=True)  # the gate has seen that it may
        headers.update(trail.headers)
        return headers

    async def _hand_on(
        self,
        request: web.BaseRequest,
        entering: AbstractAsyncContextManager[Response],
        cors: Mapping[str, str],
        slot: BodySlot | None = None,
        jar: CookieJar | None = None,
    ) -> web.StreamResponse:
        """Enter the answer, which sends the request, and give it back; ``jar`` holds the cookies it has set."""
        frame = slot.frame if slot is not None else None
        head = frame.head if frame is not None else None
        forwarded = _Forwarded(request, cors, slot, head)
        asks = head is not None and head.asks
        del frame
        self.in_flight += asks
        try:
            async with contextlib.AsyncExitStack() as stack:
                async with self._until_closed(head):
                    response = await stack.enter_async_context(entering)
                    is_stream = _is_stream(response)
                    if jar is not None and jar.kept:
                        self._note_session(_session_of(request, head), response, jar, request.method)
                    self._dial.fault = None
                    if slot is not None and 200 <= response.status < 300:
                        self.is_elsewhere = False
                    if is_stream and asks and not accepts(listed(request.headers, "Accept"), EVENT_STREAM):
                        is_stream = False
                        answer = await self._collapsed(forwarded, response)
                    elif not is_stream:
                        answer = await self._whole(forwarded, response)
                if is_stream:
                    return await self._stream(forwarded, response)
                return await send_whole(request, self._shown(request, answer), self._limits)
        except EndpointUnavailable as exc:
            self._dial.fault = f"{exc}"
            if head is None and (owed := self._owed_to(request)):
                return self._tell_owed(owed, cors, f"the request was lost: the stream broke; {exc}")
            return self._shown(request, self._failed(head, cors, replies.UNAVAILABLE, f"{exc}", "no"))
        except FrameTooLarge as exc:
            return self._shown(request, self._failed(head, cors, replies.TOO_LARGE, f"{exc}", "unknown"))
        except EndpointBroken as exc:
            self._dial.fault = None if self._is_closed else f"{exc}"
            lost = f"the request was lost: {exc}"
            return self._shown(request, self._failed(head, cors, replies.LOST, lost, "unknown"))
        finally:
            self.in_flight -= asks

    def _owed_to(self, request: web.BaseRequest) -> tuple[RequestId, ...]:
        return self._owed.take(request.headers.get(SESSION_ID), request.headers.get(LAST_EVENT_ID))

    def _tell_owed(self, owed: tuple[RequestId, ...], cors: Mapping[str, str], message: str) -> web.Response:
        """Answer a client that comes back for the rest of a stream: there will be none."""
        logger.info("http: %s", message)
        errors = replies.errors(owed, replies.LOST, message, delivered="unknown")
        events = b"".join(encode_event(one.line) for one in errors)
        return web.Response(body=events, headers={**_STREAM_HEADERS, **cors, "Content-Type": EVENT_STREAM})

    def _shown(self, request: web.BaseRequest, answer: web.Response) -> web.Response:
        """Let whoever looks on see an answer that goes to a client."""
        if self._dial.show is not None and isinstance(answer.body, bytes) and answer.body:
            self._dial.show(self._dial.name, _client(request.headers.get(SESSION_ID)), (Frame(answer.body),))
        return answer

    def _body(self, slot: BodySlot) -> bytes | BytesPayload:
        frame = slot.frame
        assert frame is not None, "read"
        is_small = len(frame.raw) <= self._limits.buffer_low
        if is_small or frame.head.method == _INITIALIZE or self._dial.may_resend or not self._dial.is_settled:
            return frame.raw
        return _LargeBody(frame.raw, slot.end)

    def _failed(
        self,
        head: Head | None,
        cors: Mapping[str, str],
        code: int,
        message: str,
        delivered: replies.Delivered,
        status: int = 502,
    ) -> web.Response:
        """Make the answer to a request that has none, or to each of a batch."""
        logger.info("http: %d %s", status, message)
        asked = [one.id for one in (head.messages if head is not None else ()) if one.kind is Kind.REQUEST]
        made = [replies.error(one, code, message, delivered=delivered).raw for one in asked or (None,)]
        body = b"[" + b",".join(made) + b"]" if head is not None and head.kind is Kind.BATCH and asked else made[0]
        return web.Response(status=status, body=body, content_type=JSON, headers=cors)

    # Answers that are whole.

    async def _whole(self, forwarded: _Forwarded, response: Response) -> web.Response:
        head, cors, status = forwarded.head, forwarded.cors, response.status
        if status >= 400:
            body = await self._dial.read_error_body(response)
            return self._refusal(forwarded, response, body)
        if not 200 <= status < 300:
            said = self._dial.describe_error_body(await self._dial.read_error_body(response))
            fault = f"{self._dial.name}: HTTP {status}{': ' if said else ''}{said}"
            return self._failed(head, cors, replies.UPSTREAM_STATUS, fault, replies.delivered_by(status))
        kind = media_type(response.headers.get("Content-Type"))
        body = await (self._dial.read_body if kind == JSON else self._dial.read_error_body)(response)
        if kind == JSON:
            body = without_bom(body)
            await let_others_go_on(body)
            body = once_each(body)
        if head is not None and head.asks:
            frame = Frame(body.strip())
            await read_in_turn(frame)
            answer = _answer_in(head, body, response, frame) if kind == JSON else None
            if answer is None:
                said = self._dial.describe_error_body(body) if kind != JSON else ""
                seen = f"answered with content type {kind or 'none'!r} {said}".rstrip()
                seen = seen if kind != JSON else "the answer is not one to it"
                return self._failed(head, cors, replies.UPSTREAM_STATUS, f"{self._dial.name}: {seen}", "unknown")
            body = answer
        headers = self._homeward(response, cors)
        if kind != JSON or not body:
            return web.Response(status=status, headers=headers)  # a page is no part of 202, and could be a script
        return web.Response(status=status, body=body, content_type=JSON, headers=headers)

    async def _collapsed(self, forwarded: _Forwarded, response: Response) -> web.Response:
        """Read a stream for a client that takes none, until its answer is there. Raises EndpointBroken."""
        assert forwarded.head is not None, "a request was answered"
        stream = CollapsedStream(forwarded.head, self._limits.max_frame_bytes)
        body: bytes | None = None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None) as patience:
                async for chunk in self._dial.chunks(response):
                    if (body := stream.feed(chunk)) is not None:
                        break
                    self._set_patience(patience, is_doubtful=stream.is_doubtful)
        if body is None and (body := stream.last_resort()) is None:
            raise EndpointBroken(f"{self._dial.name}: the stream ended without an answer")
        return web.Response(
            status=response.status, body=body, content_type=JSON, headers=self._homeward(response, forwarded.cors)
        )

    def _set_patience(self, patience: asyncio.Timeout, *, is_doubtful: bool) -> None:
        """Wait no longer than a while for the answer of a request that may have had it."""
        if is_doubtful is (patience.when() is None):
            patience.reschedule(self._loop.time() + self._limits.stray_grace if is_doubtful else None)

    def _refusal(self, forwarded: _Forwarded, response: Response, body: bytes) -> web.Response:
        """Pass a refusal on if it is JSON-RPC, else say it so; or find that the server may speak HTTP+SSE."""
        request, head, slot, status = forwarded.request, forwarded.head, forwarded.slot, response.status
        frame = Frame(body.strip())
        is_error = frame.head.kind is Kind.RESPONSE
        # 405 with an error that is not this request's own: it is POST that is refused here, not the request.
        is_no_post = status == 405 and (not is_error or frame.head.id is None) and not is_modern_error(frame)
        is_begun = _session_of(request, head) is not None
        is_legacy = not is_modern_version(request.headers.get(PROTOCOL_VERSION))  # others find out by themselves
        if head is not None and is_legacy and not is_begun and slot is not None and slot.frame is not None:
            is_first = head.method == _INITIALIZE
            if is_no_post or (is_first and status in (400, 404) and not is_error):
                self.is_elsewhere = self.is_elsewhere or is_first
                raise NotStreamable
        if head is not None and is_no_post and is_begun:
            raise Refused(404, "no such session: begin a new one with initialize", request_id=head.id)
        headers = self._homeward(response, forwarded.cors)
        if status in (401, 407):  # the client has not been asked, nor could its token go there
            fault = f"{self._dial.name}: HTTP {status}: the server does not accept this relay's credentials"
            return self._failed(head, forwarded.cors, replies.UPSTREAM_STATUS, fault, "no")
        if is_error:
            if head is not None and head.id is not None and frame.head.id is None:
                body = (respelled(frame, head.id) or frame).raw
            return web.Response(status=status, body=body, content_type=JSON, headers=headers)
        said = self._dial.describe_error_body(body)
        fault = f"{self._dial.name}: HTTP {status}{': ' if said else ''}{said}"
        self._dial.fault = fault if status >= 500 else None
        return self._failed(head, headers, replies.UPSTREAM_STATUS, fault, replies.delivered_by(status), status)

    def _homeward(self, response: Response, cors: Mapping[str, str]) -> dict[str, str]:
        return {**cors, **{name: response.headers[name] for name in _HOMEWARD if name in response.headers}}

    # Streams.

    async def _stream(self, forwarded: _Forwarded, response: Response) -> web.StreamResponse:
        """Pass a stream on as it comes; if it ends too soon for good, its request gets an error."""
        request = forwarded.request
        if forwarded.slot is not None:
            forwarded.slot.end()
        headers = {**_STREAM_HEADERS, **self._homeward(response, forwarded.cors), "Content-Type": EVENT_STREAM}
        answer = web.StreamResponse(status=response.status, headers=headers)
        watch = self._watch(forwarded)
        self._context.active_streams += 1
        try:
            await answer.prepare(request)
            last = await self._copy(forwarded, response, answer, watch)
            if last is None:
                abort(request)  # as the server did: its client comes back with Last-Event-ID
                return answer
            if last:
                await write(request, answer, last, self._limits)
            await answer.write_eof()
        except ConnectionError as exc:
            logger.debug("http: a client left its stream: %s", exc)
        finally:
            self._context.active_streams -= 1
            self._end_watch(request, watch)
        return answer

    def _watch(self, forwarded: _Forwarded) -> StreamWatch:
        request = forwarded.request
        last_event_id = request.headers.get(LAST_EVENT_ID) if forwarded.head is None else None
        return StreamWatch(
            forwarded.head,
            self._limits,
            can_resume=not is_modern_version(request.headers.get(PROTOCOL_VERSION)),
            owed=self._owed_to(request) if forwarded.head is None else (),
            is_resumed=last_event_id is not None,
        )

    def _end_watch(self, request: web.BaseRequest, watch: StreamWatch) -> None:
        if watch.last_event_id is not None and watch.is_owed:
            self._owed.keep(request.headers.get(SESSION_ID), watch.last_event_id, watch.owed)
        if watch.dropped:
            logger.warning(
                "%s: dropped %d answers that had passed before, or that nobody waits for",
                self._dial.name,
                watch.dropped,
            )

    async def _copy(
        self, forwarded: _Forwarded, response: Response, answer: web.StreamResponse, watch: StreamWatch
    ) -> bytes | None:
        """Copy events until there are no more; return what is to follow them, None if the stream must not end well."""
        head = forwarded.head
        fault = f"{self._dial.name}: the stream ended without an answer"
        look = self._looking_on(forwarded.request)
        try:
            async with self._until_closed(head):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(None) as patience:
                        async for chunk in self._dial.chunks(response):
                            onward = watch.feed(chunk)
                            if look is not None:
                                look(onward)
                            await write(forwarded.request, answer, onward, self._limits)
                            self._set_patience(patience, is_doubtful=watch.is_doubtful)
        except FrameTooLarge as exc:
            return watch.give_up(replies.TOO_LARGE, f"{self._dial.name}: {exc}")
        except EndpointBroken as exc:
            if self._is_closed or not await self._is_gone(watch):
                if (head is None and not watch.is_owed) or (watch.is_owed and watch.is_resumable):
                    return None
            if self._is_draining and head is not None and head.method == _SUBSCRIBE:
                return watch.end_subscription()
            return self._give_up(watch, f"the request was lost: {exc}", look)
        may_come_back = _is_framed(response) or not await self._is_gone(watch)
        if watch.is_resumable and not watch.is_doubtful and may_come_back:
            return b""
        return self._give_up(watch, f"the request was lost: {fault}", look)

    def _give_up(self, watch: StreamWatch, message: str, look: Callable[[bytes], None] | None) -> bytes:
        """Return what ends a stream that still owes an answer; the server has failed then."""
        if watch.is_owed and not watch.is_doubtful and not self._is_closed:
            self._dial.fault = message
        last = watch.give_up(replies.LOST, message)
        if look is not None:
            look(last)
        return last

    def _looking_on(self, request: web.BaseRequest) -> Callable[[bytes], None] | None:
        """Return what shows the events of a stream, as they pass, to whoever looks on; None if nobody does."""
        show = self._dial.show
        if show is None:
            return None
        decoder, client = SseDecoder(self._limits.max_frame_bytes), _client(request.headers.get(SESSION_ID))

        def look(chunk: bytes) -> None:
            for event in decoder.feed(chunk):
                if isinstance(event.data, bytes) and event.data:
                    show(self._dial.name, client, (Frame(event.data),))

        return look

    async def _is_gone(self, watch: StreamWatch) -> bool:
        """Tell whether nobody listens any more where the rest of a stream would be asked for.

        A client that comes back to nobody would have no answer: its requests get their errors while it still listens.
        """
        if not (watch.is_owed and watch.is_resumable):
            return False
        if self._looking is None:
            self._looking = asyncio.get_running_loop().create_future()
            self._tasks.spawn(self._look(self._looking), name=f"{self._dial.name}: look")
        return await asyncio.shield(self._looking)

    async def _look(self, is_gone: asyncio.Future[bool]) -> None:
        """Ask for nothing that a server could execute; any answer will do."""
        try:
            async with asyncio.timeout(self._limits.close_grace), self._dial.request("OPTIONS", {}):
                is_gone.set_result(False)
        except EndpointUnavailable:
            is_gone.set_result(True)
        except (EndpointBroken, TimeoutError):
            pass  # somebody is there, or may be
        finally:
            self._looking = None
            if not is_gone.done():
                is_gone.set_result(False)


def _session_of(request: web.BaseRequest, head: Head | None) -> str | None:
    """Return the session that a request is of; none if one begins with it."""
    is_first = head is not None and head.method == _INITIALIZE
    return None if is_first else request.headers.get(SESSION_ID)


def _client(session_id: str | None) -> str:
    """Return what the log calls a client."""
    return "a client" if session_id is None else name_of_session(session_id)


def _is_stream(response: Response) -> bool:
    return 200 <= response.status < 300 and media_type(response.headers.get("Content-Type")) == EVENT_STREAM


def _is_framed(response: Response) -> bool:
    """Tell whether an answer says where it ends: what ends with its connection may have been cut anywhere."""
    return "Content-Length" in response.headers or "Transfer-Encoding" in response.headers


def _answer_in(head: Head, body: bytes, response: Response, frame: Frame | None = None) -> bytes | None:
    """Return the body that answers every request, each under its id; None if this one does not.

    ``frame`` is what it holds, if that has been read.
    """
    frame = frame or Frame(body.strip())
    answer = frame.head
    if answer.kind is RESPONSE and answer.id == head.id and head.kind is REQUEST and _is_framed(response):
        return body  # as nearly always
    is_readable = answer.kind is not Kind.INVALID
    answers = (frame.read_whole() if is_readable and not _is_framed(response) else frame.head).messages
    asked = {one.id: None for one in head.messages if one.kind is Kind.REQUEST and one.id is not None}
    answered = {one.id for one in answers if one.kind is Kind.RESPONSE}
    is_plain = answered.issuperset(asked) and all(one in asked or alike(one, asked) is None for one in answered)
    return body if is_plain else _odd_answer_in(frame, asked, is_batch=head.kind is Kind.BATCH)


def _odd_answer_in(frame: Frame, asked: dict[RequestId, None], *, is_batch: bool) -> bytes | None:
    found: list[bytes] = []
    settled: set[RequestId] = set()
    for one in fitting(frame, asked, settled, "the server", is_whole=True):
        if isinstance(one, StandIn) or (one.head.kind is Kind.RESPONSE and is_again(one.head.id, asked, settled)):
            continue  # of HTTP the status says that there is no answer
        found.append(one.raw)
        if one.head.kind is Kind.RESPONSE and one.head.id in asked:
            del asked[one.head.id]
            settled.add(one.head.id)
    if asked or not found:
        return None
    return b"[" + b",".join(found) + b"]" if is_batch or len(found) > 1 else found[0]
