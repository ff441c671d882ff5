"""An arriving message takes only its own size in memory, however small its pieces and lines are."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator

import httpx
import pytest

from relay.endpoints.http.client.httpx_events import HttpxEvents
from relay.frames.lines import LineBuffer
from relay.frames.ndjson import LineSplitter
from relay.frames.sse import SseDecoder

SIZE = 2**18
CHUNK = 1024
SHORT_LINES = b"data:x\n" * (SIZE // 7)
EMPTY_LINES = b"data\n" * (SIZE // 5)
ONE_LINE = b"data: " + b"x" * SIZE + b"\n"


def cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def fed(feed: Callable[[bytes], object], data: bytes, size: int, end: bytes) -> None:
    for piece in cut(data, size):
        feed(piece)
    assert feed(end)


def from_buffer() -> Callable[[bytes], object]:
    """Return what takes pieces as a pipe's reader hands them on, in one buffer."""
    lines, buffer = LineBuffer(2 * SIZE), bytearray(CHUNK)

    def feed(piece: bytes) -> object:
        buffer[: len(piece)] = piece
        return lines.feed(buffer, len(piece))

    return feed


DECODERS: dict[str, tuple[Callable[[], Callable[[bytes], object]], bytes, int, bytes]] = {
    "a line": (lambda: LineBuffer(2 * SIZE).feed, b"x" * SIZE, CHUNK, b"\n"),
    "a line in small pieces": (lambda: LineBuffer(2 * SIZE).feed, b"x" * SIZE, 10, b"\n"),
    "a line out of a buffer": (from_buffer, b"x" * SIZE, CHUNK, b"\n"),
    "a frame in small pieces": (lambda: LineSplitter(2 * SIZE).feed, b"x" * SIZE, 10, b"\n"),
    "a line too long": (lambda: LineBuffer(SIZE // 2).feed, b"x" * SIZE, 10, b"\n"),
    "an event of short lines": (lambda: SseDecoder(2 * SIZE).feed, SHORT_LINES, CHUNK, b"\n\n"),
    "an event of empty lines": (lambda: SseDecoder(2 * SIZE).feed, EMPTY_LINES, CHUNK, b"\n\n"),
    "an event too large": (lambda: SseDecoder(SIZE // 20).feed, SHORT_LINES, CHUNK, b"\n\n"),
    "an event in small pieces": (lambda: SseDecoder(2 * SIZE).feed, ONE_LINE, 10, b"\n\n"),
}


@pytest.mark.parametrize("name", DECODERS)
def test_decoders_hold_what_they_were_fed(name: str) -> None:
    """A list of pieces or of lines holds an object for each: 4 to 40 times the bytes."""
    make, data, size, end = DECODERS[name]
    feed = make()
    fed(make(), data[: 4 * CHUNK], size, end)  # what the first use of a module allocates is not counted
    tracemalloc.start()
    try:
        fed(feed, data, size, end)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The data of an event is cut from behind the name of its field: one copy.
    assert most < (2.4 if data is ONE_LINE else 1.4) * SIZE, f"{most / SIZE:.1f} times its size"


@pytest.mark.parametrize("data", [SHORT_LINES, EMPTY_LINES], ids=["short lines", "empty lines"])
async def test_httpx_sse_is_given_no_more_lines_than_it_needs(data: bytes) -> None:
    """It keeps each as an object: 17 times the bytes. The event comes as from our own decoder."""
    (expected,) = SseDecoder(2 * SIZE).feed(data + b"\n")

    async def chunks() -> AsyncIterator[bytes]:
        for piece in cut(data + b"\n", CHUNK):
            yield piece

    tracemalloc.start()
    try:
        events = [event async for event in HttpxEvents(chunks(), 2 * SIZE, httpx)]
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert events == [expected]
    assert most < 4 * SIZE, f"{most / SIZE:.1f} times its size"
