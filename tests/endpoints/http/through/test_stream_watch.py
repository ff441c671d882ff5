"""What passes on a stream may be cut after any byte: every request has exactly one outcome still."""

from __future__ import annotations

import json

import pytest
from httpx_sse._decoders import SSEDecoder

from relay.endpoints.http.through.stream_watch import StreamWatch
from relay.errors import FrameTooLarge
from relay.frames import replies
from relay.frames.frame import Frame
from relay.frames.sse import SseDecoder
from relay.limits import Limits
from tests.e2e.fault_server import note, result, sse_event

CALL = Frame(b'{"jsonrpc":"2.0","id":1,"method":"x"}')
ANSWER = json.dumps(result({"id": 1}, {"a": "é\u2028"}), ensure_ascii=False).encode()
STREAM = (
    b": hello\n\n"
    + sse_event(note("notifications/progress", progress=1))
    + sse_event(None)
    + b"id\nretry: 5\ndata:"
    + ANSWER
    + b"\n\n"
    + sse_event(note("notifications/message"))
)


def watching(limits: Limits | None = None, *, can_resume: bool = False) -> StreamWatch:
    return StreamWatch(CALL.head, limits or Limits(), can_resume=can_resume)


def messages_in(stream: bytes) -> list[bytes]:
    """Return what a client takes: the data of each `message`."""
    decoder = SSEDecoder()
    lines = stream.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    events = [event for event in map(decoder.decode, lines) if event is not None]
    return [event.data.encode() for event in events if event.event == "message" and event.data]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_one_outcome_wherever_a_stream_is_cut(line_end: bytes, step: int) -> None:
    """The answer or an error, never both and never neither; and nothing that is no message."""
    stream = STREAM.replace(b"\n", line_end)
    outcomes = set()
    for cut_at in range(len(stream) + 1):
        watch, passed = watching(), stream[:cut_at]
        for at in range(0, cut_at, step):
            watch.feed(passed[at : min(at + step, cut_at)])
        found = [json.loads(one) for one in messages_in(passed + watch.give_up(replies.LOST, "lost"))]
        (outcome,) = [one for one in found if "id" in one]
        assert outcome["id"] == 1 and all(one["jsonrpc"] == "2.0" for one in found)
        outcomes.add("error" in outcome)
    assert outcomes == {True, False}


@pytest.mark.parametrize("step", range(1, 40))
def test_no_byte_order_mark_passes(step: int) -> None:
    """What stands before a message is no part of it, wherever the stream is cut, and no client could read it."""
    bom = b"data: \xef\xbb\xbf"
    stream = STREAM.replace(b"data:", bom).replace(bom + b" ", bom)
    watch = watching()
    passed = b"".join(watch.feed(stream[at : at + step]) for at in range(0, len(stream), step))
    assert messages_in(passed) == messages_in(STREAM) and b"\nretry: 5\n" in passed
    assert not watch.is_owed and not watch.dropped


@pytest.mark.parametrize("size", [99, 100, 101])
@pytest.mark.parametrize("step", [1, 7, 50, 10_000])
def test_a_frame_of_the_largest_size_passes_and_no_larger(size: int, step: int) -> None:
    """Where it is too large to keep, too; and of one too large no client takes the half that has passed."""
    for limits in (Limits(max_frame_bytes=100), Limits(max_frame_bytes=100, buffer_high=16)):
        body = ANSWER.replace(b'"a": "', b'"a": "' + b"x" * (size - len(ANSWER)))
        assert len(body) == size
        stream, watch, passed = sse_event(body), watching(limits), b""
        try:
            for at in range(0, len(stream), step):
                watch.feed(stream[at : at + step])
                passed += stream[at : at + step]
        except FrameTooLarge:
            passed += watch.give_up(replies.TOO_LARGE, "too large")
            assert size > 100
        else:
            assert size <= 100 and not watch.is_owed
        (message,) = messages_in(passed)
        assert (message == body) == (size <= 100)


def test_the_answer_before_a_frame_too_large_in_the_same_bytes_is_not_taken_for_passed() -> None:
    """They do not pass, so their request is owed its answer still."""
    watch = watching(Limits(max_frame_bytes=100))
    with pytest.raises(FrameTooLarge):
        watch.feed(sse_event(ANSWER) + sse_event(b"x" * 101))
    (message,) = messages_in(watch.give_up(replies.TOO_LARGE, "too large"))
    assert json.loads(message)["id"] == 1


@pytest.mark.parametrize("order", ["id first", "id last", "neither"])
def test_a_large_answer_is_known_in_any_order_of_members(order: str) -> None:
    """Beyond what is kept too: rather none than a second outcome."""
    fill = b'"result":{"fill":"' + b"x" * 20_000 + b'"}'
    body = {
        "id first": b'{"jsonrpc":"2.0","id":1,' + fill + b"}",
        "id last": b"{" + fill + b',"id":1,"jsonrpc":"2.0"}',
        "neither": b'{"more":{},' + fill + b',"id":1,"jsonrpc":"2.0","z":{}}',
    }[order]
    watch = watching(Limits(buffer_high=1000))
    watch.feed(sse_event(body))
    assert not watch.is_owed and watch.give_up(replies.LOST, "lost") == b""


def test_resumable_is_what_has_an_event_id_where_that_means_anything() -> None:
    """Not after an empty id, which resets it, nor in the modern era."""
    for can_resume in (True, False):
        watch = watching(can_resume=can_resume)
        watch.feed(sse_event(note("x"), event_id="1"))
        assert watch.is_resumable is can_resume
        watch.feed(sse_event(note("x"), event_id=""))
        assert not watch.is_resumable


def test_the_size_of_an_oversized_event_is_its_datas() -> None:
    """Without the name of its field, and while it comes nearly so."""
    decoder = SseDecoder(10)
    assert decoder.feed(b"event: x\ndata: " + b"y" * 200) == [] and 200 <= decoder.pending <= 210
    assert not decoder.is_between_lines and not decoder.is_between_events
    (event,) = decoder.feed(b"\n\n")
    assert getattr(event.data, "size", 0) == 200 and decoder.is_between_events
