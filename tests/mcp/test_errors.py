"""The JSON-RPC errors of MCP: what a refusal means, and the status of an answer."""

from __future__ import annotations

import json

import pytest

from relay.frames.frame import Frame
from relay.mcp.errors import error_for, is_foreign_error, is_modern_error, status_of


@pytest.mark.parametrize(
    ("raw", "is_modern", "answer"),
    [
        (b'{"jsonrpc":"2.0","id":null,"error":{"code":-32022,"message":"no", "data":0.10}}', True, -32022),
        (b'{"error":{"code":-32020,"message":""}}', True, -32020),
        (b'{"id":"server-error","error":{"code":-32600,"message":"no"}}', False, -32600),
        (b'{"id":1,"error":{"code":-32601,"message":"no"}}', False, -32601),
        (b'{"error":{"code":"-32020","message":"no"}}', False, None),
        (b'{"error":{"code":-32020}}', False, None),
        (b'{"error":"no"}', False, None),
        (b'{"result":{}}', False, None),
        (b"Not Found", False, None),
        (b"", False, None),
    ],
)
def test_refusals_are_read(raw: bytes, is_modern: bool, answer: int | None) -> None:
    """What only a modern server says is told apart; an error under another id becomes the request's, as it is."""
    assert is_modern_error(Frame(raw)) is is_modern
    frame = error_for(Frame(raw), 2**70)
    if answer is None:
        assert frame is None
    else:
        assert frame is not None
        assert (frame.head.id, frame.belongs_to) == (2**70, 2**70)
        assert json.loads(frame.raw)["error"]["code"] == answer
        assert raw[raw.index(b'{"code"') : -1] in frame.raw


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
    assert status_of(Frame(answer)) == status


def test_an_error_that_no_server_of_2026_07_28_gives() -> None:
    """Its own codes are the modern ones; any other to server/discover is a legacy server's."""
    error = b'{"jsonrpc":"2.0","id":1,"error":{"code":%d,"message":""}}'
    assert [is_foreign_error(Frame(error % code)) for code in (-32601, -32022, 5)] == [True, False, True]
    assert not is_foreign_error(Frame(b'{"jsonrpc":"2.0","id":1,"result":{}}'))
