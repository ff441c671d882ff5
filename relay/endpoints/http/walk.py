"""One request on its way through the gate: what has come of it, and what the checks have found so far."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multidict import MultiMapping

    from relay.endpoints.http.decisions import Admission, Purpose, Refused
    from relay.endpoints.http.views import HouseView, MountView, RequestHead
    from relay.frames.frame import Frame
    from relay.frames.head import Head
    from relay.mcp.facts import RequestFacts

__all__ = ["Walk"]


class Walk:
    """Made by ``Gate.enter`` for a head; the gate alone writes here, but for what its decisions ask for.

    A connection may keep the walk of one POST for the next with the same head.
    """

    __slots__ = (
        "admission",
        "body",
        "facts",
        "frame",
        "has_asked",
        "has_waited",
        "head",
        "headers",
        "house",
        "is_at_place",
        "is_modern",
        "is_of_modern_era",
        "is_sized",
        "length",
        "mount",
        "place",
        "purpose",
        "request",
        "resumed",
        "session",
        "stale",
        "takes_stream",
    )

    def __init__(
        self, request: RequestHead, house: HouseView, purpose: Purpose, mount: MountView | None, place: str
    ) -> None:
        """Begin with a head; use ``Gate.enter``."""
        self.request = request
        self.headers: MultiMapping[str] = request.headers
        self.house = house
        self.purpose = purpose
        self.mount: Any = mount
        self.place = place
        """How the path behind the server's prefix is called by default; empty where no server stands."""
        self.length = request.content_length
        """Bytes of the body; None if the head does not say."""
        self.admission: Admission | None = None
        """Set once who asks is known to be let in."""
        self.is_at_place = False
        """Whether the checks have come as far as a server's place."""
        self.is_modern = False
        """Whether the headers say 2026-07-28 or later."""
        self.is_of_modern_era = False
        """Whether the frame is of 2026-07-28, by the headers or by what it says itself."""
        self.session: Any = None
        self.stale: Refused | None = None
        """Why the session that was named is none: to be said unless a new one begins with the frame."""
        self.takes_stream = True
        self.resumed: tuple[Any, int] | None = None
        self.is_sized = False
        """Whether there is room for a body of this size."""
        self.body: bytes | None = None
        """The whole body, once it is here; the frame takes its place."""
        self.frame: Frame | None = None
        self.head: Head | None = None
        """The frame's."""
        self.facts: RequestFacts | None = None
        self.has_asked = False
        """Whether the server was asked for what must be known of it."""
        self.has_waited = False
        """Whether a large frame has let others go on before it is accepted."""

    def take_frame(self, frame: Frame) -> None:
        """Go on with a frame that was found sound already, in place of a body."""
        self.body, self.frame, self.head = None, frame, frame.head
        self.is_sized = True
