"""JSON with comments and trailing commas: the value is the same, the lines are right, nothing else is let through."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.app.config.jsonc import JsoncError, parse_jsonc

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
def test_comments_and_trailing_commas_change_nothing(value: Any, data: st.DataObject) -> None:
    """Any JSON with comments inserted parses to the same."""
    parsed = parse_jsonc(written(value, data.draw))
    assert parsed.value == value
    assert json.dumps(parsed.value) == json.dumps(value)  # true is not 1, and the order is kept
    assert not parsed.duplicates


@given(text=st.text(st.sampled_from('{}[]:,"\\/*ab1-.e+ \nu0tfn'), max_size=24) | VALUES.map(json.dumps))
def test_without_comments_it_is_json(text: str) -> None:
    """What the standard library reads we read alike; what it does not, has a comment or a trailing comma, or fails."""
    try:
        expected = json.loads(text, parse_constant=lambda _: pytest.fail("no such word is drawn"))
    except ValueError:
        expected = JsoncError
    try:
        found: object = parse_jsonc(text).value
    except JsoncError as exc:
        assert expected is JsoncError
        assert 1 <= exc.line <= text.count("\n") + 1
        return
    if expected is not JsoncError:
        assert found == expected
    else:
        assert "," in text or "//" in text or "/*" in text


@given(value=st.dictionaries(TEXTS, st.lists(st.dictionaries(TEXTS, SCALARS, max_size=3), max_size=3), min_size=1))
def test_lines(value: dict[str, Any]) -> None:
    """Every key and every item has the line in which it begins."""
    text = json.dumps(value, indent=1)
    lines = text.split("\n")
    parsed = parse_jsonc(text)
    count = 0
    for path, line in parsed.lines.items():
        here = lines[line - 1].lstrip()
        assert here.startswith(json.dumps(path[-1]) if isinstance(path[-1], str) else "{")
        count += 1
    assert count == sum(1 + len(items) + sum(map(len, items)) for items in value.values())


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("", 1, "the file is empty"),
        ("// nothing\n", 2, "the file is empty"),
        ('{"a": 1\n "b": 2}', 2, "a comma or } is missing"),
        ('{"a": [1\n 2]}', 2, "a comma or ] is missing"),
        ('{"a": 1,\n,}', 2, "a key in double quotes is missing"),
        ('{"a": \n}', 2, "a value is missing"),
        ('{\n"a" 1}', 2, 'a colon is missing after the key "a"'),
        ('{\n"a": {"b": 1,\n\n', 4, "the { of line 2 is not closed"),
        ('{\n"a": [1\n', 3, "the [ of line 2 is not closed"),
        ("{\n'a': 1}", 2, "write double ones"),
        ("{\n a: 1}", 2, "a key in double quotes is missing"),
        ('{"a": "b\n"}', 1, "does not end in its line"),
        ('{"a":\n 1 /* }', 2, "is not ended by */"),
        ('{"a": "C:\\Users"}', 1, "write \\\\ for the character itself"),
        ('{"a": sk-123}', 1, "neither true, false, null nor a number"),
        ('{"a": NaN}', 1, "neither true, false, null nor a number"),
        ('{"a": 01}', 1, "neither true, false, null nor a number"),
        ('{"a": "\\ud800"}', 1, "half of a pair of surrogates"),
        ("{} {}", 1, "something follows"),
        ("[" * 1000, 1, "nested more than 100 deep"),
        ('{"a": #}', 1, "the character '#' cannot stand here"),
        (f'{{"a": {"9" * 5000}}}', 1, "neither true, false, null nor a number"),
    ],
)
def test_mistakes(text: str, line: int, reason: str) -> None:
    """A mistake has its line, and says what to write instead; what stands there is not shown."""
    with pytest.raises(JsoncError) as caught:
        parse_jsonc(text)
    assert caught.value.line == line
    assert reason in str(caught.value)
    assert "sk-123" not in str(caught.value)


def test_duplicates() -> None:
    """The last one counts, and both lines are known."""
    parsed = parse_jsonc('{"a": {"b": 1,\n"b": 2,\n"c": 3},\n"a": 4}')
    assert parsed.value == {"a": 4}
    assert parsed.duplicates == {("a", "b"): (1, 2), ("a",): (1, 4)}
