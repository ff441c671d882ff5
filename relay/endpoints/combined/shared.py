"""One server for several sessions of the legacy era: ``--share shared``.

The first ``initialize`` is the server's; its answer serves every later session of the same protocol version. Each
request gets a number of the relay's own and is named back. ``SharedSessions`` is the side that a pipe joins to the
server, a ``Member`` the side that a pipe joins to one session.

What the server says of a request goes to the session that made it. What it says to all goes to all. What could be any
one session's goes to the only one that has a request open, and while none has to all; if there are several, nobody gets
it: it could be private.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

import msgspec

from relay.endpoints.core.books import Books
from relay.endpoints.core.inbox import FrameInbox
from relay.errors import EndpointBroken, EndpointClosed, RelayError
from relay.frames import replies
from relay.frames.frame import Frame, each_message
from relay.frames.head import Kind, RequestId
from relay.frames.ids import Unnameable, with_id, with_target
from relay.frames.strictness import UNREADABLE, read_text
from relay.limits import Limits
from relay.mcp.revisions import LEGACY_VERSIONS
from relay.routing.ledger import Due, Ledger
from relay.routing.matching import answers_in
from relay.routing.renaming import Renamed, Renaming

__all__ = ["IDLE", "Member", "SharedPool", "SharedSessions"]

logger = logging.getLogger("relay")

_TO_ALL = frozenset(
    (
        "notifications/tools/list_changed",
        "notifications/prompts/list_changed",
        "notifications/resources/list_changed",
    )
)
IDLE = 10.0
"""Seconds after which a server that nobody shares any more has ended, or is on the way: stubborn ones take 10 more."""
_UPDATED = "notifications/resources/updated"


_MaybeRaw = msgspec.Raw | msgspec.UnsetType


class _Params(msgspec.Struct):
    uri: _MaybeRaw = msgspec.UNSET
    protocolVersion: _MaybeRaw = msgspec.UNSET


class _Message(msgspec.Struct):
    params: _Params | None = None
    error: msgspec.Raw | None = None


_decode = msgspec.json.Decoder(_Message).decode


def _params(frame: Frame) -> _Params:
    try:
        return _decode(frame.raw).params or _Params()
    except UNREADABLE:
        return _Params()


def _is_error(frame: Frame) -> bool:
    try:
        return _decode(frame.raw).error is not None
    except UNREADABLE:
        return True


class SharedPool:
    """The shared servers of one command or URL: one for each protocol version that sessions ask for."""

    def __init__(
        self, name: str, limits: Limits, start: Callable[[SharedSessions], None], *, idle: float | None = IDLE
    ) -> None:
        """Call ``start`` with the clients' side of each new server, to be joined to one.

        A server ends ``idle`` seconds after its last session has left; None: never.
        """
        self.name = name
        self.limits = limits
        self._idle = idle
        self._start = start
        self._shared: dict[str, SharedSessions] = {}

    def member(self, is_listening: Callable[[], bool]) -> Member:
        """Return an endpoint for one session; ``is_listening`` says whether its client reads what comes unasked."""
        return Member(self, is_listening)

    def of_version(self, version: str) -> SharedSessions:
        """Return the sessions of a version; begins a server for the first of them."""
        shared = self._shared.get(version)
        if shared is None or shared.inbox.is_finished:
            # Any text may stand for a version: only servers of those there are outlive their sessions.
            idle = self._idle if version in LEGACY_VERSIONS else 0
            shared = SharedSessions(f"{self.name} ({version})", self.limits, idle=idle)
            self._shared[version] = shared
            self._start(shared)
        return shared

    async def aclose(self) -> None:
        """End every server, and the sessions it still has: they outlive their sessions, not the relay."""
        for shared in self._shared.values():
            await shared.aclose(EndpointClosed("the relay is shutting down"))


class Member:
    """One session's share of a server."""

    def __init__(self, pool: SharedPool, is_listening: Callable[[], bool]) -> None:
        """Belong to no server until ``initialize`` says of which version."""
        self.name = pool.name
        self.is_listening = is_listening
        self.inbox = FrameInbox(self.name, pool.limits)
        self.numbers: dict[RequestId, int] = {}
        """Its open requests: what the session calls them, and what the server does."""
        self.subscribed: set[str] = set()
        self.is_greeted = False
        """Whether its ``initialize`` has been answered: nothing that it has not asked for comes before that."""
        self._pool = pool
        self._shared: SharedSessions | None = None

    async def receive(self) -> Sequence[Frame]:
        """Return what the server has for this session."""
        return await self.inbox.receive()

    def call_at_end(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once the server will send no more."""
        self.inbox.call_at_end(callback)

    async def send(self, frames: Sequence[Frame]) -> None:
        """Send frames of the session to the server; waits while it takes no more. Raises EndpointClosed."""
        if self.inbox.is_finished:
            raise EndpointClosed(f"{self.name}: send after its end")
        for one in each_message(frames):
            self._send_one(one)
        if self._shared is not None:
            await self._shared.inbox.wait_for_room()

    def _send_one(self, frame: Frame) -> None:
        if self._shared is None:
            if frame.head.method != "initialize":
                if frame.head.kind is Kind.REQUEST:
                    fault = "a session begins with initialize"
                    self.inbox.put((replies.error(frame.head.id, replies.INVALID_REQUEST, fault, delivered="no"),))
                return
            self._shared = self._pool.of_version(read_text(_params(frame).protocolVersion) or "")
            self._shared.add(self)
        self._shared.take(self, frame)

    async def send_eof(self) -> None:
        """Leave the server: the session has ended. Other sessions go on."""
        self.leave()
        self.inbox.finish()

    async def aclose(self, reason: RelayError | None = None) -> None:
        """Leave the server; open requests get an error that carries ``reason``."""
        self.leave(reason)
        self.inbox.finish()

    def leave(self, reason: RelayError | None = None) -> None:
        """Take nothing more from the server; what the session has open there is cancelled."""
        shared, self._shared = self._shared, None
        end = replies.end_by(reason, "the session was closed")
        for request_id in self.numbers:
            self.inbox.put((end.answer(request_id),))
        if shared is not None:
            shared.remove(self)


class SharedSessions:
    """All sessions of one version, as one client of their server."""

    def __init__(self, name: str, limits: Limits, *, idle: float | None = IDLE) -> None:
        """Have no member; end ``idle`` seconds after the last has left (None: never)."""
        self.name = name
        self.inbox = FrameInbox(name, limits)
        self.members: list[Member] = []
        self.dropped = 0
        self._limits = limits
        self._idle = idle
        self._ending: asyncio.TimerHandle | None = None
        self._books: Books[Renamed[Member | None]] = Books(name, limits, self._give_due)
        self._requests = Renaming(self._books)
        self._asked: Ledger[Member] = Ledger()
        """What the server has asked which session."""
        self._greeting: int | None = None
        self._greeted: Frame | None = None
        self._is_initialized = False
        self._waiting: list[tuple[Member, Frame]] = []

    # From the sessions.

    def add(self, member: Member) -> None:
        """Let a session join."""
        self._stay()
        self.members.append(member)

    def _stay(self) -> None:
        if self._ending is not None:
            self._ending.cancel()
            self._ending = None

    def _end_unused(self) -> None:
        if not self.inbox.is_finished:
            logger.info("%s: ended, nobody has used it for %g s", self.name, self._idle)
            self.inbox.finish()

    def take(self, member: Member, frame: Frame) -> None:
        """Take a frame of one session for the server."""
        head = frame.head
        if head.kind is Kind.REQUEST and head.id is not None:
            if head.method == "initialize":
                self._greet(member, frame)
            elif not self._is_answered_here(member, frame):
                self._ask(member, frame)
        elif head.kind is Kind.RESPONSE and head.id is not None:
            self._take_answer(member, frame)
        elif head.method == "notifications/cancelled":
            self._cancel(member, frame)
        elif head.method == "notifications/initialized":
            if not self._is_initialized:
                self._is_initialized = True
                self.inbox.put((frame,))
        else:
            self.inbox.put((frame,))

    def _take_answer(self, member: Member, frame: Frame) -> None:
        """Take a session's answer to what the server has asked it, under the server's id."""
        if self._asked.find(frame.head.id) is member:
            self._asked.answer(frame.head.id)
            self.inbox.put((frame,))
        elif found := self._asked.answer_oddly(frame, self._books.now(), "the client", among=(member,)):
            self.inbox.put((found[1],))
        else:
            self._drop(frame, "an answer to a request that its session was not asked")

    def _cancel(self, member: Member, frame: Frame) -> None:
        target = frame.head.target
        number = member.numbers.get(target) if target is not None else None
        if target is None or number is None:
            return
        try:
            self.inbox.put((with_target(frame, number),))
        except Unnameable as exc:
            self._drop(frame, str(exc))
            return
        self._books.await_cancelled(number)

    def _give_due(self, due: Due) -> None:
        """Route a stray; a cancelled request that its server has not answered would count as open for ever."""
        renamed = self._requests.find(due.request_id)
        if due.stray is not None:
            self._route(due.stray)
        elif renamed is not None and renamed.number != self._greeting:
            self._abandon(renamed.number)
            if renamed.owner is not None and renamed.owner.numbers.get(renamed.id) == renamed.number:
                del renamed.owner.numbers[renamed.id]

    def _abandon(self, number: int) -> None:
        """Forget a request, but not at once whose it was: its server may not have heard, or not care."""
        self._requests.abandon(number, self._books.now(), self._limits.abandoned_memory)

    def _ask(self, member: Member, frame: Frame) -> int | None:
        try:
            renamed, outward = self._requests.open(member, frame)
        except Unnameable as exc:
            member.inbox.put((replies.error(frame.head.id, replies.INVALID_REQUEST, str(exc), delivered="no"),))
            return None
        member.numbers[renamed.id] = renamed.number
        self.inbox.put((outward,))
        return renamed.number

    def _greet(self, member: Member, frame: Frame) -> None:
        if self._greeted is not None and frame.head.id is not None:
            member.inbox.put((with_id(self._greeted, frame.head.id),))
            member.is_greeted = True
        elif self._greeting is not None:
            self._waiting.append((member, frame))
        else:
            self._greeting = self._ask(member, frame)

    def _take_greeting(self, answer: Frame) -> None:
        """Serve the sessions that wait from the answer; if it is an error, let the next one try."""
        self._greeting = None
        if not _is_error(answer):
            self._greeted = answer
        waiting, self._waiting = self._waiting, []
        for member, frame in waiting:
            if member in self.members:
                self._greet(member, frame)

    def _is_answered_here(self, member: Member, frame: Frame) -> bool:
        """Note subscriptions to resources: the end of one is the server's to know when no other session has it too."""
        method = frame.head.method
        if method not in ("resources/subscribe", "resources/unsubscribe"):
            return False
        uri = read_text(_params(frame).uri)
        if uri is None:
            return False
        if method == "resources/subscribe":
            member.subscribed.add(uri)
            return False
        member.subscribed.discard(uri)
        if not any(uri in other.subscribed for other in self.members):
            return False
        member.inbox.put((replies.result(frame.head.id),))
        return True

    def remove(self, member: Member) -> None:
        """Forget a session: cancel what it has open, answer for it what the server has asked it."""
        if member in self.members:
            self.members.remove(member)
        for number in member.numbers.values():
            if number == self._greeting:
                continue  # the others wait for it
            self._abandon(number)
            self.inbox.put((replies.cancelled(number, "the client has left"),))
        member.numbers.clear()
        for request_id in [asked for asked, other in self._asked.items() if other is member]:
            self._asked.answer(request_id)
            self.inbox.put((replies.error(request_id, replies.LOST, "the client has left", delivered="unknown"),))
        for uri in member.subscribed:
            if not any(uri in other.subscribed for other in self.members):
                _, outward = self._requests.open(None, replies.request(0, "resources/unsubscribe", {"uri": uri}))
                self.inbox.put((outward,))
        if self.members or self._idle is None:
            return
        self._stay()
        if self._idle:
            self._ending = asyncio.get_running_loop().call_later(self._idle, self._end_unused)
        else:
            self.inbox.finish()

    # The endpoint that is joined to the server.

    async def receive(self) -> Sequence[Frame]:
        """Return what the sessions have for the server."""
        return await self.inbox.receive()

    def call_at_end(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once no session will send more."""
        self.inbox.call_at_end(callback)

    async def send(self, frames: Sequence[Frame]) -> None:
        """Give each frame to the session it is for. Never waits: no session may hold up the others."""
        if self.inbox.is_finished:
            raise EndpointClosed(f"{self.name}: send after its end")
        for one in each_message(frames):
            self._route(one)

    def _route(self, frame: Frame) -> None:
        kind = frame.head.kind
        if kind is Kind.INVALID:
            for one in answers_in(frame):
                self._route(one)
        elif kind is Kind.RESPONSE:
            self._route_answer(frame)
        elif kind is Kind.REQUEST:
            self._route_request(frame)
        elif frame.head.method in _TO_ALL:
            self._give(self._greeted_members(), frame)
        elif frame.head.method == _UPDATED:
            uri = read_text(_params(frame).uri)
            self._give([member for member in self.members if uri in member.subscribed], frame)
        elif frame.head.method == "notifications/cancelled":
            self._take_back(frame)
        else:
            self._route_notification(frame)

    def _route_notification(self, frame: Frame) -> None:
        related = self._requests.related(frame)
        if related is not None and related[0].owner is not None:
            self._give((related[0].owner,), related[1])
            return
        busy = self._busy()
        if frame.head.method == "notifications/progress" or frame.belongs_to is not None:
            self._drop(frame, "a notification of a request that is over")
        elif len(busy) > 1 or any(member not in self.members for member in busy):
            self._drop(frame, "a notification that could be any session's")
        else:
            self._give(busy or self._greeted_members(), frame)

    def _take_back(self, frame: Frame) -> None:
        """Let the session know whom the server has asked that it wants no answer any more."""
        member = self._asked.answer(frame.head.target)
        if member is None:
            self._drop(frame, "the end of a request that no session was asked")
        else:
            self._give((member,), frame)

    def _route_answer(self, frame: Frame) -> None:
        answered = self._requests.answered(frame, self._books.now())
        if answered is None:
            self._drop(frame, "an answer that no request waits for")
            return
        renamed, home = answered
        owner = renamed.owner
        is_greeting = renamed.number == self._greeting
        if owner is not None and owner.numbers.get(renamed.id) == renamed.number:
            del owner.numbers[renamed.id]
            owner.is_greeted = owner.is_greeted or (is_greeting and not _is_error(frame))
            self._give((owner,), home)
        elif owner is not None and not is_greeting:
            self._drop(frame, "an answer to a request whose id its session uses again")
        if is_greeting:
            self._take_greeting(frame)

    def _route_request(self, frame: Frame) -> None:
        """Ask the session whose request is open, else one that has subscribed, else one that listens."""
        request_id = frame.head.id
        assert request_id is not None, "a request has an id"
        if frame.head.method == "ping":
            self.inbox.put((replies.result(request_id),))
            return
        renamed = self._requests.find(frame.belongs_to)
        busy = [renamed.owner] if renamed is not None and renamed.owner is not None else self._busy()
        choice = (
            busy
            or [member for member in self.members if member.subscribed]
            or [member for member in self._greeted_members() if member.is_listening()]
        )
        if len(busy) > 1 or not choice or choice[-1] not in self.members:
            fault = "several sessions have requests open" if len(busy) > 1 else "no session listens"
            self.inbox.put((replies.error(request_id, replies.REFUSED, f"whom this is for cannot be told: {fault}"),))
            return
        self._asked.answer(request_id)  # a server that uses an id again means the last one
        self._asked.open(request_id, choice[-1])
        self._give(choice[-1:], frame)

    def _busy(self) -> list[Member]:
        """Return the sessions that may be spoken of: those with a request open, or that left one a moment ago."""
        return [member for member in self._requests.owners() if member is not None]

    def _greeted_members(self) -> list[Member]:
        return [member for member in self.members if member.is_greeted]

    def _give(self, members: Sequence[Member], frame: Frame) -> None:
        for member in tuple(members):
            member.inbox.put((frame,))
            if member.inbox.waiting_bytes > self._limits.replay_bytes + len(frame.raw):
                slow = EndpointBroken(f"{self.name}: the client reads too slowly")
                logger.warning("%s", slow)
                member.leave(slow)
                member.inbox.finish(slow)

    def _drop(self, frame: Frame, what: str) -> None:
        self.dropped += 1
        logger.warning("%s: dropped %s: %s", self.name, what, frame.head.method or repr(frame.head.id))

    async def send_eof(self) -> None:
        """Take the server's end: every session ends."""
        await self.aclose(EndpointClosed("the server has ended"))

    async def aclose(self, reason: RelayError | None = None) -> None:
        """End every session; open requests get an error that carries ``reason``."""
        self.inbox.finish()
        for member in tuple(self.members):
            await member.aclose(reason)
        self._stay()
