"""Editors' JSON with comments: its values, their places, and the bytes that a new entry leaves alone."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.app.config.jsonc import JsoncError, Node, parse, read
from relay.app.install.json_edit import put_entry
from relay.errors import ConfigError

ENTRY = {"command": "/usr/bin/mcp-relay", "args": ["https://host/mcp"]}

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=12
)
line_comments = st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=8).map(
    lambda text: f"//{text}\n"
)
block_comments = (
    st.text(max_size=8).filter(lambda text: "*/" not in text and not text.endswith("*")).map(lambda text: f"/*{text}*/")
)
blanks = st.lists(st.sampled_from(["", " ", "\n", "\r\n", "\t"]) | line_comments | block_comments, max_size=3).map(
    "".join
)


@st.composite
def texts(draw: st.DrawFn, value: Any) -> str:
    """A value as some person might have written it: comments anywhere, trailing commas."""

    def gap() -> str:
        return draw(blanks)

    def write(value: Any) -> str:
        if isinstance(value, dict):
            parts = [f"{gap()}{json.dumps(k)}{gap()}:{gap()}{write(v)}{gap()}" for k, v in value.items()]
            opening, closing = "{", "}"
        elif isinstance(value, list):
            parts = [f"{gap()}{write(item)}{gap()}" for item in value]
            opening, closing = "[", "]"
        else:
            is_ascii: bool = draw(st.booleans())
            return json.dumps(value, ensure_ascii=is_ascii)
        has_comma: bool = bool(parts) and draw(st.booleans())
        comma = "," + gap() if has_comma else ""
        return opening + (",".join(parts) + comma or gap()) + closing

    return gap() + write(value) + gap()


@given(st.data(), values)
def test_reads_what_json_reads_with_comments_and_trailing_commas_anywhere(data: st.DataObject, value: Any) -> None:
    text = data.draw(texts(value))
    assert repr(read(text)) == repr(value)


@given(st.data(), values)
def test_each_node_knows_where_it_stands(data: st.DataObject, value: Any) -> None:
    text = data.draw(texts(value))

    def check(node: Node) -> None:
        assert repr(read(text[node.start : node.end])) == repr(node.plain())
        for item in node.items:
            check(item)
        for member in node.members:
            assert text[member.start] == '"'
            check(member.value)

    check(parse(text))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1, column 1: the text ends"),
        ('{"a": 1', 'line 1, column 8: expected "," or "}"'),
        ('{\n  "a" 1}', "line 2, column 7: expected \":\" after the name 'a'"),
        ("{'a': 1}", "line 1, column 2: expected a name in double quotes"),
        ('{"a": NaN}', "NaN is not JSON"),
        ("[1,,2]", "line 1, column 4: ',' cannot begin a value"),
        ("{} {}", "line 1, column 4: nothing may follow"),
        ('{"a": "b\n', "line 1, column 7: Unterminated string"),
        ("/* {", "line 1, column 1: the comment that begins here has no end"),
        ("[" * 300, "nested deeper than 200"),
    ],
)
def test_a_mistake_is_said_with_its_place(text: str, said: str) -> None:
    with pytest.raises(JsoncError) as caught:
        parse(text)
    assert said in str(caught.value)


@given(st.text(alphabet='{}[]:,"/*\n1 a\\'))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        read(text)
    except JsoncError as exc:
        assert str(exc).startswith("line ")


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
settings_files = st.dictionaries(names, values, max_size=3)
server_tables = st.none() | st.dictionaries(names, values, max_size=3)


@given(st.data(), settings_files, server_tables, names)
def test_all_but_the_entry_stays_byte_for_byte(
    data: st.DataObject, settings: dict[str, Any], servers: dict[str, Any] | None, name: str
) -> None:
    """What is taken away from the result to get the text again is one stretch, and at most one comma."""
    settings.pop("mcpServers", None)
    if servers is not None:
        settings["mcpServers"] = servers
    text = data.draw(texts(settings))
    result = put_entry(text, "mcpServers", name, ENTRY)
    expected = {**settings, "mcpServers": {**(servers or {}), name: ENTRY}}
    assert repr(sorted(read(result).items())) == repr(sorted(expected.items()))
    if servers is not None and name in servers:
        there = parse(text).find("mcpServers")
        assert there is not None
        old = there.value.find(name)
        assert old is not None
        assert result.startswith(text[: old.value.start])
        assert result.endswith(text[old.value.end :])
    else:
        assert _is_insertion(text, result)


def _is_insertion(text: str, result: str) -> bool:
    """Tell whether the result is the text with one stretch put in, and perhaps one comma somewhere before it."""
    comma = len(os.path.commonprefix([text, result]))
    for candidate in (text, f"{text[:comma]},{text[comma:]}"):
        head = len(os.path.commonprefix([candidate, result]))
        if result.endswith(candidate[head:]) and len(result) >= len(candidate):
            return True
    return False


@given(settings_files, names)
def test_what_was_put_in_twice_is_there_once(settings: dict[str, Any], name: str) -> None:
    settings.pop("mcpServers", None)
    once = put_entry(json.dumps(settings, indent=4), "mcpServers", name, ENTRY)
    assert put_entry(once, "mcpServers", name, ENTRY) == once


def test_an_entry_is_indented_as_its_neighbours_are() -> None:
    text = '{\n\t// mine\n\t"servers": {\n\t\t"a": {"command": "x"}, // first\n\t}, /* end */\n}\n'
    assert put_entry(text, "servers", "b", {"command": "y", "args": []}) == (
        '{\n\t// mine\n\t"servers": {\n\t\t"a": {"command": "x"}, // first\n'
        '\t\t"b": {\n\t\t\t"command": "y",\n\t\t\t"args": []\n\t\t}\n\t}, /* end */\n}\n'
    )


def test_a_comma_goes_before_the_comment_of_its_line() -> None:
    text = '{\r\n  "a": 1 // one\r\n}\r\n'
    assert put_entry(text, "servers", "b", {"x": 2}) == (
        '{\r\n  "a": 1, // one\r\n  "servers": {\r\n    "b": {\r\n      "x": 2\r\n    }\r\n  }\r\n}\r\n'
    )


@pytest.mark.parametrize("text", ["", "\n", "\ufeff", "// none yet", "// none yet\n", "/* none */"])
def test_a_file_without_a_value_gets_one(text: str) -> None:
    result = put_entry(text, "mcpServers", "a", ENTRY)
    assert result.startswith(text)
    assert read(result) == {"mcpServers": {"a": ENTRY}}


@pytest.mark.parametrize(("text", "said"), [("[]", "not an object"), ('{"mcpServers": null}', "'mcpServers' in it")])
def test_a_file_of_another_shape_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        put_entry(text, "mcpServers", "a", ENTRY)
