"""What a client expects of us by ``Expect`` before it sends its body (RFC 9110 §10.1.1). Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp.http import HttpVersion11

if TYPE_CHECKING:
    from relay.endpoints.http.views import RequestHead

__all__ = ["expects_continue", "unknown_expectation"]

_CONTINUE = "100-continue"


def _expectations(head: RequestHead) -> list[str]:
    """Return what a request expects; in HTTP/1.0 nothing was."""
    if "Expect" not in head.headers or head.version < HttpVersion11:
        return []
    words = ",".join(head.headers.getall("Expect")).split(",")
    return [word.strip().lower() for word in words if word.strip()]


def unknown_expectation(head: RequestHead) -> str | None:
    """Return what a request expects of us that is not ``100-continue``."""
    return next((word for word in _expectations(head) if word != _CONTINUE), None)


def expects_continue(head: RequestHead) -> bool:
    """Tell whether a client holds its body back until it hears that its head will do."""
    return _CONTINUE in _expectations(head)
