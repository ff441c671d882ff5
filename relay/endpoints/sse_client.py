"""HTTP+SSE of 2024-11-05, dialling: a GET stream carries everything from the server, POSTs carry the rest.

The session is the stream. When it breaks, the open requests get their errors, and a new stream is opened with the
recorded handshake, so that the client's next request works. The ``endpoint`` that the server names must be of the
same origin: a token must not go to another (mcp-remote, CVE-2026-52001).
"""

from __future__ import annotations

import asyncio
import logging
import random

from yarl import URL

from relay.addresses import fault_of_url
from relay.endpoints.dial import AnyDial, Response
from relay.endpoints.http_address import join_url
from relay.endpoints.inbox import FrameInbox
from relay.endpoints.remote_client import Post, RemoteClient, protocol_version
from relay.errors import EndpointBroken, EndpointUnavailable, RelayError
from relay.frames import replies
from relay.frames.frame import Frame
from relay.frames.http_rules import EVENT_STREAM, JSON, PROTOCOL_VERSION, media_type
from relay.frames.sse import SseEvent

__all__ = ["SseClient"]

logger = logging.getLogger("relay")


class SseClient(RemoteClient):
    """A connection to one HTTP+SSE server, for one client."""

    def __init__(self, dial: AnyDial, inbox: FrameInbox) -> None:
        """Connect on the first frame."""
        super().__init__(dial, inbox)
        self._messages: asyncio.Future[URL] | None = None
        self._stream: asyncio.Task[None] | None = None
        self._repeated: asyncio.Future[Frame] | None = None

    async def _endpoint(self) -> URL:
        """Return where to POST, opening the stream if there is none. Raises EndpointUnavailable."""
        if self._messages is None:
            self._messages = asyncio.get_running_loop().create_future()
            self._stream = self._tasks.spawn(self._keep_stream(), name=f"{self.name}: stream")
        try:
            async with asyncio.timeout(self._limits.connect + self._limits.endpoint_wait):
                return await asyncio.shield(self._messages)
        except TimeoutError:
            raise EndpointUnavailable(f"{self.name}: there is no stream") from None

    # The stream.

    async def _keep_stream(self) -> None:
        """Read the stream; when it is lost, fail what was open and open a new one with the recorded handshake."""
        delay = self._limits.reconnect_min
        is_first = True
        while not self._is_closed:
            assert self._messages is not None, "made by whoever started this"
            try:
                await self._read_stream(self._messages, repeat_handshake=not is_first)
                failure: RelayError = EndpointBroken(f"{self.name}: the server ended the stream")
            except RelayError as exc:
                failure = exc
            was_open = self._messages.done() and not self._messages.cancelled() and not self._messages.exception()
            if not self._messages.done():
                self._messages.set_exception(failure)
                self._messages.exception()  # somebody may wait for it, or nobody
            if was_open:
                self._fail_open(failure)
            if self._repeated is not None:
                self._repeated.cancel()
            if is_first and not was_open:
                self._messages = None  # the next frame tries again
                return
            if self._initialize is None or self._has_eof:
                self._messages = None
                return
            is_first = False
            if was_open:
                delay = self._limits.reconnect_min
                logger.warning("%s; opening a new one", failure)
            self._messages = asyncio.get_running_loop().create_future()
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))
            delay = min(delay * 2, self._limits.reconnect_max)

    def _fail_open(self, failure: RelayError) -> None:
        for request_id, post in self._exchanges.fail_all():
            post.ids.discard(request_id)
            message = f"the request was lost: {failure}"
            self.inbox.put((replies.error(request_id, replies.LOST, message, delivered="unknown"),))
        self._ready.set()

    async def _read_stream(self, messages: asyncio.Future[URL], *, repeat_handshake: bool) -> None:
        wait = self._limits.endpoint_wait
        try:
            async with asyncio.timeout(self._limits.connect + wait) as patience:
                headers = {"Accept": EVENT_STREAM, "Cache-Control": "no-store"}
                async with self.dial.request("GET", headers) as response:
                    await self._check_stream(response)
                    async for events in self.dial.events(response):
                        for event in events:
                            self._take_stream_event(event, messages, repeat_handshake=repeat_handshake)
                            if event.event == "endpoint":
                                patience.reschedule(None)
                        await self.inbox.wait_for_room()
        except TimeoutError:
            raise EndpointUnavailable(f"{self.name}: no endpoint event within {wait:g} s") from None

    async def _check_stream(self, response: Response) -> None:
        kind = media_type(response.headers.get("Content-Type"))
        if response.status != 200 or kind != EVENT_STREAM:
            detail = self.dial.describe_error_body(await self.dial.read_error_body(response))
            seen = f"HTTP {response.status} {kind or ''}".rstrip()
            raise EndpointUnavailable(f"{self.name}: {seen} where an SSE stream was expected {detail}".rstrip())

    def _take_stream_event(self, event: SseEvent, messages: asyncio.Future[URL], *, repeat_handshake: bool) -> None:
        if event.event == "endpoint" and isinstance(event.data, bytes):
            if not messages.done():
                url = self._check_endpoint(event.data)
                self.is_undecided = False
                if repeat_handshake and self._initialize is not None:
                    self._tasks.spawn(self._repeat_handshake(url, messages), name=f"{self.name}: handshake")
                else:
                    messages.set_result(url)
        elif self._repeated is not None and isinstance(event.data, bytes) and self._is_repeated(event.data):
            return
        else:
            self.take_event(event)

    def _check_endpoint(self, data: bytes) -> URL:
        try:
            url = join_url(self.dial.url, data.decode())
        except ValueError as exc:
            raise EndpointUnavailable(f"{self.name}: its endpoint event is no URL: {fault_of_url(exc)}") from exc
        if url.origin() != self.dial.url.origin():
            raise EndpointUnavailable(f"{self.name}: its endpoint is of another origin, {url.origin()}: refused")
        return url

    # A new session for the same client.

    async def _repeat_handshake(self, url: URL, messages: asyncio.Future[URL]) -> None:
        assert self._initialize is not None, "asked only then"
        self._ready.clear()
        self._repeated = asyncio.get_running_loop().create_future()
        try:
            status, detail = await self._post(url, self._initialize)
            if not 200 <= status < 300:
                raise EndpointUnavailable(f"HTTP {status} {detail}".rstrip())
            async with asyncio.timeout(self._limits.handshake):
                answer = await self._repeated
            self.version = protocol_version(answer)
            await self._post(url, self._initialized)
            if not messages.done():
                messages.set_result(url)
        except (RelayError, TimeoutError, asyncio.CancelledError) as exc:
            if not messages.done():
                messages.set_exception(EndpointUnavailable(f"{self.name}: a new handshake failed: {exc}"))
                messages.exception()
        finally:
            self._repeated = None
            self._ready.set()

    def _is_repeated(self, data: bytes) -> bool:
        """Take the answer to the repeated ``initialize``, which its client must not see again."""
        assert self._repeated is not None and self._initialize is not None, "asked only then"
        frame = Frame(data)
        if frame.head.id != self._initialize.head.id or frame.head.method is not None:
            return False
        if not self._repeated.done():
            self._repeated.set_result(frame)
        return True

    # POST.

    async def _deliver(self, post: Post) -> None:
        url = await self._endpoint()
        status, detail = await self._post(url, post.frame)
        if not 200 <= status < 300:
            delivered: replies.Delivered = "no" if status < 500 else "unknown"
            self.fail(
                post, replies.UPSTREAM_STATUS, f"{self.name}: HTTP {status} {detail}".rstrip(), delivered, status=status
            )

    async def _post(self, url: URL, frame: Frame) -> tuple[int, str]:
        headers = {"Content-Type": JSON, "Accept": f"{JSON}, {EVENT_STREAM}"}
        if self.version is not None:
            headers[PROTOCOL_VERSION] = self.version
        async with self.dial.request("POST", headers, url=url, body=frame.raw) as response:
            return response.status, await self._detail(response)

    async def _detail(self, response: Response) -> str:
        body = await self.dial.read_error_body(response)
        return self.dial.describe_error_body(body) if response.status >= 300 else ""
