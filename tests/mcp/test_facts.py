"""What a frame of 2026-07-28 says of itself."""

from __future__ import annotations

import json
import timeit

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.frames.frame import Frame
from relay.mcp.facts import RequestFacts, read_facts
from relay.mcp.headers import request_headers
from relay.mcp.revisions import MODERN_VERSION
from tests.mcp.messages import CAPABILITIES, META, VERSION, facts_of, request


@pytest.mark.parametrize(
    ("method", "params", "name"),
    [
        ("tools/call", {"name": "add"}, "add"),
        ("prompts/get", {"name": "greet"}, "greet"),
        ("resources/read", {"uri": "file:///a", "name": "x"}, "file:///a"),
        ("tools/list", {"name": "x", "uri": "y"}, None),
        ("tools/call", {"name": 5}, None),
        ("tools/call", {}, None),
    ],
)
def test_the_name_is_the_one_that_the_method_has(method: str, params: dict[str, object], name: str | None) -> None:
    """params.name of tools and prompts, params.uri of resources, nothing else."""
    facts = facts_of(request(method, **params))
    assert (facts.version, facts.has_capabilities, facts.name) == (MODERN_VERSION, True, name)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}',
        b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","_meta":{}}}',
        b'{"jsonrpc":"2.0","id":1,"method":"a","params":{"_meta":{"x":"\\u0065\\u2028"}}}',
        b'{"jsonrpc":"2.0","id":1,"method":"a","params":{"x":"io.modelcontextprotocol/protocolVersion"}}',
        b'{"jsonrpc":"2.0","id":1,"method":"a","params":{"_meta":{"io.modelcontextprotocol/protocolVersion2":1}}}',
        b'{"jsonrpc":"2.0","id":1,"method":"a","x":"io.modelcontextprotocol/protocolVersion"}',
        b'{"jsonrpc":"2.0","id":1,"method":"a","params":["io.modelcontextprotocol/protocolVersion"]}',
        b'{"jsonrpc":"2.0","id":1,"method":"a","params":{"_meta":["io.modelcontextprotocol/protocolVersion"]}}',
        b'[{"params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}]',
        b'{"params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}',
    ],
)
def test_without_the_key_in_meta_a_frame_is_not_modern(raw: bytes) -> None:
    """Wherever else the same words may stand."""
    assert read_facts(Frame(raw)) is None


@pytest.mark.parametrize(
    ("meta", "facts"),
    [
        ({VERSION: 5}, (None, False)),
        ({VERSION: None, CAPABILITIES: {"a": 1}}, (None, True)),
        ({VERSION: "1", CAPABILITIES: []}, ("1", False)),
        ({VERSION: "1", CAPABILITIES: None}, ("1", False)),
        ({VERSION: "1"}, ("1", False)),
        ({VERSION: {}}, (None, False)),
    ],
)
def test_values_of_other_types_are_none(meta: dict[str, object], facts: tuple[str | None, bool]) -> None:
    """They make a frame no less modern, and raise nothing."""
    frame = Frame(json.dumps({"id": 1, "method": "ping", "params": {"_meta": meta}}).encode())
    read = facts_of(frame)
    assert (read.version, read.has_capabilities, read.name) == (*facts, None)


@pytest.mark.parametrize(
    "key",
    [
        rb"io.modelcontextprotocol\/protocolVersion",
        rb"io.modelcontextprotocol/protocol\u0056ersion",
        rb"\u0069o.modelcontextprotocol\u002fprotocolVersion",
        rb"io.modelcontextprotocol\u002Fprotocol\u0056ersion",
    ],
)
@pytest.mark.parametrize("beside", [b"{}", rb'"\ud83d half"', b"1" * 40, b"1e999"])
def test_an_escaped_key_is_the_same_key(key: bytes, beside: bytes) -> None:
    """JSON knows several spellings; what stands beside it, half a pair or a big integer, does not matter."""
    raw = b'{"id":1,"method":"tools/call","params":{"name":"a","arguments":%b,"_meta":{"%b":"v","x":%b}}}'
    facts = facts_of(Frame(raw % (beside, key, beside)))
    assert (facts.version, facts.name) == ("v", "a")
    assert facts.arguments is not msgspec.UNSET


def test_of_repeated_keys_the_last_counts() -> None:
    """As it does for the parsers of Python and JavaScript."""
    raw = b'{"id":1,"method":"tools/call","params":{},"params":{"name":"a","name":"b","_meta":%b,"_meta":%b}}'
    meta = json.dumps(META).encode()
    assert facts_of(Frame(raw % (b"{}", meta))).name == "b"
    assert facts_of(Frame(raw % (b"5", meta))).name == "b"
    assert read_facts(Frame(raw % (meta, b"{}"))) is None


def test_a_name_with_half_a_pair_is_read_with_the_replacement() -> None:
    """As JavaScript's encoder writes it."""
    frame = request(name="cut \ud83d")
    assert facts_of(frame).name == "cut \ufffd"
    assert request_headers(frame, facts_of(frame))["Mcp-Name"].startswith("=?base64?")


def test_a_string_that_is_no_utf8_is_none() -> None:
    """Nothing raises."""
    raw = b'{"id":1,"method":"tools/call","params":{"name":"\xff","_meta":{"%b":"\xff"}}}' % VERSION.encode()
    facts = facts_of(Frame(raw))
    assert (facts.version, facts.name) == (None, None)


def test_a_large_frame_is_read_in_time() -> None:
    """Of 16 MiB of arguments nothing is built."""
    frame = request(name="a", arguments={"text": "x" * (16 << 20)})
    assert facts_of(frame).name == "a"
    assert min(timeit.repeat(lambda: read_facts(frame), number=1, repeat=3)) < 0.3


@given(st.binary(max_size=200), st.text(max_size=20))
def test_any_bytes_are_read_or_are_not_modern(rest: bytes, text: str) -> None:
    """Facts, or None: never an exception."""
    for raw in (
        rest,
        b'{"/protocolVersion' + rest,
        b'{"id":1,"method":"tools/call","params":{"name":%b,"_meta":{"%b":%b}}}'
        % (json.dumps(text).encode(), VERSION.encode(), rest or b"1"),
    ):
        facts = read_facts(Frame(raw))
        assert facts is None or isinstance(facts, RequestFacts)
