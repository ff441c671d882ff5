"""`mcp-relay URL` with answers of the largest size, and with a client that does not read."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.e2e.conversation import INITIALIZE, INITIALIZED, Message, Program, note, request
from tests.e2e.fault_server import Exchange, FaultServer, Script, Sized, SseScript

LIMIT = 64 * 2**20


@pytest.mark.async_timeout(60)
@pytest.mark.only_loop("uvloop")
@pytest.mark.parametrize("how", ["json", "sse", "get-sse"])
async def test_64_mib(how: str) -> None:
    """An answer of 64 MiB passes; one byte more fails its own request, while a call beside it is answered."""
    script = Sized()
    async with FaultServer.running(script) as server, Program.running(server.url) as program:
        await program.handshake()
        await server.until(lambda: script.listener)
        assert "result" in await program.call("at", size=LIMIT, how=how)
        assert len(program.lines[-1]) == LIMIT
        await program.send(request("beyond", size=LIMIT + 1, how=how), request("beside", size=100, how="json"))
        assert "result" in await program.answer("beside")
        answer = await program.answer("beyond")
        assert answer["error"]["code"] == -32003
        assert answer["error"]["data"] == {"delivered": "unknown"}
        assert "result" in await program.call("after", size=1000, how=how)


def resident(pid: int) -> int:
    """Return a process's resident memory in bytes."""
    pages = Path(f"/proc/{pid}/statm").read_text().split()[1]
    return int(pages) * 4096


@pytest.mark.async_timeout(60)
@pytest.mark.only_loop("uvloop")
@pytest.mark.parametrize("transport", ["http", "sse"])
async def test_client_that_does_not_read(transport: str) -> None:
    """A client that leaves its pipe unread holds the server's stream back: memory stays, and nothing is lost after."""
    notices, size = 2000, 100_000
    sent = 0

    async def flood(stream: Exchange) -> None:
        nonlocal sent
        for at in range(notices):
            await stream.event(note("notifications/message", at=at, fill="x" * size))
            sent += 1

    class Flooding(Script):
        async def get(self, exchange: Exchange) -> None:
            await exchange.open_stream()
            await flood(exchange)
            await exchange.hold()

    class FloodingSse(SseScript):
        async def call(self, exchange: Exchange) -> None:
            await flood(self.stream(exchange))
            await super().call(exchange)

    script = Flooding() if transport == "http" else FloodingSse()
    async with FaultServer.running(script) as server, Program.running(server.url, reads=False) as program:
        await program.write([json.dumps(one).encode() for one in _opening(transport)])
        await server.until(lambda: sent > 0 or "tools/call" in server.methods() or "GET" in server.methods())
        before = -1
        while before != sent or not sent:  # until nothing moves any more
            before = sent
            await asyncio.sleep(0.5)
        assert sent < notices // 2
        assert resident(program.process.pid) < 130 * 2**20
        program.read()
        await program.until(lambda: len(program.others) == notices, seconds=40)
        assert [one["params"]["at"] for one in program.others] == list(range(notices))
        program.asked += [one["id"] for one in _opening(transport) if "id" in one]


def _opening(transport: str) -> list[Message]:
    return [INITIALIZE, INITIALIZED, *([request(1)] if transport == "sse" else [])]
