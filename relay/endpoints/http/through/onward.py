"""Which of a client's headers reach the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from multidict import CIMultiDict, MultiMapping

from relay.endpoints.core.hops import Trail
from relay.endpoints.http.media import EVENT_STREAM, JSON, accepts, listed
from relay.endpoints.http.through.forwarded import INITIALIZE
from relay.frames.frame import Frame
from relay.mcp.headers import LAST_EVENT_ID, METHOD, NAME, PROTOCOL_VERSION, SESSION_ID
from relay.mcp.tool_headers import PARAM_PREFIX

if TYPE_CHECKING:
    from yarl import URL

__all__ = ["Onward", "onward_headers"]

# What is the transport's of a client's headers. Its credentials and cookies are for this relay, not for the server.
_ONWARD = (SESSION_ID, PROTOCOL_VERSION, LAST_EVENT_ID, METHOD, NAME, "Traceparent", "Tracestate", "Baggage")
_BOTH = f"{JSON}, {EVENT_STREAM}"


class Onward(msgspec.Struct, frozen=True, eq=False):
    """What the headers of a client are on their way to the server."""

    head: bytes
    """The head of a request but for the length of its body, and cookies."""
    session_id: str | None
    url: URL
    """Where the head leads."""


def onward_headers(mark: str, client_headers: MultiMapping[str], frame: Frame | None = None) -> CIMultiDict[str]:
    """Return the headers of a forwarded request; ``mark`` names this relay's place in the trail."""
    prefix = PARAM_PREFIX.lower()
    # With all its lines: whether one that has two is a fault, the server says.
    headers = CIMultiDict((name, value) for name in _ONWARD for value in client_headers.getall(name, ()))
    if frame is not None and frame.head.method == INITIALIZE:
        headers.popall(SESSION_ID, None)  # a session begins: a client may still say the last one's id
    for name, value in client_headers.items():
        if name.lower().startswith(prefix):
            headers.add(name, value)
    accept = listed(client_headers, "Accept")
    # Servers want both media types. A client without streams gets its answer from the stream (``CollapsedStream``).
    is_plain = frame is not None and not accepts(accept, EVENT_STREAM)
    headers["Accept"] = _BOTH if accept is None or is_plain else accept
    trail = Trail(mark)
    trail.lead_here(client_headers, may_return=True)  # the gate has seen that it may
    headers.update(trail.headers)
    return headers
