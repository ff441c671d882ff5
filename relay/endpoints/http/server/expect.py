"""``Expect: 100-continue``: a client holds its body back until it hears that its head will do (RFC 9110 §10.1.1)."""

from __future__ import annotations

from aiohttp import web
from aiohttp.http import HttpVersion11

__all__ = ["ask_for_body", "holds_body_back", "unknown_expectation"]

_CONTINUE = "100-continue"
_GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"


def _expectations(request: web.BaseRequest) -> list[str]:
    """Return what a request expects; in HTTP/1.0 nothing was."""
    if "Expect" not in request.headers or request.version < HttpVersion11:
        return []
    words = ",".join(request.headers.getall("Expect")).split(",")
    return [word.strip().lower() for word in words if word.strip()]


def unknown_expectation(request: web.BaseRequest) -> str | None:
    """Return what a request expects of us besides."""
    return next((word for word in _expectations(request) if word != _CONTINUE), None)


def holds_body_back(request: web.BaseRequest) -> bool:
    """Tell whether a client may still wait before it sends the body, or the rest of it."""
    return not request.content.is_eof() and _CONTINUE in _expectations(request)


def ask_for_body(request: web.BaseRequest) -> None:
    """Tell a client that waits for it to send its body: the head has passed every check."""
    if holds_body_back(request) and request.transport is not None:
        request.transport.write(_GO_ON)
