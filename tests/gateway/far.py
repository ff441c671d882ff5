"""MCP servers that do exactly what a test says, and remember what they were asked."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web
from multidict import CIMultiDictProxy

__all__ = ["Asked", "Far", "far", "gone", "json_answer", "plain", "sse"]


class Asked:
    """One request that a server has got."""

    def __init__(self, method: str, headers: CIMultiDictProxy[str], body: bytes) -> None:
        self.http = method
        self.headers = headers
        self.body = body
        self.message: dict[str, Any] = json.loads(body) if body else {}

    @property
    def method(self) -> str:
        """The method of the frame, or of the HTTP request if it has none."""
        return str(self.message.get("method", self.http))


Answer = Callable[["Far", web.BaseRequest, Asked], Awaitable[web.StreamResponse]]


class Far:
    """A server at a port of this machine."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.asked: list[Asked] = []
        self.connections = 0
        self.sessions = 0
        self.news = asyncio.Condition()
        self.stream = web.StreamResponse()
        self.is_listening = asyncio.Event()
        self.url = ""
        self.port = 0

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        asked = Asked(request.method, request.headers, await request.read())
        self.asked.append(asked)
        async with self.news:
            self.news.notify_all()
        return await self.answer(self, request, asked)

    @property
    def methods(self) -> list[str]:
        """What it was asked, but for the GET of a stream that it does not have."""
        return [one.method for one in self.asked if one.http != "GET"]

    async def wait_for(self, condition: Callable[[list[str]], bool]) -> None:
        """Wait until what it was asked fulfils a condition."""
        async with asyncio.timeout(10), self.news:
            await self.news.wait_for(lambda: condition(self.methods))


@asynccontextmanager
async def far(answer: Answer | None = None, host: str = "127.0.0.1") -> AsyncIterator[Far]:
    """Run a server; without ``answer`` it is an ordinary one of 2025-11-25."""
    server = Far(answer or plain)
    http = web.Server(server.handle, handler_cancellation=True)
    listening = await asyncio.get_running_loop().create_server(http, host, 0)
    server.port = listening.sockets[0].getsockname()[1]
    server.url = f"http://{host}:{server.port}/mcp"
    try:
        yield server
    finally:
        listening.close()
        await http.shutdown(0.1)
        await listening.wait_closed()


def json_answer(body: object, status: int = 200, **headers: str) -> web.Response:
    """Return an answer of JSON."""
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return web.Response(status=status, body=raw, content_type="application/json", headers=headers)


def gone(status: int = 404) -> web.Response:
    """Return the refusal of an unknown session."""
    return json_answer(
        {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "Session not found"}}, status
    )


async def sse(request: web.BaseRequest, *messages: object) -> web.StreamResponse:
    """Answer with a stream of these messages."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    for message in messages:
        await response.write(b"data: " + json.dumps(message).encode() + b"\n\n")
    await response.write_eof()
    return response


async def plain(server: Far, request: web.BaseRequest, asked: Asked) -> web.StreamResponse:
    """Be a server of 2025-11-25 with a session, which answers with the params of the call."""
    if asked.http != "POST":
        return web.Response(status=405 if asked.http == "GET" else 200)
    if asked.method == "initialize":
        server.sessions += 1
        version = asked.message["params"]["protocolVersion"]
        result = {"protocolVersion": version, "capabilities": {}, "serverInfo": {"name": "far", "version": "1"}}
        body = {"jsonrpc": "2.0", "id": asked.message["id"], "result": result}
        return json_answer(body, 200, **{"Mcp-Session-Id": f"session-{server.sessions}"})
    if "id" not in asked.message:
        return web.Response(status=202)
    result = {"params": asked.message.get("params"), "session": asked.headers.get("Mcp-Session-Id")}
    return json_answer({"jsonrpc": "2.0", "id": asked.message["id"], "result": result})
