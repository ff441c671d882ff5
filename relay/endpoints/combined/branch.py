"""The way from one session to one of its servers: what waits to be sent there, and the two tasks that carry frames."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from relay.endpoints.base import Endpoint
from relay.endpoints.core.inbox import FrameInbox
from relay.endpoints.core.lazy import Lazy
from relay.endpoints.core.tasks import TaskScope
from relay.errors import ConfigError, EndpointUnavailable, RelayError
from relay.frames.frame import Frame
from relay.limits import Limits

__all__ = ["Branch", "BranchOwner"]

_LAST_FRAMES = 0.1  # seconds for what a server that is closed had said before


class BranchOwner(Protocol):
    """Whoever hears what becomes of a branch."""

    async def take(self, branch: Branch, frames: Sequence[Frame]) -> None:
        """Take what the server sent."""

    def branch_refused(self, branch: Branch, unsent: Sequence[Frame], fault: str) -> None:
        """Hear that the server could not be reached, and what was not sent."""

    def branch_ended(self, branch: Branch, failure: RelayError | None) -> None:
        """Hear that the server has ended."""

    def branch_told_end(self) -> None:
        """Hear that the server knows of our end."""


class Branch:
    """The way to one server."""

    def __init__(self, place: int, endpoint: Endpoint, owner: BranchOwner, tasks: TaskScope, limits: Limits) -> None:
        """Connect at once; ``place`` is the server's in its pool."""
        self.place = place
        self.endpoint = endpoint
        self.is_reached = False
        """Whether the server has said anything."""
        self.is_over = False
        self.has_told_end = False
        """Whether the server knows that no more will come."""
        self.has_ended = False
        """Whether the server will send no more, though something of it may wait to be received."""
        self.outbox = FrameInbox(endpoint.name, limits)
        self._owner = owner
        self._tasks = tasks
        self._close_grace = limits.close_grace
        self._receiving: asyncio.Task[None] | None = None
        self._sending = tasks.spawn(self._run(), name=f"{endpoint.name}: send")

    async def _run(self) -> None:
        try:
            await self._carry()
        finally:
            if self._receiving is not None:
                self._receiving.cancel()
            await self.endpoint.aclose()

    async def _carry(self) -> None:
        unsent: Sequence[Frame] = ()
        try:
            if isinstance(self.endpoint, Lazy):
                self.endpoint = await self.endpoint.open()
            self.endpoint.call_at_end(self._note_end)
            self._receiving = self._tasks.spawn(self._receive(), name=f"{self.endpoint.name}: receive")
            while unsent := await self.outbox.receive():
                await self.endpoint.send(unsent)
                unsent = ()
            await self.endpoint.send_eof()
            self.has_told_end = True
            self._owner.branch_told_end()
            await asyncio.wait((self._receiving,))
        except (EndpointUnavailable, ConfigError) as exc:
            self.outbox.finish()
            while more := await self.outbox.receive():
                unsent = [*unsent, *more]
            self._owner.branch_refused(self, unsent, str(exc))
        except RelayError as exc:
            if self._receiving is not None:  # the reason of its end says more than that nothing could be sent there
                await asyncio.wait((self._receiving,), timeout=self._close_grace)
            self._owner.branch_ended(self, exc)

    def _note_end(self) -> None:
        self.has_ended = True

    async def _receive(self) -> None:
        failure: RelayError | None = None
        try:
            while frames := await self.endpoint.receive():
                await self._owner.take(self, frames)
        except RelayError as exc:
            failure = exc
        self._owner.branch_ended(self, failure)

    async def aclose(self, reason: RelayError | None = None) -> None:
        """Close the endpoint; what it had received still comes."""
        if self._receiving is None:
            self._sending.cancel()  # a server that is being connected to has nothing to say
            await asyncio.wait((self._sending,))
        await self.endpoint.aclose(reason)
        if self._receiving is not None:
            await asyncio.wait((self._receiving,), timeout=_LAST_FRAMES)
        self._sending.cancel()
