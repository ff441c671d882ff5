"""The JSON-RPC errors of MCP: their codes, the HTTP status of each, and which era of servers sends them."""

from __future__ import annotations

import msgspec

from relay.frames.frame import Frame
from relay.frames.head import RequestId
from relay.frames.strictness import UNREADABLE

__all__ = [
    "HEADER_MISMATCH",
    "INVALID_PARAMS",
    "METHOD_NOT_FOUND",
    "MISSING_CAPABILITY",
    "UNSUPPORTED_VERSION",
    "error_code",
    "error_for",
    "is_foreign_error",
    "is_modern_error",
    "status_of",
]


HEADER_MISMATCH = -32020
MISSING_CAPABILITY = -32021
UNSUPPORTED_VERSION = -32022
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602


class _Error(msgspec.Struct, gc=False):
    code: int
    message: str


class _Refusal(msgspec.Struct, gc=False):
    error: _Error


class _RawRefusal(msgspec.Struct, gc=False):
    error: msgspec.Raw


_decode_refusal = msgspec.json.Decoder(_Refusal).decode
_decode_raw_refusal = msgspec.json.Decoder(_RawRefusal).decode
_MODERN_ERRORS = (HEADER_MISMATCH, MISSING_CAPABILITY, UNSUPPORTED_VERSION)


def is_modern_error(refusal: Frame) -> bool:
    """Tell whether only a modern server sends this refusal, so that a client knows the server's era."""
    try:
        return _decode_refusal(refusal.raw).error.code in _MODERN_ERRORS
    except UNREADABLE:
        return False


def error_for(refusal: Frame, request_id: RequestId) -> Frame | None:
    """Return the JSON-RPC error in a refusal as the answer to ``request_id``; None if the refusal has no such error.

    A server that could not read the request, or a gateway before it, refuses it without an id or under another.
    """
    try:
        _decode_refusal(refusal.raw)
        error = bytes(_decode_raw_refusal(refusal.raw).error)
    except UNREADABLE:
        return None
    return Frame(b'{"jsonrpc":"2.0","id":%b,"error":%b}' % (msgspec.json.encode(request_id), error), request_id)


class _Coded(msgspec.Struct):
    code: int = 0


class _ErrorAnswer(msgspec.Struct):
    error: _Coded | None = None


_decode_error = msgspec.json.Decoder(_ErrorAnswer).decode
_ENDS = 4096  # bytes at each end of an answer that are searched for "error": a large payload is not
_STATUSES = {-32601: 404, -32020: 400, -32021: 400, -32022: 400}


def status_of(answer: Frame) -> int:
    """Return the HTTP status of an answer of 2026-07-28: 404 or 400 for some errors, else 200."""
    code = _error_code(answer.raw)
    return 200 if code is None else _STATUSES.get(code, 200)


def is_foreign_error(answer: Frame) -> bool:
    """Tell whether an answer is an error that no server of 2026-07-28 sends to ``server/discover``."""
    code = _error_code(answer.raw)
    return code is not None and not -32099 <= code <= -32020


def error_code(answer: Frame) -> int | None:
    """Return the code of an answer that is an error."""
    return _error_code(answer.raw)


def _error_code(raw: bytes) -> int | None:
    """Return the code of an answer that is an error."""
    if b'"error"' not in raw[:_ENDS] and b'"error"' not in raw[-_ENDS:]:
        return None
    try:
        error = _decode_error(raw).error
    except UNREADABLE:
        return None
    return None if error is None else error.code
