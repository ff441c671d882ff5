"""The checks of the gate, one function each. A check returns a refusal, or None if the request passes.

The gate holds their order (gate.py). Pure: a check reads the walk and stores its findings there.
"""

from __future__ import annotations

import base64
import math
from typing import TYPE_CHECKING, Any

from relay.endpoints.core.hops import fault_of_hops
from relay.endpoints.http.decisions import (
    ANONYMOUS,
    Accept,
    Admission,
    AnswerWanted,
    Purpose,
    Refused,
    SessionWanted,
    VerificationWanted,
)
from relay.endpoints.http.expect import unknown_expectation
from relay.endpoints.http.frame_checks import check_facts
from relay.endpoints.http.media import EVENT_STREAM, JSON, accepts, listed, media_type
from relay.endpoints.http.paths import BANNER, MCP, MESSAGES, METADATA, PROXY, PROXY_SOCKET, SSE
from relay.frames import replies
from relay.frames.head import Kind
from relay.mcp.facts import read_facts
from relay.mcp.headers import LAST_EVENT_ID, PROTOCOL_VERSION, SESSION_ID
from relay.mcp.revisions import LEGACY_VERSIONS, is_modern_version

if TYPE_CHECKING:
    from multidict import MultiMapping

    from relay.auth.inbound.rates import Rates
    from relay.endpoints.http.views import RulesView
    from relay.endpoints.http.walk import Walk

SUBPROTOCOL = "mcp"
"""The subprotocol of WebSocket. A client may offer others beside it, or none at all."""
_SOCKET_VERSIONS = ("13", "8", "7")  # those that aiohttp speaks
_KEY_SIZE = 16
_SINGLE = ("Origin", "Authorization", SESSION_ID, LAST_EVENT_ID)
_ALLOWED = {
    MCP: ("GET, POST, DELETE, OPTIONS", ("GET", "POST", "DELETE")),
    SSE: ("GET, OPTIONS", ("GET",)),
    MESSAGES: ("POST, OPTIONS", ("POST",)),
    PROXY: ("POST, OPTIONS", ("POST",)),
    PROXY_SOCKET: ("GET, OPTIONS", ("GET",)),
    BANNER: ("GET, HEAD, OPTIONS", ("GET", "HEAD")),
    "": ("GET, HEAD, OPTIONS", ("GET", "HEAD")),
    METADATA: ("GET, HEAD, OPTIONS", ("GET", "HEAD", "OPTIONS")),
}
"""Methods, by the place: as a client is told, and as they are; ``/status`` is at no server's place."""
NO_SUCH_SESSION = "no such session: expired, ended or never begun; begin a new one with initialize"
"""The refusal for a session that is unknown, has ended, or belongs to another principal: a client cannot tell which."""
_NO_SESSION = f"no {SESSION_ID} header; a session begins with initialize"


def is_modern(headers: MultiMapping[str]) -> bool:
    """Tell whether headers say 2026-07-28 or later.

    A session id is ignored then ("Earlier Streamable HTTP Revisions"); an unknown version that names a session is a
    matter of that session's era.
    """
    version = headers.get(PROTOCOL_VERSION)
    return version is not None and version not in LEGACY_VERSIONS and is_modern_version(version)


# Who asks, and for what.


def source(gate: RulesView, walk: Walk) -> Refused | None:
    """Refuse foreign web pages and unknown host names before anything else is read."""
    headers = walk.headers
    for name in _SINGLE:
        if len(headers.getall(name, ())) > 1:
            return _twice(name)
    if len(headers.getall(PROTOCOL_VERSION, ())) > 1 and not is_modern(headers):
        return _twice(PROTOCOL_VERSION)  # those of 2026-07-28 are held against the body
    return host(gate, walk) or origin(gate, walk)


def host(gate: RulesView, walk: Walk) -> Refused | None:
    """Refuse unknown host names."""
    said = walk.headers.get("Host")
    if gate.policy.admits_host(said):
        return None
    return Refused(421, f"host {said!r} is not served here; --allowed-host adds one")


def _twice(name: str) -> Refused:
    # Another parser could read the other one and see another request.
    return Refused(400, f"the {name} header stands twice")


def origin(gate: RulesView, walk: Walk) -> Refused | None:
    """Refuse requests from web pages of other origins."""
    said = walk.headers.get("Origin")
    if gate.policy.admits_origin(said, walk.headers.get("Sec-Fetch-Site")):
        return None
    return Refused(403, f"origin {said!r} may not use this server; --allow-origin adds one")


def expectation(gate: RulesView, walk: Walk) -> Refused | None:
    """Refuse expectations other than ``100-continue`` (RFC 9110 §10.1.1)."""
    if "Expect" in walk.headers and (unknown := unknown_expectation(walk.request)) is not None:
        return Refused(417, f"expect {unknown!r} is not 100-continue", headers={"Connection": "close"})
    return None


def principal(gate: RulesView, walk: Walk) -> Refused | VerificationWanted | None:
    """Identify the client; every client is anonymous if the listener wants no login."""
    if gate.login is None:
        walk.admission = Admission(ANONYMOUS, None, gate.generation)
        return None
    from relay.endpoints.http.identity import identify  # only where a login is wanted

    return identify(gate.login, walk, gate.generation)


def owner_of(walk: Walk) -> str:
    """Return the principal that has been admitted."""
    assert walk.admission is not None, "its order asks who it is"
    return walk.admission.principal


def place(gate: RulesView, walk: Walk) -> Refused | None:
    """Refuse a path without a server."""
    if walk.mount is None:
        return Refused(404, f"nothing at {walk.request.path}; {walk.house.describe_places()}")
    walk.is_at_place = True
    return None


def method(gate: RulesView, walk: Walk) -> Refused | None:
    """Refuse a method that is not allowed at this path."""
    shown, allowed = _ALLOWED[walk.place]
    if walk.request.method in allowed:
        return None
    said = f"method {walk.request.method} is not one of {shown}"
    return Refused(405, said, headers={"Allow": shown})


def rate(gate: RulesView, rates: Rates, walk: Walk, now: float) -> Refused | None:
    """Refuse a request that comes too soon after others of its principal, or of its address without a login.

    This is no check of the head: a connection remembers those. Each request counts once.
    """
    if walk.is_counted or walk.admission is None:
        return None
    key = walk.admission.principal if gate.login is not None else walk.request.remote or ""
    if wait := rates.take(key, now):
        seconds = math.ceil(wait)
        fault = f"too many requests; the next may come in {seconds} s"
        return Refused(429, fault, headers={"Retry-After": str(seconds)})
    walk.is_counted = True
    return None


# What it carries, and what it takes.


def content(gate: RulesView, walk: Walk) -> Refused | None:
    """Refuse a body that is not plain JSON: a form of a web page never is."""
    headers = walk.headers
    content_type = headers.get("Content-Type")
    if media_type(content_type) != JSON:
        return Refused(415, f"content type {content_type!r} is not {JSON}")
    encoding = listed(headers, "Content-Encoding") if "Content-Encoding" in headers else None
    if encoding is not None and any(one.strip().lower() != "identity" for one in encoding.split(",")):
        return Refused(415, f"content encoding {encoding!r} is not identity")
    return None


def accept(gate: RulesView, walk: Walk) -> Refused | None:
    """Refuse a client that does not accept the media type of the answer; note whether it accepts streams."""
    said = listed(walk.headers, "Accept")
    walk.takes_stream = accepts(said, EVENT_STREAM)
    wanted = EVENT_STREAM if walk.purpose in (Purpose.STREAM, Purpose.SSE) else JSON
    return None if accepts(said, wanted) else Refused(406, f"accept {said!r} must list {wanted}")


# To which session it belongs.


def session(gate: RulesView, walk: Walk) -> Refused | None:
    """Find the session that a request names; an ``initialize`` may still name one that has ended."""
    headers, mount = walk.headers, walk.mount
    session_id = headers.get(SESSION_ID)
    if mount.per_request or (session_id is None and is_modern(headers)):
        return Refused(405, "there are no sessions here: POST each request", headers={"Allow": "POST, OPTIONS"})
    if session_id is None:
        return Refused(400, _NO_SESSION)
    found = mount.find_session(session_id)
    if found is not None and found.speaks == "streamable" and not found.is_closing and found.owner == owner_of(walk):
        walk.session = found
        return None
    refused = Refused(404, NO_SUCH_SESSION)
    if walk.purpose is Purpose.POST_IN_SESSION and (walk.length or 0) <= gate.limits.buffer_low:
        walk.stale, walk.purpose = refused, Purpose.POST
        return None
    return refused


def era(gate: RulesView, walk: Walk) -> Refused | None:
    """Note whether the headers of a frame without a session declare 2026-07-28."""
    walk.is_modern = is_modern(walk.headers)
    # If no such client has come yet, the check of hops follows in ``beginning``.
    return hops(gate, walk) if walk.is_modern and owner_of(walk) in walk.mount.modern else None


def ownership(gate: RulesView, walk: Walk) -> Refused | None:
    """Refuse a request for another server that names a session of another principal."""
    owners, session_id = walk.mount.through.owners, walk.headers.get(SESSION_ID)
    if owners is None or session_id is None or owners.has(owner_of(walk), session_id):
        return None
    if walk.head is not None and walk.head.method == "initialize":
        return None  # it begins a session; a client may still name its last one, which is not forwarded
    return Refused(404, NO_SUCH_SESSION)


def version(gate: RulesView, walk: Walk) -> Refused | None:
    """Refuse a protocol version that is neither the session's nor any that the relay knows."""
    said = walk.headers.get(PROTOCOL_VERSION)
    if said is None or walk.stale is not None or said == walk.session.version or said in LEGACY_VERSIONS:
        return None
    known = ", ".join(LEGACY_VERSIONS)
    fault = f"{PROTOCOL_VERSION} {said!r} is neither the session's {walk.session.version!r} nor one of {known}"
    return Refused(400, fault)


def sse_session(gate: RulesView, walk: Walk) -> Refused | None:
    """Find the session of HTTP+SSE that the address of a POST names."""
    session_id = walk.request.query.get("session_id")
    if session_id is None:
        return Refused(400, "no session_id in the query; it comes with the endpoint event of the SSE stream")
    found = walk.mount.find_session(session_id)
    if found is None or found.speaks != "sse" or found.is_closing or found.owner != owner_of(walk):
        fault = f"no such session: its stream has ended, or never was; begin a new one at {walk.mount.sse_address}"
        return Refused(404, fault)
    walk.session = found
    return None


def resumption(gate: RulesView, walk: Walk) -> Refused | None:
    """Find the stream that a GET asks for again."""
    last_event_id = walk.headers.get(LAST_EVENT_ID)
    if last_event_id is None:
        return None
    walk.resumed = walk.session.find_stream(last_event_id)
    if walk.resumed is None:
        return Refused(400, f"event {last_event_id!r} is unknown or no longer kept: its stream cannot be resumed")
    return None


# Whether something may begin.


def taking(gate: RulesView, walk: Walk) -> Refused | None:
    """Refuse new work while the relay, or the server, is about to end."""
    request_id = walk.head.id if walk.head is not None else None
    if walk.house.is_draining:
        said = "the relay is shutting down"
        return Refused(503, said, request_id=request_id, headers={"Connection": "close"})
    if walk.mount.is_leaving:
        return Refused(404, "the relay no longer offers this server; begin a new session", request_id=request_id)
    return None


def room_for_session(gate: RulesView, walk: Walk) -> Refused | None:
    """Refuse a session beyond the limit."""
    places = walk.house.places
    if places.is_full:
        said = places.refusal
    elif gate.login is not None and _has_session(walk) and places.is_full_for(owner_of(walk)):
        said = places.refusal_of_one
    else:
        return None
    request_id = walk.head.id if walk.head is not None else None
    return Refused(429, said, request_id=request_id, headers={"Retry-After": "5"})


def _has_session(walk: Walk) -> bool:
    """Tell whether a request of a known client begins something that lasts, not an endpoint for itself alone."""
    return walk.admission is not None and not (walk.purpose is Purpose.POST and walk.mount.per_request)


def hops(gate: RulesView, walk: Walk) -> Refused | None:
    """Refuse a request that has passed this relay before, or too many relays."""
    may_return = walk.purpose in (Purpose.POST_THROUGH, Purpose.OTHER_THROUGH)
    fault = fault_of_hops(walk.headers, walk.mount.mark, may_return=may_return)
    return None if fault is None else Refused(508, fault, request_id=walk.head.id if walk.head is not None else None)


# What the frame of a POST without a session means.


def upgrade(gate: RulesView, walk: Walk) -> Refused | None:
    """Refuse what is no handshake of WebSocket (RFC 6455 §4.2.1), and subprotocols without ``mcp``."""
    headers = walk.headers
    try:
        has_key = len(base64.b64decode(headers.get("Sec-WebSocket-Key", ""))) == _KEY_SIZE
    except ValueError:
        has_key = False
    is_upgrade = headers.get("Upgrade", "").strip().lower() == "websocket" and "upgrade" in _words(walk, "Connection")
    if not (is_upgrade and has_key and headers.get("Sec-WebSocket-Version") in _SOCKET_VERSIONS):
        return Refused(400, "not a proper WebSocket handshake")
    offered = listed(headers, "Sec-WebSocket-Protocol") or ""
    if offered.strip(" ,") and SUBPROTOCOL not in (word.strip() for word in offered.split(",")):
        return Refused(400, f"the subprotocol here is {SUBPROTOCOL!r}; offered: {offered}")
    return None


def _words(walk: Walk, name: str) -> list[str]:
    return [word.strip().lower() for word in (listed(walk.headers, name) or "").split(",")]


def staleness(gate: RulesView, walk: Walk) -> Refused | None:
    """Refuse a frame that names an ended session, unless it begins another."""
    return None if walk.stale is None or _head(walk).method == "initialize" else walk.stale


def untold(gate: RulesView, walk: Walk) -> Refused | Accept | None:
    """Accept and drop notifications if each request has its own server."""
    head = _head(walk)
    if not walk.mount.per_request or head.kind is Kind.REQUEST:
        return None
    if walk.is_modern and (refused := _find_facts(walk, knows=False)) is not None:
        return refused
    if head.asks:
        fault = "each request has its own server here: POST requests one by one"
        return Refused(400, fault, code=replies.INVALID_REQUEST)
    return Accept(walk.purpose, walk.admission)


def facts(gate: RulesView, walk: Walk) -> Refused | None:
    """Check that a request of 2026-07-28 is complete, and that its headers match its body."""
    walk.is_of_modern_era = walk.is_modern or _is_modern_frame(walk)
    if not walk.is_of_modern_era:
        if walk.mount.per_request and walk.frame is not None:
            walk.facts = read_facts(walk.frame)
        return None
    return None if walk.facts is not None else _find_facts(walk, knows=True)


def _is_modern_frame(walk: Walk) -> bool:
    """Tell whether the body alone declares 2026-07-28, or an unknown version.

    The headers then lack the version or contradict it, which ``check_facts`` refuses.
    """
    head, frame = walk.head, walk.frame
    assert head is not None and frame is not None, "read"
    is_candidate = head.kind is Kind.REQUEST and head.method != "initialize" and SESSION_ID not in walk.headers
    return is_candidate and read_facts(frame) is not None


def _find_facts(walk: Walk, *, knows: bool) -> Refused | None:
    modern = walk.mount.modern.get(owner_of(walk)) if knows else None
    assert walk.frame is not None, "read"
    try:
        walk.facts = check_facts(walk.headers, walk.frame, None if modern is None else modern.server)
    except Refused as refused:
        return refused.with_traceback(None)
    return None


def beginning(gate: RulesView, walk: Walk) -> Refused | SessionWanted | None:
    """Find the session of the frame, or return what the frame begins."""
    mount, head = walk.mount, _head(walk)
    if walk.is_of_modern_era and not mount.is_modern_per_request:
        modern = mount.modern.get(owner_of(walk))
        walk.session = None if modern is None or modern.is_closing else modern
    if walk.session is not None and not (walk.session.is_closing and walk.session.speaks == "modern"):
        return None
    assert walk.frame is not None, "read"
    if walk.is_of_modern_era and not mount.is_modern_per_request:
        # With a login, the clients of each principal take the place of a session: they have a server of their own.
        room = room_for_session(gate, walk) if gate.login is not None else None
        return taking(gate, walk) or room or hops(gate, walk) or SessionWanted("modern", walk.frame, owner_of(walk))
    said = None
    if not walk.is_of_modern_era:
        if mount.per_request:
            said = None if head.method == "initialize" else walk.headers.get(PROTOCOL_VERSION, "2025-03-26")
        elif head.method != "initialize" or head.kind is not Kind.REQUEST:
            return Refused(400, _NO_SESSION, request_id=head.id)
    begins: Any = "one" if mount.per_request else "session"
    wanted = SessionWanted(begins, walk.frame, owner_of(walk), said)
    return taking(gate, walk) or room_for_session(gate, walk) or hops(gate, walk) or wanted


def server(gate: RulesView, walk: Walk) -> AnswerWanted | None:
    """Ask the server once for the facts that the check of the headers needs."""
    one, said = walk.session, walk.facts
    if said is None or walk.has_asked or one.takes_one or one.server.question(_head(walk).method, said) is None:
        return None
    return AnswerWanted(one, _head(walk).method, said)


def greeting(gate: RulesView, walk: Walk) -> Refused | None:
    """Refuse a request before the ``initialize`` of its session of HTTP+SSE."""
    head = _head(walk)
    if walk.session.is_initialized or head.method == "initialize" or head.kind not in (Kind.REQUEST, Kind.BATCH):
        return None
    return Refused(400, "a session begins with initialize", request_id=head.id)


def _head(walk: Walk) -> Any:
    assert walk.head is not None, "read"
    return walk.head
