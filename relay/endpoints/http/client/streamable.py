"""Dial a Streamable HTTP server of revision 2025-03-26 or later.

The endpoint sends each frame in a POST. It takes the session id and the version from the answer to ``initialize``, and
opens a GET stream for the server's own messages. It resumes lost streams with ``Last-Event-ID``, and replaces a lost
session by repeating the recorded handshake.

A frame whose ``_meta`` names 2026-07-28 uses no session: its headers are made from the frame, and its answer arrives on
its own POST or not at all. One client may send both kinds of frame, because it probes which one the server speaks.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from relay.endpoints.core.inbox import FrameInbox
from relay.endpoints.core.turns import LARGE, read_in_turn
from relay.endpoints.http.client import lost_session
from relay.endpoints.http.client.dial import AnyDial, Response
from relay.endpoints.http.client.doubtful_calls import DoubtfulCalls
from relay.endpoints.http.client.post import Post, StreamCursor
from relay.endpoints.http.client.remote_client import RemoteClient
from relay.endpoints.http.media import EVENT_STREAM, JSON, media_type, without_bom
from relay.errors import EndpointBroken, EndpointUnavailable, RelayError
from relay.frames import replies
from relay.frames.frame import Frame
from relay.frames.head import Kind
from relay.frames.sse import SseDecoder
from relay.mcp.errors import error_for, is_modern_error
from relay.mcp.facts import read_facts
from relay.mcp.handshake import negotiated_version
from relay.mcp.headers import LAST_EVENT_ID, PROTOCOL_VERSION, SESSION_ID, is_session_id, request_headers
from relay.mcp.tool_headers import ToolHeaders
from relay.mcp.tool_list import without_tools

if TYPE_CHECKING:
    from yarl import URL

    from relay.endpoints.http.client.pool import PooledConnection, PooledResponse

__all__ = ["HttpClient"]

logger = logging.getLogger("relay")

_POST_HEADERS = {"Content-Type": JSON, "Accept": f"{JSON}, {EVENT_STREAM}"}
# Transient refusals: 409 while the server has not yet noticed that the previous stream is gone (TypeScript SDK).
_TRANSIENT = (408, 409, 425, 429)
_NOT_OF_THE_REQUEST = (401, 403, 404, 407, 410)  # about the login or the session: the relay words the error itself
_LEAST_WAIT = 0.05  # a server that ends its streams at once must not keep the relay busy, whatever retry time it names
_SOON = 0.5  # seconds until a look whether a server is still there whose end must be noticed
_RESUME_TRIES = 3  # consecutive failed attempts to resume a broken stream; a success resets the count


class HttpClient(RemoteClient):
    """A connection to one Streamable HTTP server on behalf of one client."""

    def __init__(self, dial: AnyDial, inbox: FrameInbox) -> None:
        """Connect on the first frame."""
        super().__init__(dial, inbox)
        self._session_id: str | None = None
        self._listener: asyncio.Task[None] | None = None
        self._failed_renewals = 0
        self._doubtful = DoubtfulCalls(dial, self._tasks, self._headers_in, self._fail_doubtful)
        self._pool_headers: tuple[str | None, str | None, str, URL, Mapping[str, str]] | None = None
        self._bare_headers: tuple[str, URL, Mapping[str, str]] | None = None
        self._tools = ToolHeaders()
        self._probed: asyncio.Future[bool] | None = None

    async def probe(self, frame: Frame) -> bool:
        """Send the first frame; return whether the server speaks Streamable HTTP.

        If so, the inbox receives the frame's answers. If not, the server did not execute the frame, and the caller
        sends the frame over another transport.
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

    def _headers_in(self, session: object, extra: dict[str, str] = _POST_HEADERS) -> dict[str, str]:
        """Return the headers of a request in ``session``, which may differ from the current session."""
        headers = self._headers(extra)
        headers.pop(SESSION_ID, None)
        return {**headers, SESSION_ID: session} if isinstance(session, str) else headers

    def _fail_doubtful(self, post: Post, fault: str) -> None:
        self.fail(post, replies.LOST, f"the request was lost: {self.name}: {fault}", "unknown")

    # MCP 2025-11-25, "Session Management" 4: 404 means that the server executed nothing of the request.
    _lost_by = (404, 410)

    # Modern frames.

    _facts_of = staticmethod(read_facts)

    def _take_modern(self, post: Post, answer: Frame) -> Frame:
        """Learn which headers the tools require; drop tools that require invalid headers, as every client must."""
        if post.frame.head.method != "tools/list":
            return answer
        invalid = self._tools.learn(answer)
        for tool in invalid:
            logger.warning("%s: dropped the tool %r from the list: %s", self.name, tool.name, tool.reason)
        return without_tools(answer, {tool.name for tool in invalid}) if invalid else answer

    def _take_modern_refusal(self, post: Post, status: int, body: bytes) -> None:
        """Forward a refusal that is a JSON-RPC error; turn any other refusal into one.

        Only an answer that a modern server alone can give decides the transport. A legacy server, even one of HTTP+SSE,
        may give any other refusal. The client then continues with ``initialize``, and the relay tries both transports.
        """
        request_id = post.frame.head.id
        frame = Frame(body.strip(), request_id)
        is_own = frame.head.kind is Kind.RESPONSE and frame.head.id == request_id
        if is_own or is_modern_error(frame):
            self.is_undecided = False
        answer = error_for(frame, request_id) if request_id is not None and status in (400, 404) else None
        if post.owed and (is_own or answer is not None):
            self.take(frame if is_own or answer is None else answer)
        else:
            self._fail_with_status(post, status, self.dial.describe_error_body(body))

    # POST.

    async def _run(self, post: Post) -> None:
        try:
            await super()._run(post)
        finally:
            if self._probed is not None and not self._probed.done():
                self._probed.set_result(True)

    async def _deliver(self, post: Post, *, may_follow: bool = True) -> None:
        """POST the frame and take its answers. If the server has forgotten the session, begin a new one, once."""
        session_id = self._session_id if post.facts is None else None
        if post.is_handshake:
            self._session_id = session_id = self.version = None
        if post.facts is None:
            headers = self._headers(_POST_HEADERS)
        else:
            headers = {**_POST_HEADERS, **request_headers(post.frame, post.facts, self._tools)}
        post.session = session_id
        post.tries = post.tries or self.dial.tries(post.frame)
        async with self.dial.request(
            "POST", headers, body=post.frame.raw, may_follow=may_follow, tries=post.tries
        ) as response:
            is_taken = await self._take_unless_lost(post, response)
        if not is_taken:
            await self._deliver_again(post, session_id)

    async def _take_unless_lost(self, post: Post, response: Response) -> bool:
        """Take an answer; return False if it means that the session is lost and the request was not executed."""
        if post.session is None or response.status not in lost_session.STATUSES:
            await self._take_answer(post, response)
            return True
        body = await self.dial.read_error_body(response)
        if self._loss.is_told_by(response.status, body, post.frame, is_resent=post.is_resent):
            return False
        await self._take_refusal(post, response, body)
        return True

    async def _take_or_deliver_again(self, post: Post, response: Response, session_id: str) -> None:
        if not await self._take_unless_lost(post, response):
            await self._deliver_again(post, session_id)

    async def _deliver_again(self, post: Post, session_id: str | None) -> None:
        post.is_resent, post.session = True, None  # the request now waits for a session
        await self._renew(session_id)
        await self._deliver(post)

    async def _take_answer(self, post: Post, response: Response) -> None:
        status = response.status
        if not 200 <= status < 300:
            await self._take_refusal(post, response)
            return
        self.is_undecided = False
        if self._probed is not None and not self._probed.done():
            self._probed.set_result(True)
        if post.is_handshake:
            self._take_session_id(response)
        kind = media_type(response.headers.get("Content-Type"))
        if not post.owed:
            if post.frame.head.method == "notifications/initialized" and post.facts is None:
                self._after_initialized()
            return
        if kind == EVENT_STREAM:
            ended_well = await self._read_answers(post, response)
            if post.owed:
                await self._resume(post, ended_well=ended_well)
        elif kind == JSON:
            frame = _frame_in(await self.dial.read_body(response), post)
            await read_in_turn(frame)
            self._take_body(post, frame)
        else:
            body = self.dial.describe_error_body(await self.dial.read_error_body(response))
            self._fail_with_status(post, status, f"answered with content type {kind or 'none'!r} {body}".strip())

    def _take_session_id(self, response: Response) -> None:
        session_id = response.headers.get(SESSION_ID)
        if session_id is not None and not is_session_id(session_id):
            logger.warning("%s: ignored the server's session id: it is not visible ASCII", self.name)
            session_id = None
        self._session_id = session_id

    def _take_body(self, post: Post, frame: Frame) -> None:
        if frame.raw:
            self.take(frame, is_whole=True)
        if post.owed:
            self.fail(post, replies.UPSTREAM_STATUS, f"{self.name}: the answer does not match this request", "unknown")

    async def _take_refusal(self, post: Post, response: Response, body: bytes | None = None) -> None:
        """Forward a refusal that is a JSON-RPC error to this request; turn any other refusal into one."""
        status = response.status
        if body is None:
            body = await self.dial.read_error_body(response)
        if post.facts is not None:
            self._take_modern_refusal(post, status, body)
            return
        self.is_undecided = False
        frame = Frame(body.strip(), post.frame.head.id)
        is_error = frame.head.kind is Kind.RESPONSE
        if self._probed is not None and not self._probed.done():
            # 405 with an error that does not answer this request: the server refuses POST, not the request.
            is_elsewhere = status in (400, 404, 405) and not is_error
            if is_elsewhere or (status == 405 and frame.head.id is None and not is_modern_error(frame)):
                self._take_back(post)
                self._probed.set_result(False)
                return
            self._probed.set_result(True)
        if is_error and frame.head.id is not None and post.owed == 1 and self._books.find(frame.head.id) is post:
            self.take(frame)
            return
        request_id = post.frame.head.id
        is_refused = 400 <= status < 500 and status not in _NOT_OF_THE_REQUEST
        if post.owed and request_id is not None and is_refused and (error := error_for(frame, request_id)) is not None:
            self.take(error)  # the server's error has no id, or another id
            return
        self._fail_with_status(post, status, self.dial.describe_error_body(body))

    def _take_back(self, post: Post) -> None:
        """Forget a request that was not delivered, so that another transport can send it."""
        self._take_open(post)

    def _fail_with_status(self, post: Post, status: int, detail: str) -> None:
        if status == 401 and self.dial.has_login:
            detail += "; the server does not accept this login"
        elif status == 407:
            detail += "; the proxy requires a login: HTTP_PROXY=http://user:password@host:port"
        elif status == 401:
            detail += "; the server requires a login: mcp-relay auth login URL, or a token in Authorization: Bearer …"
        message = f"{self.name}: HTTP {status}{': ' if detail else ''}{detail.lstrip('; ')}"
        self.fail(post, replies.UPSTREAM_STATUS, message, replies.delivered_by(status), status=status)

    # POST without a task.

    def _send_at_once(self, post: Post) -> bool:
        if self.is_undecided:
            return False  # the pool must not belong to a client that the relay may still give up
        pool, login = self.dial.pool(self._tasks), self.dial.login_headers()
        if pool is None or login is None or (post.facts is not None and pool.has_mcp_headers):
            return False
        cookies = pool.cookies.header(pool.path) if pool.cookies.kept else ""
        try:
            if post.facts is not None:
                if self._bare_headers != (cookies, pool.url, login):
                    pool.set_bare_headers({**_with_cookies(_POST_HEADERS, cookies), **login})
                    self._bare_headers = (cookies, pool.url, login)
            elif self._pool_headers != (self._session_id, self.version, cookies, pool.url, login):
                pool.set_headers({**_with_cookies(self._headers(_POST_HEADERS), cookies), **login})
                self._pool_headers = (self._session_id, self.version, cookies, pool.url, login)
        except ValueError:
            return False  # the ordinary way reports the invalid header
        pooled = pool.take()
        if pooled is None:
            pool.grow(len(self._books))
            return False
        body = post.frame.raw
        post.cancel = pooled.abort
        if post.facts is None:
            post.session = session_id = self._session_id
            head = pool.head(body)
        else:
            session_id = None
            head = pool.head_with(request_headers(post.frame, post.facts, self._tools), body)
        pooled.ask(head, body, lambda answer: self._take_at_once(post, pooled, answer, session_id, login))
        return True

    def _take_at_once(
        self,
        post: Post,
        pooled: PooledConnection,
        answer: PooledResponse | None,
        session_id: str | None,
        login: Mapping[str, str],
    ) -> None:
        """Take an answer on a kept connection: a complete one now, any other in a task, the ordinary way."""
        limit = min(self._limits.max_frame_bytes, LARGE)
        are_events_taken = False
        if answer is not None and answer.cookies:
            pooled.pool.keep_cookies(answer)
        if answer is not None and answer.status == 200 and answer.is_whole and answer.is_plain and answer.size <= limit:
            kind = media_type(answer.headers.get("Content-Type"))
            if kind == JSON:
                self._take_body(post, _frame_in(answer.whole_body(), post))
            elif kind == EVENT_STREAM:
                self._take_events(post, answer.whole_body())
                are_events_taken = True
        if not post.owed or self._is_closed:
            if answer is not None:
                pooled.release()
            self._request_ended(post)
            return
        taking: Callable[[], Awaitable[None]]
        if answer is None:
            taking = self._raise_lost
        elif self.dial.may_be_refused(answer.status):
            taking = functools.partial(self._log_in_or_take, post, answer, login)
        elif answer.status in lost_session.STATUSES and session_id is not None:
            taking = functools.partial(self._take_or_deliver_again, post, answer, session_id)
        elif self.dial.learn_move(answer, self.dial.url, answer.url):
            taking = functools.partial(self._deliver, post, may_follow=False)
        elif are_events_taken:
            taking = functools.partial(self._resume, post, ended_well=True)
        else:
            taking = functools.partial(self._take_answer, post, answer)
        task = self._tasks.spawn(self._take_in_task(post, taking), name=f"{self.name}: POST {post.frame.head.method}")
        task.add_done_callback(lambda _: self._end_on_pooled(post, pooled))
        post.cancel = task.cancel

    def _take_events(self, post: Post, body: bytes) -> None:
        for event in SseDecoder(self._limits.max_frame_bytes).feed(body):
            if event.id is not None or event.retry is not None:
                post.cursor.advance(event)
            self.take_event(event, post)

    async def _take_in_task(self, post: Post, taking: Callable[[], Awaitable[None]]) -> None:
        await self._settling(post, taking())

    def _end_on_pooled(self, post: Post, pooled: PooledConnection) -> None:
        pooled.release()
        self._request_ended(post)

    async def _log_in_or_take(self, post: Post, answer: PooledResponse, login: Mapping[str, str]) -> None:
        """Send a request again if the server refused ``login`` and there is another, or take the refusal."""
        tries = post.tries = self.dial.tries(post.frame, sent=login)
        if tries is not None and await tries.may_send_again(answer.status, answer.headers):
            await self._deliver(post)
        else:
            await self._take_answer(post, answer)

    async def _raise_lost(self) -> None:
        raise EndpointBroken(f"{self.name}: the server closed the connection before answering")

    # Streams.

    async def _read_stream(self, response: Response, cursor: StreamCursor, post: Post | None = None) -> None:
        """Take events until the stream ends or ``post`` has all its answers. Raises EndpointBroken."""
        async for events in self.dial.events(response):
            for event in events:
                cursor.advance(event)
                self.take_event(event, post, await self.read_event(event, post))
            if post is not None and not post.owed:
                return
            await self.inbox.wait_for_room()

    async def _read_answers(self, post: Post, response: Response) -> bool:
        """Take the events of a POST's stream; return False if the stream broke and can be resumed."""
        try:
            await self._read_stream(response, post.cursor, post)
        except EndpointBroken:
            if post.cursor.last_event_id is None or post.facts is not None:
                raise
            return False
        return True

    async def _resume(self, post: Post, *, ended_well: bool) -> None:
        """Resume a stream that ended before its answers arrived, for as long as the server allows.

        Resume a stream that the server ended after the server's retry time, and a broken stream at once.
        """
        failures = 0
        cursor = post.cursor
        if post.facts is None:
            self._doubtful.add(post)
        while post.owed:
            if cursor.last_event_id is None or post.facts is not None:
                raise EndpointBroken(f"{self.name}: the stream ended without an answer and cannot be resumed")
            if ended_well:
                await asyncio.sleep(max(cursor.retry or self._limits.reconnect_min, _LEAST_WAIT))
            elif failures:
                # Sooner than the server's retry time: if the server is gone, the client needs errors within a second.
                await asyncio.sleep(self._limits.reconnect_min)
            seen = cursor.last_event_id
            ended_well = await self._resume_once(post, seen)
            failures = 0 if ended_well or cursor.last_event_id != seen else failures + 1
            if failures >= _RESUME_TRIES:
                raise EndpointBroken(f"{self.name}: the stream broke, and {failures} attempts to resume it failed")

    async def _resume_once(self, post: Post, last_event_id: str) -> bool:
        """Request the rest of a stream; return False if that broke as well. Raises EndpointBroken if there is none."""
        headers = self._headers_in(post.session, {"Accept": EVENT_STREAM, LAST_EVENT_ID: last_event_id})
        try:
            async with self.dial.request("GET", headers) as response:
                status = response.status
                if status == 200 and media_type(response.headers.get("Content-Type")) == EVENT_STREAM:
                    return await self._read_answers(post, response)
        except EndpointUnavailable as exc:
            # The server no longer listens: the process that took the request is gone, and its outcome is unknown.
            raise EndpointBroken(f"the stream broke; {exc}") from exc
        except EndpointBroken:
            return False  # a GET may be repeated
        if status < 500 and status not in _TRANSIENT:
            raise EndpointBroken(f"{self.name}: HTTP {status} to the request that resumes the stream")
        return False

    def _after_initialized(self) -> None:
        """Listen for the server's own messages in this session, and stop listening in the previous session."""
        if self._listener is not None:
            self._listener.cancel()
        self._listener = self._tasks.spawn(self._listen(self._session_id), name=f"{self.name}: GET stream")

    async def _listen(self, session_id: str | None) -> None:
        """Keep a GET stream open for as long as the session lives."""
        delay = self._limits.reconnect_min
        cursor, was_open = StreamCursor(), False
        clock = asyncio.get_running_loop().time
        while not self._is_closed:
            began = clock()
            headers = {"Accept": EVENT_STREAM}
            if cursor.last_event_id is not None:
                headers[LAST_EVENT_ID] = cursor.last_event_id
            status = 0
            try:
                tries = self.dial.tries(is_background=True)
                async with self.dial.request("GET", self._headers(headers), tries=tries) as response:
                    status = response.status
                    if status == 200 and media_type(response.headers.get("Content-Type")) == EVENT_STREAM:
                        was_open = True
                        await self._read_stream(response, cursor)
            except RelayError as exc:
                logger.info("%s: GET stream lost: %s", self.name, exc)
                if was_open and self.dial.ends_with_server and isinstance(exc, EndpointUnavailable):
                    self.server_left(exc)
                    return
            is_lost = status in (404, 410) or (status == 400 and LAST_EVENT_ID not in headers)
            if is_lost and was_open and session_id is not None:
                # In a separate task: the renewal cancels this task when it starts to listen in the new session.
                self._tasks.spawn(self._renew_quietly(session_id), name=f"{self.name}: new session")
                return
            if status in (404, 405, 410) or (not was_open and 400 <= status < 500 and status not in _TRANSIENT):
                logger.info("%s: the server offers no GET stream (HTTP %d)", self.name, status)
                return
            if 400 <= status < 500:
                cursor.last_event_id = None  # the server may no longer accept this id
            has_lived = status == 200 and clock() - began > delay
            delay = self._limits.reconnect_min if has_lived else min(delay * 2, self._limits.reconnect_max)
            # Jitter: a server that restarts must not get all its clients back at the same moment.
            own_wait = delay * random.uniform(0.5, 1.0)
            wait = own_wait
            if cursor.retry is not None:
                wait = max(cursor.retry, _LEAST_WAIT if status == 200 else own_wait)
            await asyncio.sleep(min(wait, _SOON) if was_open and self.dial.ends_with_server else wait)

    async def _renew_quietly(self, session_id: str) -> None:
        try:
            await self._renew(session_id)
        except RelayError as exc:
            logger.warning("%s", exc)  # the next request tries to begin a session again

    # Sessions.

    async def _renew(self, session_id: str | None) -> None:
        """Begin a new session from the recorded handshake, one at a time. Requests that waited share the outcome.

        Raises EndpointUnavailable on failure: the server has executed none of the requests that waited.
        """
        failures = self._failed_renewals
        async with self._renewing:
            if self._session_id != session_id:
                return  # another request has begun a new session
            if self._failed_renewals != failures:
                raise EndpointUnavailable(f"{self.name}: the session is lost, and the server refused a new one")
            logger.warning("%s: the server has forgotten the session; starting a new one", self.name)
            for post in self._books.entries():
                if post.session == session_id and post.facts is None:
                    self._doubtful.add(post)
            self._ready.clear()
            try:
                async with asyncio.timeout(self._limits.handshake) as patience:
                    await self._repeat_handshake(patience)
            except (RelayError, TimeoutError) as exc:
                self._failed_renewals += 1
                seen = exc if isinstance(exc, RelayError) else f"no answer within {self._limits.handshake:g} s"
                raise EndpointUnavailable(f"the session is lost, and a new handshake failed: {seen}") from exc
            finally:
                self._ready.set()

    async def _repeat_handshake(self, patience: asyncio.Timeout) -> None:
        initialize = self._initialize
        if initialize is None:
            raise EndpointUnavailable(f"{self.name}: the client has not initialized, so no handshake can be repeated")
        tries = self.dial.tries(initialize, patience=patience)
        async with self.dial.request("POST", _POST_HEADERS, body=initialize.raw, tries=tries) as response:
            if response.status != 200:
                said = self.dial.describe_error_body(await self.dial.read_error_body(response))
                raise EndpointUnavailable(f"{self.name}: HTTP {response.status} to a new initialize {said}".rstrip())
            version = await self._read_version(response)
        if version is None:
            raise EndpointUnavailable(f"{self.name}: the server refused a new initialize")
        self.version = version
        self._take_session_id(response)
        async with self.dial.request("POST", self._headers(_POST_HEADERS), body=self._initialized.raw) as response:
            await self.dial.read_error_body(response)
        self._after_initialized()

    async def _read_version(self, response: Response) -> str | None:
        if media_type(response.headers.get("Content-Type")) != EVENT_STREAM:
            return negotiated_version(Frame(without_bom(await self.dial.read_body(response))))
        async for events in self.dial.events(response):
            for event in events:
                # Accept any id: this stream carries no other request's answer.
                if isinstance(event.data, bytes) and Frame(event.data).head.kind in (Kind.RESPONSE, Kind.INVALID):
                    return negotiated_version(Frame(event.data))
        return None

    async def _say_goodbye(self) -> None:
        """DELETE the session (2025-11-25, "Session Management" 5). A server may refuse the DELETE with 405."""
        if self._session_id is None:
            return
        with contextlib.suppress(RelayError, TimeoutError):
            async with asyncio.timeout(self._limits.close_grace):
                tries = self.dial.tries(is_background=True)
                async with self.dial.request("DELETE", self._headers(), tries=tries) as response:
                    logger.debug("%s: session ended: HTTP %d", self.name, response.status)


def _frame_in(body: bytes, post: Post) -> Frame:
    return Frame(without_bom(body).strip(), post.frame.head.id)


def _with_cookies(headers: dict[str, str], cookies: str) -> dict[str, str]:
    return {**headers, "Cookie": cookies} if cookies else headers
