"""The common part of endpoints with one connection to their peer: TCP, Unix socket and WebSocket."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from relay.endpoints.base import Taker
from relay.endpoints.core.inbox import FrameInbox
from relay.endpoints.core.open_requests import OpenRequests
from relay.endpoints.core.settlement import Settlement
from relay.frames.frame import Frame
from relay.limits import Limits

__all__ = ["ConnectedEndpoint"]


class ConnectedEndpoint:
    """The receiving half: an inbox, and the settlement that fills it."""

    def __init__(self, name: str, limits: Limits, inbox: FrameInbox, settlement: Settlement) -> None:
        """Return frames from ``inbox``, after ``settlement`` has checked them."""
        self.name = name
        self._limits = limits
        self._inbox = inbox
        self._settlement = settlement
        self._sent_eof = False
        settlement.give_on, settlement.give_back = self._give_on, self._give_peer

    def _give_on(self, outcome: Frame) -> None:
        onward, _ = self._settlement.take((outcome,))
        self._inbox.put(onward)

    def _give_peer(self, outcome: Frame) -> None:
        onward, _ = self._settlement.hand_over((outcome,))
        for frame in onward:
            self._write_soon(frame)

    def _write_soon(self, frame: Frame) -> None:
        """Write one small frame to the peer without waiting."""
        raise NotImplementedError

    @property
    def last_used(self) -> float:
        """The time of the peer's last bytes, by the monotonic clock."""
        raise NotImplementedError

    @property
    def ledger(self) -> OpenRequests:
        """The peer's requests that wait for an answer."""
        return self._settlement.theirs

    @property
    def dropped(self) -> int:
        """The number of answers, from either side, that fit no open request."""
        return self._settlement.dropped

    @property
    def noise(self) -> int:
        """The number of the peer's messages that were not JSON-RPC."""
        return self._settlement.noise

    async def receive(self) -> Sequence[Frame]:
        """Return the peer's frames and errors for what it will never answer; ``()`` once it has ended."""
        return await self._inbox.receive()

    def offer_to(self, taker: Taker) -> None:
        """Offer the peer's frames to ``taker``; see ``OffersFrames``."""
        self._inbox.offer_to(taker)

    def call_at_end(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once the peer will send no more."""
        self._inbox.call_at_end(callback)

    def _finish_if_settled(self) -> None:
        """Finish the inbox once this side has ended and the peer owes no answer."""
        if self._sent_eof and self._settlement.is_settled:
            self._inbox.finish()
