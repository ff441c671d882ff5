"""One place that hears what passes between clients and one server, whichever way it takes.

A pipe tells the hub that it is given; requests that are handed on without a pipe tell it themselves, and are counted
here. Whoever wants the frames subscribes. While nobody has subscribed, a frame costs one ``is None``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from relay.frames.frame import Frame

__all__ = ["FramesHeard", "Hub"]

FramesHeard: TypeAlias = Callable[[str, str, Sequence[Frame]], None]
"""Called with the name of the source, the name of the sink, and frames that go from one to the other."""


class Hub:
    """What is known of the traffic with one server."""

    __slots__ = ("fault", "frames", "in_flight", "last_used")

    def __init__(self) -> None:
        """Know of nothing; nobody has subscribed."""
        self.frames: FramesHeard | None = None
        """Tells the subscribers of frames, before anything can come back for them; None while there are none."""
        self.fault: str | None = None
        """Why the last request had no answer from the server; None if it had one."""
        self.in_flight = 0
        """Requests that were handed on without a pipe and wait for an answer."""
        self.last_used = 0.0
        """When such a request was handed on last, in seconds by the loop's clock; 0 if none was."""

    def subscribe(self, heard: FramesHeard) -> None:
        """Tell one more subscriber of all frames; it must not wait, nor raise."""
        before = self.frames
        if before is None:
            self.frames = heard
            return

        def both(source: str, sink: str, frames: Sequence[Frame]) -> None:
            before(source, sink, frames)
            heard(source, sink, frames)

        self.frames = both

    def opened(self, now: float, count: int = 1) -> None:
        """Count requests that are handed on."""
        self.in_flight += count
        self.last_used = now

    def settled(self, count: int = 1) -> None:
        """Count requests that have had their outcome."""
        self.in_flight -= count
