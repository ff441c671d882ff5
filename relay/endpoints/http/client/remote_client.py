"""Hold what both HTTP clients share: open requests, a recorded handshake, and one outcome for each request.

A subclass sends frames and reads answers in the way of its transport. The base class holds three rules for all of them.
An answer reaches the client once. The relay drops an answer that no request waits for. A request that can no longer get
its answer gets an error.
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
from relay.endpoints.http.client.post import Post
from relay.errors import EndpointBroken, EndpointClosed, RelayError
from relay.frames import replies
from relay.frames.envelope import salvage_head
from relay.frames.faults import message_fault, size_fault
from relay.frames.frame import Frame
from relay.frames.head import BATCH, REQUEST, RESPONSE, Head, Kind, RequestId
from relay.frames.lines import Oversized
from relay.frames.repair import Sifted, sift
from relay.frames.sse import SseEvent
from relay.mcp.facts import RequestFacts
from relay.mcp.handshake import INITIALIZED, negotiated_version
from relay.routing.ledger import Due
from relay.routing.open_table import IdInUse

__all__ = ["RemoteClient"]

logger = logging.getLogger("relay")


class RemoteClient:
    """The shared part of the endpoints that dial an HTTP server."""

    def __init__(self, dial: AnyDial, inbox: FrameInbox) -> None:
        """Send through ``dial``; put the server's frames into ``inbox``, which other clients may share."""
        self.name = dial.name
        self.dial = dial
        self.inbox = inbox
        self.version: str | None = None
        self.is_undecided = True
        """Whether the server has yet to show that it speaks this transport."""
        self._limits = dial.limits
        self._tasks = TaskScope()
        self._books: Books[Post] = Books(dial.name, dial.limits, self._give_due, peer=dial.name)
        self._taken_places = 0
        self._has_place = asyncio.Event()
        self._subscriptions: set[Post] = set()
        self._ready = asyncio.Event()  # cleared while a handshake is under way
        self._ready.set()
        self._renewing = asyncio.Lock()
        self._initialize: Frame | None = None
        self._initialized: Frame = INITIALIZED
        self._loss = SessionLoss(self._lost_by)
        self._has_eof = False
        self._is_closed = False

    # The endpoint's four verbs.

    async def receive(self) -> Sequence[Frame]:
        """Return the server's frames, and the relay's errors for requests that can no longer get an answer."""
        return await self.inbox.receive()

    def call_at_end(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once the peer will send no more."""
        self.inbox.call_at_end(callback)

    async def send(self, frames: Sequence[Frame]) -> None:
        """POST each frame: requests concurrently, other frames in order, each accepted before the next is sent.

        Waits while ``limits.max_in_flight`` requests are open, and while a handshake is under way. Subscriptions stay
        open for hours, so they count separately, against the same limit.
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
        """POST requests without waiting; return False if a frame must wait or is not a request, and send none."""
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
        await self._until_free(frame, facts)
        await self._send_one(Post(frame, facts))

    @property
    def may_wait(self) -> bool:
        """Whether a frame may have to wait for a handshake, or for the transport to be detected."""
        return self.is_undecided or not self._ready.is_set()

    async def until_free(self, frame: Frame) -> None:
        """Wait until a frame need not wait for a handshake."""
        await self._until_free(frame, self._facts_of(frame))

    async def _until_free(self, frame: Frame, facts: RequestFacts | None) -> None:
        if frame.head.kind is not Kind.RESPONSE and facts is None:
            await self._ready.wait()

    async def _send_sifted(self, sifted: Sifted) -> None:
        """Forward the valid parts of a client's invalid frame; refuse the invalid requests in it."""
        self.inbox.put(sifted.back)
        for one in sifted.onward:
            await self._send_in_turn(one)

    def refuse_unsent(self, frames: Sequence[Frame]) -> None:
        """Answer requests that the relay will no longer send with errors."""
        for frame in frames:
            for message in frame.head.messages:
                if message.kind is Kind.REQUEST and message.id not in self._books:
                    fault = "the request was not sent: the relay is shutting down"
                    self.inbox.put((replies.error(message.id, replies.UNAVAILABLE, fault, delivered="no"),))

    async def _send_one(self, post: Post) -> None:
        head = post.frame.head
        if not head.asks:
            if not self._note_notification(post):
                return
            task = self._tasks.spawn(self._run(post), name=f"{self.name}: POST {head.method or head.kind.value}")
            # In order, but a server that does not accept one frame must not block the next indefinitely.
            await asyncio.wait((task,), timeout=self._limits.linger)
            return
        if not post.is_subscription:
            await self._take_place()
        elif not self._subscribe(post):
            return
        self._ask(post)

    def _ask(self, post: Post) -> None:
        """Send a frame that needs answers, and release its place once it has them."""
        head = post.frame.head
        try:
            post.owed = self._books.open_frame(post, head)
        except IdInUse as exc:
            post.is_handshake = False  # another handshake is under way
            self._request_ended(post)
            # No id in this error: the client would take it for the answer to the first request.
            self.inbox.put((replies.error(None, replies.INVALID_REQUEST, str(exc), delivered="no"),))
            return
        if post.is_handshake:
            self._initialize = post.frame
            self._ready.clear()
        if post.is_handshake or not self._send_at_once(post):
            task = self._tasks.spawn(self._run(post), name=f"{self.name}: POST {head.method or 'batch'}")
            # A callback, not a finally in the task: a task that is cancelled before it starts runs no code.
            task.add_done_callback(lambda _: self._request_ended(post))
            post.cancel = task.cancel

    def _subscribe(self, post: Post) -> bool:
        """Reserve a place for a subscription, or refuse it: a waiting one would block its own cancellation."""
        if len(self._subscriptions) < self._limits.max_in_flight:
            self._subscriptions.add(post)
            return True
        fault = f"{len(self._subscriptions)} subscriptions are open; max_in_flight is {self._limits.max_in_flight}"
        self.inbox.put((replies.error(post.frame.head.id, replies.UNAVAILABLE, fault, delivered="no"),))
        return False

    async def send_eof(self) -> None:
        """Accept no further requests; ``receive`` finishes once every open request has its answer."""
        if not self._has_eof:
            self._has_eof = True
            # A client that cancelled a request and closed its end expects no answer. An answer now could meet the
            # client's half-closed stdin reader (Python SDK 1.x raises BrokenResourceError there).
            for request_id in self._books.cancelled():
                self._books.forget(request_id)
            self._tasks.spawn(self._finish_when_settled(), name=f"{self.name}: last answers")

    async def aclose(self, reason: RelayError | None = None) -> None:
        """End the session: answer every open request with an error that carries ``reason``, then tell the server."""
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
        """End a subscription as the server would (2026-07-28, "Graceful Closure")."""
        for request_id in self._take_open(post):
            self.inbox.put((replies.subscription_ended(request_id),))

    def _take_open(self, post: Post) -> list[RequestId]:
        """Settle the requests of a frame that still wait for answers; return their ids."""
        asked = [one.id for one in post.frame.head.messages if one.id is not None and self._books.find(one.id) is post]
        for request_id in asked:
            self._books.answer(request_id)
        post.owed = 0
        return asked

    def server_left(self, failure: RelayError) -> None:
        """End the endpoint, because nothing listens any more where the session's server was."""
        for lost in self._books.fail_all():
            self.inbox.put((replies.error(lost.request_id, replies.LOST, f"the request was lost: {failure}"),))
        self.inbox.finish(EndpointBroken(str(failure)))

    async def abandon(self) -> None:
        """Cancel the running tasks, and leave the connections and the inbox to a successor."""
        await self._tasks.aclose()

    @property
    def in_flight(self) -> int:
        """Requests that wait for an answer."""
        return len(self._books)

    @property
    def dropped(self) -> int:
        """Answers that the relay dropped because no request waited for them."""
        return self._books.dropped

    async def settle(self) -> None:
        """Wait until no request is open except subscriptions, which do not end by themselves."""
        while self._has_requests:  # noqa: ASYNC110 - polled once, at the end, so the hot path sets no event
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

    # For subclasses to define.

    _lost_by: tuple[int, ...] = ()
    """The statuses that always mean a lost session in this transport."""

    async def _deliver(self, post: Post) -> None:
        """Send one frame, and take its answers if they arrive on the same connection."""
        raise NotImplementedError

    async def _say_goodbye(self) -> None:
        """Tell the server that the session is over, within a bounded time and without raising."""

    @staticmethod
    def _facts_of(frame: Frame) -> RequestFacts | None:
        """Return the facts in a modern frame's ``_meta``, if this transport carries modern frames."""
        return None

    def _take_modern(self, post: Post, answer: Frame) -> Frame:
        """Take the answer to a modern request; return the answer to forward."""
        return answer

    def _send_at_once(self, post: Post) -> bool:
        """Send a request without a task, if possible now. If so, the subclass must call ``_request_ended`` once."""
        return False

    def _after_initialized(self) -> None:
        """Start the work that needs an initialized session."""

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
        """Await a delivery; turn any failure into an error for each request of the frame."""
        try:
            await delivery
        except RelayError as exc:
            end = replies.end_by(exc)
            self.fail(post, end.code, end.message, end.delivered, **end.data)
        except Exception:  # a bug of the relay, but without an error the client would wait indefinitely
            self.fail(post, replies.LOST, "the request was lost: the relay failed", "unknown")
            raise

    def fail(self, post: Post, code: int, message: str, delivered: replies.Delivered, **data: object) -> None:
        """Answer every open request of ``post`` with an error; log a failure that concerns no request."""
        if not post.owed:
            logger.warning("%s: %s was not accepted: %s", self.name, _describe(post.frame.head), message)
        strays = {one.id: self._books.stray_of(one.id) for one in post.frame.head.messages if one.id is not None}
        for request_id in self._take_open(post):
            logger.info("%s: request %r: %s", self.name, request_id, message)
            error = replies.error(request_id, code, message, delivered=delivered, **data)
            self.inbox.put((strays.get(request_id) or error,))  # the server's stray error is more specific

    def take(self, frame: Frame, *, is_whole: bool = False) -> None:
        """Take one frame from the server: forward an answer once, if a request waits for it, and any other frame.

        ``is_whole``: the request gets no further frames.
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
        """Take the valid parts of a server's invalid frame; answer the server's invalid request with an error."""
        sifted = sift(frame, self.name, is_server=True)
        if sifted.is_noise:
            logger.warning("%s: dropped what is %s", self.name, message_fault(frame.head.fault))
        for one in sifted.onward:
            self.take(one, is_whole=is_whole)
        for refusal in sifted.back:
            self._refuse(refusal)

    def _refuse(self, refusal: Frame) -> None:
        self._tasks.spawn(self._run(Post(refusal)), name=f"{self.name}: POST refusal of {refusal.head.id!r}")

    def _take_batch(self, frame: Frame) -> list[Frame]:
        """Return the batch unchanged, or its members without the answers that no request waits for."""
        members = frame.split()
        taken = [one if one.head.kind is not Kind.RESPONSE else self._answer(one) for one in members]
        if all(one is was for one, was in zip(taken, members, strict=True)):
            return [frame]
        return [one for one in taken if one is not None]

    def _answer(self, frame: Frame, *, is_whole: bool = False) -> Frame | None:
        """Take an answer; return it under the id of its request, or None if no request waits for it."""
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
        """Note a client's notification; return whether the server needs the notification."""
        head = post.frame.head
        if head.method == "notifications/initialized":
            self._initialized = post.frame
        elif head.method == "notifications/cancelled" and head.target is not None:
            cancelled = self._books.find(head.target)
            if cancelled is None:
                # The request has ended. A modern server expects no such message; a legacy server ignores it.
                return post.facts is None and self._initialize is not None
            if cancelled.facts is not None:
                self._close_stream(cancelled, head.target)
                return False
            self._books.await_cancelled(head.target)
        return True

    def _close_stream(self, post: Post, request_id: RequestId) -> None:
        """Cancel a modern request on behalf of the client.

        MCP 2026-07-28, "Cancellation": closing the stream cancels the request, and the server expects no message.
        """
        logger.debug("%s: request %r cancelled", self.name, request_id)
        self._books.answer(request_id)  # no answer can arrive on a closed stream
        post.owed -= 1
        if post.cancel is not None:
            post.cancel()

    def cancel_unsent(self, request_id: RequestId) -> bool:
        """Cancel a request that waits for a login; return False if none does under this id."""
        post = self._books.find(request_id)
        if post is None or not self._is_unsent(post):
            return False
        if post.facts is not None:
            self._close_stream(post, request_id)
            return True
        self._books.answer(request_id)
        post.owed -= 1
        self.inbox.put((replies.cancelled_unanswered(request_id, was_sent=False),))
        if post.cancel is not None and not post.owed:
            post.cancel()
        return True

    def _is_unsent(self, post: Post) -> bool:
        return post.tries is not None and post.tries.is_waiting

    def _give_due(self, due: Due) -> None:
        """Give a request its outcome as if the server had sent that outcome, and cancel the request's exchange."""
        post = self._books.find(due.request_id)
        self.take(due.outcome)
        if due.stray is None and post is not None and post.cancel is not None and not post.owed:
            post.cancel()

    @staticmethod
    async def read_event(event: SseEvent, post: Post | None = None) -> Frame | None:
        """Return the frame of a large event, after reading its head in a turn of its own; None for a small event."""
        if not isinstance(event.data, bytes) or len(event.data) <= LARGE:
            return None
        frame = Frame(event.data, post.frame.head.id if post is not None else None)
        await read_in_turn(frame)
        return frame

    def take_event(self, event: SseEvent, post: Post | None = None, frame: Frame | None = None) -> None:
        """Take one SSE event: a frame, or only an id and a retry time. ``frame`` is the result of ``read_event``."""
        if post is not None:
            post.has_spoken = True
        if isinstance(event.data, Oversized):
            self._take_oversized(event.data, post)
        elif event.data and event.event == "message":
            ids = post.frame.head.id if post is not None else None
            self.take(frame or Frame(event.data, ids))

    def _take_oversized(self, piece: Oversized, post: Post | None) -> None:
        head = salvage_head(piece.start, piece.end)
        fault = f"{self.name}: {size_fault(piece.size, self._limits.max_frame_bytes)}"
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
