"""What all servers behind one HTTP listener have in common: its rules and counts, and how an answer is written."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping

from aiohttp import web

from relay.auth.origin import OriginPolicy
from relay.endpoints.core.bounds import Bounds
from relay.endpoints.core.refusal_log import RefusalLog
from relay.endpoints.http.decisions import Refused
from relay.endpoints.http.gate import Gate
from relay.endpoints.http.media import EVENT_STREAM, JSON
from relay.endpoints.http.server.stream import EventStream, Stalled
from relay.frames import replies
from relay.frames.sse import KEEP_ALIVE
from relay.limits import Limits

__all__ = ["ListenerContext"]

logger = logging.getLogger("relay")

_STREAM_HEADERS = {
    "Content-Type": EVENT_STREAM,
    # Proxies that buffer or compress would hold events back (nginx: X-Accel-Buffering).
    "Cache-Control": "no-cache, no-transform",
    "X-Accel-Buffering": "no",
}


class ListenerContext:
    """How one listener answers, whichever of its servers is asked."""

    def __init__(self, limits: Limits, policy: OriginPolicy, bounds: Bounds) -> None:
        """Admit what ``policy`` admits, within ``limits`` and ``bounds``."""
        self.limits = limits
        self.gate = Gate(limits, policy)
        self.is_draining = False
        """Whether nothing new is taken: the relay is about to end."""
        self.requests = 0
        self.last_used = 0.0
        """When a server was asked last by a request that took the ordinary way, by the loop's clock."""
        self.refused = 0
        self.refusals = RefusalLog()
        self.active_streams = 0
        self.places = bounds.places
        """Of the sessions, at all servers together."""
        self.strangers = bounds.strangers
        """What arrives from those whom nobody has vouched for, at all servers together."""
        self._policy = policy

    def cors(self, headers: Mapping[str, str], requested: str | None = None) -> dict[str, str]:
        """Return what tells a browser that its page may read the answer."""
        return self._policy.cors_headers(headers.get("Origin"), requested)

    def refusal(self, refused: Refused) -> web.Response:
        """Return the answer to a request that is refused."""
        body = replies.error(refused.request_id, refused.code, str(refused), **refused.data).raw
        response = web.Response(status=refused.status, body=body, content_type=JSON, headers=refused.headers)
        if refused.headers.get("Connection") == "close":
            response.force_close()
        return response

    def renew(self) -> None:
        """Ask the gate anew about every request from now on: its rules have changed."""
        self.gate.generation += 1

    @contextlib.contextmanager
    def place(self) -> Iterator[None]:
        """Hold the place of a connection that is a session; the gate has seen that there is one."""
        self.places.taken += 1
        try:
            yield
        finally:
            self.places.taken -= 1

    async def stream(
        self,
        request: web.BaseRequest,
        stream: EventStream,
        headers: Mapping[str, str],
        *,
        after: int | None = None,
        first: bytes | None = None,
    ) -> web.StreamResponse:
        """Answer with an SSE stream until it ends, its client leaves or stalls, or another connection takes it over."""
        response = web.StreamResponse(headers={**_STREAM_HEADERS, **headers})
        self.active_streams += 1
        try:
            await response.prepare(request)
            await response.write(first or KEEP_ALIVE)
            await stream.feed(response.write, after=after)
            await response.write_eof()
        except Stalled:
            logger.warning("http: a client left its stream unread for %g s: connection closed", self.limits.stall)
            if request.transport is not None:
                request.transport.abort()
        except (ConnectionError, OSError) as exc:
            logger.debug("http: a client left its stream: %s", exc)
        finally:
            stream.stop_awaiting()
            self.active_streams -= 1
        return response
