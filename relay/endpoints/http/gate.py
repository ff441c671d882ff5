"""Decide what becomes of an HTTP request: one order of checks for every way that carries requests.

Sans-I/O and pure. The gate reads the head, the body if it has arrived, and the state of the listener and of the server
at that path. It returns one decision (decisions.py); the callback way, the ordinary way and the way through carry it
out. ``ORDERS`` lists the checks; a client hears of the first that fails. The limits of heads (server/heads.py) apply
before the gate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

import msgspec

from relay.endpoints.core.hops import HOPS
from relay.endpoints.http import steps
from relay.endpoints.http.decisions import Accept, BodyWanted, Decision, HandOn, Purpose, Refused, RoomWanted, too_large
from relay.endpoints.http.frame_checks import FrameChecks
from relay.endpoints.http.media import EVENT_STREAM, listed
from relay.endpoints.http.paths import METADATA
from relay.endpoints.http.purposes import is_probe, purpose_at
from relay.endpoints.http.walk import Walk
from relay.frames.faults import size_fault
from relay.frames.frame import Frame
from relay.frames.head import BATCH, REQUEST, Kind
from relay.frames.json_scan import TooMany
from relay.frames.strictness import repeated_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from relay.auth.inbound.login import InboundLogin
    from relay.auth.inbound.rates import Rates
    from relay.auth.origin import OriginPolicy
    from relay.endpoints.http.views import HouseView, RequestHead
    from relay.limits import Limits

__all__ = ["LONG", "ORDERS", "Gate", "Order", "body_too_large"]

LONG = 4 * 2**20
"""Bytes of a frame that takes 10 ms or more to check."""
_SUBSCRIBE = "subscriptions/listen"
_POST, _INVALID = Purpose.POST, Kind.INVALID  # found in a tenth of the time


# Every call passes these checks of its body. They are in this file so that a reader follows a call in fewer moves.


def size(gate: Gate, walk: Walk) -> Refused | None:
    """Refuse a body that is announced as too large, or that would wait behind too many others."""
    length, session, most = walk.length, walk.session, gate.limits.max_frame_bytes
    if walk.purpose is _POST:
        walk.session = session = walk.mount.modern.get(steps.owner_of(walk)) if walk.is_modern else None
        most = gate.most_of(walk)
    if session is not None:
        if length is not None and length <= gate.limits.buffer_low and session.waiting >= session.max_in_flight:
            return Refused(503, f"{session.waiting} messages wait for the server already")
    elif walk.purpose is Purpose.POST_THROUGH:
        count = len(walk.mount.through.open_requests)
        if count >= gate.limits.max_shared_in_flight:
            return Refused(503, f"{count} requests are in flight already")
    if length is None and walk.body is not None:
        length = len(walk.body)  # the ordinary way checks a chunked body as it reads it
    return None if length is None or length <= most else body_too_large(length, most, gate.limits)


def frame(gate: Gate, walk: Walk) -> Refused | None:
    """Refuse a body that is not one valid frame."""
    raw = walk.body
    if raw is None:  # the walk has its frame already
        return None
    checks, version, head = gate.frames, None if walk.session is None else walk.session.version, None
    try:
        if len(raw) <= checks.uncounted:
            # The usual case is inline: calls would add 0.3 us to the 2.4 us that a small frame costs.
            one = Frame(raw)
            is_suspect = one.may_repeat_key
            walk.head = head = one.read_whole()
            if head.kind is _INVALID or head.kind is BATCH or (is_suspect and repeated_key(one)):
                head = None
        if head is None:
            one = checks.check(raw, version)
            head = one.head
    except (Refused, TooMany) as exc:
        return gate.refusal_of_frame(walk, exc)
    walk.frame, walk.head, walk.body = one, head, None
    return None


def streams(gate: Gate, walk: Walk) -> Refused | None:
    """Refuse a subscription from a client that does not accept event streams."""
    head = walk.head
    if walk.takes_stream or head is None or head.method != _SUBSCRIBE:
        return None
    said = listed(walk.headers, "Accept")
    return Refused(406, f"accept {said!r} must list {EVENT_STREAM} for {_SUBSCRIBE}", request_id=head.id)


def room(gate: Gate, walk: Walk) -> RoomWanted | None:
    """Let a frame wait while the server does not read; a cancellation never waits, because it may make room."""
    one, session = walk.frame, walk.session
    assert one is not None, "read"
    if session.inbox.is_paused and one.head.target is None and not session.is_closing:
        return RoomWanted(session, one)
    return RoomWanted(session, one) if one.size > LONG and not walk.has_waited else None


def load(gate: Gate, walk: Walk) -> Refused | None:
    """Refuse a request beyond the limit of open requests."""
    head, session = walk.head, walk.session
    assert head is not None, "read"
    if head.kind is REQUEST or head.kind is BATCH:
        if (walk.house.is_draining or walk.mount.is_leaving) and (refused := steps.taking(gate, walk)) is not None:
            return refused
        count = 1 if head.kind is REQUEST else len(head.members)
        if len(session.open_requests) + count > session.max_in_flight:
            return Refused(503, f"{session.max_in_flight} requests are in flight already", request_id=head.id)
    return None


def ending(gate: Gate, walk: Walk) -> Refused | None:
    """Refuse a request for another server while the relay, or that server, is about to end.

    Responses still pass: a request in flight may wait for one.
    """
    if not (walk.house.is_draining or walk.mount.is_leaving) or (walk.head is not None and not walk.head.asks):
        return None
    return steps.taking(gate, walk)


def trail(gate: Gate, walk: Walk) -> Refused | None:
    """Refuse a request for another server that has passed too many relays."""
    return steps.hops(gate, walk) if HOPS in walk.headers else None


def owned(gate: Gate, walk: Walk) -> Refused | None:
    """Refuse a request for another server that names another principal's session."""
    return None if gate.login is None else steps.ownership(gate, walk)


def life(gate: Gate, walk: Walk) -> Refused | None:
    """Refuse a frame whose session has ended, for instance while the body was arriving."""
    if not walk.session.is_closing:
        return None
    again = "begin a new one with initialize"
    if walk.purpose is Purpose.MESSAGE:
        again = f"begin a new one at {walk.mount.sse_address}"
    return Refused(404, f"the session has ended; {again}", request_id=walk.head.id if walk.head else None)


def call(gate: Gate, walk: Walk) -> Refused | None:
    """Refuse a body that is not the call of a page, or that names a server that must not be dialled."""
    from relay.endpoints.http.proxied_call import read_call  # only a gateway needs it

    assert walk.body is not None, "read"
    try:
        walk.call = read_call(walk.body, gate.frames)
    except Refused as refused:
        return refused.with_traceback(None)  # a traceback would keep the body
    walk.take_frame(walk.call.frame)
    fault = walk.mount.fault_of_server(walk.call.url)
    return None if fault is None else Refused(400, f"Invalid MCP server URL: {fault}")


Step: TypeAlias = "Callable[[Gate, Walk], Decision | None]"


class Order(msgspec.Struct, frozen=True):
    """The checks for one purpose, first to last."""

    of_head: tuple[Step, ...]
    """Checks of the head; a connection skips them for the same head while the admission holds."""
    of_size: tuple[Step, ...] = ()
    """Checks of the size of the body."""
    of_body: tuple[Step, ...] = ()
    """Checks of the content of the body."""
    hands_on: bool = False
    """Whether the relay then forwards the request to a server that answers for itself."""


_WHO = (steps.source, steps.expectation)
_WHERE = (*_WHO, steps.principal, steps.place, steps.method)

ORDERS: Mapping[Purpose, Order] = {
    # A load balancer may use any Host.
    Purpose.HEALTH: Order((steps.origin,)),
    Purpose.PREFLIGHT: Order(_WHO),
    # A page of any origin may read it: it is the same for all.
    Purpose.METADATA: Order((steps.host, steps.method)),
    Purpose.REPORT: Order((*_WHO, steps.principal, steps.method)),
    Purpose.NOTHING: Order(_WHERE),
    Purpose.POST_IN_SESSION: Order(
        (*_WHERE, steps.content, steps.accept, steps.session, steps.version),
        (size,),
        (frame, streams, room, load, life),
    ),
    Purpose.POST: Order(
        (*_WHERE, steps.content, steps.accept, steps.era),
        (size,),
        (
            *(frame, steps.staleness, steps.untold, streams, steps.facts, steps.beginning),
            *(steps.server, room, load, life),
        ),
    ),
    Purpose.POST_THROUGH: Order(
        (*_WHERE, steps.content, steps.accept), (size,), (frame, streams, ending, owned, trail), hands_on=True
    ),
    Purpose.OTHER_THROUGH: Order((*_WHERE, owned, trail), hands_on=True),
    Purpose.STREAM: Order((*_WHERE, steps.accept, steps.session, steps.version, steps.resumption)),
    Purpose.DELETE: Order((*_WHERE, steps.session, steps.version)),
    Purpose.UPGRADE: Order((*_WHERE, steps.taking, steps.hops, steps.room_for_session, steps.upgrade)),
    Purpose.SSE: Order((*_WHERE, steps.accept, steps.taking, steps.room_for_session, steps.hops)),
    Purpose.MESSAGE: Order(
        (*_WHERE, steps.content, steps.sse_session), (size,), (frame, room, load, steps.greeting, life)
    ),
    Purpose.PROXY: Order((*_WHERE, steps.content), (size,), (call, steps.taking, steps.hops)),
    # The login follows the upgrade, because a page cannot read the status of a refused one.
    Purpose.PROXY_SOCKET: Order((*_WHO, steps.place, steps.method, steps.taking, steps.hops, steps.upgrade)),
    Purpose.BANNER: Order((*_WHO, steps.method)),
}
"""The order of the checks. The relay reads the body between the checks of its size and of its content."""


class Gate:
    """The rules of one listener."""

    def __init__(
        self, limits: Limits, policy: OriginPolicy, login: InboundLogin | None = None, rates: Rates | None = None
    ) -> None:
        """Admit what ``policy`` admits, within ``limits`` and ``rates``, of clients that ``login`` knows if any."""
        self.rates = rates
        self.limits = limits
        self.policy = policy
        self.login = login
        self.frames = FrameChecks(limits)
        self.generation = 0
        """Rises when the rules change, which ends every admission of an earlier generation."""

    def enter(self, request: RequestHead, house: HouseView) -> Walk:
        """Find out the purpose of a request and start its walk."""
        path, method = request.path, request.method
        if (path == "/health" or path in house.health_paths) and is_probe(request):
            return Walk(request, house, Purpose.HEALTH, None, "")
        if self.login is not None and (path == METADATA or path.startswith(f"{METADATA}/")):
            return Walk(request, house, Purpose.METADATA, None, METADATA)
        if method == "OPTIONS":
            return Walk(request, house, Purpose.PREFLIGHT, None, "")
        if path in ("/health", "/status"):
            return Walk(request, house, Purpose.REPORT, None, "")
        if house.routes is not None and (purpose := house.routes.purpose_of(request)) is not None:
            return Walk(request, house, purpose, house.routes, path)
        found = house.find_mount(request)
        if found is None:
            return Walk(request, house, Purpose.NOTHING, None, "")
        mount, place = found
        return Walk(request, house, purpose_at(request, mount, place), mount, place)

    def decide(self, walk: Walk, now: float, body: bytes | None = None) -> Decision:
        """Return what becomes of a request, at ``now`` in seconds by the loop's clock.

        Some decisions want something; do it and ask again. ``body`` is the whole body. A connection may pass the body
        of its next request with the same head, after ``let_go``.
        """
        if body is not None:
            walk.body = body
            if walk.length is not None:
                walk.length = len(body)
            walk.is_sized = walk.has_asked = walk.has_waited = False
        order = ORDERS[walk.purpose]
        admission = walk.admission
        if (
            admission is None
            or admission.generation != self.generation
            or (admission.until is not None and now >= admission.until)
        ):
            walk.now = now
            for step in order.of_head:
                if (decision := step(self, walk)) is not None:
                    return decision
            order = ORDERS[walk.purpose]  # a client may name an ended session as it begins another
        if self.rates is not None and (decision := steps.rate(self, self.rates, walk, now)) is not None:
            return decision
        if order.of_body:
            if not walk.is_sized:
                for step in order.of_size:
                    if (decision := step(self, walk)) is not None:
                        return decision
                walk.is_sized = True
            if walk.frame is None and walk.body is None:
                return self._body_wanted(walk)
            for step in order.of_body:
                if (decision := step(self, walk)) is not None:
                    return decision
        if order.hands_on:
            assert walk.admission is not None, "its order asks who it is"
            return HandOn(walk.admission, walk.frame, walk.takes_stream)
        return Accept(
            walk.purpose, walk.admission, walk.session, walk.frame, walk.facts, walk.takes_stream, walk.resumed
        )

    def let_go(self, walk: Walk) -> None:
        """Release the body and the frame, so that they are not kept while the request waits for its answer."""
        walk.body = walk.frame = walk.head = walk.facts = walk.stale = None

    def _body_wanted(self, walk: Walk) -> BodyWanted:
        is_small = walk.length is not None and walk.length <= self.limits.buffer_low
        if walk.purpose is Purpose.POST_THROUGH:
            return BodyWanted(self.limits.max_frame_bytes, "server", is_small)
        if walk.purpose is Purpose.POST or walk.purpose is Purpose.PROXY:
            return BodyWanted(self.most_of(walk), "strangers", is_small)
        return BodyWanted(self.limits.max_frame_bytes, "session", is_small)

    def most_of(self, walk: Walk) -> int:
        """Return how many bytes a body may have that belongs to no session."""
        if walk.purpose is Purpose.PROXY or walk.mount.per_request or walk.is_modern:
            return self.limits.max_frame_bytes
        return min(self.limits.max_frame_bytes, self.limits.max_stranger_bytes)

    def refusal_of_frame(self, walk: Walk, fault: Refused | TooMany) -> Refused:
        """Return the refusal of a body that is not one valid frame."""
        head = walk.head
        if isinstance(fault, TooMany):
            fault = too_large(str(fault), request_id=head.id if head is not None else None)
        refused = (walk.stale or fault).with_traceback(None)  # a traceback would keep the body
        refused.is_of_frame = True
        return refused


def body_too_large(length: int, most: int, limits: Limits) -> Refused:
    """Return the refusal of a body of more than ``most`` bytes."""
    fault = size_fault(length, most, "a body", is_cut=True)
    if most < limits.max_frame_bytes:
        fault = size_fault(length, most, "a body", is_cut=True, most="before initialize the most")
    return too_large(fault, headers={"Connection": "close"})
