"""Scans of objects: what is found at a path, and how often a large value is read."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.frames import json_scan
from relay.frames.json_scan import Malformed, find_values

PATH = ("params", "_meta", "progressToken")
KEY = st.sampled_from([*PATH, "name", "x"])
LEAF = st.sampled_from(["1", '"a"', "[]", "{}", '{"progressToken":9}', '["{"]', "null", " { } "])
TREE = st.recursive(
    LEAF,
    lambda inner: st.lists(st.tuples(KEY, inner, st.sampled_from(["", " ", "\n"])), max_size=4).map(
        lambda members: "{" + ",".join(f'"{key}"{space}:{value}{space}' for key, value, space in members) + "}"
    ),
    max_leaves=12,
)


def expected(text: str) -> list[object]:
    """Return the values at the path, in their order, by a parser that keeps repeated members."""

    def walk(value: object, path: tuple[str, ...]) -> list[object]:
        if not path:
            return [value]
        members = value if isinstance(value, tuple) else ()
        return [found for key, inner in members if key == path[0] for found in walk(inner, path[1:])]

    return walk(json.loads(text, object_pairs_hook=tuple), PATH)


@given(TREE.filter(lambda text: text.strip().startswith("{")), st.sampled_from(["", " ", "\n"]))
def test_values_at_a_path_are_found_in_one_pass_with_the_end_of_their_object(text: str, behind: str) -> None:
    whole = (text + behind).encode()
    scan, spans = find_values(whole, PATH), []
    while True:
        try:
            spans.append(next(scan))
        except StopIteration as stop:
            assert stop.value == len(whole.rstrip())
            break
    found = [json.loads(whole[start:end], object_pairs_hook=tuple) for start, end in spans]
    assert found == expected(text)


@pytest.mark.parametrize("text", ['{"params":{"_meta":{}', '{"params":{"_meta":1 2}}', '{"params":{,}}'])
def test_a_broken_object_on_the_path_is_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        list(find_values(text.encode(), PATH))


def test_a_large_value_beside_the_path_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    large: list[int] = []
    skip = msgspec.json.Decoder(msgspec.Raw).decode

    def noted(text: memoryview) -> msgspec.Raw:
        large.extend([len(text)] if len(text) > 2**20 else [])
        return skip(text)

    monkeypatch.setattr(json_scan, "_skip", noted)
    raw = b'{"id":1,"params":{"_meta":{"progressToken":5},"arguments":{"a":"' + b"\\n" * 2**20 + b'"}}}'
    [(start, end)] = find_values(raw, PATH)
    assert raw[start:end] == b"5"
    assert len(large) == 1
