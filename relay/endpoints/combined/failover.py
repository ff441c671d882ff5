"""One client's share of several servers that stand in for one another: an endpoint made of endpoints.

A session of the legacy era has a *home*, the first server that could be reached, and stays there. Requests of
2026-07-28 have no session: each goes to the server whose turn it is. A request goes to another server only if the one
before surely has not got it: nothing listened there, or the program could not be started.

Every request has one outcome: a server's answer, or an error that says what was tried and what became of it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from relay.endpoints.combined.branch import Branch
from relay.endpoints.combined.calls import Call, Calls
from relay.endpoints.combined.dispatch import Dispatch
from relay.endpoints.combined.pool import Pool, said_by
from relay.endpoints.core.inbox import FrameInbox
from relay.errors import EndpointClosed, RelayError
from relay.frames import replies
from relay.frames.frame import Frame, each_message
from relay.frames.head import Kind, RequestId

__all__ = ["Failover"]

logger = logging.getLogger("relay")

_LAST_WORDS = 0.5  # seconds for what servers that owe nothing may still say once they know of our end


class Failover:
    """An endpoint behind which any of several servers may be."""

    def __init__(
        self, pool: Pool, *, is_shared: bool = False, ends_with_home: bool = False, owns_pool: bool = False
    ) -> None:
        """Choose among the servers of ``pool`` when frames come; start and connect nothing before.

        ``is_shared``: many clients of 2026-07-28 are behind this one. ``ends_with_home``: a session ends when its
        server is ejected and there is another, for a client that will begin a new one. ``owns_pool``: closing also
        closes the pool.
        """
        self.pool = pool
        self.name = pool.name
        self.has_eof = False
        self.dropped = 0
        self._owns_pool = owns_pool
        self._inbox = FrameInbox(self.name, pool.limits)
        self._calls = Calls(self.name, pool, self._inbox, self)
        self._dispatch = Dispatch(pool, self._calls, self, is_shared=is_shared, ends_with_home=ends_with_home)
        self._no_handshake = asyncio.Event()  # while one is under way: what follows must go where that goes
        self._no_handshake.set()
        self._last_words: asyncio.TimerHandle | None = None
        self._is_closed = False

    @property
    def in_flight(self) -> int:
        """Requests that wait for an answer."""
        return len(self._calls)

    # What the pipe asks for.

    async def receive(self) -> Sequence[Frame]:
        """Return what the servers sent, and an error for each request that none of them will answer."""
        return await self._inbox.receive()

    def call_at_end(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once no more will come."""
        self._inbox.call_at_end(callback)

    async def send(self, frames: Sequence[Frame]) -> None:
        """Send each frame where it belongs; a batch goes message by message. Waits while the home takes no more."""
        for one in each_message(frames):
            await self._send_one(one)

    async def _send_one(self, frame: Frame) -> None:
        self._check_open()
        head = frame.head
        if head.kind is Kind.INVALID:
            self._inbox.put((replies.not_a_message(head, head.id),))
        elif head.kind is Kind.REQUEST:
            await self._send_request(frame)
        elif head.target is not None and head.method == "notifications/cancelled":
            self._calls.cancel(frame, head.target)
        else:
            await self._send_other(frame)
        await self._inbox.wait_for_room()

    def _check_open(self) -> None:
        if self._is_closed or self.has_eof or self._inbox.is_finished:
            raise EndpointClosed(f"{self.name}: send after its end")

    async def _send_request(self, frame: Frame) -> None:
        call = Call(frame)
        if not call.is_modern:
            await self._no_handshake.wait()
            self._check_open()
        if not self._calls.open(call):
            return
        if self._dispatch.over is not None and not call.is_modern:
            self._calls.refuse_as_over(call, str(self._dispatch.over))
            return
        self._calls.begin_timer(call)
        if call.is_handshake:
            self._no_handshake.clear()
        was_full = self._dispatch.dispatch(call)
        if call.branch is not None and (was_full or not call.is_modern):
            await call.branch.outbox.wait_for_room()

    async def _send_other(self, frame: Frame) -> None:
        """Send a notification or an answer: both belong to the session."""
        await self._no_handshake.wait()
        self._check_open()
        home = self._dispatch.find_home()
        if home is None:
            self._drop(frame, "no server is the session's")
            return
        home.outbox.put((frame,))
        await home.outbox.wait_for_room()

    async def send_eof(self) -> None:
        """Tell each server that no more will be sent; what they still owe is still received."""
        if self.has_eof or self._is_closed:
            return
        self.has_eof = True
        self._finish_if_drained()

    async def aclose(self, reason: RelayError | None = None) -> None:
        """Close the way to every server; requests that are open get an error that carries ``reason``."""
        if self._is_closed:
            return
        self._is_closed = True
        self._dispatch.stop_watching()
        try:
            branches = list(self._dispatch.branches.values())
            await asyncio.gather(*(branch.aclose(reason) for branch in branches))
        finally:
            self._calls.fail_all(f"the request was lost: {reason or 'the relay is shutting down'}")
            self._dispatch.leave_home()
            self._inbox.finish()
            self._no_handshake.set()
            if self._last_words is not None:
                self._last_words.cancel()
            await self._dispatch.tasks.aclose()
            if self._owns_pool:
                await self.pool.aclose()

    # What comes from the servers.

    async def take(self, branch: Branch, frames: Sequence[Frame]) -> None:
        """Take what a server sent; waits while the client takes no more, unless these are the server's last words."""
        # One at a time: an error of ours for one must not overtake what came before it.
        for one in each_message(frames):
            if (taken := self._take_one(branch, one)) is not None:
                self._inbox.put((taken,))
        # A client that sends must hear of the server's end, whether or not it reads.
        if not self._is_closed and not branch.has_ended:
            await self._inbox.wait_for_room()

    def _take_one(self, branch: Branch, frame: Frame) -> Frame | None:
        """Look at one message of a server; return what goes on to the client, if anything does."""
        head = frame.head
        if head.kind is Kind.RESPONSE:
            if self._calls.find(head.id) is None and (home := self._calls.home_of(branch, frame)) is not None:
                frame = home
            if frame.head.id is not None:
                return self._take_answer(branch, frame, frame.head.id)
            return None if self._calls.is_in_doubt else frame
        branch.is_reached = True
        if head.kind is Kind.REQUEST and branch is not self._dispatch.home:
            # Servers of 2026-07-28 must not ask; and the client's answer would go to its home.
            refusal = replies.error(head.id, replies.METHOD_NOT_FOUND, "no client of 2026-07-28 takes requests")
            branch.outbox.put((refusal,))
            return None
        if (call := self._calls.of_token(head.token)) is not None:
            self._calls.begin_timer(call)
        return frame

    def _take_answer(self, branch: Branch, frame: Frame, request_id: RequestId) -> Frame | None:
        call = self._calls.find(request_id)
        if call is None or call.branch is not branch:
            self._drop(frame, "an answer that no request waits for")
            return None
        fault = replies.fault_of(frame)
        if fault is not None and fault.is_undelivered and not self._is_closed:
            self._dispatch.undelivered(call, fault.message)
            return None
        branch.is_reached = True
        self._calls.settle(call)
        if fault is not None and fault.is_failure:
            self.pool.failed(branch.place, fault.message)
        else:
            self.pool.answered(branch.place)
        if call.is_handshake:
            self._handshake_ended(call, is_initialized=b'"result"' in frame.raw)
        return frame

    def give(self, outcome: Frame) -> None:
        """Take the outcome of a call whose answer was in doubt."""
        call = self._calls.find(outcome.head.id)
        if call is not None and call.branch is not None:
            taken = self._take_one(call.branch, outcome)
            self._inbox.put(() if taken is None else (taken,))

    def _handshake_ended(self, call: Call, *, is_initialized: bool) -> None:
        """Let what waited go on; without a session, the next ``initialize`` may go elsewhere."""
        self._no_handshake.set()
        is_home = call.branch is not None and call.branch is self._dispatch.home
        if is_home and not is_initialized and not self.has_eof:
            self._dispatch.retire_home()

    def _drop(self, frame: Frame, what: str) -> None:
        self.dropped += 1
        logger.debug("%s: dropped %s: %s", self.name, what, frame.head.method or frame.head.id)

    # What becomes of branches and calls.

    def branch_refused(self, branch: Branch, unsent: Sequence[Frame], fault: str) -> None:
        """Send elsewhere what should have gone to a server that could not be reached."""
        self._dispatch.forget(branch)
        was_home = self._dispatch.home is branch
        if was_home:
            self._dispatch.leave_home()
        self.pool.refused(branch.place, fault)
        self._dispatch.resend(branch, unsent, fault, was_home=was_home)
        for call in self._calls.on(branch):
            self._calls.fail(call, replies.LOST, f"the request was lost: {fault}", "unknown")
        self._finish_if_drained()

    def branch_ended(self, branch: Branch, failure: RelayError | None) -> None:
        """Answer what a server that has ended still owed; a session at home there is over."""
        if self._is_closed or branch.is_over:
            return
        self._dispatch.forget(branch)
        branch.outbox.finish()
        name = self.pool.servers[branch.place].name
        lost = self._calls.on(branch)
        reason = str(failure or f"{name} has ended")
        for call in lost:
            self._calls.fail(call, replies.LOST, f"the request was lost: {said_by(name, reason)}", "unknown")
        if failure is not None or lost:
            self.pool.failed(branch.place, reason)
        if self._dispatch.home is branch:
            self._dispatch.leave_home()
            self._end(self._dispatch.over or failure, reason)
        self._finish_if_drained()

    def branch_told_end(self) -> None:
        """Take note that a server knows of our end."""
        self._finish_soon_if_quiet()

    def call_failed(self, call: Call) -> None:
        """Let what waited for a handshake go on."""
        if call.is_handshake:
            self._handshake_ended(call, is_initialized=False)
        self._finish_if_drained()

    def call_settled(self) -> None:
        """Check whether that was the last call that the end waits for."""
        if self._dispatch.over is not None:
            self.end_soon()
        self._finish_soon_if_quiet()

    # Ends.

    def _end(self, failure: RelayError | None, reason: str) -> None:
        """End the session: its server has gone."""
        if self.has_eof and failure is None:
            return  # the server was told to end; others may still answer
        self._calls.fail_all(f"the request was lost: {reason}")
        self._inbox.finish(failure)
        self._no_handshake.set()

    def end_soon(self) -> None:
        """End the session that is over, after the code that handles a call now has answered it."""
        asyncio.get_running_loop().call_soon(self._end_if_drained)

    def _end_if_drained(self) -> None:
        over, is_open = self._dispatch.over, any(not call.is_modern for call in self._calls)
        if over is not None and not is_open and not self._inbox.is_finished:
            self._end(over, str(over))

    def _finish_if_drained(self) -> None:
        self._dispatch.finish_sending()
        if self.has_eof and not self._dispatch.branches and not self._dispatch.has_waiting:
            self._inbox.finish()
        self._finish_soon_if_quiet()

    def _finish_soon_if_quiet(self) -> None:
        """Finish soon once no answer is owed and every server knows of the end, even if a server stays connected."""
        if not self.has_eof or self._is_closed or self._last_words is not None:
            return
        are_told = all(branch.has_told_end for branch in self._dispatch.branches.values())
        if are_told and all(call.is_subscription for call in self._calls):
            grace = min(_LAST_WORDS, self.pool.limits.close_grace)
            self._last_words = asyncio.get_running_loop().call_later(grace, self._finish_quietly)

    def _finish_quietly(self) -> None:
        self._calls.end_subscriptions()
        self._inbox.finish()
