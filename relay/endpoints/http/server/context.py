"""Hold what all servers of one HTTP listener share: the rules, the counts, and the way to write an answer."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from aiohttp import web

from relay.auth.origin import OriginPolicy
from relay.endpoints.base import ANONYMOUS
from relay.endpoints.core.bounds import Bounds
from relay.endpoints.core.refusal_log import RefusalLog
from relay.endpoints.http.decisions import Admission, Refused
from relay.endpoints.http.gate import Gate
from relay.endpoints.http.media import EVENT_STREAM, JSON
from relay.endpoints.http.server.stream import EventStream, Stalled
from relay.frames import replies
from relay.frames.sse import KEEP_ALIVE
from relay.limits import Limits

if TYPE_CHECKING:
    from relay.auth.inbound.login import InboundLogin
    from relay.auth.inbound.rates import Rates
    from relay.endpoints.http.server.standing import Standings
    from relay.endpoints.websocket.websocket import WebSocketEndpoint

__all__ = ["ListenerContext"]

logger = logging.getLogger("relay")

_STREAM_HEADERS = {
    "Content-Type": EVENT_STREAM,
    # Proxies that buffer or compress would delay events (nginx: X-Accel-Buffering).
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}


def _refusal_body(refused: Refused) -> bytes:
    return replies.error(refused.request_id, refused.code, str(refused), **refused.data).raw


class ListenerContext:
    """The rules, counts and answers of one listener, for all its servers."""

    def __init__(
        self,
        limits: Limits,
        policy: OriginPolicy,
        bounds: Bounds,
        login: InboundLogin | None = None,
        rates: Rates | None = None,
        forward_headers: Sequence[str] = (),
    ) -> None:
        """Admit what ``policy`` and ``login`` admit, within ``limits``, ``bounds`` and ``rates``."""
        self.limits = limits
        self.gate = Gate(limits, policy, login, rates)
        self.forward_headers = forward_headers
        """Headers of clients that go on to a server behind."""
        self.standings: Standings | None = None
        """What outlives a request, if clients log in."""
        if login is not None:
            from relay.endpoints.http.server.standing import Standings

            self.standings = Standings(login)
            login.call_at_change(self.renew)
        self.is_draining = False
        """Whether the listener accepts no new work because the relay is about to end."""
        self.requests = 0
        self.refused = 0
        self.refusals = RefusalLog()
        self.active_streams = 0
        self.places = bounds.places
        """The places for sessions, at all servers together."""
        self.strangers = bounds.strangers
        """The room for arriving bodies without a session, at all servers together."""
        self._policy = policy
        self.refusal_body: Callable[[Refused], bytes] = _refusal_body
        """Returns the body of a refusal."""

    def cors(self, headers: Mapping[str, str], requested: str | None = None) -> dict[str, str]:
        """Return the CORS headers that let a browser's page read the answer."""
        return self._policy.cors_headers(headers.get("Origin"), requested)

    def refusal(self, refused: Refused) -> web.Response:
        """Return the answer to a refused request."""
        body = self.refusal_body(refused)
        response = web.Response(status=refused.status, body=body, content_type=JSON, headers=refused.headers)
        if refused.headers.get("Connection") == "close":
            response.force_close()
        return response

    def renew(self) -> None:
        """End every admission, because the gate's rules have changed."""
        self.gate.generation += 1
        if self.standings is not None:
            self.standings.look_again()

    @contextlib.contextmanager
    def place(self, owner: str = ANONYMOUS) -> Iterator[None]:
        """Hold a session's place for a connection of ``owner``; the gate has checked that a place is free."""
        self.places.take(owner)
        try:
            yield
        finally:
            self.places.free(owner)

    def while_admitted(
        self, request: web.BaseRequest, admission: Admission | None, end: Callable[[], None]
    ) -> contextlib.AbstractContextManager[None]:
        """Call ``end`` once the login of ``request`` has ended, unless the block has exited."""
        if self.standings is None or admission is None:
            return contextlib.nullcontext()
        return self.standings.during(request, admission, end)

    def take_in(self, endpoint: WebSocketEndpoint, request: web.BaseRequest, admission: Admission) -> None:
        """Give a WebSocket to its principal, and hold it to the rate of requests."""
        endpoint.owner = admission.principal
        if (rates := self.gate.rates) is not None:
            key = admission.principal if self.gate.login is not None else request.remote or ""
            endpoint.pace = lambda: rates.take(key, asyncio.get_running_loop().time())

    def while_connected(
        self, request: web.BaseRequest, admission: Admission, endpoint: WebSocketEndpoint
    ) -> contextlib.AbstractContextManager[None]:
        """Close a WebSocket once the login of ``request`` has ended, unless the block has exited."""

        def end() -> None:
            assert self.standings is not None, "the login has ended"
            self.standings.spawn_close(endpoint.end_access)

        return self.while_admitted(request, admission, end)

    async def stream(
        self,
        request: web.BaseRequest,
        stream: EventStream,
        headers: Mapping[str, str],
        *,
        after: int | None = None,
        first: bytes | None = None,
    ) -> web.StreamResponse:
        """Answer with an SSE stream until it ends, the client leaves or stalls, or another connection takes over."""
        response = web.StreamResponse(headers={**_STREAM_HEADERS, **headers})
        self.active_streams += 1
        try:
            await response.prepare(request)
            await response.write(first or KEEP_ALIVE)
            await stream.feed(response.write, after=after)
            await response.write_eof()
        except Stalled:
            logger.warning("http: closed a connection: the client left its stream unread for %g s", self.limits.stall)
            if request.transport is not None:
                request.transport.abort()
        except (ConnectionError, OSError) as exc:
            logger.debug("http: a client left its stream: %s", exc)
        finally:
            stream.stop_awaiting()
            self.active_streams -= 1
        return response
