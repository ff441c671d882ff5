"""JSON with comments and trailing commas: the value is the same, and every key has its line."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.app.config.json_lines import read_json
from relay.app.config.jsonc import JsoncError

NO_SURROGATES = st.characters(codec="utf-8")
TEXTS = st.text(NO_SURROGATES, max_size=12) | st.sampled_from(["//", "/* ", "*/", ",}", "\\", '"', "${A}", "\u2028"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=12
)
BLANKS = st.sampled_from(["", " ", "\n", "\t\r\n", '// a, "b": } /* \n', '/* , ] \n " // */', "/**/", "/***/", "//\n"])


def written(value: Any, draw: Any) -> str:
    """Write a value with blanks, comments and trailing commas wherever they may stand."""

    def blank() -> str:
        return str(draw(BLANKS))

    if isinstance(value, dict):
        members = [
            f"{blank()}{json.dumps(key, ensure_ascii=draw(st.booleans()))}{blank()}:{written(item, draw)}"
            for key, item in value.items()
        ]
        inner, (opened, closed) = members, "{}"
    elif isinstance(value, list):
        inner, (opened, closed) = [written(item, draw) for item in value], "[]"
    else:
        return f"{blank()}{json.dumps(value, ensure_ascii=draw(st.booleans()))}{blank()}"
    trailing = "," if inner and draw(st.booleans()) else ""
    return f"{blank()}{opened}{','.join(inner)}{trailing}{blank()}{closed}{blank()}"


@given(value=VALUES, data=st.data())
def test_lines(value: Any, data: st.DataObject) -> None:
    """Whatever comments and blank lines there are, every key and item has the line in which it begins."""
    text = written(value, data.draw)
    parsed = read_json(text)
    assert json.dumps(parsed.value) == json.dumps(value)
    assert not parsed.duplicates
    steps = [path[-1] for path in parsed.lines]
    assert sorted(map(str, steps)) == sorted(map(str, steps_in(value)))
    # Where a key begins, nothing but the text before it is needed to say which line that is.
    lines = text.split("\n")
    for path, line in parsed.lines.items():
        if isinstance(path[-1], str):
            assert any(json.dumps(path[-1], ensure_ascii=way) in lines[line - 1] for way in (True, False))
    assert list(parsed.lines.values()) == sorted(parsed.lines.values())


def steps_in(value: Any) -> list[str | int]:
    """Return every key and index in a value."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [step for key, item in pairs for step in (key, *steps_in(item))]


def test_half_a_character() -> None:
    """What no child and no server can be handed is refused, with its line."""
    for text in ('{"a":\n"\\ud800"}', '{\n"\\udfff": 1}'):
        with pytest.raises(JsoncError, match=r"line 2, column 1: half of a pair of surrogates"):
            read_json(text)
    assert read_json('"\\ud83d\\ude00"').value == "\U0001f600"


def test_duplicates() -> None:
    """The last one counts, and both lines are known."""
    parsed = read_json('{"a": {"b": 1,\n"b": 2,\n"c": 3},\n"a": 4}')
    assert parsed.value == {"a": 4}
    assert parsed.duplicates == {("a", "b"): (1, 2), ("a",): (1, 4)}
    assert parsed.lines["a",] == 4
