"""What a frame costs to read: steps of Python and memory, whatever its bytes are.

Time is not measured: a machine may be busy. A step is a call, which a loop over tokens makes for each of them.
"""

import json
import re
import sys
import tracemalloc
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from bench.flood.corpus import HONEST, KINDS, make, modernise
from relay.frames import ids as rename
from relay.frames import json_cost as bounds
from relay.frames import repair
from relay.frames.envelope import last_of, salvage_head
from relay.frames.frame import Frame, each_message
from relay.frames.head import Head, Kind
from relay.frames.json_cost import BUILT, MOST_MESSAGES, MOST_NAME, excess, is_utf8, may_hold_key
from relay.frames.json_scan import Malformed, TooMany, elements, find_members
from relay.frames.replies import TOO_LARGE, code_of
from relay.frames.strictness import mend, repeated_key
from relay.mcp.facts import read_facts
from relay.mcp.headers import check_headers, request_headers
from relay.mcp.tool_headers import ToolHeaders
from relay.mcp.tool_list import without_tools

SIZE = 2**19
MOST_STEPS = 250_000
"""Calls for one frame, however large; one for each token of half a mebibyte would be up to 2 million."""
MOST_MEMORY = SIZE + 4 * 2**20
"""A copy of the frame and what is built of it; 0.5 GiB where each token of 4 MiB was built."""


def cost_of(act: Callable[[], object]) -> tuple[int, int]:
    """Count the calls that ``act`` makes, and measure the most memory that it holds at one time."""
    count = 0

    def note(_frame: FrameType, event: str, _: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    tracemalloc.start()
    sys.setprofile(note)
    try:
        act()
    finally:
        sys.setprofile(before)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return count, peak


def quietly(act: Callable[[Frame], object], raw: bytes) -> Callable[[], None]:
    """Return what does this to a frame that nobody has looked at; a refusal is an outcome, too."""

    def do() -> None:
        try:
            act(Frame(raw))
        except (TooMany, rename.Unnameable):
            pass

    return do


def _facts(frame: Frame) -> None:
    facts = read_facts(frame)
    if facts is not None:
        check_headers(CIMultiDict(), frame, facts, ANNOTATED)
        request_headers(frame, facts, ANNOTATED)


ANNOTATED = ToolHeaders()
ANNOTATED.learn(
    Frame(
        b'{"result":{"tools":[{"name":"x","inputSchema":{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}}]}}'
    )
)
READERS: dict[str, Callable[[Frame], object]] = {
    "head": lambda frame: frame.head,
    "checked": lambda frame: frame.read_whole().kind is not Kind.INVALID and repeated_key(frame),
    "messages": lambda frame: [one.head for one in each_message((frame,))],
    "facts": _facts,
    "with_number": lambda frame: rename.with_number(frame, 12345),
    "with_id": lambda frame: rename.with_id(frame, 12345),
    "with_token": lambda frame: rename.with_token(frame, 12345),
    "with_target": lambda frame: rename.with_target(frame, 12345),
    "with_subscription": lambda frame: rename.with_subscription(frame, 12345),
    "subscription_of": rename.subscription_of,
    "learned": lambda frame: ToolHeaders().learn(frame),
    "without-tools": lambda frame: without_tools(frame, ("x",)),
    "salvaged": lambda frame: salvage_head(frame.raw, frame.raw),
    "counted": lambda frame: excess(frame.raw, 1000, 1000),
    "text": lambda frame: is_utf8(frame.raw),
}


@pytest.mark.parametrize("kind", KINDS)
def test_no_frame_costs_a_step_or_an_object_for_each_of_its_tokens(kind: str) -> None:
    """Neither by what it is made of, nor by where its names are: whoever reads it, in whatever era."""
    raw = make(kind, SIZE)
    for reader, act in READERS.items():
        do = quietly(act, modernise(raw) if reader == "facts" else raw)
        steps, peak = cost_of(do)
        assert steps < MOST_STEPS, reader
        assert peak < MOST_MEMORY, reader


@pytest.mark.parametrize("kind", HONEST)
def test_honest_large_frames_are_read_and_renamed(kind: str) -> None:
    """Images, text with JSON in it, emoji and nested objects of megabytes: as small ones, byte for byte."""
    raw = make(kind, 6 * 2**20)
    head = Frame(raw).read_whole()
    assert head.kind is (Kind.RESPONSE if kind == "answer" else Kind.REQUEST) and head.id == (
        7 if kind == "answer" else 1
    )
    assert repeated_key(Frame(raw)) is None and not excess(raw)
    old = b'"id":%d' % head.id
    assert rename.with_id(Frame(raw), 12345).raw == raw.replace(old, b'"id":12345', 1)
    if head.kind is Kind.REQUEST:
        assert rename.with_number(Frame(raw), 12345).raw == raw.replace(old, b'"id":12345', 1)
        facts = read_facts(Frame(modernise(raw)))
        assert facts is not None and facts.version == "2026-07-28"


# -- batches -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("space", [b"", b" ", b"\r\n\t"])
def test_a_batch_has_so_many_messages(space: bytes) -> None:
    """One more is refused as too large, before any is read; as many are handed on as they are."""
    one = b'{"jsonrpc":"2.0","id":%d,"method":"m","params":[1,2]}'
    members = [one % number for number in range(MOST_MESSAGES + 1)]
    joined = (space + b"," + space).join(members[:-1])
    batch = Frame(space + b"[" + space + joined + space + b"]" + space)
    assert [head.id for head in batch.head.members] == list(range(MOST_MESSAGES))
    assert [frame.raw for frame in batch.split()] == members[:-1]
    refused = Frame(b"[" + b",".join(members) + b"]").head
    assert refused.kind is Kind.INVALID and refused.is_excessive and code_of(refused) == TOO_LARGE


@pytest.mark.parametrize(
    "raw",
    [
        b"[{},]",
        b"[{}",
        b"[",
        b"[{} {}]",
        b"[{}]]",
        b'[{"id":1,"method":"x"}] 1',
        b'[{"id":1,"method":"x"}',
        b"[1,]",
        b"[,]",
    ],
)
def test_what_is_no_batch_is_none(raw: bytes) -> None:
    """A comma too many, an end too few, something behind it."""
    assert Frame(raw).head.kind is Kind.INVALID


# -- names -------------------------------------------------------------------------------------------------------------


def test_names_are_of_some_size() -> None:
    """An id, a method or a token of a quarter of a mebibyte is one; a larger one is refused, or is none."""
    for size, is_one in ((MOST_NAME - 2, True), (MOST_NAME - 1, False)):
        text = b'"' + b"a" * size + b'"'
        head = Frame(b'{"jsonrpc":"2.0","id":%b,"method":"m"}' % text).head
        assert (head.kind is Kind.REQUEST) is is_one
        head = Frame(b'{"jsonrpc":"2.0","id":1,"method":%b}' % text).head
        assert (head.kind is Kind.REQUEST) is is_one
        head = Frame(b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"_meta":{"progressToken":%b}}}' % text).head
        assert (head.token is not None) is is_one
        target = b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%b}}' % text
        assert (Frame(target).head.target is not None) is is_one


@pytest.mark.parametrize("name", [rb"\ud83d\ude00", rb"\ud83d", rb"\uf83d", rb"\ud55c"])
def test_a_name_that_mending_would_change_is_refused(name: bytes) -> None:
    """In a large message with half a surrogate pair in it; any other name there is read as it is."""
    rest = b',"method":"m","params":{"text":"%b \\ud800"}}' % (b"x" * BUILT)
    assert Frame(b'{"jsonrpc":"2.0","id":"%b"' % name + rest).read_whole().kind is Kind.INVALID
    assert Frame(rb'{"jsonrpc":"2.0","id":"\u00e9 plain"' + rest).read_whole().id == "é plain"


@given(st.integers(BUILT - 8, BUILT + 8), st.sampled_from([rb"\ud800", rb"\uDC00", rb"\uD83d\ude00", rb"\\ud800"]))
def test_mending_works_across_its_pieces(at: int, escape: bytes) -> None:
    """Wherever an escape is cut: as long as before, and no surrogate is left."""
    raw = b'{"a":"' + b"x" * (at - 6) + escape + b"y" * (BUILT + 20) + b'"}'
    mended = mend(raw)
    assert len(mended) == len(raw) and b"\\ud" not in mended and b"\\uD" not in mended
    assert json.loads(bytes(mended))["a"].strip("xy") == json.loads(
        bytes(escape.join((b'"', b'"'))).replace(rb"\ud", rb"\uf").replace(rb"\uD", rb"\uf")
    )


def test_half_a_pair_among_very_many_escapes_is_refused() -> None:
    """Of an answer, which is known by its ends, nothing need be read; text without such halves has no bound."""
    escapes = rb"\u4e2d\u6587" * 300_000
    request = b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"text":"%b"}}'
    assert Frame(request % escapes).read_whole().kind is Kind.REQUEST
    refused = Frame(request % (escapes + rb"\ud800")).read_whole()
    assert refused.kind is Kind.INVALID and code_of(refused) == TOO_LARGE
    assert Frame(b'{"jsonrpc":"2.0","id":1,"result":{"text":"%b\\ud800"}}' % escapes).head.kind is Kind.RESPONSE


# -- what is counted ---------------------------------------------------------------------------------------------------

texts = st.text(st.sampled_from('ab,{}[]"\\\n😀'), max_size=12)
values = st.recursive(
    st.one_of(texts, st.integers(), st.none(), st.booleans(), st.floats(allow_nan=False, allow_infinity=False)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
spaces = st.sampled_from([(",", ":"), (", ", ": "), ("\n,\r\n", "\t: ")])


@given(value=values, separators=spaces, window=st.integers(1, 9), ascii_only=st.booleans())
def test_only_what_is_outside_of_strings_counts(
    value: Any, separators: tuple[str, str], window: int, *, ascii_only: bool
) -> None:
    """However text and escapes are cut into windows."""
    raw = json.dumps(value, separators=separators, ensure_ascii=ascii_only).encode()
    bare = re.sub(rb'"(?:[^"\\]|\\.)*"', b'""', raw, flags=re.DOTALL)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bounds, "_WINDOW", window)
        counted = bounds._count_outside(raw, 10**6, 10**6)
    assert counted == (bare.count(b"{") + bare.count(b"["), bare.count(b","))


def test_json_within_text_is_no_bomb() -> None:
    """A file of JSON or CSV in a string passes, where the same values outside of one do not."""
    inner = b'{\\"a\\":[1,2]},' * 3000
    assert not excess(b'{"text":"%b"}' % inner, nodes=1000, values=1000)
    assert "arrays and objects" in excess(b"[" + b"[]," * 1001 + b"1]", nodes=1000, values=2000)
    assert "values" in excess(b"[" + b"1," * 1001 + b"1]", nodes=1000, values=1000)


@given(st.binary(max_size=40) | st.text(max_size=20).map(str.encode), st.integers(1, 5))
def test_utf8_is_told_piece_by_piece(raw: bytes, window: int) -> None:
    """As by decoding the whole."""
    try:
        raw.decode()
        expected = True
    except UnicodeDecodeError:
        expected = False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bounds, "_WINDOW", window)
        assert is_utf8(raw) is expected


# -- members -----------------------------------------------------------------------------------------------------------

keys = st.sampled_from(['"id"', '"method"', '"x"', r'"\u0069d"', r'"i\u0064"', '"id "', '""', r'"\\id"', '"params"'])


@given(pairs=st.lists(st.tuples(keys, values), max_size=6), separators=spaces)
def test_members_are_found_however_they_are_spelt(pairs: list[tuple[str, Any]], separators: tuple[str, str]) -> None:
    """Each as often as it stands there, with its value as it stands there."""
    comma, colon = separators
    written = [(key, json.dumps(value, separators=separators)) for key, value in pairs]
    raw = (comma.join(f"{key}{colon}{value}" for key, value in written)).join(("{ ", " } ")).encode()
    expected = [(json.loads(key), value.encode()) for key, value in written if json.loads(key) in ("id", "params")]
    found = list(find_members(raw, ("id", "params")))
    assert [(key, raw[start:end]) for key, (start, end) in found] == expected


@given(items=st.lists(values, max_size=6), separators=spaces)
def test_elements_are_found(items: list[Any], separators: tuple[str, str]) -> None:
    """Each as it stands there."""
    raw = json.dumps(items, separators=separators).encode()
    assert [json.loads(raw[start:end]) for start, end in elements(raw, 6)] == items


@pytest.mark.parametrize(
    "raw", [b"", b"[]", b"1", b"{", b'{"a"}', b'{"a":}', b'{"a":1', b'{"a":1 "b":2}', b"{1:2}", b'{"a":[1,']
)
def test_what_is_no_object_is_malformed(raw: bytes) -> None:
    """And nothing else is raised."""
    with pytest.raises(Malformed):
        list(find_members(raw, ("a",)))


def test_too_many_members_are_too_many() -> None:
    """Of values that are no scalars some thousands are looked at; of plain ones a mebibyte is skipped in a run."""
    plain = b"{" + b",".join(b'"k%d":%d' % (number, number) for number in range(50_000)) + b',"id":1}'
    assert [key for key, _ in find_members(plain, ("id",))] == ["id"]
    with pytest.raises(TooMany):
        list(find_members(b"{" + b'"k":{},' * 50_000 + b'"id":1}', ("id",)))
    with pytest.raises(TooMany):
        list(elements(b"[" + b"1," * 10 + b"1]", 10))


@pytest.mark.parametrize("kind", ["escaped-text", "progress"])
def test_what_a_frame_has_is_counted_once(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the check, to read it and to rename it: each would take up to 80 ms for it."""
    counted: list[int] = []

    def count(raw: bytes, *within: int) -> str:
        counted.append(len(raw))
        return excess(raw, *within)

    monkeypatch.setattr("relay.frames.frame.excess", count)
    frame = Frame(make(kind, 2**18))
    assert not frame.excess()
    assert frame.read_whole().kind is not Kind.INVALID
    assert frame.head.method is not None
    if frame.head.kind is Kind.REQUEST:
        rename.with_number(frame, 5)
    else:
        rename.with_token(frame, 5)
    rename.subscription_of(frame)
    assert len(counted) == 1
    assert frame.excess(1, 1)
    assert len(counted) == 2, "within other bounds it is another question"


class Watched(bytes):
    """Bytes in which nobody may look for more than one byte at a time."""

    def __contains__(self, what: object) -> bool:
        assert isinstance(what, bytes) and len(what) == 1, what
        return super().__contains__(what)


def test_a_long_string_is_not_searched_for_a_key() -> None:
    """What two quotes enclose is one string: 0.02 ms for 1 MB, where to look for the token's name takes 0.25."""
    head = b'{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"echo","arguments":{"text":"'
    frame = Frame(Watched(head + b"x" * 2**20 + b'"},"_meta":{}}}'))
    assert (frame.head.id, frame.head.token) == (7, None)


LONG = "x" * (2 * BUILT)
MANY = ["word"] * 2 * BUILT


@pytest.mark.parametrize(
    "filling", [LONG, MANY, {"a": LONG, "b": MANY}, [LONG, '"', MANY], f'a "{LONG}" progressToken']
)
@pytest.mark.parametrize("key", ["progressToken", "progress\\u0054oken", None])
@pytest.mark.parametrize("is_first", [True, False])
def test_the_token_of_a_large_request_is_found(filling: object, key: str | None, is_first: bool) -> None:
    meta = f'{{"{key}":"t"}}' if key else "{}"
    members = [f'"_meta":{meta}', f'"arguments":{json.dumps(filling)}']
    params = ",".join(members if is_first else members[::-1])
    raw = f'{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{{params}}}}}'.encode()
    assert Frame(raw).head.token == (None if key is None else "t")


@given(st.lists(st.sampled_from(['"', "progressToken", "a", '"progressToken"', "x" * 5000, ":"])))
def test_a_key_is_never_overlooked(pieces: list[str]) -> None:
    raw = "".join(pieces).encode()
    assert may_hold_key(raw, b"progressToken") >= (b'"progressToken"' in raw)


def test_very_many_members_are_not_decoded() -> None:
    """Of each that it looks for a decoder makes an object: 80 ms for 16 MiB, in one step."""
    size = 12 * 2**20
    for kind in ("id-keys", "params-keys"):
        head = Frame(make(kind, size)).head
        assert head.is_excessive and "more members" in head.fault, kind
        assert not Frame(make(kind, 2**20)).head.is_excessive, "such a one is quick"
    for kind in ("nested", "ids-within", "strings-in-answer"):
        assert Frame(make(kind, size)).head.kind is not Kind.INVALID, f"{kind} has few members of its own"
    last = b'{"params":[%b""],' % (b'"",' * 2**18) + b'"id":1,' * (7 * 2**18) + b'"method":"m"}'
    assert Frame(last).head.is_excessive, "behind others, too"


def test_the_request_of_a_server_is_read_from_its_beginning() -> None:
    """Its token is of interest to nobody here; where the relay cannot tell, it reads on."""

    def read(raw: bytes) -> Head:
        return last_of(Frame(raw).steps(is_server=True))

    large = b'"params":{"x":[%b1]}}' % (b"[]," * BUILT)
    broken = b'"params":{"x":[%b}1]}}' % (b"[]," * BUILT)
    begun = b'{"jsonrpc":"2.0","id":5,"method":"sampling/createMessage",'
    assert read(begun + broken) == Head(Kind.REQUEST, 5, "sampling/createMessage")
    assert last_of(Frame(begun + broken).steps()).kind is Kind.INVALID, "of a client nothing is taken for granted"
    assert read(begun + large[:-2] + b',"_meta":{"progressToken":7}}}').token == 7
    assert read(begun + b'"x":1,' + large).id == 5
    assert read(b'{"jsonrpc":"2.0","method":"m",' + large[:-1] + b',"id":5}').id == 5
    assert read(b'{"jsonrpc":"2.0","method":"m",' + large).kind is Kind.NOTIFICATION
    for named in (b'"id":null,"method":"m",', b'"id":5,"method":null,', b'"id":5.5,"method":"m",'):
        assert read(b"{" + named + large).kind is Kind.INVALID
    assert read((begun + large)[:-2]).kind is Kind.INVALID


def test_what_costs_too_much_to_read_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its ends say who waits for an answer."""
    frame = Frame(make("escaped-keys", 6 * 2**20))
    assert frame.head.is_excessive
    monkeypatch.setattr(repair, "_read_loosely", pytest.fail)
    sifted = repair.sift(frame, "the server", is_server=False)
    assert [one.head.id for one in sifted.back] == [1]
