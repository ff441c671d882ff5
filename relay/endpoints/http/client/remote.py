"""Dial a URL as an endpoint, and detect the server's transport with the first frame.

MCP 2025-11-25, Transports, "Backwards Compatibility": POST first. If the server refuses the POST with 400, 404 or 405
and no JSON-RPC error, GET and wait for the ``endpoint`` event of HTTP+SSE.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from relay.endpoints.base import Taker
from relay.endpoints.core.dialling import DEFAULT_DIALLING, DiallingOptions, Transport
from relay.endpoints.core.inbox import FrameInbox
from relay.endpoints.http.client.dial import AnyDial
from relay.endpoints.http.client.login_queue import LoginQueue
from relay.endpoints.http.client.sse import SseClient
from relay.endpoints.http.client.streamable import HttpClient
from relay.errors import ConfigError, EndpointClosed, RelayError
from relay.frames.frame import Frame
from relay.frames.head import Kind, RequestId
from relay.mcp.facts import read_facts

if TYPE_CHECKING:
    import httpx

__all__ = ["Remote"]

logger = logging.getLogger("relay")


class Remote:
    """An MCP server at a URL, to which the relay connects on the first frame."""

    def __init__(
        self,
        url: str,
        options: DiallingOptions = DEFAULT_DIALLING,
        *,
        client: httpx.AsyncClient | None = None,
    ) -> None:
        """Connect with ``options``, or through ``client``, which has its own TLS and login and stays open.

        Raises ConfigError if ``url`` is not an http(s) URL.
        """
        self._dial = _dial(url, options, client)
        self.name = self._dial.name
        self._inbox = FrameInbox(self.name, options.limits)
        self._client: HttpClient | SseClient | None = None
        self._transport = options.transport
        self._has_eof = False
        self._is_closed = False
        login = self._dial.login
        self._queue = None if login is None else LoginQueue(self.name, login, self, self._inbox)

    @property
    def transport(self) -> Transport:
        """The transport that the server speaks; ``auto`` until the relay knows."""
        if self._client is None or self._client.is_undecided:
            return "auto"
        return "sse" if isinstance(self._client, SseClient) else "streamablehttp"

    async def receive(self) -> Sequence[Frame]:
        """Return the server's frames, and an error for each request that can no longer get an answer."""
        return await self._inbox.receive()

    def call_at_end(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once the peer will send no more."""
        self._inbox.call_at_end(callback)

    def offer_to(self, taker: Taker) -> None:
        """Offer the server's frames to ``taker``; see ``OffersFrames``."""
        self._inbox.offer_to(taker)

    @property
    def is_logging_in(self) -> bool:
        """Whether a request waits for a login."""
        return self._dial.is_logging_in

    def send_at_once(self, frames: Sequence[Frame]) -> bool:
        """Send requests without waiting; return False, and send none, if the transport is unknown or one must wait."""
        client, queue = self._client, self._queue
        if client is None or self._is_closed or client.is_undecided or (queue is not None and queue.is_needed):
            return False
        return client.send_at_once(frames)

    async def send(self, frames: Sequence[Frame]) -> None:
        """Send frames to the server. Waits while too many requests are open, but not while a person logs in."""
        if self._is_closed or self._has_eof:
            raise EndpointClosed(f"{self.name}: send after its end")
        if self._queue is None:
            await self.send_now(frames)
        elif self._queue.is_needed or self._client is None or self._client.may_wait:
            await self._queue.send(frames)
        else:
            await self.send_now(frames)

    async def until_free(self, frame: Frame) -> None:
        """Wait until a frame need not wait for a handshake."""
        if self._client is not None:
            await self._client.until_free(frame)

    def cancel_unsent(self, request_id: RequestId) -> bool:
        """Cancel a request that waits for a login; return False if none does under this id."""
        return self._client is not None and self._client.cancel_unsent(request_id)

    async def send_now(self, frames: Sequence[Frame]) -> None:
        """Send frames to the server. Waits while too many requests are open, and for a login."""
        if self._client is not None and self._is_undecided:
            client, self._client = self._client, None
            await client.abandon()
        if self._client is None:
            frames = await self._choose(frames)
        if frames:
            assert self._client is not None, "chosen"
            await self._client.send(frames)

    @property
    def _is_undecided(self) -> bool:
        """Whether the server was unreachable or spoke neither transport, so that the next frame probes it again."""
        client = self._client
        return self._transport == "auto" and client is not None and client.is_undecided and not client.in_flight

    async def _choose(self, frames: Sequence[Frame]) -> Sequence[Frame]:
        """Create the client for this server's transport; return the frames that are still to be sent."""
        if self._transport == "sse":
            self._client = SseClient(self._dial, self._inbox)
            return frames
        client = HttpClient(self._dial, self._inbox)
        self._client = client
        if self._transport == "streamablehttp" or frames[0].head.kind is not Kind.REQUEST:
            return frames
        if read_facts(frames[0]) is not None:
            return frames  # HTTP+SSE is legacy: if the server refuses this modern frame, `initialize` probes it again
        try:
            is_streamable = await client.probe(frames[0])
        except asyncio.CancelledError:
            client.refuse_unsent(frames[1:])
            raise
        if is_streamable:
            return frames[1:]
        logger.info("%s: the server does not speak Streamable HTTP; trying HTTP+SSE", self.name)
        self._client = SseClient(self._dial, self._inbox)
        return frames

    async def settle(self) -> None:
        """Wait until no request is open."""
        if self._client is not None:
            await self._client.settle()

    async def send_eof(self) -> None:
        """Accept no further frames; ``receive`` finishes once every open request has its answer."""
        self._has_eof = True
        if self._queue is not None:
            await self._queue.join()
        if self._client is None:
            self._inbox.finish()
        else:
            await self._client.send_eof()

    async def aclose(self, reason: RelayError | None = None) -> None:
        """End the session and close every connection; open requests get an error that carries ``reason``."""
        self._is_closed = True
        if self._queue is not None:
            await self._queue.aclose(str(reason or "the relay is shutting down"))
        if self._client is not None:
            await self._client.aclose(reason)
        else:
            self._inbox.finish()
            await self._dial.aclose()


def _dial(url: str, options: DiallingOptions, client: httpx.AsyncClient | None) -> AnyDial:
    """Create the dial of the right HTTP library, and import that library only."""
    if client is not None:
        try:
            from relay.endpoints.http.client.httpx_dial import HttpxDial
        except ImportError as exc:
            raise ConfigError(f"client: {exc}; install 'mcp-frame-relay[httpx]'") from exc

        return HttpxDial(url, client, options)
    from relay.endpoints.http.client.aiohttp_dial import Dial

    return Dial(url, options)
