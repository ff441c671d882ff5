"""The pipe over pairs in memory; each law also runs with a and b swapped."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from relay.endpoints.base import Endpoint
from relay.endpoints.core.memory import MemoryEndpoint, memory_pair
from relay.errors import EndpointBroken, RelayError
from relay.frames.frame import Frame
from relay.limits import Limits
from relay.observe.hub import Hub
from relay.pipe import Observer, PipeReport, pipe

QUICK = Limits(linger=0.2, close_grace=0.2)


def frame(number: int, size: int = 0) -> Frame:
    """Make one frame, to which no answer is due."""
    return Frame(b'{"n":%d,"method":"x","p":"%s"}' % (number, b"x" * size))


async def take(source: Endpoint, count: int) -> list[bytes]:
    """Receive so many frames, or to the end."""
    raws: list[bytes] = []
    while len(raws) < count and (batch := await source.receive()):
        raws += [received.raw for received in batch]
    return raws


@dataclass
class Recorder:
    """An endpoint that passes everything on and remembers how it was closed."""

    inner: MemoryEndpoint
    name: str = "recorder"
    reasons: list[RelayError | None] = field(default_factory=list)
    receive_fails: RelayError | None = None
    send_fails: RelayError | None = None
    ignores_close: bool = False

    async def receive(self) -> Sequence[Frame]:
        if self.receive_fails is not None:
            raise self.receive_fails
        return await self.inner.receive()

    def call_at_end(self, callback: Callable[[], None]) -> None:
        self.inner.call_at_end(callback)

    async def send(self, frames: Sequence[Frame]) -> None:
        if self.send_fails is not None:
            raise self.send_fails
        await self.inner.send(frames)

    async def send_eof(self) -> None:
        await self.inner.send_eof()

    async def aclose(self, reason: RelayError | None = None) -> None:
        self.reasons.append(reason)
        if not self.ignores_close:
            await self.inner.aclose(reason)


class Rig:
    """Two peers joined by a pipe: what ``left`` sends, ``right`` receives; swapped, left is at the pipe's b."""

    def __init__(self, *, swapped: bool, limits: Limits = QUICK) -> None:
        self.left, left_inner = memory_pair(limits=limits)
        self.right, right_inner = memory_pair(limits=limits)
        self.near_left, self.near_right = Recorder(left_inner, "left"), Recorder(right_inner, "right")
        self.swapped = swapped
        self.limits = limits

    async def run(self, observer: Observer | None = None, hub: Hub | None = None) -> PipeReport:
        """Run the pipe."""
        a, b = (self.near_right, self.near_left) if self.swapped else (self.near_left, self.near_right)
        return await pipe(a, b, limits=self.limits, observer=observer, hub=hub)

    def figures(self, report: PipeReport) -> tuple[int, int, int, int]:
        """Return frames and bytes to the right, frames and bytes to the left."""
        forward = (report.frames_a_to_b, report.bytes_a_to_b)
        backward = (report.frames_b_to_a, report.bytes_b_to_a)
        return (*backward, *forward) if self.swapped else (*forward, *backward)

    def first(self, report: PipeReport) -> str:
        """Return who finished first, left or right."""
        assert report.finished_first is not None
        return {"a": "left", "b": "right"}[report.finished_first] if not self.swapped else {
            "a": "right", "b": "left"
        }[report.finished_first]  # fmt: skip


class Watcher(Observer):
    """An observer that remembers."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, list[bytes]]] = []

    def frames_forwarded(self, source: Endpoint, sink: Endpoint, frames: Sequence[Frame]) -> None:
        """Note what goes from whom to whom."""
        self.seen.append((source.name, sink.name, [one.raw for one in frames]))


@pytest.fixture(params=[False, True], ids=["straight", "swapped"])
def swapped(request: pytest.FixtureRequest) -> bool:
    """Run the test with a and b in both places."""
    return bool(request.param)


async def test_frames_cross_in_order_and_are_counted(swapped: bool) -> None:
    """Both ways at once; the report has frames and bytes of each way."""
    rig = Rig(swapped=swapped)
    frames = [frame(number, number) for number in range(100)]
    async with asyncio.TaskGroup() as group:
        running = group.create_task(rig.run())
        to_right, to_left = group.create_task(take(rig.right, 100)), group.create_task(take(rig.left, 30))
        for one in frames:
            await rig.left.send([one])
        await rig.right.send(frames[:30])
        await asyncio.wait([to_right, to_left])
        await rig.left.send_eof()
        await rig.right.send_eof()
    raws = [one.raw for one in frames]
    assert (to_right.result(), to_left.result()) == (raws, raws[:30])
    report = running.result()
    assert rig.figures(report) == (100, sum(map(len, raws)), 30, sum(map(len, raws[:30])))
    assert report.failure is None
    assert rig.near_left.reasons == rig.near_right.reasons == [None]


async def test_half_close_lets_late_answers_through(swapped: bool) -> None:
    """After one side's end the other sees it, and may still answer."""
    rig = Rig(swapped=swapped)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(rig.run())
        await rig.left.send([frame(1)])
        await rig.left.send_eof()
        assert await take(rig.right, 9) == [frame(1).raw]
        await asyncio.sleep(0.05)
        await rig.right.send([frame(2)])
        await rig.right.send_eof()
        assert await take(rig.left, 9) == [frame(2).raw]
    report = running.result()
    assert (rig.first(report), report.failure) == ("left", None)
    assert rig.figures(report)[::2] == (1, 1)


async def test_linger_ends(swapped: bool) -> None:
    """A side that goes on after the other has finished is closed after ``linger`` seconds; its last words arrive."""
    rig = Rig(swapped=swapped)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(rig.run())
        began = time.monotonic()
        await rig.left.send_eof()
        await rig.right.send([frame(1)])
        assert await take(rig.left, 9) == [frame(1).raw]
    assert QUICK.linger <= time.monotonic() - began < QUICK.linger + 4
    assert isinstance(rig.near_right.reasons[0], EndpointBroken)
    assert rig.first(running.result()) == "left"
    with pytest.raises(EndpointBroken):
        await rig.right.send([frame(2)])


async def test_a_side_that_ignores_its_close_is_left(swapped: bool) -> None:
    """linger, then close, then ``close_grace``, then the direction is cancelled."""
    rig = Rig(swapped=swapped)
    rig.near_right.ignores_close = True
    began = time.monotonic()
    await rig.left.aclose()
    await rig.run()
    assert 0.4 <= time.monotonic() - began < 5
    await rig.near_right.inner.aclose()


async def test_a_broken_source_closes_the_sink_with_the_reason(swapped: bool) -> None:
    """At once, without linger: the other side's open requests get an error that says why."""
    rig = Rig(swapped=swapped, limits=Limits(linger=30))
    rig.near_left.receive_fails = EndpointBroken("left was killed by SIGKILL")
    began = time.monotonic()
    report = await rig.run()
    assert time.monotonic() - began < 10
    assert rig.first(report) == "left"
    assert report.failure is rig.near_left.receive_fails
    assert set(rig.near_right.reasons) == {rig.near_left.receive_fails}


async def test_a_broken_sink_closes_the_source_with_the_reason(swapped: bool) -> None:
    """What failed to be sent is not counted; who had sent it learns why."""
    rig = Rig(swapped=swapped)
    rig.near_right.send_fails = EndpointBroken("right stopped reading")
    await rig.left.send([frame(1)])
    report = await rig.run()
    assert rig.first(report) == "right"
    assert report.failure is rig.near_right.send_fails
    assert rig.near_left.reasons[-1] is rig.near_right.send_fails
    assert rig.figures(report)[0] == 0


async def test_a_late_failure_is_told(swapped: bool) -> None:
    """One side finishes in order, then the other breaks: the report says so."""
    rig = Rig(swapped=swapped)
    rig.near_right.send_fails = EndpointBroken("late")
    async with asyncio.TaskGroup() as group:
        running = group.create_task(rig.run())
        await rig.right.send_eof()
        await asyncio.sleep(0.05)
        await rig.left.send([frame(1)])
    report = running.result()
    assert rig.first(report) == "right"
    assert report.failure is rig.near_right.send_fails


async def test_cancelling_closes_both(swapped: bool) -> None:
    """The cancellation goes on to whoever cancelled; nothing is left."""
    rig = Rig(swapped=swapped)
    running = asyncio.get_running_loop().create_task(rig.run())
    await rig.left.send([frame(1)])
    assert await take(rig.right, 1) == [frame(1).raw]
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert rig.near_left.reasons == rig.near_right.reasons == [None]
    assert (len(await rig.left.receive()), len(await rig.right.receive())) == (0, 0)


async def test_an_unread_sink_blocks_the_producer(swapped: bool) -> None:
    """Nobody reads: the producer stops within three high marks, goes on when somebody does, and nothing is lost."""
    rig = Rig(swapped=swapped, limits=Limits(buffer_high=10_000, buffer_low=1000, linger=1, close_grace=0.2))
    sent = 0

    async def produce() -> None:
        nonlocal sent
        for number in range(200):
            await rig.left.send([frame(number, 1000)])
            sent += 1
        await rig.left.send_eof()
        await rig.right.send_eof()

    async with asyncio.TaskGroup() as group:
        group.create_task(rig.run())
        group.create_task(produce())
        await asyncio.sleep(0.1)
        assert 10 < sent <= 36
        stopped_at = sent
        await asyncio.sleep(0.05)
        assert sent == stopped_at
        received = await take(rig.right, 200)
    assert received == [frame(number, 1000).raw for number in range(200)]


async def test_a_sink_that_takes_no_more_is_given_up_when_its_source_has_ended(swapped: bool) -> None:
    """The pipe waits in ``send`` and cannot receive; the end is seen all the same, and both sides are closed."""
    rig = Rig(swapped=swapped, limits=Limits(buffer_high=1000, buffer_low=100, linger=0.2, close_grace=0.2))
    async with asyncio.TaskGroup() as group:
        running = group.create_task(rig.run())
        group.create_task(rig.left.send([frame(number, 2000) for number in range(3)]))
        await asyncio.sleep(0)  # let it begin
        await rig.left.send_eof()
    report = running.result()
    assert isinstance(report.failure, EndpointBroken)
    assert "takes no more" in str(report.failure)
    assert rig.near_left.reasons
    assert rig.near_right.reasons


async def test_a_slow_sink_is_not_given_up_while_it_moves(swapped: bool) -> None:
    """The source has ended; the sink takes a batch now and then, for longer than the pipe lingers: nothing is lost."""
    rig = Rig(swapped=swapped, limits=Limits(buffer_high=1000, buffer_low=100, linger=1.2, close_grace=0.2))
    async with asyncio.TaskGroup() as group:
        running = group.create_task(rig.run())
        group.create_task(rig.left.send([frame(number, 100) for number in range(640)]))
        await asyncio.sleep(0)  # let it begin
        await rig.left.send_eof()
        received: list[bytes] = []
        while len(received) < 640:
            await asyncio.sleep(0.3)
            received += [one.raw for one in await rig.right.receive()]
        await rig.right.send_eof()
    assert received == [frame(number, 100).raw for number in range(640)]
    assert running.result().failure is None


async def test_a_bug_in_an_endpoint_is_no_relay_error(swapped: bool) -> None:
    """It comes out, after both sides were closed."""
    rig = Rig(swapped=swapped)
    rig.near_left.receive_fails = ZeroDivisionError()  # type: ignore[assignment]  # the bug
    with pytest.RaisesGroup(ZeroDivisionError):
        await rig.run()
    assert (len(rig.near_left.reasons), len(rig.near_right.reasons)) == (1, 1)


async def test_the_observer_sees_every_batch_before_it_is_sent(swapped: bool) -> None:
    """With names and bytes, each way."""
    rig, watcher = Rig(swapped=swapped), Watcher()
    rig.near_right.send_fails = EndpointBroken("never sent")
    await rig.left.send([frame(1), frame(2)])
    await rig.right.send([frame(3)])
    await rig.run(watcher)
    assert ("left", "right", [frame(1).raw, frame(2).raw]) in watcher.seen
    assert ("right", "left", [frame(3).raw]) in watcher.seen
    assert len(watcher.seen) == 2
