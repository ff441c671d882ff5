"""Hold a client's frames while the relay logs in to their server, which may take a person minutes.

Frames leave in the order in which they came. A request that its client cancels meanwhile never leaves. If the login
fails, each request that waits gets that failure as its error, and the next request may try again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Sequence
from typing import Protocol

from relay.auth.outbound.tries import ServerLogin
from relay.endpoints.core.inbox import FrameInbox
from relay.endpoints.core.tasks import TaskScope
from relay.frames import replies
from relay.frames.frame import Frame
from relay.frames.head import Kind, RequestId

__all__ = ["LoginQueue", "Sender"]

logger = logging.getLogger("relay")


class Sender(Protocol):
    """Where the frames go."""

    async def until_free(self, frame: Frame) -> None:
        """Wait until the frame can be sent without waiting for a handshake."""

    async def send_now(self, frames: Sequence[Frame]) -> None:
        """Send frames, however long that takes."""

    def cancel_unsent(self, request_id: RequestId) -> bool:
        """Answer a request that waits for the login with an error; return False if none does under that id."""


class LoginQueue:
    """The frames of one client on their way to a server that may want a login."""

    def __init__(self, name: str, login: ServerLogin, sender: Sender, inbox: FrameInbox) -> None:
        """Send frames through ``sender``; put the relay's own answers into ``inbox``."""
        self._name = name
        self._login = login
        self._sender = sender
        self._inbox = inbox
        self._waiting: deque[Frame] = deque()
        self._tasks = TaskScope()
        self._sending: asyncio.Task[None] | None = None
        self._known_failure = login.failure
        self._room = asyncio.Event()

    @property
    def is_needed(self) -> bool:
        """Whether frames must go through this queue: some wait in it, or a login is under way."""
        return self._sending is not None or self._login.is_under_way

    async def send(self, frames: Sequence[Frame]) -> None:
        """Send frames in their turn. Returns once they are sent, or once they wait for a login within the limits."""
        for frame in frames:
            if not self._is_cancellation_of_unsent(frame):
                await self._until_room(frame.size)
                self._login.enter(frame.size)
                self._waiting.append(frame)
                if self._sending is None:
                    self._known_failure = self._login.failure
                    self._sending = self._tasks.spawn(self._send_waiting(), name=f"{self._name}: frames in turn")
        while self._sending is not None and not self._login.is_under_way:
            changed = self._tasks.spawn(_until(self._login.changed()), name=f"{self._name}: login")
            try:
                await asyncio.wait((self._sending, changed), return_when=asyncio.FIRST_COMPLETED)
            finally:
                changed.cancel()

    async def join(self) -> None:
        """Wait until no frame waits."""
        while self._sending is not None:
            await asyncio.wait((self._sending,))

    async def _until_room(self, size: int) -> None:
        while not self._login.may_wait(size):
            if not self._waiting:
                return  # other clients' frames fill the queue: the error for a request says so
            self._room.clear()
            await self._room.wait()

    async def _send_waiting(self) -> None:
        try:
            while self._waiting:
                await self._until_free(self._waiting[0])
                if self._login.failure is not self._known_failure and self._login.failure is not None:
                    self._refuse_all(replies.end_by(self._login.failure))
                elif self._waiting:  # a cancellation may have taken it
                    await self._sender.send_now((self._take(),))
        finally:
            self._sending = None

    async def _until_free(self, frame: Frame) -> None:
        while True:
            await self._sender.until_free(frame)
            if not self._login.is_under_way:
                return
            await self._login.changed()

    def _take(self) -> Frame:
        frame = self._waiting.popleft()
        self._leave(frame)
        return frame

    def _leave(self, frame: Frame) -> None:
        self._login.leave(frame.size)
        self._room.set()

    def _refuse_all(self, end: replies.End) -> None:
        self._known_failure = self._login.failure
        while self._waiting:
            frame = self._take()
            asked = [one.id for one in frame.head.messages if one.kind is Kind.REQUEST and one.id is not None]
            self._inbox.put([end.answer(request_id) for request_id in asked])
            if not asked:
                said = frame.head.method or "an answer"
                logger.warning("%s: %s was not sent: %s", self._name, said, end.message)

    def _is_cancellation_of_unsent(self, frame: Frame) -> bool:
        """Take a cancellation of a request that waits for the login, so that neither of the two is sent."""
        head = frame.head
        target = head.target if head.method == "notifications/cancelled" else None
        if target is None:
            return False
        for waiting in self._waiting:
            if waiting.head.kind is Kind.REQUEST and waiting.head.id == target:
                self._waiting.remove(waiting)
                self._leave(waiting)
                self._inbox.put((replies.cancelled_unanswered(target, was_sent=False),))
                return True
        return self._sender.cancel_unsent(target)

    async def aclose(self, fault: str) -> None:
        """Send no more; answer each request that waits with an error."""
        await self._tasks.aclose()
        self._sending = None
        self._refuse_all(replies.End(replies.UNAVAILABLE, f"the request was not sent: {fault}", "no"))


async def _until(event: Awaitable[object]) -> None:
    await event
