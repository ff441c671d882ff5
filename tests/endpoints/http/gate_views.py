"""What the gate looks at, as plain values: a test says what the relay is like when a request comes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import Any, Literal

from aiohttp.http import HttpVersion, HttpVersion11
from multidict import CIMultiDict, MultiMapping

from relay.auth.origin import OriginPolicy
from relay.endpoints.base import ANONYMOUS
from relay.endpoints.http.gate import Gate
from relay.endpoints.http.paths import DEFAULT_PATHS
from relay.endpoints.http.views import RequestHead, RoutesView
from relay.endpoints.http.walk import Walk
from relay.limits import DEFAULT_LIMITS, Limits
from relay.mcp.profile import ServerProfile
from relay.routing.owners import Owners
from relay.routing.sessions import Places

ACCEPT = "application/json, text/event-stream"
FIT = (("Host", "127.0.0.1:8080"), ("Content-Type", "application/json"), ("Accept", ACCEPT))


@dataclass
class Head:
    """The head of a request."""

    method: str = "POST"
    path: str = "/mcp"
    headers: MultiMapping[str] = field(default_factory=lambda: CIMultiDict(FIT))
    query: Mapping[str, str] = field(default_factory=dict)
    content_length: int | None = None
    version: HttpVersion = HttpVersion11
    remote: str | None = "127.0.0.1"
    certificate: Mapping[str, Any] | None = None


@dataclass
class Inbox:
    is_paused: bool = False


@dataclass
class Session:
    """A session, or all clients of 2026-07-28."""

    speaks: Literal["streamable", "sse", "modern"] = "streamable"
    version: str | None = "2025-06-18"
    inbox: Inbox = field(default_factory=Inbox)
    is_closing: bool = False
    is_initialized: bool = True
    waiting: int = 0
    open_requests: Sized = ()
    max_in_flight: int = 100
    takes_one: bool = False
    owner: str = ANONYMOUS
    server: ServerProfile = field(default_factory=lambda: ServerProfile(lambda: 0.0), compare=False)

    def find_stream(self, event_id: str) -> tuple[object, int] | None:
        return (self, 7) if event_id == "1-7" else None


@dataclass
class Through:
    open_requests: Sized = ()
    is_elsewhere: bool = False
    owners: Owners | None = None


@dataclass
class Mount:
    """A server."""

    per_request: bool = False
    is_modern_per_request: bool = False
    modern: Mapping[str, Session] = field(default_factory=dict)
    through: Through | None = None
    is_leaving: bool = False
    mark: str = "here"
    sse_address: str = "/sse"
    sessions: dict[str, Session] = field(default_factory=dict)

    def find_session(self, session_id: str) -> Session | None:
        return self.sessions.get(session_id)


@dataclass
class House:
    """The listener, with one server at its root."""

    mount: Mount | None = field(default_factory=Mount)
    health_paths: Sequence[str] = ("/healthz",)
    routes: RoutesView | None = None
    is_draining: bool = False
    scheme: Literal["http", "https"] = "http"
    places: Places = field(default_factory=lambda: Places(10))

    def find_mount(self, head: RequestHead) -> tuple[Mount, str] | None:
        found = next((place for prefix, place in DEFAULT_PATHS.places(head.path) if not prefix), None)
        return None if found is None or self.mount is None else (self.mount, found)

    def resource_path(self, mount: object, place: str) -> str:
        return place

    def describe_places(self) -> str:
        return "MCP is at /mcp"


def gate_of(limits: Limits = DEFAULT_LIMITS) -> Gate:
    """Make the gate of a listener on loopback."""
    return Gate(limits, OriginPolicy("127.0.0.1"))


def post_of(body: bytes, house: House | None = None, *more: tuple[str, str]) -> Walk:
    """Make the walk of a POST to ``/mcp`` whose body is here."""
    walk = gate_of().enter(Head(headers=CIMultiDict((*FIT, *more)), content_length=len(body)), house or House())
    walk.body = body
    return walk
