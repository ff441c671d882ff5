"""What HTTP says about a frame, as tables."""

from __future__ import annotations

import pytest

from relay.frames.frame import Frame
from relay.mcp import http_rules
from relay.mcp.http_rules import EVENT_STREAM, JSON


@pytest.mark.parametrize(
    ("accept", "json", "stream"),
    [
        (None, True, True),
        ("", False, False),
        ("*/*", True, True),
        ("application/json", True, False),
        ("text/event-stream", False, True),
        ("application/json, text/event-stream", True, True),
        ("Application/JSON;charset=utf-8 , TEXT/Event-Stream", True, True),
        ("application/*", True, False),
        ("text/*;q=0.5", False, True),
        ("text/html, */*;q=0.1", True, True),
        ("application/json;q=0, text/event-stream", False, True),
        ("application/json; q=0.0, */*", False, True),
        ("application/json;q=0.000,text/event-stream;q=1", False, True),
        ("application/json ; Q=0 , */*", False, True),
        ("*/*;q=0", False, False),
        ("application/json;q=0.001", True, False),
        ("application/jsonp, text/event-stream-x", False, False),
        ("text/html", False, False),
        (",,,", False, False),
        ("*/*, application/json;q=0", False, True),
        ("*/*;q=0, application/json", True, False),
        ("application/*;q=0, application/json", True, False),
    ],
)
def test_accepts(accept: str | None, json: bool, stream: bool) -> None:
    """RFC 9110 §12.5.1: the most specific range decides, q=0 excludes, no header admits all."""
    assert http_rules.accepts(accept, JSON) is json
    assert http_rules.accepts(accept, EVENT_STREAM) is stream


@pytest.mark.parametrize(
    ("value", "media_type"),
    [(None, ""), ("", ""), ("application/json", JSON), (" Application/JSON ; charset=utf-8", JSON), (";", "")],
)
def test_media_type(value: str | None, media_type: str) -> None:
    """Lower case, without parameters."""
    assert http_rules.media_type(value) == media_type


@pytest.mark.parametrize(
    ("version", "has_batches", "has_priming"),
    [
        (None, True, False),
        ("2024-11-05", False, False),
        ("2025-03-26", True, False),
        ("2025-06-18", False, False),
        ("2025-11-25", False, True),
    ],
)
def test_what_a_version_has(version: str | None, has_batches: bool, has_priming: bool) -> None:
    """Batches are of 2025-03-26 alone, priming events begin with 2025-11-25."""
    assert http_rules.has_batches(version) is has_batches
    assert http_rules.has_priming(version) is has_priming
    assert version is None or version in http_rules.LEGACY_VERSIONS


@pytest.mark.parametrize(
    ("value", "is_one"),
    [("a", True), ("!~", True), ("x" * 1024, True), ("x" * 1025, False), ("", False), ("a b", False), ("a\n", False),
     ("\x7f", False), ("ä", False), ("a\0", False)],
)  # fmt: skip
def test_session_ids_are_visible_ascii(value: str, is_one: bool) -> None:
    """2025-11-25, "Session Management": 0x21 to 0x7e, and a bound of ours."""
    assert http_rules.is_session_id(value) is is_one


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (b'{"jsonrpc":"2.0","id":1,"result":{"error":{"code":-32601}}}', 200),
        (b'{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":""}}', 404),
        (b'{"jsonrpc":"2.0","id":1,"error":{"code":-32022,"message":""}}', 400),
        (b'{"jsonrpc":"2.0","id":1,"error":{"code":-32000,"message":""}}', 200),
        (b'{"jsonrpc":"2.0","id":1,"error":"no object"}', 200),
        (b'{"jsonrpc":"2.0","id":1,"error":', 200),
    ],
)
def test_the_status_of_an_answer(answer: bytes, status: int) -> None:
    """Errors that concern the request as such have one; what cannot be read has none."""
    assert http_rules.status_of(Frame(answer)) == status


def test_an_error_that_no_server_of_2026_07_28_gives() -> None:
    """Its own codes are the modern ones; any other to server/discover is a legacy server's."""
    error = b'{"jsonrpc":"2.0","id":1,"error":{"code":%d,"message":""}}'
    assert [http_rules.is_foreign_error(Frame(error % code)) for code in (-32601, -32022, 5)] == [True, False, True]
    assert not http_rules.is_foreign_error(Frame(b'{"jsonrpc":"2.0","id":1,"result":{}}'))
