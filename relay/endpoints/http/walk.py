"""One request on its way through the gate: what has arrived, and what the checks have found."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multidict import MultiMapping

    from relay.auth.inbound.verdicts import Verdict
    from relay.endpoints.http.decisions import Admission, Purpose, Refused
    from relay.endpoints.http.proxied_call import ProxiedCall
    from relay.endpoints.http.views import HouseView, MountView, RequestHead, RoutesView
    from relay.frames.frame import Frame
    from relay.frames.head import Head
    from relay.mcp.facts import RequestFacts

__all__ = ["Walk"]


class Walk:
    """The state of one request in the gate; ``Gate.enter`` makes it.

    Only the gate, and the code that carries out its decision, write to it. A connection may reuse the walk for its next
    POST with the same head.
    """

    __slots__ = (
        "admission",
        "body",
        "call",
        "facts",
        "frame",
        "has_asked",
        "has_waited",
        "head",
        "headers",
        "house",
        "is_at_place",
        "is_counted",
        "is_modern",
        "is_of_modern_era",
        "is_sized",
        "length",
        "mount",
        "now",
        "place",
        "purpose",
        "request",
        "resumed",
        "session",
        "stale",
        "takes_stream",
        "verdict",
    )

    def __init__(
        self, request: RequestHead, house: HouseView, purpose: Purpose, mount: MountView | RoutesView | None, place: str
    ) -> None:
        """Start with a head; use ``Gate.enter``."""
        self.request = request
        self.headers: MultiMapping[str] = request.headers
        self.house = house
        self.purpose = purpose
        self.mount: Any = mount
        self.place = place
        """The default name of the path below the server's prefix; empty without a server."""
        self.length = request.content_length
        """Bytes of the body; None if the head does not say."""
        self.admission: Admission | None = None
        """Set once the client is identified and admitted."""
        self.now = 0.0
        """When the head was checked, in seconds by the loop's clock."""
        self.verdict: Verdict | None = None
        """What an authorization server said of the client's token, until the gate has read it."""
        self.is_counted = False
        """Whether the request counts for the rate of its client already."""
        self.is_at_place = False
        """Whether the checks have reached a server."""
        self.is_modern = False
        """Whether the headers declare 2026-07-28 or later."""
        self.is_of_modern_era = False
        """Whether the headers or the frame declare 2026-07-28."""
        self.session: Any = None
        self.stale: Refused | None = None
        """The refusal because of an ended session; it applies unless the frame begins another."""
        self.takes_stream = True
        self.resumed: tuple[Any, int] | None = None
        self.is_sized = False
        """Whether the size of the body has passed its checks."""
        self.body: bytes | None = None
        """The whole body, until the frame replaces it."""
        self.frame: Frame | None = None
        self.head: Head | None = None
        """The head of the frame."""
        self.facts: RequestFacts | None = None
        self.has_asked = False
        """Whether the server was asked for the facts that the check needs."""
        self.has_waited = False
        """Whether a large frame has given way to other clients."""

    call: ProxiedCall
    """The call of a page; set by its check only."""

    def take_frame(self, frame: Frame) -> None:
        """Continue with a frame that is known to be valid."""
        self.body, self.frame, self.head = None, frame, frame.head
        self.is_sized = True
