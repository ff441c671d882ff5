"""Streamable HTTP, dialling: an endpoint behind which a server of 2025-03-26 to 2025-11-25 is.

A POST for each frame; the session id and version from the answer to ``initialize``; a GET stream for what the server
says unasked; lost streams resumed with ``Last-Event-ID``; a lost session begun anew from the recorded handshake.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random

import aiohttp

from relay.endpoints.http_dial import Dial
from relay.endpoints.inbox import FrameInbox
from relay.endpoints.remote_client import Post, RemoteClient, StreamCursor, protocol_version
from relay.errors import EndpointBroken, EndpointUnavailable, RelayError
from relay.frames import replies
from relay.frames.frame import Frame, Kind
from relay.frames.http_rules import (
    EVENT_STREAM,
    JSON,
    LAST_EVENT_ID,
    PROTOCOL_VERSION,
    SESSION_ID,
    is_session_id,
    media_type,
)
from relay.frames.sse import SseDecoder

__all__ = ["HttpClient"]

logger = logging.getLogger("relay")

_POST_HEADERS = {"Content-Type": JSON, "Accept": f"{JSON}, {EVENT_STREAM}"}
_RESUME_TRIES = 3  # failed attempts in a row to get a broken stream back; each success starts the count anew


class HttpClient(RemoteClient):
    """A connection to one Streamable HTTP server, for one client."""

    def __init__(self, dial: Dial, inbox: FrameInbox) -> None:
        """Connect on the first frame."""
        super().__init__(dial, inbox)
        self._session_id: str | None = None
        self._listener: asyncio.Task[None] | None = None
        self._probed: asyncio.Future[bool] | None = None
        self.is_undecided = True
        """Whether the server has never been reached, so that its transport is not known."""

    async def probe(self, frame: Frame) -> bool:
        """Send the first frame; return whether the server speaks Streamable HTTP.

        If it does, the frame's answers come as ever. If not, nothing was delivered: send it over another transport.
        """
        self._probed = asyncio.get_running_loop().create_future()
        await self.send((frame,))
        return await self._probed

    def _headers(self, extra: dict[str, str] | None = None) -> dict[str, str]:
        headers = dict(extra or {})
        if self._session_id is not None:
            headers[SESSION_ID] = self._session_id
        if self.version is not None:
            headers[PROTOCOL_VERSION] = self.version
        return headers

    # POST.

    async def _run(self, post: Post) -> None:
        try:
            await super()._run(post)
        finally:
            if self._probed is not None and not self._probed.done():
                self._probed.set_result(True)

    async def _deliver(self, post: Post) -> None:
        """POST the frame and take its answers; a session the server has forgotten is begun anew, once."""
        session_id = self._session_id
        if post.is_handshake:
            self._session_id = session_id = self.version = None
        async with self.dial.request("POST", self._headers(_POST_HEADERS), body=post.frame.raw) as response:
            if response.status == 404 and session_id is not None and not post.is_resent:
                await response.read()
            else:
                await self._take_answer(post, response)
                return
        # MCP 2025-11-25, "Session Management" 4: 404 for a session means that nothing of the request was executed.
        await self._renew(session_id)
        post.is_resent = True
        await self._deliver(post)

    async def _take_answer(self, post: Post, response: aiohttp.ClientResponse) -> None:
        self.is_undecided = False
        status = response.status
        if not 200 <= status < 300:
            await self._take_refusal(post, response)
            return
        if self._probed is not None and not self._probed.done():
            self._probed.set_result(True)
        if post.is_handshake:
            self._take_session_id(response)
        kind = media_type(response.headers.get("Content-Type"))
        if not post.ids:
            if post.frame.head.method == "notifications/initialized":
                self._after_initialized()
            return
        if kind == EVENT_STREAM:
            ended_well = await self._read_answers(post, response)
            if post.ids:
                await self._resume(post, ended_well=ended_well)
        elif kind == JSON:
            self._take_body(post, await self.dial.read_body(response))
        else:
            body = self.dial.describe_error_body(await self.dial.read_error_body(response))
            self._fail_with_status(post, status, f"answered with content type {kind or 'none'!r} {body}".strip())

    def _take_session_id(self, response: aiohttp.ClientResponse) -> None:
        session_id = response.headers.get(SESSION_ID)
        if session_id is not None and not is_session_id(session_id):
            logger.warning("%s: sent a session id that is not visible ASCII: ignored", self.name)
            session_id = None
        self._session_id = session_id

    def _take_body(self, post: Post, body: bytes) -> None:
        if body.strip():
            self.take(Frame(body.strip(), post.frame.head.id))
        if post.ids:
            self.fail(post, replies.UPSTREAM_STATUS, f"{self.name}: the answer is not one to this request", "unknown")

    async def _take_refusal(self, post: Post, response: aiohttp.ClientResponse) -> None:
        """Pass on a refusal that is a JSON-RPC error to this request; make one of any other."""
        status = response.status
        body = await self.dial.read_error_body(response)
        frame = Frame(body.strip(), post.frame.head.id)
        is_error = frame.head.kind is Kind.RESPONSE
        if self._probed is not None and not self._probed.done():
            if status in (400, 404, 405) and not is_error:
                self._take_back(post)
                self._probed.set_result(False)
                return
            self._probed.set_result(True)
        if is_error and frame.head.id is not None and post.ids == {frame.head.id}:
            self.take(frame)
            return
        self._fail_with_status(post, status, self.dial.describe_error_body(body))

    def _take_back(self, post: Post) -> None:
        """Forget a request that was not delivered, so that another transport can send it."""
        for request_id in tuple(post.ids):
            self._exchanges.settle(request_id)
        post.ids.clear()

    def _fail_with_status(self, post: Post, status: int, detail: str) -> None:
        if 300 <= status < 400:
            detail = "redirects are not followed; give the address it leads to"
        elif status == 401:
            detail += "; it wants a token: -H Authorization 'Bearer …', or API_ACCESS_TOKEN"
        message = f"{self.name}: HTTP {status}{': ' if detail else ''}{detail.lstrip('; ')}"
        delivered: replies.Delivered = "no" if 300 <= status < 500 else "unknown"
        self.fail(post, replies.UPSTREAM_STATUS, message, delivered, status=status)

    # Streams.

    async def _read_stream(
        self, response: aiohttp.ClientResponse, cursor: StreamCursor, post: Post | None = None
    ) -> None:
        """Take events until the stream ends, or every request of ``post`` is answered. Raises EndpointBroken."""
        decoder = SseDecoder(self._limits.max_frame_bytes)
        async for data in self.dial.chunks(response):
            for event in decoder.feed(data):
                cursor.advance(event)
                self.take_event(event, post)
            if post is not None and not post.ids:
                return
            await self.inbox.wait_for_room()

    async def _read_answers(self, post: Post, response: aiohttp.ClientResponse) -> bool:
        """Take events of a POST's stream; return whether it ended as its server meant it to."""
        try:
            await self._read_stream(response, post.cursor, post)
        except EndpointBroken:
            if post.cursor.last_event_id is None:
                raise
            return False
        return True

    async def _resume(self, post: Post, *, ended_well: bool) -> None:
        """Go on with a stream that ended before its answers had come, for as long as the server lets us.

        A stream that its server ended is asked for after the time the server said; one that broke, at once.
        """
        failures = 0
        cursor = post.cursor
        while post.ids:
            if cursor.last_event_id is None:
                raise EndpointBroken(f"{self.name}: the stream ended without an answer, and cannot be resumed")
            if ended_well or failures:
                await asyncio.sleep(cursor.retry if cursor.retry is not None else self._limits.reconnect_min)
            headers = self._headers({"Accept": EVENT_STREAM, LAST_EVENT_ID: cursor.last_event_id})
            try:
                async with self.dial.request("GET", headers) as response:
                    status = response.status
                    if status == 200 and media_type(response.headers.get("Content-Type")) == EVENT_STREAM:
                        failures = 0
                        ended_well = await self._read_answers(post, response)
                        continue
            except EndpointUnavailable as exc:
                # Nobody listens there any more: who began the request is gone, and what became of it is unknown.
                raise EndpointBroken(f"the stream broke; {exc}") from exc
            failures += 1
            if status < 500 or failures >= _RESUME_TRIES:
                raise EndpointBroken(f"{self.name}: HTTP {status} when its stream was to be resumed")

    def _after_initialized(self) -> None:
        if self._listener is None or self._listener.done():
            self._listener = self._tasks.spawn(self._listen(), name=f"{self.name}: GET stream")

    async def _listen(self) -> None:
        """Keep a GET stream open for what the server says unasked, for as long as the session lives."""
        delay = self._limits.reconnect_min
        session_id, cursor, was_open = self._session_id, StreamCursor(), False
        while not self._is_closed:
            if session_id != self._session_id:
                session_id, cursor, was_open = self._session_id, StreamCursor(), False
            headers = {"Accept": EVENT_STREAM}
            if cursor.last_event_id is not None:
                headers[LAST_EVENT_ID] = cursor.last_event_id
            try:
                async with self.dial.request("GET", self._headers(headers)) as response:
                    status = response.status
                    if status == 200 and media_type(response.headers.get("Content-Type")) == EVENT_STREAM:
                        was_open, delay = True, self._limits.reconnect_min
                        await self._read_stream(response, cursor)
                if status == 404 and was_open and session_id is not None:
                    await self._renew(session_id)
                    continue
                if 400 <= status < 500 and status not in (408, 425, 429):
                    logger.info("%s: no GET stream here (HTTP %d)", self.name, status)
                    return
            except RelayError as exc:
                logger.info("%s: GET stream lost: %s", self.name, exc)
            # Jitter: a server that restarts must not get all its clients back in one moment.
            own_wait = delay * random.uniform(0.5, 1.0)
            await asyncio.sleep(cursor.retry if cursor.retry is not None else own_wait)
            delay = min(delay * 2, self._limits.reconnect_max)

    # Sessions.

    async def _renew(self, session_id: str | None) -> None:
        """Begin a new session from the recorded handshake, one at a time. Raises RelayError if that fails."""
        async with self._renewing:
            if self._session_id != session_id:
                return  # another request has done it
            if self._initialize is None:
                raise EndpointBroken(f"{self.name}: the server has forgotten the session, and no handshake is known")
            logger.warning("%s: the server has forgotten the session; beginning a new one", self.name)
            self._ready.clear()
            try:
                await self._repeat_handshake(self._initialize)
            finally:
                self._ready.set()

    async def _repeat_handshake(self, initialize: Frame) -> None:
        self._session_id = self.version = None
        async with self.dial.request("POST", self._headers(_POST_HEADERS), body=initialize.raw) as response:
            if response.status != 200:
                raise EndpointUnavailable(f"{self.name}: HTTP {response.status} to a new initialize")
            session_id = response.headers.get(SESSION_ID)
            self.version = await self._read_version(response, initialize)
        if self.version is None:
            raise EndpointUnavailable(f"{self.name}: the server refused a new initialize")
        self._session_id = session_id
        async with self.dial.request("POST", self._headers(_POST_HEADERS), body=self._initialized.raw) as response:
            await response.read()
        self._after_initialized()

    async def _read_version(self, response: aiohttp.ClientResponse, initialize: Frame) -> str | None:
        if media_type(response.headers.get("Content-Type")) != EVENT_STREAM:
            return protocol_version(Frame(await self.dial.read_body(response)))
        decoder = SseDecoder(self._limits.max_frame_bytes)
        async for data in self.dial.chunks(response):
            for event in decoder.feed(data):
                if isinstance(event.data, bytes) and Frame(event.data).head.id == initialize.head.id:
                    return protocol_version(Frame(event.data))
        return None

    async def _say_goodbye(self) -> None:
        """DELETE the session (2025-11-25, "Session Management" 5); a server may refuse that with 405."""
        if self._session_id is None:
            return
        with contextlib.suppress(RelayError, TimeoutError):
            async with asyncio.timeout(self._limits.close_grace):
                async with self.dial.request("DELETE", self._headers()) as response:
                    logger.debug("%s: session ended: HTTP %d", self.name, response.status)
