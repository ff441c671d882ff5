"""httpx-sse, within limits and byte for byte, reads what our own decoder reads."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from relay.endpoints.http.client.httpx_events import HttpxEvents
from relay.frames.lines import Oversized
from relay.frames.sse import SseDecoder, SseEvent
from tests.frames.chunking import cuttings, each_cutting, fed

LINES = st.sampled_from(
    [
        b"data: {}",
        b"data:x",
        b"data",
        "data:  ä€\u2028\u0085😀".encode(),
        b"data: \xff\xfe\x00",
        b"data: " + b"y" * 70,
        b"data:" + b"z" * 200,
        b"event: ping",
        b"event: " + b"e" * 200,
        b"id: 7",
        b"id: \xe4\xff",
        b"id: \0",
        b"retry: 10",
        b"retry: x",
        b": comment",
        b":" + b"c" * 200,
        b"unknown: x",
        b"",
        b"",
        b"",
    ]
)
STREAMS = st.tuples(
    st.sampled_from([b"", b"\xef\xbb\xbf"]),
    st.lists(st.tuples(LINES, st.sampled_from([b"\n", b"\r", b"\r\n"])).map(b"".join), max_size=25).map(b"".join),
).map(b"".join)


async def through_httpx(chunks: Sequence[bytes], limit: int) -> list[SseEvent]:
    """Return the events that httpx-sse reads."""

    async def coming() -> AsyncIterator[bytes]:
        for chunk in chunks:
            await asyncio.sleep(0)
            yield chunk

    return [event async for event in HttpxEvents(coming(), limit, httpx)]


def with_data(events: list[SseEvent]) -> list[SseEvent]:
    """Return those with data: httpx-sse repeats the last id at every empty line, which says nothing new.

    Which bytes are kept of a large one that has several lines is each decoder's own affair.
    """
    large = Oversized(b"", b"", 0)
    return [replace(one, data=large) if isinstance(one.data, Oversized) else one for one in events if one.data]


@given(cuttings(STREAMS), st.sampled_from([1, 60, 120, 10_000]))
async def test_events_are_those_of_our_decoder(case: tuple[bytes, list[bytes]], limit: int) -> None:
    """Ids, times, bytes that are no UTF-8, and what is left of an event that is too large."""
    data, chunks = case
    expected = with_data(fed(SseDecoder(limit).feed, [data]))
    assert with_data(await through_httpx(chunks, limit)) == expected


async def test_each_event_comes_once_it_is_whole() -> None:
    """Not with the next, wherever the stream was cut."""
    stream = b"id: 1\nretry: 5\ndata: \n\nevent: endpoint\r\ndata: /m\r\n\r\n: keep-alive\n\ndata: 1\ndata: 2\r\r"
    expected = [SseEvent("endpoint", b"/m", "1", None), SseEvent("message", b"1\n2", "1", None)]
    for chunks in each_cutting(stream):
        events = await through_httpx(chunks, 100)
        assert events[0] == SseEvent("message", None, "1", 5)
        assert with_data(events) == expected


@pytest.mark.parametrize("retry", [b"-1", b"1000000000", b"9" * 5000, b"x"])
async def test_a_time_that_nobody_can_mean(retry: bytes) -> None:
    """It is as if it had not been said."""
    events = await through_httpx([b"retry: " + retry + b"\ndata: 1\n\n"], 10_000)
    assert events == [SseEvent("message", b"1", None, None)]


async def test_an_endless_event_costs_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 20 MB in a line, or in many, httpx-sse gets what an event may hold."""
    most = 0
    pieces = HttpxEvents._pieces

    async def weighed(events: HttpxEvents) -> AsyncIterator[bytes]:
        nonlocal most
        passed = 0
        async for piece in pieces(events):
            passed += len(piece)
            yield piece
            most, passed = max(most, passed), 0 if piece.endswith(b"\n\n") else passed

    monkeypatch.setattr(HttpxEvents, "_pieces", weighed)
    answer = json.dumps({"jsonrpc": "2.0", "id": 7, "result": "x" * 1000}).encode()
    for line in (b"x" * 200_000, b"data: " + answer + b"\n"):
        chunks = [b"data: " + answer[:-2], *[line] * 100, answer[-2:] + b"\n\ndata: 1\n\n"]
        event, after = await through_httpx(chunks, 20_000)
        assert isinstance(event.data, Oversized)
        assert event.data.start[:60] == answer[:60]
        assert after.data == b"1"
        assert most <= 30_000
