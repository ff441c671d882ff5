"""Relay a server's event streams to its clients as they arrive."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from aiohttp import web

from relay.endpoints.core.tasks import TaskScope
from relay.endpoints.http.client.aiohttp_dial import Dial, Response
from relay.endpoints.http.media import EVENT_STREAM
from relay.endpoints.http.pieces import abort, write
from relay.endpoints.http.through.owed_answers import OwedAnswers
from relay.endpoints.http.through.stream_watch import StreamWatch
from relay.errors import EndpointBroken, EndpointUnavailable, FrameTooLarge
from relay.frames import replies
from relay.frames.frame import Frame
from relay.frames.sse import SseDecoder, encode_event
from relay.mcp.headers import LAST_EVENT_ID, PROTOCOL_VERSION, SESSION_ID
from relay.mcp.revisions import is_modern_version

if TYPE_CHECKING:
    from relay.endpoints.http.views import CountsView
from relay.endpoints.http.through.forwarded import (
    STREAM_HEADERS,
    SUBSCRIBE,
    Forwarded,
    homeward,
    is_framed,
    named_client,
    set_patience,
)
from relay.endpoints.http.through.life import Life
from relay.routing.ledger import Ledger

__all__ = ["RelayedStreams"]

logger = logging.getLogger("relay")


class RelayedStreams:
    """The streams of one server, and the answers that they owed when they ended."""

    def __init__(self, dial: Dial, context: CountsView, tasks: TaskScope, life: Life) -> None:
        """Read streams through ``dial`` for as long as ``life`` lasts, and count them in ``context``."""
        self._dial = dial
        self._context = context
        self._limits = context.limits
        self._tasks = tasks
        self._life = life
        self._owed = OwedAnswers()
        self._looking: asyncio.Future[bool] | None = None

    async def give(self, forwarded: Forwarded, response: Response) -> web.StreamResponse:
        """Forward a stream as it arrives. If the stream ends early and cannot be resumed, its request gets an error."""
        request = forwarded.request
        if forwarded.slot is not None:
            forwarded.slot.end()
        headers = {**STREAM_HEADERS, **homeward(response, forwarded.cors), "Content-Type": EVENT_STREAM}
        answer = web.StreamResponse(status=response.status, headers=headers)
        watch = self._watch(forwarded)
        self._context.active_streams += 1
        try:
            await answer.prepare(request)
            last = await self._copy(forwarded, response, answer, watch)
            if last is None:
                abort(request)  # as the server did, so that the client resumes with Last-Event-ID
                return answer
            if last:
                await write(request, answer, last, self._limits)
            await answer.write_eof()
        except ConnectionError as exc:
            logger.debug("http: a client left its stream: %s", exc)
            forwarded.requests.end_all("cancelled")
        finally:
            self._context.active_streams -= 1
            self._end_watch(forwarded, watch)
        return answer

    def _watch(self, forwarded: Forwarded) -> StreamWatch:
        request = forwarded.request
        last_event_id = request.headers.get(LAST_EVENT_ID) if forwarded.head is None else None
        watch = StreamWatch(
            forwarded.head,
            self._limits,
            can_resume=not is_modern_version(request.headers.get(PROTOCOL_VERSION)),
            owed=self.owed_to(request, forwarded.owner) if forwarded.head is None else None,
            is_resumed=last_event_id is not None,
        )
        watch.owed.subscriber = forwarded.requests
        return watch

    def _end_watch(self, forwarded: Forwarded, watch: StreamWatch) -> None:
        watch.owed.subscriber = None
        if watch.last_event_id is not None and watch.is_owed:
            session_id = forwarded.request.headers.get(SESSION_ID)
            self._owed.keep(forwarded.owner, session_id, watch.last_event_id, watch.owed)
        if watch.dropped:
            logger.warning(
                "%s: dropped %d answers that were repeated, or that no request waits for",
                self._dial.name,
                watch.dropped,
            )

    async def _copy(
        self, forwarded: Forwarded, response: Response, answer: web.StreamResponse, watch: StreamWatch
    ) -> bytes | None:
        """Copy events until the stream ends; return the bytes to append, or None if the stream must end abnormally."""
        head = forwarded.head
        fault = f"{self._dial.name}: the stream ended without an answer"
        look: Callable[[bytes], None] | None = None
        try:
            async with self._life.until_closed(head):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(None) as patience:
                        async for chunk in self._dial.chunks(response):
                            if look is None and self._dial.hub.frames is not None and watch.is_between_events:
                                look = self._looking_on(forwarded.request)
                            onward = watch.feed(chunk)
                            if look is not None:
                                look(onward)
                            await write(forwarded.request, answer, onward, self._limits)
                            set_patience(patience, self._limits, is_doubtful=watch.is_doubtful)
        except FrameTooLarge as exc:
            end = replies.end_by(exc)
            return watch.give_up(end.code, f"{self._dial.name}: {end.message}")
        except EndpointBroken as exc:
            if self._life.is_closed or not await self._is_gone(watch):
                if (head is None and not watch.is_owed) or (watch.is_owed and watch.is_resumable):
                    return None
            if self._life.is_draining and head is not None and head.method == SUBSCRIBE:
                return watch.end_subscription()
            return self._give_up(watch, f"the request was lost: {exc}", look)
        may_come_back = is_framed(response) or not await self._is_gone(watch)
        if watch.is_resumable and not watch.is_doubtful and may_come_back:
            return b""
        return self._give_up(watch, f"the request was lost: {fault}", look)

    def _give_up(self, watch: StreamWatch, message: str, look: Callable[[bytes], None] | None) -> bytes:
        """Return the errors that end a stream which still owes answers, and record that the server failed."""
        if watch.is_owed and not watch.is_doubtful and not self._life.is_closed:
            self._dial.hub.fault = message
        last = watch.give_up(replies.LOST, message)
        if look is not None:
            look(last)
        return last

    def _looking_on(self, request: web.BaseRequest) -> Callable[[bytes], None]:
        """Return a function that tells the hub of the frames in the passing bytes of a stream."""
        decoder, client = SseDecoder(self._limits.max_frame_bytes), named_client(request.headers.get(SESSION_ID))

        def look(chunk: bytes) -> None:
            for event in decoder.feed(chunk):
                if isinstance(event.data, bytes) and event.data and self._dial.hub.frames is not None:
                    self._dial.hub.frames(self._dial, client, (Frame(event.data),))

        return look

    async def _is_gone(self, watch: StreamWatch) -> bool:
        """Tell whether the server of a broken stream no longer listens, so that the client could not resume.

        A client that resumes at a dead server would get no answer. So the relay sends the errors while the client still
        listens.
        """
        if not (watch.is_owed and watch.is_resumable):
            return False
        if self._looking is None:
            self._looking = asyncio.get_running_loop().create_future()
            self._tasks.spawn(self._look(self._looking), name=f"{self._dial.name}: look")
        return await asyncio.shield(self._looking)

    async def _look(self, is_gone: asyncio.Future[bool]) -> None:
        """Probe the server with OPTIONS, which executes nothing; any answer shows that the server listens."""
        try:
            async with asyncio.timeout(self._limits.close_grace), self._dial.request("OPTIONS", {}):
                is_gone.set_result(False)
        except EndpointUnavailable:
            is_gone.set_result(True)
        except (EndpointBroken, TimeoutError):
            pass  # the server listens, or may listen
        finally:
            self._looking = None
            if not is_gone.done():
                is_gone.set_result(False)

    def owed_to(self, request: web.BaseRequest, owner: str) -> Ledger[bool] | None:
        """Take the unanswered requests of the stream that ``owner`` resumes; None if the relay knows of none."""
        return self._owed.take(owner, request.headers.get(SESSION_ID), request.headers.get(LAST_EVENT_ID))

    def tell_owed(self, owed: Ledger[bool], cors: Mapping[str, str], message: str) -> web.Response:
        """Answer a client that resumes a lost stream with an error for each request that the stream owed."""
        logger.info("http: %s", message)
        errors = [replies.error(one.request_id, replies.LOST, message, delivered="unknown") for one in owed.fail_all()]
        events = b"".join(encode_event(one.line) for one in errors)
        return web.Response(body=events, headers={**STREAM_HEADERS, **cors, "Content-Type": EVENT_STREAM})
