"""Tools cut out of an answer to ``tools/list``."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.frames.frame import Frame
from relay.mcp.tool_list import without_tools


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
