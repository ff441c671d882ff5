"""Answer ``Expect: 100-continue``: tell a waiting client to send its body (RFC 9110 §10.1.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from aiohttp import web

from relay.endpoints.http.expect import expects_continue

if TYPE_CHECKING:
    from relay.endpoints.http.views import RequestHead

__all__ = ["ask_for_body", "holds_body_back"]

_GO_ON = b"HTTP/1.1 100 Continue\r\n\r\n"


def holds_body_back(request: web.BaseRequest) -> bool:
    """Tell whether the client may still hold back the body or the rest of it."""
    return not request.content.is_eof() and expects_continue(cast("RequestHead", request))


def ask_for_body(request: web.BaseRequest) -> None:
    """Tell a waiting client to send its body, because the head has passed every check."""
    if holds_body_back(request) and request.transport is not None:
        request.transport.write(_GO_ON)
