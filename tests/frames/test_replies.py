"""The frames the relay writes itself."""

from __future__ import annotations

import json
from typing import Any

import pytest

from relay.errors import ConfigError, EndpointBroken, EndpointUnavailable, RelayError
from relay.frames import replies
from relay.frames.frame import Frame
from relay.frames.head import Kind, RequestId


@pytest.mark.parametrize("request_id", [0, 1, -1, 2**53 + 1, 2**64, -int("9" * 1000), "", "1", 'a"\\\n', "ä€😀\u2028"])
def test_an_error_carries_the_id_as_it_was(request_id: RequestId) -> None:
    """Same value, same JSON type, any size; the frame belongs to that request."""
    frame = replies.error(request_id, replies.LOST, "gone", delivered="unknown")
    assert (frame.head.kind, frame.head.id, frame.belongs_to) == (Kind.RESPONSE, request_id, request_id)
    assert json.loads(frame.raw)["id"] == request_id
    assert type(json.loads(frame.raw)["id"]) is type(request_id)
    assert b"\n" not in frame.raw


def test_an_error_without_an_id_has_null() -> None:
    """A fault that belongs to no request."""
    frame = replies.error(None, replies.PARSE_ERROR, "not JSON")
    assert frame.raw == b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"not JSON"}}'
    assert frame.belongs_to is None


def test_data_says_what_may_have_happened() -> None:
    """``delivered`` and other facts are in error.data, which is absent without any."""
    assert json.loads(replies.error(1, -32004, "m", delivered="no", status=503).raw)["error"] == {
        "code": -32004,
        "message": "m",
        "data": {"delivered": "no", "status": 503},
    }
    assert "data" not in json.loads(replies.error(1, -32004, "m").raw)["error"]


def test_errors_are_one_for_each_request() -> None:
    """In the order given, each with its own id."""
    frames = replies.errors([1, "1", 2], replies.UNAVAILABLE, "m", delivered="no")
    assert [frame.head.id for frame in frames] == [1, "1", 2]


@pytest.mark.parametrize("reason", [EndpointUnavailable("nobody listens"), ConfigError("no such program")])
def test_who_never_began_has_got_nothing(reason: RelayError) -> None:
    """A server that could not be reached, or not even started."""
    assert replies.end_by(reason, "ended") == (replies.UNAVAILABLE, str(reason), "no", False, None)
    assert replies.end_by(EndpointBroken("cut"), "ended")[2] == "unknown"


def test_codes_are_in_the_range_left_to_implementations() -> None:
    """-32000 to -32019, each its own; JSON-RPC's own codes for JSON-RPC's own faults."""
    codes = [
        replies.REFUSED,
        replies.LOST,
        replies.UNAVAILABLE,
        replies.TOO_LARGE,
        replies.UPSTREAM_STATUS,
        replies.CANCELLED,
    ]
    assert len(set(codes)) == 6
    assert all(-32019 <= code <= -32000 for code in codes)
    assert (replies.PARSE_ERROR, replies.INVALID_REQUEST) == (-32700, -32600)


def test_a_fault_is_read_back() -> None:
    """What our own errors say of a server: not there, failed, or only that a request was refused."""

    def read(code: int, **data: Any) -> tuple[bool, bool]:
        fault = replies.fault_of(replies.error(1, code, "why", **data))
        assert fault is not None and (fault.message, fault.code) == ("why", code)
        return fault.is_undelivered, fault.is_failure

    assert read(replies.UNAVAILABLE, delivered="no") == (True, True)
    assert read(replies.UNAVAILABLE, delivered="unknown") == (False, False)
    assert read(replies.LOST, delivered="unknown") == (False, True)
    assert read(replies.UPSTREAM_STATUS, delivered="unknown", status=503) == (False, True)
    assert read(replies.UPSTREAM_STATUS, delivered="no", status=401) == (False, False)


def test_what_a_server_says_is_no_fault() -> None:
    """Its own answers and errors, and whatever only looks like ours."""
    for raw in (
        b'{"jsonrpc":"2.0","id":1,"result":{"delivered":"no"}}',
        b'{"jsonrpc":"2.0","id":1,"error":{"code":-32006,"message":"x"}}',
        b'{"jsonrpc":"2.0","id":1,"error":{"code":-32006,"message":"x","data":{"delivered":"perhaps"}}}',
        b'{"jsonrpc":"2.0","id":1,"error":{"code":-32006,"message":"'
        + b"x" * 20_000
        + b'","data":{"delivered":"no"}}}',
    ):
        assert replies.fault_of(Frame(raw)) is None


def test_an_answer_that_is_nested_deep_is_the_servers_own() -> None:
    """Deeper than a decoder goes: it is none of ours, and nothing falls over it."""
    assert replies.fault_of(Frame(b'{"id":1,"delivered":' + b"[" * 5000 + b"]" * 5000 + b"}")) is None
