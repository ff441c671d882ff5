"""Received frames that wait for their one receiver, with a high mark.

The mechanism beneath every endpoint's ``receive``. Whoever reads the transport puts frames in from a callback. Above
the high mark the inbox pauses the transport. It resumes the transport once the receiver has taken what waits, which it
takes all at once. So a slow receiver holds its own source back, and nothing is dropped.
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
        """Call ``pause`` above ``limits.buffer_high`` waiting bytes, and ``resume`` once they have been received."""
        self._name = name
        self._high = limits.buffer_high
        self._pause = pause
        self._resume = resume
        self.is_paused = False
        """Whether the source is held back until the receiver has taken what is here."""
        self._frames: list[Frame] = []
        self._bytes = 0
        self._finished = False
        self._failure: RelayError | None = None
        self.receiver: asyncio.Future[None] | None = None
        """What the receiver waits for, while it does."""
        self.taker: Taker | None = None
        """Who takes frames at once, while the receiver waits and nothing is before them."""
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
        """Bytes put in and not yet received."""
        return self._bytes

    def put(self, frames: Sequence[Frame]) -> None:
        """Add frames; pauses the transport above the high mark. Frames after ``finish`` are dropped."""
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
            self._bytes += len(frame.raw)
        self._wake()
        if self._bytes > self._high and not self.is_paused:
            self.is_paused = True
            if self._pause is not None:
                self._pause()

    async def wait_for_room(self) -> None:
        """Wait until the inbox is no longer above its high mark: backpressure for sources that await."""
        while self.is_paused and not self._finished:
            if self._room is None:
                self._room = asyncio.Event()
            await self._room.wait()

    def call_at_room(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once there is room, in the order of these calls while there is; or at the end.

        Whoever awaits ``wait_for_room`` comes first.
        """
        self._at_room[callback] = None

    def forget_call_at_room(self, callback: Callable[[], None]) -> None:
        """Take back ``call_at_room``."""
        self._at_room.pop(callback, None)

    def finish(self, failure: RelayError | None = None) -> None:
        """Say that no more will come; ``failure`` is raised to the receiver once it has taken what is there."""
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
        """Call ``callback`` when no more will be put in; at once if that is so already."""
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
        """Return all that is there, waiting for the first; ``()`` once finished, or the failure raised.

        Raises EndpointBusy if another task is waiting here.
        """
        if self.receiver is not None:
            raise EndpointBusy(f"{self._name}: another task is receiving; an endpoint has one receiver")
        while not self._frames:
            if self._finished:
                if self._failure is not None:
                    raise self._failure
                return ()
            if self._loop is None:
                self._loop = asyncio.get_running_loop()  # once: it asks for the process id each time
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
        if self._at_room:  # behind the tasks that ``_room`` has just woken: else they might wait for ever
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
