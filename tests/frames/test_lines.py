"""LineBuffer and LineSplitter: any chunking gives the same lines; what is too long costs no memory."""

from __future__ import annotations

import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.frames.frame import Frame
from relay.frames.lines import LineBuffer, Oversized
from relay.frames.ndjson import LineSplitter, encode_lines
from relay.frames.sse import encode_event
from tests.frames.chunking import cuttings, each_cutting, fed

Seen = list[bytes | tuple[bytes, bytes, int]]

LINES = st.lists(
    st.sampled_from([b"a", b"bb", b"\n", b"\r", b"\r\n", b"\xc3\xa4", b"x" * 9, b"{}", b" "]), max_size=30
).map(b"".join)


def plain(pieces: list[bytes | Oversized] | list[Frame | Oversized]) -> Seen:
    """Make frames and oversized lines comparable."""
    seen: Seen = []
    for piece in pieces:
        if isinstance(piece, Oversized):
            seen.append((piece.start, piece.end, piece.size))
        else:
            seen.append(piece.raw if isinstance(piece, Frame) else piece)
    return seen


def buffered(chunks: list[bytes], limit: int = 8) -> Seen:
    """Return what a LineBuffer makes of these chunks, its unfinished line last."""
    buffer = LineBuffer(limit)
    seen = plain(fed(buffer.feed, chunks))
    rest = buffer.finish()
    return seen if rest is None else seen + plain([rest])


def split(chunks: list[bytes], limit: int = 8) -> Seen:
    """Return what a LineSplitter makes of these chunks and the end of the stream."""
    splitter = LineSplitter(limit)
    seen = plain(fed(splitter.feed, chunks))
    return seen + plain(splitter.finish())


@given(cuttings(LINES))
def test_a_buffer_that_is_used_again_gives_the_same_lines(case: tuple[bytes, list[bytes]]) -> None:
    """Of each read only its own bytes count, and none of it is looked at once the next read has come."""
    data, chunks = case
    buffer = bytearray(len(data) + 1)
    lines = LineBuffer(8)
    splitter = LineSplitter(8)
    seen, framed = [], []
    for chunk in chunks:
        buffer[:] = b"\n" * len(buffer)
        buffer[: len(chunk)] = chunk
        seen += lines.feed(buffer, len(chunk))
        framed += splitter.feed(buffer, len(chunk))
    buffer[:] = b"!" * len(buffer)
    rest = lines.finish()
    assert plain(seen if rest is None else [*seen, rest]) == buffered(chunks)
    assert plain(framed + splitter.finish()) == split(chunks)


@given(cuttings(LINES))
def test_any_chunking_gives_the_same_lines(case: tuple[bytes, list[bytes]]) -> None:
    """However the transport cut the stream, the lines are those of bytes.split."""
    data, chunks = case
    *lines, rest = data.split(b"\n")
    expected = [line if len(line) <= 8 else (line, line, len(line)) for line in lines]
    if rest:
        expected.append(rest if len(rest) <= 8 else (rest, rest, len(rest)))
    assert buffered(chunks) == expected


@given(cuttings(LINES))
def test_any_chunking_gives_the_same_frames(case: tuple[bytes, list[bytes]]) -> None:
    """However the transport cut the stream, the frames are those of the whole."""
    data, chunks = case
    assert split(chunks) == split([data])


@pytest.mark.parametrize(
    ("data", "frames"),
    [
        (b"", []),
        (b"\n", []),
        (b"{}\n", [b"{}"]),
        (b"{}", [b"{}"]),
        (b"{}\r\n[]\r\n", [b"{}", b"[]"]),
        (b"{}\n\n\r\n[]\n", [b"{}", b"[]"]),
        (b"\xef\xbb\xbf{}\n", [b"{}"]),
        (b"{}\n\xef\xbb\xbf{}\n", [b"{}", b"{}"]),
        (b"\n\xef\xbb\xbf{}\n\xef\xbb\xbf\r\n", [b"{}"]),
        (b"\xef\xbb\xbf\xef\xbb\xbf{}\n \xef\xbb\xbf\n", [b"\xef\xbb\xbf{}", b" \xef\xbb\xbf"]),
        ('"\u2028ä"\n'.encode(), ['"\u2028ä"'.encode()]),
        (b"a\rb\n", [b"a\rb"]),
        (b"12345678\n", [b"12345678"]),
        (b"123456789\n[]\n", [(b"123456789", b"123456789", 9), b"[]"]),
        (b"1\n123456789\n2\n", [b"1", (b"123456789", b"123456789", 9), b"2"]),
        (b"123456789", [(b"123456789", b"123456789", 9)]),
    ],
)
def test_frames_of_a_stream(data: bytes, frames: Seen) -> None:
    """Empty lines are no frames, CRLF ends as LF does, one BOM may open a line."""
    for chunks in each_cutting(data):
        assert split(chunks) == frames


def test_pending_counts_the_unfinished_line() -> None:
    """What is pending is what came since the last newline, kept or not."""
    splitter = LineSplitter(4)
    for data, pending in ((b"ab", 2), (b"c", 3), (b"defgh", 8), (b"\n", 0), (b"1\n2", 1)):
        splitter.feed(data)
        assert splitter.pending == pending


def test_an_oversized_line_keeps_its_ends_only() -> None:
    """64 MiB without a newline leave 2 x 4 KiB, and less than 1 MiB is ever held."""
    buffer = LineBuffer(64 * 1024)
    piece = bytes(64 * 1024)
    tracemalloc.start()
    try:
        buffer.feed(b"start" + piece)
        for _ in range(1024):
            assert buffer.feed(piece) == []
        (line,) = buffer.feed(b"end\n")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(line, Oversized)
    assert line.size == 5 + 1025 * 64 * 1024 + 3
    assert (len(line.start), line.start[:6], len(line.end), line.end[-4:]) == (4096, b"start\0", 4096, b"\0end")
    assert peak < 2**20


def test_a_line_at_the_limit_passes_in_one_piece_or_many() -> None:
    """The limit is the longest line that passes, one more does not; the next line is read as if nothing had been."""
    for size, passes in ((4999, True), (5000, True), (5001, False)):
        for step in (1, 7, 4096, 10_000):
            data = b"x" * size + b"\nnext\n"
            chunks = [data[at : at + step] for at in range(0, len(data), step)]
            first, second = buffered(chunks, 5000)
            assert (first == b"x" * size) is passes
            assert passes or first == (b"x" * 4096, b"x" * 4096, size)
            assert second == b"next"


@given(st.lists(st.binary(min_size=1).filter(lambda raw: b"\n" not in raw and b"\r" not in raw), max_size=5))
def test_lines_come_back_as_they_were_written(raws: list[bytes]) -> None:
    """What encode_lines writes, a LineSplitter reads."""
    wanted = [raw.removeprefix(b"\xef\xbb\xbf") for raw in raws]
    assert split([encode_lines(map(Frame, raws))], 10_000) == [raw for raw in wanted if raw]


def test_a_frame_with_newlines_is_written_on_one_line() -> None:
    """Pretty-printed JSON, as HTTP may carry it, becomes one line (X-02)."""
    assert encode_lines([Frame(b'{\r\n  "id": 1\n}'), Frame(b"{}")]) == b'{    "id": 1 }\n{}\n'


@given(
    st.lists(st.sampled_from([b"\n", b"\r\n", b"\r", b"{}", b'{"a":1}\n', b"x\r\n", b" "]), max_size=30),
    st.integers(0, 60),
)
def test_blank_lines_skipped_in_a_run_change_nothing(parts: list[bytes], cut: int) -> None:
    """However many there are, and wherever the stream was cut: the same frames."""
    stream = b"".join(parts)
    expected = [line.removesuffix(b"\r") for line in (stream + b"\n").split(b"\n")]
    splitter = LineSplitter(1000)
    pieces = splitter.feed(stream[:cut]) + splitter.feed(stream[cut:]) + splitter.finish()
    assert [piece.raw for piece in pieces if isinstance(piece, Frame)] == [line for line in expected if line]


@pytest.mark.parametrize("cut", [0, 2, 3, 4097, 10_003, 10_004, 19_000])
def test_very_many_blank_lines_are_skipped(cut: int) -> None:
    """To match each takes 10 ns, and their sender's neighbours wait for 16 MiB of them."""
    stream = b"{}\n" + b"\r\n" * 5000 + b"\n" * 9000 + b"\r\n{}\n"
    splitter = LineSplitter(1000)
    pieces = splitter.feed(stream[:cut]) + splitter.feed(stream[cut:])
    assert [piece.raw for piece in pieces if isinstance(piece, Frame)] == [b"{}", b"{}"]


def test_an_event_of_a_large_line_is_one_copy() -> None:
    """A second would be held for as long as a client takes to read the first."""
    line = b"x" * 2**20
    tracemalloc.start()
    encode_event(line, event_id=b"1-1")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.2 * len(line)
