"""One client's share of several servers that stand in for one another: an endpoint made of endpoints.

A session of the legacy era has a *home*, the first server that could be reached, and stays there. Requests of
2026-07-28 have no session: each goes where it is the next one's turn. A request goes to another server only if the one
before surely has not got it: nobody listened there, or the program could not be started.

Every request has one outcome: a server's answer, or an error that says what was tried and what became of it.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Callable, Sequence

from relay.endpoints.base import Endpoint
from relay.endpoints.combined.pool import Balancer
from relay.endpoints.core.inbox import FrameInbox
from relay.endpoints.core.last_resort import give_later
from relay.endpoints.core.lazy import Lazy
from relay.endpoints.core.tasks import TaskScope
from relay.errors import ConfigError, EndpointBroken, EndpointClosed, EndpointUnavailable, RelayError, ServerLeftOut
from relay.frames import replies
from relay.frames.frame import Frame, each_message
from relay.frames.head import Kind, RequestId
from relay.mcp.facts import read_facts
from relay.routing.matching import Strays, home_of, only_of
from relay.routing.renaming import LISTEN

__all__ = ["Choice"]

logger = logging.getLogger("relay")

_HOLD, _MOST_HOLDS = 0.05, 20  # seconds: a burst before servers of which nothing is known; then it goes anyway
_MOST_WAITS = 5  # holds for one server when another has answered: it may just be a little slower
_LAST_WORDS = 0.5  # seconds for what servers that owe nothing may still say once they know of our end
_LAST_FRAMES = 0.1  # seconds for what a server that is closed had said before


class _Asked:
    """A request that waits for its answer, and where it was sent."""

    __slots__ = (
        "branch", "frame", "holds", "is_cancelled", "is_handshake", "is_spread", "is_subscription", "promised",
        "rounds", "said", "timer", "tried", "waiting", "waits",
    )  # fmt: skip

    def __init__(self, frame: Frame) -> None:
        self.frame = frame
        self.is_spread = read_facts(frame) is not None
        self.is_handshake = frame.head.method == "initialize" and not self.is_spread
        self.is_subscription = self.is_spread and frame.head.method == LISTEN
        self.is_cancelled = False
        self.branch: _Branch | None = None
        self.tried: set[int] = set()
        self.said: dict[int, str] = {}
        """What each server answered that could not be reached."""
        self.rounds = 0
        self.holds = 0
        self.promised: int | None = None
        """The server whose first answer it waits for."""
        self.waits = 0
        self.timer: asyncio.TimerHandle | None = None
        self.waiting: asyncio.TimerHandle | None = None

    def release(self) -> None:
        for handle in (self.timer, self.waiting):
            if handle is not None:
                handle.cancel()


class _Branch:
    """The way to one server: what waits to be sent there, and the two tasks that carry."""

    def __init__(self, owner: Choice, place: int, endpoint: Endpoint, tasks: TaskScope) -> None:
        self.place = place
        self.endpoint = endpoint
        self.is_reached = False
        """Whether it is known that somebody is there."""
        self.is_over = False
        self.has_told_end = False
        """Whether its server knows that no more will come."""
        self.has_ended = False
        """Whether its server will send no more, though something of it may wait to be received."""
        self.outbox = FrameInbox(endpoint.name, owner.balancer.limits)
        self._owner = owner
        self._tasks = tasks
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
            if self._receiving is not None:  # why it went says more than that nothing could be sent there
                await asyncio.wait((self._receiving,), timeout=self._owner.balancer.limits.close_grace)
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
            self._sending.cancel()  # who connects has nothing to say
            await asyncio.wait((self._sending,))
        await self.endpoint.aclose(reason)
        if self._receiving is not None:
            await asyncio.wait((self._receiving,), timeout=_LAST_FRAMES)
        self._sending.cancel()


class Choice:
    """An endpoint behind which any of several servers may be."""

    def __init__(
        self,
        balancer: Balancer,
        *,
        is_shared: bool = False,
        ends_with_home: bool = False,
        owns_balancer: bool = False,
    ) -> None:
        """Choose among the targets of ``pool`` when frames come; start and connect nothing before.

        ``is_shared``: many clients of 2026-07-28 are behind this one. ``ends_with_home``: a session ends when its
        server is ejected and there is another, for a client that will begin a new one. ``owns_balancer``: closing
        also closes that.
        """
        self.balancer = balancer
        self.name = balancer.name
        self._is_shared = is_shared
        self._ends_with_home = ends_with_home
        self._owns_balancer = owns_balancer
        self._inbox = FrameInbox(self.name, balancer.limits)
        self._asked: dict[RequestId, _Asked] = {}
        self._strays = Strays()
        give_later(self._strays, balancer.limits.stray_grace, self._give)
        self._by_token: dict[RequestId, _Asked] = {}
        self._branches: dict[int, _Branch] = {}
        self._home: _Branch | None = None
        self._greeted = asyncio.Event()  # not while a handshake is under way: what follows must go where that goes
        self._greeted.set()
        self._tasks = TaskScope()
        self._has_eof = False
        self._last_words: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._over: EndpointBroken | None = None
        """Why the session is over: its home is not asked any more, and its client can begin a new one."""
        self.dropped = 0
        balancer.watchers.add(self._target_ejected)

    @property
    def in_flight(self) -> int:
        """Requests that wait for an answer."""
        return len(self._asked)

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
            fault = f"not a JSON-RPC message: {head.fault}"
            self._inbox.put((replies.error(head.id, replies.INVALID_REQUEST, fault),))
        elif head.kind is Kind.REQUEST:
            await self._send_request(frame)
        elif head.target is not None and head.method == "notifications/cancelled":
            self._cancel(frame, head.target)
        else:
            await self._send_other(frame)
        await self._inbox.wait_for_room()

    def _check_open(self) -> None:
        if self._is_closed or self._has_eof or self._inbox.is_finished:
            raise EndpointClosed(f"{self.name}: send after its end")

    async def _send_request(self, frame: Frame) -> None:
        asked = _Asked(frame)
        request_id, token = frame.head.id, frame.head.token
        assert request_id is not None, "a request has an id"
        if not asked.is_spread:
            await self._greeted.wait()
            self._check_open()
        if request_id in self._asked:
            # Not under that id: the client would take it for the answer to the first request.
            fault = f"the id {request_id!r} is in use"
            self._inbox.put((replies.error(None, replies.INVALID_REQUEST, fault, delivered="no"),))
            return
        self._asked[request_id] = asked
        if token is not None:
            self._by_token[token] = asked
        if self._over is not None and not asked.is_spread:
            self._refuse_as_over(asked, str(self._over))
            return
        self._begin_timer(asked)
        if asked.is_handshake:
            self._greeted.clear()
        was_full = self._dispatch(asked)
        if asked.branch is not None and (was_full or not asked.is_spread):
            await asked.branch.outbox.wait_for_room()

    async def _send_other(self, frame: Frame) -> None:
        """Send a notification or an answer: both belong to the session."""
        await self._greeted.wait()
        self._check_open()
        home = self._home
        if home is None and not self._is_shared and (place := self.balancer.rota.choose()) is not None:
            home = self._settle_at(self._branch(place))
        if home is None:
            self._drop(frame, "no server is the session's")
            return
        home.outbox.put((frame,))
        await home.outbox.wait_for_room()

    def _cancel(self, frame: Frame, target: RequestId) -> None:
        asked = self._asked.get(target)
        if asked is None:
            return
        if asked.branch is not None:
            asked.branch.outbox.put((frame,))
            # Its server need not answer it any more; that it does not is no failure.
            asked.is_cancelled = True
            asked.release()
            grace = self.balancer.limits.cancel_grace
            asked.timer = asyncio.get_running_loop().call_later(grace, self._end_cancelled, asked)
        else:
            self._fail(asked, replies.CANCELLED, "the request was cancelled before it was sent", "no")

    def _end_cancelled(self, asked: _Asked) -> None:
        self._fail(asked, replies.CANCELLED, "the request was cancelled", "unknown")

    async def send_eof(self) -> None:
        """Say to each server that no more will be sent; what they still owe is still received."""
        if self._has_eof or self._is_closed:
            return
        self._has_eof = True
        self._finish_if_settled()

    async def aclose(self, reason: RelayError | None = None) -> None:
        """End the way to every server; requests that are open get an error that carries ``reason``."""
        if self._is_closed:
            return
        self._is_closed = True
        self.balancer.watchers.discard(self._target_ejected)
        try:
            branches = list(self._branches.values())
            await asyncio.gather(*(branch.aclose(reason) for branch in branches))
        finally:
            self._fail_all(f"the request was lost: {reason or 'the relay is shutting down'}")
            self._leave_home()
            self._inbox.finish()
            self._greeted.set()
            if self._last_words is not None:
                self._last_words.cancel()
            await self._tasks.aclose()
            if self._owns_balancer:
                await self.balancer.aclose()

    # Where requests go.

    def _branch(self, place: int) -> _Branch:
        branch = self._branches.get(place)
        if branch is None or branch.outbox.is_finished:
            target = self.balancer.targets[place]
            try:
                endpoint = target.make(self._is_shared)
            except EndpointUnavailable as exc:
                endpoint = Lazy(target.name, functools.partial(_refuse, exc))
            branch = self._branches[place] = _Branch(self, place, endpoint, self._tasks)
        return branch

    def _dispatch(self, asked: _Asked) -> bool:
        """Send a request to its home, or to whose turn it is; return whether more than enough waits there already."""
        asked.waiting = None
        is_free = asked.is_spread or asked.is_handshake  # to go anywhere
        if is_free and asked.holds < _MOST_HOLDS and self.balancer.rota.is_untried:
            asked.holds += 1
            asked.waiting = asyncio.get_running_loop().call_later(_HOLD, self._dispatch, asked)
            return False
        place = self._place_for(asked)
        if place is None:
            self._try_later(asked)
            return False
        if is_free and self.balancer.rota.is_awaited(place):
            self._hold_for(asked, place)
            return False
        branch = self._branch(place)
        was_full = branch.outbox.is_paused
        asked.branch = branch
        if not asked.is_subscription:
            self.balancer.rota.took(place)
        if not asked.is_spread and self._home is None:
            self._settle_at(branch)
        branch.outbox.put((asked.frame,))
        self._finish_sending()
        return was_full

    def _hold_for(self, asked: _Asked, place: int) -> None:
        """Let a request wait for the server whose turn it is, and count it as that one's."""
        standing = self.balancer.rota.standings[place]
        asked.promised, asked.waits = place, asked.waits + 1
        standing.promised += 1
        standing.is_worth_waiting = asked.waits < _MOST_WAITS
        asked.waiting = asyncio.get_running_loop().call_later(_HOLD, self._dispatch, asked)

    def _take_promise(self, asked: _Asked) -> int | None:
        """Return the server that a request has waited for, if that is still the one for it."""
        place, asked.promised = asked.promised, None
        if place is None:
            return None
        standing = self.balancer.rota.standings[place]
        standing.promised -= 1
        is_well = standing.fault is None and (standing.is_proven or self.balancer.rota.is_awaited(place))
        return place if is_well else None

    def _place_for(self, asked: _Asked) -> int | None:
        rota = self.balancer.rota
        promised = self._take_promise(asked)
        if promised is not None and (asked.is_spread or self._home is None):
            return promised
        if not asked.is_spread:
            if self._home is None:
                return rota.choose(asked.tried, may_wait=asked.is_handshake)
            return None if self._home.place in asked.tried else self._home.place
        full = {place for place, branch in self._branches.items() if branch.outbox.is_paused}
        place = rota.choose(asked.tried | full, may_wait=True)
        return rota.choose(asked.tried) if place is None and full else place

    def _settle_at(self, branch: _Branch) -> _Branch:
        self._home = branch
        self.balancer.rota.standings[branch.place].sessions += 1
        return branch

    def _leave_home(self) -> None:
        if self._home is not None:
            self.balancer.rota.standings[self._home.place].sessions -= 1
            self._home = None

    def _try_later(self, asked: _Asked) -> None:
        """Begin another round after a while, or give a request up."""
        asked.rounds += 1
        if asked.rounds < self.balancer.retry.attempts:
            asked.tried.clear()
            loop = asyncio.get_running_loop()
            asked.waiting = loop.call_later(self.balancer.retry.delay, self._dispatch, asked)
            return
        self._fail(asked, replies.UNAVAILABLE, self._what_was_said(asked), "no")

    def _what_was_said(self, asked: _Asked) -> str:
        if not asked.said:
            return "no server took the request"
        said = [_told_by(self.balancer.targets[place].name, fault) for place, fault in asked.said.items()]
        times = f", tried {asked.rounds} times" if asked.rounds > 1 else ""
        if len(said) == 1:
            return f"the server could not be reached{times}: {said[0]}"
        return f"none of {len(said)} servers could be reached{times}: {'; '.join(said)}"

    def _undelivered(self, asked: _Asked, fault: str) -> None:
        """Send a request elsewhere: its server surely has not got it."""
        branch = asked.branch
        assert branch is not None, "it was sent"
        self._count_out(asked, is_excused=True)
        asked.branch = None
        asked.tried.add(branch.place)
        asked.said[branch.place] = fault
        is_lost = self._home is branch and branch.is_reached and self._is_ending(branch.place)
        self.balancer.refused(branch.place, fault)
        if self._home is branch and not branch.is_reached:
            self._leave_home()
            self._retire(branch)
        if asked.frame.head.id not in self._asked:
            return  # failed with its session
        if is_lost and not asked.is_spread:
            self._refuse_as_over(asked, self._what_was_said(asked))
        else:
            self._dispatch(asked)

    def _is_ending(self, place: int) -> bool:
        return self._ends_with_home and self.balancer.rota.has_other(place)

    def _retire(self, branch: _Branch) -> None:
        if self._branches.get(branch.place) is branch:
            del self._branches[branch.place]
        branch.outbox.finish()
        self._tasks.spawn(branch.aclose(), name=f"{branch.endpoint.name}: retire")

    # What comes from the servers.

    async def take(self, branch: _Branch, frames: Sequence[Frame]) -> None:
        """Take what a server sent; waits while the client takes no more, unless these are the server's last words."""
        # One at a time: an error of ours for one must not overtake what came before it.
        for one in each_message(frames):
            if (taken := self._take_one(branch, one)) is not None:
                self._inbox.put((taken,))
        if not self._is_closed and not branch.has_ended:  # who sends must hear of the end, whether or not he reads
            await self._inbox.wait_for_room()

    def _take_one(self, branch: _Branch, frame: Frame) -> Frame | None:
        """Look at one message of a server; return how it goes on, if it does."""
        head = frame.head
        if head.kind is Kind.RESPONSE:
            if head.id not in self._asked and (home := self._home_of(branch, frame)) is not None:
                frame = home
            if frame.head.id is not None:
                return self._take_answer(branch, frame, frame.head.id)
            return None if self._strays.doubts else frame
        branch.is_reached = True
        if head.kind is Kind.REQUEST and branch is not self._home:
            # Of 2026-07-28, whose servers must not ask; and the client's answer would go to its home.
            refusal = replies.error(head.id, replies.METHOD_NOT_FOUND, "no client of 2026-07-28 takes requests")
            branch.outbox.put((refusal,))
            return None
        if head.token is not None and (asked := self._by_token.get(head.token)) is not None:
            self._begin_timer(asked)
        return frame

    def _home_of(self, branch: _Branch, frame: Frame) -> Frame | None:
        """Return an answer that comes under no open request's id as it goes to the request that it is for."""
        waiting = {request_id: asked for request_id, asked in self._asked.items() if asked.branch is branch}
        name = self.balancer.targets[branch.place].name
        home = home_of(frame, waiting, name)
        if home is None:
            only = only_of([request_id for request_id, asked in waiting.items() if not asked.is_subscription])
            self._strays.take(frame, only, name)
        return home

    def _give(self, outcome: Frame) -> None:
        asked = self._asked.get(outcome.head.id) if outcome.head.id is not None else None
        if asked is not None and asked.branch is not None:
            taken = self._take_one(asked.branch, outcome)
            self._inbox.put(() if taken is None else (taken,))

    def _take_answer(self, branch: _Branch, frame: Frame, request_id: RequestId) -> Frame | None:
        asked = self._asked.get(request_id)
        if asked is None or asked.branch is not branch:
            self._drop(frame, "an answer for which nobody waits")
            return None
        fault = replies.fault_of(frame)
        if fault is not None and fault.is_undelivered and not self._is_closed:
            self._undelivered(asked, fault.message)
            return None
        branch.is_reached = True
        self._settle(asked)
        if fault is not None and fault.is_failure:
            self.balancer.failed(branch.place, fault.message)
        else:
            self.balancer.answered(branch.place)
        if asked.is_handshake:
            self._handshake_ended(branch, is_greeted=b'"result"' in frame.raw)
        return frame

    def _handshake_ended(self, branch: _Branch | None, *, is_greeted: bool) -> None:
        """Let go on what waited; without a session, the next ``initialize`` may go elsewhere."""
        self._greeted.set()
        if not is_greeted and branch is not None and branch is self._home and not self._has_eof:
            self._leave_home()
            self._retire(branch)

    # Ends.

    def branch_refused(self, branch: _Branch, unsent: Sequence[Frame], fault: str) -> None:
        """Take note that nobody is there: what should have gone there goes elsewhere."""
        self._forget(branch)
        was_home = self._home is branch
        if was_home:
            self._leave_home()
        self.balancer.refused(branch.place, fault)
        for frame in unsent:
            asked = self._asked.get(frame.head.id) if frame.head.id is not None else None
            if frame.head.kind is Kind.REQUEST and asked is not None and asked.branch is branch:
                self._undelivered(asked, fault)
            elif was_home and self._home is not None:
                self._home.outbox.put((frame,))
            elif frame.head.kind is not Kind.REQUEST:
                logger.warning("%s: %s was not sent: %s", self.name, frame.head.method or "an answer", fault)
        for asked in [asked for asked in self._asked.values() if asked.branch is branch]:
            self._fail(asked, replies.LOST, f"the request was lost: {fault}", "unknown")
        self._finish_if_settled()

    def branch_ended(self, branch: _Branch, failure: RelayError | None) -> None:
        """Take a server's end: what it still owed is lost, and a session of it is over."""
        if self._is_closed or branch.is_over:
            return
        self._forget(branch)
        branch.outbox.finish()
        name = self.balancer.targets[branch.place].name
        lost = [asked for asked in self._asked.values() if asked.branch is branch]
        reason = str(failure or f"{name} has ended")
        for asked in lost:
            self._fail(asked, replies.LOST, f"the request was lost: {_told_by(name, reason)}", "unknown")
        if failure is not None or lost:
            self.balancer.failed(branch.place, reason)
        if self._home is branch:
            self._leave_home()
            self._end(self._over or failure, reason)
        self._finish_if_settled()

    def branch_told_end(self) -> None:
        """Take note that a server knows of our end."""
        self._finish_soon_if_quiet()

    def _forget(self, branch: _Branch) -> None:
        branch.is_over = True
        if self._branches.get(branch.place) is branch:
            del self._branches[branch.place]

    def _end(self, failure: RelayError | None, reason: str) -> None:
        """End the session: its server has gone."""
        if self._has_eof and failure is None:
            return  # it was told to; other servers may still answer
        self._fail_all(f"the request was lost: {reason}")
        self._inbox.finish(failure)
        self._greeted.set()

    def _target_ejected(self, place: int) -> bool:
        """Let the session end if it is at home there and can begin anew elsewhere: what it has open has its outcome.

        Return whether it does.
        """
        home = self._home
        if home is None or home.place != place or not home.is_reached or not self._is_ending(place):
            return False
        self._over = ServerLeftOut(
            f"{self.balancer.targets[place].name} is not asked any more: {self._fault_at(place)}"
        )
        self._end_soon()
        return True

    def _end_soon(self) -> None:
        """End the session that is over, not before whoever has a request in hand has answered it."""
        asyncio.get_running_loop().call_soon(self._end_if_settled)

    def _end_if_settled(self) -> None:
        over, is_open = self._over, any(not asked.is_spread for asked in self._asked.values())
        if over is not None and not is_open and not self._inbox.is_finished:
            self._end(over, str(over))

    def _fault_at(self, place: int) -> str:
        return self.balancer.rota.standings[place].fault or "it has failed"

    def _finish_if_settled(self) -> None:
        self._finish_sending()
        if self._has_eof and not self._branches and not any(asked.waiting for asked in self._asked.values()):
            self._inbox.finish()
        self._finish_soon_if_quiet()

    def _finish_sending(self) -> None:
        """Say to the servers that no more will come, unless a request has still to find its own."""
        if self._has_eof and not any(asked.waiting for asked in self._asked.values()):
            for branch in self._branches.values():
                branch.outbox.finish()

    def _finish_soon_if_quiet(self) -> None:
        """Finish a moment after the end of what was owed, though a server stays: it has been told, and owes nothing."""
        is_owed = any(not asked.is_subscription for asked in self._asked.values())
        is_quiet = self._has_eof and not is_owed and all(one.has_told_end for one in self._branches.values())
        if is_quiet and not self._is_closed and self._last_words is None:
            grace = min(_LAST_WORDS, self.balancer.limits.close_grace)
            self._last_words = asyncio.get_running_loop().call_later(grace, self._finish_quietly)

    def _finish_quietly(self) -> None:
        for request_id, asked in tuple(self._asked.items()):
            self._settle(asked)
            self._inbox.put((replies.subscription_ended(request_id),))
        self._inbox.finish()

    # One outcome for each request.

    def _begin_timer(self, asked: _Asked) -> None:
        timeout = self.balancer.retry.timeout
        if timeout is None or asked.is_subscription:
            return
        if asked.timer is not None:
            asked.timer.cancel()
        asked.timer = asyncio.get_running_loop().call_later(timeout, self._timed_out, asked)

    def _timed_out(self, asked: _Asked) -> None:
        branch, request_id = asked.branch, asked.frame.head.id
        seconds = f"{self.balancer.retry.timeout:g} s"
        if branch is None or request_id is None:
            self._fail(asked, replies.UNAVAILABLE, f"{self._what_was_said(asked)}; given up after {seconds}", "no")
            return
        fault = f"{self.balancer.targets[branch.place].name}: no answer within {seconds}"
        self._fail(asked, replies.LOST, f"the request was lost: {fault}", "unknown")
        if not asked.is_handshake and not branch.outbox.is_paused:
            branch.outbox.put((replies.cancelled(request_id, f"no answer within {seconds}"),))
        self.balancer.failed(branch.place, fault)

    def _fail(self, asked: _Asked, code: int, message: str, delivered: replies.Delivered) -> None:
        branch = asked.branch
        self._settle(asked)
        logger.info("%s: request %r: %s", self.name, asked.frame.head.id, message)
        self._inbox.put((replies.error(asked.frame.head.id, code, message, delivered=delivered),))
        if asked.is_handshake:
            self._handshake_ended(branch, is_greeted=False)
        self._finish_if_settled()

    def _refuse_as_over(self, asked: _Asked, said: str) -> None:
        """Tell a client that can begin a new session to do so: its request surely was not executed."""
        self._settle(asked)
        logger.info("%s: request %r: %s", self.name, asked.frame.head.id, said)
        self._inbox.put((replies.session_over(asked.frame.head.id, said),))

    def _fail_all(self, message: str) -> None:
        for asked in tuple(self._asked.values()):
            self._settle(asked)
            delivered: replies.Delivered = "unknown" if asked.branch is not None else "no"
            code = replies.LOST if asked.branch is not None else replies.UNAVAILABLE
            self._inbox.put((replies.error(asked.frame.head.id, code, message, delivered=delivered),))

    def _settle(self, asked: _Asked) -> None:
        head = asked.frame.head
        if head.id is not None:
            self._asked.pop(head.id, None)
            self._strays.note(hash(head.id))
            self._strays.doubts.pop(head.id, None)
        if self._over is not None:
            self._end_soon()
        if head.token is not None and self._by_token.get(head.token) is asked:
            del self._by_token[head.token]
        asked.release()
        self._take_promise(asked)
        self._count_out(asked, is_excused=asked.is_cancelled)  # its branch still says where it was
        self._finish_soon_if_quiet()

    def _count_out(self, asked: _Asked, *, is_excused: bool) -> None:
        if asked.branch is not None and not asked.is_subscription:
            self.balancer.rota.settled(asked.branch.place, is_excused=is_excused)

    def _drop(self, frame: Frame, what: str) -> None:
        self.dropped += 1
        logger.debug("%s: dropped %s: %s", self.name, what, frame.head.method or frame.head.id)


async def _refuse(failure: RelayError) -> Endpoint:
    raise failure


def _told_by(name: str, fault: str) -> str:
    """Say who said what; errors of endpoints begin with their names."""
    return fault if fault.startswith(name) else f"{name}: {fault}"
