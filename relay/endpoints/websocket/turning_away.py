"""Turn a WebSocket client away in the only way that a browser's page can read: upgrade, and close with a code."""

from __future__ import annotations

from aiohttp import web

from relay.endpoints.http.decisions import Refused

__all__ = ["turn_away"]


async def turn_away(request: web.BaseRequest, code: int, reason: str) -> web.StreamResponse:
    """Answer an upgrade, and close the connection with ``code``. Raises Refused if the upgrade is not valid."""
    socket = web.WebSocketResponse(protocols=("mcp",), compress=False, timeout=1.0, max_msg_size=1024)
    if not socket.can_prepare(request):
        raise Refused(400, "not a proper WebSocket handshake")
    await socket.prepare(request)
    await socket.close(code=code, message=reason.encode())
    return socket
