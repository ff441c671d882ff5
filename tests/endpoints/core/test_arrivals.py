"""Arriving bodies of strangers: which wait, which continue, which give way, and the most bytes held."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from dataclasses import replace

import pytest

from relay.endpoints.core import arrivals
from relay.endpoints.core.arrivals import STEP, Arrival, Arrivals
from relay.limits import Limits
from tests.e2e.fault_server import Script
from tests.e2e.oracle import request
from tests.endpoints.http.house import answer, house
from tests.endpoints.http.through.test_pass_through import hop_to

CAPACITY = 4 * STEP
FRAME = 64 * STEP
LIMITS = Limits(
    arrival_bytes=CAPACITY, max_stranger_bytes=STEP, max_frame_bytes=FRAME, arrival_patience=0.05, arrival_turn=0.05
)


class Sender:
    """Sends a body piece by piece, as far as it is read."""

    def __init__(self, arrivals: Arrivals, size: int | None, *, until: int, on_growth: Callable[[], None]) -> None:
        self._room = asyncio.Event()
        self.until = until
        self._on_growth = on_growth
        self.is_refused = False
        self.arrival: Arrival = arrivals.begin(size)
        self.arrival.on_room = self._room.set
        self.arrival.on_refused = self._refused

    def _refused(self) -> None:
        self.is_refused = True
        self._room.set()

    async def send(self) -> bool:
        """Send up to where it stops; return whether it came so far."""
        while self.arrival.held < self.until and not self.is_refused:
            self._room.clear()
            if not self.arrival.grow(min(STEP, self.until - self.arrival.held)) and not self.is_refused:
                await self._room.wait()
            self._on_growth()
            await asyncio.sleep(0)
        if self.arrival.held == self.arrival.size:
            self.arrival.end()
        return not self.is_refused


class Scene:
    """Senders, and the most that they held."""

    def __init__(self, limits: Limits = LIMITS) -> None:
        self.arrivals = Arrivals(limits)
        self.most = 0

    def sender(self, size: int | None, *, until: int | None = None) -> Sender:
        assert size is not None or until is not None
        return Sender(self.arrivals, size, until=until or size or 0, on_growth=self._note)

    def _note(self) -> None:
        self.most = max(self.most, self.arrivals.held)


async def test_who_announces_and_does_not_send_holds_up_nobody() -> None:
    """A thousand bodies of the largest size with one byte each: the next one is read without a wait."""
    scene = Scene()
    for _ in range(1000):
        assert scene.sender(FRAME, until=1).arrival.grow(1)
    honest = scene.sender(CAPACITY - 1000)
    assert honest.arrival.grow(STEP)
    assert await honest.send()


@pytest.mark.parametrize("size", [FRAME, None], ids=["length known", "chunked"])
async def test_those_who_keep_the_end_back_hold_one_frame_at_the_most(size: int | None) -> None:
    """However many they are: one after the other goes beyond the room, stands still and gives way."""
    scene = Scene()
    holders = [scene.sender(size, until=FRAME - 1) for _ in range(12)]
    async with asyncio.timeout(40):
        sent = await asyncio.gather(*(holder.send() for holder in holders))
    assert any(sent)
    assert scene.most <= FRAME + 2 * CAPACITY + 24 * STEP
    assert sum(holder.is_refused for holder in holders) >= 10


async def test_one_with_little_to_come_goes_before_those_with_much() -> None:
    """Though the room is full of bodies that are being sent, and more of them wait."""
    scene = Scene()
    async with asyncio.TaskGroup() as group:
        large = [scene.sender(FRAME) for _ in range(3)]
        sending = [group.create_task(one.send()) for one in large]
        while scene.arrivals.held <= CAPACITY:
            await asyncio.sleep(0)
        assert await scene.sender(2 * STEP).send()
        assert not any(task.done() for task in sending)
    assert all(task.result() for task in sending), "those that are sent to their end all pass"
    assert scene.arrivals.held == 0


async def test_handshakes_do_not_wait_for_uploads() -> None:
    """Small bodies have a room of their own."""
    scene = Scene()
    assert not scene.sender(FRAME, until=CAPACITY + 1).arrival.grow(CAPACITY + 1)
    small = scene.sender(STEP // 2)
    assert small.arrival.grow(1)
    assert await small.send()


async def test_a_body_of_unknown_size_is_small_at_its_beginning_only() -> None:
    """It may be a handshake; what has more than a read of it competes with uploads, and they with it."""
    scene = Scene(replace(LIMITS, max_stranger_bytes=CAPACITY))
    assert not scene.sender(FRAME, until=CAPACITY + 1).arrival.grow(CAPACITY + 1)
    unknown = scene.sender(None, until=2 * STEP)
    assert unknown.arrival.grow(STEP)
    assert not unknown.arrival.grow(1)
    assert scene.sender(CAPACITY).arrival.grow(STEP), "and small bodies have all of their room"


async def test_no_more_go_on_than_there_is_room_for() -> None:
    """Each may read on for a while before it is counted again."""
    scene = Scene(replace(LIMITS, arrival_bytes=32 * STEP, max_frame_bytes=FRAME))
    first = scene.sender(FRAME, until=FRAME)
    assert not first.arrival.grow(33 * STEP)
    waiting = [scene.sender(FRAME, until=FRAME) for _ in range(8)]
    gone_on: list[Sender] = []
    for one in waiting:
        one.arrival.on_room = functools.partial(gone_on.append, one)
        assert not one.arrival.grow(1)
    first.arrival.end()
    await asyncio.sleep(0)
    assert 1 <= len(gone_on) < len(waiting)


async def test_one_that_stands_still_is_left_alone_while_nobody_waits() -> None:
    """A slow client loses nothing by being slow."""
    scene = Scene()
    slow = scene.sender(FRAME, until=CAPACITY)
    assert await slow.send()
    await asyncio.sleep(3 * LIMITS.arrival_patience)
    assert await scene.sender(STEP).send(), "small"
    assert not slow.is_refused


async def test_one_that_pauses_loses_its_turn_and_not_its_place() -> None:
    """As a phone does, or whoever has lost a packet: others go on meanwhile, then it does."""
    scene = Scene(replace(LIMITS, arrival_patience=60))
    pausing = scene.sender(CAPACITY, until=CAPACITY - STEP)
    assert await pausing.send()
    async with asyncio.timeout(20):
        assert await scene.sender(CAPACITY).send()
        pausing.until = CAPACITY
        assert await pausing.send()
    assert scene.arrivals.held == 0


async def test_those_that_pause_hold_twice_the_room_at_the_most() -> None:
    """Each holds little and has much patience left: the room is no larger for all of them."""
    scene = Scene(replace(LIMITS, arrival_patience=60))
    pausing = [scene.sender(CAPACITY, until=CAPACITY - STEP) for _ in range(12)]
    async with asyncio.timeout(40):
        sent = await asyncio.gather(*(one.send() for one in pausing))
    assert any(sent)
    assert scene.most <= 3 * CAPACITY + 12 * STEP, "and one body, and what is read before a body waits"
    assert any(one.is_refused for one in pausing)


async def test_a_body_waits_while_its_server_takes_no_more_and_others_do_not() -> None:
    """The room is not for one server alone."""
    scene = Scene()
    takes = False
    stuck = scene.arrivals.begin(FRAME, lambda: takes)
    room = asyncio.Event()
    stuck.on_room = room.set
    assert not stuck.grow(STEP)
    assert await scene.sender(CAPACITY - STEP).send()
    assert not room.is_set()
    takes = True
    async with asyncio.timeout(5):
        await room.wait()


async def test_the_most_waiting_give_way() -> None:
    """Each has bytes in the buffers of its connection that are not counted: they may not be any number."""
    scene = Scene()
    assert not scene.sender(FRAME, until=CAPACITY + 1).arrival.grow(CAPACITY + 1)
    waiting = [scene.sender(FRAME - number, until=FRAME) for number in range(600)]
    for one in waiting:
        assert not one.arrival.grow(1)
    async with asyncio.timeout(5):
        while not any(one.is_refused for one in waiting):
            await asyncio.sleep(0.01)
    assert sum(one.is_refused for one in waiting) >= 600 - 512
    assert not waiting[-1].is_refused, "the one with the least to come"


def test_where_others_wait_little_is_read_at_a_time() -> None:
    """What its connection holds beside that is not counted: of twelve it may not be as much as of one."""
    arrivals = Arrivals(LIMITS)
    alone = arrivals.begin(FRAME)
    assert alone.step > STEP
    other = arrivals.begin(FRAME)
    assert alone.step == other.step == STEP
    other.end()
    assert alone.step > STEP
    alone.end()
    few = [arrivals.begin(CAPACITY // 3) for _ in range(3)]
    assert all(one.step > STEP for one in few), "there is room for all of them"
    arrivals.begin(CAPACITY // 3)
    assert all(one.step == STEP for one in few)


@pytest.fixture
def no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no body go on because time has passed."""
    monkeypatch.setattr(arrivals, "_PERIOD", 3600)


@pytest.mark.usefixtures("no_timer")
async def test_bodies_that_wait_go_on_as_soon_as_there_is_room() -> None:
    """Eight uploads of 1 MB at a time: to look for room every 20 ms made 48 requests a second of 550."""
    scene = Scene()
    async with asyncio.timeout(10):
        assert all(await asyncio.gather(*(scene.sender(2 * CAPACITY).send() for _ in range(8))))
    assert scene.arrivals.held == 0


@pytest.mark.usefixtures("no_timer")
async def test_a_body_goes_on_as_soon_as_its_server_takes_more() -> None:
    """Whoever knows that a server takes more says so."""
    scene = Scene()
    takes = False
    stuck = scene.arrivals.begin(FRAME, lambda: takes)
    room = asyncio.Event()
    stuck.on_room = room.set
    assert not stuck.grow(STEP)
    takes = True
    scene.arrivals.look_again()
    async with asyncio.timeout(10):
        await room.wait()


@pytest.mark.usefixtures("no_timer")
async def test_large_bodies_of_a_session_follow_each_other_without_a_wait() -> None:
    """Each waits until the server has taken the one before."""
    calls = [request(number, "tools/call", fill="x" * 600_000) for number in range(6)]
    async with house() as opened, asyncio.timeout(20), asyncio.TaskGroup() as group:
        first, server = await opened.begin()
        clients = [opened.client() for _ in calls]
        for client in clients:
            client.session = first.session
        posting = [group.create_task(client.post(call)) for client, call in zip(clients, calls, strict=True)]
        seen = 0
        while seen < len(calls):
            for frame in await server.receive():
                seen += 1
                await server.send([answer(frame.head.id)])
        for task in posting:
            assert await (await task).body()


@pytest.mark.usefixtures("no_timer")
async def test_large_bodies_follow_each_other_to_another_server() -> None:
    """HTTP to HTTP: no more is read than one frame beyond what the server takes."""
    limits = Limits(close_grace=0.5, max_frame_bytes=400_000)
    async with hop_to(Script(), limits=limits) as (opened, _), asyncio.timeout(20), asyncio.TaskGroup() as group:
        calls = [request(number, "tools/call", fill="x" * 300_000) for number in range(6)]
        for task in [group.create_task(opened.client().post(call)) for call in calls]:
            assert (await task).status == 200
