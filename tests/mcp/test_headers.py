"""The headers that mirror a frame: made, checked, and told apart."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from relay.frames.frame import Frame
from relay.mcp.facts import read_facts
from relay.mcp.headers import check_headers, is_session_id, request_headers
from relay.mcp.revisions import MODERN_VERSION
from tests.mcp.messages import VERSION, facts_of, learned, param, request, tool

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


@pytest.mark.parametrize(
    ("value", "is_one"),
    [("a", True), ("!~", True), ("x" * 1024, True), ("x" * 1025, False), ("", False), ("a b", False), ("a\n", False),
     ("\x7f", False), ("ä", False), ("a\0", False)],
)  # fmt: skip
def test_session_ids_are_visible_ascii(value: str, is_one: bool) -> None:
    """2025-11-25, "Session Management": 0x21 to 0x7e, and a bound of ours."""
    assert is_session_id(value) is is_one
