"""An MCP server by HTTP that says exactly what a test wants, well or badly, and records every request.

Raw asyncio streams, no HTTP library: a status, a chunk or a cut goes out as it is written here. A ``Script`` is a
well-behaved server of Streamable HTTP, an ``SseScript`` one of HTTP+SSE; a test overrides what is to go wrong. As a
program (``python -m tests.e2e.fault_server NAME``) it serves a script by name, one JSON line on stdout for each
request, to be killed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import http
import json
import ssl
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlsplit

Message = dict[str, Any]

JSON = "application/json"
SSE = "text/event-stream"
WAIT = 15.0  # for anything that must happen; a busy machine is no failure


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request as it came: the target, the headers (names in lower case), the body's bytes."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    connection: int = 0
    """The how-manieth connection it came on."""
    repeated: tuple[str, ...] = ()
    """Names of headers that came more than once."""

    @property
    def message(self) -> Message:
        """The JSON-RPC message in the body; empty if there is none."""
        return dict(json.loads(self.body)) if self.body else {}

    @property
    def session(self) -> str | None:
        """The session it names."""
        return self.headers.get("mcp-session-id")


@dataclass(slots=True)
class Exchange:
    """One request and the connection on which its answer goes out."""

    request: Request
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    is_chunked: bool = False
    opened_at: float = 0.0
    """When the connection was made, by the loop's clock."""

    @property
    def message(self) -> Message:
        """The message POSTed."""
        return self.request.message

    async def raw(self, data: bytes) -> None:
        """Write bytes as they are."""
        self.writer.write(data)
        await self.writer.drain()

    async def reply(
        self, status: int, body: bytes = b"", *, kind: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """Answer at once, whole."""
        fields = {**({"Content-Type": kind} if kind else {}), **(headers or {}), "Content-Length": str(len(body))}
        await self.raw(_head(status, fields) + body)

    async def json(self, message: object, *, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
        """Answer with one JSON body."""
        await self.reply(status, json.dumps(message).encode(), kind=JSON, headers=headers)

    async def result(self, value: object = None) -> None:
        """Answer the request with a result."""
        await self.json(result(self.message, value))

    async def open_stream(self, headers: Mapping[str, str] | None = None) -> None:
        """Begin an SSE stream, chunked."""
        await self.raw(_head(200, {"Content-Type": SSE, "Transfer-Encoding": "chunked", **(headers or {})}))
        self.is_chunked = True

    async def chunk(self, data: bytes) -> None:
        """Write one chunk of a stream."""
        await self.raw(b"%x\r\n" % len(data) + data + b"\r\n")

    async def event(
        self, data: object = None, *, event_id: str | None = None, retry: int | None = None, event: str = "message"
    ) -> None:
        """Write one event; ``data`` None is an event with no payload, bytes go out as they are."""
        await self.chunk(sse_event(data, event_id=event_id, retry=retry, event=event))

    async def end(self) -> None:
        """End the stream as a server does that has said everything."""
        await self.raw(b"0\r\n\r\n")
        self.is_chunked = False

    def cut(self) -> None:
        """Break the connection, whatever was under way."""
        self.writer.transport.abort()

    async def hold(self) -> None:
        """Say nothing until the client goes away."""
        with contextlib.suppress(ConnectionError):
            while await self.reader.read(65536):
                pass


def _head(status: int, fields: Mapping[str, str]) -> bytes:
    try:
        phrase = http.HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in fields.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def sse_event(
    data: object = None, *, event_id: str | None = None, retry: int | None = None, event: str = "message"
) -> bytes:
    """Write one Server-Sent Event."""
    payload = data if isinstance(data, bytes) else b"" if data is None else json.dumps(data).encode()
    head = f"event: {event}\n"
    head += f"id: {event_id}\n" if event_id is not None else ""
    head += f"retry: {retry}\n" if retry is not None else ""
    return head.encode() + b"data: " + payload + b"\n\n"


def result(request: Message, value: object = None) -> Message:
    """Make the answer to a request: by default what it was asked with."""
    return {
        "jsonrpc": "2.0",
        "id": request["id"],
        "result": {"echo": request.get("params")} if value is None else value,
    }


def error(request_id: object, code: int = -32000, message: str = "no") -> Message:
    """Make a JSON-RPC error."""
    return {"jsonrpc": "2.0", "id": request_id, "error": {"code": code, "message": message}}


def note(method: str, **params: object) -> Message:
    """Make a notification."""
    return {"jsonrpc": "2.0", "method": method, "params": params}


class Script:
    """A server of Streamable HTTP that does everything right; override what is to go wrong."""

    path = "/mcp"
    version = "2025-11-25"

    def __init__(self) -> None:
        """Know no session yet."""
        self.sessions: list[str] = []
        self.live: set[str] = set()

    async def answer(self, exchange: Exchange) -> None:
        """Answer one HTTP request."""
        request = exchange.request
        if request.session is not None and request.session not in self.live:
            await self.unknown_session(exchange)
        elif request.method == "POST":
            await self.post(exchange)
        elif request.method == "GET":
            await self.get(exchange)
        else:
            await self.delete(exchange)

    async def post(self, exchange: Exchange) -> None:
        """Sort what was POSTed."""
        message = exchange.message
        if message.get("method") == "initialize":
            await self.initialize(exchange)
        elif message.get("method") == "ping":
            await exchange.result({"ping": "pong"})
        elif "id" in message and "method" in message:
            await self.call(exchange)
        else:
            await self.notification(exchange)

    async def initialize(self, exchange: Exchange) -> None:
        """Open a session."""
        await exchange.json(self.welcome(exchange), headers={"Mcp-Session-Id": self.open_session()})

    def open_session(self) -> str:
        """Mint a session id."""
        session = f"session-{len(self.sessions) + 1}"
        self.sessions.append(session)
        self.live.add(session)
        return session

    def welcome(self, exchange: Exchange) -> Message:
        """Make the answer to ``initialize``."""
        info = {"name": "fault", "version": "1"}
        return result(exchange.message, {"protocolVersion": self.version, "capabilities": {}, "serverInfo": info})

    async def call(self, exchange: Exchange) -> None:
        """Answer a request other than ``initialize``."""
        await exchange.result()

    async def notification(self, exchange: Exchange) -> None:
        """Accept a notification or an answer."""
        await exchange.reply(202)

    async def get(self, exchange: Exchange) -> None:
        """Refuse the GET stream."""
        await exchange.reply(405)

    async def delete(self, exchange: Exchange) -> None:
        """End a session."""
        self.live.discard(exchange.request.session or "")
        await exchange.reply(200)

    async def unknown_session(self, exchange: Exchange) -> None:
        """Say that there is no such session (any more)."""
        await exchange.json(error(None, -32001, "Session not found"), status=404)


class SseScript(Script):
    """A server of HTTP+SSE (2024-11-05) that does everything right."""

    path = "/sse"
    version = "2024-11-05"

    def __init__(self) -> None:
        """Have no stream yet."""
        super().__init__()
        self.streams: dict[str, Exchange] = {}

    async def answer(self, exchange: Exchange) -> None:
        """Answer one HTTP request."""
        if exchange.request.method == "GET":
            await self.get(exchange)
        elif exchange.request.target.startswith("/messages"):
            await self.post(exchange)
        else:
            await exchange.reply(405)

    async def get(self, exchange: Exchange) -> None:
        """Open a stream: a session."""
        session = self.open_session()
        self.streams[session] = exchange
        await exchange.open_stream()
        await exchange.event(self.endpoint(session).encode(), event="endpoint")
        await exchange.hold()

    def endpoint(self, session: str) -> str:
        """Name the place to POST to."""
        return f"/messages/?session_id={session}"

    def stream(self, exchange: Exchange) -> Exchange:
        """Return the stream of a POST's session."""
        return self.streams[parse_qs(urlsplit(exchange.request.target).query)["session_id"][0]]

    async def post(self, exchange: Exchange) -> None:
        """Accept a message; its answer goes over the stream."""
        await exchange.reply(202)
        message = exchange.message
        if message.get("method") == "initialize":
            await self.stream(exchange).event(self.welcome(exchange))
        elif "id" in message and "method" in message:
            await self.call(exchange)

    async def call(self, exchange: Exchange) -> None:
        """Answer a request over the stream."""
        await self.stream(exchange).event(result(exchange.message))


@dataclass(slots=True)
class FaultServer:
    """A listening server; ``FaultServer.running`` makes one."""

    script: Script
    host: str = "127.0.0.1"
    tls: ssl.SSLContext | None = None
    on_request: Callable[[Request], None] | None = None
    port: int = 0
    requests: list[Request] = field(default_factory=list)
    connections: int = 0
    _server: asyncio.Server | None = None
    _open: dict[asyncio.Task[Any], asyncio.StreamWriter] = field(default_factory=dict)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    @classmethod
    @contextlib.asynccontextmanager
    async def running(
        cls, script: Script, *, port: int = 0, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
    ) -> AsyncIterator[FaultServer]:
        """Serve while the block lasts; its end breaks what is open."""
        server = cls(script, host, tls, port=port)
        await server.start()
        try:
            yield server
        finally:
            await server.stop()

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, self.host, self.port, ssl=self.tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Listen no more, and break every connection."""
        assert self._server is not None, "started"
        self._server.close()
        for task, writer in list(self._open.items()):
            writer.transport.abort()
            task.cancel()
        if self._open:
            await asyncio.wait(self._open)

    @property
    def url(self) -> str:
        """Where it listens."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{self.script.path}"

    def methods(self) -> list[str]:
        """List what was asked, in order: JSON-RPC methods of POSTs (``response`` for answers), else HTTP's."""
        return [
            request.message.get("method", "response") if request.method == "POST" else request.method
            for request in self.requests
        ]

    def posted(self, method: str) -> list[Request]:
        """List the POSTs of one JSON-RPC method."""
        return [one for one in self.requests if one.method == "POST" and one.message.get("method") == method]

    async def until(self, holds: Callable[[], object]) -> None:
        """Wait until something is true of what was recorded."""
        async with asyncio.timeout(WAIT), self._news:
            await self._news.wait_for(lambda: bool(holds()))

    async def tell(self) -> None:
        """Let those that wait look again: a script has noted something."""
        async with self._news:
            self._news.notify_all()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "called in one"
        self._open[task] = writer
        self.connections += 1
        connection, opened_at = self.connections, asyncio.get_running_loop().time()
        try:
            while (request := await _read_request(reader, connection)) is not None:
                self.requests.append(request)
                if self.on_request is not None:
                    self.on_request(request)
                await self.tell()
                exchange = Exchange(request, reader, writer, opened_at=opened_at)
                await self.script.answer(exchange)
                if exchange.is_chunked or writer.transport.is_closing():
                    return
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError):
            return
        finally:
            del self._open[task]
            writer.transport.abort()


async def _read_request(reader: asyncio.StreamReader, connection: int) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").rstrip("\r\n").split("\r\n")
    method, target, _ = first.split(" ")
    pairs = [(name.strip().lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    headers = dict(pairs)
    repeated = tuple(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Request(method, target, headers, body, connection, repeated)


class Sized(Script):
    """Answers a call with exactly ``params.size`` bytes: as JSON, on the call's stream, or on the GET stream."""

    PIECE = 2**20

    def __init__(self) -> None:
        """Wait for a GET stream."""
        super().__init__()
        self.listener: Exchange | None = None

    async def get(self, exchange: Exchange) -> None:
        """Keep the stream open."""
        await exchange.open_stream()
        self.listener = exchange
        await exchange.hold()

    async def call(self, exchange: Exchange) -> None:
        """Answer in the way that ``params.how`` says: json, sse or get-sse."""
        params = exchange.message["params"]
        frame = json.dumps(result(exchange.message, {"fill": ""})).encode()
        body = frame.replace(b'""', b'"' + b"x" * (params["size"] - len(frame)) + b'"')
        if params["how"] == "json":
            await exchange.reply(200, body, kind=JSON)
            return
        await exchange.open_stream()
        stream = self.listener if params["how"] == "get-sse" else exchange
        assert stream is not None, "waited for"
        data = sse_event(body)
        for at in range(0, len(data), self.PIECE):
            await stream.chunk(data[at : at + self.PIECE])
        if stream is exchange:
            await exchange.end()
        else:
            await exchange.hold()


# -- as a program, to be killed ---------------------------------------------------------------------------------------


class HalfJson(Script):
    """Write half of each JSON answer, and never the rest."""

    async def call(self, exchange: Exchange) -> None:
        """Promise more than is written."""
        body = json.dumps(result(exchange.message)).encode()
        await exchange.raw(
            _head(200, {"Content-Type": JSON, "Content-Length": str(len(body))}) + body[: len(body) // 2]
        )
        await exchange.hold()


class HalfSse(Script):
    """Write half of each SSE answer, without event ids, and never the rest."""

    event_id: str | None = None

    async def call(self, exchange: Exchange) -> None:
        """Begin an event."""
        await exchange.open_stream()
        if self.event_id is not None:
            await exchange.event(event_id=self.event_id)
        data = sse_event(result(exchange.message))
        await exchange.chunk(data[: len(data) // 2])
        await exchange.hold()


class HalfSseWithIds(HalfSse):
    """The same after an event id: the stream could be resumed if anybody were there."""

    event_id = "1"


class SilentSse(SseScript):
    """Accept calls of HTTP+SSE and write half of the first answer."""

    async def call(self, exchange: Exchange) -> None:
        """Begin an event, once."""
        if exchange.message["id"] == 1:
            data = sse_event(result(exchange.message))
            await self.stream(exchange).chunk(data[: len(data) // 2])


SCRIPTS: dict[str, type[Script]] = {
    "half-json": HalfJson,
    "half-sse": HalfSse,
    "half-sse-with-ids": HalfSseWithIds,
    "silent-sse": SilentSse,
}


async def _main(name: str, port: int) -> None:
    def say(request: Request) -> None:
        sys.stdout.write(json.dumps({"method": request.method, "message": request.message}) + "\n")
        sys.stdout.flush()

    server = FaultServer(SCRIPTS[name](), on_request=say, port=port)
    await server.start()
    sys.stdout.write(json.dumps({"listening": server.url}) + "\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("script", choices=sorted(SCRIPTS))
    parser.add_argument("--port", type=int, default=0)
    asyncio.run(_main(**{"name" if k == "script" else k: v for k, v in vars(parser.parse_args()).items()}))
