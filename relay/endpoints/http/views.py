"""What the gate sees of a request's head, of the listener, and of the server that stands at a path: to read only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from typing import Literal, Protocol

from aiohttp.http import HttpVersion
from multidict import MultiMapping

from relay.auth.origin import OriginPolicy
from relay.limits import Limits
from relay.mcp.profile import ServerProfile
from relay.routing.sessions import Places

__all__ = [
    "CountsView",
    "HouseView",
    "InboxView",
    "MountView",
    "RequestHead",
    "RulesView",
    "SessionView",
    "ThroughView",
]


class RulesView(Protocol):
    """The rules of a listener, as the checks see them."""

    @property
    def limits(self) -> Limits:
        """What the listener holds and waits for."""

    @property
    def policy(self) -> OriginPolicy:
        """Which hosts and origins it admits."""

    @property
    def generation(self) -> int:
        """Rises when the rules change."""


class CountsView(Protocol):
    """What the way through needs of a listener."""

    active_streams: int
    """Streams that clients read."""

    @property
    def limits(self) -> Limits:
        """What the listener holds and waits for."""


class RequestHead(Protocol):
    """The head of a request, as aiohttp's requests have it."""

    @property
    def method(self) -> str:
        """In upper case."""

    @property
    def path(self) -> str:
        """Decoded, without the query."""

    @property
    def headers(self) -> MultiMapping[str]:
        """A name is found in any case."""

    @property
    def query(self) -> Mapping[str, str]:
        """The parameters behind the path."""

    @property
    def content_length(self) -> int | None:
        """Bytes of the body; None if the head does not say."""

    @property
    def version(self) -> HttpVersion:
        """Of HTTP."""


class InboxView(Protocol):
    """Frames that wait for a server."""

    @property
    def is_paused(self) -> bool:
        """Whether the server must take some before more may be put in."""


class SessionView(Protocol):
    """A session, or all clients of 2026-07-28 together."""

    @property
    def speaks(self) -> Literal["streamable", "sse", "modern"]:
        """The transport, and the era."""

    @property
    def version(self) -> str | None:
        """The revision that the handshake has settled."""

    @property
    def inbox(self) -> InboxView:
        """What its client has sent and its server has not taken."""

    @property
    def is_closing(self) -> bool:
        """Whether it takes no more from its client."""

    @property
    def waiting(self) -> int:
        """Frames whose senders wait for room."""

    @property
    def open_requests(self) -> Sized:
        """Requests that wait for an answer."""

    @property
    def max_in_flight(self) -> int:
        """How many may wait at one time."""


class ModernView(SessionView, Protocol):
    """All clients of 2026-07-28, or one request that has a server of its own."""

    @property
    def server(self) -> ServerProfile:
        """What is known of the server."""

    @property
    def takes_one(self) -> bool:
        """Whether it ends with its first request."""


class ThroughView(Protocol):
    """A server that speaks Streamable HTTP itself."""

    @property
    def in_flight(self) -> int:
        """Requests that wait for its answer."""

    @property
    def is_elsewhere(self) -> bool:
        """Whether it took no POST of a client that began."""


class MountView(Protocol):
    """A server as the listener offers it."""

    @property
    def per_request(self) -> bool:
        """Whether requests of the legacy era have no session."""

    @property
    def is_modern_per_request(self) -> bool:
        """Whether requests of 2026-07-28 have a server each."""

    @property
    def modern(self) -> ModernView | None:
        """The endpoint of all clients of 2026-07-28, if there is one."""

    @property
    def through(self) -> ThroughView | None:
        """The server, if it answers for itself."""

    @property
    def is_leaving(self) -> bool:
        """Whether the server is offered no more."""

    @property
    def mark(self) -> str:
        """What tells that a request has been here before."""

    @property
    def sse_address(self) -> str:
        """Where a session of HTTP+SSE begins."""

    def find_session(self, session_id: str, /) -> SessionView | None:
        """Return the session of this id that has been begun and has not been forgotten."""


class HouseView(Protocol):
    """The listener."""

    @property
    def health_paths(self) -> Sequence[str]:
        """Further places that say whether the relay takes something new."""

    @property
    def is_draining(self) -> bool:
        """Whether nothing new is taken: the relay is about to end."""

    @property
    def places(self) -> Places:
        """Of the sessions."""

    def find_mount(self, head: RequestHead, /) -> tuple[MountView, str] | None:
        """Return what stands at a request's path, and how its place is called by default; None for nothing."""

    def describe_places(self) -> str:
        """Say at which paths something stands."""
