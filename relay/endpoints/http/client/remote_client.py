"""What both HTTP clients are: requests that wait for answers, a recorded handshake, and one outcome for each request.

Subclasses say how a frame is sent and where answers come from; here is what must hold for every one of them: an
answer reaches the client once, an answer nobody waits for is dropped, and a request that cannot be answered any more
gets an error.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from relay.endpoints.core.books import Books
from relay.endpoints.core.inbox import FrameInbox
from relay.endpoints.core.tasks import TaskScope
from relay.endpoints.core.turns import LARGE, read_in_turn
from relay.endpoints.http.client.dial import AnyDial
from relay.endpoints.http.client.lost_session import SessionLoss
from relay.errors import EndpointClosed, EndpointUnavailable, FrameTooLarge, RelayError
from relay.frames import replies
from relay.frames.envelope import salvage_head
from relay.frames.frame import Frame
from relay.frames.head import BATCH, REQUEST, RESPONSE, Head, Kind, RequestId
from relay.frames.lines import Oversized
from relay.frames.repair import Sifted, sift
from relay.frames.sse import SseEvent
from relay.mcp.facts import RequestFacts
from relay.mcp.handshake import INITIALIZED, negotiated_version
from relay.routing.ledger import Due, IdInUse

__all__ = ["Post", "RemoteClient", "StreamCursor"]

logger = logging.getLogger("relay")


class StreamCursor:
    """Where an SSE stream stands: what to ask for when it is opened again, and after how many seconds."""

    __slots__ = ("last_event_id", "retry")

    def __init__(self) -> None:
        """Start at the beginning."""
        self.last_event_id: str | None = None
        self.retry: float | None = None

    def advance(self, event: SseEvent) -> None:
        """Note what an event says of the stream."""
        if event.retry is not None:
            self.retry = event.retry / 1000
        if event.id is not None:
            self.last_event_id = event.id or None


class Post:
    """One frame on its way to the server, and how many answers are owed to it."""

    __slots__ = (
        "_cursor", "cancel", "facts", "frame", "has_spoken", "is_handshake", "is_resent", "is_subscription", "owed",
        "session", "watch",
    )  # fmt: skip

    def __init__(self, frame: Frame, facts: RequestFacts | None = None) -> None:
        """Send ``frame``; its requests are registered by ``RemoteClient``. With ``facts``, it is a modern one."""
        self.frame = frame
        self.facts = facts
        self.owed = 0
        """Requests in it that wait for an answer."""
        method = frame.head.method
        self.is_handshake = method == "initialize" and facts is None and frame.head.kind is REQUEST
        self.is_subscription = method == "subscriptions/listen" and facts is not None
        self.is_resent = False
        self.session: object = None
        """The session in which it was sent last."""
        self.has_spoken = False
        """Whether an event has come for it since this was cleared."""
        self.watch: asyncio.Task[None] | None = None
        """Gives it an end if it has become doubtful that its answer will come."""
        self.cancel: Callable[[], object] | None = None
        """Ends what is under way for it, once nobody waits."""
        self._cursor: StreamCursor | None = None

    @property
    def cursor(self) -> StreamCursor:
        """Where the stream of its answers stands."""
        if self._cursor is None:  # most answers have none: 0.2 us
            self._cursor = StreamCursor()
        return self._cursor


class RemoteClient:
    """The part of an endpoint behind which an HTTP server is."""

    def __init__(self, dial: AnyDial, inbox: FrameInbox) -> None:
        """Speak through ``dial``; put what the server says into ``inbox``, which may be shared."""
        self.name = dial.name
        self.dial = dial
        self.inbox = inbox
        self.version: str | None = None
        self.is_undecided = True
        """Whether the server has not shown yet that it speaks this transport."""
        self._limits = dial.limits
        self._tasks = TaskScope()
        self._books: Books[Post] = Books(dial.name, dial.limits, self._give_due, peer=dial.name)
        self._taken_places = 0
        self._has_place = asyncio.Event()
        self._subscriptions: set[Post] = set()
        self._ready = asyncio.Event()  # not while a handshake is under way
        self._ready.set()
        self._renewing = asyncio.Lock()
        self._initialize: Frame | None = None
        self._initialized: Frame = INITIALIZED
        self._loss = SessionLoss(self._lost_by)
        self._has_eof = False
        self._is_closed = False

    # The endpoint's four verbs.

    async def receive(self) -> Sequence[Frame]:
        """Return what the server sent, and our errors for what it cannot answer any more."""
        return await self.inbox.receive()

    def call_at_end(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once the peer will send no more."""
        self.inbox.call_at_end(callback)

    async def send(self, frames: Sequence[Frame]) -> None:
        """POST each frame: requests at the same time, the others in order, each accepted before the next goes.

        Waits while ``limits.max_in_flight`` requests are open, and while a handshake is under way. Subscriptions,
        which stay open for hours, take no places from other requests; as many again may be open.
        """
        if self._is_closed or self._has_eof:
            raise EndpointClosed(f"{self.name}: send after its end")
        for number, frame in enumerate(frames):
            try:
                await self._send_in_turn(frame)
            except asyncio.CancelledError:
                self.refuse_unsent(frames[number:])
                raise

    def send_at_once(self, frames: Sequence[Frame]) -> bool:
        """POST requests, unless they would have to wait; everything else goes in turn."""
        room = self._limits.max_in_flight - self._taken_places
        if self._is_closed or self._has_eof or not self._ready.is_set() or len(frames) > room:
            return False
        posts = []
        for frame in frames:
            if frame.head.kind is not REQUEST:
                return False
            posts.append(Post(frame, self._facts_of(frame)))
        for post in posts:
            if post.is_handshake or post.is_subscription:
                return False
        for post in posts:
            self._taken_places += 1
            self._ask(post)
        return True

    async def _take_place(self) -> None:
        while self._taken_places >= self._limits.max_in_flight:
            self._has_place.clear()
            await self._has_place.wait()
        self._taken_places += 1

    async def _send_in_turn(self, frame: Frame) -> None:
        head = frame.head
        if head.kind is Kind.INVALID:
            await self._send_sifted(sift(frame, "the client", is_server=False))
            return
        facts = self._facts_of(frame)
        if head.kind is not Kind.RESPONSE and facts is None:
            await self._ready.wait()
        await self._send_one(Post(frame, facts))

    async def _send_sifted(self, sifted: Sifted) -> None:
        """Send on what an invalid frame of the client's was meant to be; what was a request is refused."""
        self.inbox.put(sifted.back)
        for one in sifted.onward:
            await self._send_in_turn(one)

    def refuse_unsent(self, frames: Sequence[Frame]) -> None:
        """Give requests that will not be sent any more their errors."""
        for frame in frames:
            for message in frame.head.messages:
                if message.kind is Kind.REQUEST and message.id not in self._books:
                    fault = "the request was not sent: the relay is ending"
                    self.inbox.put((replies.error(message.id, replies.UNAVAILABLE, fault, delivered="no"),))

    async def _send_one(self, post: Post) -> None:
        head = post.frame.head
        if not head.asks:
            if not self._note_notification(post):
                return
            task = self._tasks.spawn(self._run(post), name=f"{self.name}: POST {head.method or head.kind.value}")
            # In order, but not held up for ever by a server that does not accept one.
            await asyncio.wait((task,), timeout=self._limits.linger)
            return
        if not post.is_subscription:
            await self._take_place()
        elif not self._subscribe(post):
            return
        self._ask(post)

    def _ask(self, post: Post) -> None:
        """Send what wants an answer; its place is given back when it has one."""
        head = post.frame.head
        try:
            post.owed = self._books.open_frame(post, head)
        except IdInUse as exc:
            post.is_handshake = False  # the one under way is another
            self._request_ended(post)
            # Not under that id: the client would take it for the answer to the first request.
            self.inbox.put((replies.error(None, replies.INVALID_REQUEST, str(exc), delivered="no"),))
            return
        if post.is_handshake:
            self._initialize = post.frame
            self._ready.clear()
        if post.is_handshake or not self._send_at_once(post):
            task = self._tasks.spawn(self._run(post), name=f"{self.name}: POST {head.method or 'batch'}")
            # Not at the end of its work: a task that is cancelled before it began does none.
            task.add_done_callback(lambda _: self._request_ended(post))
            post.cancel = task.cancel

    def _subscribe(self, post: Post) -> bool:
        """Find room for a subscription. One too many is refused: to wait would hold up its own cancellation, too."""
        if len(self._subscriptions) < self._limits.max_in_flight:
            self._subscriptions.add(post)
            return True
        fault = f"{len(self._subscriptions)} subscriptions are open; max_in_flight is {self._limits.max_in_flight}"
        self.inbox.put((replies.error(post.frame.head.id, replies.UNAVAILABLE, fault, delivered="no"),))
        return False

    async def send_eof(self) -> None:
        """Open no further requests; ``receive`` finishes once every open one has its answer."""
        if not self._has_eof:
            self._has_eof = True
            # A client that has cancelled a request and closed its end waits for nothing: what was written now could
            # meet its half-closed stdin reader (Python SDK 1.x raises BrokenResourceError there).
            for request_id in self._books.cancelled():
                self._books.forget(request_id)
            self._tasks.spawn(self._finish_when_settled(), name=f"{self.name}: last answers")

    async def aclose(self, reason: RelayError | None = None) -> None:
        """End the session: every open request gets an error that carries ``reason``, then the server is told."""
        if self._is_closed:
            return
        self._is_closed = True
        if reason is None or isinstance(reason, EndpointClosed):  # in good order
            for post in tuple(self._subscriptions):
                self._end_subscription(post)
        message = f"the request was lost: {reason or 'the relay is shutting down'}"
        for lost in self._books.fail_all():
            self.inbox.put((replies.error(lost.request_id, replies.LOST, message, delivered="unknown"),))
        self.inbox.finish()
        try:
            await self._tasks.aclose()
            await self._say_goodbye()
        finally:
            await self.dial.aclose()

    def _end_subscription(self, post: Post) -> None:
        """End a subscription as its server would (2026-07-28, "Graceful Closure")."""
        for request_id in self._take_open(post):
            self.inbox.put((replies.subscription_ended(request_id),))

    def _take_open(self, post: Post) -> list[RequestId]:
        """Let nobody wait for the answers that are still owed to a frame; return their ids."""
        asked = [one.id for one in post.frame.head.messages if one.id is not None and self._books.find(one.id) is post]
        for request_id in asked:
            self._books.answer(request_id)
        post.owed = 0
        return asked

    async def abandon(self) -> None:
        """Stop what runs, and leave the connections and the inbox to a successor."""
        await self._tasks.aclose()

    @property
    def in_flight(self) -> int:
        """Requests that wait for an answer."""
        return len(self._books)

    @property
    def dropped(self) -> int:
        """Answers nobody waited for."""
        return self._books.dropped

    async def settle(self) -> None:
        """Wait until no request is open but subscriptions, which would have us wait for ever."""
        while self._has_requests:  # noqa: ASYNC110 - asked once, at the end; the hot path need not tell
            await asyncio.sleep(0.01)

    @property
    def _has_requests(self) -> bool:
        """Whether a request other than a subscription waits for its answer."""
        return len(self._books) > sum(post.owed > 0 for post in self._subscriptions)

    async def _finish_when_settled(self) -> None:
        await self.settle()
        for post in tuple(self._subscriptions):
            self._end_subscription(post)
        self.inbox.finish()

    # For subclasses to say.

    _lost_by: tuple[int, ...] = ()
    """The statuses by which a server of this transport surely says that a session is lost."""

    async def _deliver(self, post: Post) -> None:
        """Send one frame, and see its answers come if they come on the same connection."""
        raise NotImplementedError

    async def _say_goodbye(self) -> None:
        """Tell the server that the session is over; bounded and quiet."""

    @staticmethod
    def _facts_of(frame: Frame) -> RequestFacts | None:
        """Return what a modern frame says of itself, if this transport can carry one as such."""
        return None

    def _take_modern(self, post: Post, answer: Frame) -> Frame:
        """Take the answer to a modern request; return what of it goes on."""
        return answer

    def _send_at_once(self, post: Post) -> bool:
        """Send a request without a task if that can be done now; who does must call ``_request_ended`` once."""
        return False

    def _after_initialized(self) -> None:
        """Begin what may begin once the session is initialized."""

    # One outcome for each request.

    def _request_ended(self, post: Post) -> None:
        if post.watch is not None:
            post.watch.cancel()
        if post.is_subscription:
            self._subscriptions.discard(post)
        else:
            self._taken_places -= 1
            self._has_place.set()
        if post.is_handshake:
            self._ready.set()

    async def _run(self, post: Post) -> None:
        await self._settling(post, self._deliver(post))

    async def _settling(self, post: Post, delivery: Awaitable[None]) -> None:
        """See a frame delivered; whatever goes wrong becomes an error for each of its requests."""
        try:
            await delivery
        except EndpointUnavailable as exc:
            self.fail(post, replies.UNAVAILABLE, str(exc), "no")
        except FrameTooLarge as exc:
            self.fail(post, replies.TOO_LARGE, str(exc), "unknown")
        except RelayError as exc:
            self.fail(post, replies.LOST, f"the request was lost: {exc}", "unknown")
        except Exception:  # a bug of ours, but whoever waits for this request would wait for ever
            self.fail(post, replies.LOST, "the request was lost: the relay failed", "unknown")
            raise

    def fail(self, post: Post, code: int, message: str, delivered: replies.Delivered, **data: object) -> None:
        """Give every request of ``post`` that is still open an error; log what had no request."""
        if not post.owed:
            logger.warning("%s: %s was not accepted: %s", self.name, _describe(post.frame.head), message)
        strays = {one.id: self._books.stray_of(one.id) for one in post.frame.head.messages if one.id is not None}
        for request_id in self._take_open(post):
            logger.info("%s: request %r: %s", self.name, request_id, message)
            error = replies.error(request_id, code, message, delivered=delivered, **data)
            self.inbox.put((strays.get(request_id) or error,))  # it says more than that no other has come

    def take(self, frame: Frame, *, is_whole: bool = False) -> None:
        """Take one frame from the server: an answer goes on once, to whom waits for it; all else goes on.

        ``is_whole``: it is all that comes for the request that it belongs to.
        """
        kind = frame.head.kind
        if kind is RESPONSE:
            if (answer := self._answer(frame, is_whole=is_whole)) is not None:
                self.inbox.put((answer,))
        elif kind is BATCH:
            self.inbox.put(self._take_batch(frame))
        elif kind is Kind.INVALID:
            self._take_invalid(frame, is_whole=is_whole)
        else:
            self.inbox.put((frame,))

    def _take_invalid(self, frame: Frame, *, is_whole: bool) -> None:
        """Take what an invalid frame was meant to be; a request of the server is answered with what is wrong."""
        sifted = sift(frame, self.name, is_server=True)
        if sifted.is_noise:
            logger.warning("%s: sent a message that is not JSON-RPC (%s): dropped", self.name, frame.head.fault)
        for one in sifted.onward:
            self.take(one, is_whole=is_whole)
        for refusal in sifted.back:
            self._refuse(refusal)

    def _refuse(self, refusal: Frame) -> None:
        self._tasks.spawn(self._run(Post(refusal)), name=f"{self.name}: POST refusal of {refusal.head.id!r}")

    def _take_batch(self, frame: Frame) -> list[Frame]:
        """Return the batch as it came, or what is left of it without the answers nobody waits for."""
        members = frame.split()
        taken = [one if one.head.kind is not Kind.RESPONSE else self._answer(one) for one in members]
        if all(one is was for one, was in zip(taken, members, strict=True)):
            return [frame]
        return [one for one in taken if one is not None]

    def _answer(self, frame: Frame, *, is_whole: bool = False) -> Frame | None:
        """Take an answer; return how it goes on, under the id of its request, or None if nobody waits for it."""
        said = frame.head.id
        post = self._books.answer(said)
        if post is None:
            found = self._books.take_odd(frame, is_whole=is_whole)
            if found is None:
                return None
            post, frame = found
        post.owed -= 1
        if post.is_handshake:
            self._take_handshake(frame)
        return frame if post.facts is None else self._take_modern(post, frame)

    def _take_handshake(self, answer: Frame) -> None:
        self.version = negotiated_version(answer)
        if self.version is None:
            self._initialize = None
        self._ready.set()

    def _note_notification(self, post: Post) -> bool:
        """Note what a notification says; return whether the server has still to be told."""
        head = post.frame.head
        if head.method == "notifications/initialized":
            self._initialized = post.frame
        elif head.method == "notifications/cancelled" and head.target is not None:
            cancelled = self._books.find(head.target)
            if cancelled is None:
                # Too late. A modern server wants no such message at all; a legacy one ignores it.
                return post.facts is None and self._initialize is not None
            if cancelled.facts is not None:
                self._close_stream(cancelled, head.target)
                return False
            self._books.await_cancelled(head.target)
        return True

    def _close_stream(self, post: Post, request_id: RequestId) -> None:
        """Cancel a modern request: its client wants no answer to it any more.

        MCP 2026-07-28, "Cancellation": to close the stream is to cancel, and no message is expected beside.
        """
        logger.debug("%s: request %r cancelled", self.name, request_id)
        self._books.answer(request_id)  # no answer can come any more
        post.owed -= 1
        if post.cancel is not None:
            post.cancel()

    def _give_due(self, due: Due) -> None:
        """Give a request its outcome as if the server had sent it; what is under way for it has no use any more."""
        post = self._books.find(due.request_id)
        self.take(due.outcome)
        if due.stray is None and post is not None and post.cancel is not None and not post.owed:
            post.cancel()

    @staticmethod
    async def read_event(event: SseEvent, post: Post | None = None) -> Frame | None:
        """Return the frame in an event if it is large, its head read in a turn of its own; else there is no need."""
        if not isinstance(event.data, bytes) or len(event.data) <= LARGE:
            return None
        frame = Frame(event.data, post.frame.head.id if post is not None else None)
        await read_in_turn(frame)
        return frame

    def take_event(self, event: SseEvent, post: Post | None = None, frame: Frame | None = None) -> None:
        """Take one SSE event: a frame, or only an id and a retry time; ``frame`` as ``read_event`` has returned it."""
        if post is not None:
            post.has_spoken = True
        if isinstance(event.data, Oversized):
            self._take_oversized(event.data, post)
        elif event.data and event.event == "message":
            ids = post.frame.head.id if post is not None else None
            self.take(frame or Frame(event.data, ids))

    def _take_oversized(self, piece: Oversized, post: Post | None) -> None:
        head = salvage_head(piece.start, piece.end)
        fault = replies.size_fault(self.name, piece.size, self._limits.max_frame_bytes)
        logger.warning("%s: dropped", fault)
        if head.kind is Kind.RESPONSE:
            error = replies.too_large(head, head.id, fault)
            self.take(Frame(error.raw, post.frame.head.id if post is not None else None))
        elif head.kind is Kind.REQUEST:
            self._refuse(replies.too_large(head, head.id, fault))
        elif post is not None and head.kind is Kind.INVALID:
            self.fail(post, replies.TOO_LARGE, fault, "unknown")


def _describe(head: Head) -> str:
    return head.method or f"an answer to {head.id!r}"
