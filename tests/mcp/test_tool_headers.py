"""What a 2026-07-28 frame says of itself, and the headers that mirror it: made, checked, and told apart."""

from __future__ import annotations

import json
import timeit

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from relay.frames.frame import Frame
from relay.mcp.tool_headers import (
    MODERN_VERSION,
    Annotation,
    InvalidTool,
    RequestFacts,
    ToolHeaders,
    check_headers,
    error_for,
    is_modern_error,
    read_facts,
    request_headers,
    without_tools,
)

VERSION = "io.modelcontextprotocol/protocolVersion"
CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
META = {VERSION: MODERN_VERSION, CAPABILITIES: {}}


def request(method: str = "tools/call", /, **params: object) -> Frame:
    """Make a modern request."""
    message = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"_meta": META, **params}}
    return Frame(json.dumps(message).encode())


def facts_of(frame: Frame) -> RequestFacts:
    """Read facts that must be there."""
    facts = read_facts(frame)
    assert facts is not None
    return facts


def listing(*tools: object) -> Frame:
    """Make an answer to tools/list."""
    return Frame(json.dumps({"jsonrpc": "2.0", "id": 1, "result": {"tools": list(tools)}}).encode())


def tool(name: str, **properties: object) -> dict[str, object]:
    """Make a tool with such parameters."""
    return {"name": name, "inputSchema": {"type": "object", "properties": properties}}


def param(header: object, kind: object = "string") -> dict[str, object]:
    """Make an annotated parameter."""
    return {"type": kind, "x-mcp-header": header}


def learned(*tools: object) -> ToolHeaders:
    """Know these tools."""
    headers = ToolHeaders()
    assert headers.learn(listing(*tools)) == []
    return headers


# Facts.


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


# Refusals.


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


# Annotations.


def test_annotations_are_learned_with_their_paths() -> None:
    """Nested objects too, and a property that is itself called like the annotation is none."""
    nested = {"type": "object", "properties": {"deep": param("Deep", "boolean")}}
    headers = learned(
        tool("a", region=param("Region"), n=param("N", "integer"), outer=nested), tool("b", **{"x-mcp-header": {}})
    )
    assert headers.of("a") == (
        Annotation("Mcp-Param-Region", ("region",), "string"),
        Annotation("Mcp-Param-N", ("n",), "integer"),
        Annotation("Mcp-Param-Deep", ("outer", "deep"), "boolean"),
    )
    assert headers.of("b") == ()
    assert headers.of("c") is None


REASONS: dict[str, list[object]] = {
    "not the name": [param(""), param("a b"), param("a\r\nb"), param("é"), param("a:"), param(5), param(None)],
    "no string, integer": [
        param("A", "number"),
        param("A", "object"),
        param("A", ["string", "null"]),
        {"x-mcp-header": "A"},
        {"$ref": "#/x", "x-mcp-header": "A"},
    ],
    "no chain of properties": [
        {"type": "array", "items": param("A")},
        {"type": "array", "items": [param("A")]},
        {"type": "array", "prefixItems": [{}, param("A")]},
        {"anyOf": [{"type": "null"}, param("A")]},
        {"oneOf": [{"properties": {"x": param("A")}}]},
        {"not": param("A")},
        {"if": {}, "then": {"properties": {"x": param("A")}}},
        {"patternProperties": {"^x": param("A")}},
        {"$defs": {"x": param("A")}},
        {"additionalProperties": param("A")},
    ],
}


@pytest.mark.parametrize(("reason", "schema"), [(reason, one) for reason, many in REASONS.items() for one in many])
def test_an_annotation_that_breaks_a_rule_makes_the_tool_invalid(reason: str, schema: object) -> None:
    """Every constraint of "Schema Extension"; the other tools stay."""
    headers = ToolHeaders()
    (invalid,) = headers.learn(listing(tool("bad", p=schema), tool("good", p=param("A"))))
    assert invalid.name == "bad"
    assert reason in invalid.reason
    assert headers.of("bad") == ()
    assert headers.of("good") == (Annotation("Mcp-Param-A", ("p",), "string"),)


def test_the_root_of_a_schema_may_not_be_annotated() -> None:
    """It is no parameter."""
    bad = {"name": "bad", "inputSchema": param("A")}
    assert [one.name for one in ToolHeaders().learn(listing(bad))] == ["bad"]


def test_headers_differ_in_more_than_case() -> None:
    """HTTP does not tell them apart."""
    (invalid,) = ToolHeaders().learn(listing(tool("bad", a=param("Region"), b=param("rEGION"))))
    assert invalid == InvalidTool("bad", "'b' and 'a' have the same x-mcp-header")


@pytest.mark.parametrize(
    "schema",
    [
        {"default": {"x-mcp-header": ""}},
        {"enum": [{"x-mcp-header": ""}]},
        {"const": {"x-mcp-header": ""}},
        {"x-other": {"x-mcp-header": ""}},
        {"items": True, "properties": [], "anyOf": ["x"], "dependentRequired": {"x-mcp-header": []}},
    ],
)
def test_data_in_a_schema_is_no_annotation(schema: object) -> None:
    """Whatever keys it holds."""
    assert learned(tool("a", p=schema)).of("a") == ()


def test_an_escaped_annotation_is_one() -> None:
    """However it is spelt."""
    raw = listing(tool("a", p=param("A"))).raw.replace(b"x-mcp-header", rb"x\u002dmcp-header")
    headers = ToolHeaders()
    assert headers.learn(Frame(raw)) == []
    assert headers.of("a") == (Annotation("Mcp-Param-A", ("p",), "string"),)


def test_a_tool_name_invalid_once_in_an_answer_is_invalid() -> None:
    """Which of the two would be called?"""
    headers = ToolHeaders()
    assert len(headers.learn(listing(tool("a", p=param("")), tool("a", p=param("A"))))) == 1
    assert headers.of("a") == ()


def test_malformed_listings_teach_what_they_can() -> None:
    """And raise nothing."""
    headers = ToolHeaders()
    for raw in (b"{", b'{"result":5}', b'{"result":{"tools":5}}', b'{"error":{}}', b'{"result":{}}', b"[]"):
        assert headers.learn(Frame(raw)) == []
    assert headers.learn(listing(1, {"name": 5}, {}, {"name": "a", "inputSchema": 5}, {"name": "b"})) == []
    assert (headers.of("a"), headers.of("b")) == ((), ())
    broken = b'{"result":{"tools":[{"name":"c","inputSchema":{"x-mcp-header":"\xff"}},{"name":"d"}]}}'
    assert headers.learn(Frame(broken)) == []
    assert (headers.of("c"), headers.of("d")) == ((), ())


def test_only_so_many_tools_are_remembered() -> None:
    """Those listed last; a tool listed anew counts as new."""
    headers = ToolHeaders(max_tools=2)
    for name in ("a", "b", "a", "c"):
        headers.learn(listing(tool(name)))
    assert [headers.of(name) for name in "abc"] == [(), None, ()]


# Tools cut out.


@pytest.mark.parametrize(
    ("tools", "left"),
    [
        (b'[ {"name":"x"} , {"name":"a"} ]', b'[ {"name":"a"} ]'),
        (b'[ {"name":"a"} , {"name":"x"} ]', b'[ {"name":"a"} ]'),
        (b'[{"name":"a"},{"name":"x"},{"name":"b"}]', b'[{"name":"a"},{"name":"b"}]'),
        (b'[{"name":"a"},{"name":"x"},{"name":"y"}]', b'[{"name":"a"}]'),
        (b'[{"name":"x"},{"name":"a"},{"name":"y"},{"name":"x"}]', b'[{"name":"a"}]'),
        (b'[ {"name":"x"}, {"name":"y"} ]', b"[  ]"),
        (b'[1,{"name":"x"},null,{"name":5}]', b'[1,null,{"name":5}]'),
        (b'[{"name":"a","x":"{\\"name\\":\\"x\\"}"},{"name":"x"}]', b'[{"name":"a","x":"{\\"name\\":\\"x\\"}"}]'),
        (b'[{"name":"a","half":"\\ud800"},{"name":"x"}]', b'[{"name":"a","half":"\\ud800"}]'),
        (b'[{"name":"a"}]', b'[{"name":"a"}]'),
        (b"[]", b"[]"),
    ],
)
@pytest.mark.parametrize(
    "around",
    [
        b'{"jsonrpc":"2.0","id":1,"result":{"tools":%b,"nextCursor":"c"}}',
        b' { "x" : {"result":{"tools":[1]}} , "result" : { "y":["tools"], "tools" : %b } , "id" : 1.0 } ',
        b'{"result":{"tools":[{"name":"x"}]},"result":{"tools":[{"name":"x"}],"tools":%b}}',
    ],
)
def test_tools_are_cut_out_with_one_comma(tools: bytes, left: bytes, around: bytes) -> None:
    """Nothing else of the answer is touched."""
    answer = Frame(around % tools, 7)
    cut = without_tools(answer, ["x", "y"])
    assert cut.raw == around % left
    assert cut.belongs_to == 7


def test_an_answer_without_tools_stays_as_it_is() -> None:
    """There is nothing to cut."""
    for raw in (b'{"id":1,"error":{}}', b"{", b'{"\xff":1,"result":{"tools":[]}}'):
        assert without_tools(Frame(raw), ["x"]).raw == raw


@given(st.lists(st.tuples(st.sampled_from("abxy"), st.text(max_size=5))), st.sampled_from([None, 1]))
def test_what_is_left_is_the_listing_without_them(tools: list[tuple[str, str]], indent: int | None) -> None:
    """For a parser as for a reader."""
    message = {"id": 1, "result": {"tools": [{"name": name, "d": text} for name, text in tools], "x": "tools"}}
    left = {"id": 1, "result": {"tools": [{"name": n, "d": text} for n, text in tools if n in "ab"], "x": "tools"}}
    cut = without_tools(Frame(json.dumps(message, indent=indent).encode()), ("x", "y"))
    assert json.loads(cut.raw) == left


# Headers.

# MCP 2026-07-28, "Value Encoding", and what is there to be told apart.
ENCODED = [
    ("us-west1", "us-west1"),
    ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
    (" padded ", "=?base64?IHBhZGRlZCA=?="),
    ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
    ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
    ("", ""),
    ("a b", "a b"),
    ("=?BASE64?a?=", "=?BASE64?a?="),
    ("a\tb", "=?base64?YQli?="),
    ("\x7f", "=?base64?fw==?="),
    ("=?base64?=", "=?base64?PT9iYXNlNjQ/PQ==?="),
]


@pytest.mark.parametrize(("value", "encoded"), ENCODED)
def test_values_are_encoded_as_the_specification_shows(value: str, encoded: str) -> None:
    """In Mcp-Name and in Mcp-Param-*, and read back by the check."""
    tools = learned(tool(value, p=param("P")))
    frame = request(name=value, arguments={"p": value})
    headers = request_headers(frame, facts_of(frame), tools)
    assert headers == {
        "MCP-Protocol-Version": MODERN_VERSION,
        "Mcp-Method": "tools/call",
        "Mcp-Name": encoded,
        "Mcp-Param-P": encoded,
    }
    assert check_headers(CIMultiDict(headers), frame, facts_of(frame), tools) is None


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("42", "42"),
        ("-7", "-7"),
        ("-0", "0"),
        ("0", "0"),
        ("42.0", "42"),
        ("9007199254740993", "9007199254740993"),
        ("1.50", "1.50"),
        ("1e3", "1e3"),
        ("true", "true"),
        ("false", "false"),
        ("null", None),
        ("{}", None),
        ("[1]", None),
        ("1" * 401, None),
        (r'"\ud800"', "=?base64?77+9?="),
    ],
)
def test_values_become_text_as_the_specification_says(text: str, value: str | None) -> None:
    """Null, and what is no primitive, has no header."""
    tools = learned(tool("t", n=param("N", "integer")))
    frame = Frame(request(name="t", arguments={"n": "VALUE"}).raw.replace(b'"VALUE"', text.encode()))
    headers = request_headers(frame, facts_of(frame), tools)
    assert headers.get("Mcp-Param-N") == value
    assert check_headers(CIMultiDict(headers), frame, facts_of(frame), tools) is None


def test_a_value_is_read_at_the_exact_path() -> None:
    """And where there is none, or no object on the way to it, there is no header."""
    tools = learned(tool("t", o={"type": "object", "properties": {"d": param("D")}}))
    for arguments, value in (({"o": {"d": "x"}}, "x"), ({"d": "x"}, None), ({"o": ["d"]}, None), (5, None), ({}, None)):
        frame = request(name="t", arguments=arguments)
        assert request_headers(frame, facts_of(frame), tools).get("Mcp-Param-D") == value
    assert "Mcp-Param-D" not in request_headers(request(name="t"), facts_of(request(name="t")), tools)


def test_only_a_call_of_a_listed_tool_has_parameters() -> None:
    """Prompts may have the same name."""
    tools = learned(tool("t", p=param("P")))
    for frame in (request("prompts/get", name="t", arguments={"p": "x"}), request(name="u", arguments={"p": "x"})):
        assert set(request_headers(frame, facts_of(frame), tools)) == {"MCP-Protocol-Version", "Mcp-Method", "Mcp-Name"}


def test_nothing_that_could_break_out_of_a_header_is_put_in_one() -> None:
    """Version and method know no encoding: the server refuses a request without them."""
    message = {"id": 1, "method": "a\r\nX: y", "params": {"_meta": {VERSION: "1\r\nX: y"}}}
    frame = Frame(json.dumps(message).encode())
    assert request_headers(frame, facts_of(frame)) == {}
    message = {"id": 1, "params": {"_meta": {VERSION: 5}}, "result": {}}
    frame = Frame(json.dumps(message).encode())
    assert request_headers(frame, facts_of(frame)) == {}


GOOD = {"mcp-protocol-version": MODERN_VERSION, "mcp-method": "tools/call", "mcp-name": "t", "mcp-param-p": "42"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({}, None),
        ({"mcp-param-p": "42.0"}, None),
        ({"mcp-param-p": "=?base64?NDI=?="}, None),
        ({"mcp-name": "=?base64?dA==?="}, None),
        ({"mcp-param-other": "\xff"}, None),
        ({"mcp-param-p": "43"}, "Mcp-Param-P header value '43' does not match body value '42'"),
        ({"mcp-param-p": "42.5"}, "Mcp-Param-P header value '42.5' does not match body value '42'"),
        ({"mcp-param-p": "-"}, "Mcp-Param-P header value '-' does not match body value '42'"),
        ({"mcp-param-p": "0" * 60000 + "x"}, f"Mcp-Param-P header value '{'0' * 100}…' does not match body value '42'"),
        ({"mcp-param-p": None}, "the Mcp-Param-P header is missing; the body value is '42'"),
        ({"mcp-param-q": "x"}, "Mcp-Param-Q header value 'x' has no value in the body"),
        ({"mcp-param-p": "4\xb2"}, "Mcp-Param-P header value '4²' has characters that no header may have"),
        ({"mcp-name": "=?base64?dA?="}, "Mcp-Name header value '=?base64?dA?=' is not Base64 of UTF-8"),
        ({"mcp-name": "=?base64?dB==?="}, "Mcp-Name header value '=?base64?dB==?=' is not Base64 of UTF-8"),
        ({"mcp-name": "=?base64?/w==?="}, "Mcp-Name header value '=?base64?/w==?=' is not Base64 of UTF-8"),
        ({"mcp-name": "T"}, "Mcp-Name header value 'T' does not match body value 't'"),
        ({"mcp-name": None}, "the Mcp-Name header is missing; the body value is 't'"),
        ({"mcp-method": "Tools/call"}, "Mcp-Method header value 'Tools/call' does not match body value 'tools/call'"),
        ({"mcp-method": None}, "the Mcp-Method header is missing; the body value is 'tools/call'"),
        ({"mcp-protocol-version": None}, "the MCP-Protocol-Version header is missing; the body value is '2026-07-28'"),
        (
            {"mcp-protocol-version": "2025-11-25"},
            "MCP-Protocol-Version header value '2025-11-25' does not match body value '2026-07-28'",
        ),
    ],
)
def test_headers_that_contradict_the_body_are_told(change: dict[str, str | None], reason: str | None) -> None:
    """The error's message names the header, and both values."""
    tools = learned(tool("t", p=param("P", "integer"), q=param("Q")))
    frame = request(name="t", arguments={"p": 42, "q": None})
    headers = CIMultiDict({name: value for name, value in {**GOOD, **change}.items() if value is not None})
    expected = None if reason is None else f"Header mismatch: {reason}"
    assert check_headers(headers, frame, facts_of(frame), tools) == expected


def test_only_integers_are_compared_as_numbers() -> None:
    """A string of digits is a string."""
    tools = learned(tool("t", p=param("P")))
    frame = request(name="t", arguments={"p": "42"})
    assert check_headers(CIMultiDict({**GOOD, "mcp-param-p": "42.0"}), frame, facts_of(frame), tools) is not None


@pytest.mark.parametrize("name", GOOD)
def test_a_header_that_stands_twice_is_a_mismatch(name: str) -> None:
    """Whoever reads the first and whoever reads the last would disagree."""
    tools = learned(tool("t", p=param("P", "integer")))
    frame = request(name="t", arguments={"p": 42})
    headers = CIMultiDict([*GOOD.items(), (name, GOOD[name])])
    assert "stands 2 times" in (check_headers(headers, frame, facts_of(frame), tools) or "")


def test_a_name_that_only_the_header_has_is_a_mismatch() -> None:
    """But of methods that have none, the header is not ours to judge: extensions use it."""
    frame = request()
    headers = CIMultiDict({"MCP-Protocol-Version": MODERN_VERSION, "Mcp-Method": "tools/call"})
    assert check_headers(headers, frame, facts_of(frame)) is None
    headers["Mcp-Name"] = "x"
    assert "has no value in the body" in (check_headers(headers, frame, facts_of(frame)) or "")
    frame = request("tasks/get", taskId="x")
    headers["Mcp-Method"] = "tasks/get"
    assert check_headers(headers, frame, facts_of(frame)) is None


@given(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.one_of(st.text(st.characters(exclude_categories=["Cs"])), st.integers(), st.booleans(), st.none(), st.floats()),
)
def test_what_is_made_passes_the_check(name: str, value: object) -> None:
    """Whatever the name and the value; and it can be sent: visible ASCII and inner spaces."""
    tools = learned(tool(name, p=param("P", "integer")))
    frame = request(name=name, arguments={"p": value})
    facts = read_facts(frame)
    assert facts is not None or isinstance(value, float)  # NaN and Infinity are not JSON
    if facts is not None:
        headers = request_headers(frame, facts, tools)
        assert all(text.isascii() and text == text.strip() and (text or "x").isprintable() for text in headers.values())
        assert check_headers(CIMultiDict(headers), frame, facts, tools) is None
        changed = {**headers, "Mcp-Name": headers["Mcp-Name"] + "x"}
        assert check_headers(CIMultiDict(changed), frame, facts, tools) is not None
