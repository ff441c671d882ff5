"""A message takes only its own size in memory, however small its pieces and lines are, and whoever it is for."""

from __future__ import annotations

import asyncio
import contextlib
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator

import httpx
import pytest

from relay.endpoints.core.byte_stream import FrameWriter
from relay.endpoints.http.client.httpx_events import HttpxEvents
from relay.endpoints.http.client.piecewise import PiecewiseBody
from relay.endpoints.http.server.stream import EventStream
from relay.frames.frame import Frame
from relay.frames.ids import with_id, with_number
from relay.frames.lines import LineBuffer
from relay.frames.ndjson import LineSplitter
from relay.frames.sse import SseDecoder
from relay.limits import DEFAULT_LIMITS

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


LARGE = 5 * 2**20  # bytes; smaller frames are copied
REQUEST = Frame(
    b'{"jsonrpc":"2.0","id":1,"method":"m","params":{"_meta":{"progressToken":2},"x":"%b"}}' % (b"x" * LARGE)
)
ANSWER = Frame(b'{"jsonrpc":"2.0","id":1,"result":"%b"}' % (b"x" * LARGE))
SPACED = Frame(b'{"jsonrpc":"2.0","id":1,"params":[%b1]}' % (b"\n" * LARGE))


@contextlib.contextmanager
def copies_nothing_large() -> Iterator[None]:
    """Fail if the block needs as much memory as a quarter of a large frame."""
    tracemalloc.start()
    try:
        yield
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < LARGE / 4, f"{most / LARGE:.1f} times the frame"


class Slow(asyncio.WriteTransport):
    """A transport that sends nothing until it is told to, and keeps what it is given."""

    def __init__(self, writer: FrameWriter) -> None:
        super().__init__()
        self._writer = writer
        self._high = 0
        self.unsent = 0
        self.ends: tuple[bytes, bytes] = (b"", b"")
        self.size = 0
        self.blanks = 0
        self.is_closed = False
        writer.attach(self)

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.unsent += len(data)
        self.size += len(data)
        self.blanks += bytes(data).count(b" ")
        self.ends = (self.ends[0] or bytes(data[:20]), (self.ends[1] + bytes(data[-20:]))[-20:])
        if self.unsent > self._high:
            self._writer.pause_writing()

    def send(self) -> None:
        """Send all there is."""
        self.unsent = 0
        self._writer.resume_writing()

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    abort = close

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._high = high or 0


@pytest.mark.parametrize("frame", [REQUEST, ANSWER, SPACED], ids=["request", "answer", "with line ends"])
async def test_a_large_frame_is_written_as_fast_as_it_is_read(frame: Frame) -> None:
    """A transport copies what it cannot send at once: the whole frame, on asyncio's loop three times."""
    writer = FrameWriter("w", DEFAULT_LIMITS)
    transport = Slow(writer)
    with copies_nothing_large():
        async with asyncio.TaskGroup() as group:
            sending = group.create_task(writer.send([frame]))
            await asyncio.sleep(0)
            while not sending.done():
                assert 0 < transport.unsent < LARGE / 4
                transport.send()
                await asyncio.sleep(0)
    assert transport.size == frame.size + 1
    assert transport.ends[0] == frame.raw[:20]
    assert transport.ends[1] == Frame(frame.raw[-19:]).line + b"\n"
    assert transport.blanks == frame.raw.count(b"\n")


async def test_a_large_frame_under_another_id_is_written_without_a_copy() -> None:
    """In the callback that brought it."""
    writer = FrameWriter("w", DEFAULT_LIMITS)
    transport = Slow(writer)
    assert REQUEST.head.id == 1
    with copies_nothing_large():
        assert writer.send_at_once([with_number(REQUEST, 12345)])
        while transport.unsent:
            transport.send()
    assert transport.size == REQUEST.size + 8 + 1


@pytest.mark.parametrize("then", ["send", "write_soon", "send_eof"])
async def test_nothing_comes_into_the_middle_of_a_large_frame(then: str) -> None:
    """What is written meanwhile comes after it, and the end after both."""
    writer = FrameWriter("w", DEFAULT_LIMITS)
    transport = Slow(writer)
    assert writer.send_at_once([REQUEST])
    assert transport.size < REQUEST.size
    assert not writer.can_send
    async with asyncio.TaskGroup() as group:
        if then == "send":
            group.create_task(writer.send([Frame(b"late")]))
            await asyncio.sleep(0)
        else:
            writer.write_soon(Frame(b"late"))
        if then == "send_eof":
            writer.send_eof()
            assert transport.is_closed
        while transport.unsent and not transport.is_closed:
            transport.send()
            await asyncio.sleep(0)
    assert transport.size == REQUEST.size + 1 + 5
    assert transport.ends[1].endswith(REQUEST.raw[-3:] + b"\nlate\n")


async def test_a_large_frame_for_a_peer_that_is_gone_is_let_go_of() -> None:
    writer = FrameWriter("w", DEFAULT_LIMITS)
    transport = Slow(writer)
    writer.send_at_once([REQUEST])
    written = transport.size
    transport.close()
    writer.connection_lost(None)
    transport.send()
    assert transport.size == written


def test_a_large_frame_under_another_id_is_no_copy() -> None:
    assert REQUEST.head.token == 2
    assert ANSWER.head.id == 1
    with copies_nothing_large():
        outward, home = with_number(REQUEST, 12345), with_id(ANSWER, "me")
        assert outward.size == REQUEST.size + 8
        assert (outward.head.id, outward.head.token, home.head.id) == (12345, 12345, "me")
        assert sum(map(len, outward.parts)) == outward.size
    assert outward.raw == REQUEST.raw.replace(b'"id":1', b'"id":12345').replace(b'Token":2', b'Token":12345')
    assert home.raw == ANSWER.raw.replace(b'"id":1', b'"id":"me"')
    assert home.parts == (home.raw,)
    with pytest.raises(AttributeError, match="colour"):
        home.colour  # type: ignore[attr-defined] # noqa: B018


async def test_a_large_event_is_written_in_pieces() -> None:
    stream = EventStream(1, DEFAULT_LIMITS, has_ids=True)
    sizes: list[int] = []

    async def write(data: bytes | memoryview) -> None:
        sizes.append(len(data))

    line = ANSWER.line
    with copies_nothing_large():
        stream.await_reader()
        stream.push(line)
        stream.end()
        await stream.feed(write)
    assert sum(sizes) == len(b"event: message\nid: 1-1\ndata: \n\n") + len(line)
    assert max(sizes) < LARGE / 4


async def test_a_large_body_of_a_request_is_written_in_pieces() -> None:
    """More than once, for a login may want it again."""

    class Writer:
        async def write(self, data: bytes | memoryview) -> None:
            sizes.append(len(data))

    with copies_nothing_large():
        body = PiecewiseBody(ANSWER.raw)
        assert body.size == ANSWER.size
        for _ in range(2):
            sizes: list[int] = []
            await body.write_with_length(Writer(), None)  # type: ignore[arg-type]
            assert sum(sizes) == ANSWER.size
