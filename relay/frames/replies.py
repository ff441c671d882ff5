"""The few frames the relay writes itself: JSON-RPC errors with the request's own id, and ends of requests.

Codes are in -32000 … -32019, which JSON-RPC leaves to implementations, except where the fault is in the JSON-RPC
itself (-32700, -32600). ``data.delivered`` says whether the request may have been executed: "no" or "unknown".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

import msgspec
import orjson

from relay.frames.frame import Frame, RequestId

__all__ = [
    "CANCELLED",
    "INVALID_REQUEST",
    "LOST",
    "METHOD_NOT_FOUND",
    "PARSE_ERROR",
    "REFUSED",
    "TOO_LARGE",
    "UNAVAILABLE",
    "UPSTREAM_STATUS",
    "cancelled",
    "error",
    "errors",
    "request",
    "result",
    "subscription_ended",
]

PARSE_ERROR: Final = -32700
INVALID_REQUEST: Final = -32600
METHOD_NOT_FOUND: Final = -32601
REFUSED: Final = -32000
"""The listener refuses the HTTP request: session, headers, media types."""
LOST: Final = -32001
"""The peer went away after it had been handed the request; it may have been executed."""
UNAVAILABLE: Final = -32006
"""The peer could not be reached; the request was not executed. (MCP keeps -32002 for another meaning.)"""
TOO_LARGE: Final = -32003
"""A frame beyond the limit."""
UPSTREAM_STATUS: Final = -32004
"""The upstream answered with an HTTP error and no JSON-RPC one."""
CANCELLED: Final = -32005
"""The client cancelled the request and the peer did not answer it any more."""

Delivered = Literal["no", "unknown"]


def error(
    request_id: RequestId | None, code: int, message: str, *, delivered: Delivered | None = None, **data: object
) -> Frame:
    """Make a JSON-RPC error; ``request_id`` None is JSON's null: a fault that belongs to no request."""
    details: dict[str, object] = {**({"delivered": delivered} if delivered else {}), **data}
    body = {"code": code, "message": message, **({"data": details} if details else {})}
    # msgspec writes integers beyond 64 bits, which orjson refuses.
    head = b'{"jsonrpc":"2.0","id":' + msgspec.json.encode(request_id) + b',"error":'
    return Frame(head + orjson.dumps(body) + b"}", request_id)


def errors(request_ids: Iterable[RequestId], code: int, message: str, *, delivered: Delivered) -> list[Frame]:
    """Make the same error for each of several requests."""
    return [error(request_id, code, message, delivered=delivered) for request_id in request_ids]


def cancelled(request_id: RequestId, reason: str) -> Frame:
    """Make the ``notifications/cancelled`` of a request whose client has left."""
    head = b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":'
    return Frame(head + msgspec.json.encode(request_id) + b',"reason":' + orjson.dumps(reason) + b"}}")


def subscription_ended(request_id: RequestId) -> Frame:
    """Make the answer that ends a subscription in good order (2026-07-28, "Graceful Closure")."""
    number = msgspec.json.encode(request_id)
    return Frame(
        b'{"jsonrpc":"2.0","id":' + number + b',"result":{"resultType":"complete","_meta":'
        b'{"io.modelcontextprotocol/subscriptionId":' + number + b"}}}"
    )


def request(request_id: RequestId, method: str, params: object) -> Frame:
    """Make a request of the relay's own."""
    head = b'{"jsonrpc":"2.0","id":' + msgspec.json.encode(request_id) + b',"method":' + orjson.dumps(method)
    return Frame(head + b',"params":' + orjson.dumps(params) + b"}")


def result(request_id: RequestId | None) -> Frame:
    """Make the empty answer that says no more than that all is well."""
    return Frame(b'{"jsonrpc":"2.0","id":' + msgspec.json.encode(request_id) + b',"result":{}}')
