"""Doors by which a client comes and a server is reached, both written by hand: nothing at either end mends an answer.

A door of clients is ``async with reach(kind, listener) as client`` and then ``client.ask(request)``, which returns
what comes back for it. A door of servers is ``async with serving(kind, answer) as target``, where ``answer`` makes the
bytes that go out for a request, and ``target`` is what ``relay.connect`` takes.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import aiohttp
from aiohttp import web
from yarl import URL

from relay.endpoints.base import Endpoint
from relay.endpoints.stdio.own_stdio import OwnStdio
from relay.limits import Limits
from tests.e2e.fault_server import Exchange, FaultServer, Script, SseScript

Message: TypeAlias = dict[str, Any]
Answer: TypeAlias = Callable[[Message], bytes | None]
"""Makes the bytes of an answer; None for no answer at all."""

WAIT = 15.0
CLIENTS = ("http", "sse", "ws", "tcp", "unix", "stdio")
SERVERS = ("child", "tcp", "unix", "ws", "http-json", "http-stream", "sse")
_JSON = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}


class Client(Protocol):
    """One client, which reads what comes with no mercy."""

    async def send(self, data: bytes) -> None:
        """Say something."""

    async def receive(self) -> bytes:
        """Return the next message."""


# Servers.


@contextlib.asynccontextmanager
async def serving(kind: str, answer: Answer, folder: Path) -> AsyncIterator[str | list[str]]:
    """Serve until the block is left; yield what ``relay.connect`` takes."""
    async with contextlib.AsyncExitStack() as stack:
        if kind == "child":
            yield await _as_child(stack, answer, folder)
        elif kind in ("tcp", "unix"):
            yield await _as_lines(stack, kind, answer, folder)
        elif kind == "ws":
            yield await _as_websocket(stack, answer)
        else:
            script = {"http-json": _Json, "http-stream": _Stream, "sse": _Sse}[kind](answer)
            server = await stack.enter_async_context(FaultServer.running(script))
            yield server.url


async def _as_lines(stack: contextlib.AsyncExitStack, kind: str, answer: Answer, folder: Path) -> str:
    open_now: set[asyncio.StreamWriter] = set()

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        open_now.add(writer)
        with contextlib.suppress(ConnectionError):
            while line := await reader.readline():
                if (said := answer(json.loads(line))) is not None:
                    writer.write(said + b"\n")
        writer.close()

    if kind == "unix":
        path = folder / "server"
        server: asyncio.Server = await asyncio.start_unix_server(speak, str(path))
        address = f"unix:{path}"
    else:
        server = await asyncio.start_server(speak, "127.0.0.1", 0)
        address = f"tcp://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    def hang_up() -> None:
        for writer in open_now:
            writer.close()

    stack.callback(hang_up)
    stack.callback(server.close)
    return address


async def _as_child(stack: contextlib.AsyncExitStack, answer: Answer, folder: Path) -> list[str]:
    """Let a child of four lines carry its stdio to a server of this process."""
    address = await _as_lines(stack, "unix", answer, folder)
    program = (
        "import socket,sys,threading\n"
        f"s=socket.socket(socket.AF_UNIX);s.connect({address[5:]!r});o=sys.stdout.buffer\n"
        "def out():\n  while d:=s.recv(65536): o.write(d);o.flush()\n"
        "threading.Thread(target=out,daemon=True).start()\n"
        "while d:=sys.stdin.buffer.readline(): s.sendall(d)\n"
    )
    return [sys.executable, "-S", "-c", program]


async def _as_websocket(stack: contextlib.AsyncExitStack, answer: Answer) -> str:
    async def speak(request: web.BaseRequest) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=("mcp",))
        await socket.prepare(request)
        async for message in socket:
            if (said := answer(json.loads(message.data))) is not None:
                await socket.send_frame(said, aiohttp.WSMsgType.TEXT)
        return socket

    runner = web.ServerRunner(web.Server(speak), shutdown_timeout=0.1)
    await runner.setup()
    stack.push_async_callback(runner.cleanup)
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    return f"ws://127.0.0.1:{runner.addresses[0][1]}/"


class _Json(Script):
    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.say = answer

    async def post(self, exchange: Exchange) -> None:
        said = self.say(exchange.message)
        if said is None:
            await exchange.reply(202)
            return
        headers = {"Mcp-Session-Id": self.open_session()} if exchange.message.get("method") == "initialize" else {}
        await self.give(exchange, said, headers)

    async def give(self, exchange: Exchange, said: bytes, headers: dict[str, str]) -> None:
        await exchange.reply(200, said, kind="application/json", headers=headers)


class _Stream(_Json):
    async def give(self, exchange: Exchange, said: bytes, headers: dict[str, str]) -> None:
        await exchange.open_stream(headers)
        await exchange.event(said)
        await exchange.end()


class _Sse(SseScript):
    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.say = answer

    async def post(self, exchange: Exchange) -> None:
        await exchange.reply(202)
        if (said := self.say(exchange.message)) is not None:
            await self.stream(exchange).event(said)


# Clients.


@contextlib.asynccontextmanager
async def reaching(kind: str, address: str) -> AsyncIterator[Client]:
    """Connect a client by hand; ``address`` is that of the listener."""
    async with contextlib.AsyncExitStack() as stack:
        if kind in ("tcp", "unix"):
            where = address.partition(":")[2]
            if kind == "unix":
                reader, writer = await asyncio.open_unix_connection(where)
            else:
                host, _, port = where.strip("/").partition(":")
                reader, writer = await asyncio.open_connection(host, int(port))
            stack.callback(writer.close)
            yield _Lines(reader, writer)
            return
        session = await stack.enter_async_context(aiohttp.ClientSession())
        if kind == "ws":
            ws = await stack.enter_async_context(
                session.ws_connect(address.replace("http", "ws", 1), protocols=("mcp",), decode_text=False)
            )
            yield _WebSocket(ws)
        elif kind == "sse":
            stream = await stack.enter_async_context(session.get(address.replace("/mcp", "/sse")))
            events = _events(stream.content)
            messages = (await anext(events)).decode()
            yield _Sessionful(session, str(stream.url.join(URL(messages))), events)
        else:
            yield _Posting(session, address)


class _Lines:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data + b"\n")

    async def receive(self) -> bytes:
        return (await self._reader.readline()).rstrip(b"\n")


class _WebSocket:
    def __init__(self, socket: Any) -> None:
        self._socket = socket

    async def send(self, data: bytes) -> None:
        await self._socket.send_frame(data, aiohttp.WSMsgType.TEXT)

    async def receive(self) -> bytes:
        return bytes((await self._socket.receive()).data)


async def _events(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    async for line in content:
        if line.startswith(b"data: ") and line.strip() != b"data:":
            yield line[6:].rstrip(b"\r\n")


class _Sessionful:
    """POSTs, and a stream on which everything comes."""

    def __init__(self, session: aiohttp.ClientSession, url: str, events: AsyncIterator[bytes]) -> None:
        self._session, self._url, self._events = session, url, events

    async def send(self, data: bytes) -> None:
        async with self._session.post(self._url, data=data, headers=_JSON) as response:
            assert response.status == 202, await response.text()

    async def receive(self) -> bytes:
        return await anext(self._events)


class _Posting:
    """POSTs, each with its answer."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session, self._url = session, url
        self._came: asyncio.Queue[bytes] = asyncio.Queue()
        self._headers = dict(_JSON)

    async def send(self, data: bytes) -> None:
        message = json.loads(data)
        modern = "io.modelcontextprotocol/protocolVersion" in (message.get("params") or {}).get("_meta", {})
        extra = {"MCP-Protocol-Version": "2026-07-28", "Mcp-Method": message["method"]} if modern else {}
        async with self._session.post(self._url, data=data, headers={**self._headers, **extra}) as response:
            if (session_id := response.headers.get("Mcp-Session-Id")) is not None:
                self._headers["Mcp-Session-Id"] = session_id
            body = await response.read()
            if response.content_type == "text/event-stream":
                for line in body.splitlines():
                    if line.startswith(b"data: ") and line != b"data: ":
                        self._came.put_nowait(line[6:])
            elif response.status != 202:
                self._came.put_nowait(body)

    async def receive(self) -> bytes:
        return await self._came.get()


class OwnPipes:
    """Both ends of own stdio: an endpoint of the relay's, and the client that launched it."""

    def __init__(self) -> None:
        self._fds: list[int] = []

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls) -> AsyncIterator[tuple[Endpoint, Client]]:
        """Make the pipes."""
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()
        stdio = await OwnStdio.open(stdin=ours_in, stdout=ours_out, limits=Limits(stray_grace=0.05))
        os.close(ours_in)
        os.close(ours_out)
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader()
        read, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(theirs_in, "rb", buffering=0)
        )
        out = os.fdopen(theirs_out, "wb", buffering=0)
        try:
            yield stdio, _Pipes(reader, out)
        finally:
            out.close()
            read.close()
            await stdio.aclose()


class _Pipes:
    def __init__(self, reader: asyncio.StreamReader, out: Any) -> None:
        self._reader, self._out = reader, out

    async def send(self, data: bytes) -> None:
        self._out.write(data + b"\n")

    async def receive(self) -> bytes:
        return (await self._reader.readline()).rstrip(b"\n")
