"""What becomes of a call's answer: the server's JSON, its stream, or a failure that tells a page nothing of networks.

The HTTP status speaks of the gateway. What the server says, errors too, is a JSON-RPC answer with the status 200.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING

import orjson
from aiohttp import web

from relay.endpoints.http.decisions import Admission, Refused
from relay.endpoints.http.media import EVENT_STREAM, JSON, accepts, listed
from relay.endpoints.http.pieces import send_whole
from relay.frames import replies
from relay.frames.frame import Frame

if TYPE_CHECKING:
    from multidict import MultiMapping

    from relay.endpoints.http.server.context import ListenerContext
    from relay.endpoints.http.server.session import Exchange
    from relay.endpoints.http.server.stream import EventStream
    from relay.gateway.upstream import Calls

__all__ = ["UNREACHABLE", "Answering", "detail_body", "failure_of", "takes_json", "takes_stream"]

UNREACHABLE = "Failed to connect to MCP server"
"""The one failure that a page hears of: a reason would let it map the network behind the gateway."""
_WRONG_TOKEN = "Invalid proxy token"


def takes_stream(headers: MultiMapping[str]) -> bool:
    """Tell whether a page asks for streams by their name; ``*/*`` alone is what every browser sends."""
    said = listed(headers, "Accept")
    return said is not None and EVENT_STREAM in said.lower() and accepts(said, EVENT_STREAM)


def takes_json(headers: MultiMapping[str]) -> bool:
    """Tell whether a page accepts plain answers, or no stream either."""
    return accepts(listed(headers, "Accept"), JSON) or not takes_stream(headers)


def detail_body(refused: Refused) -> bytes:
    """Return the body of a refusal, in the form of the gateway that this one stands in for."""
    return orjson.dumps({"detail": _WRONG_TOKEN if refused.status == 401 else str(refused)})


def failure_of(error: replies.OwnError) -> Refused:
    """Return the answer to a call for which the server has given none."""
    return Refused(502, f"MCP server error: HTTP {error.status}" if error.status >= 400 else UNREACHABLE)


class Answering:
    """Answers the requests of one listener's pages."""

    def __init__(self, context: ListenerContext, timeout: float) -> None:
        """Wait for at most ``timeout`` seconds for each answer."""
        self._context = context
        self.timeout = timeout

    async def answer(
        self,
        request: web.BaseRequest,
        calls: Calls,
        exchange: Exchange,
        decided: asyncio.Future[Frame | EventStream],
        admission: Admission,
        *,
        deadline: float | None,
    ) -> web.StreamResponse:
        """Wait for a call's outcome, and write it. A page that leaves cancels the call.

        A call that was admitted gets its answer; a subscription ends with the login.

        ``deadline`` is a time of the loop's clock. Raises Refused, and TimeoutError after the deadline.
        """
        headers = self._context.cors(request.headers)
        loop = asyncio.get_running_loop()
        timer = loop.call_later(calls.answer_wait, calls.begin_stream, exchange)
        try:
            async with asyncio.timeout_at(deadline):
                outcome = await decided
        except (asyncio.CancelledError, TimeoutError):
            calls.abandon(exchange)
            raise
        finally:
            timer.cancel()
        if isinstance(outcome, Frame):
            return await self.write(request, outcome)
        late = None
        if deadline is not None:
            late = loop.call_at(deadline, calls.fail, exchange, replies.LOST, self.too_late)

        def end_subscription() -> None:
            calls.end_subscriptions(exchange, "the login has ended")

        try:
            with self._context.while_admitted(request, admission, end_subscription):
                return await self._context.stream(request, outcome, headers)
        finally:
            if late is not None:
                late.cancel()
            calls.reader_left(exchange)

    @property
    def too_late(self) -> str:
        """The text for a call that has not been answered in time."""
        return f"MCP server gave no answer within {self.timeout:g} s"

    async def write(self, request: web.BaseRequest, answer: Frame) -> web.StreamResponse:
        """Write a server's answer as JSON. Raises Refused if no server has given it."""
        if isinstance(answer, replies.OwnError):
            raise failure_of(answer)
        headers: Mapping[str, str] = self._context.cors(request.headers)
        response = web.Response(body=answer.raw, content_type=JSON, headers=headers)
        is_small = len(answer.raw) <= self._context.limits.buffer_low
        return response if is_small else await send_whole(request, response, self._context.limits)
