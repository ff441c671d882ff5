"""Which refusals say that a server has forgotten the session: by those, nothing of the request was executed.

MCP 2025-11-25, "Session Management" 4, names 404. Servers in use also say 410, and 400 for a session id that they do
not know; HTTP+SSE has no rule at all.
"""

from __future__ import annotations

import asyncio

import msgspec

from relay.frames.frame import Frame
from relay.frames.head import Kind
from relay.frames.strictness import UNREADABLE

__all__ = ["STATUSES", "SessionLoss"]

STATUSES = (400, 404, 410)
"""One of these may mean that the session is lost; the body says whether it does."""

# JSON-RPC 2.0, 5.1: what does not parse, an unknown method, wrong parameters, a fault in the server.
_ABOUT_THE_REQUEST = (-32700, -32601, -32602, -32603)
_DISTRUST = 60.0  # seconds for which a status is no lost session, after it has been the answer in a new session, too


class _Error(msgspec.Struct):
    code: int = 0


class _Body(msgspec.Struct):
    error: _Error | None = None


_decode = msgspec.json.Decoder(_Body).decode


class SessionLoss:
    """What one client makes of the refusals of its server."""

    def __init__(self, sure: tuple[int, ...]) -> None:
        """``sure`` are the statuses that mean a lost session by the transport's own rules, however often they come."""
        self._sure = sure
        self._distrusts_until = 0.0

    def is_told_by(self, status: int, body: bytes, request: Frame, *, is_resent: bool) -> bool:
        """Tell whether a refusal says that the session of ``request`` is lost, so that a new one may serve it.

        A request is sent again once. Where that was of no use the refusal was about the request, and so may others be.
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
