"""Share one server among several legacy sessions: ``--share shared``.

The server gets the first ``initialize``, and its answer serves every later session of the same protocol version. The
relay replaces each request's id with its own number, and restores the id in the answer. A pipe joins ``SharedSessions``
to the server, and joins a ``Member`` to one session.

A frame about a request goes to the session of that request. A frame for all sessions goes to all. A frame that could
belong to any one session goes to the only session with an open request, or to all if no session has one. If several
sessions have open requests, the relay drops the frame, because the frame could be private.
"""

from __future__ import annotations

import asyncio
import logging
import weakref
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
"""Seconds after its last session until a shared server ends; a server that does not exit takes up to 10 more."""
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
    """The shared servers of one command or URL, one for each protocol version that sessions request."""

    def __init__(
        self, name: str, limits: Limits, start: Callable[[SharedSessions], None], *, idle: float | None = IDLE
    ) -> None:
        """Call ``start`` with the clients' side of each new server, which ``start`` joins to a server.

        A server ends ``idle`` seconds after its last session has left; with None, it never ends.
        """
        self.name = name
        self.limits = limits
        self._idle = idle
        self._start = start
        self._shared: dict[str, SharedSessions] = {}
        self._members: weakref.WeakSet[Member] = weakref.WeakSet()

    @property
    def is_used(self) -> bool:
        """Whether a session, or a server that may still run, belongs to it."""
        return bool(self._members) or any(not shared.inbox.is_finished for shared in self._shared.values())

    def member(self, is_listening: Callable[[], bool]) -> Member:
        """Return an endpoint for one session; ``is_listening`` tells whether its client listens for messages."""
        member = Member(self, is_listening)
        self._members.add(member)
        return member

    def of_version(self, version: str) -> SharedSessions:
        """Return the sessions of a version, after starting a server for the first of them."""
        shared = self._shared.get(version)
        if shared is None or shared.inbox.is_finished:
            # A client may send any text as a version: only servers of known versions outlive their sessions.
            idle = self._idle if version in LEGACY_VERSIONS else 0
            shared = SharedSessions(f"{self.name} ({version})", self.limits, idle=idle)
            self._shared[version] = shared
            self._start(shared)
        return shared

    async def aclose(self) -> None:
        """End every server and its sessions: servers outlive their sessions, but not the relay."""
        for shared in self._shared.values():
            await shared.aclose(EndpointClosed("the relay is shutting down"))


class Member:
    """One session's share of a server, as an endpoint."""

    def __init__(self, pool: SharedPool, is_listening: Callable[[], bool]) -> None:
        """Start without a server, until ``initialize`` names the version."""
        self.name = pool.name
        self.is_listening = is_listening
        self.inbox = FrameInbox(self.name, pool.limits)
        self.numbers: dict[RequestId, int] = {}
        """The session's open requests: the server's number for each id of the session."""
        self.subscribed: set[str] = set()
        self.is_greeted = False
        """Whether the session has its answer to ``initialize``; before that it gets no messages of the server."""
        self._pool = pool
        self._shared: SharedSessions | None = None

    async def receive(self) -> Sequence[Frame]:
        """Return the server's frames for this session."""
        return await self.inbox.receive()

    def call_at_end(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once the server will send no more."""
        self.inbox.call_at_end(callback)

    async def send(self, frames: Sequence[Frame]) -> None:
        """Send frames of the session to the server; wait while the server does not read. Raises EndpointClosed."""
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
        """Leave the server, because the session has ended; other sessions continue."""
        self.leave()
        self.inbox.finish()

    async def aclose(self, reason: RelayError | None = None) -> None:
        """Leave the server; open requests get an error that carries ``reason``."""
        self.leave(reason)
        self.inbox.finish()

    def leave(self, reason: RelayError | None = None) -> None:
        """Accept no more frames from the server, and cancel the session's open requests there."""
        shared, self._shared = self._shared, None
        end = replies.end_by(reason, "the session was closed")
        for request_id in self.numbers:
            self.inbox.put((end.answer(request_id),))
        if shared is not None:
            shared.remove(self)


class SharedSessions:
    """All sessions of one version, as one client of their server."""

    def __init__(self, name: str, limits: Limits, *, idle: float | None = IDLE) -> None:
        """Start without members; end ``idle`` seconds after the last member has left (None: never)."""
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
        """The server's open requests, each with the session that got it."""
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
            logger.info("%s: ended after %g s without a session", self.name, self._idle)
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
        """Take a session's answer to a request of the server, under the server's id."""
        if self._asked.find(frame.head.id) is member:
            self._asked.answer(frame.head.id)
            self.inbox.put((frame,))
        elif found := self._asked.answer_oddly(frame, self._books.now(), "the client", among=(member,)):
            self.inbox.put((found[1],))
        else:
            self._drop(frame, "an answer to a request that the session did not get")

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
        """Route a stray, or close a cancelled request that the server has not answered."""
        renamed = self._requests.find(due.request_id)
        if due.stray is not None:
            self._route(due.stray)
        elif renamed is not None and renamed.number != self._greeting:
            self._abandon(renamed.number)
            if renamed.owner is not None and renamed.owner.numbers.get(renamed.id) == renamed.number:
                del renamed.owner.numbers[renamed.id]

    def _abandon(self, number: int) -> None:
        """Close a request, but remember its session for a while: the server may not have noticed the cancellation."""
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
        """Serve the waiting sessions from the answer to ``initialize``; after an error, let the next session try."""
        self._greeting = None
        if not _is_error(answer):
            self._greeted = answer
        waiting, self._waiting = self._waiting, []
        for member, frame in waiting:
            if member in self.members:
                self._greet(member, frame)

    def _is_answered_here(self, member: Member, frame: Frame) -> bool:
        """Note subscriptions to resources; the server gets an unsubscribe only if no other session is subscribed."""
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
        """Forget a session: cancel its open requests, and answer the server's requests to it with errors."""
        if member in self.members:
            self.members.remove(member)
        for number in member.numbers.values():
            if number == self._greeting:
                continue  # the other sessions wait for this answer
            self._abandon(number)
            self.inbox.put((replies.cancelled(number),))
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
        """Return the sessions' frames for the server."""
        return await self.inbox.receive()

    def call_at_end(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once no session will send more."""
        self.inbox.call_at_end(callback)

    async def send(self, frames: Sequence[Frame]) -> None:
        """Give each frame to its session. Never waits: no session may block the others."""
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
            self._drop(frame, "a notification that could belong to any session")
        else:
            self._give(busy or self._greeted_members(), frame)

    def _take_back(self, frame: Frame) -> None:
        """Forward the server's cancellation of a request to the session that got the request."""
        member = self._asked.answer(frame.head.target)
        if member is None:
            self._drop(frame, "the cancellation of a request that no session got")
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
            self._drop(frame, "an answer to a request whose id the session has reused")
        if is_greeting:
            self._take_greeting(frame)

    def _route_request(self, frame: Frame) -> None:
        """Route a server's request to the session with an open request, else to a subscriber, else to a listener."""
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
            self.inbox.put((replies.error(request_id, replies.REFUSED, f"no session fits this request: {fault}"),))
            return
        self._asked.answer(request_id)  # if a server reuses an id, the latest request counts
        self._asked.open(request_id, choice[-1])
        self._give(choice[-1:], frame)

    def _busy(self) -> list[Member]:
        """Return the sessions to which a frame may belong: those with an open request, or a recently closed one."""
        return [member for member in self._requests.owners() if member is not None]

    def _greeted_members(self) -> list[Member]:
        return [member for member in self.members if member.is_greeted]

    def _give(self, members: Sequence[Member], frame: Frame) -> None:
        for member in tuple(members):
            member.inbox.put((frame,))
            if member.inbox.waiting_bytes > self._limits.replay_bytes + frame.size:
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
