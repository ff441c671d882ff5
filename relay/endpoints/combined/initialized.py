"""A server that the relay itself initializes, for a request of the legacy era that comes without a session.

``--share request`` starts a server for each request, and a server of that era wants ``initialize`` before any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from relay.endpoints.base import Endpoint
from relay.errors import EndpointUnavailable, RelayError
from relay.frames.frame import Frame
from relay.frames.head import Kind
from relay.mcp.handshake import INITIALIZED, initialize, is_refusal

__all__ = ["Initialized"]


class Initialized:
    """An endpoint whose peer has been initialized before the first frame reaches it."""

    def __init__(self, upstream: Endpoint, version: str, within: float) -> None:
        """Initialize ``upstream`` with protocol ``version``; its answer must come ``within`` so many seconds."""
        self.name = upstream.name
        self._upstream = upstream
        self._version = version
        self._within = within
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._early: list[Frame] = []

    async def receive(self) -> Sequence[Frame]:
        """Return what the peer has sent, but for its answer to ``initialize``.

        Raises EndpointUnavailable if the handshake failed.
        """
        await asyncio.shield(self._done)
        if self._early:
            early, self._early = self._early, []
            return early
        return await self._upstream.receive()

    def call_at_end(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once the peer will send no more."""
        self._upstream.call_at_end(callback)

    async def send(self, frames: Sequence[Frame]) -> None:
        """Send frames, after the handshake. Raises EndpointUnavailable if that failed."""
        if not self._done.done():
            try:
                async with asyncio.timeout(self._within):
                    await self._initialize()
            except (RelayError, TimeoutError) as exc:
                seen = exc if isinstance(exc, RelayError) else f"no answer within {self._within:g} s"
                failure = EndpointUnavailable(f"{self.name}: could not be initialized: {seen}")
                self._done.set_exception(failure)
                self._done.exception()  # retrieved: no task may be waiting for it
                raise failure from exc
            self._done.set_result(None)
        await self._upstream.send(frames)

    async def _initialize(self) -> None:
        await self._upstream.send((initialize(self._version),))
        while True:
            frames = await self._upstream.receive()
            if not frames:
                raise EndpointUnavailable("it has ended")
            answers = [one for one in frames if one.head.kind is Kind.RESPONSE]  # nothing else has been asked
            self._early += [one for one in frames if one not in answers]
            if answers:
                break
        if is_refusal(answers[0]):
            raise EndpointUnavailable("it refused initialize")
        await self._upstream.send((INITIALIZED,))

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
