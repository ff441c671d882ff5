"""Annotated tools: what is learned of them, and what breaks the rules."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from multidict import CIMultiDict

from relay.frames import json_scan
from relay.frames.frame import Frame
from relay.mcp.facts import read_facts
from relay.mcp.headers import check_headers, request_headers
from relay.mcp.tool_headers import Annotation, InvalidTool, ToolHeaders, mirrored
from tests.mcp.messages import facts_of, learned, listing, param, request, tool


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


def test_all_mirrored_values_are_found_in_one_pass_without_a_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten parameters of a large call would be ten passes of 30 ms."""
    properties = {key: {"type": "string", "x-mcp-header": key} for key in "abcdefghij"}
    tools = ToolHeaders()
    tools.learn(listing({"name": "x", "inputSchema": {"type": "object", "properties": properties}}))
    arguments = {"text": "\n" * 2**20} | dict.fromkeys("abcdefghij", "v")
    meta = {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}
    params = {"_meta": meta, "name": "x", "arguments": arguments}
    frame = Frame(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}).encode())
    facts = read_facts(frame)
    assert facts is not None
    passes: list[int] = []
    skip = json_scan._skip

    def noted(text: memoryview) -> object:
        passes.append(len(text))
        return skip(text)

    monkeypatch.setattr(json_scan, "_skip", noted)
    tracemalloc.start()
    try:
        found = [value for _, value in mirrored(frame, facts, tools)]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found == ["v"] * 10
    assert len([size for size in passes if size > 2**20]) == 1
    assert peak < 2**20
