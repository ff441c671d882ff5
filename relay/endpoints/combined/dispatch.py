"""Where the requests of one session go: its home, and a branch to each server that it uses."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Sequence
from typing import Protocol

from relay.endpoints.base import Endpoint
from relay.endpoints.combined.branch import Branch, BranchOwner
from relay.endpoints.combined.calls import Call, Calls
from relay.endpoints.combined.pool import Pool
from relay.endpoints.core.lazy import Lazy
from relay.endpoints.core.tasks import TaskScope
from relay.errors import EndpointUnavailable, RelayError, ServerLeftOut
from relay.frames import replies
from relay.frames.frame import Frame
from relay.frames.head import Kind

__all__ = ["Dispatch", "DispatchOwner"]

logger = logging.getLogger("relay")


class DispatchOwner(BranchOwner, Protocol):
    """The session that requests are dispatched for."""

    @property
    def has_eof(self) -> bool:
        """Whether the client will send no more."""

    def end_soon(self) -> None:
        """End the session once what it has open has its outcome."""


class Dispatch:
    """The home of a session, its branches, and the next server for each call."""

    def __init__(
        self, pool: Pool, calls: Calls, owner: DispatchOwner, *, is_shared: bool, ends_with_home: bool
    ) -> None:
        """Connect to nothing yet; for the two switches see ``Failover``."""
        self.branches: dict[int, Branch] = {}
        self.home: Branch | None = None
        self.over: ServerLeftOut | None = None
        """Why the session is over: its home is not asked any more, and its client can begin a new one."""
        self.tasks = TaskScope()
        self._pool = pool
        self._calls = calls
        self._owner = owner
        self._is_shared = is_shared
        self._ends_with_home = ends_with_home
        pool.watchers.add(self._server_ejected)

    # Branches.

    def branch_to(self, place: int) -> Branch:
        """Return the branch to a server; a new one connects."""
        branch = self.branches.get(place)
        if branch is None or branch.outbox.is_finished:
            server = self._pool.servers[place]
            try:
                endpoint = server.make(self._is_shared)
            except EndpointUnavailable as exc:
                endpoint = Lazy(server.name, functools.partial(_refuse, exc))
            branch = self.branches[place] = Branch(place, endpoint, self._owner, self.tasks, self._pool.limits)
        return branch

    def find_home(self) -> Branch | None:
        """Return the session's home; without one, and unless many clients are behind this, choose one."""
        if self.home is None and not self._is_shared and (place := self._pool.schedule.choose()) is not None:
            self._stay_at(self.branch_to(place))
        return self.home

    def _stay_at(self, branch: Branch) -> None:
        self.home = branch
        self._pool.schedule.standings[branch.place].sessions += 1

    def leave_home(self) -> None:
        """Let the session have no home."""
        if self.home is not None:
            self._pool.schedule.standings[self.home.place].sessions -= 1
            self.home = None

    def retire_home(self) -> None:
        """Leave the home and close the way to it."""
        branch = self.home
        if branch is not None:
            self.leave_home()
            self._remove(branch)
            branch.outbox.finish()
            self.tasks.spawn(branch.aclose(), name=f"{branch.endpoint.name}: retire")

    def forget(self, branch: Branch) -> None:
        """Send nothing to a branch any more: it is over."""
        branch.is_over = True
        self._remove(branch)

    def _remove(self, branch: Branch) -> None:
        if self.branches.get(branch.place) is branch:
            del self.branches[branch.place]

    def finish_sending(self) -> None:
        """After the client's end, send it on to the servers, unless a call still waits for one."""
        if self._owner.has_eof and not self.has_waiting:
            for branch in self.branches.values():
                branch.outbox.finish()

    @property
    def has_waiting(self) -> bool:
        """Whether a call was not sent yet."""
        return any(call.branch is None for call in self._calls)

    # Calls.

    def dispatch(self, call: Call) -> bool:
        """Send a call to its home, or to the server whose turn it is; return whether too much waits there already."""
        schedule = self._pool.schedule
        place = self._place_for(call)
        if place is None:
            self._try_later(call)
            return False
        must_wait = call.is_free and not call.has_waited and schedule.is_awaited(place)
        call.place = place
        if not call.is_subscription:
            schedule.took(place)
        if must_wait:
            call.has_waited = True
            self._pool.call_at_answer(place, functools.partial(self._go_on, call, place))
            return False
        return self._send(call, place)

    def _go_on(self, call: Call, place: int) -> None:
        """Send a call that has waited for a server's first answer: there if it has come, else anywhere."""
        if call not in self._calls or call.branch is not None:
            return
        standing = self._pool.schedule.standings[place]
        has_moved = not call.is_modern and self.home is not None
        if standing.is_proven and standing.fault is None and not has_moved:
            self._send(call, place)
        else:
            self._calls.leave(call, is_excused=True)
            self.dispatch(call)

    def _send(self, call: Call, place: int) -> bool:
        branch = self.branch_to(place)
        was_full = branch.outbox.is_paused
        call.branch = branch
        if call.has_waited:
            self._calls.begin_timer(call)  # its server has had none of the time that it waited for another
        if not call.is_modern and self.home is None:
            self._stay_at(branch)
        branch.outbox.put((call.frame,))
        self.finish_sending()
        return was_full

    def _place_for(self, call: Call) -> int | None:
        schedule = self._pool.schedule
        may_wait = call.is_free and not call.has_waited
        if not call.is_modern:
            if self.home is None:
                return schedule.choose(call.tried, may_wait=may_wait)
            return None if self.home.place in call.tried else self.home.place
        full = {place for place, branch in self.branches.items() if branch.outbox.is_paused}
        place = schedule.choose(call.tried | full, may_wait=may_wait)
        return schedule.choose(call.tried) if place is None and full else place

    def _try_later(self, call: Call) -> None:
        """Begin another round after a while, or give a call up."""
        call.rounds += 1
        if call.rounds < self._pool.retry.attempts:
            call.tried.clear()
            call.retry = asyncio.get_running_loop().call_later(self._pool.retry.delay, self.dispatch, call)
            return
        self._calls.fail(call, replies.UNAVAILABLE, self._calls.faults_of(call), "no")

    def undelivered(self, call: Call, fault: str) -> None:
        """Send a call elsewhere: its server surely has not got it."""
        branch = call.branch
        assert branch is not None, "it was sent"
        self._calls.leave(call, is_excused=True)
        call.branch = None
        call.tried.add(branch.place)
        call.faults[branch.place] = fault
        is_lost = self.home is branch and branch.is_reached and self._can_begin_anew(branch.place)
        self._pool.refused(branch.place, fault)
        if self.home is branch and not branch.is_reached:
            self.retire_home()
        if call not in self._calls:
            return  # it has failed with its session
        if is_lost and not call.is_modern:
            self._calls.refuse_as_over(call, self._calls.faults_of(call))
        else:
            self.dispatch(call)

    def resend(self, branch: Branch, unsent: Sequence[Frame], fault: str, *, was_home: bool) -> None:
        """Send elsewhere what a server has not got that could not be reached."""
        for frame in unsent:
            call = self._calls.find(frame.head.id) if frame.head.kind is Kind.REQUEST else None
            if call is not None and call.branch is branch:
                self.undelivered(call, fault)
            elif was_home and self.home is not None:
                self.home.outbox.put((frame,))
            elif frame.head.kind is not Kind.REQUEST:
                what = frame.head.method or "an answer"
                logger.warning("%s: %s was not sent: %s", self._pool.name, what, fault)

    # The end of a session whose home is ejected.

    def stop_watching(self) -> None:
        """Let the session end no more by what becomes of its home."""
        self._pool.watchers.discard(self._server_ejected)

    def _server_ejected(self, place: int) -> bool:
        """Let the session end if it is at home there and can begin anew elsewhere; return whether it does.

        What it has open has its outcome before.
        """
        home = self.home
        if home is None or home.place != place or not home.is_reached or not self._can_begin_anew(place):
            return False
        fault = self._pool.schedule.standings[place].fault or "it has failed"
        self.over = ServerLeftOut(f"{self._pool.servers[place].name} is not asked any more: {fault}")
        self._owner.end_soon()
        return True

    def _can_begin_anew(self, place: int) -> bool:
        return self._ends_with_home and self._pool.schedule.has_other(place)


async def _refuse(failure: RelayError) -> Endpoint:
    raise failure
