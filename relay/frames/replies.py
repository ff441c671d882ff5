"""The few frames the relay writes itself: JSON-RPC errors with the request's own id, and ends of requests.

Codes are in -32000 … -32019, which JSON-RPC leaves to implementations, except where the fault is in the JSON-RPC
itself (-32700, -32600). ``data.delivered`` says whether the request may have been executed: "no" or "unknown".
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

import msgspec
import orjson

from relay.errors import ConfigError, EndpointUnavailable, FrameTooLarge, LoginRefused, RelayError, ServerLeftOut
from relay.frames.faults import message_fault
from relay.frames.frame import Frame
from relay.frames.head import Head, Kind, RequestId
from relay.frames.strictness import UNREADABLE

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
    "End",
    "Fault",
    "OwnError",
    "SessionOver",
    "cancelled",
    "cancelled_unanswered",
    "code_of",
    "delivered_by",
    "end_by",
    "error",
    "errors",
    "fault_of",
    "is_about_nothing",
    "log_message",
    "not_a_message",
    "request",
    "result",
    "session_over",
    "subscription_ended",
    "too_large",
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


def delivered_by(status: int) -> Delivered:
    """Tell whether a request may have been executed if its answer has this status, which is no success."""
    return "no" if 300 <= status < 500 else "unknown"


def error(
    request_id: RequestId | None, code: int, message: str, *, delivered: Delivered | None = None, **data: object
) -> OwnError:
    """Make a JSON-RPC error; ``request_id`` None is JSON's null: a fault that belongs to no request."""
    details: dict[str, object] = {**({"delivered": delivered} if delivered else {}), **data}
    body = {"code": code, "message": message, **({"data": details} if details else {})}
    # msgspec writes integers beyond 64 bits, which orjson refuses.
    head = b'{"jsonrpc":"2.0","id":' + msgspec.json.encode(request_id) + b',"error":'
    status = data.get("status")
    raw = head + orjson.dumps(body) + b"}"
    return OwnError(raw, request_id, code, delivered, status if isinstance(status, int) else 0)


def code_of(invalid: Head) -> int:
    """Return the code that refuses a frame which is INVALID."""
    if invalid.is_excessive:
        return TOO_LARGE
    return INVALID_REQUEST if invalid.is_json else PARSE_ERROR


def not_a_message(invalid: Head, request_id: RequestId | None) -> Frame:
    """Make the error for the sender of what is no JSON-RPC message, under the id that it was meant to have."""
    return error(request_id, code_of(invalid), message_fault(invalid.fault), delivered="no")


def too_large(head: Head, request_id: RequestId | None, fault: str) -> Frame:
    """Make the error that replaces a large frame, for its sender if it is a request, else for its receiver."""
    return error(request_id, TOO_LARGE, fault, delivered="no" if head.kind is Kind.REQUEST else "unknown")


def cancelled_unanswered(request_id: RequestId, *, was_sent: bool = True) -> Frame:
    """Make the error of a request that its client has cancelled, and whose peer has not answered it since."""
    fault = "the request was cancelled" if was_sent else "the request was cancelled before it was sent"
    return error(request_id, CANCELLED, fault, delivered="unknown" if was_sent else "no")


class OwnError(Frame):
    """An error of the relay's own: no server has said it."""

    __slots__ = ("code", "delivered", "status")

    def __init__(
        self, raw: bytes, request_id: RequestId | None, code: int, delivered: Delivered | None, status: int = 0
    ) -> None:
        """Hold ``raw``, and what it says; ``status`` is that of the server's answer, if that is the fault."""
        super().__init__(raw, request_id)
        self.code = code
        self.delivered = delivered
        self.status = status

    @property
    def is_unreached(self) -> bool:
        """Whether the server could not be reached."""
        return self.code == UNAVAILABLE and self.delivered == "no"


class SessionOver(OwnError):
    """An error that also ends its session: over HTTP it goes out as a 404, and the client begins a new session."""

    __slots__ = ()


def session_over(request_id: RequestId | None, message: str) -> SessionOver:
    """Make the error of a request that its session's server has not received and never will."""
    answer = error(request_id, UNAVAILABLE, message, delivered="no")
    return SessionOver(answer.raw, request_id, UNAVAILABLE, "no")


class End(NamedTuple):
    """The error for the requests that are still open once no answer can come."""

    code: int
    message: str
    delivered: Delivered
    is_session_over: bool = False
    status: int | None = None
    """The HTTP status with which the server refused the request, if that is why."""

    def answer(self, request_id: RequestId) -> Frame:
        """Make the error of one of them."""
        if self.is_session_over:
            return session_over(request_id, self.message)
        return error(request_id, self.code, self.message, delivered=self.delivered, **self.data)

    @property
    def data(self) -> dict[str, object]:
        """The further members of the error's data."""
        return {} if self.status is None else {"status": self.status}


def end_by(reason: RelayError | None, otherwise: str = "") -> End:
    """Return the error for requests that are open when a server ends because of ``reason``.

    A server that could not be reached or started has received none of them. Neither has a server that its pool leaves
    out: the requests that it had received ended before the session did. A request whose answer is too large may have
    been executed. ``otherwise`` is the reason if there is none.
    """
    if isinstance(reason, FrameTooLarge):
        return End(TOO_LARGE, str(reason), "unknown")
    if isinstance(reason, ServerLeftOut):
        return End(UNAVAILABLE, str(reason), "no", is_session_over=True)
    if isinstance(reason, LoginRefused):
        return End(UPSTREAM_STATUS, str(reason), "no", status=reason.status)
    if isinstance(reason, EndpointUnavailable | ConfigError):
        return End(UNAVAILABLE, str(reason), "no")
    return End(LOST, f"the request was lost: {reason or otherwise}", "unknown")


def errors(request_ids: Iterable[RequestId], code: int, message: str, *, delivered: Delivered) -> list[Frame]:
    """Make the same error for each of several requests."""
    return [error(request_id, code, message, delivered=delivered) for request_id in request_ids]


def cancelled(request_id: RequestId, reason: str = "the client has left") -> Frame:
    """Make the ``notifications/cancelled`` of a request whose client no longer waits for the answer."""
    head = b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":'
    return Frame(head + msgspec.json.encode(request_id) + b',"reason":' + orjson.dumps(reason) + b"}}")


def subscription_ended(request_id: RequestId) -> Frame:
    """Make the answer that ends a subscription in good order (2026-07-28, "Graceful Closure")."""
    number = msgspec.json.encode(request_id)
    return Frame(
        b'{"jsonrpc":"2.0","id":' + number + b',"result":{"resultType":"complete","_meta":'
        b'{"io.modelcontextprotocol/subscriptionId":' + number + b"}}}"
    )


def log_message(level: str, text: str) -> Frame:
    """Make a ``notifications/message`` from the relay itself to a client."""
    params = {"level": level, "logger": "mcp-relay", "data": text}
    return Frame(b'{"jsonrpc":"2.0","method":"notifications/message","params":' + orjson.dumps(params) + b"}")


def request(request_id: RequestId, method: str, params: object) -> Frame:
    """Make a request of the relay's own."""
    head = b'{"jsonrpc":"2.0","id":' + msgspec.json.encode(request_id) + b',"method":' + orjson.dumps(method)
    return Frame(head + b',"params":' + orjson.dumps(params) + b"}")


def result(request_id: RequestId | None) -> Frame:
    """Make an empty successful answer."""
    return Frame(b'{"jsonrpc":"2.0","id":' + msgspec.json.encode(request_id) + b',"result":{}}')


# Reading such an error back, on the other side of the endpoint that wrote it.

_LONGEST = 16 * 1024  # ours are a line; larger frames need not be looked at


class Fault(msgspec.Struct, frozen=True, gc=False):
    """What an error made by a relay says about the server whose answer it replaces."""

    message: str
    code: int
    is_undelivered: bool
    """Whether the server could not be reached: the request surely was not executed."""
    is_failure: bool
    """Whether the server itself failed; a rejected request is no failure of the server."""


class _Data(msgspec.Struct):
    delivered: Delivered
    status: int = 0


class _Error(msgspec.Struct):
    code: int
    message: str
    data: _Data


class _OurError(msgspec.Struct):
    error: _Error


_decode_our_error = msgspec.json.Decoder(_OurError).decode


def fault_of(answer: Frame) -> Fault | None:
    """Return what an answer says if it is an error such as ``error`` makes; None if the server itself answered."""
    if len(answer.raw) > _LONGEST or b'"delivered"' not in answer.raw:
        return None
    try:
        found = _decode_our_error(answer.raw).error
    except UNREADABLE:
        return None
    undelivered = found.code == UNAVAILABLE and found.data.delivered == "no"
    failed = found.code == LOST or (found.code == UPSTREAM_STATUS and found.data.status >= 500)
    return Fault(found.message, found.code, undelivered, undelivered or failed)


def is_about_nothing(answer: Frame) -> bool:
    """Tell whether an error without an id is a relay's error about a frame that was no request, and so answers none."""
    if len(answer.raw) > _LONGEST or b'"delivered"' not in answer.raw:
        return False
    try:
        return _decode_our_error(answer.raw).error.data.delivered == "no"
    except UNREADABLE:
        return False
