"""The oracle of end-to-end tests, an HTTP client that does only what it is told, and the program under test.

``Oracle`` makes requests that carry a tag and a hash and judges every answer: exactly one for each, the bytes as they
were, to the client that asked. ``Client`` speaks HTTP by hand, because a library would repair what a test is about.
``run_relay`` and ``run_words`` start the real program. Nothing here uses the relay's own code.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = [
    "Client",
    "Duplicated",
    "Event",
    "Misdelivered",
    "Oracle",
    "Relay",
    "Response",
    "Wire",
    "run_relay",
    "run_words",
    "stdio_server",
]

from tests import warm_start

VERSION = "2025-11-25"
ACCEPT_BOTH = "application/json, text/event-stream"
_ADDRESS = re.compile(r"listening on (http://\S+)/mcp")
_SERVER = Path(__file__).with_name("stdio_server.py")


# -- the judge --------------------------------------------------------------------------------------------------------


class Misdelivered(AssertionError):
    """An answer came to another client than the one that asked."""


class Duplicated(AssertionError):
    """An answer came twice."""


@dataclass(slots=True)
class _Asked:
    client: str
    request_id: str
    params: str
    answers: int = 0


class Oracle:
    """Remembers what was asked, and by whom; every answer is checked as it comes, the whole by ``finish``."""

    def __init__(self, *, is_bytewise: bool = True) -> None:
        """Unless ``is_bytewise``, an answer may be written otherwise: a part that is not ours reads and writes anew."""
        self._asked: dict[str, _Asked] = {}
        self._is_bytewise = is_bytewise

    def ask(self, client: str, request_id: str, method: str = "echo", *, more: str = "", payload: str = '"…"') -> bytes:
        """Make a request; ``request_id``, ``more`` (members of params) and ``payload`` are JSON texts."""
        tag = f"{client}/{len(self._asked)}"
        digest = hashlib.sha256(payload.encode()).hexdigest()
        params = f'{{"tag":{json.dumps(tag)},"hash":"{digest}","payload":{payload}{"," + more if more else ""}}}'
        self._asked[tag] = _Asked(client, request_id, params)
        return f'{{"jsonrpc":"2.0","id":{request_id},"method":"{method}","params":{params}}}'.encode()

    def judge(self, client: str, answer: bytes) -> None:
        """Check one answer that this client got: its request's id and params, byte for byte, and its first.

        Raises AssertionError; Misdelivered and Duplicated are such.
        """
        matched = re.search(rb'"tag":("(?:[^"\\]|\\.)*")', answer)
        assert matched, f"{client}: no tag in {answer[:300]!r}"
        asked = self._asked[json.loads(matched.group(1))]
        if asked.client != client:
            raise Misdelivered(f"{client} got the answer of {asked.client}")
        expected = f'{{"jsonrpc":"2.0","id":{asked.request_id},"result":{{"params":{asked.params}}}}}'.encode()
        is_right = answer == expected if self._is_bytewise else json.loads(answer) == json.loads(expected)
        assert is_right, f"{client}: {answer[:300]!r} instead of {expected[:300]!r}"
        asked.answers += 1
        if asked.answers > 1:
            raise Duplicated(f"{client}: answered {asked.answers} times: {answer[:300]!r}")

    def unanswered(self) -> list[str]:
        """Return the tags of the requests that have not had their one answer."""
        return [tag for tag, asked in self._asked.items() if asked.answers != 1]

    def finish(self, count: int | None = None) -> None:
        """See that every request has had its answer."""
        unanswered = self.unanswered()
        assert not unanswered, f"no answer to {len(unanswered)} of {len(self._asked)}: {unanswered[:5]}"
        assert count is None or len(self._asked) == count


def request(request_id: object, method: str, **params: Any) -> bytes:
    """Make a request that is not for the oracle."""
    message = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}
    return json.dumps(message).encode()


def notification(method: str, **params: Any) -> bytes:
    """Make a notification."""
    return json.dumps({"jsonrpc": "2.0", "method": method, "params": params}).encode()


def initialize(version: str = VERSION, request_id: object = 0) -> bytes:
    """Make the first request of a session."""
    return request(
        request_id,
        "initialize",
        protocolVersion=version,
        capabilities={},
        clientInfo={"name": "oracle", "version": "1"},
    )


# -- HTTP by hand -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event, or the empty one that opens a stream (``data`` is ``b""``)."""

    event: str
    data: bytes
    id: str | None = None
    retry: int | None = None


class Wire:
    """One TCP connection with HTTP/1.1 on it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, base: str) -> Wire:
        host, _, port = base.removeprefix("http://").rpartition(":")
        return cls(*await asyncio.open_connection(host.strip("[]"), int(port), limit=2**20))

    async def send(
        self, method: str, target: str, headers: Sequence[tuple[str, str]] = (), body: bytes | None = None
    ) -> None:
        """Send one request; Host and Content-Length are added unless ``headers`` have them."""
        names = {name.lower() for name, _ in headers}
        lines = [f"{method} {target} HTTP/1.1"]
        if "host" not in names:
            peer = self.writer.get_extra_info("peername")
            lines.append(f"Host: 127.0.0.1:{peer[1]}")
        if body is not None and not names & {"content-length", "transfer-encoding"}:
            lines.append(f"Content-Length: {len(body)}")
        lines += [f"{name}: {value}" for name, value in headers]
        self.writer.write("\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b""))
        with contextlib.suppress(ConnectionError):  # refused in the middle of the body: the answer says why
            await self.writer.drain()

    async def response(self) -> Response:
        """Read the head of a response."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.rstrip("\r\n").split("\r\n")
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            assert name.lower() not in headers, f"two {name} headers"
            headers[name.lower()] = value.strip()
        return Response(int(first.split(" ")[1]), headers, self)

    def close(self) -> None:
        """Close now, whatever is unsent or unread."""
        self.writer.transport.abort()


@dataclass(slots=True)
class Response:
    """A response whose head has been read; its body is read on demand."""

    status: int
    headers: dict[str, str]
    wire: Wire
    is_read: bool = False
    comments: int = 0
    _rest: bytearray = field(default_factory=bytearray)
    _searched: int = 0
    """Bytes of the rest in which no event ends: 64 MiB come in a thousand pieces."""

    @property
    def is_stream(self) -> bool:
        return self.headers.get("content-type") == "text/event-stream"

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes."""
        reader = self.wire.reader
        if self.headers.get("transfer-encoding") == "chunked":
            while size := int(await reader.readuntil(b"\r\n"), 16):
                yield (await reader.readexactly(size + 2))[:-2]
            await reader.readexactly(2)
        elif length := int(self.headers.get("content-length", "0")):
            yield await reader.readexactly(length)
        self.is_read = True

    async def body(self) -> bytes:
        """Read the whole body."""
        return b"".join([chunk async for chunk in self.chunks()])

    async def json(self) -> Any:
        """Read the whole body as JSON."""
        return json.loads(await self.body())

    async def events(self) -> AsyncIterator[Event]:
        """Yield events until the stream ends; breaking off and coming back continues where it was."""
        async for chunk in self.chunks():
            self._rest += chunk
            while (text := self._next_text()) is not None:
                if (event := self._event(text)) is not None:
                    yield event
        assert not self._rest, f"the stream ended in the middle of an event: {self._rest!r}"

    def _next_text(self) -> bytes | None:
        """Return the lines of the next event that is whole."""
        end = self._rest.find(b"\n\n", self._searched)
        if end < 0:
            self._searched = max(len(self._rest) - 1, 0)
            return None
        text = bytes(memoryview(self._rest)[:end])
        del self._rest[: end + 2]
        self._searched = 0
        return text

    def _event(self, text: bytes) -> Event | None:
        fields: dict[bytes, bytes] = {}
        for line in text.split(b"\n"):
            name, _, value = line.partition(b":")
            if not name:
                self.comments += 1
                continue
            assert name not in fields, f"two {name!r} fields in {text!r}"
            fields[name] = value.removeprefix(b" ")
        if not fields:
            return None
        retry = int(fields[b"retry"]) if b"retry" in fields else None
        event_id = fields[b"id"].decode() if b"id" in fields else None
        return Event(fields[b"event"].decode(), fields[b"data"], event_id, retry)

    async def next_event(self) -> Event:
        """Return the next event that is not empty."""
        while (event := await self.any_event()) is not None:
            if event.data:
                return event
        raise AssertionError("the stream ended")

    async def any_event(self) -> Event | None:
        """Return the next event, an empty one too; None at the end of the stream."""
        while True:
            while (text := self._next_text()) is not None:
                if (event := self._event(text)) is not None:
                    return event
            async for chunk in self._one_chunk():
                self._rest += chunk
            if self.is_read:
                return None

    async def _one_chunk(self) -> AsyncIterator[bytes]:
        reader = self.wire.reader
        size = int(await reader.readuntil(b"\r\n"), 16)
        data = (await reader.readexactly(size + 2))[:-2]
        if not size:
            self.is_read = True
        yield data

    async def frames(self) -> list[bytes]:
        """Read to the end; return every frame: the body, or the events that are not empty."""
        if self.is_stream:
            return [event.data async for event in self.events() if event.data]
        body = await self.body()
        return [body] if body else []


class Client:
    """One MCP client: a session, and as many connections as it needs."""

    def __init__(self, base: str, name: str = "client") -> None:
        self.base = base
        self.name = name
        self.session: str | None = None
        self._idle: list[Wire] = []
        self._wires: set[Wire] = set()

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Drop every connection."""
        for wire in self._wires:
            wire.close()
        self._wires.clear()
        self._idle.clear()

    async def request(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str | None] | None = None,
        body: bytes | None = None,
    ) -> Response:
        """Send a request on an idle connection, or a new one; a header of None is left out."""
        wire = await self.wire()
        chosen = [(name, value) for name, value in (headers or {}).items() if value is not None]
        await wire.send(method, target, chosen, body)
        return await wire.response()

    async def wire(self) -> Wire:
        """Return a connection that is idle, or a new one."""
        while self._idle:
            wire = self._idle.pop()
            if not wire.reader.at_eof():
                return wire
        wire = await Wire.open(self.base)
        self._wires.add(wire)
        return wire

    async def finished(self, response: Response) -> list[bytes]:
        """Read a response to its end and keep its connection for the next request."""
        frames = await response.frames()
        if response.headers.get("connection") != "close":
            self._idle.append(response.wire)
        return frames

    async def post(self, frame: bytes, **headers: str | None) -> Response:
        """POST a frame to ``/mcp`` with this client's session; ``headers`` in snake case change or remove one."""
        chosen: dict[str, str | None] = {
            "content-type": "application/json",
            "accept": ACCEPT_BOTH,
            "mcp-session-id": self.session,
        }
        chosen.update({name.replace("_", "-"): value for name, value in headers.items()})
        return await self.request("POST", "/mcp", chosen, frame)

    async def call(self, frame: bytes) -> list[bytes]:
        """POST a frame and read every frame that answers it."""
        response = await self.post(frame)
        assert response.status in (200, 202), (response.status, await response.body())
        return await self.finished(response)

    async def begin(self, version: str = VERSION) -> Client:
        """Open a session."""
        response = await self.post(initialize(version))
        frames = await self.finished(response)
        assert response.status == 200, (response.status, frames)
        assert b'"result"' in frames[0], frames
        self.session = response.headers["mcp-session-id"]
        accepted = await self.post(notification("notifications/initialized"))
        assert accepted.status == 202
        await self.finished(accepted)
        return self

    async def listen(self, last_event_id: str | None = None, **headers: str | None) -> Response:
        """Open a GET stream, or resume the stream of an event."""
        chosen = {"accept": "text/event-stream", "mcp-session-id": self.session, "last-event-id": last_event_id}
        chosen.update({name.replace("_", "-"): value for name, value in headers.items()})
        return await self.request("GET", "/mcp", chosen)

    async def end(self) -> int:
        """DELETE the session; return the status."""
        response = await self.request("DELETE", "/mcp", {"mcp-session-id": self.session})
        await self.finished(response)
        return response.status

    async def status(self) -> dict[str, Any]:
        """Return what ``/status`` says."""
        response = await self.request("GET", "/status")
        body = json.loads(await response.body())
        self._idle.append(response.wire)
        assert isinstance(body, dict)
        return body


# -- the program ------------------------------------------------------------------------------------------------------


def stdio_server(*args: str) -> list[str]:
    """Return the command of the test server."""
    return [sys.executable, "-I", "-S", str(_SERVER), *args]


@dataclass(slots=True)
class Relay:
    """A running ``mcp-relay`` and what it said on stderr."""

    process: subprocess.Popen[bytes]
    base: str = ""
    said: list[str] = field(default_factory=list)
    _listening: threading.Event = field(default_factory=threading.Event)

    @property
    def pid(self) -> int:
        return self.process.pid

    def read_stderr(self) -> None:
        """Collect stderr until it ends; runs in a thread of its own."""
        assert self.process.stderr is not None
        for raw in self.process.stderr:
            line = raw.decode(errors="replace").rstrip("\n")
            self.said.append(line)
            if not self.base and (found := _ADDRESS.search(line)):
                self.base = found.group(1)
                self._listening.set()
        self._listening.set()

    def wait_until_listening(self) -> None:
        assert self._listening.wait(15), "the relay did not listen within 15 s"
        assert self.base, "\n".join(self.said)

    async def exit_code(self, seconds: float) -> int:
        """Wait for the end of the process."""
        return await asyncio.get_running_loop().run_in_executor(None, self.process.wait, seconds)

    def stop(self) -> None:
        """End it at once, in whatever state it is, and its guardian's groups with it."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)

    def memory(self) -> int:
        """Return its resident memory in bytes (Linux)."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")


@contextlib.contextmanager
def run_relay(
    *options: str,
    command: Sequence[str] | None = None,
    env: Mapping[str, str] | None = None,
    via: Sequence[str] = (),
) -> Iterator[Relay]:
    """Run ``mcp-relay OPTIONS -- COMMAND`` (the test server by default) until the block is left; start it ``via``."""
    with run_words(*options, "--", *(command or stdio_server()), env=env, via=via) as relay:
        yield relay


@contextlib.contextmanager
def run_words(*words: str, env: Mapping[str, str] | None = None, via: Sequence[str] = ()) -> Iterator[Relay]:
    """Run ``mcp-relay WORDS``, which listen, until the block is left; start it ``via``."""
    process = warm_start.Popen(
        [*via, sys.executable, "-m", "relay", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, **(env or {})},
    )
    relay = Relay(process)
    reader = threading.Thread(target=relay.read_stderr, name="relay stderr", daemon=True)
    reader.start()
    try:
        relay.wait_until_listening()
        yield relay
    finally:
        relay.stop()
        reader.join(5)
        assert process.stderr is not None
        process.stderr.close()
