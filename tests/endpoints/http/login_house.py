"""An MCP server that wants a login, over each transport, and a token endpoint beside it: real, on aiohttp.

It answers ``echo`` with its params, counts what it executes, and keeps every request that came, let in or not.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import re
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote_plus

from aiohttp import web

Json = dict[str, Any]
USER, PASSWORD = "möter", 'canary: wörd, "x"'
CLIENT, SECRET = "client/1 ü", "canary+secret&="

Gate = Callable[[web.Request, bytes], web.Response | None]
"""Lets a request in with None, or says what it gets instead."""


def open_gate(request: web.Request, body: bytes) -> web.Response | None:
    """Let everybody in."""
    return None


def basic(request: web.Request, body: bytes) -> web.Response | None:
    """Let in whoever has the password (RFC 7617)."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme == "Basic" and base64.b64decode(value).decode() == f"{USER}:{PASSWORD}":
        return None
    return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="r", charset="UTF-8"'}, text="no")


class Digest:
    """Lets in whoever answers its challenge (RFC 7616); a nonce is good for so many requests.

    ``only_nonce``: everybody gets this one, and it is never used up; but each count is good once.
    """

    def __init__(
        self,
        algorithm: str = "MD5",
        *,
        uses: int = 1000,
        more: Sequence[str] = (),
        qop: str | None = "auth",
        only_nonce: str | None = None,
    ) -> None:
        self._algorithm = algorithm
        self._hash = {"MD5": hashlib.md5, "SHA-256": hashlib.sha256}[algorithm]
        self._uses = uses
        self._more = more
        self._qop = qop
        self._only_nonce = only_nonce
        self._counts: dict[str, set[int]] = {}
        self.stale = 0
        self.password = PASSWORD

    def __call__(self, request: web.Request, body: bytes) -> web.Response | None:
        scheme, _, text = request.headers.get("Authorization", "").partition(" ")
        said = {name: quoted or plain for name, quoted, plain in re.findall(r'(\w+)=(?:"([^"]*)"|([^,\s]+))', text)}
        if scheme != "Digest" or not self._is_right(request.method, request.raw_path, said):
            return self._challenge(is_stale=False)
        used = self._counts.get(said["nonce"], set())
        count = int(said.get("nc", len(used) + 1), 16) if self._qop else len(used) + 1
        if said["nonce"] not in self._counts or len(used) >= self._uses or count in used:
            self.stale += 1
            return self._challenge(is_stale=True)
        used.add(count)
        return None

    def _is_right(self, method: str, path: str, said: dict[str, str]) -> bool:
        def hashed(*parts: str) -> str:
            return str(self._hash(":".join(parts).encode()).hexdigest())

        if said.get("uri") != path or said.get("realm") != "r" or said.get("opaque") != "o":
            return False
        secret, asked = hashed(USER, "r", self.password), hashed(method, path)
        middle = (said["nc"], said["cnonce"], said["qop"]) if self._qop else ()
        return said.get("response") == hashed(secret, said["nonce"], *middle, asked)

    def _challenge(self, *, is_stale: bool) -> web.Response:
        nonce = self._only_nonce or f"n{len(self._counts)}"
        self._counts.setdefault(nonce, set())
        response = web.Response(status=401, body=b"x" * 300_000)  # one that must be left unread
        for line in self._more:
            response.headers.add("WWW-Authenticate", line)
        qop = f', qop="{self._qop}"' if self._qop else ""
        response.headers.add(
            "WWW-Authenticate",
            f'Digest realm="r", nonce="{nonce}", opaque="o", algorithm={self._algorithm}{qop}, '
            f"stale={'true' if is_stale else 'false'}",
        )
        return response


class Bearer:
    """Lets in whoever has the token of this moment, and gives it out."""

    def __init__(self, *, expires_in: object = 3600, takes: Sequence[str] = ("header",)) -> None:
        self.number = 1
        self.given = 0
        self.asked: list[str] = []
        self._expires_in = expires_in
        self._takes = takes
        self.failure: web.Response | None = None
        self.is_never_content = False
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    @property
    def token(self) -> str:
        return f"canary-token-{self.number}"

    def rotate(self) -> None:
        """Let the token given out before be of no use any more."""
        self.number += 1

    def __call__(self, request: web.Request, body: bytes) -> web.Response | None:
        if request.headers.get("Authorization") == f"Bearer {self.token}" and not self.is_never_content:
            return None
        said = json.dumps({"error": f"no: {request.headers.get('Authorization')}"})
        return web.Response(status=401, headers={"WWW-Authenticate": "Bearer"}, text=said)

    async def give(self, request: web.Request) -> web.Response:
        """Answer as a token endpoint."""
        form = {name: values[0] for name, values in parse_qs((await request.read()).decode()).items()}
        assert form.pop("grant_type") == "client_credentials"
        scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        if scheme == "Basic":
            who, _, secret = base64.b64decode(value).decode().partition(":")
            known = (unquote_plus(who), unquote_plus(secret)) == (CLIENT, SECRET)
        else:
            known = (form.pop("client_id", None), form.pop("client_secret", None)) == (CLIENT, SECRET)
        assert not form, "nothing else is sent"
        way = "header" if scheme == "Basic" else "form"
        self.asked.append(way)
        await self.may_answer.wait()
        if self.failure is not None:
            failure, self.failure = self.failure, None
            return failure
        if way not in self._takes or not known:
            return web.json_response({"error": "invalid_client"}, status=401)
        self.given += 1
        answer = {"access_token": self.token, "token_type": "bearer", "expires_in": self._expires_in}
        return web.json_response({name: one for name, one in answer.items() if one is not None})


@dataclass
class House:
    """The server, where it is, and what came."""

    gate: Gate
    port: int = 0
    came: list[web.Request] = field(default_factory=list)
    let_in: list[web.Request] = field(default_factory=list)
    executed: list[object] = field(default_factory=list)
    _streams: list[web.StreamResponse] = field(default_factory=list)
    redirect: str | None = None
    scheme: str = "http"

    @property
    def base(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}"

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        assert isinstance(request, web.Request)
        if request.path == "/token":
            assert isinstance(self.gate, Bearer)
            return await self.gate.give(request)
        body = await request.read()
        self.came.append(request)
        if (refusal := self.gate(request, body)) is not None:
            return refusal
        self.let_in.append(request)
        if self.redirect is not None:
            return web.Response(status=307, headers={"Location": self.redirect})
        if request.path == "/ws":
            return await self._upgraded(request)
        if request.path == "/sse" and request.method == "POST":
            return web.Response(status=405)
        if request.path == "/sse":
            return await self._stream(request)
        if request.method != "POST":
            return web.Response(status=405 if request.method == "GET" else 200)
        answer = self._answer(body)
        if request.path == "/messages":
            if answer is not None:
                await self._streams[-1].write(b"event: message\ndata: " + answer + b"\n\n")
            return web.Response(status=202)
        if answer is None:
            return web.Response(status=202)
        return web.Response(body=answer, content_type="application/json", headers={"Mcp-Session-Id": "s"})

    def _answer(self, body: bytes) -> bytes | None:
        message = json.loads(body)
        if "id" not in message:
            return None
        self.executed.append(message["id"])
        result: Json = message.get("params", {})
        if message["method"] == "initialize":
            result = {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "h", "version": "1"}}
        return json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}).encode()

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        self._streams.append(response)
        await response.write(b"event: endpoint\ndata: /messages?s=1\n\n")
        await asyncio.get_running_loop().create_future()
        return response

    async def _upgraded(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=("mcp",))
        await socket.prepare(request)
        async for message in socket:
            answer = self._answer(message.data.encode() if isinstance(message.data, str) else message.data)
            if answer is not None:
                await socket.send_str(answer.decode())
        return socket


@contextlib.asynccontextmanager
async def house(gate: Gate = open_gate, ssl_context: ssl.SSLContext | None = None) -> AsyncIterator[House]:
    """Open a server for the block."""
    opened = House(gate, scheme="https" if ssl_context else "http")
    app = web.Application(client_max_size=2**26)
    app.router.add_route("*", "/{path:.*}", opened.handle)
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=ssl_context)
        await site.start()
        opened.port = runner.addresses[0][1]
        yield opened
    finally:
        await runner.cleanup()
