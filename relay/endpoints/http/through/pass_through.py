"""Forward Streamable HTTP to Streamable HTTP, request by request, without session state in the relay.

The session id, the event ids and the statuses are the server's own and pass unchanged. So no client notices a relay
that restarts between two requests. The gate checks each request as usual, and the server's answer goes to the client.

If the server is unreachable, breaks off or gives another answer, the client gets a JSON-RPC error with the request's
id. The exception is a client that can resume the stream with Last-Event-ID. Both eras work alike, except that the
modern era cannot resume.

Some things do not pass: the client's credentials and cookies, the server's challenges and cookies, redirects, and pages
that are neither JSON-RPC nor events. The relay, not the client, is logged in at the server. So the relay keeps the
server's cookies per session, and sends them with the requests of that session. Apart from the cookies, the relay
remembers of a session only which answers a stream owed when it ended (``owed_answers``).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from itertools import count
from time import monotonic
from typing import TYPE_CHECKING

from aiohttp import BytesPayload, web
from multidict import CIMultiDict, MultiMapping

from relay.busy_poll import MOMENT, BusyPoll
from relay.endpoints.core.arrivals import Arrivals
from relay.endpoints.core.tasks import TaskScope
from relay.endpoints.core.turns import LARGE
from relay.endpoints.http.client.aiohttp_dial import Dial, Response
from relay.endpoints.http.client.cookies import CookieJar
from relay.endpoints.http.client.pool import PooledResponse
from relay.endpoints.http.media import EVENT_STREAM, JSON, accepts, listed
from relay.endpoints.http.pieces import send_whole
from relay.endpoints.http.through.body_slot import BodySlot, LargeBody
from relay.endpoints.http.through.direct_exchange import DirectClient, DirectExchange
from relay.endpoints.http.through.forwarded import (
    HOMEWARD,
    INITIALIZE,
    SUBSCRIBE,
    Forwarded,
    failure,
    is_stream,
    named_client,
    session_of,
)
from relay.endpoints.http.through.life import Life
from relay.endpoints.http.through.onward import Onward, onward_headers
from relay.endpoints.http.through.relayed_streams import RelayedStreams
from relay.endpoints.http.through.request_numbers import RequestNumbers
from relay.endpoints.http.through.session_cookies import SessionCookies
from relay.endpoints.http.through.whole_answers import WholeAnswers, answer_in
from relay.errors import EndpointBroken, EndpointUnavailable, FrameTooLarge
from relay.frames import replies
from relay.frames.frame import Frame
from relay.frames.head import REQUEST, Head, RequestId
from relay.mcp.headers import SESSION_ID
from relay.observe.hub import Clients
from relay.routing.open_table import OpenTable
from relay.routing.owners import Owners

if TYPE_CHECKING:
    from relay.endpoints.http.views import CountsView

__all__ = ["PassThrough"]

logger = logging.getLogger("relay")


class PassThrough:
    """A server to which an HTTP listener forwards requests without a session."""

    def __init__(
        self,
        dial: Dial,
        context: CountsView,
        mark: str,
        *,
        has_owners: bool = False,
        forward_headers: Sequence[str] = (),
    ) -> None:
        """Forward requests through ``dial``, within the limits and the counts of ``context``.

        Each forwarded request carries ``mark``, and the client's ``forward_headers``. With ``has_owners``, a session is
        its principal's alone.
        """
        self._forward_headers = forward_headers
        self._mark = mark
        self.hub = dial.hub
        self._dial = dial
        self._cookies = SessionCookies(dial.new_jar)
        self.owners = Owners() if has_owners else None
        """The principal of each session, if the listener wants a login."""
        self._loop = asyncio.get_running_loop()
        self._limits = context.limits
        self._unsent = 0  # bytes of bodies that have arrived and are not yet sent
        self.name = f"clients of {dial.name}"
        self.ledger: OpenTable[DirectExchange | RequestNumbers] = OpenTable(remembered=0)
        """The requests that wait for the server's answer, under the relay's own numbers."""
        self.open_requests = self.ledger.open_ids
        self.last_used = 0.0
        """When the relay last forwarded a request, by the loop's clock; 0 if it has forwarded none."""
        self._numbers = count(1)
        self._without_connection = 0
        self._busy_poll = BusyPoll()
        self._tasks = TaskScope()  # the pool opens connections in it
        self._life = Life()
        self._answers = WholeAnswers(dial, context.limits)
        self._streams = RelayedStreams(dial, context, self._tasks, self._life)
        Clients(dial.hub, {self})

    @property
    def is_elsewhere(self) -> bool:
        """Whether the server refused a client's first POST, and so may speak HTTP+SSE."""
        return self._answers.is_elsewhere

    def _onward(self, client_headers: MultiMapping[str], frame: Frame | None = None) -> CIMultiDict[str]:
        return onward_headers(self._mark, client_headers, frame, self._forward_headers)

    async def post(
        self, request: web.BaseRequest, owner: str, slot: BodySlot, cors: Mapping[str, str]
    ) -> web.StreamResponse:
        """Forward a POST of ``owner`` and return its answer. Raises Refused, NotStreamable."""
        headers = self._onward(request.headers, slot.frame)
        headers["Content-Type"] = JSON
        jar = self._cookies.of(headers.get(SESSION_ID))
        if self.hub.frames is not None and slot.frame is not None:
            self.hub.frames(named_client(request.headers.get(SESSION_ID)), self._dial, (slot.frame,))
        tries = self._dial.tries(slot.frame)
        entering = self._dial.request("POST", headers, body=self._body(slot), jar=jar, tries=tries)
        return await self._hand_on(request, owner, entering, cors, slot, jar)

    async def other(self, request: web.BaseRequest, owner: str, cors: Mapping[str, str]) -> web.StreamResponse:
        """Forward a GET or a DELETE of ``owner`` and return its answer. Raises Refused."""
        jar = self._cookies.of(request.headers.get(SESSION_ID))
        headers, tries = self._onward(request.headers), self._dial.tries(is_background=True)
        entering = self._dial.request(request.method, headers, jar=jar, tries=tries)
        return await self._hand_on(request, owner, entering, cors, jar=jar)

    def onward_at_once(self, client_headers: MultiMapping[str], frame: Frame) -> Onward | None:
        """Return a client's headers as a head for a kept connection; None if no pool may be used."""
        pool, login = self._dial.pool(self._tasks), self._dial.login_headers()
        if pool is None or login is None or frame.head.method == INITIALIZE:
            return None
        headers = self._onward(client_headers, frame)
        headers["Content-Type"] = JSON
        try:
            headers.update(login)
            return Onward(pool.beginning(headers), client_headers.get(SESSION_ID), pool.url, login)
        except ValueError:
            return None  # the ordinary way reports the invalid header

    def post_at_once(self, connection: DirectClient, onward: Onward, frame: Frame) -> bool:
        """Forward an ordinary request over an idle kept connection; return False if that is not possible now.

        The answer goes to ``connection``.
        """
        head, body = frame.head, frame.raw
        is_ordinary = head.kind is REQUEST and head.method not in (INITIALIZE, SUBSCRIBE)
        if not is_ordinary or self._life.is_closed or len(self.open_requests) >= self._limits.max_shared_in_flight:
            return False
        pool = self._dial.pool(self._tasks)
        if pool is None or len(body) > self._limits.buffer_high:
            return False
        if onward.url is not pool.url or onward.login is not self._dial.login_headers():
            connection.forget_onward()  # the server has moved, or the login has: the next request builds a new head
            return False
        cookies = b""
        if self._cookies.kept:
            if pool.has_cookie_header:
                return False  # the ordinary way merges the cookies with the operator's Cookie header
            cookies = self._cookies.header(onward.session_id, pool.path)
        pooled = pool.take()
        if pooled is None:
            # Requests that found no connection in this turn of the loop are in flight from the next turn on.
            if not self._without_connection:
                asyncio.get_running_loop().call_soon(self._forget_without_connection)
            self._without_connection += 1
            pool.grow(len(self.open_requests) + self._without_connection)
            return False
        direct = DirectExchange(
            connection,
            pooled,
            frame,
            next(self._numbers),
            homeward=HOMEWARD,
            max_bytes=min(self._limits.max_frame_bytes, LARGE),  # the relay reads a larger answer in several turns
            on_end=self._direct_ended,
        )
        direct.login = onward.login
        hub, ledger, number = self.hub, self.ledger, direct.number
        ledger.open(number, direct, head.method)
        self.last_used = self._loop.time()
        self._frames_came()
        connection.expect_direct(direct, self._limits.answer_wait)

        def found_in(body: bytes, whole: PooledResponse) -> bytes | None:
            found = answer_in(head, body, whole)
            if found is not None:
                hub.fault = None
                answer = Frame(found) if hub.frames is not None or ledger.subscriber is not None else None
                if hub.frames is not None and answer is not None:
                    hub.frames(self._dial, named_client(onward.session_id), (answer,))
                ledger.answer(number, answer)
            return found

        def take(answer: PooledResponse | None) -> None:
            if answer is not None and answer.cookies:
                self._cookies.take(onward.session_id, answer, pool.path)
            direct.take(answer, found_in)

        if hub.frames is not None:
            hub.frames(named_client(onward.session_id), self._dial, (frame,))

        pooled.ask(b"%b%bContent-Length: %d\r\n\r\n" % (onward.head, cookies, len(body)), body, take)
        return True

    def _forget_without_connection(self) -> None:
        self._without_connection = 0

    def _direct_ended(self, direct: DirectExchange) -> None:
        if direct.is_given_up:
            self.ledger.answer(direct.number, ending="cancelled")
        self._frames_came()

    def _frames_came(self) -> None:
        now, poll = monotonic(), self._busy_poll
        if now - poll.last > MOMENT:
            poll.last, poll.in_a_row = now, 0
        else:
            poll.frames_came()

    async def go_on(
        self, request: web.BaseRequest, owner: str, direct: DirectExchange, cors: Mapping[str, str]
    ) -> web.StreamResponse:
        """Return the answer to a request of ``owner`` that was forwarded directly. Raises Refused, NotStreamable."""
        slot = BodySlot(self._count_unsent, lambda: None)
        slot.hold(direct.frame, is_small=True)
        jar = self._cookies.of(request.headers.get(SESSION_ID))
        head = direct.frame.head
        assert head.id is not None, "a request"
        requests = RequestNumbers(self.ledger, {head.id: direct.number})
        return await self._hand_on(request, owner, self._after(direct, request, jar), cors, slot, jar, requests)

    @contextlib.asynccontextmanager
    async def _after(self, direct: DirectExchange, request: web.BaseRequest, jar: CookieJar) -> AsyncIterator[Response]:
        """Yield the answer to a directly forwarded request, or to its repetition after a redirect or a refusal."""
        tries = self._dial.tries(direct.frame, sent=direct.login)
        async with direct.response(self._dial.name) as answer:
            is_moved = self._dial.learn_move(answer, self._dial.url, answer.url)
            if not is_moved and not (tries and await tries.may_send_again(answer.status, answer.headers)):
                yield answer
                return
        headers = self._onward(request.headers, direct.frame)
        headers["Content-Type"] = JSON
        body, may_follow = direct.frame.raw, not is_moved
        async with self._dial.request(
            "POST", headers, body=body, jar=jar, may_follow=may_follow, tries=tries
        ) as response:
            yield response

    @contextlib.contextmanager
    def slot(self, arrivals: Arrivals) -> Iterator[BodySlot]:
        """Yield the slot of a POST's frame, which ends once the frame is sent or the block exits.

        Large bodies stay in the network while the server does not read the ones that have arrived.
        """
        slot = BodySlot(self._count_unsent, arrivals.look_again)
        try:
            yield slot
        finally:
            slot.end()

    def _count_unsent(self, size: int) -> None:
        self._unsent += size

    def wants_bodies(self) -> bool:
        """Tell whether the server reads fast enough; if not, large bodies stay in the network."""
        return self._unsent <= self._limits.max_frame_bytes

    def end_subscriptions(self) -> None:
        """End subscriptions, which do not end by themselves, because the relay is draining."""
        self._life.end_subscriptions()

    async def aclose(self) -> None:
        """End every exchange with an error, or so that its client can resume the stream."""
        self._life.close()
        for direct in tuple(self.ledger.entries()):
            if isinstance(direct, DirectExchange):
                direct.go_on()
        await self._tasks.aclose()

    async def _hand_on(
        self,
        request: web.BaseRequest,
        owner: str,
        entering: AbstractAsyncContextManager[Response],
        cors: Mapping[str, str],
        slot: BodySlot | None = None,
        jar: CookieJar | None = None,
        requests: RequestNumbers | None = None,
    ) -> web.StreamResponse:
        """Enter ``entering``, which sends the request, and return its answer; ``jar`` collects the answer's cookies.

        ``requests`` are those of the frame, if they are open already.
        """
        frame = slot.frame if slot is not None else None
        head = frame.head if frame is not None else None
        requests = requests or self._open(head)
        forwarded = Forwarded(request, owner, cors, slot, head, requests)
        asks = head is not None and head.asks
        del frame
        try:
            async with contextlib.AsyncExitStack() as stack:
                async with self._life.until_closed(head):
                    response = await stack.enter_async_context(entering)
                    streams = is_stream(response)
                    if jar is not None and jar.kept:
                        self._cookies.note(session_of(request, head), response, jar, request.method)
                    if self.owners is not None:
                        self._note_owner(self.owners, owner, session_of(request, head), response, request.method)
                    self.hub.fault = None
                    if slot is not None and 200 <= response.status < 300:
                        self._answers.is_elsewhere = False
                    if streams and asks and not accepts(listed(request.headers, "Accept"), EVENT_STREAM):
                        streams = False
                        answer = await self._answers.collapsed(forwarded, response)
                    elif not streams:
                        answer = await self._answers.whole(forwarded, response)
                if streams:
                    return await self._streams.give(forwarded, response)
                return await send_whole(request, self._tell(forwarded, answer), self._limits)
        except EndpointUnavailable as exc:
            if head is None and (owed := self._streams.owed_to(request, owner)):
                return self._streams.tell_owed(owed, cors, f"the request was lost: the stream broke; {exc}")
            return self._tell(forwarded, failure(head, cors, replies.UNAVAILABLE, f"{exc}", "no"))
        except (FrameTooLarge, EndpointBroken) as exc:
            end = replies.end_by(exc)
            return self._tell(forwarded, failure(head, cors, end.code, end.message, end.delivered))
        except asyncio.CancelledError:
            requests.end_all("cancelled")
            raise
        finally:
            requests.end_all("failed")

    def _note_owner(self, owners: Owners, owner: str, session_id: str | None, response: Response, method: str) -> None:
        """Note whose session an answer begins or ends."""
        is_good = 200 <= response.status < 300
        if session_id is None:
            if is_good and (begun := response.headers.get(SESSION_ID)) is not None:
                owners.add(owner, begun)
        elif response.status == 404 or (is_good and method == "DELETE"):
            owners.remove(owner, session_id)

    def _open(self, head: Head | None) -> RequestNumbers:
        """Open the requests of a frame."""
        numbers: dict[RequestId, int] = {}
        requests = RequestNumbers(self.ledger, numbers)
        for one in head.messages if head is not None else ():
            if one.kind is REQUEST and one.id is not None and one.id not in numbers:
                number = numbers[one.id] = next(self._numbers)
                self.ledger.open(number, requests, one.method)
        if numbers:
            self.last_used = self._loop.time()
        return requests

    def _tell(self, forwarded: Forwarded, answer: web.Response) -> web.Response:
        """Tell the hub of an answer on its way to the client."""
        frame = Frame(answer.body) if isinstance(answer.body, bytes) and answer.body else None
        if self.hub.frames is not None and frame is not None:
            self.hub.frames(self._dial, named_client(forwarded.request.headers.get(SESSION_ID)), (frame,))
        if frame is not None and not self._life.is_closed:
            self.hub.note_fault(replies.fault_of(frame))
        forwarded.requests.end_all("answered", frame)
        return answer

    def _body(self, slot: BodySlot) -> bytes | BytesPayload:
        frame = slot.frame
        assert frame is not None, "read"
        is_small = frame.size <= self._limits.buffer_low
        if is_small or frame.head.method == INITIALIZE or self._dial.may_resend or not self._dial.is_settled:
            return frame.raw
        return LargeBody(frame.raw, slot.end)
