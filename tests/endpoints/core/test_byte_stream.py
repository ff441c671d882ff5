"""The common parts of endpoints: the inbox, the task scope, and both halves of a byte stream."""

from __future__ import annotations

import asyncio
import logging
import os

import pytest

from relay.endpoints.core import byte_stream
from relay.endpoints.core.byte_stream import FrameReader, FrameWriter
from relay.endpoints.core.inbox import FrameInbox
from relay.endpoints.core.tasks import TaskScope
from relay.errors import EndpointBroken, EndpointClosed
from relay.frames.frame import Frame
from relay.limits import Limits
from tests.clock import Clock

SMALL = Limits(max_frame_bytes=50, buffer_high=100, buffer_low=10)


def frame(size: int) -> Frame:
    """Make a frame of so many bytes."""
    return Frame(b"x" * size)


async def test_the_inbox_pauses_above_its_mark_and_resumes_when_taken() -> None:
    """At the mark it does not, one byte above it does, once; taking what is there resumes, once."""
    calls: list[str] = []
    inbox = FrameInbox("i", SMALL, pause=lambda: calls.append("pause"), resume=lambda: calls.append("resume"))
    inbox.put([])
    inbox.put([frame(60), frame(40)])
    assert (inbox.waiting_bytes, inbox.is_paused, calls) == (100, False, [])
    inbox.put([frame(1)])
    inbox.put([frame(50)])
    assert (inbox.waiting_bytes, inbox.is_paused, calls) == (151, True, ["pause"])
    assert len(await inbox.receive()) == 4
    assert (inbox.waiting_bytes, inbox.is_paused, calls) == (0, False, ["pause", "resume"])


async def test_those_who_wait_for_room_go_on_together() -> None:
    """When somebody receives, and when it ends."""
    inbox = FrameInbox("i", SMALL)
    await inbox.wait_for_room()
    for ends_by_finishing in (False, True):
        inbox.put([frame(101)])
        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(inbox.wait_for_room()) for _ in range(3)]
            await asyncio.sleep(0)
            assert not any(task.done() for task in waiting)
            if ends_by_finishing:
                inbox.finish()
            else:
                await inbox.receive()
    await inbox.wait_for_room()


async def test_a_failure_comes_after_the_frames_and_stays() -> None:
    """The first end counts; what comes after it is dropped."""
    inbox = FrameInbox("i", SMALL)
    inbox.put([frame(1)])
    inbox.finish(EndpointBroken("first"))
    inbox.finish()
    inbox.put([frame(2)])
    assert len(await inbox.receive()) == 1
    for _ in range(2):
        with pytest.raises(EndpointBroken, match="first"):
            await inbox.receive()
    assert inbox.is_finished


async def test_a_task_scope_ends_its_tasks(caplog: pytest.LogCaptureFixture) -> None:
    """Cancelled and awaited; a late one is cancelled at once; a bug is logged with the task's name."""
    scope = TaskScope()

    async def fail() -> None:
        raise ZeroDivisionError

    async def close_from_inside() -> None:
        await scope.aclose()

    with caplog.at_level(logging.ERROR):
        scope.spawn(fail(), name="the buggy one")
        scope.spawn(asyncio.sleep(0), name="quick")
        await scope.join()
    assert "the buggy one: unexpected ZeroDivisionError" in caplog.text
    sleeping = scope.spawn(asyncio.sleep(60), name="slow")
    closing = scope.spawn(close_from_inside(), name="closes its own scope")
    await asyncio.wait([sleeping, closing])
    assert sleeping.cancelled()
    late = scope.spawn(asyncio.sleep(60), name="late")
    await asyncio.wait([late])
    assert (late.cancelled(), len(scope)) == (True, 0)


async def test_a_reader_without_a_transport_is_fed_all_the_same() -> None:
    """Frames, a last line without newline, the end; broken with what is there and the reason."""
    reader = FrameReader("r", SMALL)
    reader.data_received(b"{}\n" + b"x" * 51 + b"\n[]\n1")
    reader.pause()
    reader.resume()
    assert reader.eof_received() is True
    assert [one.raw for one in await reader.inbox.receive()] == [b"{}", b"[]", b"1"]
    assert len(await reader.inbox.receive()) == 0
    broken = FrameReader("r", SMALL)
    broken.data_received(b"{}\nhalf")
    broken.connection_lost(OSError("reset"))
    assert [one.raw for one in await broken.inbox.receive()] == [b"{}"]
    with pytest.raises(EndpointBroken, match="r: reset"):
        await broken.inbox.receive()
    lost = FrameReader("r", SMALL)
    lost.data_received(b"{}")
    lost.connection_lost(None)
    assert [one.raw for one in await lost.inbox.receive()] == [b"{}"]


async def test_a_writer_tells_closed_from_broken() -> None:
    """After our end it is EndpointClosed; after theirs EndpointBroken; before it is attached a small frame is lost."""
    writer = FrameWriter("w", SMALL)
    writer.write_soon(frame(1))
    writer.send_eof()
    with pytest.raises(EndpointClosed, match="w: send after its end"):
        await writer.send([frame(1)])
    writer.abort()
    broken = FrameWriter("w", SMALL)
    broken.connection_lost(None)
    with pytest.raises(EndpointBroken, match="w: the peer stopped reading"):
        await broken.send([frame(1)])
    assert broken.lost.is_set()


async def test_a_writer_flushes_before_its_end() -> None:
    """What was sent goes out, then the transport closes."""
    reading, writing = os.pipe()
    writer = FrameWriter("w", SMALL)
    await asyncio.get_running_loop().connect_write_pipe(lambda: writer, os.fdopen(writing, "wb", buffering=0))
    await writer.send([frame(20), Frame(b"1\n2")])
    writer.write_soon(Frame(b"3"))
    writer.send_eof()
    writer.send_eof()
    await writer.lost.wait()
    writer.abort()
    assert os.read(reading, 1000) == b"x" * 20 + b"\n1 2\n3\n"
    assert os.read(reading, 1) == b""
    os.close(reading)


class Noting(asyncio.WriteTransport):
    """A transport that notes each write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    abort = close

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Set by hand the clock by which writers know a burst."""
    clock = Clock()
    monkeypatch.setattr(byte_stream, "monotonic", clock)
    return clock


def noting() -> tuple[FrameWriter, Noting]:
    writer, transport = FrameWriter("w", SMALL), Noting()
    writer.attach(transport)
    return writer, transport


async def test_frames_sent_at_once_in_a_burst_go_together(clock: Clock) -> None:
    """The first is written; those that come right behind it are, in one piece, in the loop's next turn."""
    writer, transport = noting()
    for number in range(1, 4):
        assert writer.send_at_once([frame(number)])
    assert transport.writes == [b"x\n"]
    await asyncio.sleep(0)
    assert transport.writes == [b"x\n", b"xx\nxxx\n"]
    clock.now += 60e-6
    assert writer.send_at_once([frame(5)])
    assert transport.writes[2:] == [b"x" * 5 + b"\n"]


@pytest.mark.parametrize("then", ["send", "write_soon", "send_eof"])
@pytest.mark.usefixtures("clock")
async def test_nothing_overtakes_what_was_gathered(then: str) -> None:
    """Whatever is written next, or the end, comes after it; a connection that was lost has no use for it."""
    writer, transport = noting()
    writer.send_at_once([frame(1)])
    writer.send_at_once([frame(2)])
    if then == "send":
        await writer.send([frame(3)])
    elif then == "write_soon":
        writer.write_soon(frame(3))
    else:
        writer.send_eof()
        assert transport.is_closed
    assert b"".join(transport.writes).startswith(b"x\nxx\n" if then == "send_eof" else b"x\nxx\nxxx\n")
    written = list(transport.writes)
    await asyncio.sleep(0)
    assert transport.writes == written, "nothing twice"
    lost, gone = noting()
    lost.send_at_once([frame(1)])
    lost.send_at_once([frame(2)])
    gone.close()
    lost.connection_lost(None)
    await asyncio.sleep(0)
    assert gone.writes == [b"x\n"]


@pytest.mark.usefixtures("clock")
async def test_what_is_gathered_is_bounded() -> None:
    """Beyond the high mark frames are left to who can wait."""
    writer, transport = noting()
    size, taken = 40, 0
    while writer.send_at_once([frame(size)]):
        taken += 1
        assert taken < 10_000
    assert taken * size <= SMALL.buffer_high + 2 * size + size
    await writer.send([frame(1)])
    assert b"".join(transport.writes) == (b"x" * size + b"\n") * taken + b"x\n"
