"""Kept connections: how long one may be idle is the server's to say, on every way by HTTP."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from relay.endpoints.http.client.kept import KEEP_IDLE, read_hint
from tests.e2e.conversation import Direct
from tests.e2e.fault_server import Exchange, FaultServer, Script, result
from tests.e2e.oracle import request
from tests.endpoints.http.through.test_pass_through import hop


@pytest.mark.parametrize(
    ("value", "idle", "left"),
    [
        ("timeout=1", 0.5, None),
        ("timeout=2, max=100", 1.5, 99),
        ("max=1, timeout=5", 4.0, 0),
        ("timeout=60", KEEP_IDLE, None),
        ("timeout=0", 0.0, None),
        ('Timeout = "3"', 2.4, None),
        ("max=0", KEEP_IDLE, 0),
        ("timeout=x", KEEP_IDLE, None),
        ("xtimeout=1", KEEP_IDLE, None),
        ("", KEEP_IDLE, None),
    ],
)
def test_hint_is_read_less_a_margin(value: str, idle: float, left: int | None) -> None:
    """Half a second less, or a fifth; ``max`` as what leaves the fewest requests; what says nothing changes nothing."""
    found, requests = read_hint(value)
    assert (round(found, 6), requests) == (idle, left)


class Hinting(Script):
    """Says how long it keeps connections, and cuts those that are used later, or more often, than it said."""

    def __init__(self, hint: str, idle: float = 60.0, most: int = 10**6) -> None:
        super().__init__()
        self.hint, self.idle, self.most = hint, idle, most
        self.last: dict[int, float] = {}
        self.counts: dict[int, int] = {}

    async def post(self, exchange: Exchange) -> None:
        asks = exchange.message.get("method") in ("ping", "tools/call")
        await (self.call(exchange) if asks else super().post(exchange))

    async def call(self, exchange: Exchange) -> None:
        connection, now = exchange.request.connection, asyncio.get_running_loop().time()
        self.counts[connection] = count = self.counts.get(connection, 0) + 1
        if now - self.last.get(connection, now) > self.idle or count > self.most:
            exchange.cut()
            return
        headers = {"Keep-Alive": self.hint.replace("LEFT", str(self.most - count)), "Connection": "keep-alive"}
        await exchange.json(result(exchange.message), headers=headers)
        self.last[connection] = asyncio.get_running_loop().time()


@contextlib.asynccontextmanager
async def _calling(way: str, server: FaultServer, warm: int = 4) -> AsyncIterator[Callable[[int], Awaitable[None]]]:
    """Yield what makes a call by one way; it returns a coroutine that fails if the call has no result."""
    async with contextlib.AsyncExitStack() as stack:
        if way == "http":
            client = await stack.enter_async_context(Direct.to(server.url))
            await client.handshake()
            for at in range(warm):
                await client.call(f"warm-up {at}", "ping")

            async def call(at: int) -> None:
                assert "result" in await client.call(at)
        else:
            opened = await stack.enter_async_context(hop(server.url))
            asking = opened.client(None)

            async def call(at: int) -> None:
                response = await asking.post(request(at, "tools/call"))
                assert response.status == 200, await response.body()
                await asking.finished(response)

        yield call


@pytest.mark.parametrize("way", ["http", "through"])
async def test_connection_is_not_used_when_its_server_may_close_it(way: str) -> None:
    """After ``timeout=1`` a connection that was idle for almost a second carries no further call."""
    script = Hinting("timeout=1", idle=0.7)
    async with FaultServer.running(script) as server, _calling(way, server) as call:
        for at in range(4):
            await call(at)
        await asyncio.sleep(0.8)
        await call(4)
        assert len(server.posted("tools/call")) == 5


class Impatient(Hinting):
    """Cuts a connection, too, whose first request comes later than it said."""

    def __init__(self, hint: str, idle: float) -> None:
        super().__init__(hint, idle)
        self.met: set[int] = set()

    async def answer(self, exchange: Exchange) -> None:
        connection = exchange.request.connection
        if connection not in self.met and asyncio.get_running_loop().time() - exchange.opened_at > self.idle:
            exchange.cut()
            return
        self.met.add(connection)
        await super().answer(exchange)


@pytest.mark.shortcuts
@pytest.mark.parametrize("way", ["http", "through"])
async def test_connection_that_was_opened_ahead_is_kept_no_longer(way: str) -> None:
    """What a server has said on one connection is true of another that has carried nothing yet."""
    async with FaultServer.running(Impatient("timeout=1", idle=0.7)) as server, _calling(way, server, warm=0) as call:
        at = 0
        while server.connections == len({one.connection for one in server.requests}):
            await call(at)  # which opens another in the background
            at += 1
        await asyncio.sleep(0.8)
        await call(at)


@pytest.mark.parametrize("way", ["http", "through"])
@pytest.mark.parametrize("hint", ["timeout=5, max=3", "timeout=5, max=LEFT", "max=LEFT"])
async def test_connection_carries_no_more_requests_than_its_server_takes(way: str, hint: str) -> None:
    """However a server counts ``max``, no call is lost, and connections are used more than once."""
    script = Hinting(hint, most=3)
    async with FaultServer.running(script) as server, _calling(way, server) as call:
        for at in range(12):
            await call(at)
        assert len(server.posted("tools/call")) == 12
        assert len({one.connection for one in server.posted("tools/call")}) < 12
