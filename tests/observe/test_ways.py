"""By every way, the hub of a server hears the same life of the same requests."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from time import monotonic

import pytest

import relay
from relay.app.run.offer import Offer
from relay.app.run.targets import RemoteTarget, Target
from relay.app.settings import ServeSettings, Share
from relay.endpoints.base import Endpoint
from relay.endpoints.core.dialling import DiallingOptions
from relay.endpoints.http.listening import ListeningOptions
from relay.endpoints.http.server.listener import HttpListener
from relay.endpoints.socket.listener import TcpListener, UnixListener
from relay.endpoints.stdio.listener import StdioListener
from relay.endpoints.stdio.own_stdio import OwnStdio
from relay.frames import replies
from relay.frames.frame import Frame
from relay.frames.head import Kind
from relay.observe.hub import Hub
from relay.observe.requests import Request
from tests.e2e.oracle import VERSION, initialize, notification, request
from tests.endpoints.http.modern_house import ask

LIMITS = relay.Limits(cancel_grace=0.05, close_grace=0.5, linger=0.5, answer_wait=5)
OPTIONS = ListeningOptions(limits=LIMITS)
WAIT = 10


class Server:
    """A target whose endpoints answer in this process, as a tool's name says."""

    name = "server"

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self._group = group
        self._sides: list[Endpoint] = []
        self.silent = asyncio.Semaphore(0)
        """Counts the requests that have come and get no answer."""

    def endpoint(self, *, is_shared: bool = False) -> Endpoint:
        near, far = relay.memory_pair()
        self._sides.append(near)
        self._group.create_task(self._serve(near))
        return far

    async def _serve(self, side: Endpoint) -> None:
        while frames := await side.receive():
            for frame in frames:
                if frame.head.kind is not Kind.REQUEST:
                    continue
                if (answer := _answer(frame)) is not None:
                    await side.send([answer])
                else:
                    self.silent.release()

    async def die(self) -> None:
        for side in self._sides:
            await side.aclose()

    def forget(self, endpoint: Endpoint) -> None:
        """Keep nothing."""

    def status(self) -> dict[str, object]:
        return {}

    aclose = die


def _answer(frame: Frame) -> Frame | None:
    asked = json.loads(frame.raw)
    if asked["method"] == "initialize":
        said: dict[str, object] = {"result": {"protocolVersion": VERSION, "capabilities": {}}}
    elif asked["method"] != "tools/call":
        return replies.error(frame.head.id, replies.METHOD_NOT_FOUND, "no such method")
    elif asked["params"]["name"] == "fine":
        said = {"result": {}}
    elif asked["params"]["name"] == "wrong":
        said = {"error": {"code": -32602, "message": "no"}}
    else:
        return None
    return Frame(json.dumps({"jsonrpc": "2.0", "id": asked["id"], **said}).encode())


class Lives:
    """Hears of requests, and wakes who waits for what it hears."""

    def __init__(self) -> None:
        self.opened: list[str | None] = []
        self.ended: list[tuple[str | None, str | None]] = []
        self._is_told = asyncio.Event()

    def request_opened(self, request: Request) -> None:
        self.opened.append(request.method)
        self._is_told.set()

    def request_cancelled(self, request: Request) -> None:
        """It ends later."""

    def request_ended(self, request: Request) -> None:
        self.ended.append((request.method, request.ending))
        self._is_told.set()

    async def until(self, is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(WAIT):
            while not is_so():
                self._is_told.clear()
                await self._is_told.wait()


async def _http(offer: Offer) -> HttpListener:
    listener = HttpListener(options=OPTIONS, per_request=offer.per_request, server=offer.dial, hub=offer.hub)
    await listener.start()
    offer.accept(listener, looks_after=True)
    return listener


@contextlib.asynccontextmanager
async def _client(way: str, offer: Offer, folder: Path) -> AsyncIterator[Endpoint]:
    """Yield a client of the offer by one way."""
    listener: HttpListener | TcpListener | UnixListener | StdioListener
    if way == "stdio":
        (there, into), (back, out) = os.pipe(), os.pipe()
        listener = StdioListener(await OwnStdio.open(limits=LIMITS, stdin=there, stdout=out))
        client: Endpoint = await OwnStdio.open(limits=LIMITS, stdin=back, stdout=into)
        for descriptor in (there, into, back, out):
            os.close(descriptor)
    elif way == "tcp":
        listener = tcp = TcpListener(options=OPTIONS, clients=offer.connections)
        await tcp.start()
        client = relay.connect(tcp.url, limits=LIMITS)
    elif way == "unix":
        listener = unix = UnixListener(str(folder / "socket"), OPTIONS, clients=offer.connections)
        await unix.start()
        client = relay.connect(unix.url, limits=LIMITS)
    else:
        listener = http = await _http(offer)
        url = {"ws": http.url.replace("http:", "ws:"), "sse": f"{http.base_url}/sse"}.get(way, http.url)
        client = relay.connect(url, limits=LIMITS, transport="sse" if way == "sse" else "auto")
    if not isinstance(listener, HttpListener):
        offer.accept(listener, looks_after=False)
    try:
        yield client
    finally:
        await client.aclose()
        await listener.aclose()


async def _answered(client: Endpoint, *frames: bytes) -> None:
    """Send frames, the last of which is a request; wait for its answer."""
    await client.send([Frame(frame) for frame in frames])
    async with asyncio.timeout(WAIT):
        while not any(frame.head.kind is Kind.RESPONSE for frame in await client.receive()):
            pass


async def _reached(server: Server) -> None:
    async with asyncio.timeout(WAIT):
        await server.silent.acquire()


async def _talk(client: Endpoint, lives: Lives, server: Server, hub: Hub) -> None:
    """Ask for an answer and for an error; cancel a request; lose the server of another."""
    await _answered(client, initialize(VERSION, 1))
    await _answered(client, notification("notifications/initialized"), request(2, "tools/call", name="fine"))
    await _answered(client, request(3, "tools/call", name="wrong"))
    assert hub.in_flight == 0
    await client.send([Frame(request(4, "tools/call", name="silent"))])
    await _reached(server)
    assert hub.in_flight == 1
    await client.send([Frame(notification("notifications/cancelled", requestId=4))])
    await lives.until(lambda: len(lives.ended) == 4)
    await client.send([Frame(request(5, "tools/call", name="silent"))])
    await _reached(server)
    before = hub.last_used
    assert 0 < before <= monotonic()
    await server.die()
    await lives.until(lambda: len(lives.ended) == 5)
    assert hub.in_flight == 0 and hub.last_used >= before


LIFE = [
    ("initialize", "answered"), ("tools/call", "answered"), ("tools/call", "answered"), ("tools/call", "cancelled"),
    ("tools/call", "failed"),
]  # fmt: skip


@contextlib.asynccontextmanager
async def _offered(target: Target, share: Share | None = None) -> AsyncIterator[Offer]:
    offer = Offer(target, ServeSettings(command=(), name="server", env={}, listening=OPTIONS, share=share))
    try:
        yield offer
    finally:
        await offer.aclose()
        await target.aclose()


@pytest.mark.parametrize("share", [None, "shared"])
@pytest.mark.parametrize("way", ["http", "sse", "ws", "tcp", "unix", "stdio"])
async def test_a_session_by_each_way(way: str, share: Share | None, tmp_path: Path) -> None:
    """Each request is opened once and ends once; what is in flight, and the last use, are read from the hub."""
    lives = Lives()
    async with asyncio.TaskGroup() as group:
        server = Server(group)
        async with _offered(server, share) as offer:
            offer.hub.subscribe("it", requests=lives)
            async with _client(way, offer, tmp_path) as client:
                await _talk(client, lives, server, offer.hub)
    assert lives.opened == [method for method, _ in LIFE]
    assert lives.ended == LIFE


async def test_http_to_http(tmp_path: Path) -> None:
    """Without a session in the relay; the server's relay answers for the server that died."""
    lives = Lives()
    async with asyncio.TaskGroup() as group:
        server = Server(group)
        async with _offered(server) as far:
            there = await _http(far)
            async with _offered(RemoteTarget(there.url, DiallingOptions(limits=LIMITS))) as offer:
                offer.hub.subscribe("it", requests=lives)
                async with _client("http", offer, tmp_path) as client:
                    await _talk(client, lives, server, offer.hub)
            await there.aclose()
    assert lives.opened == [method for method, _ in LIFE]
    assert lives.ended == LIFE


@pytest.mark.parametrize("share", [None, "request"])
@pytest.mark.parametrize("is_through", [False, True], ids=["here", "through"])
async def test_requests_of_2026_07_28(share: Share | None, is_through: bool, tmp_path: Path) -> None:
    """A client that leaves has cancelled; there is no handshake."""
    lives = Lives()
    async with asyncio.TaskGroup() as group, contextlib.AsyncExitStack() as stack:
        server = Server(group)
        offer = await stack.enter_async_context(_offered(server, share))
        if is_through:
            there = await _http(offer)
            stack.push_async_callback(there.aclose)
            offer = await stack.enter_async_context(_offered(RemoteTarget(there.url, DiallingOptions(limits=LIMITS))))
        client = await stack.enter_async_context(_client("http", offer, tmp_path))
        await _answered(client, ask(0, "tools/call", name="fine"))  # the relay has asked what it wants to know
        offer.hub.subscribe("it", requests=lives)
        await _answered(client, ask(1, "tools/call", name="fine"))
        await _answered(client, ask(2, "tools/call", name="wrong"))
        await client.send([Frame(ask(3, "tools/call", name="silent"))])
        await _reached(server)
        assert offer.hub.in_flight == 1
        await client.send([Frame(notification("notifications/cancelled", requestId=3))])
        await lives.until(lambda: len(lives.ended) == 3)
        await client.send([Frame(ask(4, "tools/call", name="silent"))])
        await _reached(server)
        await server.die()
        await lives.until(lambda: len(lives.ended) == 4)
        assert offer.hub.in_flight == 0
    assert lives.ended == LIFE[1:]
