"""Two endpoints connected in memory, for tests and for a peer in the same process."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from relay.endpoints.base import Taker
from relay.endpoints.core.inbox import FrameInbox
from relay.endpoints.core.open_requests import OpenRequests, ended_by
from relay.errors import EndpointBroken, EndpointClosed, RelayError
from relay.frames.frame import Frame
from relay.limits import DEFAULT_LIMITS, Limits

__all__ = ["MemoryEndpoint", "memory_pair"]


class MemoryEndpoint:
    """One end of a pair, which receives what the other end sends."""

    def __init__(self, name: str, limits: Limits) -> None:
        """Make an end that ``memory_pair`` connects to another."""
        self.name = name
        self._inbox = FrameInbox(name, limits)
        self._other = self
        self._open = OpenRequests(name, limits, lambda outcome: self._put((outcome,)), forwards_unknown=True)
        self._sent_eof = False
        self._closed = False

    async def receive(self) -> Sequence[Frame]:
        """Return the other end's frames, or ``()`` after its end."""
        return await self._inbox.receive()

    def call_at_end(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once the peer will send no more."""
        self._inbox.call_at_end(callback)

    async def send(self, frames: Sequence[Frame]) -> None:
        """Send frames to the other end; wait while it does not receive.

        Raises EndpointClosed after this end has ended, and EndpointBroken after the other end has closed.
        """
        self._check()
        await self._other._inbox.wait_for_room()
        self._check()
        self._put(frames)
        await self._other._inbox.wait_for_room()

    def _check(self) -> None:
        if self._closed or self._sent_eof:
            raise EndpointClosed(f"{self.name}: send after {'aclose' if self._closed else 'send_eof'}")
        if self._other._closed:
            raise EndpointBroken(f"{self.name}: the other end has closed")

    def offer_to(self, taker: Taker) -> None:
        """Offer the other end's frames to ``taker``; see ``OffersFrames``."""
        self._inbox.offer_to(taker)

    def send_at_once(self, frames: Sequence[Frame]) -> bool:
        """Send frames to the other end, unless that would wait or fail; return whether it did."""
        if self._closed or self._sent_eof or self._other._closed or self._other._inbox.is_paused:
            return False
        self._put(frames)
        return True

    def _put(self, frames: Sequence[Frame]) -> None:
        frames = self._open.answered(frames)
        self._other._open.note_asked(frames)
        self._other._inbox.put(frames)

    async def send_eof(self) -> None:
        """End the sending; the other end receives errors for its open requests, then ``()``."""
        self._say_end(None)

    def _say_end(self, reason: RelayError | None) -> None:
        self._sent_eof = True
        self._other._inbox.put(self._open.end(ended_by(reason)))
        self._other._inbox.finish()

    async def aclose(self, reason: RelayError | None = None) -> None:
        """End both directions; the other end's open requests get errors that carry ``reason``."""
        self._closed = True
        self._inbox.finish()
        self._say_end(reason)


def memory_pair(*, limits: Limits = DEFAULT_LIMITS) -> tuple[MemoryEndpoint, MemoryEndpoint]:
    """Return two endpoints, each of which receives what the other sends."""
    a, b = MemoryEndpoint("memory a", limits), MemoryEndpoint("memory b", limits)
    a._other, b._other = b, a
    return a, b
