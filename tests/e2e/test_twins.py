"""A relay with its fast ways and one without: the same requests, the same answers, and the same books.

The fast ways are the same rules, reached sooner. Hypothesis draws what a client does; a difference in an answer, in
what the server saw, in what an observer heard, in the log or in ``/status`` is a rule that one of the ways forgot.
"""

from __future__ import annotations

import asyncio

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.e2e.twins import BEHAVIOURS, Step, Way, play

HEADERS = [
    ("accept", "application/json"), ("accept", "text/html"), ("accept", None), ("accept", "*/*"),
    ("content-type", "text/plain"), ("content-type", "application/json; charset=utf-8"), ("content-type", None),
    ("mcp-session-id", None), ("mcp-session-id", "0" * 32), ("mcp-session-id", ""), ("last-event-id", "7"),
    ("mcp-protocol-version", "2025-11-25"), ("mcp-protocol-version", "2025-03-26"), ("x-more", "of it"),
    ("mcp-protocol-version", "1999-1-1"), ("mcp-protocol-version", "2026-07-28"), ("mcp-method", "tools/call"),
    ("origin", "http://evil.example"), ("origin", "http://127.0.0.1"), ("host", "evil.example"), ("cookie", "a=b"),
    ("connection", "close"), ("authorization", "Bearer abc"), ("content-encoding", "gzip"),
    ("expect", "100-continue"), ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
]  # fmt: skip
BODIES = [
    b"", b"{", b"[]", b"null", b"7", b'{"jsonrpc":"2.0"}', b'{"jsonrpc":"2.0","id":null,"method":"x"}',
    b'{"jsonrpc":"2.0","id":1,"id":2,"method":"x"}', b'\xef\xbb\xbf{"jsonrpc":"2.0","id":5,"method":"x"}',
    b'{"jsonrpc":"2.0","id":6,"method":"x","params":{"a":"\xff"}}', b'{"jsonrpc":"2.0","id":7.0,"method":"x"}',
    b'{"jsonrpc":"2.0","id":"from-server-1","result":{}}', b'{"jsonrpc":"2.0","id":99,"result":{}}',
    b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}',
    b' {"jsonrpc" : "2.0", "id" : 12345678901234567890, "method" : "x", "params" : {"n":0.10, "m":1e400}} ',
    b'{"jsonrpc":"2.0","id":8,"method":"initialize","params":{}}', b'{"jsonrpc":"2.0","id":{},"method":"x"}',
    b'{"jsonrpc":"1.0","id":9,"method":"x"}', b'[{"jsonrpc":"2.0","id":10,"method":"x"}]',
]  # fmt: skip
IDS = st.sampled_from([1, 2, 0, -7, "1", "", "a b", 2**53 + 1, 2**70])


@st.composite
def steps(draw: st.DrawFn, kinds: list[str]) -> Step:
    """Draw one step: mostly a good client's."""
    kind = draw(st.sampled_from(kinds))
    is_odd = draw(st.integers(0, 3)) == 0
    changes = draw(st.lists(st.sampled_from(HEADERS), max_size=2, unique_by=lambda one: one[0])) if is_odd else []
    return Step(
        kind,
        draw(st.sampled_from(BEHAVIOURS)),
        draw(IDS),
        draw(st.integers(0, 1)),
        tuple(changes),
        draw(st.sampled_from(BODIES)) if kind == "raw" else None,
        draw(st.sampled_from([0, 0, 0, 100, 5_000, 90_000])),
        draw(st.sampled_from([0, 0, 0, 1, 40, 150, 400])),
    )


BY_HTTP = ["call", "call", "call", "call", "tell", "modern", "batch", "get", "delete", "initialize", "status", "raw"]
WAYS = {"child": BY_HTTP, "through": BY_HTTP, "client": ["call", "call", "call", "tell"]}


@pytest.mark.hypothesis
@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("way", ["child", "through", "client"])
def test_twins(way: Way, loop: str) -> None:
    """Whatever a client does, both relays do the same."""
    factory = uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop

    @settings(suppress_health_check=[HealthCheck.too_slow], max_examples=settings().max_examples // 4)
    @given(st.lists(steps(WAYS[way]), min_size=1, max_size=12))
    def agree(drawn: list[Step]) -> None:
        with asyncio.Runner(loop_factory=factory) as runner:
            fast = runner.run(play(way, drawn, on=True))
            plain = runner.run(play(way, drawn, on=False))
        differences = fast.differences(plain)
        assert not differences, differences

    agree()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_twins_refuse_a_body_of_an_ended_session_alike(loop: str) -> None:
    """The session is the reason, though the connection remembers its head and the body is no frame."""
    factory = uvloop.new_event_loop if loop == "uvloop" else asyncio.new_event_loop
    drawn = [
        Step("call", "echo", 1, 0, (), None, 0, 0),
        Step("delete", "echo", 1, 0, (), None, 0, 0),
        Step("raw", "echo", 1, 0, (), b"", 0, 0),
    ]
    with asyncio.Runner(loop_factory=factory) as runner:
        fast = runner.run(play("child", drawn, on=True))
        plain = runner.run(play("child", drawn, on=False))
    assert not fast.differences(plain)
