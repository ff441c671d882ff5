"""One MCP server on behalf of one principal: the relay's own handshake, and calls of many pages in one session.

A page calls a method; it has no session. So the relay initializes the server before the first call, in the era that
the server speaks, and gives each call an id of its own. ``ModernClients`` does the latter for HTTP listeners, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

from relay.endpoints.core.hops import Trail, following
from relay.endpoints.core.tasks import TaskScope
from relay.endpoints.http.client.remote import Remote
from relay.endpoints.http.server.modern import ModernClients
from relay.endpoints.http.server.session import Exchange
from relay.endpoints.http.server.stream import EventStream
from relay.errors import EndpointUnavailable, RelayError
from relay.frames import replies
from relay.frames.frame import Frame, each_message
from relay.frames.head import Kind
from relay.frames.ids import Unnameable, with_id, with_spelling
from relay.mcp.errors import METHOD_NOT_FOUND, error_code
from relay.mcp.facts import read_facts
from relay.mcp.handshake import INITIALIZED, OWN_ID, initialize, is_refusal, modern_request
from relay.pipe import pipe
from relay.routing.renaming import Renamed

if TYPE_CHECKING:
    from relay.endpoints.core.dialling import DiallingOptions
    from relay.endpoints.http.proxied_call import ProxiedCall
    from relay.observe.hub import Hub

__all__ = ["Calls", "Refusal", "Upstream"]

logger = logging.getLogger("relay")

_USE_WS = "a call over /proxy takes no requests of the server; use /ws"
_LINGER = 1.0  # seconds for late answers of a server that is left; its session must be deleted soon


class Refusal(Exception):
    """The server has refused the handshake with a JSON-RPC error, which is the answer to each call that waits."""

    def __init__(self, answer: Frame) -> None:
        """``answer`` is the refusal, or an error of the relay's own."""
        super().__init__("the server refused the handshake")
        self.answer = answer


class Calls(ModernClients):
    """The open calls to one server, each under a number of the relay's."""

    def __init__(self, options: DiallingOptions, name: str, on_end: Callable[[ModernClients], None]) -> None:
        """Call ``on_end`` once no more calls are taken."""
        super().__init__(options.limits, on_end)
        self.name = f"calls to {name}"
        self._spellings: dict[int, bytes] = {}

    def call(
        self, frame: Frame, on_outcome: Callable[[Frame | EventStream], None], call: ProxiedCall, *, takes_stream: bool
    ) -> Exchange | None:
        """Take a call, or a notification; see ``accept``. The answer gets the id as the page wrote it.

        An answer that no server has given is an ``OwnError``.
        """
        facts = read_facts(frame)
        exchange = self.accept(
            frame,
            lambda outcome: on_outcome(outcome if call.spelling is None else _spelled(outcome, call.spelling)),
            takes_stream=takes_stream,
            has_log=facts is not None and facts.has_log,
        )
        if exchange is not None and call.spelling is not None and takes_stream:
            self._spellings[exchange.number] = call.spelling
        return exchange

    def fail(self, exchange: Exchange, code: int, message: str) -> None:
        """End a call whose answer takes too long, with an error in the stream that has begun."""
        renamed = self._requests.find(exchange.number)
        if renamed is not None and exchange.stream is not None:
            error = replies.error(renamed.id, code, message, delivered="unknown")
            exchange.stream.push(self._homeward(renamed, error).line)
            exchange.stream.end()
        self.abandon(exchange)

    def abandon(self, exchange: Exchange) -> None:
        """Cancel a call whose page has left."""
        self._spellings.pop(exchange.number, None)
        super().abandon(exchange)

    def _route(self, frame: Frame) -> None:
        if isinstance(frame, replies.OwnError) and frame.head.id is not None:
            renamed = self._requests.settle(frame.head.id, frame)
            if renamed is not None:
                is_streamed = renamed.owner.stream is not None
                self._answer(renamed, with_id(frame, renamed.id) if is_streamed else frame)
        elif frame.head.kind is Kind.REQUEST:
            self.inbox.put((_answer_to_server(frame),))
        else:
            super()._route(frame)

    def _answer(self, renamed: Renamed[Exchange], frame: Frame) -> None:
        super()._answer(renamed, self._homeward(renamed, frame))

    def _homeward(self, renamed: Renamed[Exchange], frame: Frame) -> Frame:
        spelling = self._spellings.pop(renamed.number, None)
        return frame if spelling is None or renamed.owner.stream is None else _respell(frame, spelling)


def _spelled(outcome: Frame | EventStream, spelling: bytes) -> Frame | EventStream:
    return outcome if isinstance(outcome, EventStream | replies.OwnError) else _respell(outcome, spelling)


def _respell(frame: Frame, spelling: bytes) -> Frame:
    with contextlib.suppress(Unnameable):
        return with_spelling(frame, spelling)
    return frame


def _answer_to_server(request: Frame) -> Frame:
    if request.head.method == "ping":
        return replies.result(request.head.id)
    return replies.error(request.head.id, METHOD_NOT_FOUND, _USE_WS)


class Upstream:
    """A server, the relay's session with it, and the calls that are open there."""

    def __init__(self, url: str, options: DiallingOptions, trail: Trail, hub: Hub, *, is_modern: bool) -> None:
        """Connect to ``url`` with the first call. With ``is_modern`` the calls need no handshake.

        ``hub`` hears what passes.

        Raises ConfigError if the URL is refused.
        """
        self._limits = options.limits
        self._hub = hub
        with following(self, trail):
            self._remote = Remote(url, options)
        self.name = self._remote.name
        self.calls = Calls(options, self.name, self._forget)
        self.users = 0
        """Requests that use it now."""
        self.last_used = asyncio.get_running_loop().time()
        self.is_over = False
        """Whether it takes no more calls."""
        self._tasks = TaskScope()
        self._era: Literal["legacy", "modern"] | None = None
        self._greeting: asyncio.Task[None] | None = None
        self._refused: Refusal | None = None
        if is_modern:
            self._begin("modern")

    def _forget(self, _: ModernClients) -> None:
        self.is_over = True

    def touch(self) -> None:
        """Restart the idle clock."""
        self.last_used = asyncio.get_running_loop().time()

    # The handshake.

    async def make_ready(self) -> None:
        """Initialize the server, once for all calls that wait. Raises Refusal if that fails."""
        if self._era is not None:
            return
        if self._greeting is None:
            self._greeting = self._tasks.spawn(self._greet(), name=f"{self.name}: handshake")
        await asyncio.wait((self._greeting,))
        if self._refused is not None:
            raise self._refused.with_traceback(None)
        if self._era is None:
            raise Refusal(replies.error(OWN_ID, replies.UNAVAILABLE, "the handshake was given up", delivered="no"))

    async def _greet(self) -> None:
        try:
            async with asyncio.timeout(self._limits.handshake):
                answer = await self._ask(initialize())
                if not is_refusal(answer):
                    await self._remote.send((INITIALIZED,))
                    self._begin("legacy")
                elif isinstance(answer, replies.OwnError):
                    raise Refusal(answer)
                else:
                    await self._greet_in_modern_era(answer)
        except (Refusal, RelayError, TimeoutError) as exc:
            self.is_over = True
            self._refused = exc if isinstance(exc, Refusal) else Refusal(_error_of(exc))

    async def _greet_in_modern_era(self, refusal: Frame) -> None:
        """Find out whether a server that refuses ``initialize`` speaks 2026-07-28. Raises Refusal if not."""
        discovered = await self._ask(modern_request(OWN_ID, "server/discover", {}))
        if not is_refusal(discovered):
            self._begin("modern")
        elif error_code(refusal) == METHOD_NOT_FOUND:
            self._begin("legacy")  # a server without a handshake: calls are all that it knows
        else:
            raise Refusal(refusal)

    async def initialize(self, request: Frame) -> Frame:
        """Send a page's own ``initialize``, and after its answer what must follow. Raises RelayError."""
        answer = await self._ask(request)
        if is_refusal(answer):
            self.is_over = True
        else:
            await self._remote.send((INITIALIZED,))
            self._begin("legacy")
        return answer

    async def _ask(self, request: Frame) -> Frame:
        """Return the answer to the only request that is open. Raises RelayError."""
        await self._remote.send((request,))
        while frames := await self._remote.receive():
            for one in each_message(frames):
                if one.head.kind is Kind.RESPONSE:
                    return one
                if one.head.kind is Kind.REQUEST:
                    await self._remote.send((_answer_to_server(one),))
        raise EndpointUnavailable(f"{self.name}: it has ended")

    def _begin(self, era: Literal["legacy", "modern"]) -> None:
        self._era = era
        self._tasks.spawn(self._carry(), name=f"{self.name}: calls")

    async def _carry(self) -> None:
        limits = dataclasses.replace(self._limits, linger=_LINGER)
        report = await pipe(self.calls, self._remote, limits=limits, hub=self._hub)
        self.is_over = True
        if report.failure is not None:
            logger.info("%s: ended: %s", self.name, report.failure)

    # Calls.

    def frame_of(self, call: ProxiedCall) -> Frame:
        """Return the frame of a call in the era of the server."""
        return call.as_modern() if self._era == "modern" and not call.is_modern else call.frame

    async def aclose(self) -> None:
        """End the session with the server; open calls get an error."""
        self.is_over = True
        if self._greeting is not None:
            self._greeting.cancel()
        self.calls.finish()
        await self.calls.aclose()
        if self._era is not None:
            await self._tasks.join()
        await self._tasks.aclose()
        await self._remote.aclose()


def _error_of(exc: RelayError | TimeoutError) -> Frame:
    end = replies.end_by(exc if isinstance(exc, RelayError) else None, "no answer to initialize in time")
    return end.answer(OWN_ID)
