"""A server of the official SDK on HTTP/2 with TLS, for the examples of docs/embedding.md: `CERTIFICATE KEY`.

It is at /mcp, and at /guarded/mcp for who has a token of /token; each token is good for two requests. Runs where the
SDK and hypercorn can be imported; writes its port once it accepts connections.
"""

# mypy: disable-error-code="import-not-found, misc, untyped-decorator"

from __future__ import annotations

import asyncio
import itertools
import json
import socket
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from hypercorn.asyncio import serve
from hypercorn.config import Config
from mcp.server.fastmcp import FastMCP

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Scope]]
Send = Callable[[Scope], Awaitable[None]]

USES = 2

server = FastMCP("over HTTP/2", host="0.0.0.0", log_level="CRITICAL")  # any Host: the port is not known beforehand


@server.tool()
def add(a: int, b: int) -> int:
    """Add."""
    return a + b


class Guard:
    """Lets requests with a token through to the application behind it."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        self._app = app
        self._uses: dict[str, int] = {}
        self._numbers = itertools.count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if path == "/token":
            token = f"token-{next(self._numbers)}"
            self._uses[token] = USES
            await _answer(receive, send, 200, {"access_token": token})
            return
        if path.startswith("/guarded"):
            # The stream stays open for as long as the session: it counts for nothing.
            if scope["method"] == "POST" and not self._admits(dict(scope["headers"]).get(b"authorization", b"")):
                await _answer(receive, send, 401, {"detail": "another token, please"})
                return
            scope = {**scope, "path": "/mcp", "raw_path": b"/mcp"}
        await self._app(scope, receive, send)

    def _admits(self, authorization: bytes) -> bool:
        token = authorization.decode().removeprefix("Bearer ")
        left = self._uses.get(token, 0)
        self._uses[token] = left - 1
        return left > 0


async def _answer(receive: Receive, send: Send, status: int, body: object) -> None:
    while (await receive()).get("more_body"):  # else the connection would be closed
        pass
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})


async def main(certificate: str, key: str) -> None:
    """Serve until stdin ends."""
    listening = socket.create_server(("127.0.0.1", 0))
    config = Config()
    config.certfile, config.keyfile = certificate, key
    config.bind = [f"fd://{listening.fileno()}"]
    config.accesslog = config.errorlog = None
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(0, ended.set)
    sys.stdout.write(f"{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    app: Any = Guard(server.streamable_http_app())
    await serve(app, config, shutdown_trigger=ended.wait)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
