"""A server that is greeted by the relay itself: for a request of the legacy era that comes without a session.

``--share request`` starts a server for each request, and servers of that era want ``initialize`` before any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from relay.endpoints.base import Endpoint
from relay.errors import EndpointUnavailable, RelayError
from relay.frames import replies
from relay.frames.frame import Frame
from relay.frames.head import Kind

__all__ = ["Initialized"]

_ID = "mcp-relay"
_INITIALIZED = Frame(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')


class Initialized:
    """An endpoint whose peer has been initialized before the first frame reaches it."""

    def __init__(self, upstream: Endpoint, version: str, within: float) -> None:
        """Greet ``upstream`` with protocol ``version``; its answer must come ``within`` so many seconds."""
        self.name = upstream.name
        self._upstream = upstream
        self._version = version
        self._within = within
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._early: list[Frame] = []

    async def receive(self) -> Sequence[Frame]:
        """Return what the peer has sent since the greeting. Raises EndpointUnavailable if that failed."""
        await asyncio.shield(self._done)
        if self._early:
            early, self._early = self._early, []
            return early
        return await self._upstream.receive()

    def call_at_end(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once the peer will send no more."""
        self._upstream.call_at_end(callback)

    async def send(self, frames: Sequence[Frame]) -> None:
        """Send frames, after the greeting. Raises EndpointUnavailable if that failed."""
        if not self._done.done():
            try:
                async with asyncio.timeout(self._within):
                    await self._greet()
            except (RelayError, TimeoutError) as exc:
                seen = exc if isinstance(exc, RelayError) else f"no answer within {self._within:g} s"
                failure = EndpointUnavailable(f"{self.name}: could not be initialized: {seen}")
                self._done.set_exception(failure)
                self._done.exception()  # looked at: nobody may be waiting for it
                raise failure from exc
            self._done.set_result(None)
        await self._upstream.send(frames)

    async def _greet(self) -> None:
        client = {"name": "mcp-relay", "version": "1"}
        params = {"protocolVersion": self._version, "capabilities": {}, "clientInfo": client}
        await self._upstream.send((replies.request(_ID, "initialize", params),))
        while True:
            frames = await self._upstream.receive()
            if not frames:
                raise EndpointUnavailable("it has ended")
            answers = [one for one in frames if one.head.kind is Kind.RESPONSE]  # nothing else has been asked
            self._early += [one for one in frames if one not in answers]
            if answers:
                break
        if b'"error"' in answers[0].raw and b'"result"' not in answers[0].raw:
            raise EndpointUnavailable("it refused initialize")
        await self._upstream.send((_INITIALIZED,))

    async def send_eof(self) -> None:
        """Say that no more will be sent."""
        if not self._done.done():
            self._done.set_result(None)
        await self._upstream.send_eof()

    async def aclose(self, reason: RelayError | None = None) -> None:
        """Close the peer."""
        if not self._done.done():
            self._done.set_result(None)
        await self._upstream.aclose(reason)
