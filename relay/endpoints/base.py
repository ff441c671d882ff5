"""The two interfaces every transport implements: Endpoint, one side of a pipe, and Listener, which yields them.

The end of an endpoint has three names, and they are three things: *finished* (the peer will send no more), *closed*
(we ended it) and *broken* (it failed).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from relay.errors import RelayError
from relay.frames.frame import Frame

if TYPE_CHECKING:
    from relay.endpoints.core.hops import Trail

__all__ = ["ClientEndpoint", "Endpoint", "Listener", "OffersFrames", "SendsAtOnce", "SpeaksTransport", "Taker"]

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

        For a task that cannot wait in ``receive``, because it waits in the ``send`` of another endpoint.
        """

    async def send(self, frames: Sequence[Frame]) -> None:
        """Hand frames to the peer; returns once they are below the high-water mark: this is the backpressure.

        If cancelled, some, all or none may have been sent. Raises EndpointBroken or EndpointClosed.
        """

    async def send_eof(self) -> None:
        """Tell the peer that no more will be sent; what the peer still sends is still received."""

    async def aclose(self, reason: RelayError | None = None) -> None:
        """End it: idempotent, bounded, quiet on a dead peer.

        Requests of this peer that wait for an answer get an error that carries ``reason``; frames already received
        can still be taken, then ``receive`` returns ``()``.
        """


# What an endpoint may be able to do besides. Whoever needs an ability asks once for each endpoint, not for each frame.


@runtime_checkable
class OffersFrames(Protocol):
    """A source that can hand frames over in the callback that brought them, without a turn of the loop."""

    def offer_to(self, taker: Taker) -> None:
        """Offer frames to ``taker`` as they come, while ``receive`` waits and nothing is before them.

        ``receive`` returns what the taker does not take.
        """


@runtime_checkable
class SendsAtOnce(Protocol):
    """A sink that can send without a turn of the loop."""

    def send_at_once(self, frames: Sequence[Frame]) -> bool:
        """Do what ``send`` does, if it would neither wait nor fail; else do nothing and return False."""


@runtime_checkable
class ClientEndpoint(Protocol):
    """The endpoint of a client over HTTP, which knows more of its client than a connection does."""

    @property
    def in_flight(self) -> int:
        """How many requests of the client wait for an answer."""

    @property
    def last_used(self) -> float:
        """When the client last sent something, in seconds by the loop's clock."""

    @property
    def is_listening(self) -> bool:
        """Whether a stream is open for what the server sends unasked."""

    @property
    def trail(self) -> Trail | None:
        """Which relays the client's requests have passed; None if the listener does not look."""


@runtime_checkable
class SpeaksTransport(Protocol):
    """An endpoint that finds out which transport its server speaks."""

    @property
    def transport(self) -> str:
        """``streamablehttp`` or ``sse``; ``auto`` as long as it is not known."""


class Listener(Protocol):
    """A place where peers come: one endpoint for each."""

    @property
    def url(self) -> str:
        """The address actually bound, as a client on this machine would write it."""

    def __aiter__(self) -> AsyncIterator[Endpoint]:
        """Yield an endpoint for each peer, until the listener is closed."""

    async def aclose(self) -> None:
        """Stop listening. Endpoints already yielded live on."""
