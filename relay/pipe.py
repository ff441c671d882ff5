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
    frames: int = 0
    bytes: int = 0
    source_failed: RelayError | None = None
    sink_failed: RelayError | None = None

    async def run(self) -> None:
        """Carry frames until the source has finished or either side has failed."""
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
                await send(frames)
            except RelayError as exc:
                self.sink_failed = exc
                return
            self.frames += len(frames)
            for frame in frames:
                self.bytes += len(frame.raw)


async def pipe(
    a: Endpoint, b: Endpoint, *, limits: Limits = DEFAULT_LIMITS, observer: Observer | None = None
) -> PipeReport:
    """Carry frames between two endpoints until both have come to their end; closes both.

    When one side finishes, the other is told (``send_eof``) and may go on for ``limits.linger`` seconds: late answers
    still arrive. When one side breaks, the other is closed with that reason, so that each of its open requests gets an
    error. Cancelling closes both. Never raises RelayError: the report says what happened.
    """
    report = PipeReport()
    forward, backward = _Direction(a, b, observer), _Direction(b, a, observer)
    try:
        async with asyncio.TaskGroup() as group:
            tasks = {
                group.create_task(forward.run(), name=f"{a.name} -> {b.name}"): forward,
                group.create_task(backward.run(), name=f"{b.name} -> {a.name}"): backward,
            }
            await _finish(tasks, report, a, limits)
    finally:
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
        if first.source_failed is None:
            await asyncio.wait(running, timeout=limits.linger)
        other = tasks[next(iter(running))]
        if not next(iter(running)).done():
            # Its open requests get their errors and come out of receive(), so the direction still runs to its end.
            await other.source.aclose(report.failure or EndpointBroken(f"{first.source.name} has ended"))
            _, stuck = await asyncio.wait(running, timeout=limits.close_grace)
            for task in stuck:
                task.cancel()
    for direction in tasks.values():
        report.failure = report.failure or direction.source_failed or direction.sink_failed


def _because(failure: RelayError | None) -> str:
    return f": {failure}" if failure is not None else ""
