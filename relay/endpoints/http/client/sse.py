"""Dial an HTTP+SSE server of 2024-11-05: a GET stream carries the server's frames, and POSTs carry the client's.

The stream is the session. When the stream breaks, the open requests get errors. The relay then opens a new stream and
repeats the recorded handshake, so that the client's next request works. A server may also forget the session while the
stream looks alive, and refuse a POST. The relay then begins a new session and retries the request.

The server's ``endpoint`` must be of the same origin: a token must not go to another one (mcp-remote, CVE-2026-52001).
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import TYPE_CHECKING

from yarl import URL

from relay.addresses import fault_of_url
from relay.endpoints.core.inbox import FrameInbox
from relay.endpoints.http.address import join_url
from relay.endpoints.http.client.dial import AnyDial, Response
from relay.endpoints.http.client.post import Post
from relay.endpoints.http.client.remote_client import RemoteClient
from relay.endpoints.http.media import EVENT_STREAM, JSON, media_type
from relay.errors import EndpointBroken, EndpointUnavailable, RelayError
from relay.frames import replies
from relay.frames.frame import Frame
from relay.frames.head import Kind
from relay.frames.sse import SseEvent
from relay.mcp.handshake import negotiated_version
from relay.mcp.headers import PROTOCOL_VERSION
from relay.routing.matching import answers_in

if TYPE_CHECKING:
    from relay.auth.outbound.tries import Tries

__all__ = ["SseClient"]

logger = logging.getLogger("relay")


class _Session:
    """One stream and its state."""

    def __init__(self) -> None:
        """Create the state before the stream is open."""
        self.messages: asyncio.Future[URL] = asyncio.get_running_loop().create_future()
        """The URL to POST to, set once the server has named it and the handshake is done."""
        self.repeated: asyncio.Future[Frame] | None = None
        """The answer to a repeated ``initialize``."""
        self.patience: asyncio.Timeout | None = None
        """The limit on the stream's silence: while the stream opens, and once the server has forgotten the session."""
        self.is_forgotten = False
        self.is_lost = False
        """Whether the stream has ended, so that no answer can arrive."""

    @property
    def is_open(self) -> bool:
        """Whether the session can carry requests."""
        return self.messages.done() and not self.messages.cancelled() and not self.messages.exception()

    def fail(self, failure: RelayError) -> None:
        """Tell the requests that wait for the session that it failed, and that they were not sent."""
        if not self.messages.done():
            unsent = failure if isinstance(failure, EndpointUnavailable) else EndpointUnavailable(str(failure))
            self.messages.set_exception(unsent)
            self.messages.exception()  # mark as retrieved: perhaps no request waits
        if self.repeated is not None:
            self.repeated.cancel()

    def be_patient(self, seconds: float) -> None:
        """Allow the stream to be silent for ``seconds`` from now."""
        if self.patience is not None:
            self.patience.reschedule(asyncio.get_running_loop().time() + seconds)


class SseClient(RemoteClient):
    """A connection to one HTTP+SSE server on behalf of one client."""

    def __init__(self, dial: AnyDial, inbox: FrameInbox) -> None:
        """Connect on the first frame."""
        super().__init__(dial, inbox)
        self._session: _Session | None = None

    async def _open_session(self) -> tuple[_Session, URL]:
        """Return the session and its POST URL, after opening a stream if none exists. Raises EndpointUnavailable."""
        session = self._session or self._begin(repeat_handshake=False)
        while True:
            try:
                async with asyncio.timeout(self._limits.connect + self._limits.endpoint_wait):
                    return session, await asyncio.shield(session.messages)
            except TimeoutError:
                if not self.dial.is_logging_in:
                    raise EndpointUnavailable(f"{self.name}: the stream did not open in time") from None

    def _begin(self, *, repeat_handshake: bool) -> _Session:
        session = self._session = _Session()
        work = self._keep_stream(session, repeat_handshake=repeat_handshake)
        self._tasks.spawn(work, name=f"{self.name}: stream")
        return session

    def _renew(self, session: _Session, *, repeat_handshake: bool) -> None:
        """Replace a session that the server has forgotten, unless another request has already replaced the session.

        The relay keeps reading the old stream for its open calls: another server under the same name may still know it.
        """
        if self._session is not session:
            return
        logger.warning("%s: the server has forgotten the session; starting a new one", self.name)
        session.is_forgotten = True
        session.be_patient(2 * self._limits.doubt if self._calls_in(session) else 0)
        self._begin(repeat_handshake=repeat_handshake)

    def _calls_in(self, session: _Session) -> list[Post]:
        return list({post for post in self._books.entries() if post.session is session})

    # The stream.

    async def _keep_stream(self, session: _Session, *, repeat_handshake: bool) -> None:
        """Read the stream. When it breaks, fail its open calls and open a new one with the recorded handshake."""
        delay = self._limits.reconnect_min
        while not self._is_closed:
            try:
                await self._read_stream(session, repeat_handshake=repeat_handshake)
                failure: RelayError = EndpointBroken(f"{self.name}: the server ended the stream")
            except RelayError as exc:
                failure = exc
            was_open = session.is_open
            session.is_lost, session.patience = True, None
            session.fail(failure)
            if was_open:
                self._fail_open(session, failure)
            is_gone = repeat_handshake and not was_open and isinstance(failure, EndpointUnavailable)
            if is_gone and self.dial.ends_with_server:
                self.server_left(failure)
                return
            if session.is_forgotten:
                return  # a newer session has replaced this one
            if not (was_open or repeat_handshake) or self._initialize is None or self._has_eof:
                self._session = None  # the next frame tries again
                return
            repeat_handshake = True
            if was_open:
                delay = self._limits.reconnect_min
                logger.warning("%s; opening a new stream", failure)
            session = self._session = _Session()
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))
            delay = min(delay * 2, self._limits.reconnect_max)

    def _fail_open(self, session: _Session, failure: RelayError) -> None:
        for post in self._calls_in(session):
            self.fail(post, replies.LOST, f"the request was lost: {failure}", "unknown")
        self._ready.set()

    async def _read_stream(self, session: _Session, *, repeat_handshake: bool) -> None:
        wait = self._limits.endpoint_wait
        try:
            async with asyncio.timeout(self._limits.connect + wait) as session.patience:
                headers = {"Accept": EVENT_STREAM, "Cache-Control": "no-store"}
                tries = self.dial.tries(patience=session.patience)
                async with self.dial.request("GET", headers, tries=tries) as response:
                    await self._check_stream(response)
                    async for events in self.dial.events(response):
                        for event in events:
                            frame = await self.read_event(event)
                            self._take_stream_event(event, frame, session, repeat_handshake=repeat_handshake)
                        if session.is_forgotten:
                            session.be_patient(2 * self._limits.doubt if self._calls_in(session) else 0)
                        await self.inbox.wait_for_room()
        except TimeoutError:
            if session.is_forgotten:
                raise EndpointBroken(f"{self.name}: the server has forgotten the session") from None
            raise EndpointUnavailable(f"{self.name}: no endpoint event within {wait:g} s") from None

    async def _check_stream(self, response: Response) -> None:
        kind = media_type(response.headers.get("Content-Type"))
        if response.status != 200 or kind != EVENT_STREAM:
            detail = self.dial.describe_error_body(await self.dial.read_error_body(response))
            seen = f"HTTP {response.status} {kind or ''}".rstrip()
            colon = ": " if detail else ""
            raise EndpointUnavailable(f"{self.name}: {seen} where an SSE stream was expected{colon}{detail}")

    def _take_stream_event(
        self, event: SseEvent, frame: Frame | None, session: _Session, *, repeat_handshake: bool
    ) -> None:
        if event.event == "endpoint" and isinstance(event.data, bytes):
            if not session.messages.done() and session.repeated is None:
                url = self._check_endpoint(event.data)
                self.is_undecided = False
                if session.patience is not None:
                    session.patience.reschedule(None)
                if repeat_handshake and self._initialize is not None:
                    work = self._repeat_handshake(url, session, self._initialize)
                    self._tasks.spawn(work, name=f"{self.name}: handshake")
                else:
                    session.messages.set_result(url)
        elif not self._is_repeated(session, event):
            self.take_event(event, frame=frame)

    def _check_endpoint(self, data: bytes) -> URL:
        try:
            url = join_url(self.dial.url, data.decode())
        except ValueError as exc:
            raise EndpointUnavailable(f"{self.name}: the endpoint event holds no URL: {fault_of_url(exc)}") from exc
        if url.origin() != self.dial.url.origin():
            raise EndpointUnavailable(f"{self.name}: rejected an endpoint of another origin, {url.origin()}")
        return url

    # A new session for the same client.

    async def _repeat_handshake(self, url: URL, session: _Session, initialize: Frame) -> None:
        self._ready.clear()
        session.repeated = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(self._limits.handshake) as patience:
                status, body = await self._post(url, initialize, self.dial.tries(initialize, patience=patience))
                if not 200 <= status < 300:
                    said = self.dial.describe_error_body(body)
                    raise EndpointUnavailable(f"HTTP {status}{': ' if said else ''}{said}")
                self.version = negotiated_version(await session.repeated)
                await self._post(url, self._initialized)
            if not session.messages.done():
                session.messages.set_result(url)
        except TimeoutError:
            seen = f"no answer within {self._limits.handshake:g} s"
            session.fail(EndpointUnavailable(f"{self.name}: a new handshake failed: {seen}"))
        except (RelayError, asyncio.CancelledError) as exc:
            session.fail(EndpointUnavailable(f"{self.name}: a new handshake failed: {exc}"))
        finally:
            session.repeated = None
            self._ready.set()

    def _is_repeated(self, session: _Session, event: SseEvent) -> bool:
        """Take the answer to the repeated ``initialize``, which the client must not see twice."""
        if session.repeated is None or self._initialize is None or not isinstance(event.data, bytes):
            return False
        frame = Frame(event.data)
        if frame.head.kind is not Kind.RESPONSE and not answers_in(frame):  # the stream has no other request yet
            return False
        if not session.repeated.done():
            session.repeated.set_result(frame)
        return True

    # POST.

    async def _deliver(self, post: Post) -> None:
        """POST a frame, whose answer arrives on the stream. Replace a forgotten session once."""
        session, url = await self._open_session()
        post.session = session
        post.tries = post.tries or self.dial.tries(post.frame)
        status, body = await self._post(url, post.frame, post.tries)
        if 200 <= status < 300:
            if session.is_lost and post.owed:
                self.fail(post, replies.LOST, f"the request was lost: {self.name}: the stream has ended", "unknown")
            return
        if self._loss.is_told_by(status, body, post.frame, is_resent=post.is_resent):
            if post.frame.head.asks and not post.owed:
                return  # the stream broke meanwhile, and the call has its error
            post.is_resent, post.session = True, None
            self._renew(session, repeat_handshake=self._initialize is not None and not post.is_handshake)
            await self._deliver(post)
            return
        detail = self.dial.describe_error_body(body)
        fault = f"{self.name}: HTTP {status}{': ' if detail else ''}{detail}"
        self.fail(post, replies.UPSTREAM_STATUS, fault, replies.delivered_by(status), status=status)

    def _is_unsent(self, post: Post) -> bool:
        return super()._is_unsent(post) or (self.dial.is_logging_in and post.session is None)

    async def _post(self, url: URL, frame: Frame, tries: Tries | None = None) -> tuple[int, bytes]:
        """POST a frame; return the status, and the body of a refusal."""
        headers = {"Content-Type": JSON, "Accept": f"{JSON}, {EVENT_STREAM}"}
        if self.version is not None:
            headers[PROTOCOL_VERSION] = self.version
        async with self.dial.request("POST", headers, url=url, body=frame.raw, tries=tries) as response:
            body = await self.dial.read_error_body(response)
            return response.status, body if response.status >= 300 else b""
