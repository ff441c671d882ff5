"""A bounded queue of received frames with one receiver: the mechanism behind every endpoint's ``receive``.

A callback that reads the transport puts frames in. Above its high mark the inbox pauses the transport. The receiver
takes all waiting frames at once, and then the inbox resumes the transport. So a slow receiver slows only its own
source, and no frame is dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from relay.endpoints.base import Taker
from relay.errors import EndpointBusy, RelayError
from relay.frames.frame import Frame
from relay.limits import Limits

__all__ = ["FrameInbox"]


class FrameInbox:
    """A bounded queue of frames between a transport and a pipe."""

    def __init__(
        self,
        name: str,
        limits: Limits,
        *,
        pause: Callable[[], None] | None = None,
        resume: Callable[[], None] | None = None,
    ) -> None:
        """Call ``pause`` above ``limits.buffer_high`` waiting bytes, and ``resume`` after they have been received."""
        self._name = name
        self._high = limits.buffer_high
        self._pause = pause
        self._resume = resume
        self.is_paused = False
        """Whether the source waits until the receiver has taken the frames."""
        self._frames: list[Frame] = []
        self._bytes = 0
        self._finished = False
        self._failure: RelayError | None = None
        self.receiver: asyncio.Future[None] | None = None
        """The future that a waiting receiver awaits, else None."""
        self.taker: Taker | None = None
        """Takes frames at once, while the receiver waits and no frame is before them."""
        self._room: asyncio.Event | None = None
        self._at_room: dict[Callable[[], None], None] = {}
        self._at_end: list[Callable[[], None]] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._offered: Taker | None = None

    @property
    def is_finished(self) -> bool:
        """Whether no more frames will be put in."""
        return self._finished

    @property
    def waiting_bytes(self) -> int:
        """The number of bytes that have not been received yet."""
        return self._bytes

    @property
    def waiting(self) -> Sequence[Frame]:
        """The frames that have not been received yet."""
        return self._frames

    def put(self, frames: Sequence[Frame]) -> None:
        """Add frames, and pause the transport above the high mark; drop frames after ``finish``."""
        if not frames:
            return
        # Its task would cost 25 us of a call that is alone. On the way of each call this stands where ``put`` would.
        taker, receiver = self.taker, self.receiver
        if taker is None or receiver is None or receiver.done() or not taker(frames):
            self.keep(frames)

    def keep(self, frames: Sequence[Frame]) -> None:
        """Do what ``put`` does with frames that have been offered to ``taker``, or cannot be."""
        if self._finished:
            return
        self._frames += frames
        for frame in frames:
            self._bytes += frame.size
        self._wake()
        if self._bytes > self._high and not self.is_paused:
            self.is_paused = True
            if self._pause is not None:
                self._pause()

    async def wait_for_room(self) -> None:
        """Wait until the inbox is below its high mark: the backpressure for sources that await."""
        while self.is_paused and not self._finished:
            if self._room is None:
                self._room = asyncio.Event()
            await self._room.wait()

    def call_at_room(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once there is room, or at the end; callbacks run in order, as long as there is room.

        Tasks in ``wait_for_room`` come first.
        """
        self._at_room[callback] = None

    def forget_call_at_room(self, callback: Callable[[], None]) -> None:
        """Undo ``call_at_room``."""
        self._at_room.pop(callback, None)

    def finish(self, failure: RelayError | None = None) -> None:
        """End the inbox; the receiver gets the waiting frames, then ``failure`` as an exception, if given."""
        if self._finished:
            return
        self._finished = True
        self._failure = failure
        self._offered = None
        self._wake()
        at_end, self._at_end = self._at_end, []
        for callback in at_end:
            callback()
        if self._room is not None:
            self._room.set()
        self._tell_of_room_soon()

    def call_at_end(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` when the inbox ends, or at once if it has ended."""
        if self._finished:
            callback()
        else:
            self._at_end.append(callback)

    def offer_to(self, taker: Taker) -> None:
        """Offer frames to ``taker`` while the receiver waits; see ``OffersFrames``."""
        if not self._finished:
            self._offered = taker
            if self.receiver is not None and not self.receiver.done():
                self.taker = taker

    async def receive(self) -> Sequence[Frame]:
        """Return all waiting frames; wait for the first. Return ``()``, or raise the failure, after the end.

        Raises EndpointBusy if another task is receiving.
        """
        if self.receiver is not None:
            raise EndpointBusy(f"{self._name}: another task is receiving; an endpoint has one receiver")
        while not self._frames:
            if self._finished:
                if self._failure is not None:
                    raise self._failure
                return ()
            if self._loop is None:
                self._loop = asyncio.get_running_loop()  # kept, because each lookup asks for the process id
            self.receiver, self.taker = self._loop.create_future(), self._offered
            try:
                await self.receiver
            finally:
                self.receiver = self.taker = None
        frames, self._frames = self._frames, []
        self._bytes = 0
        if self.is_paused:
            self.is_paused = False
            if self._resume is not None:
                self._resume()
            if self._room is not None:
                self._room.set()
                self._room = None
            self._tell_of_room_soon()
        return frames

    def _tell_of_room_soon(self) -> None:
        if self._at_room:  # after the tasks that ``_room`` has just woken, which else might wait for ever
            asyncio.get_running_loop().call_soon(self._tell_of_room)

    def _tell_of_room(self) -> None:
        while self._at_room and (self._finished or not self.is_paused):
            callback = next(iter(self._at_room))
            del self._at_room[callback]
            callback()

    def _wake(self) -> None:
        self.taker = None
        if self.receiver is not None and not self.receiver.done():
            self.receiver.set_result(None)
