"""Hold a forwarded request, and build the client's answer from the server's."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import web

from relay.endpoints.http.client.aiohttp_dial import Response
from relay.endpoints.http.media import EVENT_STREAM, JSON, media_type
from relay.endpoints.http.through.body_slot import BodySlot
from relay.endpoints.http.through.request_numbers import RequestNumbers
from relay.frames import replies
from relay.frames.head import Head, Kind
from relay.limits import Limits
from relay.mcp.headers import SESSION_ID
from relay.observe.hub import Peer
from relay.routing.sessions import name_of_session

__all__ = [
    "HOMEWARD",
    "INITIALIZE",
    "STREAM_HEADERS",
    "SUBSCRIBE",
    "Forwarded",
    "NotStreamable",
    "failure",
    "homeward",
    "is_framed",
    "is_stream",
    "named_client",
    "session_of",
    "set_patience",
]

logger = logging.getLogger("relay")

HOMEWARD = (SESSION_ID, "Retry-After", "Allow", "Cache-Control", "X-Accel-Buffering")
"""The headers of the server's answer that reach the client."""
STREAM_HEADERS = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}
SUBSCRIBE = "subscriptions/listen"
INITIALIZE = "initialize"


class NotStreamable(Exception):
    """The server refused a POST without JSON-RPC, so it may speak HTTP+SSE. It executed nothing."""


@dataclass(frozen=True, slots=True)
class Forwarded:
    """A client's request that the relay forwards, with its CORS headers, its body's slot and its frame's requests."""

    request: web.BaseRequest
    owner: str
    """The principal that sent it."""
    cors: Mapping[str, str]
    slot: BodySlot | None
    head: Head | None
    requests: RequestNumbers


def session_of(request: web.BaseRequest, head: Head | None) -> str | None:
    """Return the session id of a request; None if the request begins a session."""
    is_first = head is not None and head.method == INITIALIZE
    return None if is_first else request.headers.get(SESSION_ID)


def named_client(session_id: str | None) -> Peer:
    """Return a client by its name in the log."""
    return Peer("a client" if session_id is None else name_of_session(session_id))


def is_stream(response: Response) -> bool:
    """Tell whether an answer is an event stream."""
    return 200 <= response.status < 300 and media_type(response.headers.get("Content-Type")) == EVENT_STREAM


def is_framed(response: Response) -> bool:
    """Tell whether an answer declares its length; one that ends with its connection may be incomplete."""
    return "Content-Length" in response.headers or "Transfer-Encoding" in response.headers


def homeward(response: Response, cors: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of the answer to a client."""
    return {**cors, **{name: response.headers[name] for name in HOMEWARD if name in response.headers}}


def set_patience(patience: asyncio.Timeout, limits: Limits, *, is_doubtful: bool) -> None:
    """Limit the wait for an answer that may already have arrived under another id."""
    if is_doubtful is (patience.when() is None):
        now = asyncio.get_running_loop().time()
        patience.reschedule(now + limits.stray_grace if is_doubtful else None)


def failure(
    head: Head | None,
    cors: Mapping[str, str],
    code: int,
    message: str,
    delivered: replies.Delivered,
    status: int = 502,
    *,
    upstream_status: int | None = None,
) -> web.Response:
    """Return the error for a request without an answer, or for each request of a batch.

    ``upstream_status`` is the server's own, which ``status`` may hide.
    """
    logger.info("http: %d %s", status, message)
    asked = [one.id for one in (head.messages if head is not None else ()) if one.kind is Kind.REQUEST]
    more = {} if upstream_status is None else {"status": upstream_status}
    made = [replies.error(one, code, message, delivered=delivered, **more).raw for one in asked or (None,)]
    body = b"[" + b",".join(made) + b"]" if head is not None and head.kind is Kind.BATCH and asked else made[0]
    return web.Response(status=status, body=body, content_type=JSON, headers=cors)
