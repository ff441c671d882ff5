"""Find the purpose of a request by its method, its path and the server at that path. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from relay.endpoints.http.decisions import Purpose
from relay.endpoints.http.paths import MCP, SSE
from relay.endpoints.http.steps import is_modern
from relay.mcp.headers import SESSION_ID

if TYPE_CHECKING:
    from relay.endpoints.http.views import MountView, RequestHead

__all__ = ["is_probe", "purpose_at"]


def purpose_at(request: RequestHead, mount: MountView, place: str) -> Purpose:
    """Return the purpose of a request to a path of a server."""
    if place != MCP:
        return Purpose.SSE if place == SSE else Purpose.MESSAGE
    method, headers = request.method, request.headers
    if method == "GET" and headers.get("Upgrade", "").strip().lower() == "websocket":
        return Purpose.UPGRADE
    if mount.through is not None and method in ("POST", "GET", "DELETE") and not _is_own(request, mount):
        return Purpose.POST_THROUGH if method == "POST" else Purpose.OTHER_THROUGH
    if method == "POST":
        is_in_session = SESSION_ID in headers and not mount.per_request and not is_modern(headers)
        return Purpose.POST_IN_SESSION if is_in_session else Purpose.POST
    return Purpose.DELETE if method == "DELETE" else Purpose.STREAM


def _is_own(request: RequestHead, mount: MountView) -> bool:
    """Tell whether the listener, not the server behind it, began the session of a request.

    If the server speaks HTTP+SSE, the listener began every session, and no longer knows those that have ended. The
    relay may try a POST on such a server; a GET would open a stream of HTTP+SSE.
    """
    session_id = request.headers.get(SESSION_ID)
    if session_id is None:
        return False
    is_elsewhere = mount.through is not None and mount.through.is_elsewhere
    return mount.find_session(session_id) is not None or (is_elsewhere and request.method != "POST")


def is_probe(request: RequestHead) -> bool:
    """Tell whether a request is a health probe of a load balancer; HAProxy uses OPTIONS."""
    is_preflight = "Access-Control-Request-Method" in request.headers
    return request.method in ("GET", "HEAD") or (request.method == "OPTIONS" and not is_preflight)
