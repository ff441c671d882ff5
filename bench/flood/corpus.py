"""Build messages of a given size that are cheap to send and expensive to read, and a few honest ones."""

from collections.abc import Callable

__all__ = ["HONEST", "KINDS", "make", "modernise"]

REQUEST = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":'
MODERN = REQUEST + b'{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28",'
MODERN += b'"io.modelcontextprotocol/clientCapabilities":{}},'
NAMED = REQUEST + b'{"name":"x","arguments":'
ANSWER = b'{"jsonrpc":"2.0","id":7,"result":'
TOKEN = REQUEST + b'{"name":"x","_meta":{"progressToken":'


def fill(size: int, before: bytes, unit: bytes, after: bytes) -> bytes:
    """Repeat ``unit`` until the whole is ``size`` bytes long, or a little less."""
    return before + unit * ((size - len(before) - len(after)) // len(unit)) + after


def _each(before: bytes, unit: bytes, after: bytes) -> Callable[[int], bytes]:
    return lambda size: fill(size, before, unit, after)


def _distinct(before: bytes, pattern: bytes, after: bytes) -> Callable[[int], bytes]:
    """Repeat a pattern with another number each time: keys that are all different."""

    def build(size: int) -> bytes:
        count = size // (len(pattern) + 5)
        return before + b"".join(pattern % number for number in range(10_000_000, 10_000_000 + count)) + after

    return build


_DEEP = 500
_EMOJI = "\U0001f600".encode()

HONEST: dict[str, Callable[[int], bytes]] = {
    "image": _each(NAMED + b'{"image":"', b"iVBORw0KGgo", b'"}}}'),
    "escaped-text": _each(NAMED + b'{"text":"', b'{\\"a\\": \\"\\u00e9\\", \\"b\\": [1, 2]},\\n', b'"}}}'),
    "emoji": _each(NAMED + b'{"text":"', b"some words " + _EMOJI, b'"}}}'),
    "nested": _each(
        NAMED + b'{"rows":[', b'{"id": 1, "name": "a name", "tags": ["x", "y"], "at": {"x": 1.5}}, ', b"1]}}}"
    ),
    "answer": _each(ANSWER + b'{"content":[{"type":"text","text":"', b"plain words, and more; ", b'"}]}}'),
}
"""What must pass, byte for byte."""

KINDS: dict[str, Callable[[int], bytes]] = HONEST | {
    "scalars": _each(b"[", b"1,", b"1]"),
    "scalars-in-params": _each(REQUEST + b"[", b"1,", b"1]}"),
    "objects": _each(b"[", b"{},", b"{}]"),
    "objects-in-params": _each(REQUEST + b"[", b"{},", b"{}]}"),
    "arrays-in-result": _each(ANSWER + b"[", b"[],", b"[]]}"),
    "empty-strings": _each(b'{"x":1,"jsonrpc":"2.0","id":1,"method":"m","params":[', b'"",', b'""]}'),
    "strings-in-answer": _each(b'{"x":1,"jsonrpc":"2.0","id":7,"result":[', b'"",', b'""]}'),
    "top-level-keys": _each(b'{"jsonrpc":"2.0","id":1,"method":"m",', b'"a":1,', b'"b":1}'),
    "distinct-keys": _distinct(b'{"jsonrpc":"2.0","id":1,"method":"m",', b'"%d":1,', b'"b":1}'),
    "distinct-params": _distinct(REQUEST + b'{"name":"x",', b'"%d":1,', b'"name":5}}'),
    "distinct-meta": _distinct(TOKEN + b"1,", b'"%d":1,', b'"b":1}}}'),
    "id-keys": _each(b'{"jsonrpc":"2.0",', b'"id":1,', b'"method":"m"}'),
    "params-keys": _each(b'{"jsonrpc":"2.0","id":1,"method":"m",', b'"params":1,', b'"params":{}}'),
    "ids-within": _each(b'{"x":1,"jsonrpc":"2.0","id":1,"method":"m","params":[', b'{"id":1},', b"1]}"),
    "escaped-keys": _each(b'{"jsonrpc":"2.0","id":1,"method":"m",', b'"\\u0041":1,', b'"\\u004'),
    "escapes": _each(REQUEST + b'{"name":"x","a":"', b"\\u0041", b'\\ud800"}}'),
    "escapes-modern": _each(NAMED + b'{"a":"', b"\\u0041", b'\\ud800"}}}'),
    "half-pairs": _each(REQUEST + b'{"name":"x","a":"', b"\\ud800", b'"}}'),
    "pairs-and-a-half": _each(ANSWER + b'{"a":"', b"\\ud83d\\ude00", b'\\ud800"}}'),
    "backslashes": _each(REQUEST + b'{"a":"', b"\\\\", b'"}}'),
    "odd-backslashes": _each(REQUEST + b'{"a":"', b"\\\\", b'\\"}}'),
    "white-space": _each(b'{"jsonrpc":"2.0",', b" ", b'"id":1,"method":"m"}'),
    "white-end": _each(ANSWER + b"{}}", b" ", b""),
    "line-ends": _each(REQUEST + b"[", b"\r\n", b"1]}"),
    "deep-arrays": lambda size: fill(size, REQUEST + b"[", b"[" * _DEEP + b"]" * _DEEP + b",", b"1]}"),
    "too-deep": _each(REQUEST, b"[", b"}"),
    "deep-objects": _each(REQUEST, b'{"a":', b"1}"),
    "digits": _each(REQUEST + b"[", b"1", b"]}"),
    "digits-as-id": _each(b'{"jsonrpc":"2.0","id":', b"1", b',"method":"m"}'),
    "long-id": _each(b'{"jsonrpc":"2.0","id":"', b"a", b'","method":"m"}'),
    "long-id-escaped": _each(b'{"jsonrpc":"2.0","id":"', b"\\u0041", b'","method":"m"}'),
    "long-id-emoji": _each(b'{"jsonrpc":"2.0","id":"' + _EMOJI, b"a", b'","method":"m"}'),
    "long-id-answer": _each(b'{"jsonrpc":"2.0","id":"' + _EMOJI, b"a", b'","result":{}}'),
    "long-method": _each(b'{"jsonrpc":"2.0","id":1,"method":"' + _EMOJI, b"a", b'"}'),
    "long-method-escaped": _each(b'{"jsonrpc":"2.0","id":1,"method":"', b"\\u0041", b'"}'),
    "long-name": _each(REQUEST + b'{"name":"' + _EMOJI, b"a", b'"}}'),
    "long-token": _each(TOKEN + b'"' + _EMOJI, b"a", b'"}}}'),
    "long-target": _each(
        b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"' + _EMOJI, b"a", b'"}}'
    ),
    "tokens": _each(TOKEN + b"1,", b'"progressToken":1,', b'"x":1}}}'),
    "progress": _each(
        b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"x":[', b'"",', b"1]}}"
    ),
    "subscription": _each(
        b'{"jsonrpc":"2.0","method":"notifications/message","params":{"_meta":'
        b'{"io.modelcontextprotocol\\/subscriptionId":5},"x":[',
        b'"",',
        b"1]}}",
    ),
    "id-last": _each(b'{"jsonrpc":"2.0","result":[', b'{"id":5},', b'1],"id":7}'),
    "id-last-odd": _each(b'{"jsonrpc":"2.0","result":[', b'{"id":5},', b'1],"id":7,"x":1}'),
    "not-utf8-late": _each(REQUEST + b'{"a":"', b"a", b'\xff"}}'),
    "not-utf8": _each(REQUEST + b'{"a":"', b"\xff", b'"}}'),
    "emoji-in-string": _each(REQUEST + b'{"a":"', _EMOJI, b'"}}'),
    "byte-order-mark": _each(b"\xef\xbb\xbf[", b"1,", b"1]"),
    "batch-of-requests": _each(
        b"[", b'{"jsonrpc":"2.0","id":1,"method":"m"},', b'{"jsonrpc":"2.0","id":1,"method":"m"}]'
    ),
    "batch-of-answers": _each(b"[", b'{"jsonrpc":"2.0","id":7,"result":{}},', b'{"jsonrpc":"2.0","id":7,"result":{}}]'),
    "batch-of-one": _each(b"[" + REQUEST + b"[", b'"",', b"1]}]"),
    "batch-in-batch": _each(b"[", b"[],", b"[]]"),
    "tools": _each(ANSWER + b'{"tools":[', b"{},", b"{}]}}"),
    "tools-schema": _each(
        ANSWER + b'{"tools":[{"name":"x","inputSchema":{"type":"object","x-mcp-header":1,"properties":{"a":[',
        b"{},",
        b"{}]}}}]}}",
    ),
    "error-answer": _each(b'{"jsonrpc":"2.0","id":7,"error":{"code":-32000,"message":"' + _EMOJI, b"a", b'"}}'),
    "no-json": _each(b"{", b"\x01", b""),
    "unfinished": _each(b'{"jsonrpc":"2.0","id":1,"method":"m","params":[', b'{"id":1},', b""),
}
"""Everything, by name."""


def make(kind: str, size: int) -> bytes:
    """Build one message."""
    return KINDS[kind](size)


def modernise(message: bytes) -> bytes:
    """Return a request as one of 2026-07-28, if it has params that are an object."""
    return message.replace(REQUEST + b"{", MODERN, 1)
