"""Answer an ordinary POST at once, in the callback that read it.

aiohttp gives each request a task and a Request object, which cost more than all that the relay does with it: 13,400
calls a second against 36,000 (bench: serve/calls/100B/32). Here a complete POST to a server's ``/mcp``, in a known
session, is parsed by the same C parser, checked by the same rules and handed to the same session, and its answer is
written when it comes. Everything else (refusals, streams, slow bodies, browsers, pipelined requests) goes aiohttp's
ordinary way, with nothing lost: the message stays in aiohttp's queue until it has been answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol, cast

from aiohttp import web
from aiohttp.helpers import rfc822_formatted_time
from aiohttp.http import HttpVersion11, RawRequestMessage

from relay.endpoints.http.decisions import Accept, HandOn, Purpose, RoomWanted
from relay.endpoints.http.head_cache import HEAD_END, CachedHead, is_whole, look_at_body
from relay.endpoints.http.paths import MCP
from relay.endpoints.http.purposes import purpose_at
from relay.endpoints.http.server.heads import BoundedHeads
from relay.endpoints.http.server.modern import ModernClients
from relay.endpoints.http.server.remembered import Door, PostHead, RawHeaders, Remembered
from relay.endpoints.http.server.session import Exchange, HttpSession
from relay.endpoints.http.server.stream import EventStream
from relay.endpoints.http.walk import Walk
from relay.frames.frame import Frame
from relay.frames.ids import Unnameable
from relay.frames.replies import SessionOver
from relay.routing.ledger import IdInUse

if TYPE_CHECKING:
    from relay.endpoints.http.server.mount import Mount

__all__ = ["FastConnection"]

_ANSWER = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\n%bContent-Length: %d\r\nDate: %b\r\n\r\n"
_STATUS_LINES = {200: b"200 OK", 400: b"400 Bad Request", 404: b"404 Not Found"}
_ACCEPTED = b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\nDate: %b\r\n\r\n"
_BEGINNING = 2  # requests of a handshake: a session that does no more keeps no head, which is 3 KiB
_CROWDED = 0.1  # seconds for a request to wait on its connection for room; then as a task, which costs more
_JOINED = 16 * 1024  # up to here one copy of the body is cheaper than a second write


class Waiting(Protocol):
    """What was handed on to another server and waits for its answer there."""

    def go_on(self) -> None:
        """Go on the ordinary way: the answer is late."""

    def client_left(self) -> None:
        """Give up: nobody waits for it any more."""


class FastConnection(BoundedHeads):
    """aiohttp's handler of one connection, with a shortcut."""

    __slots__ = (
        "_cached_head", "_crowded", "_deadline", "_direct", "_doors", "_early", "_exchange", "_is_between", "_session",
        "_stream", "_timer", "_unparsed", "remembered",
    )  # fmt: skip

    def __init__(self, *args: Any, doors: Mapping[str, Door], **kwargs: Any) -> None:
        """Take POSTs to the paths of ``doors`` at once, where their gates let them in."""
        super().__init__(*args, **kwargs)
        self._doors = doors
        self._session: HttpSession | ModernClients | None = None
        self._exchange: Exchange | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0
        self._direct: Waiting | None = None
        self._crowded: HttpSession | ModernClients | None = None
        """What takes no more for now: the request that came for it waits here."""
        self.remembered: Remembered | None = None
        """Whose POST was let in last on this connection; its admission says for how long."""
        self._stream: tuple[HttpSession | ModernClients, Exchange, EventStream] | None = None
        self._cached_head: CachedHead[RawRequestMessage] | None = None
        self._is_between = True
        """Whether all that came so far were whole requests: the parser is between two, and one may pass it by."""
        self._early = b""
        """What came while aiohttp's task was on its way to wait for it."""
        self._unparsed = b""
        """A request that has passed the parser by and waits for its answer; the ordinary way needs it parsed."""

    def data_received(self, data: bytes) -> None:
        """Let aiohttp parse; answer what can be answered at once before its task is woken for the rest."""
        if not self._early and self._take_cached(data):
            return
        if not data:  # aiohttp calls this with nothing when requests that waited have been read
            super().data_received(data)
        elif self._will_wait and not self._early:
            # A quick client's request comes while the task of its last answer ends. Were it that task's, all that
            # follow would be: of 128 connections 6 that began so made 52,000 calls a second 34,000.
            self._early = data
            self._loop.call_soon(self._take_early)
        else:
            self._take_early(data)

    @property
    def _will_wait(self) -> bool:
        """Whether aiohttp's task has nothing to do: it will wait for the next request in this turn of the loop."""
        is_busy = self._request_in_progress or self._payload_parser is not None or self._upgraded
        return self._waiter is None and not self._messages and not is_busy

    def _take_early(self, more: bytes = b"") -> None:
        is_late, data, self._early = bool(self._early), self._early + more, b""
        if data and self._parser is not None and not self._is_deaf:  # no parser: the connection was lost
            if not is_late or not self._take_cached(data):
                self._take(data)

    def _take_cached(self, data: bytes) -> bool:
        """Take a request if its head has come before, past the parser; return whether that was done."""
        known, waiter = self._cached_head, self._waiter
        if (
            known is None
            or waiter is None
            or waiter.done()
            or not self._is_between
            or self._messages
            or self._unparsed
            or self._paused
            or self._is_deaf
            or self._parser is None
        ):
            return False
        head, _, body = data.partition(HEAD_END)
        if head != known.form % len(body):
            return False
        self._unparsed = data
        if not self._offer(known.message, body):
            self._wake()
        return True

    def _take(self, data: bytes) -> None:
        self._parse_the_rest()
        is_first, waiter, current = not self._messages, self._waiter, self._current_request
        if current is not None and not current.content.is_eof():
            was_before_head = False
        else:
            was_before_head = (waiter is not None and is_first) or self.is_before_head
        self._parse(data)
        body = self._whole_body() if is_first else None
        self._is_between = self._is_between and body is not None and self._holds_just(data, body)
        # One small head, whole, on a connection that had its time: there is nothing to watch.
        is_usual = (
            len(self._messages) == 1
            and type(self._messages[0][0]) is RawRequestMessage
            and len(data) <= self._limits.max_head_bytes
            and not self._head_size
            and not self._is_head_due
        )
        if not is_usual and (self._messages or was_before_head):
            self.watch_head(len(data), was_before_head=was_before_head)
        if waiter is None or waiter.done() or not self._messages:
            return
        if self._is_waiting:
            return  # a task that was woken takes the message: answering it here too would deliver it twice
        if not self._answer_at_once(data, body):
            self._wake()

    @property
    def _is_waiting(self) -> bool:
        return self._exchange is not None or self._direct is not None or self._crowded is not None

    def _parse(self, data: bytes) -> None:
        """Let aiohttp parse without waking its task."""
        waiter, self._waiter = self._waiter, None
        super().data_received(data)
        self._waiter = waiter

    def _parse_the_rest(self) -> None:
        """Let aiohttp parse the request that has passed the parser by: something else comes, or its task is needed."""
        if self._unparsed:
            data, self._unparsed = self._unparsed, b""
            self._parse(data)

    def _wake(self) -> None:
        self._parse_the_rest()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _whole_body(self) -> bytes | None:
        """Return the body of the one message there is; None if there are more, or some of it is still to come."""
        if len(self._messages) != 1 or not (payload := self._messages[0][1]).is_eof():
            return None
        return look_at_body(payload)  # not taken: the ordinary way must find it if this one does not do

    def _holds_just(self, data: bytes, body: bytes) -> bool:
        message = self._messages[0][0]
        return isinstance(message, RawRequestMessage) and is_whole(data, body, message)

    def _answer_at_once(self, data: bytes, body: bytes | None) -> bool:
        """Take the one message there is, if it is an ordinary POST; return whether that was done."""
        message = self._messages[0][0]
        if (
            not body
            or not isinstance(message, RawRequestMessage)
            or message.method != "POST"
            or message.version != HttpVersion11
            or message.should_close
            or message.upgrade
            or self._paused
            or not self._offer(message, body)
        ):
            return False
        if self._is_between and self._request_count > _BEGINNING:
            self._cached_head = CachedHead.of(data, body, message)
        return True

    def _offer(self, message: RawRequestMessage, body: bytes) -> bool:
        """Put a whole POST through the gate and do what it says; False if that is for the ordinary way.

        What is refused, begins a session or comes from a browser goes there: the gate will say the same again.
        """
        door = self._doors.get(message.path)
        if door is None:
            return False
        known = self.remembered
        raw = message.raw_headers
        if known is None or known.door is not door or not (known.headers is raw or _is_same(known, raw)):
            known = self.remembered = None
            headers = message.headers
            if "Origin" in headers or "Expect" in headers:
                return False
            head = PostHead(message, len(body))
            walk = Walk(head, door.house, purpose_at(head, door.mount, MCP), door.mount, MCP)
            known = Remembered(door, raw, walk)
        walk = known.walk
        decision = door.gate.decide(walk, self._loop.time(), body)
        if not walk.takes_stream:
            is_taken = False
        elif type(decision) is Accept:
            is_taken = self._take_in(walk, decision)
        elif type(decision) is HandOn:
            is_taken = self._hand_on(door.mount, known, decision)
        elif type(decision) is RoomWanted:
            is_taken = self._wait_for_room(decision.session)
        else:
            is_taken = False
        walk.body = walk.frame = walk.head = walk.facts = None  # until the next comes it would be held for nothing
        self.remembered = known if is_taken else None
        if is_taken and self._crowded is None:
            door.context.requests += 1
        return is_taken

    def recall(self, request: web.BaseRequest) -> Walk | None:
        """Return the walk of a POST in a session whose head has come before, for a task to begin behind its head."""
        known = self.remembered
        if known is None or request.method != "POST" or self._doors.get(request.raw_path) is not known.door:
            return None
        walk, raw = known.walk, request.raw_headers
        if walk.purpose is not Purpose.POST_IN_SESSION or not (known.headers is raw or _is_same(known, raw)):
            return None
        walk.length = request.content_length
        walk.body = walk.frame = walk.head = walk.facts = None
        walk.is_sized = walk.has_asked = walk.has_waited = False
        return walk

    def _take_in(self, walk: Walk, accepted: Accept) -> bool:
        session, frame, facts = accepted.session, accepted.frame, accepted.facts
        if session is None or frame is None:
            return False
        try:
            if facts is None:
                exchange = session.accept(frame, self.answered)
            else:
                exchange = session.accept(frame, self.answered, has_log=facts.has_log)
        except (IdInUse, Unnameable):
            return False
        if walk.is_modern and session.trail is not None:
            session.trail.lead_here(walk.headers)  # of all its clients
        if exchange is None:
            self.accepted()
        else:
            self._session, self._exchange = session, exchange
            self._wait(session.answer_wait)
        return True

    def _hand_on(self, mount: Mount, known: Remembered, decision: HandOn) -> bool:
        through, frame = mount.through, decision.frame
        assert through is not None and frame is not None, "a POST to it"
        if known.onward is None:
            known.onward = through.onward_at_once(known.walk.headers, frame)
        return known.onward is not None and through.post_at_once(self, known.onward, frame)

    def _wait_for_room(self, session: HttpSession | ModernClients) -> bool:
        """Look at the request again once the inbox of ``session`` takes more; after a while it goes the ordinary way.

        That is a task for each: of 128 requests of 10 kB in flight it answers 11,000 a second, this 17,000.
        """
        if session.waiting >= session.max_in_flight:
            return False
        self._crowded = session
        session.waiting += 1
        session.inbox.call_at_room(self._look_again)
        self._wait(_CROWDED)
        return True

    def forget_onward(self) -> None:
        """Make the head anew with which requests are handed on: the server has moved."""
        if self.remembered is not None:
            self.remembered.onward = None

    def expect_direct(self, direct: Waiting, seconds: float) -> None:
        """Wait for the answer to what was handed on: for so long, then the ordinary way."""
        self._direct = direct
        self._wait(seconds)

    def _look_again(self) -> None:
        self._leave_crowd()
        known, messages = self._cached_head, self._messages
        if self._unparsed and known is not None:
            message, body = known.message, known.body_of(self._unparsed)
        else:
            message, body = cast(RawRequestMessage, messages[0][0]), self._whole_body()
        if body is None or not self._offer(message, body):
            self._wake()

    def _leave_crowd(self) -> None:
        if self._crowded is not None:
            self._crowded.waiting -= 1
            self._crowded.inbox.forget_call_at_room(self._look_again)
            self._crowded = None

    def _wait(self, seconds: float) -> None:
        # aiohttp takes a connection whose task waits for idle: it must not close it just before the answer.
        now = self._loop.time()
        self._next_keepalive_close_time = now + seconds + self._keepalive_timeout
        self._deadline = now + seconds
        if self._timer is not None and self._timer.when() > self._deadline:
            self._timer.cancel()  # of a call that could take longer: those of 2026-07-28 can
            self._timer = None
        if self._timer is None:  # one for many calls: to start and to cancel one for each costs 1.5 us
            self._timer = self._loop.call_later(seconds, self._look)

    def _look(self) -> None:
        """See to what has waited long enough: an answer that is late comes as a stream."""
        self._timer = None
        left = self._deadline - self._loop.time()
        if self._is_waiting and left > 0:
            self._timer = self._loop.call_later(left, self._look)
        elif self._session is not None and self._exchange is not None:
            self._session.begin_stream(self._exchange)
        elif self._direct is not None:
            self._direct.go_on()
        elif self._crowded is not None:
            self._leave_crowd()
            self._wake()

    def answer_direct(self, headers: bytes, body: bytes) -> None:
        """Write the answer of another server, with these header lines."""
        self._direct = None
        self._respond(_ANSWER % (b"200 OK", headers, len(body), rfc822_formatted_time().encode()), body)

    def wake_for_direct(self) -> None:
        """Let the ordinary way go on with what was handed on; it asks for it by ``adopt_direct``."""
        self._wake()

    def answered(self, outcome: Frame | EventStream) -> None:
        """Write the answer; a stream is handed to the ordinary way."""
        session, exchange = self._session, self._exchange
        assert session is not None, "expected"
        assert exchange is not None, "expected"
        self._session = self._exchange = None
        if isinstance(outcome, EventStream):
            self._stream = (session, exchange, outcome)
            self._wake()
            return
        body = outcome.raw
        is_over = isinstance(outcome, SessionOver)
        status = _STATUS_LINES[200 if session.speaks == "streamable" and not is_over else session.status_of(outcome)]
        self._respond(_ANSWER % (status, session.header_line, len(body), rfc822_formatted_time().encode()), body)

    def adopt(self) -> tuple[Any, Any] | None:
        """Return what was taken here and goes on in a task, a stream or what was handed on, and whose it is."""
        adopted, self._stream, self._direct = self._stream or self._direct, None, None
        if adopted is None:
            return None
        assert self.remembered is not None, "it was taken by its head"
        return self.remembered.door, adopted

    def accepted(self) -> None:
        """Answer a notification or a response with 202."""
        self._respond(_ACCEPTED % rfc822_formatted_time().encode(), b"")

    def _respond(self, head: bytes, body: bytes) -> None:
        transport = self.transport
        if transport is None or self._parser is None:
            return
        if len(body) <= _JOINED:
            transport.write(head + body)
        else:
            transport.writelines((head, body))
        if self._unparsed:
            self._unparsed = b""
        else:
            self._messages.popleft()
            self._parser.message_consumed()
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._messages:
            self._wake()

    @property
    def is_writing(self) -> bool:
        """Whether some of an answer is unsent that was written at once: no task waits for that."""
        waiter, transport = self._waiter, self.transport
        is_idle = waiter is not None and not waiter.done()
        return is_idle and transport is not None and transport.get_write_buffer_size() > 0

    def connection_lost(self, exc: BaseException | None) -> None:
        """Let the session know that the client has left before its answer."""
        if self._timer is not None:
            self._timer.cancel()
        self._leave_crowd()
        if self._session is not None and self._exchange is not None:
            self._session.abandon(self._exchange)
        if self._direct is not None:
            self._direct.client_left()
            self._direct = None
        if self._stream is not None:
            session, exchange, stream = self._stream
            stream.stop_awaiting()
            session.reader_left(exchange)
        super().connection_lost(exc)


def _is_same(known: Remembered, headers: RawHeaders) -> bool:
    """Tell whether these headers, which are another object, are those that a connection remembers."""
    at = known.length_at
    is_same = (
        len(headers) == at + 1 + len(known.after)
        and headers[:at] == known.before
        and headers[at + 1 :] == known.after
        and headers[at][0] == known.length_name
    )
    if is_same:
        known.headers = headers
    return is_same
