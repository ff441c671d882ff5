"""What bounds a relay as a whole: places for sessions and connections, and room for what strangers send, at every door.

A door is how somebody comes who has neither a session nor a connection yet.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import tempfile
import tracemalloc
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest

from relay.endpoints.base import Endpoint
from relay.endpoints.core.bounds import Bounds
from relay.endpoints.core.dialling import DiallingOptions
from relay.endpoints.core.tasks import TaskScope
from relay.endpoints.http.client.aiohttp_dial import Dial
from relay.endpoints.http.listening import ListeningOptions
from relay.endpoints.http.server.listener import HttpListener
from relay.endpoints.http.server.mount import PerRequest
from relay.endpoints.socket.listener import TcpListener, UnixListener
from relay.limits import Limits
from tests.e2e.fault_server import FaultServer, Script
from tests.e2e.oracle import ACCEPT_BOTH, initialize
from tests.endpoints.http.modern_house import MODERN, ask, headers_for

UPGRADE = (
    b"GET /mcp HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
NONE: Mapping[str, str] = {}
OPEN_STREAM = b"GET /sse HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n"


def post(body: bytes, headers: Mapping[str, str] = NONE, *, size: int | None = None) -> bytes:
    """Write a POST, or the beginning of one that is to have ``size`` bytes."""
    named = {"Host": "localhost", "Accept": ACCEPT_BOTH, "Content-Type": "application/json", **headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in named.items())
    return f"POST /mcp HTTP/1.1\r\n{lines}Content-Length: {size or len(body)}\r\n\r\n".encode() + body


class Guest:
    """Somebody at a door."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def said(self) -> bytes:
        """Return what comes first."""
        async with asyncio.timeout(10):
            return await self.reader.read(65536)

    def leave(self) -> None:
        self.writer.transport.abort()


class Relay:
    """Listeners of every kind that belong together; their servers say nothing."""

    def __init__(self, limits: Limits, place: Path, server: Dial | None, per_request: PerRequest) -> None:
        self.bounds = Bounds.of(limits)
        self.http = HttpListener(
            options=ListeningOptions(limits=limits), bounds=self.bounds, server=server, per_request=per_request
        )
        options = ListeningOptions(limits=limits)
        self.tcp = TcpListener(options=options, bounds=self.bounds)
        self.unix = UnixListener(str(place / "s"), options, bounds=self.bounds)
        self._guests: list[Guest] = []
        self._tasks = TaskScope()

    async def start(self) -> None:
        for listener in (self.http, self.tcp, self.unix):
            await listener.start()
        for connections in (self.tcp, self.unix):
            self._tasks.spawn(self._serve(connections), name="serve connections")

    async def _serve(self, listener: TcpListener | UnixListener) -> None:
        async for endpoint in listener:
            self._tasks.spawn(self._until_it_ends(endpoint), name="serve one")

    async def _until_it_ends(self, endpoint: Endpoint) -> None:
        """As a server that reads and says nothing."""
        try:
            while await endpoint.receive():
                pass
        finally:
            await endpoint.aclose()

    async def open(self, door: str) -> Guest:
        """Connect."""
        if door == "unix":
            guest = Guest(*await asyncio.open_unix_connection(self.unix.addresses[0]))
        else:
            host, port = (self.tcp if door == "tcp" else self.http).addresses[0]
            guest = Guest(*await asyncio.open_connection(host, port))
        self._guests.append(guest)
        return guest

    async def aclose(self) -> None:
        for guest in self._guests:
            guest.leave()
        for listener in (self.http, self.tcp, self.unix):
            await listener.aclose()
        await self._tasks.aclose()


@contextlib.asynccontextmanager
async def relay(limits: Limits, *, server: Dial | None = None, per_request: PerRequest = "no") -> AsyncIterator[Relay]:
    with tempfile.TemporaryDirectory() as place:
        running = Relay(limits, Path(place), server, per_request)
        await running.start()
        try:
            yield running
        finally:
            await running.aclose()


# -- places -----------------------------------------------------------------------------------------------------------

ENTER = {
    "http": post(initialize()),
    "sse": OPEN_STREAM,
    "websocket": UPGRADE,
    "tcp": initialize() + b"\n",
    "unix": initialize() + b"\n",
}
"""What takes a place, by each door."""


async def enter(there: Relay, door: str) -> Guest:
    guest = await there.open(door)
    guest.writer.write(ENTER[door])
    return guest


@pytest.mark.parametrize("second", ENTER)
@pytest.mark.parametrize("first", ENTER)
async def test_one_bound_counts_who_comes_by_any_door(first: str, second: str) -> None:
    """With one place, and that taken, whoever comes next is told so; once it is free the next one has it."""
    limits = Limits(max_sessions=1, answer_wait=30, close_grace=0.2)
    async with relay(limits) as there:
        places = there.bounds.places
        here = await enter(there, first)
        async with asyncio.timeout(10):
            while not places.taken:
                await asyncio.sleep(0.005)
        refused = await enter(there, second)
        said = await refused.said()
        assert b"1 sessions are open already; --max-sessions admits more" in said, said
        if second in ("tcp", "unix"):
            assert json.loads(said)["id"] == 0
            assert await refused.said() == b""
        else:
            assert said.startswith(b"HTTP/1.1 429 ")
        assert places.taken == 1
        here.leave()
        async with asyncio.timeout(10):
            while places.taken:
                await asyncio.sleep(0.005)
        await enter(there, second)
        async with asyncio.timeout(10):
            while not places.taken:
                await asyncio.sleep(0.005)


def _ws_text(said: bytes) -> bytes:
    return b"\x81\xfe" + len(said).to_bytes(2, "big") + bytes(4) + said


async def _first_of(listener: HttpListener) -> Endpoint:
    return await anext(aiter(listener))


async def test_a_websocket_gets_a_server_with_its_first_frame() -> None:
    """As a TCP connection does: connections that say nothing would each start a process."""
    async with relay(Limits(close_grace=0.2)) as there:
        guest = await enter(there, "websocket")
        assert (await guest.said()).startswith(b"HTTP/1.1 101 ")
        async with asyncio.timeout(10), asyncio.TaskGroup() as group:
            coming = group.create_task(_first_of(there.http))
            guest.writer.write(_ws_text(b'{"x":1}'))
            assert b'"error"' in await guest.said()
            assert not coming.done()
            guest.writer.write(_ws_text(initialize()))
        endpoint = coming.result()
        (frame,) = await endpoint.receive()
        assert frame.raw == initialize()
        await endpoint.aclose()


async def test_a_websocket_that_has_said_nothing_is_closed_with_its_listener() -> None:
    """The code is 1001, "going away"."""
    async with relay(Limits(close_grace=0.2)) as there:
        guest = await enter(there, "websocket")
        assert (await guest.said()).startswith(b"HTTP/1.1 101 ")
        await there.http.aclose()
        assert (await guest.said())[:4:2] == b"\x88\x03"


# -- room -------------------------------------------------------------------------------------------------------------

KIB, MIB = 2**10, 2**20
ROOM = Limits(
    arrival_bytes=256 * KIB, max_stranger_bytes=64 * KIB, max_frame_bytes=2 * MIB, arrival_patience=0.05,
    arrival_turn=0.05, close_grace=0.2, answer_wait=30,
)  # fmt: skip
HEAVY = 2 * MIB - 1
MODERN_HEADERS = {name: value for name, value in headers_for(ask(1)).items() if value and name.startswith("mcp")}
CHUNKED = post(b"", {**MODERN_HEADERS, "Transfer-Encoding": "chunked"}).replace(b"Content-Length: 0\r\n", b"")


def _ws_frame(size: int) -> bytes:
    return b"\x81\xff" + size.to_bytes(8, "big") + bytes(4)


Begin = Callable[[int], bytes]
STRANGERS: dict[str, tuple[str, Begin, PerRequest, bool]] = {
    "http of 2026-07-28": ("http", lambda size: post(b"", MODERN_HEADERS, size=size), "no", False),
    "http, chunked": ("http", lambda size: CHUNKED + b"%x\r\n" % size, "no", False),
    "http, a server a request": ("http", lambda size: post(b"", size=size), "all", False),
    "through": ("http", lambda size: post(b"", size=size), "no", True),
    "through, in a session": ("http", lambda size: post(b"", {"Mcp-Session-Id": "s"}, size=size), "no", True),
    "through of 2026-07-28": ("http", lambda size: post(b"", MODERN_HEADERS, size=size), "no", True),
    "tcp": ("tcp", lambda size: b"", "no", False),
    "unix": ("unix", lambda size: b"", "no", False),
    "websocket": ("http", lambda size: UPGRADE + _ws_frame(size), "no", False),
}
"""Ways to send what is large before anybody has vouched for one: the door, and what begins it."""


@contextlib.asynccontextmanager
async def relay_for(way: str, limits: Limits = ROOM) -> AsyncIterator[Relay]:
    _, _, per_request, is_through = STRANGERS[way]
    async with contextlib.AsyncExitStack() as stack:
        server = None
        if is_through:
            script = Script()
            script.live.add("s")
            far = await stack.enter_async_context(FaultServer.running(script))
            server = Dial(far.url, DiallingOptions(limits=limits))
            stack.push_async_callback(server.aclose)
        yield await stack.enter_async_context(relay(limits, server=server, per_request=per_request))


async def send(guest: Guest, begin: bytes, size: int) -> None:
    """Send a message's beginning, as far as it is read."""
    with contextlib.suppress(ConnectionError, RuntimeError):  # uvloop's word for a transport that is closed
        guest.writer.write(begin + b'{"x":"' + b"x" * (size - 6))
        await guest.writer.drain()


async def most_held(there: Relay, seconds: float) -> int:
    """Return the most that was held in so many seconds after the first byte."""
    strangers, loop = there.bounds.strangers, asyncio.get_running_loop()
    async with asyncio.timeout(10):
        while not strangers.held:
            await asyncio.sleep(0.005)
    most, until = 0, loop.time() + seconds
    while loop.time() < until:
        most = max(most, strangers.held)
        await asyncio.sleep(0.005)
    return most


@pytest.mark.parametrize("way", STRANGERS)
async def test_strangers_who_keep_the_end_back_hold_one_frame(way: str) -> None:
    """Eight of them send all but the end of a message each; what is held has a bound that does not grow with them."""
    door, begin, _, _ = STRANGERS[way]
    async with relay_for(way) as there, asyncio.TaskGroup() as group:
        guests = [await there.open(door) for _ in range(8)]
        senders = [group.create_task(send(guest, begin(HEAVY), HEAVY - KIB)) for guest in guests]
        most = await most_held(there, 0.5)
        for guest in guests:
            guest.leave()
        assert KIB < most <= 2 * MIB + 2 * 256 * KIB + 8 * 256 * KIB, f"{most / MIB:.1f} MiB"
        async with asyncio.timeout(10):
            await asyncio.wait(senders)
            while there.bounds.strangers.held:
                await asyncio.sleep(0.005)


@pytest.mark.parametrize("way", STRANGERS)
async def test_a_stranger_who_sends_a_byte_holds_up_nobody(way: str) -> None:
    """Forty announce as much as may come and send the first byte: the next body arrives at once."""
    door, begin, _, _ = STRANGERS[way]
    async with relay_for(way, Limits(close_grace=0.2, answer_wait=30)) as there:
        for _ in range(40):
            (await there.open(door)).writer.write(begin(MIB) + b"{")
        await asyncio.sleep(0.05)
        guest = await there.open(door)
        began = asyncio.get_running_loop().time()
        guest.writer.write(begin(MIB) + b"{")
        async with asyncio.TaskGroup() as group:
            sender = group.create_task(send(guest, b"", MIB - 2 * KIB))
            async with asyncio.timeout(5):
                while there.bounds.strangers.held < MIB - 8 * KIB:
                    await asyncio.sleep(0.005)
            assert asyncio.get_running_loop().time() - began < 5, "30 s if it had to wait for them"
            await sender


@pytest.mark.parametrize("size", [64 * KIB, 64 * KIB + 1])
async def test_a_body_before_a_session_is_small(size: int) -> None:
    """It can be nothing but ``initialize``: 413 before it is read, and 400 for one that may come."""
    async with relay(ROOM) as there:
        guest = await there.open("http")
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "x", "params": {"x": ""}}).encode()
        body = body.replace(b'""', b'"' + b"x" * (size - len(body)) + b'"')
        assert len(body) == size
        guest.writer.write(post(body) if size <= 64 * KIB else post(b"{", size=size))
        said = await guest.said()
        if size <= 64 * KIB:
            assert said.startswith(b"HTTP/1.1 400 ") and b"begins with initialize" in said
        else:
            assert said.startswith(b"HTTP/1.1 413 ") and b"; before initialize the most is 65536" in said


async def test_a_large_request_without_a_session_passes() -> None:
    """Of 2026-07-28 every request comes so: two at a time, each as large as may be."""
    async with relay(ROOM) as there:
        body = ask(1, fill="x" * (2 * MIB - 1000))
        assert MODERN.encode() in body
        guests = [await there.open("http") for _ in range(2)]
        for guest in guests:
            guest.writer.write(post(body, MODERN_HEADERS))
        async with asyncio.timeout(10):
            endpoint = await anext(aiter(there.http))
            sizes: list[int] = []
            while len(sizes) < 2:
                sizes += [len(frame.raw) for frame in await endpoint.receive()]
        assert sizes == [len(body)] * 2


@pytest.mark.parametrize("door", ["tcp", "unix"])
async def test_what_a_refused_stranger_sent_is_let_go_of_at_once(door: str) -> None:
    """Not when the garbage collector comes by: reader, endpoint and callbacks hold each other."""
    gc.collect()
    gc.disable()
    try:
        async with relay(Limits(close_grace=0.2, handshake=0.3)) as there:
            tracemalloc.start()
            guests = [await there.open(door) for _ in range(4)]
            for guest in guests:
                guest.writer.write(b'{"x":"' + b"x" * MIB)
            async with asyncio.timeout(10):
                for guest in guests:
                    with contextlib.suppress(ConnectionError):
                        assert await guest.reader.read() == b""
            here, most = tracemalloc.get_traced_memory()
            assert most > 4 * MIB
            assert here < 2 * MIB, f"{here / MIB:.1f} MiB"
    finally:
        tracemalloc.stop()
        gc.enable()
