"""What a pipe's observer sees, and that it cannot harm the pipe."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

import pytest

from relay.endpoints.base import Endpoint
from relay.errors import EndpointBroken, EndpointClosed, RelayError
from relay.frames.frame import Frame
from relay.observe.hub import Hub
from relay.pipe import Observer, PipeReport
from tests.test_pipe import Rig, frame, take


@pytest.fixture(params=[False, True], ids=["straight", "swapped"])
def swapped(request: pytest.FixtureRequest) -> bool:
    """Run the test with a and b in both places."""
    return bool(request.param)


class Diary(Observer):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.reasons: dict[str, RelayError | None] = {}
        self.report: PipeReport | None = None

    def pipe_started(self, a: Endpoint, b: Endpoint) -> None:
        self.told.append(f"started {'+'.join(sorted((a.name, b.name)))}")

    def frames_forwarded(self, source: Endpoint, sink: Endpoint, frames: Sequence[Frame]) -> None:
        self.told.append(f"{len(frames)} {source.name} > {sink.name}")

    def side_finished(self, side: Endpoint, reason: RelayError | None) -> None:
        self.told.append(f"finished {side.name}")
        self.reasons[side.name] = reason

    def pipe_ended(self, a: Endpoint, b: Endpoint, report: PipeReport) -> None:
        self.told.append("ended")
        self.report = report


async def test_a_life_in_good_order(swapped: bool) -> None:
    """Start, frames, each side's finish without a reason, the end with the report that the caller gets."""
    rig, diary = Rig(swapped=swapped), Diary()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(rig.run(diary))
        await rig.left.send([frame(1), frame(2)])
        assert len(await take(rig.right, 2)) == 2
        await rig.left.send_eof()
        assert await rig.right.receive() == ()
        await rig.right.send([frame(3)])
        await rig.right.send_eof()
        assert len(await take(rig.left, 1)) == 1
    expected = ["started left+right", "2 left > right", "finished left", "1 right > left", "finished right", "ended"]
    assert diary.told == expected
    assert diary.reasons == {"left": None, "right": None}
    assert diary.report is running.result()
    assert rig.figures(running.result()) == (2, 2 * len(frame(1).raw), 1, len(frame(3).raw))


async def test_a_side_that_breaks_is_told_with_its_failure(swapped: bool) -> None:
    """The other was closed by the pipe, and its reason says because of whom."""
    rig, diary = Rig(swapped=swapped), Diary()
    broken = rig.near_left.receive_fails = EndpointBroken("left: gone")
    await rig.run(diary)
    assert diary.told == ["started left+right", "finished left", "finished right", "ended"]
    assert diary.reasons["left"] is broken
    assert isinstance(diary.reasons["right"], EndpointClosed)
    assert "left has ended" in str(diary.reasons["right"])
    assert diary.report is not None
    assert diary.report.failure is broken


async def test_a_side_to_which_nothing_can_be_sent(swapped: bool) -> None:
    """It is that side which broke, whoever was sending."""
    rig, diary = Rig(swapped=swapped), Diary()
    broken = rig.near_right.send_fails = EndpointBroken("right: takes nothing")
    await rig.left.send([frame(1)])
    await rig.run(diary)
    assert diary.reasons["right"] is broken
    assert [one for one in diary.told if one.startswith("finished")] == ["finished right", "finished left"]


async def test_a_pipe_that_is_cancelled_has_an_end(swapped: bool) -> None:
    """Both sides were closed by us; the report counts what had crossed."""
    rig, diary = Rig(swapped=swapped), Diary()
    running = asyncio.get_running_loop().create_task(rig.run(diary))
    await rig.left.send([frame(1)])
    assert len(await take(rig.right, 1)) == 1
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert diary.told[-1] == "ended"
    assert {type(reason) for reason in diary.reasons.values()} == {EndpointClosed}
    assert len(diary.reasons) == 2
    assert diary.report is not None
    assert rig.figures(diary.report)[:2] == (1, len(frame(1).raw))


@pytest.mark.parametrize("method", ["pipe_started", "frames_forwarded", "side_finished", "pipe_ended"])
async def test_an_observer_that_fails_is_told_no_more(method: str, caplog: pytest.LogCaptureFixture) -> None:
    """Wherever it raises: the pipe carries everything, the failure is logged once, and nothing is told after it."""
    diary = Diary()
    calls = 0

    def fail(*_: object) -> None:
        nonlocal calls
        calls += 1
        raise ZeroDivisionError("the observer's own bug")

    setattr(diary, method, fail)
    rig = Rig(swapped=False)
    with caplog.at_level(logging.ERROR, "relay"):
        async with asyncio.TaskGroup() as group:
            running = group.create_task(rig.run(diary))
            for number in range(5):
                await rig.left.send([frame(number)])
                assert await take(rig.right, 1) == [frame(number).raw]
            await rig.left.send_eof()
            await rig.right.send_eof()
    assert running.result().failure is None
    assert running.result().frames_a_to_b == 5
    assert calls == 1
    assert [record.message for record in caplog.records] == [
        "left <-> right: the observer failed; the relay no longer calls it"
    ]
    assert ("ended" in diary.told) is False


async def test_who_comes_late_hears_everything_from_then_on(swapped: bool) -> None:
    """Also of a pipe that runs already; and nothing more once the subscription has ended."""
    rig, hub = Rig(swapped=swapped), Hub()
    heard: list[str] = []
    async with asyncio.TaskGroup() as group:
        group.create_task(rig.run(hub=hub))
        await rig.left.send([frame(1)])
        assert len(await take(rig.right, 1)) == 1
        leave = hub.subscribe("it", frames=lambda *told: heard.extend(one.raw.decode() for one in told[2]))
        await rig.left.send([frame(2)])
        await rig.right.send([frame(3)])
        assert len(await take(rig.right, 1)) == len(await take(rig.left, 1)) == 1
        leave()
        await rig.left.send([frame(4)])
        await rig.left.send_eof()
        await rig.right.send_eof()
    assert sorted(heard) == [frame(2).raw.decode(), frame(3).raw.decode()]
    assert hub.frames is None


async def test_an_observer_hears_its_own_pipe_only(swapped: bool) -> None:
    """Several pipes may share one hub."""
    hub, diary = Hub(), Diary()
    observed, other = Rig(swapped=swapped), Rig(swapped=swapped)
    for rig in (observed, other):
        await rig.left.send([frame(1)])
        await rig.left.send_eof()
        await rig.right.send_eof()
    await asyncio.gather(observed.run(diary, hub), other.run(hub=hub))
    assert sorted(diary.told)[0] == "1 left > right" and len(diary.told) == 5
    assert hub.frames is None, "the observer has left the hub"


async def test_the_hub_hears_the_frames_of_a_pipe(swapped: bool) -> None:
    """By the names of the sides, each way once, beside the pipe's own observer."""
    rig, diary, hub = Rig(swapped=swapped), Diary(), Hub()
    heard: list[str] = []
    hub.subscribe("it", frames=lambda *told: heard.append(f"{len(told[2])} {told[0].name} > {told[1].name}"))
    await rig.left.send([frame(1), frame(2)])
    await rig.left.send_eof()
    await rig.right.send([frame(3)])
    await rig.right.send_eof()
    await rig.run(diary, hub)
    assert sorted(heard) == ["1 right > left", "2 left > right"]
    assert sorted(heard) == sorted(one for one in diary.told if ">" in one)


async def test_a_hub_that_fails_harms_neither_the_pipe_nor_its_observer(caplog: pytest.LogCaptureFixture) -> None:
    """The failure is logged once, and everything is forwarded and observed."""
    rig, diary, hub = Rig(swapped=False), Diary(), Hub()

    def fail(*_: object) -> None:
        raise ZeroDivisionError("the subscriber's own bug")

    hub.subscribe("the tap", frames=fail)
    await rig.left.send([frame(1)])
    await rig.left.send_eof()
    await rig.right.send([frame(2)])
    await rig.right.send_eof()
    with caplog.at_level(logging.ERROR, "relay"):
        report = await rig.run(diary, hub)
    assert (report.frames_a_to_b, report.frames_b_to_a) == (1, 1) and diary.told[-1] == "ended"
    messages = [record.message for record in caplog.records]
    assert messages == ["the tap failed; the relay no longer calls it"]
