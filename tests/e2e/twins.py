"""Two relays that differ in one thing: whether they take their fast ways. What one does, the other must do.

A ``Play`` is a list of steps by a client. It is played to a relay of its own, and what came of it is written down: each
answer, what the server saw, what the observer was told, the log, and ``/status``. What must differ between two runs
(ports, dates, ids that are drawn at random) has a name instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, Literal

import relay
from relay.endpoints.core.dialling import DiallingOptions
from relay.endpoints.http.client.aiohttp_dial import Dial
from relay.endpoints.http.listening import ListeningOptions
from relay.endpoints.http.server.listener import HttpListener
from relay.observe.hub import Named
from tests.e2e.fault_server import Exchange, FaultServer, Script, error, note, result
from tests.e2e.oracle import ACCEPT_BOTH, VERSION, Response, Wire, initialize, notification, request
from tests.endpoints.http.modern_house import ask, headers_for

__all__ = ["BEHAVIOURS", "Record", "Step", "Way", "play"]

Way = Literal["child", "through", "client"]
"""To a server in memory, to an HTTP server request by request, and from own frames to an HTTP server."""

LIMITS = relay.Limits(answer_wait=20, keep_alive=60, close_grace=0.5, stray_grace=20, max_frame_bytes=300_000)
BEHAVIOURS = (
    "echo", "error", "progress", "ask", "twice", "respelled", "large", "not-found", "stream", "cookie", "refuse",
    "page", "null-error", "bom",
)  # fmt: skip
_WAIT = 20.0
_RANDOM = re.compile(rb"[0-9a-f]{32}|[A-Za-z0-9_-]{43}|(?<=session )[0-9a-f]{8}")
_PORT = re.compile(rb"127\.0\.0\.1:\d+")
_DROPPED = ("date", "keep-alive")
_OURS = ("host", "mcp-relay-trail")


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that a client does, and on which of its connections."""

    kind: str
    """``call``, ``tell``, ``modern``, ``batch``, ``get``, ``delete``, ``initialize``, ``status`` or ``raw``."""
    behaviour: str = "echo"
    request_id: object = 1
    wire: int = 0
    changes: tuple[tuple[str, str | None], ...] = ()
    """Headers that are another than a good client's, or left out."""
    body: bytes | None = None
    size: int = 0
    split: int = 0
    """After so many bytes of the request there is a pause; 0: none."""


@dataclass(slots=True)
class Record:
    """What came of a play."""

    answers: list[object] = field(default_factory=list)
    seen: list[object] = field(default_factory=list)
    observed: list[object] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    books: object = None

    def differences(self, other: Record) -> list[object]:
        """Return what another record has instead, each as a pair."""
        found: list[object] = []
        for name in ("answers", "seen", "observed", "log"):
            found += [pair for pair in zip_longest(getattr(self, name), getattr(other, name)) if pair[0] != pair[1]]
        return found if self.books == other.books else [*found, (self.books, other.books)]


class Names:
    """Names for what is drawn at random, in the order in which it is seen first."""

    def __init__(self) -> None:
        self._known: dict[bytes, bytes] = {}

    def of(self, text: bytes) -> bytes:
        """Return a text with names in it."""
        named = _RANDOM.sub(lambda found: self._known.setdefault(found[0], b"<%d>" % len(self._known)), text)
        return _PORT.sub(b"127.0.0.1:PORT", named)

    def text(self, text: str) -> str:
        """Do the same with a str."""
        return self.of(text.encode()).decode()


class Book(relay.Observer):
    """Writes down what an observer hears."""

    def __init__(self, record: Record, names: Names) -> None:
        self._record, self._names = record, names

    def frames_forwarded(self, source: Any, sink: Any, frames: Sequence[relay.Frame]) -> None:
        """Write down each frame: how many come in one call is a matter of time."""
        ends = (self._names.text(source.name), self._names.text(sink.name))
        self._record.observed += [(*ends, self._names.of(frame.raw)) for frame in frames]


@contextlib.contextmanager
def fast_ways(*, on: bool) -> Iterator[None]:
    """Let what begins in the block take the fast ways, or not."""
    before = os.environ.get("MCP_RELAY_FAST")
    os.environ["MCP_RELAY_FAST"] = "1" if on else "0"
    try:
        yield
    finally:
        if before is None:
            del os.environ["MCP_RELAY_FAST"]
        else:
            os.environ["MCP_RELAY_FAST"] = before


class _Log(logging.Handler):
    def __init__(self, record: Record, names: Names) -> None:
        super().__init__(logging.WARNING)
        self._record, self._names = record, names

    def emit(self, record: logging.LogRecord) -> None:
        self._record.log.append(f"{record.levelname} {self._names.text(record.getMessage())}")


async def play(way: Way, steps: Sequence[Step], *, on: bool) -> Record:
    """Play the steps to a relay with the fast ways on, or off."""
    record, names = Record(), Names()
    handler = _Log(record, names)
    logger = logging.getLogger("relay")
    logger.addHandler(handler)
    try:
        with fast_ways(on=on):
            await _PLAYERS[way](steps, record, names)
    finally:
        logger.removeHandler(handler)
    return record


# -- the server -------------------------------------------------------------------------------------------------------


def behaviour_of(message: dict[str, Any]) -> str:
    """Return what a request asks of the server."""
    params = message.get("params")
    return str(params.get("do", "echo")) if isinstance(params, dict) else "echo"


def answers_of(message: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what a server says to a message, in order."""
    if "id" not in message or "method" not in message:
        return []
    if message["method"] == "initialize":
        version = (message.get("params") or {}).get("protocolVersion", VERSION)
        return [result(message, {"protocolVersion": version, "capabilities": {}, "serverInfo": {"name": "t"}})]
    params = message.get("params") or {}
    token = (params.get("_meta") or {}).get("progressToken")
    good = result(message, {"echo": params.get("fill", "")[:100]})
    match behaviour_of(message):
        case "error":
            return [error(message["id"], -32603, "it failed")]
        case "not-found":
            return [error(message["id"], -32601, "no such method")]
        case "progress" if token is not None:
            return [note("notifications/progress", progressToken=token, progress=1), good]
        case "ask":
            return [{"jsonrpc": "2.0", "id": f"from-server-{message['id']}", "method": "ping"}, good]
        case "twice":
            return [good, good]
        case "respelled" if isinstance(message["id"], int):
            return [{**good, "id": str(message["id"])}]
        case "large":
            return [result(message, {"fill": "x" * 40_000})]
    return [good]


async def _serve(far: Any, record: Record, names: Names) -> None:
    """Be the server at the far end of a pair in memory."""
    while frames := await far.receive():
        for frame in frames:
            record.seen.append(names.of(frame.raw))
            try:
                message = json.loads(frame.raw)
            except ValueError:
                continue
            for one in message if isinstance(message, list) else [message]:
                said = [relay.Frame(json.dumps(answer).encode()) for answer in answers_of(one)]
                if said:
                    await far.send(said)
    await far.send_eof()


class Upstream(Script):
    """A server by HTTP that says what it is asked for, and writes down what it sees."""

    def __init__(self, record: Record, names: Names) -> None:
        super().__init__()
        self.live = {"s" * 32}
        self._record, self._names = record, names

    def open_session(self) -> str:
        """Begin a session."""
        session = f"{len(self.live):032x}"
        self.live.add(session)
        return session

    async def answer(self, exchange: Exchange) -> None:
        """Write a request down, and answer it."""
        request = exchange.request
        headers = sorted((n, self._names.text(v)) for n, v in request.headers.items() if n not in _OURS)
        self._record.seen.append((request.method, request.target, headers, self._names.of(request.body)))
        if request.body[:1] == b"{" or request.method != "POST":
            await super().answer(exchange)
        else:
            await exchange.json(error(None, -32600, "one message, please"), status=400)

    async def call(self, exchange: Exchange) -> None:
        """Answer one call."""
        message = exchange.message
        said = answers_of(message)
        match behaviour_of(message):
            case "stream" | "progress" | "ask" | "twice":
                await exchange.open_stream()
                for one in said:
                    await exchange.event(one)
                await exchange.end()
            case "cookie":
                headers = {"Set-Cookie": f'route="{message["id"]}/="; Path=/'}
                await exchange.json(said[0], headers=headers)
            case "refuse":
                await exchange.json(error(message["id"], -32600, "not this one"), status=400)
            case "page":
                await exchange.reply(502, b"<title>Bad Gateway</title>", kind="text/html")
            case "null-error":
                await exchange.json(error(None, -32600, "whose?"))
            case "bom":
                await exchange.reply(200, b"\xef\xbb\xbf" + json.dumps(said[0]).encode(), kind="application/json")
            case _:
                await exchange.json(said[0])


# -- the client -------------------------------------------------------------------------------------------------------


class _Browser:
    """A client by HTTP, with two connections."""

    def __init__(self, base: str, record: Record, names: Names) -> None:
        self.session: str | None = None
        self._base, self._record, self._names = base, record, names
        self._wires: dict[int, Wire] = {}

    async def do(self, step: Step) -> None:
        """Take one step, and write down what comes of it."""
        wire = self._wires.get(step.wire)
        if wire is None or wire.reader.at_eof() or wire.writer.transport.is_closing():
            wire = self._wires[step.wire] = await Wire.open(self._base)
        method, target, headers, body = self._request(step)
        given = {name: value for name, value in headers.items() if value is not None}
        await _send(wire, method, target, given, body, step.split)
        try:
            async with asyncio.timeout(_WAIT):
                response = await wire.response()
                shown = await self._shown(response) if step.kind != "get" or not response.is_stream else ("a stream",)
        except (asyncio.IncompleteReadError, ConnectionError):
            self._record.answers.append("closed")
            del self._wires[step.wire]
            return
        self._record.answers.append((step.kind, response.status, *shown))
        if step.kind == "initialize" and response.status == 200:
            self.session = response.headers.get("mcp-session-id", self.session)
        if response.headers.get("connection", "").lower() == "close" or not response.is_read:
            wire.close()
            del self._wires[step.wire]

    def _request(self, step: Step) -> tuple[str, str, dict[str, str | None], bytes | None]:
        headers: dict[str, str | None] = {"accept": ACCEPT_BOTH, "mcp-session-id": self.session}
        body: bytes | None = step.body
        if step.kind in ("get", "delete", "status"):
            method = {"get": "GET", "delete": "DELETE", "status": "GET"}[step.kind]
            headers |= dict(step.changes)
            return method, "/health" if step.kind == "status" else "/mcp", headers, None
        headers["content-type"] = "application/json"
        more: dict[str, object] = {"do": step.behaviour, "fill": "y" * step.size}
        if step.kind == "initialize":
            headers["mcp-session-id"] = None
            body = initialize(VERSION, step.request_id) if body is None else body
        elif step.kind == "modern":
            body = ask(step.request_id, "tools/call", name="t", **more) if body is None else body
            headers = {**headers_for(body), "mcp-session-id": None}
        elif step.kind == "tell":
            body = notification("notifications/x", **more) if body is None else body
        elif step.kind == "batch":
            body = b"[%b,%b]" % (request(step.request_id, "a", **more), notification("b")) if body is None else body
        else:
            meta = {"_meta": {"progressToken": step.request_id}} if step.behaviour == "progress" else {}
            body = request(step.request_id, "tools/call", **more, **meta) if body is None else body
        return "POST", "/mcp", headers | dict(step.changes), body

    async def _shown(self, response: Response) -> tuple[object, ...]:
        headers = {name: self._names.text(value) for name, value in response.headers.items() if name not in _DROPPED}
        headers.pop("content-length" if response.status == 204 else "", None)
        if response.is_stream:
            events = [(e.event, self._names.of(e.data)) async for e in response.events() if e.data]
            return headers, events
        return headers, self._names.of(await response.body())

    def close(self) -> None:
        """Drop the connections."""
        for wire in self._wires.values():
            wire.close()


async def _send(wire: Wire, method: str, target: str, headers: dict[str, str], body: bytes | None, split: int) -> None:
    lines = [f"{method} {target} HTTP/1.1"]
    lines += [f"{name}: {value}" for name, value in {"host": "127.0.0.1", **headers}.items()]
    if body is not None:
        lines.append(f"content-length: {len(body)}")
    data = "\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b"")
    with contextlib.suppress(ConnectionError):
        if split and split < len(data):
            wire.writer.write(data[:split])
            await wire.writer.drain()
            await asyncio.sleep(0.002)
            data = data[split:]
        wire.writer.write(data)
        await wire.writer.drain()


# -- the relays -------------------------------------------------------------------------------------------------------


async def _browse(listener: HttpListener, steps: Sequence[Step], record: Record, names: Names) -> None:
    browser = _Browser(listener.base_url, record, names)
    try:
        await browser.do(Step("initialize"))
        for step in steps:
            await browser.do(step)
        asking = _Browser(listener.base_url, Record(), names)
        wire = await Wire.open(listener.base_url)
        await wire.send("GET", "/status", [("host", "127.0.0.1")])
        books = await (await wire.response()).json()
        del books["connections"]
        record.books = books
        wire.close()
        asking.close()
    finally:
        browser.close()


async def _child(steps: Sequence[Step], record: Record, names: Names) -> None:
    listener = HttpListener(options=ListeningOptions(limits=LIMITS))
    await listener.start()
    book = Book(record, names)

    async with asyncio.TaskGroup() as group:

        async def join() -> None:
            async for session in listener:
                near, far = relay.memory_pair()
                group.create_task(relay.pipe(session, near, limits=LIMITS, observer=book))
                group.create_task(_serve(far, record, names))

        group.create_task(join())
        try:
            await _browse(listener, steps, record, names)
        finally:
            await listener.aclose()


async def _through(steps: Sequence[Step], record: Record, names: Names) -> None:
    async with FaultServer.running(Upstream(record, names)) as server:
        dial = Dial(server.url, DiallingOptions(headers={"x-from": "relay"}, limits=LIMITS))
        dial.hub.subscribe("the twin", frames=lambda *told: record.observed.append(_told(names, *told)))
        listener = HttpListener(options=ListeningOptions(limits=LIMITS), server=dial)
        await listener.start()
        try:
            await _browse(listener, steps, record, names)
        finally:
            await listener.aclose()
            await dial.aclose()


def _told(names: Names, source: Named, sink: Named, frames: Sequence[relay.Frame]) -> object:
    return (names.text(source.name), names.text(sink.name), [names.of(frame.raw) for frame in frames])


async def _client(steps: Sequence[Step], record: Record, names: Names) -> None:
    """Send the steps' frames through a pipe to a server by HTTP, one call after another."""
    async with FaultServer.running(Upstream(record, names)) as server:
        near, far = relay.memory_pair()
        piping = asyncio.get_running_loop().create_task(
            relay.pipe(near, relay.connect(server.url, headers={"x-from": "relay"}), limits=LIMITS,
                       observer=Book(record, names))
        )  # fmt: skip
        try:
            for step in (Step("initialize"), *steps):
                frame = _frame_of(step)
                if frame is None:
                    continue
                await far.send([relay.Frame(frame)])
                if step.kind in ("call", "initialize"):
                    await _answer_to(far, step, record, names)
            await far.send_eof()
            async with asyncio.timeout(_WAIT):
                report = await piping
            record.books = (report.frames_a_to_b, report.bytes_a_to_b, report.frames_b_to_a, report.bytes_b_to_a)
        finally:
            piping.cancel()
            await asyncio.wait([piping])
            await far.aclose()


def _frame_of(step: Step) -> bytes | None:
    more: dict[str, object] = {"do": step.behaviour, "fill": "y" * step.size}
    match step.kind:
        case "initialize":
            return initialize(VERSION, step.request_id)
        case "call":
            return request(step.request_id, "tools/call", **more)
        case "tell":
            return notification("notifications/x", **more)
    return None


async def _answer_to(far: Any, step: Step, record: Record, names: Names) -> None:
    """Read until the answer comes, and the frames with it."""
    async with asyncio.timeout(_WAIT):
        while True:
            frames = await far.receive()
            assert frames, "the relay has ended"
            record.answers += [names.of(frame.raw) for frame in frames]
            if any(frame.head.id == step.request_id and frame.head.method is None for frame in frames):
                return


_PLAYERS: dict[Way, Callable[[Sequence[Step], Record, Names], Awaitable[None]]] = {
    "child": _child, "through": _through, "client": _client,
}  # fmt: skip
