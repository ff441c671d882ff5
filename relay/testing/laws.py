"""The laws of an endpoint: functions that take a pair and raise AssertionError if the law does not hold."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence

from relay.endpoints.base import Endpoint
from relay.endpoints.core.inbox import FrameInbox
from relay.errors import EndpointBusy, EndpointClosed, RelayError
from relay.frames.frame import Frame
from relay.testing.pair import CHECK_LIMITS, Capabilities, Pair, numbered, of_size, request, take

__all__ = ["Law", "laws_for"]

Law = Callable[[Pair, Capabilities], Awaitable[None]]


def laws_for(can: Capabilities) -> list[tuple[Law, bool]]:
    """Return every law, and whether a transport that can do this much shows it."""
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
    _same(receiving.result(), frames)


async def order_is_kept_outwards(pair: Pair, can: Capabilities) -> None:
    """A thousand frames in batches of any size reach the peer in order, none twice."""
    frames = numbered(1000)
    async with asyncio.TaskGroup() as group:
        receiving = group.create_task(take(pair.far, 1000))
        for begin in range(0, 1000, 70):
            await pair.near.send(frames[begin : begin + 70])
        if not can.blocks_sender:  # a file is read when it is complete
            await pair.near.send_eof()
    _same(receiving.result(), frames)


async def large_frames_pass_inwards(pair: Pair, can: Capabilities) -> None:
    """A frame of 1 MiB and a frame at the limit, with small frames around them."""
    frames = [request(1), of_size(2, 2**20), request(3), of_size(4, CHECK_LIMITS.max_frame_bytes), request(5)]
    async with asyncio.TaskGroup() as group:
        receiving = group.create_task(take(pair.near, 5))
        await pair.far.send(frames)
    _same(receiving.result(), frames)


async def large_frames_pass_outwards(pair: Pair, can: Capabilities) -> None:
    """The same frames in the other direction."""
    frames = [request(1), of_size(2, 2**20), request(3), of_size(4, CHECK_LIMITS.max_frame_bytes), request(5)]
    async with asyncio.TaskGroup() as group:
        receiving = group.create_task(take(pair.far, 5))
        await pair.near.send(frames)
        if not can.blocks_sender:
            await pair.near.send_eof()
    _same(receiving.result(), frames)


async def a_frame_beyond_the_limit_ends_only_itself(pair: Pair, can: Capabilities) -> None:
    """A frame one byte above the limit is dropped by the side that sees it, and the next frame arrives."""
    frames = [request(1), of_size(2, CHECK_LIMITS.max_frame_bytes + 1), request(3)]
    async with asyncio.TaskGroup() as group:
        receiving = group.create_task(take(pair.near, 2))
        await pair.far.send(frames)
    _hold([frame.head.id for frame in receiving.result()] == [1, 3], "frames 1 and 3 should have come, and no other")


async def the_end_has_no_frames(pair: Pair, can: Capabilities) -> None:
    """After the last frame ``receive`` returns ``()``, and again with each call."""
    await pair.far.send([request(1)])
    await pair.far.send_eof()
    _same(await take(pair.near, 9), [request(1)])
    for _ in range(3):
        _same(await pair.near.receive(), [])


async def late_answers_pass_a_half_closed_endpoint(pair: Pair, can: Capabilities) -> None:
    """After ``send_eof`` the peer sees the end and may still answer, and ``send`` is refused."""
    await pair.near.send([request(1)])
    await pair.near.send_eof()
    _same(await take(pair.far, 9), [request(1)])
    answer = Frame(b'{"jsonrpc":"2.0","id":1,"result":{}}')
    await pair.far.send([answer])
    _same(await take(pair.near, 1), [answer])
    with _raises(EndpointClosed):
        await pair.near.send([request(3)])
    await pair.far.send_eof()
    _same(await pair.near.receive(), [])


async def a_second_receiver_is_refused(pair: Pair, can: Capabilities) -> None:
    """The second receiver gets EndpointBusy; the first receives as before."""
    async with asyncio.TaskGroup() as group:
        receiving = group.create_task(take(pair.near, 1))
        await asyncio.sleep(0)
        with _raises(EndpointBusy):
            await pair.near.receive()
        await pair.far.send([request(1)])
    _same(receiving.result(), [request(1)])


async def an_unread_sink_blocks_the_sender(pair: Pair, can: Capabilities) -> None:
    """A peer that does not read stops ``send`` within bounded bytes; once it reads again, no frame is missing."""
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
        while before != sent or sent == 0:  # until no frame has been sent for a while
            before = sent
            await asyncio.sleep(0.15)
        _hold(not producing.done(), f"{sent} frames of {frame_size} bytes were accepted unread")
        said = f"{sent} frames of {frame_size} bytes were accepted unread; most_buffered is {can.most_buffered}"
        _hold(sent * frame_size <= can.most_buffered, said)
        received = await take(pair.far, len(frames))
    _same(received, frames)


async def a_slow_receiver_loses_nothing(pair: Pair, can: Capabilities) -> None:
    """Frames that come while no task receives are kept, and all arrive once a task does."""
    frames = [of_size(number, 32 * 1024) for number in range(100)]
    async with asyncio.TaskGroup() as group:
        group.create_task(pair.far.send(frames))
        received: list[Frame] = []
        while len(received) < len(frames):
            await asyncio.sleep(0.005)
            received += await pair.near.receive()
    _same(received, frames)


async def cancelling_receive_loses_nothing(pair: Pair, can: Capabilities) -> None:
    """A receiver may be cancelled at any time, even just as a frame comes: the next receiver gets every frame."""
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
    _same(received, frames)


async def cancelling_send_leaves_it_closeable(pair: Pair, can: Capabilities) -> None:
    """After a blocked ``send`` was cancelled, the endpoint closes in bounded time."""
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
    """A waiting receiver gets ``()`` and a sender EndpointClosed. Closing is bounded, and closing twice is harmless."""
    async with asyncio.TaskGroup() as group:
        receiving = group.create_task(pair.near.receive())
        await asyncio.sleep(0.01)
        async with asyncio.timeout(5 * CHECK_LIMITS.close_grace):
            await pair.near.aclose()
            await pair.near.aclose()
    _same(receiving.result(), [])
    _same(await pair.near.receive(), [])
    with _raises(EndpointClosed):
        await pair.near.send([request(1)])


async def received_frames_survive_the_close(pair: Pair, can: Capabilities) -> None:
    """Frames that came before ``aclose`` can still be received, then ``receive`` returns ``()``."""
    sent = [request(1), request(2)]
    await pair.far.send([request(0)])
    _same(await take(pair.near, 1), [request(0)])
    await pair.far.send(sent)
    inbox = _inbox_of(pair.near)
    if inbox is None:
        await asyncio.sleep(0.1)  # no inbox tells what has come
    else:
        await _until(lambda: inbox.waiting_bytes > 0)
    await pair.near.aclose()
    had_come = inbox.waiting_bytes if inbox is not None else None
    received = await take(pair.near, 9)
    _same(received, sent[: len(received)])
    if had_come is not None:
        _hold(sum(len(frame.raw) for frame in received) == had_come, "what had come was lost when it was closed")
    _same(await pair.near.receive(), [])


async def a_vanished_peer_is_the_end(pair: Pair, can: Capabilities) -> None:
    """The peer's frames are received, then the end: ``()``, or the failure if the transport reports one."""
    await pair.far.send([request(1)])
    _same(await take(pair.near, 1), [request(1)])
    await pair.far.vanish()
    if can.vanishing_breaks:
        with _raises(RelayError):
            await pair.near.receive()
    else:
        _same(await pair.near.receive(), [])


async def a_vanished_peer_does_not_hold_a_sender(pair: Pair, can: Capabilities) -> None:
    """A sender that a peer held back gets an error when that peer vanishes."""

    async def produce() -> None:
        while True:
            await pair.near.send([of_size(1, 2**20)])

    async with asyncio.TaskGroup() as group:
        producing = group.create_task(_ends_with_a_relay_error(produce()))
        await asyncio.sleep(0.2)
        _hold(not producing.done(), "the sender was not held back by a peer that does not read")
        await pair.far.vanish()


async def _ends_with_a_relay_error(work: Awaitable[None]) -> None:
    with _raises(RelayError):
        await work


def _inbox_of(endpoint: Endpoint) -> FrameInbox | None:
    """Find an endpoint's inbox, which knows how much has come and was not received yet."""
    holders = (endpoint, getattr(endpoint, "_reader", None))
    found = (getattr(holder, name, None) for holder in holders for name in ("_inbox", "inbox"))
    return next((one for one in found if isinstance(one, FrameInbox)), None)


async def _until(condition: Callable[[], bool], seconds: float = 2.0) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while not condition():  # noqa: ASYNC110 - what it looks at has no event
                await asyncio.sleep(0.002)


# Not assert: pytest explains asserts in test files only, and -O removes them.


def _hold(holds: bool, otherwise: str) -> None:
    if not holds:
        raise AssertionError(otherwise)


def _same(seen: Sequence[Frame], expected: Sequence[Frame]) -> None:
    """Check that frames are equal, byte for byte."""
    for number, (one, other) in enumerate(zip(seen, expected, strict=False)):
        _hold(one.raw == other.raw, f"frame {number} is {one.raw[:80]!r}, not {other.raw[:80]!r}")
    _hold(len(seen) == len(expected), f"{len(seen)} frames came where {len(expected)} should have")


@contextlib.contextmanager
def _raises(kind: type[RelayError]) -> Iterator[None]:
    try:
        yield
    except kind:
        return
    raise AssertionError(f"{kind.__name__} should have been raised")
