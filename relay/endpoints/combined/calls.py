"""The open requests of one session before several servers, and the one outcome of each."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Protocol

from relay.endpoints.base import LogsIn
from relay.endpoints.combined.branch import Branch
from relay.endpoints.combined.pool import Pool, said_by
from relay.endpoints.core.books import Books
from relay.endpoints.core.inbox import FrameInbox
from relay.frames import replies
from relay.frames.frame import Frame
from relay.frames.head import RequestId
from relay.mcp.facts import read_facts
from relay.routing.ledger import Due
from relay.routing.open_table import LISTEN, IdInUse

__all__ = ["Call", "Calls", "CallsOwner"]

logger = logging.getLogger("relay")


class Call:
    """A request that waits for its answer, and where it was sent."""

    __slots__ = (
        "branch", "faults", "frame", "has_waited", "is_cancelled", "is_handshake", "is_modern", "is_subscription",
        "place", "retry", "rounds", "timer", "tried",
    )  # fmt: skip

    def __init__(self, frame: Frame) -> None:
        """Wait for a server."""
        self.frame = frame
        self.is_modern = read_facts(frame) is not None
        """Whether it is of 2026-07-28: it belongs to no session, and may go to any server."""
        self.is_handshake = frame.head.method == "initialize" and not self.is_modern
        self.is_subscription = self.is_modern and frame.head.method == LISTEN
        self.is_cancelled = False
        self.branch: Branch | None = None
        """Where it was sent; None as long as it waits."""
        self.place: int | None = None
        """The server that has it, or whose first answer it waits for."""
        self.has_waited = False
        """Whether it has waited for a server's first answer: it does so once."""
        self.tried: set[int] = set()
        self.faults: dict[int, str] = {}
        """Why each server that was tried could not be reached."""
        self.rounds = 0
        self.retry: asyncio.TimerHandle | None = None
        """Begins the next round."""
        self.timer: asyncio.TimerHandle | None = None

    @property
    def id(self) -> RequestId:
        """The request's id."""
        request_id = self.frame.head.id
        assert request_id is not None, "a request has an id"
        return request_id

    @property
    def is_free(self) -> bool:
        """Whether it may go to any server."""
        return self.is_modern or self.is_handshake


class CallsOwner(Protocol):
    """Whoever hears what becomes of calls."""

    def call_settled(self) -> None:
        """Hear that a call is open no more."""

    def call_failed(self, call: Call) -> None:
        """Hear that a call was answered with an error."""

    def give(self, outcome: Frame) -> None:
        """Take the outcome of a call whose answer was in doubt."""


class Calls:
    """The open requests of one session."""

    def __init__(self, name: str, pool: Pool, inbox: FrameInbox, owner: CallsOwner) -> None:
        """Log as ``name``, put errors into ``inbox`` and tell ``owner`` what becomes of calls."""
        self._name = name
        self._pool = pool
        self._inbox = inbox
        self._owner = owner
        self._books: Books[Call] = Books(name, pool.limits, self._give_due)

    def __len__(self) -> int:
        """Count the open calls."""
        return len(self._books)

    def __iter__(self) -> Iterator[Call]:
        """Go over the calls that are open now; they may end meanwhile."""
        return iter(tuple(self._books.entries()))

    def __contains__(self, call: object) -> bool:
        """Tell whether a call is open."""
        return isinstance(call, Call) and self._books.find(call.id) is call

    @property
    def is_in_doubt(self) -> bool:
        """Whether a call waits although an answer that may be its own has come."""
        return self._books.is_doubtful

    def open(self, call: Call) -> bool:
        """Let a call wait for its answer; refuse it, and return False, if its id is in use."""
        try:
            self._books.open(call.id, call, LISTEN if call.is_subscription else None, call.frame.head.token)
        except IdInUse as exc:
            # Not under that id: the client would take it for the answer to the first request.
            self._inbox.put((replies.error(None, replies.INVALID_REQUEST, str(exc), delivered="no"),))
            return False
        return True

    def find(self, request_id: RequestId | None) -> Call | None:
        """Return the call of an id."""
        return self._books.find(request_id)

    def of_token(self, token: RequestId | None) -> Call | None:
        """Return the call of a progress token."""
        return self._books.of_token(token)

    def on(self, branch: Branch) -> list[Call]:
        """Return the calls that were sent to a server."""
        return [call for call in self._books.entries() if call.branch is branch]

    def home_of(self, branch: Branch, frame: Frame) -> Frame | None:
        """Return an answer under the id of the call it is for, if it comes under no open id; None if of none."""
        name = self._pool.servers[branch.place].name
        return self._books.home_of(frame, self._books.now(), name, among=self.on(branch))

    def begin_timer(self, call: Call) -> None:
        """Give a call its full time for an answer."""
        timeout = self._pool.retry.timeout
        if timeout is None or call.is_subscription:
            return
        if call.timer is not None:
            call.timer.cancel()
        call.timer = asyncio.get_running_loop().call_later(timeout, self._time_out, call)

    def _time_out(self, call: Call) -> None:
        """Answer a call with an error, and cancel it at its server."""
        branch, seconds = call.branch, f"{self._pool.retry.timeout:g} s"
        if branch is None:
            self.fail(call, replies.UNAVAILABLE, f"{self.faults_of(call)}; given up after {seconds}", "no")
            return
        if isinstance(branch.endpoint, LogsIn) and branch.endpoint.is_logging_in:
            self.begin_timer(call)  # a person has more time than a server
            return
        fault = f"{self._pool.servers[branch.place].name}: no answer within {seconds}"
        self.fail(call, replies.LOST, f"the request was lost: {fault}", "unknown")
        if not call.is_handshake and not branch.outbox.is_paused:
            branch.outbox.put((replies.cancelled(call.id, f"no answer within {seconds}"),))
        self._pool.failed(branch.place, fault)

    def cancel(self, notification: Frame, target: RequestId) -> None:
        """Send a ``notifications/cancelled`` to the server that has the call, and give that a while for its answer.

        The server need not send one, and that is no failure.
        """
        call = self.find(target)
        if call is not None and call.branch is not None:
            call.branch.outbox.put((notification,))
            call.is_cancelled = True
            if call.timer is not None:
                call.timer.cancel()
            self._books.await_cancelled(target)
        elif call is not None:
            self._fail_with(call, replies.cancelled_unanswered(target, was_sent=False))

    def _give_due(self, due: Due) -> None:
        """Give a call its outcome whose server has given it none of its own."""
        call = self._books.find(due.request_id)
        if due.stray is not None:
            self._owner.give(due.stray)
        elif call is not None:
            self._fail_with(call, due.outcome)

    def faults_of(self, call: Call) -> str:
        """Return what each server answered that a call was sent to in vain."""
        if not call.faults:
            return "no server took the request"
        faults = [said_by(self._pool.servers[place].name, fault) for place, fault in call.faults.items()]
        times = f", tried {call.rounds} times" if call.rounds > 1 else ""
        if len(faults) == 1:
            return f"the server could not be reached{times}: {faults[0]}"
        return f"none of {len(faults)} servers could be reached{times}: {'; '.join(faults)}"

    # One outcome for each.

    def settle(self, call: Call) -> None:
        """End a call: it has had its outcome."""
        if call in self:
            self._books.answer(call.id)
        for handle in (call.timer, call.retry):
            if handle is not None:
                handle.cancel()
        self.leave(call, is_excused=call.is_cancelled or call.branch is None)
        self._owner.call_settled()

    def leave(self, call: Call, *, is_excused: bool) -> None:
        """Count a call as its server's no more; ``is_excused``: the server need not have answered it."""
        if call.place is not None and not call.is_subscription:
            self._pool.schedule.settled(call.place, is_excused=is_excused)
        call.place = None

    def fail(self, call: Call, code: int, message: str, delivered: replies.Delivered) -> None:
        """Answer a call with an error."""
        logger.info("%s: request %r: %s", self._name, call.id, message)
        self._fail_with(call, replies.error(call.id, code, message, delivered=delivered))

    def _fail_with(self, call: Call, error: Frame) -> None:
        self.settle(call)
        self._inbox.put((error,))
        self._owner.call_failed(call)

    def refuse_as_over(self, call: Call, message: str) -> None:
        """Tell a client that can begin a new session to do so: its request surely was not executed."""
        self.settle(call)
        logger.info("%s: request %r: %s", self._name, call.id, message)
        self._inbox.put((replies.session_over(call.id, message),))

    def fail_all(self, message: str) -> None:
        """Answer every call with an error: none of them will have another answer."""
        for call in self:
            self.settle(call)
            delivered: replies.Delivered = "unknown" if call.branch is not None else "no"
            code = replies.LOST if call.branch is not None else replies.UNAVAILABLE
            self._inbox.put((replies.error(call.id, code, message, delivered=delivered),))

    def end_subscriptions(self) -> None:
        """Answer every call that is still open as a subscription that ends in good order."""
        for call in self:
            self.settle(call)
            self._inbox.put((replies.subscription_ended(call.id),))
