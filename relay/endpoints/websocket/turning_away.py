"""Turn a WebSocket client away in the only way that a browser's page can read: upgrade, and close with a code."""

from __future__ import annotations

from aiohttp import web

from relay.endpoints.http.steps import SUBPROTOCOL

__all__ = ["turn_away"]


async def turn_away(request: web.BaseRequest, code: int, reason: str) -> web.StreamResponse:
    """Answer an upgrade that the gate has admitted, and close the connection with ``code``."""
    socket = web.WebSocketResponse(protocols=(SUBPROTOCOL,), compress=False, timeout=1.0, max_msg_size=1024)
    await socket.prepare(request)
    await socket.close(code=code, message=reason.encode())
    return socket
