"""One suite that every endpoint passes: ``await check_endpoint(make_pair)``.

A pair is an endpoint and whatever drives its peer: ``far`` sees what the endpoint sends and says what it receives, as
if it were the program at the other end. Capabilities say which laws a transport can show; none relaxes a law.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

import pytest

from relay.endpoints.base import Endpoint
from relay.endpoints.inbox import FrameInbox
from relay.errors import EndpointBusy, EndpointClosed, RelayError
from relay.frames.frame import Frame
from relay.limits import Limits

__all__ = ["CHECK_LIMITS", "Capabilities", "Far", "Pair", "check_endpoint", "far_of", "joined"]

CHECK_LIMITS = Limits(max_frame_bytes=2 * 2**20, close_grace=0.5, linger=1, stall=5)


class Far(Protocol):
    """The peer, in the hands of the test."""

    async def receive(self) -> Sequence[Frame]:
        """Return what the endpoint has sent since the last call; ``()`` once it has said that no more will come."""

    async def send(self, frames: Sequence[Frame]) -> None:
        """Say something to the endpoint; waits while it does not take it."""

    async def send_eof(self) -> None:
        """Say that no more will come."""

    async def vanish(self) -> None:
        """Go without a word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a transport can show."""

    reads: bool = True
    """The endpoint receives what far sends."""
    writes: bool = True
    """Far receives what the endpoint sends."""
    half_close: bool = True
    """``send_eof`` reaches the peer, and the peer may still answer."""
    blocks_sender: bool = True
    """A peer that does not read holds ``send`` back (a regular file never does)."""
    vanishing_breaks: bool = False
    """A peer that goes without a word is known to have failed: ``receive`` raises instead of ``()``."""
    most_buffered: int = 4 * 2**20
    """Bytes beyond which ``send`` must have been held back: ours, the kernel's, the peer's."""
    bounds_frames: bool = True
    """A frame beyond the limit is seen and dropped (in memory nothing is framed)."""


@dataclass(slots=True)
class Pair:
    """An endpoint and its peer."""

    near: Endpoint
    far: Far


Law = Callable[["Pair", Capabilities], Awaitable[None]]
MakePair = Callable[[Limits], AbstractAsyncContextManager[Pair]]


@dataclass(slots=True)
class far_of:  # a function in spirit: makes a Far of an Endpoint
    """Drive the peer through an endpoint at the other end."""

    endpoint: Endpoint
    on_vanish: Callable[[], None] | None = field(default=None)

    async def receive(self) -> Sequence[Frame]:
        """As the endpoint's."""
        return await self.endpoint.receive()

    async def send(self, frames: Sequence[Frame]) -> None:
        """As the endpoint's."""
        await self.endpoint.send(frames)

    async def send_eof(self) -> None:
        """As the endpoint's."""
        await self.endpoint.send_eof()

    async def vanish(self) -> None:
        """Close it, or do what the test says."""
        if self.on_vanish is not None:
            self.on_vanish()
        else:
            await self.endpoint.aclose()


def numbered(count: int, size: int = 0) -> list[Frame]:
    """Make requests 0, 1, … with so many bytes of padding."""
    return [request(number, size) for number in range(count)]


def request(number: int, size: int = 0) -> Frame:
    """Make one request with so many bytes of padding."""
    return Frame(b'{"jsonrpc":"2.0","id":%d,"method":"x","params":{"p":"%s"}}' % (number, b"x" * size))


def of_size(number: int, size: int) -> Frame:
    """Make a request of exactly so many bytes."""
    return request(number, size - len(request(number).raw))


async def take(source: Endpoint | Far, count: int) -> list[Frame]:
    """Receive until so many frames have come, or the end."""
    frames: list[Frame] = []
    while len(frames) < count and (batch := await source.receive()):
        frames += batch
    return frames


def raws(frames: Sequence[Frame]) -> list[bytes]:
    """Return the bytes of frames."""
    return [frame.raw for frame in frames]


async def check_endpoint(make_pair: MakePair, capabilities: Capabilities | None = None) -> None:
    """Run every law that the transport can show, each with a pair of its own."""
    can = capabilities or Capabilities()
    for law, needed in _laws(can):
        if not needed:
            continue
        try:
            async with asyncio.timeout(15), make_pair(CHECK_LIMITS) as pair:
                await law(pair, can)
                await pair.near.aclose()
                await pair.near.aclose()
        except BaseException as exc:
            exc.add_note(f"check_endpoint: {law.__name__}")
            raise


def _laws(can: Capabilities) -> list[tuple[Law, bool]]:
    return [
        (order_is_kept_inwards, can.reads),
        (order_is_kept_outwards, can.writes),
        (large_frames_pass_inwards, can.reads),
        (large_frames_pass_outwards, can.writes),
        (a_frame_beyond_the_limit_ends_only_itself, can.reads and can.bounds_frames),
        (the_end_has_no_frames, can.reads),
        (late_answers_pass_a_half_closed_endpoint, can.reads and can.writes and can.half_close),
        (a_second_receiver_is_refused, can.reads),
        (an_unread_sink_blocks_the_sender, can.writes and can.blocks_sender),
        (a_slow_receiver_loses_nothing, can.reads),
        (cancelling_receive_loses_nothing, can.reads),
        (cancelling_send_leaves_it_closeable, can.writes and can.blocks_sender),
        (closing_ends_it, True),
        (received_frames_survive_the_close, can.reads),
        (a_vanished_peer_is_the_end, can.reads),
        (a_vanished_peer_does_not_hold_a_sender, can.writes and can.blocks_sender),
    ]  # fmt: skip


async def order_is_kept_inwards(pair: Pair, can: Capabilities) -> None:
    """A thousand frames in batches of any size arrive in order, none twice."""
    frames = numbered(1000)
    async with asyncio.TaskGroup() as group:
        receiving = group.create_task(take(pair.near, 1000))
        for begin in range(0, 1000, 70):
            await pair.far.send(frames[begin : begin + 70])
    assert raws(receiving.result()) == raws(frames)


async def order_is_kept_outwards(pair: Pair, can: Capabilities) -> None:
    """A thousand frames in batches of any size reach the peer in order, none twice."""
    frames = numbered(1000)
    async with asyncio.TaskGroup() as group:
        receiving = group.create_task(take(pair.far, 1000))
        for begin in range(0, 1000, 70):
            await pair.near.send(frames[begin : begin + 70])
        if not can.blocks_sender:  # a file is read when it is complete
            await pair.near.send_eof()
    assert raws(receiving.result()) == raws(frames)


async def large_frames_pass_inwards(pair: Pair, can: Capabilities) -> None:
    """One of 1 MiB and one at the limit, with small ones around them."""
    frames = [request(1), of_size(2, 2**20), request(3), of_size(4, CHECK_LIMITS.max_frame_bytes), request(5)]
    async with asyncio.TaskGroup() as group:
        receiving = group.create_task(take(pair.near, 5))
        await pair.far.send(frames)
    assert raws(receiving.result()) == raws(frames)


async def large_frames_pass_outwards(pair: Pair, can: Capabilities) -> None:
    """The same, the other way."""
    frames = [request(1), of_size(2, 2**20), request(3), of_size(4, CHECK_LIMITS.max_frame_bytes), request(5)]
    async with asyncio.TaskGroup() as group:
        receiving = group.create_task(take(pair.far, 5))
        await pair.near.send(frames)
        if not can.blocks_sender:
            await pair.near.send_eof()
    assert raws(receiving.result()) == raws(frames)


async def a_frame_beyond_the_limit_ends_only_itself(pair: Pair, can: Capabilities) -> None:
    """One byte more than the limit: dropped by whichever side sees it, and what follows arrives."""
    frames = [request(1), of_size(2, CHECK_LIMITS.max_frame_bytes + 1), request(3)]
    async with asyncio.TaskGroup() as group:
        receiving = group.create_task(take(pair.near, 2))
        await pair.far.send(frames)
    assert [frame.head.id for frame in receiving.result()] == [1, 3]


async def the_end_has_no_frames(pair: Pair, can: Capabilities) -> None:
    """After the last frame comes ``()``, and again, however often one asks."""
    await pair.far.send([request(1)])
    await pair.far.send_eof()
    assert raws(await take(pair.near, 9)) == [request(1).raw]
    assert [len(await pair.near.receive()) for _ in range(3)] == [0, 0, 0]


async def late_answers_pass_a_half_closed_endpoint(pair: Pair, can: Capabilities) -> None:
    """After ``send_eof`` the peer sees the end, may still answer, and ``send`` is refused."""
    await pair.near.send([request(1)])
    await pair.near.send_eof()
    assert raws(await take(pair.far, 9)) == [request(1).raw]
    answer = Frame(b'{"jsonrpc":"2.0","id":1,"result":{}}')
    await pair.far.send([answer])
    assert raws(await take(pair.near, 1)) == [answer.raw]
    with pytest.raises(EndpointClosed):
        await pair.near.send([request(3)])
    await pair.far.send_eof()
    assert len(await pair.near.receive()) == 0


async def a_second_receiver_is_refused(pair: Pair, can: Capabilities) -> None:
    """EndpointBusy for the second; the first is not disturbed."""
    async with asyncio.TaskGroup() as group:
        receiving = group.create_task(take(pair.near, 1))
        await asyncio.sleep(0)
        with pytest.raises(EndpointBusy):
            await pair.near.receive()
        await pair.far.send([request(1)])
    assert raws(receiving.result()) == [request(1).raw]


async def an_unread_sink_blocks_the_sender(pair: Pair, can: Capabilities) -> None:
    """A peer that does not read stops ``send`` within bounded bytes; when it reads on, nothing is missing."""
    frame_size, sent = 64 * 1024, 0
    frames = [of_size(number, frame_size) for number in range(can.most_buffered // frame_size + 40)]

    async def produce() -> None:
        nonlocal sent
        for frame in frames:
            await pair.near.send([frame])
            sent += 1

    async with asyncio.TaskGroup() as group:
        producing = group.create_task(produce())
        before = -1
        while before != sent or sent == 0:  # until nothing has moved for a while
            before = sent
            await asyncio.sleep(0.15)
        assert not producing.done(), f"{sent} frames of {frame_size} bytes were accepted unread"
        assert sent * frame_size <= can.most_buffered
        received = await take(pair.far, len(frames))
    assert raws(received) == raws(frames)


async def a_slow_receiver_loses_nothing(pair: Pair, can: Capabilities) -> None:
    """What comes while nobody receives waits, and all of it arrives when somebody does."""
    frames = [of_size(number, 32 * 1024) for number in range(100)]
    async with asyncio.TaskGroup() as group:
        group.create_task(pair.far.send(frames))
        received: list[Frame] = []
        while len(received) < len(frames):
            await asyncio.sleep(0.005)
            received += await pair.near.receive()
    assert raws(received) == raws(frames)


async def cancelling_receive_loses_nothing(pair: Pair, can: Capabilities) -> None:
    """However often a receiver gives up, also just when a frame comes, the next one gets everything."""
    frames, received = numbered(50), list[Frame]()
    for frame in frames:
        async with asyncio.TaskGroup() as group:
            receiving = group.create_task(pair.near.receive())
            await asyncio.sleep(0)
            await pair.far.send([frame])
            if frame.head.id in range(0, 50, 3):
                await asyncio.sleep(0.001)
            receiving.cancel()
        if not receiving.cancelled():
            received += receiving.result()
    while len(received) < len(frames):
        received += await pair.near.receive()
    assert raws(received) == raws(frames)


async def cancelling_send_leaves_it_closeable(pair: Pair, can: Capabilities) -> None:
    """A sender that was held back and gave up: the endpoint can be closed, in bounded time."""
    big = of_size(1, 2**20)

    async def produce() -> None:
        while True:
            await pair.near.send([big])

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(0.3):
            await produce()
    async with asyncio.timeout(5 * CHECK_LIMITS.close_grace):
        await pair.near.aclose()


async def closing_ends_it(pair: Pair, can: Capabilities) -> None:
    """A waiting receiver gets ``()``, a sender EndpointClosed; closing is bounded, and twice is no harm."""
    async with asyncio.TaskGroup() as group:
        receiving = group.create_task(pair.near.receive())
        await asyncio.sleep(0.01)
        async with asyncio.timeout(5 * CHECK_LIMITS.close_grace):
            await pair.near.aclose()
            await pair.near.aclose()
    assert len(receiving.result()) == 0
    assert len(await pair.near.receive()) == 0
    with pytest.raises(EndpointClosed):
        await pair.near.send([request(1)])


async def received_frames_survive_the_close(pair: Pair, can: Capabilities) -> None:
    """What had come before ``aclose`` can still be taken, then ``()``."""
    await pair.far.send([request(0)])
    assert raws(await take(pair.near, 1)) == [request(0).raw]
    await pair.far.send([request(1), request(2)])
    await _until(lambda: _waiting_bytes(pair.near) > 0)
    await pair.near.aclose()
    had_come = _waiting_bytes(pair.near)
    assert sum(map(len, raws(await take(pair.near, 9)))) == had_come
    assert len(await pair.near.receive()) == 0


async def a_vanished_peer_is_the_end(pair: Pair, can: Capabilities) -> None:
    """What it had said is received, then the end: ``()``, or the failure where the transport tells one."""
    await pair.far.send([request(1)])
    assert raws(await take(pair.near, 1)) == [request(1).raw]
    await pair.far.vanish()
    if can.vanishing_breaks:
        with pytest.raises(RelayError):
            await pair.near.receive()
    else:
        assert len(await pair.near.receive()) == 0


async def a_vanished_peer_does_not_hold_a_sender(pair: Pair, can: Capabilities) -> None:
    """A sender that was held back by a peer that goes is told of it."""

    async def produce() -> None:
        while True:
            await pair.near.send([of_size(1, 2**20)])

    async with asyncio.TaskGroup() as group:
        producing = group.create_task(_ends_with_a_relay_error(produce()))
        await asyncio.sleep(0.2)
        assert not producing.done()
        await pair.far.vanish()


async def _ends_with_a_relay_error(work: Awaitable[None]) -> None:
    with pytest.raises(RelayError):
        await work


def _waiting_bytes(endpoint: Endpoint) -> int:
    """Look into an endpoint's inbox: how much has come and was not taken yet."""
    inbox = (
        getattr(endpoint, "_inbox", None)
        or getattr(endpoint, "inbox", None)
        or getattr(getattr(endpoint, "_reader", None), "inbox", None)
    )
    assert isinstance(inbox, FrameInbox), "every endpoint has one"
    return inbox.waiting_bytes


async def _until(condition: Callable[[], bool], seconds: float = 2.0) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not condition():  # what it looks at has no event
                await asyncio.sleep(0.002)


@contextlib.asynccontextmanager
async def joined(near: Endpoint, far: Far) -> AsyncIterator[Pair]:
    """Make a pair of two endpoints that need only be closed."""
    try:
        yield Pair(near, far)
    finally:
        await near.aclose()
        await far.vanish()
