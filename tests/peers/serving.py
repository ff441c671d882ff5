"""Start a Python test server on the transport its command line names, whatever the SDK."""

# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import argparse
import asyncio
import contextlib
import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.websockets import WebSocket

ServeStreams = Callable[[Any, Any], Awaitable[None]]
OpenStdio = Callable[[], contextlib.AbstractAsyncContextManager[Any]]
MakeHttpApp = Callable[[], Any]


def main(name: str, make: Callable[[asyncio.TaskGroup], tuple[ServeStreams, OpenStdio, MakeHttpApp, Any]]) -> None:
    """Serve until stdin ends or a signal comes; `make` gets the group in which work goes on between calls."""
    parser = argparse.ArgumentParser(
        prog=f"server_{name}.py", description="MCP test server; stdio unless told otherwise"
    )
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--http", type=int, metavar="PORT", help="Streamable HTTP at /mcp")
    where.add_argument("--sse", type=int, metavar="PORT", help="HTTP+SSE at /sse")
    where.add_argument("--ws", type=int, metavar="PORT", help="WebSocket at /mcp (SDK 1.x)")
    options = parser.parse_args()

    async def serve() -> None:
        async with asyncio.TaskGroup() as background:
            serve_streams, open_stdio, http_app, sse_transport = make(background)
            if options.http is not None:
                await serve_app(http_app(), options.http, "/mcp")
            elif options.sse is not None:
                await serve_app(sse_app(sse_transport("/messages/"), serve_streams), options.sse, "/sse")
            elif options.ws is not None:
                await serve_app(ws_app(serve_streams), options.ws, "/mcp")
            else:
                async with open_stdio() as (reading, writing):
                    await serve_streams(reading, writing)

    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve())


def ways_in(
    server: Any, options: Any, open_stdio: OpenStdio, make_http_app: MakeHttpApp, sse_transport: Any
) -> tuple[ServeStreams, OpenStdio, MakeHttpApp, Any]:
    """Give ``main`` a server of the SDK 2.x, which announces what ``options`` say."""
    # The HTTP app asks the server for its options and knows no other way to announce listChanged.
    server.create_initialization_options = lambda *_, **__: options

    async def serve_streams(reading: Any, writing: Any) -> None:
        await server.run(reading, writing, options)

    return serve_streams, open_stdio, make_http_app, sse_transport


def sse_app(transport: Any, serve_streams: ServeStreams) -> Starlette:
    """Put an SDK's 2024-11-05 transport behind /sse and /messages/."""

    async def handle_sse(request: Request) -> Response:
        async with transport.connect_sse(request.scope, request.receive, request._send) as (reading, writing):
            await serve_streams(reading, writing)
        return Response()

    routes = [Route("/sse", endpoint=handle_sse), Mount("/messages/", app=transport.handle_post_message)]
    return Starlette(routes=routes)


def ws_app(serve_streams: ServeStreams) -> Starlette:
    """Put the WebSocket transport of SDK 1.x behind /mcp."""
    from mcp.server.websocket import websocket_server

    async def handle(socket: WebSocket) -> None:
        async with websocket_server(socket.scope, socket.receive, socket.send) as (reading, writing):
            await serve_streams(reading, writing)

    return Starlette(routes=[WebSocketRoute("/mcp", endpoint=handle)])


async def serve_app(app: Any, port: int, path: str) -> None:
    """Listen first, say so, then serve: whoever connects after the line waits in the backlog."""
    listener = socket.create_server(("127.0.0.1", port))
    sys.stderr.write(f"listening http://127.0.0.1:{listener.getsockname()[1]}{path}\n")
    sys.stderr.flush()
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
    await uvicorn.Server(config).serve(sockets=[listener])
