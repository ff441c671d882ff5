"""`relay.shared(…)`: many clients, one server."""

from __future__ import annotations

import asyncio
import json
import sys

import pytest

import relay
from relay.app.run.sharing import Shared

# Says who it is, and which id it sees.
SERVER = """
import json, os, sys
for line in sys.stdin:
    asked = json.loads(line)
    if "id" in asked:
        result = {"protocolVersion": "2025-11-25", "pid": os.getpid(), "seen": asked["id"], "said": asked.get("params")}
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}), flush=True)
"""
COMMAND = [sys.executable, "-S", "-c", SERVER]
QUICK = relay.Limits(close_grace=0.5, linger=0.5)


def initialize(number: int) -> relay.Frame:
    return relay.Frame(
        b'{"jsonrpc":"2.0","id":%d,"method":"initialize","params":{"protocolVersion":"2025-11-25"}}' % number
    )


class Client:
    """One client of a shared server, piped to its share."""

    def __init__(self, server: Shared, group: asyncio.TaskGroup) -> None:
        self.near, far = relay.memory_pair()
        self.piping = group.create_task(relay.pipe(far, server.session(far), limits=QUICK))

    async def ask(self, frame: relay.Frame) -> dict[str, object]:
        await self.near.send([frame])
        (answer,) = await self.near.receive()
        assert answer.head.id == frame.head.id
        result: dict[str, object] = json.loads(answer.raw)["result"]
        return result

    async def aclose(self) -> None:
        await self.near.aclose()
        await self.piping


async def test_clients_with_the_same_ids_share_one_process() -> None:
    """Each gets its own answer under its own id; the server has seen different ones; one that leaves hurts nobody."""
    server = relay.shared(COMMAND, limits=QUICK)
    async with asyncio.TaskGroup() as group:
        clients = [Client(server, group) for _ in range(5)]
        pids = {(await client.ask(initialize(7)))["pid"] for client in clients}
        assert len(pids) == 1
        calls = [
            relay.Frame(b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"mine":%d}}' % number)
            for number in range(5)
        ]
        answers = await asyncio.gather(*(client.ask(call) for client, call in zip(clients, calls, strict=True)))
        assert [answer["said"] for answer in answers] == [{"mine": number} for number in range(5)]
        assert len({answer["seen"] for answer in answers}) == 5
        await clients[0].aclose()
        assert (await clients[1].ask(calls[1]))["pid"] in pids
        for client in clients[1:]:
            await client.aclose()
        await server.aclose()


async def test_closing_the_server_ends_its_clients() -> None:
    """An open request gets its error; no new session can be had; closing twice is no harm."""
    server = relay.shared(lambda: relay.connect(COMMAND, limits=QUICK), limits=QUICK)
    async with asyncio.TaskGroup() as group:
        client = Client(server, group)
        await client.ask(initialize(1))
        await server.aclose()
        await server.aclose()
        assert await client.near.receive() == ()
        with pytest.raises(relay.RelayError, match="was closed"):
            server.session()
        await client.aclose()


async def test_a_server_that_ends_is_begun_anew_for_the_next_client() -> None:
    """Its clients get errors; the next `initialize` starts another."""
    server = relay.shared(
        [
            sys.executable,
            "-S",
            "-c",
            SERVER.replace("flush=True)", "flush=True)\n        if asked['method'] == 'end': break"),
        ],
        limits=QUICK,
    )
    async with asyncio.TaskGroup() as group:
        first = Client(server, group)
        pid = (await first.ask(initialize(1)))["pid"]
        await first.ask(relay.Frame(b'{"jsonrpc":"2.0","id":2,"method":"end"}'))
        assert await first.near.receive() == ()
        second = Client(server, group)
        assert (await second.ask(initialize(1)))["pid"] != pid
        for client in (first, second):
            await client.aclose()
        await server.aclose()


async def test_over_http_sessions_and_clients_of_2026_07_28() -> None:
    """Sessions share one process; the clients that have no session share another, in one endpoint."""
    server = relay.shared(COMMAND, limits=QUICK)
    listener = await relay.listen(limits=QUICK)

    async def serve(group: asyncio.TaskGroup) -> None:
        async for client in listener:
            group.create_task(relay.pipe(client, server.session(client), limits=QUICK))

    async with asyncio.TaskGroup() as group:
        serving = group.create_task(serve(group))
        pids = []
        for _ in range(2):
            client = relay.connect(listener.url, limits=QUICK)
            await client.send([initialize(1)])
            pids.append(json.loads((await client.receive())[0].raw)["result"]["pid"])
            await client.aclose()
        for _ in range(2):
            client = relay.connect(listener.url, limits=QUICK)
            await client.send([MODERN])
            pids.append(json.loads((await client.receive())[0].raw)["result"]["pid"])
            await client.aclose()
        await listener.aclose()
        await serving
        await server.aclose()
    assert pids[0] == pids[1] != pids[2] == pids[3]


MODERN = relay.Frame(
    b'{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{'
    b'"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},'
    b'"io.modelcontextprotocol/clientInfo":{"name":"t","version":"1"}}}}'
)


def test_a_target_that_is_none() -> None:
    """Found at once."""
    with pytest.raises(relay.RelayError, match="cannot connect to"):
        relay.shared("server")


@pytest.mark.parametrize("kind", ["connect", "fallback", "balance"])
async def test_an_endpoint_is_the_one_server(kind: str) -> None:
    """It serves every client of one version; another version would need another, and hears that."""
    balancer = relay.balance(COMMAND, limits=QUICK)
    made = {
        "connect": lambda: relay.connect(COMMAND, limits=QUICK),
        "fallback": lambda: relay.fallback(["/no/such/program"], COMMAND, limits=QUICK),
        "balance": balancer.session,
    }
    server = relay.shared(made[kind](), limits=QUICK)
    async with asyncio.TaskGroup() as group:
        clients = [Client(server, group) for _ in range(3)]
        assert len({(await client.ask(initialize(7)))["pid"] for client in clients[:2]}) == 1
        await clients[2].near.send([relay.Frame(initialize(1).raw.replace(b"2025-11-25", b"2025-03-26"))])
        (answer,) = await clients[2].near.receive()
        error = json.loads(answer.raw)["error"]
        assert (error["code"], error["data"]) == (-32006, {"delivered": "no"})
        assert "relay.shared(lambda: …)" in error["message"]
        for client in clients:
            await client.aclose()
        await server.aclose()
    await balancer.aclose()


async def test_an_endpoint_that_nobody_used_is_closed() -> None:
    """With the server."""
    near, far = relay.memory_pair()
    await relay.shared(near).aclose()
    assert await far.receive() == ()
