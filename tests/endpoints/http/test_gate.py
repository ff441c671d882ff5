"""The gate itself: generated requests before generated listeners, and what becomes of each.

Nothing here waits or writes. What the ways in make of a decision is tested where they are.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from relay.auth.origin import OriginPolicy
from relay.endpoints.http.decisions import (
    ANONYMOUS,
    Accept,
    Admission,
    AnswerWanted,
    BodyWanted,
    Decision,
    HandOn,
    Purpose,
    Refused,
    RoomWanted,
    SessionWanted,
)
from relay.endpoints.http.gate import ORDERS, Gate
from relay.endpoints.http.walk import Walk
from relay.limits import Limits
from relay.routing.sessions import Places
from tests.endpoints.http.gate_views import ACCEPT, FIT, Head, House, Inbox, Mount, Session, Through

LIMITS = Limits(max_frame_bytes=4096, max_stranger_bytes=1024, buffer_low=256, max_shared_in_flight=5, max_batch=3)
MODERN = "2026-07-28"
META = "io.modelcontextprotocol/"
Headers = list[tuple[str, str]]

# What a request is for, and what is asked about it: first the head, then how large the body is, then what it holds.
WHO = "source expectation"
WHERE = f"{WHO} principal place method"
ORDER = {
    Purpose.HEALTH: ("origin", "", ""),
    Purpose.PREFLIGHT: (WHO, "", ""),
    Purpose.METADATA: ("host method", "", ""),
    Purpose.REPORT: (f"{WHO} principal method", "", ""),
    Purpose.NOTHING: (WHERE, "", ""),
    Purpose.POST_IN_SESSION: (f"{WHERE} content accept session version", "size", "frame streams room load life"),
    Purpose.POST: (
        f"{WHERE} content accept era",
        "size",
        "frame staleness untold streams facts beginning server room load life",
    ),
    Purpose.POST_THROUGH: (f"{WHERE} content accept", "size", "frame streams ending owned trail"),
    Purpose.OTHER_THROUGH: (f"{WHERE} owned trail", "", ""),
    Purpose.STREAM: (f"{WHERE} accept session version resumption", "", ""),
    Purpose.DELETE: (f"{WHERE} session version", "", ""),
    Purpose.UPGRADE: (f"{WHERE} taking hops room_for_session upgrade", "", ""),
    Purpose.SSE: (f"{WHERE} accept taking room_for_session hops", "", ""),
    Purpose.MESSAGE: (f"{WHERE} content sse_session", "size", "frame room load greeting life"),
    Purpose.PROXY: (f"{WHERE} content", "size", "call taking hops"),
    Purpose.PROXY_SOCKET: (f"{WHO} place method taking hops upgrade", "", ""),
    Purpose.BANNER: (f"{WHO} method", "", ""),
}


def test_the_order_of_the_checks() -> None:
    """What a client is told first, whichever way its request is carried."""

    def names(steps: tuple[Callable[..., Any], ...]) -> str:
        return " ".join(step.__name__ for step in steps)

    assert {purpose: (names(o.of_head), names(o.of_size), names(o.of_body)) for purpose, o in ORDERS.items()} == ORDER


# Requests.


def frame(method: str, request_id: object = 1, **params: object) -> bytes:
    """Make a request, or a notification if it has no id."""
    message: dict[str, object] = {"jsonrpc": "2.0", "method": method, "params": params}
    return json.dumps(message if request_id is None else {**message, "id": request_id}).encode()


def modern_frame(method: str = "tools/list", version: str = MODERN) -> bytes:
    """Make a request of 2026-07-28, or of a version that does not exist."""
    return frame(method, _meta={META + "protocolVersion": version, META + "clientCapabilities": {}})


BODIES = st.one_of(
    st.sampled_from(
        [
            frame("initialize", 0, protocolVersion="2025-06-18"),
            frame("tools/call", "a", name="echo"),
            frame("subscriptions/listen"),
            frame("notifications/initialized", None),
            frame("notifications/cancelled", None, requestId=1),
            b'{"jsonrpc":"2.0","id":5,"result":{}}',
            b"[" + b",".join([frame("tools/list", at) for at in range(2)]) + b"]",
            b"[" + b",".join([frame("tools/list", at) for at in range(4)]) + b"]",
            b"[" + frame("initialize") + b"]",
            b'{"jsonrpc":"2.0","id":1,"id":2,"method":"x"}',
            b'{"id":1}',
            b"[]",
            b"{",
            b"\xef\xbb\xbf" + frame("tools/list"),
            b'{"jsonrpc":"2.0","id":1,"method":"\xff"}',
            frame("tools/call", fill="x" * 300),
            frame("tools/call", fill="x" * 2000),
            frame("tools/call", fill="x" * 5000),
            modern_frame(),
            modern_frame("initialize"),
            modern_frame("subscriptions/listen"),
            modern_frame(version="2030-01-01"),
            frame("tools/list", _meta={META + "protocolVersion": MODERN}),
        ]
    ),
    st.binary(min_size=1, max_size=40),
)
VALUES = {
    "Host": ["127.0.0.1:8080", "localhost", "evil.example", "evil.com[::1]", ""],
    "Origin": ["http://localhost:3000", "https://evil.example", "null"],
    "Sec-Fetch-Site": ["cross-site", "same-origin"],
    "Content-Type": ["application/json", "application/json; charset=utf-8", "text/plain", ""],
    "Content-Encoding": ["identity", "gzip", "identity, br"],
    "Accept": [ACCEPT, "application/json", "text/event-stream", "*/*", "text/html", "application/json;q=0"],
    "Mcp-Session-Id": ["known", "closing", "sse", "unknown"],
    "MCP-Protocol-Version": ["2025-06-18", "2025-03-26", "1999-01-01", "x", MODERN, "2030-01-01"],
    "Mcp-Method": ["tools/list", "initialize", "tools/call"],
    "Last-Event-ID": ["1-7", "9-9", "x"],
    "Expect": ["100-continue", "something-else"],
    "Upgrade": ["websocket", "h2c"],
    "Authorization": ["Bearer x"],
    "Access-Control-Request-Method": ["POST"],
    "MCP-Relay-Hops": ["1", "4", "x"],
    "MCP-Relay-Trail": ["here", "there"],
}
SOURCE = ("Host", "Origin", "Sec-Fetch-Site")
TWICE = ("Origin", "Authorization", "Mcp-Session-Id", "Last-Event-ID", "MCP-Protocol-Version")
LINES = st.sampled_from([(name, value) for name, values in VALUES.items() for value in values])


@st.composite
def header_lists(draw: st.DrawFn) -> Headers:
    """Draw headers: mostly ones that will do, with some changed, taken away or doubled."""
    lines: Headers = list(FIT) if draw(st.booleans()) else []
    lines += draw(st.lists(LINES, max_size=5))
    if draw(st.booleans()):  # each once, the last counts: most requests of real clients
        lines = list(dict(lines).items())
    return draw(st.permutations(lines))


METHODS = st.sampled_from(["POST"] * 6 + ["GET", "GET", "DELETE", "OPTIONS", "HEAD", "PUT"])
PATHS = st.sampled_from(["/mcp"] * 6 + ["/mcp/", "/sse", "/messages/", "/health", "/healthz", "/status", "/other"])


@st.composite
def heads(draw: st.DrawFn) -> tuple[Head, bytes]:
    """Draw the head of a request, and a body that fits it."""
    body = draw(BODIES)
    query = draw(st.sampled_from([{}, {"session_id": "sse"}, {"session_id": "known"}, {"session_id": "unknown"}]))
    return Head(
        draw(METHODS),
        draw(PATHS),
        CIMultiDict(draw(header_lists())),
        query,
        len(body) if draw(st.booleans()) else None,
    ), body


@st.composite
def sessions(draw: st.DrawFn, speaks: Any = "streamable") -> Session:
    """Draw the state of a session."""
    return Session(
        speaks,
        draw(st.sampled_from([None, "2025-03-26", "2025-06-18"])) if speaks == "streamable" else None,
        Inbox(draw(st.booleans())),
        is_closing=draw(st.sampled_from([False, False, True])),
        is_initialized=draw(st.booleans()),
        waiting=draw(st.sampled_from([0, 0, 3])),
        open_requests=range(draw(st.sampled_from([0, 0, 2, 3]))),
        max_in_flight=3,
    )


@st.composite
def houses(draw: st.DrawFn) -> House:
    """Draw the state of a listener."""
    per_request = draw(st.sampled_from(["no", "no", "legacy", "all"]))
    closing = draw(sessions())
    closing.is_closing = True
    mount = Mount(
        per_request != "no",
        per_request == "all",
        draw(st.one_of(st.just({}), st.fixed_dictionaries({ANONYMOUS: sessions("modern")}))),
        Through(range(draw(st.sampled_from([0, 5]))), draw(st.booleans()))
        if draw(st.sampled_from([False, False, True]))
        else None,
        is_leaving=draw(st.sampled_from([False, False, True])),
        sessions={"known": draw(sessions()), "closing": closing, "sse": draw(sessions("sse"))},
    )
    places = Places(2)
    places.taken = draw(st.sampled_from([0, 2]))
    return House(
        None if draw(st.sampled_from([False] * 9 + [True])) else mount,
        is_draining=draw(st.sampled_from([False, False, True])),
        places=places,
    )


# What becomes of them.


def gate() -> Gate:
    return Gate(LIMITS, OriginPolicy("127.0.0.1"))


def said(decision: Decision) -> tuple[object, ...]:
    """Return all that a client, or a way in, could tell two decisions apart by."""
    if isinstance(decision, Refused):
        told = (decision.status, str(decision), decision.code, decision.request_id, decision.headers, decision.data)
        return ("refused", *told, decision.is_of_frame)
    fields: list[object] = [type(decision).__name__]
    for name in decision.__struct_fields__:
        value = getattr(decision, name)
        fields.append(value.raw if name == "frame" and value is not None else repr(value))
    return tuple(fields)


def fulfil(walk: Walk, decision: Decision) -> None:
    """Do what a decision wants, as the ordinary way does."""
    if isinstance(decision, SessionWanted):
        speaks: Any = "streamable" if decision.begins == "session" else "modern"
        walk.session = Session(speaks, None, takes_one=decision.begins == "one")
        if decision.begins == "modern":
            walk.mount.modern = {ANONYMOUS: walk.session}
    elif isinstance(decision, AnswerWanted):
        walk.has_asked, walk.facts = True, None
    elif isinstance(decision, RoomWanted):
        walk.has_waited = True
        decision.session.inbox.is_paused = False


@given(heads(), houses())
def test_each_request_has_one_end(asked: tuple[Head, bytes], house: House) -> None:
    """No request makes the gate fail, and none is left without a decision that ends it."""
    head, body = asked
    of, walk = gate(), gate().enter(head, house)
    walk = of.enter(head, house)
    decision = of.decide(walk, 0.0)
    if isinstance(decision, BodyWanted):
        assert decision.most <= LIMITS.max_frame_bytes
        walk.body = body
        decision = of.decide(walk, 0.0)
        assert not isinstance(decision, BodyWanted)
    for _ in range(4):  # begin, ask, wait, and the end
        if isinstance(decision, Accept | HandOn | Refused):
            break
        fulfil(walk, decision)
        decision = of.decide(walk, 0.0)
    assert isinstance(decision, Accept | HandOn | Refused), decision
    if isinstance(decision, Accept | HandOn) and decision.admission is not None:
        assert decision.admission == Admission(ANONYMOUS, None, of.generation)


@given(heads(), houses(), st.booleans())
def test_the_same_request_becomes_the_same(asked: tuple[Head, bytes], house: House, has_body: bool) -> None:
    """And nothing has changed by asking."""
    head, body = asked
    before = copy.deepcopy(house)
    decisions = []
    for _ in range(2):
        of = gate()
        decisions.append(said(of.decide(of.enter(head, house), 0.0, body if has_body else None)))
        assert house.mount == before.mount and house.places.taken == before.places.taken
    assert decisions[0] == decisions[1]


@given(heads(), houses())
def test_what_is_said_of_a_head_holds_when_the_body_is_there(asked: tuple[Head, bytes], house: House) -> None:
    """The callback way asks once, with the body; the ordinary way twice, before and behind it."""
    head, body = asked
    of = gate()
    whole = said(of.decide(of.enter(head, house), 0.0, body))
    walk = of.enter(head, house)
    decision = of.decide(walk, 0.0)
    if isinstance(decision, BodyWanted):
        if len(body) > decision.most:  # of a body that is announced this is said before, of any other as it is read
            assert walk.length is None
            assert whole[:2] == ("refused", 413) or whole[1] == 503
            return
        walk.body = body
        decision = of.decide(walk, 0.0)
    assert said(decision) == whole


@given(heads(), houses(), st.randoms(use_true_random=False))
def test_neither_order_nor_case_of_headers_counts(asked: tuple[Head, bytes], house: House, chance: Any) -> None:
    """But of two lines of one name the first stays the first."""
    head, body = asked
    names = list(dict.fromkeys(name.lower() for name in head.headers))
    chance.shuffle(names)
    other = copy.copy(head)
    other.headers = CIMultiDict(
        (chance.choice((str.lower, str.upper, str.title))(name), value)
        for name in names
        for value in head.headers.getall(name)
    )
    of = gate()
    assert said(of.decide(of.enter(head, house), 0.0, body)) == said(of.decide(of.enter(other, house), 0.0, body))


@given(heads(), houses())
def test_a_refused_source_is_refused_whatever_else_it_holds(asked: tuple[Head, bytes], house: House) -> None:
    """What the same source is told that asks for the state of the relay, and no more."""
    head, body = asked
    of = gate()
    lines = CIMultiDict((name, head.headers[name]) for name in SOURCE if name in head.headers)
    for name in TWICE:
        if len(values := head.headers.getall(name, ())) > 1:
            lines.popall(name, None)
            lines.extend((name, value) for value in values)
    bare = Head("GET", "/status", lines)
    alone = of.decide(of.enter(bare, house), 0.0)
    walk = of.enter(head, house)
    if walk.purpose is not Purpose.HEALTH and isinstance(alone, Refused):
        assert said(of.decide(walk, 0.0)) == said(alone)
        assert said(of.decide(of.enter(head, house), 0.0, body)) == said(alone)
        assert walk.admission is None


# What was admitted.


def remembered() -> tuple[Gate, Walk]:
    """Return a walk that was let in, before a gate that would not let it in any more."""
    of = gate()
    house = House(Mount(sessions={"known": Session()}))
    walk = of.enter(Head(headers=CIMultiDict((*FIT, ("Mcp-Session-Id", "known")))), house)
    assert isinstance(of.decide(walk, 0.0, frame("tools/list")), Accept)
    of.policy = OriginPolicy("127.0.0.1", allowed_hosts=())
    walk.headers = CIMultiDict((*FIT[1:], ("Host", "evil.example"), ("Mcp-Session-Id", "known")))
    return of, walk


def test_a_head_that_was_let_in_is_not_looked_at_again() -> None:
    of, walk = remembered()
    assert isinstance(of.decide(walk, 1.0, frame("tools/list")), Accept)


def test_it_is_once_the_rules_have_changed() -> None:
    of, walk = remembered()
    of.generation += 1
    decision = of.decide(walk, 1.0, frame("tools/list"))
    assert isinstance(decision, Refused) and decision.status == 421


@pytest.mark.parametrize(("now", "is_let_in"), [(4.9, True), (5.0, False), (6.0, False)])
def test_it_is_once_the_principal_has_to_show_again_who_it_is(now: float, is_let_in: bool) -> None:
    of, walk = remembered()
    walk.admission = Admission("somebody", 5.0, of.generation)
    decision = of.decide(walk, now, frame("tools/list"))
    assert isinstance(decision, Accept) is is_let_in
    if isinstance(decision, Accept):
        assert decision.admission == Admission("somebody", 5.0, of.generation)
