"""Read what a client expects of the relay by ``Expect`` before it sends its body (RFC 9110 §10.1.1). No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp.http import HttpVersion11

if TYPE_CHECKING:
    from relay.endpoints.http.views import RequestHead

__all__ = ["expects_continue", "unknown_expectation"]

_CONTINUE = "100-continue"


def _expectations(head: RequestHead) -> list[str]:
    """Return the expectations of a request; none for HTTP/1.0, which has no ``Expect``."""
    if "Expect" not in head.headers or head.version < HttpVersion11:
        return []
    words = ",".join(head.headers.getall("Expect")).split(",")
    return [word.strip().lower() for word in words if word.strip()]


def unknown_expectation(head: RequestHead) -> str | None:
    """Return the first expectation other than ``100-continue``; None if there is none."""
    return next((word for word in _expectations(head) if word != _CONTINUE), None)


def expects_continue(head: RequestHead) -> bool:
    """Tell whether the client holds its body back until the relay accepts the head."""
    return _CONTINUE in _expectations(head)
