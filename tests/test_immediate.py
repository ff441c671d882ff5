"""Frames that the pipe forwards in the callback obey the same laws as those that its task forwards."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from relay.endpoints.base import Endpoint
from relay.endpoints.core.lazy import Lazy
from relay.endpoints.core.memory import MemoryEndpoint, memory_pair
from relay.errors import EndpointClosed
from relay.frames.frame import Frame
from relay.limits import Limits
from relay.pipe import Observer, pipe

pytestmark = pytest.mark.shortcuts

LIMITS = Limits(linger=0.2, close_grace=0.2, buffer_high=2048, buffer_low=512)


def frame(number: int) -> Frame:
    """Make one frame, to which no answer is due."""
    return Frame(b'{"jsonrpc":"2.0","n":%d,"method":"x","params":{"of":"%b"}}' % (number, b"x" * (number % 97)))


class Moody(MemoryEndpoint):
    """An end that takes frames at once only when it likes to, and remembers how often it did."""

    moods = random.Random(7)
    taken = 0

    def send_at_once(self, frames: Sequence[Frame]) -> bool:
        """Decline every third time or so."""
        is_taken = self.moods.random() < 0.7 and super().send_at_once(frames)
        self.taken += is_taken
        return is_taken


@asynccontextmanager
async def piped(near: MemoryEndpoint, far: Endpoint, observer: Observer | None = None) -> AsyncIterator[None]:
    """Run a pipe that waits for its first frame, until the block is left."""
    async with asyncio.TaskGroup() as group:
        running = group.create_task(pipe(near, far, limits=LIMITS, observer=observer))
        for _ in range(5):
            await asyncio.sleep(0)
        try:
            yield
        finally:
            running.cancel()


async def test_a_frame_that_is_alone_needs_no_turn_of_the_loop() -> None:
    """It is with the receiver when ``send_at_once`` returns; the next, which comes too soon, goes through the task."""
    left, near = memory_pair(limits=LIMITS)
    far, right = memory_pair(limits=LIMITS)
    async with piped(near, far):
        assert left.send_at_once([frame(1)])
        assert right._inbox.waiting_bytes == len(frame(1).raw)
        assert left.send_at_once([frame(2)])
        received = [one.raw for one in await right.receive()]
        while len(received) < 2:
            received += [one.raw for one in await right.receive()]
        assert received == [frame(1).raw, frame(2).raw]


async def test_through_an_endpoint_that_is_made_when_it_is_used() -> None:
    """Its first frame makes it; from then on it is asked."""
    left, near = memory_pair(limits=LIMITS)
    far, right = memory_pair(limits=LIMITS)

    async def make() -> Endpoint:
        return far

    async with piped(near, Lazy("far", make)):
        await left.send([frame(1)])
        assert [one.raw for one in await right.receive()] == [frame(1).raw]
        await asyncio.sleep(0.01)
        assert left.send_at_once([frame(2)])
        assert right._inbox.waiting_bytes == len(frame(2).raw)
        assert [one.raw for one in await right.receive()] == [frame(2).raw]
        assert right.send_at_once([frame(3)])
        assert left._inbox.waiting_bytes == len(frame(3).raw)


@pytest.mark.parametrize("seed", range(4))
async def test_order_is_kept_whichever_way_frames_go(seed: int) -> None:
    """Senders that wait and that do not, a sink with moods, a receiver that pauses: each frame once, in order."""
    chance = random.Random(seed)
    left, near = memory_pair(limits=LIMITS)
    far, right = memory_pair(limits=LIMITS)
    far.__class__ = Moody
    received: list[bytes] = []

    async def take() -> None:
        while len(received) < 2000:
            received.extend(one.raw for one in await right.receive())
            if chance.random() < 0.05:
                await asyncio.sleep(0.001)

    async with piped(near, far):
        async with asyncio.TaskGroup() as group:
            group.create_task(take())
            number = 0
            while number < 2000:
                batch = [frame(n) for n in range(number, min(number + chance.choice((1, 1, 1, 2, 70)), 2000))]
                if not (chance.random() < 0.8 and left.send_at_once(batch)):
                    await left.send(batch)
                number += len(batch)
                if chance.random() < 0.3:
                    await asyncio.sleep(0.0001 if chance.random() < 0.5 else 0)
    assert received == [frame(n).raw for n in range(2000)]
    assert isinstance(far, Moody)
    assert far.taken


async def test_what_is_not_taken_waits_for_room() -> None:
    """An unread receiver stops the sender at the high mark, as ever."""
    left, near = memory_pair(limits=LIMITS)
    far, right = memory_pair(limits=LIMITS)
    async with piped(near, far):
        sent = 0
        while left.send_at_once([frame(sent)]):
            sent += 1
            await asyncio.sleep(0.0002)
            assert sent < 1000, "nothing ever stopped it"
        received = 0
        while received < sent:
            received += len(await right.receive())
        assert received == sent


async def test_an_answer_within_the_request_waits_for_its_turn() -> None:
    """A source may not be ready for an answer before it has handed the request over."""
    left, near = memory_pair(limits=LIMITS)
    far, right = memory_pair(limits=LIMITS)

    class Prompt(MemoryEndpoint):
        def send_at_once(self, frames: Sequence[Frame]) -> bool:
            right.send_at_once(frames)
            assert not left._inbox.waiting_bytes, "the answer was there before the request had gone"
            return True

    far.__class__ = Prompt
    async with piped(near, far):
        assert left.send_at_once([frame(1)])
        assert [one.raw for one in await left.receive()] == [frame(1).raw]


async def test_the_observer_is_told_and_frames_are_counted() -> None:
    """As through the task: nobody who looks on can tell the difference."""
    left, near = memory_pair(limits=LIMITS)
    far, right = memory_pair(limits=LIMITS)
    seen: list[bytes] = []

    class Watcher(Observer):
        def frames_forwarded(self, source: Endpoint, sink: Endpoint, frames: Sequence[Frame]) -> None:
            assert (source, sink) == (near, far)
            seen.extend(one.raw for one in frames)

    async with asyncio.TaskGroup() as group:
        running = group.create_task(pipe(near, far, limits=LIMITS, observer=Watcher()))
        for _ in range(5):
            await asyncio.sleep(0)
        left.send_at_once([frame(1)])
        assert seen == [frame(1).raw]
        await left.send_eof()
        await right.send_eof()
    report = running.result()
    assert (report.frames_a_to_b, report.bytes_a_to_b) == (1, len(frame(1).raw))


async def test_the_observer_sees_each_frame_once_and_before_it_is_sent() -> None:
    """Also one that is declined, and comes again through the task."""
    left, near = memory_pair(limits=LIMITS)
    far, right = memory_pair(limits=LIMITS)
    far.__class__ = Moody
    seen: list[bytes] = []
    received: list[bytes] = []

    class Watcher(Observer):
        def frames_forwarded(self, source: Endpoint, sink: Endpoint, frames: Sequence[Frame]) -> None:
            assert right._inbox.waiting_bytes == 0, "nothing is there before it was seen"
            seen.extend(one.raw for one in frames)

    async with piped(near, far, Watcher()):
        for number in range(100):
            left.send_at_once([frame(number)])
            received += [one.raw for one in await right.receive()]
            await asyncio.sleep(0.002)  # alone again
    assert isinstance(far, Moody)
    assert 0 < far.taken < 100, "some were declined, and some not"
    assert seen == received == [frame(number).raw for number in range(100)]


async def test_a_bug_of_the_sink_ends_the_pipe_and_not_the_reader_of_the_source() -> None:
    """Whoever reads for the source goes on; the pipe ends as it does when ``send`` has a bug."""
    left, near = memory_pair(limits=LIMITS)
    far, _ = memory_pair(limits=LIMITS)

    class Faulty(MemoryEndpoint):
        def send_at_once(self, frames: Sequence[Frame]) -> bool:
            raise ZeroDivisionError

    far.__class__ = Faulty
    with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
        async with asyncio.TaskGroup() as group:
            group.create_task(pipe(near, far, limits=LIMITS))
            for _ in range(5):
                await asyncio.sleep(0)
            left.send_at_once([frame(1)])
    with pytest.raises(EndpointClosed):
        await near.send([frame(2)])
