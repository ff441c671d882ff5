"""The two interfaces every transport implements: Endpoint, one side of a pipe, and Listener, which yields them.

The end of an endpoint has three names, and they are three things: *finished* (the peer will send no more), *closed*
(we ended it) and *broken* (it failed).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Protocol, TypeAlias, runtime_checkable

from relay.errors import RelayError
from relay.frames.frame import Frame

__all__ = ["Endpoint", "Immediate", "Listener", "Taker"]

Taker: TypeAlias = Callable[[Sequence[Frame]], bool]
"""Offered frames: takes all of them and returns True, or none."""


@runtime_checkable
class Endpoint(Protocol):
    """One side of a pipe: a peer, whatever the transport."""

    @property
    def name(self) -> str:
        """What logs and errors call it."""

    async def receive(self) -> Sequence[Frame]:
        """Return what has come since the last call: at least one frame, or ``()`` once this side has finished.

        Cancelling loses nothing. Raises EndpointBroken if the peer failed, EndpointBusy for a second receiver.
        """

    def call_at_end(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once the peer will send no more, though frames of it may still wait to be received.

        For who cannot ask by ``receive``, because he waits in the ``send`` of another endpoint.
        """

    async def send(self, frames: Sequence[Frame]) -> None:
        """Hand frames to the peer; returns once they are below the high-water mark: this is the backpressure.

        If cancelled, some, all or none may have been sent. Raises EndpointBroken or EndpointClosed.
        """

    async def send_eof(self) -> None:
        """Say that no more will be sent; what the peer still says is still received."""

    async def aclose(self, reason: RelayError | None = None) -> None:
        """End it: idempotent, bounded, quiet on a dead peer.

        Requests of this peer that wait for an answer get an error that carries ``reason``; frames already received
        can still be taken, then ``receive`` returns ``()``.
        """


class Immediate(Protocol):
    """What an endpoint may offer besides, so that a pipe needs no turn of the loop for frames nobody has to wait for.

    Each half is of use alone: a pipe asks its source for the one and its sink for the other.
    """

    def offer_to(self, taker: Taker) -> None:
        """Offer frames to ``taker`` as they come, while ``receive`` waits and nothing is before them.

        What it does not take is received.
        """

    def send_at_once(self, frames: Sequence[Frame]) -> bool:
        """Do what ``send`` does, if it would neither wait nor fail; else do nothing and return False."""


class Listener(Protocol):
    """A place where peers come: one endpoint for each."""

    @property
    def url(self) -> str:
        """The address actually bound, as a client on this machine would write it."""

    def __aiter__(self) -> AsyncIterator[Endpoint]:
        """Yield an endpoint for each peer, until the listener is closed."""

    async def aclose(self) -> None:
        """Stop listening. Endpoints already yielded live on."""
