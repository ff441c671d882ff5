"""The reader of a child's pipe: every byte once and in order, none while it is paused, and an end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections.abc import Iterator, Sequence
from typing import IO

import pytest

from relay.endpoints.child.pipe_reader import READ_SIZE, PipeReader
from relay.endpoints.core.byte_stream import FrameReader
from relay.frames.frame import Frame
from relay.limits import Limits

SIZES = (10, 40_000, 100_000, 3, 3 * READ_SIZE, 17_000, 16_000)


@pytest.fixture
def pipe() -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """Both ends of a pipe."""
    reading, writing = map(os.fdopen, os.pipe(), ("rb", "wb"), (0, 0))
    with reading, writing:
        yield reading, writing


def written(sizes: Sequence[int]) -> list[bytes]:
    """Make frames that differ."""
    return [b'{"id":%d,"fill":"%b"}' % (number, bytes([97 + number]) * size) for number, size in enumerate(sizes)]


async def received(reader: FrameReader) -> list[bytes]:
    frames: list[Frame] = []
    async with asyncio.timeout(10):
        while more := await reader.inbox.receive():
            frames += more
    return [frame.raw for frame in frames]


def write_all(end: IO[bytes], data: bytes, size: int) -> None:
    with end:
        for start in range(0, len(data), size):
            end.write(data[start : start + size])


@pytest.mark.parametrize("size", [7_000, 50_000, 10**7])
async def test_frames_of_all_sizes_come_as_they_were_written(pipe: tuple[IO[bytes], IO[bytes]], size: int) -> None:
    """Small and large reads, frames cut in two, several in one read, and a last line that has no end."""
    reading, writing = pipe
    frames = written(SIZES * 4)
    reader = FrameReader("child", Limits())
    transport = PipeReader(reading, reader)
    writer = threading.Thread(target=write_all, args=(writing, b"\n".join(frames), size))
    writer.start()
    assert await received(reader) == frames
    writer.join()
    await asyncio.sleep(0)
    assert transport.is_closing()
    assert reading.closed


async def test_nothing_is_read_while_it_is_paused(pipe: tuple[IO[bytes], IO[bytes]]) -> None:
    """What comes stays in the pipe; twice paused or resumed is as good as once."""
    reading, writing = pipe
    reader = FrameReader("child", Limits())
    transport = PipeReader(reading, reader)
    transport.pause_reading()
    transport.pause_reading()
    writing.write(b'{"id":1}\n')
    await asyncio.sleep(0.05)
    assert not reader.inbox.waiting_bytes
    transport.resume_reading()
    transport.resume_reading()
    async with asyncio.timeout(10):
        assert [frame.raw for frame in await reader.inbox.receive()] == [b'{"id":1}']
    transport.close()
    transport.close()
    transport.resume_reading()
    assert await received(reader) == []
    assert reading.closed


async def test_a_receiver_that_is_slow_holds_its_child_back(pipe: tuple[IO[bytes], IO[bytes]]) -> None:
    """One read beyond the high mark, and what the pipe itself holds."""
    reading, writing = pipe
    os.set_blocking(writing.fileno(), False)
    reader = FrameReader("child", Limits(buffer_high=100_000, buffer_low=10_000))
    transport = PipeReader(reading, reader)
    line = b'{"fill":"' + b"x" * 990 + b'"}\n'
    quiet = sent = 0
    while quiet < 20:
        taken = 0
        with contextlib.suppress(BlockingIOError):
            taken = os.write(writing.fileno(), line * 4) // len(line)
        sent += taken
        quiet = 0 if taken else quiet + 1
        await asyncio.sleep(0.005)
    assert reader.inbox.is_paused
    assert 100_000 < sent * len(line) < 100_000 + 3 * READ_SIZE
    transport.close()
    await asyncio.sleep(0)


def test_threads_do_not_share_a_buffer() -> None:
    """A read lets other threads go on while it fills the buffer."""
    buffers: list[int] = []

    async def read() -> None:
        with contextlib.ExitStack() as stack:
            reading, writing = (
                stack.enter_context(os.fdopen(end, mode, 0)) for end, mode in zip(os.pipe(), ("rb", "wb"), strict=True)
            )
            reader = FrameReader("child", Limits())
            transport = PipeReader(reading, reader)
            writing.write(b"{}\n" * 10_000)
            async with asyncio.timeout(10):
                assert len(await reader.inbox.receive()) == 10_000
            buffers.append(id(transport._buffer))
            transport.close()
            await asyncio.sleep(0)
            both.wait(10)  # else the second could have the memory of the first

    both = threading.Barrier(2)
    threads = [threading.Thread(target=lambda: asyncio.run(read())) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(buffers)) == 2
