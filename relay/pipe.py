"""The one loop: frames from a to b and from b to a, until both sides have come to their end.

It knows only Endpoint. Batches cross, not single frames: 0.35 against 1.39 µs a frame (uvloop, 200 B). There is no
queue between the two calls of a direction: ``await send`` is the backpressure.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from relay.endpoints.base import Endpoint
from relay.errors import EndpointBroken, RelayError
from relay.frames.frame import Frame
from relay.limits import DEFAULT_LIMITS, Limits

__all__ = ["Observer", "PipeReport", "pipe"]

logger = logging.getLogger("relay")

_BATCH = 64  # frames handed to the sink at a time: how finely a pipe that must end can see that something moves


class Observer(Protocol):
    """Told of every batch before it is sent on; must neither wait nor raise."""

    def frames_forwarded(self, source: Endpoint, sink: Endpoint, frames: Sequence[Frame]) -> None:
        """Look at frames that are about to be sent from ``source`` to ``sink``."""


@dataclass(slots=True)
class PipeReport:
    """What a pipe carried and how it ended."""

    frames_a_to_b: int = 0
    bytes_a_to_b: int = 0
    frames_b_to_a: int = 0
    bytes_b_to_a: int = 0
    finished_first: Literal["a", "b"] | None = None
    """The side that ended first, by finishing or by failing."""
    failure: RelayError | None = None
    """What broke the pipe; None if both sides finished."""


@dataclass(slots=True)
class _Direction:
    """One way of a pipe, and what it carried."""

    source: Endpoint
    sink: Endpoint
    observer: Observer | None
    linger: float
    frames: int = 0
    bytes: int = 0
    source_failed: RelayError | None = None
    sink_failed: RelayError | None = None
    other: _Direction | None = None
    task: asyncio.Task[None] | None = None
    timer: asyncio.TimerHandle | None = None
    is_given_up: bool = False

    async def run(self) -> None:
        """Carry frames until the source has finished or either side has failed."""
        try:
            await self._carry()
        except asyncio.CancelledError:
            if not self.is_given_up:
                raise
            self.sink_failed = EndpointBroken(f"{self.sink.name} takes no more, and {self.source.name} has ended")

    async def _carry(self) -> None:
        receive, send, observer = self.source.receive, self.sink.send, self.observer
        while True:
            try:
                frames = await receive()
            except RelayError as exc:
                self.source_failed = exc
                return
            try:
                if not frames:
                    await self.sink.send_eof()
                    return
                if observer is not None:
                    observer.frames_forwarded(self.source, self.sink, frames)
                for start in range(0, len(frames), _BATCH):
                    batch = frames[start : start + _BATCH] if len(frames) > _BATCH else frames
                    await send(batch)
                    self.frames += len(batch)
                    for frame in batch:
                        self.bytes += len(frame.raw)
            except RelayError as exc:
                self.sink_failed = exc
                return

    def source_ended(self) -> None:
        """See to it that the end is noticed while ``send`` waits for a sink that takes no more.

        Nothing else would: an orphan whose client has left, before a server that does not read.
        """
        if self.task is not None and not self.task.done():
            carried = self.frames + (self.other.frames if self.other is not None else 0)
            self.timer = asyncio.get_running_loop().call_later(self.linger, self._look, carried)

    def _look(self, carried: int) -> None:
        if self.task is None or self.task.done():
            return
        if self.other is not None and carried != self.frames + self.other.frames:
            self.source_ended()  # something still moves
        else:
            self.is_given_up = True
            self.task.cancel()

    def release(self) -> None:
        """Let go of the timer and of the other direction."""
        self.other = None
        if self.timer is not None:
            self.timer.cancel()


async def pipe(
    a: Endpoint, b: Endpoint, *, limits: Limits = DEFAULT_LIMITS, observer: Observer | None = None
) -> PipeReport:
    """Carry frames between two endpoints until both have come to their end; closes both.

    When one side finishes, the other is told (``send_eof``) and may go on for ``limits.linger`` seconds: late answers
    still arrive. When one side breaks, the other is closed with that reason, so that each of its open requests gets an
    error. Cancelling closes both. Never raises RelayError: the report says what happened.
    """
    report = PipeReport()
    forward, backward = (_Direction(a, b, observer, limits.linger), _Direction(b, a, observer, limits.linger))
    try:
        async with asyncio.TaskGroup() as group:
            tasks = {}
            for direction, other in ((forward, backward), (backward, forward)):
                name = f"{direction.source.name} -> {direction.sink.name}"
                direction.task = group.create_task(direction.run(), name=name)
                direction.other = other
                direction.source.call_at_end(direction.source_ended)
                tasks[direction.task] = direction
            await _finish(tasks, report, a, limits)
    finally:
        forward.release()
        backward.release()
        reason = report.failure
        try:
            await a.aclose(reason)
        finally:
            await b.aclose(reason)
    report.frames_a_to_b, report.bytes_a_to_b = forward.frames, forward.bytes
    report.frames_b_to_a, report.bytes_b_to_a = backward.frames, backward.bytes
    logger.debug("= %s <-> %s: ended, %s first%s", a.name, b.name, report.finished_first, _because(report.failure))
    return report


async def _finish(tasks: dict[asyncio.Task[None], _Direction], report: PipeReport, a: Endpoint, limits: Limits) -> None:
    """See both directions to their end: after the first, the other has its time, then its source is closed."""
    done, running = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    first = tasks[next(iter(done))]
    ended = first.sink if first.sink_failed else first.source
    report.finished_first = "a" if ended is a else "b"
    report.failure = first.source_failed or first.sink_failed
    if running:
        if first.source_failed is None and not first.is_given_up:
            await asyncio.wait(running, timeout=limits.linger)
        other = tasks[next(iter(running))]
        if not next(iter(running)).done():
            # Its open requests get their errors and come out of receive(), so the direction still runs to its end.
            await other.source.aclose(report.failure or EndpointBroken(f"{first.source.name} has ended"))
            _, stuck = await asyncio.wait(running, timeout=limits.close_grace)
            for task in stuck:
                task.cancel()
    # Why a side went says more than that nothing could be sent to it.
    failures = [direction.source_failed for direction in tasks.values()]
    report.failure = next((failure for failure in failures if failure is not None), report.failure)
    for direction in tasks.values():
        report.failure = report.failure or direction.sink_failed


def _because(failure: RelayError | None) -> str:
    return f": {failure}" if failure is not None else ""
