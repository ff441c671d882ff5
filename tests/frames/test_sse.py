"""SseDecoder against httpx-sse, and encode_event against SseDecoder."""

from __future__ import annotations

import json

import httpx_sse._decoders as oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.frames.frame import Frame
from relay.frames.lines import Oversized
from relay.frames.sse import KEEP_ALIVE, SseDecoder, SseEvent, encode_event
from tests.frames.chunking import cuttings, each_cutting, fed

ENDS = st.sampled_from(["\n", "\r", "\r\n"])
FIELDS = st.sampled_from(
    [
        "data",
        "data:",
        "data: ",
        "data:  x",
        "data: {}",
        "data:\u2028\u0085\x0b\x0c\x1c",
        "data: ä€😀",
        "event: ping",
        "event:",
        "event: message",
        "id: 7",
        "id:",
        "id: a-b",
        "id: \0",
        "retry: 10",
        "retry: x",
        "retry:",
        ":",
        ": comment",
        ":data: no",
        "unknown: x",
        "DATA: x",
        "data : x",
        " data: x",
        "",
        "",
        "",
    ]
)
STREAMS = st.tuples(
    st.sampled_from(["", "", "\ufeff"]), st.lists(st.tuples(FIELDS, ENDS).map("".join), max_size=25).map("".join)
).map("".join)


MESSAGES = st.lists(
    st.sampled_from(
        ["event: message", "event:message", "id: 7", "id: 8", "id:", "id: \0", "data: {}", "data:[1", "{", "\ufeff"]
        + ["\n", "\n", "\r\n", "\r", "\n\n", "\r\n\r\n"]
    ),
    max_size=9,
).map("".join)
"""Events as nearly all are, and what differs from those in a byte or two."""


def decoded(chunks: list[bytes], limit: int = 10_000) -> list[SseEvent]:
    """Return the events of these chunks."""
    return fed(SseDecoder(limit).feed, chunks)


def with_data(events: list[SseEvent]) -> list[tuple[str, str, str, int | None]]:
    """Return the events that a client sees, as httpx-sse tells them."""
    return [
        (event.event, event.data.decode(), event.id or "", event.retry)
        for event in events
        if isinstance(event.data, bytes)
    ]


def by_httpx_sse(stream: str) -> list[tuple[str, str, str, int | None]]:
    """Return what httpx-sse makes of a stream; a BOM is not its affair, events without data are not ours."""
    lines, decoder = oracle.SSELineDecoder(), oracle.SSEDecoder()
    found, has_data = [], False
    for line in [*lines.decode(stream.removeprefix("\ufeff")), *lines.flush()]:
        event = decoder.decode(line)
        if event is not None and has_data:
            found.append((event.event, event.data, event.id, event.retry))
        has_data = bool(line) and (has_data or line == "data" or line.startswith("data:"))
    return found


@given(STREAMS)
def test_events_are_those_of_httpx_sse(stream: str) -> None:
    """Two decoders that share no code read the same events from the same stream."""
    assert with_data(decoded([stream.encode()])) == by_httpx_sse(stream)


@given(st.lists(MESSAGES, max_size=3))
def test_a_message_that_comes_whole_is_read_as_any(pieces: list[str]) -> None:
    """One that stands alone in what the transport read takes a shortcut; it gives what another decoder finds."""
    events = decoded([piece.encode() for piece in pieces])
    assert with_data(events) == by_httpx_sse("".join(pieces))
    assert events == decoded([bytes((byte,)) for byte in "".join(pieces).encode()])


@pytest.mark.parametrize(
    ("whole", "data", "last_id"),
    [
        (b"event: message\ndata: {1}\n\n", b"{1}", None),
        (b"event: message\r\nid: 7\r\ndata: [1]\r\n\r\n", b"[1]", "7"),
        (b"id: \ndata:{1}\n\n", b"{1}", ""),
    ],
)
def test_a_whole_message_is_not_cut_into_lines(whole: bytes, data: bytes, last_id: str | None) -> None:
    """What takes the shortcut, and that it ends where a line is unfinished."""
    decoder, event = SseDecoder(100), SseEvent("message", data, last_id, None)
    assert decoder.feed(whole) == decoder.feed(whole) == [event]
    assert decoder._cut is None
    assert decoder.feed(b"data: {0}\n") == []
    assert decoder.feed(whole) == [SseEvent("message", b"{0}\n" + data, last_id, None)]
    assert decoder.feed(whole) == [event]


@given(cuttings(STREAMS.map(str.encode)))
def test_any_chunking_gives_the_same_events(case: tuple[bytes, list[bytes]]) -> None:
    """CRLF, a character or a field name may be cut anywhere."""
    data, chunks = case
    assert decoded(chunks) == decoded([data])


@given(cuttings(st.binary(max_size=300)))
def test_no_bytes_raise_and_no_cutting_matters(case: tuple[bytes, list[bytes]]) -> None:
    """Garbage gives events or nothing, never an exception, with a small limit too."""
    data, chunks = case
    assert decoded(chunks) == decoded([data])
    decoded(chunks, 4)


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: 1\n\n", [SseEvent("message", b"1", None, None)]),
        (b"data: 1\r\rdata: 2\r\r", [SseEvent("message", b"1", None, None), SseEvent("message", b"2", None, None)]),
        (b"data: 1\r\n\r\n", [SseEvent("message", b"1", None, None)]),
        (b"\xef\xbb\xbfdata: 1\n\n", [SseEvent("message", b"1", None, None)]),
        (b"data: 1\n\xef\xbb\xbfdata: 2\n\n", [SseEvent("message", b"1", None, None)]),
        (b"data: \xef\xbb\xbf1\n\n", [SseEvent("message", b"1", None, None, has_bom=True)]),
        (
            b"data:\xef\xbb\xbf1\ndata: \xef\xbb\xbf2\n\ndata: 3\n\n",
            [
                SseEvent("message", b"1\n\xef\xbb\xbf2", None, None, has_bom=True),
                SseEvent("message", b"3", None, None),
            ],
        ),
        (b"data: a\ndata: b\ndata\n\n", [SseEvent("message", b"a\nb\n", None, None)]),
        (b"event: endpoint\ndata: /m\n\n", [SseEvent("endpoint", b"/m", None, None)]),
        (b"id: 1\ndata:\nretry: 250\n\n", [SseEvent("message", b"", "1", 250)]),
        (b"id: 1\n\ndata: x\n\n", [SseEvent("message", None, "1", None), SseEvent("message", b"x", "1", None)]),
        (b"id: 1\n\nid\ndata: x\n\n", [SseEvent("message", None, "1", None), SseEvent("message", b"x", "", None)]),
        (b"id: a\0b\ndata: x\n\n", [SseEvent("message", b"x", None, None)]),
        (b"id: \xff\ndata: x\n\n", [SseEvent("message", b"x", "\ufffd", None)]),
        (b"retry: 999999999\n\n", [SseEvent("message", None, None, 999_999_999)]),
        (b"retry: 1000000000\ndata: x\n\n", [SseEvent("message", b"x", None, None)]),
        (b"retry: -1\ndata: x\n\n", [SseEvent("message", b"x", None, None)]),
        ("retry: ٣\ndata: x\n\n".encode(), [SseEvent("message", b"x", None, None)]),
        (b"event: ping\n\ndata: x\n\n", [SseEvent("ping", None, None, None), SseEvent("message", b"x", None, None)]),
        (KEEP_ALIVE + b"\n\n: x\n\n", []),
        (b"nonsense\n\n", []),
        (b"data: unfinished\n", []),
    ],
)
def test_events_of_a_stream(stream: bytes, events: list[SseEvent]) -> None:
    """The rules of WHATWG's "Server-sent events", whole and cut anywhere."""
    for chunks in each_cutting(stream):
        assert decoded(chunks) == events


def test_data_at_the_limit_passes_and_one_more_does_not() -> None:
    """The limit counts an event's data, on one line or several; the next event is read as if nothing had been."""
    rest = b"data: next\n\n"
    after = SseEvent("message", b"next", None, None)
    for data in (b"x" * 1000, b"x" * 499 + b"\n" + b"y" * 500):
        at_limit = b"".join(b"data: " + line + b"\n" for line in data.split(b"\n"))
        for chunks in each_cutting(at_limit + b"\n" + rest):
            assert decoded(chunks, 1000) == [SseEvent("message", data, None, None), after]
        over = at_limit[:-1] + b"z\n"
        for chunks in each_cutting(over + b"\n" + rest):
            large, then = decoded(chunks, 1000)
            assert large.data == Oversized(data + b"z", data + b"z", 1001)
            assert then == after


def test_oversized_data_keeps_its_ends() -> None:
    """Of an event whose one line passes every limit remain both ends, its event name and its id."""
    body = b'{"jsonrpc":"2.0","id":5,"result":"' + b"x" * 20_000 + b'"}'
    (event,) = decoded([b"event: message\nid: 3\ndata: " + body + b"\n\n"], 1000)
    assert isinstance(event.data, Oversized)
    assert (event.event, event.id) == ("message", "3")
    assert event.data.start == body[: len(event.data.start)]
    assert len(event.data.start) >= 4000
    assert event.data.end == body[-4096:]


def test_many_lines_beyond_the_limit_are_one_oversized_event() -> None:
    """After the limit has passed, further data lines are counted and dropped."""
    (event,) = decoded([b"data: " + b"x" * 600 + b"\n"] * 5 + [b"data:" + b"y" * 5000 + b"\n\n"], 1000)
    assert isinstance(event.data, Oversized)
    assert (event.data.start[:1], event.data.end[-1:]) == (b"y", b"y")


def test_an_oversized_line_that_is_not_data_is_dropped() -> None:
    """A comment of any length is none of our business."""
    assert decoded([b":" + b"x" * 5000 + b"\n\ndata: 1\n\n"], 100) == [SseEvent("message", b"1", None, None)]


def test_a_first_line_beyond_the_limit_is_no_place_for_a_bom() -> None:
    """The stream goes on after it."""
    assert decoded([b"\xef\xbb\xbf:" + b"x" * 5000 + b"\n\ndata: 1\n\n"], 100)[-1].data == b"1"


# -- writing ----------------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(JSON, st.booleans(), st.sampled_from([None, 2]), st.sampled_from([None, b"3-4"]), st.sampled_from([None, 1.5]))
def test_any_json_comes_back_from_its_event(
    value: object, ascii_only: bool, indent: int | None, event_id: bytes | None, retry: float | None
) -> None:
    """No JSON text, pretty-printed or with U+2028 in it, breaks out of the event it is written in."""
    raw = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    written = encode_event(Frame(raw).line, event_id=event_id, retry=retry)
    (event,) = decoded([written + KEEP_ALIVE])
    assert isinstance(event.data, bytes)
    assert json.loads(event.data.decode("utf-8", "surrogatepass")) == json.loads(raw.decode("utf-8", "surrogatepass"))
    assert (event.event, event.id) == ("message", event_id and event_id.decode())
    assert event.retry == (None if retry is None else 1500)


def test_an_event_as_it_is_written() -> None:
    """The field order is ours, and the event name is never left out."""
    assert encode_event(b"{}") == b"event: message\ndata: {}\n\n"
    assert encode_event(b"/m", event=b"endpoint") == b"event: endpoint\ndata: /m\n\n"
    assert encode_event(b"", event_id=b"1-0", retry=0.25) == b"event: message\nid: 1-0\nretry: 250\ndata: \n\n"


@pytest.mark.parametrize("line", [b"a\nb", b"a\rb", b"\n\nevent: endpoint\ndata: http://evil/"])
def test_a_newline_never_gets_into_an_event(line: bytes) -> None:
    """X-01: whoever forgets Frame.line is stopped here."""
    with pytest.raises(AssertionError):
        encode_event(line)
