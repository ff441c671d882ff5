"""An endpoint that is made when it is first used: a pipe can be described before anything is started or connected."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from relay.endpoints.base import Endpoint, OffersFrames, SendsAtOnce, Taker
from relay.errors import EndpointClosed, RelayError
from relay.frames.frame import Frame

__all__ = ["Lazy"]


class Lazy:
    """Stands for an endpoint until ``receive`` or ``send`` needs it."""

    def __init__(self, name: str, make: Callable[[], Awaitable[Endpoint]]) -> None:
        """Make the endpoint with ``make``, once; what that raises, the first use raises."""
        self.name = name
        self._make = make
        self._making = asyncio.Lock()
        self._endpoint: Endpoint | None = None
        self._at_end: list[Callable[[], None]] = []
        self._taker: Taker | None = None
        self._is_closed = False
        self.send_at_once: Taker = _not_yet
        """As the endpoint's, once it is made."""

    async def _get(self) -> Endpoint:
        if self._endpoint is None:
            async with self._making:
                if self._is_closed:
                    raise EndpointClosed(f"{self.name}: used after its end")
                if self._endpoint is None:
                    self._endpoint = await self._make()
                    self.name = self._endpoint.name
                    if isinstance(self._endpoint, SendsAtOnce):
                        self.send_at_once = self._endpoint.send_at_once
                    for callback in self._at_end:
                        self._endpoint.call_at_end(callback)
                    if self._taker is not None:
                        self.offer_to(self._taker)
        return self._endpoint

    async def open(self) -> Endpoint:
        """Make the endpoint now, unless it is there already, and return it."""
        return await self._get()

    async def receive(self) -> Sequence[Frame]:
        """As the endpoint's; ``()`` if it was closed before it was made."""
        if self._is_closed and self._endpoint is None:
            return ()
        return await (await self._get()).receive()

    def call_at_end(self, callback: Callable[[], None]) -> None:
        """As the endpoint's, from when it is made."""
        if self._endpoint is not None:
            self._endpoint.call_at_end(callback)
        else:
            self._at_end.append(callback)

    async def send(self, frames: Sequence[Frame]) -> None:
        """As the endpoint's."""
        await (await self._get()).send(frames)

    def offer_to(self, taker: Taker) -> None:
        """As the endpoint's, from when it is made."""
        self._taker = taker
        if isinstance(self._endpoint, OffersFrames):
            self._endpoint.offer_to(taker)

    async def send_eof(self) -> None:
        """As the endpoint's; an endpoint never used is made, to be told."""
        await (await self._get()).send_eof()

    async def aclose(self, reason: RelayError | None = None) -> None:
        """As the endpoint's; an endpoint never used is never made."""
        self._is_closed = True
        async with self._making:
            if self._endpoint is not None:
                await self._endpoint.aclose(reason)


def _not_yet(frames: Sequence[Frame]) -> bool:
    return False
