"""Define the gate's read-only views of a request's head, the listener, and the server at a path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from typing import TYPE_CHECKING, Any, Literal, Protocol

from aiohttp.http import HttpVersion
from multidict import MultiMapping

from relay.auth.origin import OriginPolicy
from relay.limits import Limits
from relay.mcp.profile import ServerProfile
from relay.routing.owners import Owners
from relay.routing.sessions import Places

if TYPE_CHECKING:
    from relay.auth.inbound.login import InboundLogin
    from relay.endpoints.http.decisions import Purpose

__all__ = [
    "CountsView",
    "HouseView",
    "InboxView",
    "MountView",
    "RequestHead",
    "RoutesView",
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
        """The hosts and origins that the listener admits."""

    @property
    def login(self) -> InboundLogin | None:
        """The logins that the listener accepts; None if it wants none."""

    @property
    def generation(self) -> int:
        """A number that rises when the rules change."""


class CountsView(Protocol):
    """The part of a listener that the way through needs."""

    active_streams: int
    """The number of streams that clients read."""

    @property
    def limits(self) -> Limits:
        """What the listener holds and waits for."""


class RequestHead(Protocol):
    """The head of a request, with the names of aiohttp's requests."""

    @property
    def method(self) -> str:
        """The method, in upper case."""

    @property
    def path(self) -> str:
        """The decoded path, without the query."""

    @property
    def headers(self) -> MultiMapping[str]:
        """The headers, looked up without regard to case."""

    @property
    def query(self) -> Mapping[str, str]:
        """The parameters of the query."""

    @property
    def content_length(self) -> int | None:
        """Bytes of the body; None if the head does not say."""

    @property
    def version(self) -> HttpVersion:
        """The HTTP version."""

    @property
    def remote(self) -> str | None:
        """The address of the client; None for a Unix socket."""

    @property
    def certificate(self) -> Mapping[str, Any] | None:
        """The certificate of the client, which has been verified; None without one."""


class InboxView(Protocol):
    """Frames that wait for a server."""

    @property
    def is_paused(self) -> bool:
        """Whether the inbox is full, so that the server must take frames first."""


class SessionView(Protocol):
    """A session, or all clients of 2026-07-28 together."""

    @property
    def speaks(self) -> Literal["streamable", "sse", "modern"]:
        """The transport and the era that the session speaks."""

    @property
    def owner(self) -> str:
        """The principal that began the session."""

    @property
    def version(self) -> str | None:
        """The revision that the handshake has negotiated."""

    @property
    def inbox(self) -> InboxView:
        """The client's frames that the server has not taken yet."""

    @property
    def is_closing(self) -> bool:
        """Whether the session accepts no more frames from its client."""

    @property
    def waiting(self) -> int:
        """The number of frames whose senders wait for room."""

    @property
    def open_requests(self) -> Sized:
        """Requests that wait for an answer."""

    @property
    def max_in_flight(self) -> int:
        """The maximum number of open requests."""


class ModernView(SessionView, Protocol):
    """All clients of 2026-07-28, or one request that has a server of its own."""

    @property
    def server(self) -> ServerProfile:
        """What the relay knows of the server."""

    @property
    def takes_one(self) -> bool:
        """Whether the endpoint ends with its first request."""


class ThroughView(Protocol):
    """A server that speaks Streamable HTTP itself."""

    @property
    def open_requests(self) -> Sized:
        """The requests that wait for the server's answer."""

    @property
    def is_elsewhere(self) -> bool:
        """Whether the server refused a client's first POST, and so may speak HTTP+SSE."""

    @property
    def owners(self) -> Owners | None:
        """The principal of each session; None if the listener wants no login."""


class MountView(Protocol):
    """A server that the listener offers."""

    @property
    def per_request(self) -> bool:
        """Whether each legacy request has its own server, and no session."""

    @property
    def is_modern_per_request(self) -> bool:
        """Whether each request of 2026-07-28 has its own server."""

    @property
    def modern(self) -> Mapping[str, ModernView]:
        """The endpoint of all clients of 2026-07-28 of each principal."""

    @property
    def through(self) -> ThroughView | None:
        """The server, if the relay forwards requests to it without a session."""

    @property
    def is_leaving(self) -> bool:
        """Whether the listener no longer offers the server."""

    @property
    def mark(self) -> str:
        """The mark that shows that a request has passed this listener before."""

    @property
    def sse_address(self) -> str:
        """The address at which an HTTP+SSE session begins."""

    def find_session(self, session_id: str, /) -> SessionView | None:
        """Return the session with this id; None if none has begun, or the relay has forgotten it."""


class RoutesView(Protocol):
    """What a listener serves besides MCP servers: a gateway."""

    @property
    def mark(self) -> str:
        """The mark that shows that a request has passed this listener before."""

    @property
    def is_leaving(self) -> bool:
        """Whether it accepts no new work."""

    def purpose_of(self, request: RequestHead, /) -> Purpose | None:
        """Return the purpose of a request to one of its paths; None for other paths."""

    def fault_of_server(self, url: str, /) -> str | None:
        """Return why the server at this URL must not be called; None if it may."""


class HouseView(Protocol):
    """The listener as a whole, with its servers."""

    @property
    def routes(self) -> RoutesView | None:
        """What the listener serves besides MCP servers, if there is anything."""

    @property
    def health_paths(self) -> Sequence[str]:
        """Additional paths that report whether the relay accepts new work."""

    @property
    def is_draining(self) -> bool:
        """Whether the listener accepts no new work because the relay is about to end."""

    @property
    def scheme(self) -> Literal["http", "https"]:
        """The scheme of the listener's URLs."""

    @property
    def places(self) -> Places:
        """The places that the listener has for sessions."""

    def resource_path(self, mount: MountView, place: str, /) -> str:
        """Return the path of the server's Streamable HTTP or HTTP+SSE endpoint, whichever ``place`` belongs to."""

    def find_mount(self, head: RequestHead, /) -> tuple[MountView, str] | None:
        """Return the server at a request's path, and the default name of that path; None if there is no server."""

    def describe_places(self) -> str:
        """Return a text that names the paths of all servers."""
