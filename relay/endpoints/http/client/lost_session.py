"""Decide which refusals mean that the server has forgotten the session, and so has not executed the request.

MCP 2025-11-25, "Session Management" 4, names 404. Some servers also answer 410, or 400 for an unknown session id.
HTTP+SSE has no rule.
"""

from __future__ import annotations

import asyncio

import msgspec

from relay.frames.frame import Frame
from relay.frames.head import Kind
from relay.frames.strictness import UNREADABLE

__all__ = ["STATUSES", "SessionLoss"]

STATUSES = (400, 404, 410)
"""The statuses that may mean a lost session; the body decides."""

# JSON-RPC 2.0, 5.1: what does not parse, an unknown method, wrong parameters, a fault in the server.
_ABOUT_THE_REQUEST = (-32700, -32601, -32602, -32603)
_DISTRUST = 60.0  # seconds without taking a refusal for a lost session, after a new session was refused as well


class _Error(msgspec.Struct):
    code: int = 0


class _Body(msgspec.Struct):
    error: _Error | None = None


_decode = msgspec.json.Decoder(_Body).decode


class SessionLoss:
    """One client's judgement of its server's refusals."""

    def __init__(self, sure: tuple[int, ...]) -> None:
        """Take ``sure``, the statuses that always mean a lost session by the transport's own rules."""
        self._sure = sure
        self._distrusts_until = 0.0

    def is_told_by(self, status: int, body: bytes, request: Frame, *, is_resent: bool) -> bool:
        """Tell whether a refusal means that the session of ``request`` is lost, so that a new session may serve it.

        The client retries a request once. If the retry is refused too, the refusal is about the request. Later refusals
        may be as well, so the client distrusts them for a minute.
        """
        if status not in STATUSES:
            return False
        if status not in self._sure:
            now = asyncio.get_running_loop().time()
            if is_resent:
                self._distrusts_until = now + _DISTRUST
            if now < self._distrusts_until:
                return False
        return not is_resent and not _is_about_the_request(status, Frame(body.strip()), request)


def _is_about_the_request(status: int, answer: Frame, request: Frame) -> bool:
    if answer.head.kind is not Kind.RESPONSE:
        return False
    is_own = answer.head.id is not None and answer.head.id == request.head.id
    if _code(answer) in _ABOUT_THE_REQUEST:
        return is_own or status == 400
    return is_own and status == 400 and b"session" not in answer.raw.lower()


def _code(answer: Frame) -> int | None:
    try:
        error = _decode(answer.raw).error
    except UNREADABLE:
        return None
    return None if error is None else error.code
