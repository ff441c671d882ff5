"""An endpoint that is made at its first use, so that a program can describe a pipe before anything starts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from relay.endpoints.base import Endpoint, OffersFrames, SendsAtOnce, Taker
from relay.errors import EndpointClosed, RelayError
from relay.frames.frame import Frame

__all__ = ["Lazy"]


class Lazy:
    """Stands in for an endpoint until ``receive`` or ``send`` needs it."""

    def __init__(self, name: str, make: Callable[[], Awaitable[Endpoint]]) -> None:
        """Make the endpoint with ``make`` at the first use, which also raises what ``make`` raises."""
        self.name = name
        self._make = make
        self._making = asyncio.Lock()
        self._endpoint: Endpoint | None = None
        self._at_end: list[Callable[[], None]] = []
        self._taker: Taker | None = None
        self._is_closed = False
        self.send_at_once: Taker = _not_yet
        """Send to the endpoint without waiting, if it is made and can do so."""

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
        """Return the endpoint, and make it first if necessary."""
        return await self._get()

    async def receive(self) -> Sequence[Frame]:
        """Receive from the endpoint; return ``()`` if it was closed before it was made."""
        if self._is_closed and self._endpoint is None:
            return ()
        return await (await self._get()).receive()

    def call_at_end(self, callback: Callable[[], None]) -> None:
        """Register ``callback`` with the endpoint once it is made."""
        if self._endpoint is not None:
            self._endpoint.call_at_end(callback)
        else:
            self._at_end.append(callback)

    async def send(self, frames: Sequence[Frame]) -> None:
        """Send to the endpoint."""
        await (await self._get()).send(frames)

    def offer_to(self, taker: Taker) -> None:
        """Offer the endpoint's frames to ``taker`` once it is made."""
        self._taker = taker
        if isinstance(self._endpoint, OffersFrames):
            self._endpoint.offer_to(taker)

    async def send_eof(self) -> None:
        """Send the end to the endpoint; make it first if necessary."""
        await (await self._get()).send_eof()

    async def aclose(self, reason: RelayError | None = None) -> None:
        """Close the endpoint; one that was never used is never made."""
        self._is_closed = True
        async with self._making:
            if self._endpoint is not None:
                await self._endpoint.aclose(reason)


def _not_yet(frames: Sequence[Frame]) -> bool:
    return False
