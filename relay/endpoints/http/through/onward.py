"""Select the client's headers that reach the server."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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

# The client's headers of the transport. The client's credentials and cookies are for this relay, not for the server.
_ONWARD = (SESSION_ID, PROTOCOL_VERSION, LAST_EVENT_ID, METHOD, NAME, "Traceparent", "Tracestate", "Baggage")
_BOTH = f"{JSON}, {EVENT_STREAM}"


class Onward(msgspec.Struct, frozen=True, eq=False):
    """A client's headers in the form that the server gets."""

    head: bytes
    """The head of a request, without cookies and the length of the body."""
    session_id: str | None
    url: URL
    """The URL for which the head was built."""
    login: Mapping[str, str]
    """The headers of the login with which the head was built."""


def onward_headers(
    mark: str, client_headers: MultiMapping[str], frame: Frame | None = None, forwarded: Sequence[str] = ()
) -> CIMultiDict[str]:
    """Return the headers of a forwarded request; ``mark`` names this relay's place in the trail.

    ``forwarded`` names further headers that the operator lets pass.
    """
    prefix = PARAM_PREFIX.lower()
    # All lines of each header: the server decides whether a repeated header is a fault.
    headers = CIMultiDict((name, value) for name in (*_ONWARD, *forwarded) for value in client_headers.getall(name, ()))
    if frame is not None and frame.head.method == INITIALIZE:
        headers.popall(SESSION_ID, None)  # a session begins: a client may still send its previous session's id
    for name, value in client_headers.items():
        if name.lower().startswith(prefix):
            headers.add(name, value)
    accept = listed(client_headers, "Accept")
    # Servers want both media types. A client without streams gets its answer from the stream (``CollapsedStream``).
    is_plain = frame is not None and not accepts(accept, EVENT_STREAM)
    headers["Accept"] = _BOTH if accept is None or is_plain else accept
    trail = Trail(mark)
    trail.lead_here(client_headers, may_return=True)  # the gate has checked that the request may pass again
    headers.update(trail.headers)
    return headers
