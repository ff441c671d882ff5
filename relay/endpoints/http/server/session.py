"""Serve one client of the HTTP listener as an endpoint: a session, its open exchanges and its streams.

Each POSTed request opens an exchange. If the answer is the exchange's first frame, it goes out as plain JSON. If a
related frame arrives first, or nothing arrives for ``limits.answer_wait``, the exchange becomes an SSE stream. The
session decides, and the HTTP handlers carry the decision out. MCP 2025-11-25, Transports, "Streamable HTTP".
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence, Sized
from typing import Any, Literal

from relay.endpoints.base import ANONYMOUS, Taker
from relay.endpoints.core.arrivals import Arrivals
from relay.endpoints.core.books import Books
from relay.endpoints.core.hops import Trail
from relay.endpoints.core.inbox import FrameInbox
from relay.endpoints.core.turns import read_in_turn
from relay.endpoints.http.server.stream import EventStream
from relay.errors import EndpointClosed, RelayError
from relay.frames import replies
from relay.frames.frame import Frame
from relay.frames.head import BATCH, REQUEST, RESPONSE, Head, Kind, RequestId
from relay.limits import Limits
from relay.mcp.handshake import negotiated_version
from relay.mcp.headers import SESSION_ID
from relay.mcp.revisions import has_priming
from relay.routing.event_log import Kept, parse_event_id
from relay.routing.ledger import Due
from relay.routing.matching import answers_in
from relay.routing.sessions import name_of_session, new_session_id

__all__ = ["ClientSession", "Exchange", "HttpSession"]

logger = logging.getLogger("relay")

_PATIENCE = 5.0  # seconds for which a stalled body may block others of its own session
_STANDALONE = 0  # the number of the GET stream


class ClientSession:
    """The part that sessions of both HTTP transports share: an inbox, an id, a clock and an end."""

    _end = "the session was closed"  # the reason of an end without one
    open_requests: Sized
    """The requests that wait for an answer, without subscriptions of 2026-07-28; the gate counts them."""
    ledger: Books[Any]
    """The requests that wait for an answer."""

    def __init__(self, limits: Limits, owner: str) -> None:
        self.id = new_session_id()
        self.owner = owner
        """The principal that began the session."""
        self.name = name_of_session(self.id)
        self.version: str | None = None
        self.inbox = FrameInbox(self.name, limits)
        self.waiting = 0
        """The number of frames whose senders wait for room in the inbox."""
        self.body_bytes = 0
        """Bytes of complete large bodies that wait for room in the inbox."""
        self._arrivals: Arrivals | None = None
        self.on_bodies_wanted: Callable[[], None] = lambda: None
        """Called when the server may read more, after ``wants_bodies`` has returned False."""
        self.trail: Trail | None = None
        """The relays that the client's requests have passed."""
        self.is_closing = False
        self.is_closed = False
        """Set once no answer can reach the client any more."""
        self._limits = limits
        self._loop = asyncio.get_running_loop()
        self._last_used = self._loop.time()

    @property
    def last_used(self) -> float:
        """When the client last sent something, by the loop's clock."""
        return self._last_used

    def touch(self) -> None:
        """Restart the idle clock."""
        self._last_used = self._loop.time()

    @property
    def arrivals(self) -> Arrivals:
        """The room of large bodies of this session that are arriving."""
        if self._arrivals is None:
            self._arrivals = Arrivals(self._limits, capacity=self._limits.buffer_high, patience=_PATIENCE)
        return self._arrivals

    def wants_bodies(self) -> bool:
        """Tell whether the server reads fast enough; if not, large bodies stay in the network."""
        if self.inbox.is_paused and not self.is_closing:
            self.inbox.call_at_room(self.on_bodies_wanted)
            return False
        return self.is_closing or self.body_bytes <= self._limits.buffer_high

    async def wait_for_room(self, frame: Frame | None = None) -> None:
        """Wait until the upstream reads more; a cancellation does not wait, because it may make room."""
        if frame is None or frame.head.target is None:
            self.waiting += 1
            try:
                await self.inbox.wait_for_room()
            finally:
                self.waiting -= 1

    async def take_refused(self, frame: Frame) -> None:
        """Give the server an error for each answer in a refused frame, because the server waits for the answer."""
        await read_in_turn(frame)
        if not self.is_closing:
            answers = answers_in(frame, "the client", is_server=False)
            self.inbox.put([one for one in answers if one.head.kind is Kind.RESPONSE and one.head.id is not None])

    async def receive(self) -> Sequence[Frame]:
        """Return the frames that the client has POSTed; ``()`` once the client has ended the session."""
        return await self.inbox.receive()

    def offer_to(self, taker: Taker) -> None:
        """Offer the client's frames to ``taker``; see ``OffersFrames``."""
        self.inbox.offer_to(taker)

    def call_at_end(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once the client has ended the session, or the session has expired."""
        self.inbox.call_at_end(callback)

    def finish(self) -> None:
        """Take no more from the client: it has ended the session, or the session has expired."""
        self.is_closing = True
        self.inbox.finish()

    async def send_eof(self) -> None:
        """Take the server's end: answer the open requests with errors, because no answer can arrive any more."""
        await self.aclose(EndpointClosed("the server has ended"))

    async def aclose(self, reason: RelayError | None = None) -> None:
        """End the session: answer every open request with an error that carries ``reason``, and end every stream."""
        if self.is_closed:
            return
        self._fail_open(replies.end_by(reason, self._end))
        self.finish()
        self.is_closed = True

    def _fail_open(self, end: replies.End) -> None:
        """Answer every open request with an error."""
        raise NotImplementedError

    def _check_taking(self) -> None:
        """Raise EndpointClosed if the session has ended, for instance while a body was arriving."""
        if self.is_closing:
            raise EndpointClosed(f"{self.name}: a frame after its end")

    def _check_open(self) -> None:
        if self.is_closed:
            raise EndpointClosed(f"{self.name}: send after its end")


class Exchange:
    """One POST that waits for answers: to one request, or to those of a batch."""

    __slots__ = ("is_abandoned", "is_initialize", "number", "on_outcome", "owed", "parts", "stream")

    def __init__(self, on_outcome: Callable[[Frame | EventStream], None], *, takes_stream: bool = True) -> None:
        """Call ``on_outcome`` once, with the answer's frame, or with a stream if the client accepts one."""
        self.on_outcome: Callable[[Frame | EventStream], None] | None = on_outcome
        self.owed = 0
        """The number of answers that are still to come."""
        self.number = 0
        """The number under which the server knows the request, if the relay has given it one."""
        self.stream: EventStream | None = None
        self.is_abandoned = False
        self.is_initialize = False
        """Whether the request is the ``initialize`` that begins the session."""
        self.parts: list[bytes] | None = None if takes_stream else []
        """Answers that wait for the rest of their batch; None if the answers go out as a stream."""

    @property
    def takes_stream(self) -> bool:
        """Whether the client accepts a stream as the answer."""
        return self.parts is None

    def decide(self, outcome: Frame | EventStream) -> None:
        """Decide how to answer the POST; only the first call counts."""
        on_outcome, self.on_outcome = self.on_outcome, None
        if on_outcome is not None and not self.is_abandoned:
            on_outcome(outcome)


class HttpSession(ClientSession):
    """A Streamable HTTP session of the revisions 2025-03-26 to 2025-11-25."""

    speaks: Literal["streamable"] = "streamable"

    def __init__(
        self,
        limits: Limits,
        on_ready: Callable[[HttpSession], None],
        on_end: Callable[[HttpSession], None],
        owner: str = ANONYMOUS,
    ) -> None:
        """Call ``on_ready`` when ``initialize`` has succeeded, ``on_end`` when the session of ``owner`` is over."""
        super().__init__(limits, owner)
        self.answer_wait = limits.answer_wait
        self.stream_headers = {SESSION_ID: self.id}
        self.header_line = f"{SESSION_ID}: {self.id}\r\n".encode()
        self.max_in_flight = limits.max_in_flight
        self._on_ready = on_ready
        self._on_end = on_end
        self.ledger: Books[Exchange] = Books(self.name, limits, self._give_due)
        self.open_requests = self.ledger.open_ids
        self.is_initialized = False
        self._streams: dict[int, EventStream] = {}
        self._crowded: list[EventStream] = []
        """Streams that were full after the last frames; ``send`` waits for their readers before the next frames."""
        self._last_stream = _STANDALONE
        self._kept = Kept()
        self._standalone = EventStream(_STANDALONE, limits, has_ids=True, kept=self._kept)
        self._streams[_STANDALONE] = self._standalone

    # What the HTTP handlers ask for.

    @property
    def is_listening(self) -> bool:
        """Whether the client reads the server's own messages."""
        return self._standalone.has_reader

    @property
    def dropped(self) -> int:
        """The number of dropped answers, which no request waited for."""
        return self.ledger.dropped

    @property
    def answer_headers(self) -> dict[str, str]:
        """The headers of a plain answer, with the session id unless ``initialize`` has failed."""
        return self.stream_headers if self.is_initialized else {}

    def status_of(self, answer: Frame) -> int:
        """Return the HTTP status of a plain answer: 200, for JSON-RPC errors too, except at the end of the session."""
        return 404 if isinstance(answer, replies.SessionOver) else 200

    def accept(
        self,
        frame: Frame,
        on_outcome: Callable[[Frame | EventStream], None],
        *,
        takes_stream: bool = True,
        has_log: bool = False,
    ) -> Exchange | None:
        """Take a frame that the client has POSTed; return the exchange that waits for its answers, if it has requests.

        ``on_outcome`` receives the answer: a frame, or a stream if the client accepts one. Raises IdInUse,
        EndpointClosed.
        """
        if self.is_closing:
            self._check_taking()
        self._last_used = self._loop.time()
        head = frame.head
        if head.target is not None and head.method == "notifications/cancelled":
            self.ledger.await_cancelled(head.target)
        exchange = None
        if head.kind is REQUEST or head.kind is BATCH:
            exchange = self._open(head, Exchange(on_outcome, takes_stream=takes_stream))
        inbox, frames = self.inbox, (frame,)
        taker, receiver = inbox.taker, inbox.receiver
        if taker is None or receiver is None or receiver.done() or not taker(frames):
            inbox.keep(frames)
        return exchange

    def _open(self, head: Head, exchange: Exchange) -> Exchange | None:
        exchange.owed = self.ledger.open_frame(exchange, head)
        exchange.is_initialize = not self.is_initialized and head.method == "initialize"
        return exchange if exchange.owed else None

    def begin_stream(self, exchange: Exchange) -> None:
        """Answer this exchange as an SSE stream."""
        # The timer may fire just after the answer went out, when no connection would read the stream.
        if exchange.stream is None and exchange.on_outcome is not None and exchange.takes_stream:
            self._last_stream += 1
            stream = EventStream(
                self._last_stream,
                self._limits,
                has_ids=True,
                has_priming=has_priming(self.version),
                kept=self._kept,
            )
            exchange.stream = self._streams[self._last_stream] = stream
            if len(self._streams) > self._limits.replay_events:
                self._forget_oldest_stream()
            if not exchange.is_abandoned:
                stream.await_reader()
            exchange.decide(stream)

    def abandon(self, exchange: Exchange) -> None:
        """Note that the client left before any answer began, or during ``initialize``, and so cannot resume."""
        exchange.is_abandoned = True
        if exchange.stream is not None:
            exchange.stream.stop_awaiting()
        if not self.is_initialized and exchange.is_initialize:
            logger.info("%s: the client left during initialize", self.name)
            self.finish()

    def reader_left(self, exchange: Exchange) -> None:
        """Note that the stream of an exchange has no reader any more; the client may resume the stream."""
        if not self.is_initialized:
            self.abandon(exchange)

    def standalone_stream(self) -> EventStream:
        """Return the stream of GET requests."""
        self._standalone.set_priming(has_priming=has_priming(self.version))
        return self._standalone

    def find_stream(self, event_id: str) -> tuple[EventStream, int] | None:
        """Return the stream of an event id and the event's number, or None if the session does not keep the event."""
        position = parse_event_id(event_id)
        if position is None:
            return None
        stream = self.standalone_stream() if position[0] == _STANDALONE else self._streams.get(position[0])
        if stream is None or position[1] > stream.log.last:
            return None
        if stream is not self._standalone and stream.log.has_gap_after(position[1]):
            return None  # the client would wait for an answer that may be in the gap
        return stream, position[1]

    def idle_since(self) -> float | None:
        """Return when the session was last used, or None while a client reads a stream.

        A call whose client has left does not count, because the server may never answer it.
        """
        if any(stream.has_reader for stream in self._streams.values()):
            self.touch()
            return None
        return self._last_used

    def tidy(self, now: float) -> None:
        """Forget events that are too old to resume from, and streams without events."""
        for number, stream in list(self._streams.items()):
            stream.log.trim(has_reader=stream.has_reader, before=now - self._limits.replay_age)
            if stream.is_ended and not stream.has_reader and not len(stream.log):
                del self._streams[number]

    @property
    def kept_bytes(self) -> int:
        """Bytes of events that wait for their reader, or for a client that resumes."""
        return self._kept.bytes

    def _bound_replay(self) -> None:
        """Bound the bytes that all streams of the session keep together: drop events of the oldest streams."""
        excess = self.kept_bytes - self._limits.replay_bytes
        if excess <= 0:
            return
        for stream in self._streams.values():
            if excess <= 0:
                return
            size = stream.log.size
            stream.log.trim(has_reader=stream.has_reader, max_bytes=max(size - excess, 0))
            excess -= size - stream.log.size

    def _forget_oldest_stream(self) -> None:
        for number, stream in self._streams.items():
            if stream.is_ended and not stream.has_reader:
                stream.log.clear()
                del self._streams[number]
                return

    def finish(self) -> None:
        """Take no more from the client: it has ended the session, or the session has expired."""
        super().finish()
        self._on_end(self)

    # What the pipe asks for.

    async def send(self, frames: Sequence[Frame]) -> None:
        """Put each frame on its stream. Waits for slow readers, for at most ``limits.stall`` seconds."""
        self._check_open()
        await self._wait_for_room()
        self._push(frames)
        await self._wait_for_room()

    def send_at_once(self, frames: Sequence[Frame]) -> bool:
        """Put each frame on its stream; return False, and put none, if a slow reader must catch up first."""
        if self.is_closed or self._crowded:
            return False
        if len(frames) > 1:
            self._push(frames)
            return True
        frame = frames[0]
        head = frame.head
        stream = self._take_answer(frame, head.id) if head.kind is RESPONSE else self._route(frame)
        if stream is not None:
            self._look_after((stream,))
        return True

    def _push(self, frames: Sequence[Frame]) -> None:
        streams = {stream for frame in frames if (stream := self._route(frame)) is not None}
        if streams:
            self._look_after(streams)

    def _look_after(self, streams: Collection[EventStream]) -> None:
        self._bound_replay()
        self._crowded = [stream for stream in streams if stream.is_full]

    async def _wait_for_room(self) -> None:
        for stream in self._crowded:
            await stream.wait_for_room()
        self._crowded = []

    def _route(self, frame: Frame) -> EventStream | None:
        head = frame.head
        kind = head.kind
        if kind is RESPONSE:
            return self._take_answer(frame, head.id)
        if kind is BATCH:
            return self._route_batch(frame)
        if kind is Kind.INVALID:
            return self._route_invalid(frame)
        exchange = self.ledger.related(head, frame.belongs_to)
        if exchange is None and not self._standalone.has_reader:
            # No connection reads the GET stream, so use another call's stream: the server may wait for the answer.
            exchange = self.ledger.latest()
        if exchange is None or exchange.is_abandoned or not exchange.takes_stream:
            self._standalone.push(frame.line)
            return self._standalone
        self.begin_stream(exchange)
        assert exchange.stream is not None, "begun"
        exchange.stream.push(frame.line)
        return exchange.stream

    def _route_batch(self, frame: Frame) -> EventStream | None:
        """Forward a batch unchanged if it completes its exchange; otherwise forward it member by member."""
        ids = {message.id for message in frame.head.members if message.kind is Kind.RESPONSE}
        exchanges = {self.ledger.find(request_id) for request_id in ids}
        exchange = exchanges.pop() if len(exchanges) == 1 else None
        if exchange is not None and not exchange.parts and exchange.owed == len(ids) == len(frame.head.members):
            for request_id in ids:
                self.ledger.answer(request_id)
            exchange.owed = 0
            return self._answer(exchange, frame)
        stream = None
        for member in frame.split():
            stream = self._route(member) or stream
        return stream

    def _route_invalid(self, frame: Frame) -> EventStream | None:
        """Put the answers in an invalid frame on their streams."""
        stream = None
        for one in answers_in(frame):
            stream = self._route(one) or stream
        return stream

    def _take_answer(self, frame: Frame, request_id: RequestId | None) -> EventStream | None:
        exchange = self.ledger.answer(request_id, frame)
        if exchange is None:
            found = self.ledger.take_odd(frame)
            if found is None:
                return None
            exchange, frame = found
        exchange.owed -= 1
        if exchange.is_initialize and not self.is_initialized:
            self._take_initialize_answer(frame)
        return self._answer(exchange, frame)

    def _give_due(self, due: Due) -> None:
        """Give a request its outcome if the server has not answered it."""
        self._push((due.outcome,))

    def _answer(self, exchange: Exchange, frame: Frame) -> EventStream | None:
        """Forward an answer: as a plain JSON body if it is complete and nothing went before, otherwise as an event."""
        if exchange.stream is None:
            if exchange.parts is not None and (exchange.owed or exchange.parts) and frame.head.kind is not Kind.BATCH:
                exchange.parts.append(frame.raw)
                frame = Frame(b"[" + b",".join(exchange.parts) + b"]")
            if not exchange.owed:
                exchange.decide(frame)
                return None
            if not exchange.takes_stream:
                return None
            self.begin_stream(exchange)
        assert exchange.stream is not None, "begun"
        exchange.stream.push(frame.line)
        if not exchange.owed:
            exchange.stream.end()
        return exchange.stream

    def _take_initialize_answer(self, frame: Frame) -> None:
        version = negotiated_version(frame)
        if version is None:
            logger.info("%s: initialize failed, so no session begins", self.name)
            self.finish()
            return
        self.version = version
        self.is_initialized = True
        self._on_ready(self)

    def _fail_open(self, end: replies.End) -> None:
        for lost in self.ledger.fail_all():
            lost.entry.owed -= 1
            self._answer(lost.entry, end.answer(lost.request_id))
        for stream in self._streams.values():
            stream.end()
