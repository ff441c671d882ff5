"""Head: what the relay reads of a frame, and that no bytes make it raise."""

from __future__ import annotations

import json
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.frames.envelope import salvage_head
from relay.frames.frame import Frame
from relay.frames.head import Head, Kind, RequestId
from relay.frames.strictness import repeated_key

HUGE = int("9" * 1000)

REQUEST, NOTIFICATION, RESPONSE, INVALID = Kind.REQUEST, Kind.NOTIFICATION, Kind.RESPONSE, Kind.INVALID


def facts(raw: bytes) -> tuple[Kind, RequestId | None, str | None]:
    """Return kind, id and method of a frame."""
    head = Frame(raw).head
    return head.kind, head.id, head.method


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{"jsonrpc":"2.0","id":1,"method":"x"}', (REQUEST, 1, "x")),
        (b'{"jsonrpc":"2.0","id":-1,"method":"x","params":{}}', (REQUEST, -1, "x")),
        (b'{"jsonrpc":"2.0","id":0,"method":"x"}', (REQUEST, 0, "x")),
        (b'{"jsonrpc":"2.0","id":"1","method":"x"}', (REQUEST, "1", "x")),
        (b'{"jsonrpc":"2.0","id":"","method":"x"}', (REQUEST, "", "x")),
        (b'{"id":9007199254740993,"method":"x"}', (REQUEST, 9007199254740993, "x")),
        (b'{"id":18446744073709551616,"method":"x"}', (REQUEST, 2**64, "x")),
        (b'{"id":-%d,"method":"x"}' % HUGE, (REQUEST, -HUGE, "x")),
        (b'{"id":%d,"result":{}}' % HUGE, (RESPONSE, HUGE, None)),
        ('{"id":"ä€😀","method":"工具/调用"}'.encode(), (REQUEST, "ä€😀", "工具/调用")),
        (b'{"id":"\\ud83d\\ude00","method":"x"}', (REQUEST, "😀", "x")),
        (b'{"\\u0069d":1,"m\\u0065thod":"x"}', (REQUEST, 1, "x")),
        (b' \t{ "method" : "x" , "id" : 1 } \r', (REQUEST, 1, "x")),
        (b'{\r\n"id":1,\r\n"method":"x"}', (REQUEST, 1, "x")),
        (b'{"method":"x"}', (NOTIFICATION, None, "x")),
        (b'{"method":"x","params":[1]}', (NOTIFICATION, None, "x")),
        (b'{"id":1,"result":null}', (RESPONSE, 1, None)),
        (b'{"id":1,"result":{"id":2,"method":"no"}}', (RESPONSE, 1, None)),
        (b'{"id":1,"error":{"code":1,"message":""}}', (RESPONSE, 1, None)),
        (b'{"id":null,"error":{"code":1,"message":""}}', (RESPONSE, None, None)),
        (b'{"id":1,"ID":2,"Method":"X","method":"x"}', (REQUEST, 1, "x")),
        (b'{"id":1,"id":2,"method":"x"}', (REQUEST, 2, "x")),
        (b'{"id":1,"method":"x","result":{}}', (INVALID, 1, None)),
        (b'{"id":1,"method":"x","error":null}', (INVALID, 1, None)),
        (b'{"id":null,"method":"x"}', (INVALID, None, None)),
        (b'{"id":1}', (INVALID, 1, None)),
        (b'{"result":{}}', (INVALID, None, None)),
        (b"{}", (INVALID, None, None)),
    ],
)
def test_kinds(raw: bytes, expected: tuple[Kind, RequestId | None, str | None]) -> None:
    """Kind, id and method by JSON-RPC 2.0; ids keep their type and every digit."""
    assert facts(raw) == expected
    assert type(Frame(raw).head.id) is type(expected[1])
    assert bool(Frame(raw).head.fault) is (expected[0] is INVALID)


@pytest.mark.parametrize(
    ("raw", "is_json"),
    [
        (b'{"id":1.5,"method":"x"}', True),
        (b'{"id":1.0,"method":"x"}', True),
        (b'{"id":1e3,"method":"x"}', True),
        (b'{"id":1e999,"method":"x"}', True),
        (b'{"id":true,"method":"x"}', True),
        (b'{"id":[],"method":"x"}', True),
        (b'{"id":{},"result":1}', True),
        (b'{"id":1,"method":null}', True),
        (b'{"id":1,"method":1}', True),
        (b'{"id":%s,"method":"x"}' % (b"9" * 5000), True),
        (b"1", True),
        (b"null", True),
        (b'"text"', True),
        (b"[]", True),
        (b"[1]", True),
        (b"[[]]", True),
        (b'[[{"id":1,"method":"x"}]]', True),
        (b'[{"id":1,"method":"x"},{}]', True),
        (b"", False),
        (b" ", False),
        (b"{", False),
        (b"[", False),
        (b'{"id":1,"method":"x"', False),
        (b'{"id":1,"method":"x"}}', False),
        (b'{"id":1,"method":"x"}{}', False),
        (b'{"id":01,"method":"x"}', False),
        (b'{"id":NaN,"method":"x"}', False),
        (b'{"id":1,"method":"x","params":NaN}', False),
        (b'{"id":1,"method":"x","params":Infinity}', False),
        (b'{"id":1,"method":"x","params":"\\q"}', False),
        (b'{"id":1,"method":"x","params":"\\u12"}', False),
        (b'\xef\xbb\xbf{"id":1,"method":"x"}', False),
        (b'{"id":"\xff","method":"x"}', False),
        (b'{"id":1,"method":"\xff"}', False),
        (b"[" * 100_000, False),
        (b'{"id":1,"method":"x","params":' + b"[" * 100_000 + b"]" * 100_000 + b"}", False),
        (b"log line", False),
        (b"\0\0\0", False),
    ],
)
def test_what_is_no_message(raw: bytes, is_json: bool) -> None:
    """INVALID with a reason; ``is_json`` decides between -32700 and -32600. Float ids are none."""
    head = Frame(raw).head
    assert (head.kind, head.is_json) == (INVALID, is_json)
    assert head.fault


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b'{"id":1,"method":"x","params":{"text":"cut in an emoji: \\ud83d"}}', REQUEST),
        (b'{"id":1,"result":{"text":"\\ud83d and more"}}', RESPONSE),
        (b'{"id":1,"result":"\\uDC00 \\ud83d\\ude00 \\\\ud83d"}', RESPONSE),
        (b'{"method":"x","params":{"\\udfff":1}}', NOTIFICATION),
        (b'{"id":"\\ud83d","method":"x"}', INVALID),
        (b'{"id":1,"method":"\\ud83d"}', INVALID),
        (b'{"id":1,"method":"x","params":"\\ud83d" NaN}', INVALID),
        (b'[{"id":1,"result":"\\ud83d"},{"id":2,"result":1}]', Kind.BATCH),
        (b'[{"id":"\\ud83d","result":1}]', INVALID),
    ],
)
def test_half_a_surrogate_pair_in_a_payload_is_legal(raw: bytes, kind: Kind) -> None:
    """What JavaScript makes of a string cut within an emoji passes; only an id or a method may not hold one."""
    assert Frame(raw).head.kind is kind


@pytest.mark.parametrize(
    ("raw", "token"),
    [
        (b'{"id":1,"method":"x","params":{"_meta":{"progressToken":7}}}', 7),
        (b'{"id":1,"method":"x","params":{"_meta":{"progressToken":"t"}}}', "t"),
        (b'{"id":1,"method":"x","params":{"_meta":{"progressToken":%d}}}' % HUGE, HUGE),
        (b'{"id":1,"method":"x","params":{"_meta":{"progressToken":1.5}}}', None),
        (b'{"id":1,"method":"x","params":{"_meta":{"progressToken":null}}}', None),
        (b'{"id":1,"method":"x","params":{"_meta":null,"progressToken":7}}', None),
        (b'{"id":1,"method":"x","params":{"_meta":[],"progressToken":7}}', None),
        (b'{"id":1,"method":"x","params":["progressToken"]}', None),
        (b'{"id":1,"method":"progressToken"}', None),
        (b'{"method":"notifications/progress","params":{"progressToken":7,"progress":1}}', 7),
        (b'{"method":"notifications/progress","params":{"progressToken":"t"}}', "t"),
        (b'{"method":"notifications/progress","params":{"progressToken":[]}}', None),
        (b'{"method":"notifications/progress","params":[]}', None),
        (b'{"method":"notifications/progress"}', None),
        (b'{"method":"notifications/other","params":{"progressToken":7}}', None),
        (b'{"id":1,"result":{"_meta":{"progressToken":7}}}', None),
    ],
)
def test_progress_tokens(raw: bytes, token: RequestId | None) -> None:
    """A request's token is in its _meta, a progress notification's in its params; anything odd is none."""
    assert Frame(raw).head.token == token
    assert Frame(raw).head.kind is not INVALID


@pytest.mark.parametrize(
    ("params", "target"),
    [(b'{"requestId":5}', 5), (b'{"requestId":"5"}', "5"), (b'{"requestId":5.5}', None), (b"{}", None), (b"1", None)],
)
def test_cancelled_targets(params: bytes, target: RequestId | None) -> None:
    """Only notifications/cancelled speaks of a request."""
    assert Frame(b'{"method":"notifications/cancelled","params":%s}' % params).head.target == target
    assert Frame(b'{"method":"notifications/other","params":%s}' % params).head.target is None
    assert Frame(b'{"id":1,"method":"notifications/cancelled","params":%s}' % params).head.target is None


def test_a_batch_has_the_heads_of_its_members() -> None:
    """A batch's messages are its members, a single frame's message is itself; split keeps their bytes."""
    raw = b' [ {"id":1,"method":"x" , "n":0.10} ,\n{"method":"y"},{"id":"\\u0061","result":"\\ud83d"} ]'
    frame = Frame(raw, "r")
    assert frame.head.kind is Kind.BATCH
    assert [(head.kind, head.id) for head in frame.head.messages] == [
        (REQUEST, 1),
        (NOTIFICATION, None),
        (RESPONSE, "a"),
    ]
    members = frame.split()
    assert [member.raw for member in members] == [
        b'{"id":1,"method":"x" , "n":0.10}',
        b'{"method":"y"}',
        b'{"id":"\\u0061","result":"\\ud83d"}',
    ]
    assert [member.belongs_to for member in members] == ["r"] * 3
    single = Frame(b'{"id":1,"method":"x"}')
    assert single.head.messages == (single.head,)


def test_the_head_is_read_once() -> None:
    """A frame remembers its head."""
    frame = Frame(b'{"id":1,"method":"x"}')
    assert frame.head is frame.head


def test_repr_shows_the_start() -> None:
    """A log of frames stays short."""
    assert repr(Frame(b"{}")) == "Frame(b'{}')"
    assert len(repr(Frame(b"x" * 10_000))) < 80


def test_line_replaces_newlines_by_spaces() -> None:
    """The one byte change (X-02); a frame without newlines is handed on as it is."""
    assert Frame(b'{\r\n"id":\n1}').line == b'{  "id": 1}'
    raw = b'{"id":1}'
    assert Frame(raw).line is raw


# -- large frames -----------------------------------------------------------------------------------------------------

PAYLOAD = b'{"content":[{"type":"text","text":"' + b"x" * 5000 + b'"}]}'


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{"jsonrpc":"2.0","id":5,"result":%s}', (RESPONSE, 5, None)),
        (b' { "jsonrpc": "2.0", "id": "\\u00e9 \\"", "error" : %s } \r', (RESPONSE, 'é "', None)),
        (b'{"jsonrpc":"2.0","id":-0,"result":%s}', (RESPONSE, 0, None)),
        (b'{"jsonrpc":"2.0","id":%s,"result":%%s}' % str(HUGE).encode(), (RESPONSE, HUGE, None)),
        (b'{"jsonrpc":"2.0","id":007,"result":%s}', (INVALID, None, None)),
        (b'{"jsonrpc":"2.0","id":1.5,"result":%s}', (INVALID, None, None)),
        (b'{"jsonrpc":"2.0","id":"\\q","result":%s}', (INVALID, None, None)),
        (b'{"result":%s,"jsonrpc":"2.0","id":"a"}', (RESPONSE, "a", None)),
        (b'{"id":%s,"method":"x","params":%%s}' % str(HUGE).encode(), (REQUEST, HUGE, "x")),
        (b'{"jsonrpc":"2.0","id":null,"error":%s}', (RESPONSE, None, None)),
        (b'{"jsonrpc":"2.0","method":"x","params":%s}', (NOTIFICATION, None, "x")),
        (b'{"jsonrpc":"2.0","method":"x","params":%s,"id":3}', (REQUEST, 3, "x")),
        (b'{"id":5,"other":%s}', (INVALID, 5, None)),
        (b'{"id":5,"method":"x","result":%s}', (INVALID, 5, None)),
        (b'{"id":"\\q","result":%s}', (INVALID, None, None)),
        (b"%s", (INVALID, None, None)),
        (b'{"id":5,"result":%s]', (INVALID, None, None)),
        (b'{"id":5,"method":"x","params":%s', (INVALID, None, None)),
        # An answer is read from its ends: the relay is no validator, and who asked sees what the server wrote.
        (b'{"id":5,"result":[%s}', (RESPONSE, 5, None)),
    ],
)
def test_large_frames_are_read_as_small_ones(raw: bytes, expected: tuple[Kind, RequestId | None, str | None]) -> None:
    """Where it is cheaper to look at a frame's ends, what is found of whole messages is the same."""
    assert facts(raw % PAYLOAD) == expected


def test_a_large_frame_costs_little_to_read() -> None:
    """16 MiB of nested JSON are read in well under a second, without building it (R-25)."""
    raw = b'{"id":1,"method":"x","params":[' + b"{}," * (5 * 2**20) + b"{}]}"
    tracemalloc.start()
    try:
        before = time.perf_counter()
        assert facts(raw) == (REQUEST, 1, "x")
        seconds = time.perf_counter() - before
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert seconds < 20, "0.1 s on a machine that does nothing else"
    assert peak < 2**20


# -- what is left of frames beyond the limit --------------------------------------------------------------------------


def salvaged(raw: bytes) -> tuple[Kind, RequestId | None]:
    """Return what is known of a frame of which 4 KiB at either end are left."""
    head = salvage_head(raw[:4096], raw[-4096:])
    return head.kind, head.id


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'{"jsonrpc":"2.0","id":5,"result":%s}', (RESPONSE, 5)),
        (b'{"jsonrpc":"2.0","id":"a\\"b","result":%s}', (RESPONSE, 'a"b')),
        (b'{"id":-5,"jsonrpc":"2.0","error":%s}', (RESPONSE, -5)),
        (b'{"result":%s,"jsonrpc":"2.0","id":5}', (RESPONSE, 5)),
        (b'{"result":%s,"id":5,"jsonrpc":"2.0"}\r', (RESPONSE, 5)),
        (b'{"jsonrpc":"2.0","id":null,"error":%s}', (RESPONSE, None)),
        (b'{"jsonrpc":"2.0","result":%s}', (RESPONSE, None)),
        (b'{"jsonrpc":"2.0","id":5,"method":"x","params":%s}', (REQUEST, 5)),
        (b'{"jsonrpc":"2.0","method":"x","id":5,"params":%s}', (REQUEST, 5)),
        (b'{"jsonrpc":"2.0","method":"x","params":%s,"id":5}', (REQUEST, 5)),
        (b'{"method":"x","params":%s,"jsonrpc":"2.0","id":"5"}', (REQUEST, "5")),
        (b'{"jsonrpc":"2.0","method":"x","params":%s}', (NOTIFICATION, None)),
        (b'{"id":%d,"result":%%s}' % HUGE, (RESPONSE, HUGE)),
        (b'{"id":%s,"result":%%s}' % (b"9" * 4090), (INVALID, None)),
        (b'{"id":"\\q","result":%s}', (INVALID, None)),
        (b'{"id":"\xff","result":%s}', (INVALID, None)),
        (b'{"id":"\\ud83d","result":%s}', (INVALID, None)),
        (b'{"id":5.5,"result":%s}', (INVALID, None)),
        (b'{"id":5,"method":"x","result":%s}', (INVALID, None)),
        (b'{"other":%s,"id":5}', (INVALID, None)),
        (b'{"id":5,"other":%s}', (INVALID, None)),
        (b"noise %s", (INVALID, None)),
    ],
)
def test_salvage(raw: bytes, expected: tuple[Kind, RequestId | None]) -> None:
    """The id is found in the member orders that SDKs write, at either end; what cannot be told is INVALID."""
    assert salvaged(raw.replace(b"%s", PAYLOAD * 2)) == expected


def test_salvage_is_not_fooled_by_a_string_that_looks_like_an_end() -> None:
    """Text that imitates the end of a message is a string there: its quotes are escaped."""
    text = json.dumps({"id": 1, "result": {"text": "x" * 9000 + ',"id":666}'}}).encode()
    assert salvaged(text) == (RESPONSE, 1)
    text = json.dumps({"result": {"text": "x" * 9000 + ',"id":666}'}, "id": 1}, separators=(",", ":")).encode()
    assert salvaged(text) == (RESPONSE, 1)


def test_a_scalar_cut_short_is_not_believed() -> None:
    """Of an id that the cut has shortened nothing is known."""
    assert salvage_head(b'{"id":12', b"345}").kind is INVALID
    assert salvage_head(b'{"error":null,"id":12', b"345}").id is None


# -- keys that stand twice --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        (b'{"id":1,"method":"x","id":2}', "id"),
        (b'{"id":1,"method":"x","method":"y"}', "method"),
        (b'{"jsonrpc":"2.0","id":1,"method":"x","params":{},"params":{}}', "params"),
        (b'{"id":1,"\\u0069d":2,"method":"x"}', "id"),
        (b'{"id":1, "id" : 2,"method":"x"}', "id"),
        (b'{"id":1,"method":"x","params":{"id":1,"id":2,"id":3}}', None),
        (b'{"id":1,"method":"x","params":[{"id":1},{"id":2}]}', None),
        (b'{"id":"id","method":"\\"id\\":1,\\"id\\":2"}', None),
        (b'{"id":1,"method":"x","a":"id","b":"id"}', None),
        (b'{"id":1,"method":"x","\\ud83d":1,"\\ud83d":2}', None),
        (b'{"id":1,"method":"x","a":1,"a":2,"\\u0061":3}', None),
        (b'{"id":1,"method":"x"}', None),
        (b'{"id":1,"method":"x","params":%s}' % PAYLOAD, None),
        (b'{"id":1,"method":"x","params":%s,"id":2}' % PAYLOAD, "id"),
        (b'{"id":1,"method":"x","extra":1,"params":%s}' % PAYLOAD, None),
        (b'{"id":1,"method":"x","params":%s,"extra":1,"method":"y"}' % PAYLOAD, "method"),
        (b'{"method":"x","params":%s}' % PAYLOAD, None),
        (b'{"id":1,"result":%s}' % PAYLOAD, None),
        (b'{"id":1,"result":%s,"id":2}' % PAYLOAD, "id"),
    ],
)
def test_repeated_key(raw: bytes, key: str | None) -> None:
    """A routed key that stands twice at the top is found however it is spelled, and only there (X-05)."""
    assert repeated_key(Frame(raw)) == key


def test_the_search_for_repeated_keys_is_linear() -> None:
    """A megabyte of keys, or one string of 10 MiB, is scanned in a moment and little memory."""
    many = b'{"id":1,"method":"x",' + b",".join(b'"k%d":1' % number for number in range(100_000)) + b',"id":2}'
    long = b'{"id":1,"method":"x","a":"' + b'\\"x' * (3 * 2**20) + b'","b":"\\u0061","id":2}'
    for raw in (many, long):
        tracemalloc.start()
        before = time.perf_counter()
        assert repeated_key(Frame(raw)) == "id"
        seconds = time.perf_counter() - before
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert seconds < 50, "a second on a machine that does nothing else"
        assert peak < 40 * 2**20


# -- fuzz: frames, or INVALID; never another exception ----------------------------------------------------------------

IDS: st.SearchStrategy[object] = st.one_of(
    st.integers(), st.text(), st.none(), st.floats(), st.booleans(), st.integers(-(10**1200), 10**1200)
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
MESSAGES = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.just("2.0"),
        "id": IDS,
        "method": st.sampled_from(["x", "notifications/progress", "notifications/cancelled"]) | VALUES,
        "params": st.fixed_dictionaries(
            {},
            optional={
                "_meta": VALUES | st.fixed_dictionaries({"progressToken": IDS}),
                "progressToken": IDS,
                "requestId": IDS,
            },
        )
        | VALUES,
        "result": VALUES,
        "error": VALUES,
    },
)


def check_contract(raw: bytes) -> Head:
    """Ask a frame everything the relay asks; nothing may raise, and the answers must agree."""
    frame = Frame(raw)
    head = frame.head
    assert (head.kind is INVALID) == bool(head.fault)
    assert (head.kind is Kind.BATCH) == bool(head.members)
    if head.kind is REQUEST:
        assert isinstance(head.id, str | int)
        assert isinstance(head.method, str)
    if head.kind is Kind.BATCH:
        assert [member.head.kind for member in frame.split()] == [member.kind for member in head.members]
    if Frame(raw).read_whole().kind is not INVALID:
        repeated_key(frame)
    assert b"\n" not in frame.line
    salvage_head(raw[:4096], raw[-4096:])
    return head


@given(MESSAGES, st.booleans(), st.booleans())
def test_the_head_agrees_with_json(message: dict[str, Any], ascii_only: bool, large: bool) -> None:
    """Whatever the message, the head says of it what Python's own parser says."""
    if large and not ("method" in message and ("result" in message or "error" in message)):
        message = {**message, "padding": "x" * 5000}
    raw = json.dumps(message, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    check_contract(raw)
    for head in (Frame(raw).read_whole(), Frame(raw).head):
        if head.kind is not INVALID:
            assert head.id == message.get("id")
            assert head.method == message.get("method")
        if "method" in message and ("result" in message or "error" in message):
            return  # a large frame that is both is seen for what it is only when it is read whole


@given(
    st.binary(max_size=200)
    | st.lists(
        st.sampled_from(
            [
                b"{",
                b"}",
                b"[",
                b"]",
                b",",
                b":",
                b'"',
                b"\\",
                b"\\u",
                b"d83d",
                b'"id"',
                b'"method"',
                b'"result"',
                b'"params"',
                b"1",
                b"-",
                b"1e9",
                b"null",
                b'"x"',
                b"\n",
                b"\xff",
                b'"progressToken"',
                b'"_meta"',
                b'{"id":1,"method":"x"}',
            ]
        ),
        max_size=25,
    ).map(b"".join)
)
def test_no_bytes_make_a_frame_raise(raw: bytes) -> None:
    """Frames, or INVALID; never an exception: alone, in a batch, and inside a large message."""
    check_contract(raw)
    check_contract(b"[" + raw + b"]")
    check_contract(b'{"id":1,"result":' + raw + b"}")
    check_contract(b'{"id":' + raw + b',"result":"' + b"x" * 3000 + b'"}')


@pytest.mark.parametrize(
    ("raw", "asks"),
    [
        (b'{"id":1,"method":"x"}', True),
        (b'{"method":"x"}', False),
        (b'{"id":1,"result":1}', False),
        (b'[{"method":"x"},{"id":1,"method":"x"}]', True),
        (b'[{"method":"x"},{"id":1,"result":1}]', False),
        (b"nonsense", False),
    ],
)
def test_what_asks_for_an_answer(raw: bytes, asks: bool) -> None:
    """A request, or a batch with one in it."""
    assert Frame(raw).head.asks is asks


def test_a_strangers_frame_is_read_whole() -> None:
    """Ends that look like an answer's do not hide a method, or JSON that is none; the whole reading is remembered."""
    for raw in (b'{"id":5,"result":%s,"method":"x"}' % PAYLOAD, b'{"id":5,"result":[%s}' % PAYLOAD):
        frame = Frame(raw)
        assert frame.head.kind is RESPONSE
        assert frame.read_whole().kind is INVALID
        assert frame.head.kind is INVALID
    assert Frame(b'{"id":5,"result":%s}' % PAYLOAD).read_whole().id == 5
