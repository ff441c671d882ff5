"""The interfaces that every transport implements: Endpoint, one side of a pipe, and Listener, which yields endpoints.

An endpoint ends in one of three ways: it is *finished* (the peer will send no more), *closed* (the relay ended it) or
*broken* (it failed).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from relay.errors import RelayError
from relay.frames.frame import Frame

if TYPE_CHECKING:
    from relay.endpoints.core.hops import Trail
    from relay.routing.open_table import OpenTable

__all__ = [
    "ANONYMOUS", "CountsUse", "Endpoint", "HasOwner", "HasStream", "HasTrail", "Listener", "LogsIn",
    "OffersFrames", "SendsAtOnce", "SpeaksTransport", "Taker",
]  # fmt: skip

ANONYMOUS = "anonymous"
"""The principal of every client of a listener that wants no login."""

Taker: TypeAlias = Callable[[Sequence[Frame]], bool]
"""A function that takes all offered frames and returns True, or takes none and returns False."""


@runtime_checkable
class Endpoint(Protocol):
    """One side of a pipe: a peer behind any transport."""

    @property
    def name(self) -> str:
        """The endpoint's name in logs and errors."""

    async def receive(self) -> Sequence[Frame]:
        """Return the frames since the last call: at least one, or ``()`` once this side has finished.

        Cancellation loses no frame. Raises EndpointBroken if the peer failed, and EndpointBusy for a second receiver.
        """

    def call_at_end(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once the peer will send no more, even if received frames still wait in the inbox.

        A task that waits in the ``send`` of another endpoint cannot call ``receive``, and learns of the end this way.
        """

    async def send(self, frames: Sequence[Frame]) -> None:
        """Send frames to the peer; return once the buffer is below its high-water mark. This is the backpressure.

        A cancelled call may have sent some frames, all or none. Raises EndpointBroken or EndpointClosed.
        """

    async def send_eof(self) -> None:
        """Tell the peer that no more frames follow; the endpoint still receives."""

    async def aclose(self, reason: RelayError | None = None) -> None:
        """Close the endpoint; the call is idempotent, bounded, and quiet on a dead peer.

        This peer's open requests get an error that carries ``reason``. ``receive`` still returns the frames that have
        arrived, then ``()``.
        """


# The optional abilities of an endpoint. Check for an ability once per endpoint, not once per frame.


@runtime_checkable
class OffersFrames(Protocol):
    """A source that can offer frames in the callback that brought them, without a turn of the loop."""

    def offer_to(self, taker: Taker) -> None:
        """Offer frames to ``taker`` as they arrive, while ``receive`` waits and no frame is before them.

        ``receive`` returns the frames that ``taker`` does not take.
        """


@runtime_checkable
class SendsAtOnce(Protocol):
    """A sink that can send without a turn of the loop."""

    def send_at_once(self, frames: Sequence[Frame]) -> bool:
        """Send as ``send`` does if that neither waits nor fails; else do nothing and return False."""


@runtime_checkable
class CountsUse(Endpoint, Protocol):
    """A client's endpoint that knows the client's last activity and its open requests."""

    @property
    def ledger(self) -> OpenTable[Any]:
        """The client's requests that wait for an answer."""

    @property
    def last_used(self) -> float:
        """The time of the client's last bytes, in seconds by the loop's clock."""


@runtime_checkable
class HasStream(Protocol):
    """An HTTP client's endpoint, with an optional stream for the server's own requests and notifications."""

    @property
    def is_listening(self) -> bool:
        """Whether the stream is open."""


@runtime_checkable
class HasTrail(Protocol):
    """A client's endpoint that reads from the requests which relays they have passed."""

    @property
    def trail(self) -> Trail | None:
        """The relays that the client's requests have passed, or None if the listener does not read them."""


@runtime_checkable
class HasOwner(Protocol):
    """A client's endpoint that knows who the client is."""

    @property
    def owner(self) -> str:
        """The principal that began the session; nobody else may use it, or share a server with it."""


@runtime_checkable
class SpeaksTransport(Protocol):
    """An endpoint that detects its server's transport."""

    @property
    def transport(self) -> str:
        """``streamablehttp`` or ``sse``, and ``auto`` until the endpoint has detected it."""


class Listener(Protocol):
    """An address where peers connect, which yields an endpoint for each."""

    @property
    def url(self) -> str:
        """The bound address, as a client on this machine writes it."""

    def __aiter__(self) -> AsyncIterator[Endpoint]:
        """Yield an endpoint for each peer until the listener is closed."""

    async def aclose(self) -> None:
        """Stop listening; endpoints that it has yielded stay open."""


@runtime_checkable
class LogsIn(Protocol):
    """An endpoint that may wait for a login, perhaps by a person."""

    @property
    def is_logging_in(self) -> bool:
        """Whether it waits for one now."""
