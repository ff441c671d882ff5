"""Streamable HTTP to Streamable HTTP, request by request: the relay keeps nothing of a session.

The session id, the event ids and the statuses are the server's own and pass as they are, so a relay that is restarted
between two requests is not noticed. Each request is checked as any other, its answer is the server's, and a request
whose server cannot be reached or breaks off gets a JSON-RPC error with its id. Both eras are alike here.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Mapping

from aiohttp import web

from relay.endpoints.http_checks import Checks, Refused
from relay.endpoints.http_dial import Dial, Response
from relay.errors import EndpointBroken, EndpointUnavailable, FrameTooLarge
from relay.frames import replies
from relay.frames.frame import Frame, Head, Kind, RequestId
from relay.frames.http_rules import EVENT_STREAM, JSON, LAST_EVENT_ID, PROTOCOL_VERSION, SESSION_ID, media_type
from relay.frames.modern import METHOD, NAME, PARAM_PREFIX
from relay.frames.sse import SseDecoder, encode_event
from relay.limits import Limits

__all__ = ["Elsewhere", "PassThrough"]

logger = logging.getLogger("relay")

# What is the transport's of a client's headers. Its credentials and cookies are for this relay, not for the server.
_ONWARD = (SESSION_ID, PROTOCOL_VERSION, LAST_EVENT_ID, METHOD, NAME, "Traceparent", "Tracestate", "Baggage")
_HOMEWARD = (SESSION_ID, "Retry-After", "Allow", "Cache-Control", "X-Accel-Buffering")
_LARGE_BODIES = 8  # of up to max_frame_bytes each


class Elsewhere(Exception):
    """The server takes no POST here and says so without JSON-RPC: it may speak HTTP+SSE. Nothing was executed."""


class PassThrough:
    """A server behind an HTTP listener that hands requests on."""

    def __init__(self, dial: Dial, limits: Limits, checks: Checks) -> None:
        """Hand requests on through ``dial``, those that pass ``checks``."""
        self.in_flight = 0
        self.is_elsewhere = False
        """Whether the server takes no POST here: seen with the last request that had no session."""
        self._dial = dial
        self._limits = limits
        self._checks = checks
        self._large_bodies = asyncio.Semaphore(_LARGE_BODIES)

    async def post(self, request: web.BaseRequest, frame: Frame, cors: Mapping[str, str]) -> web.StreamResponse:
        """Hand a POST on and give its answer back. Raises Refused, Elsewhere."""
        headers = self._onward(request)
        headers["Content-Type"] = JSON
        return await self._hand_on(request, headers, cors, frame)

    async def other(self, request: web.BaseRequest, cors: Mapping[str, str]) -> web.StreamResponse:
        """Hand a GET or a DELETE on. Raises Refused."""
        return await self._hand_on(request, self._onward(request), cors)

    @contextlib.asynccontextmanager
    async def turn_to_read(self, request: web.BaseRequest) -> AsyncIterator[None]:
        """Let only so many large bodies be in memory, from their first byte to their answer; raises Refused."""
        if self.in_flight >= self._limits.max_shared_in_flight:
            raise Refused(503, f"{self.in_flight} requests are in flight already")
        length = request.content_length
        if length is not None and length <= self._limits.buffer_low:
            yield
        else:
            async with self._large_bodies:
                yield

    def _onward(self, request: web.BaseRequest) -> dict[str, str]:
        prefix = PARAM_PREFIX.lower()
        headers = {name: request.headers[name] for name in _ONWARD if name in request.headers}
        headers |= {name: value for name, value in request.headers.items() if name.lower().startswith(prefix)}
        headers["Accept"] = request.headers.get("Accept", f"{JSON}, {EVENT_STREAM}")
        return headers

    async def _hand_on(
        self, request: web.BaseRequest, headers: Mapping[str, str], cors: Mapping[str, str], frame: Frame | None = None
    ) -> web.StreamResponse:
        head = frame.head if frame is not None else None
        self.in_flight += head is not None and head.asks
        try:
            body = frame.raw if frame is not None else None
            async with self._dial.request(request.method, headers, body=body) as response:
                return await self._give_back(request, response, cors, head)
        except EndpointUnavailable as exc:
            raise self._failed(head, replies.UNAVAILABLE, f"{exc}") from exc
        except FrameTooLarge as exc:
            raise self._failed(head, replies.TOO_LARGE, f"{exc}") from exc
        except EndpointBroken as exc:
            raise self._failed(head, replies.LOST, f"the request was lost: {exc}") from exc
        finally:
            self.in_flight -= head is not None and head.asks

    def _failed(self, head: Head | None, code: int, message: str) -> Refused:
        logger.info("%s", message)
        return Refused(502, message, code=code, request_id=head.id if head is not None else None)

    async def _give_back(
        self, request: web.BaseRequest, response: Response, cors: Mapping[str, str], head: Head | None
    ) -> web.StreamResponse:
        status = response.status
        headers = {**cors, **{name: response.headers[name] for name in _HOMEWARD if name in response.headers}}
        kind = media_type(response.headers.get("Content-Type"))
        if 300 <= status < 400:
            raise self._failed(
                head, replies.UPSTREAM_STATUS, f"{self._dial.name}: HTTP {status}: redirects are not followed"
            )
        if kind == EVENT_STREAM and 200 <= status < 300:
            return await self._stream(request, response, headers, head)
        body = await self._dial.read_body(response)
        is_begun = SESSION_ID in request.headers
        if head is not None and not is_begun and status in (400, 404, 405) and _is_foreign(status, body):
            self.is_elsewhere = True
            raise Elsewhere
        if 200 <= status < 300 and not is_begun:
            self.is_elsewhere = False
        if "Content-Type" in response.headers and body:
            headers["Content-Type"] = response.headers["Content-Type"]
        return web.Response(status=status, body=body, headers=headers)

    async def _stream(
        self, request: web.BaseRequest, response: Response, headers: dict[str, str], head: Head | None
    ) -> web.StreamResponse:
        """Pass a stream on as it comes; if it breaks off for good, its request gets an error."""
        answer = web.StreamResponse(status=response.status, headers={**headers, "Content-Type": EVENT_STREAM})
        watch = _StreamWatch(head, self._limits)
        await answer.prepare(request)
        try:
            async for chunk in self._dial.chunks(response):
                watch.feed(chunk)
                await self._write(request, answer, chunk)
        except EndpointBroken as exc:
            if watch.is_owed and not watch.is_resumable:
                message = f"the request was lost: {exc}"
                for request_id in watch.waiting:
                    lost = replies.error(request_id, replies.LOST, message, delivered="unknown")
                    await self._write(request, answer, b"\n\n" + encode_event(lost.line))
            elif request.transport is not None:
                request.transport.abort()  # as the server did: its client comes back with Last-Event-ID
                return answer
        await answer.write_eof()
        return answer

    async def _write(self, request: web.BaseRequest, answer: web.StreamResponse, data: bytes) -> None:
        try:
            async with asyncio.timeout(self._limits.stall):
                await answer.write(data)
        except TimeoutError:
            logger.warning("http: a client left its stream unread for %g s: connection closed", self._limits.stall)
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError from None


class _StreamWatch:
    """What a stream still owes its client, from the events that pass."""

    def __init__(self, head: Head | None, limits: Limits) -> None:
        asked = (one for one in (head.messages if head is not None else ()) if one.kind is Kind.REQUEST)
        self.waiting: set[RequestId] = {one.id for one in asked if one.id is not None}
        self.is_resumable = False
        self._decoder = SseDecoder(limits.max_frame_bytes)

    @property
    def is_owed(self) -> bool:
        """Whether an answer has still to come."""
        return bool(self.waiting)

    def feed(self, chunk: bytes) -> None:
        """Look at what passes."""
        if not self.waiting:
            return
        for event in self._decoder.feed(chunk):
            self.is_resumable = self.is_resumable or bool(event.id)
            if isinstance(event.data, bytes) and event.data:
                for one in Frame(event.data).head.messages:
                    if one.kind is Kind.RESPONSE and one.id is not None:
                        self.waiting.discard(one.id)


def _is_foreign(status: int, body: bytes) -> bool:
    """Tell whether an error page is no answer to the request: it is not JSON-RPC, or it is POST that is refused."""
    head = Frame(body.strip()).head
    return head.kind is not Kind.RESPONSE or (status == 405 and head.id is None)
