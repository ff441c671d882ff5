"""``--shared-idle``: a shared server ends after its last client has left."""

from __future__ import annotations

import asyncio
import json
import shlex
from collections.abc import Awaitable, Callable

import aiohttp
import pytest

from tests.e2e.oracle import Client, Relay, initialize, request, run_relay, run_words, stdio_server
from tests.e2e.test_sharing import META, ModernClient

pytestmark = pytest.mark.only_loop("uvloop")

JSON = {"content-type": "application/json"}
LISTEN = ["--listen", "http://127.0.0.1:0", "--listen", "tcp://127.0.0.1:0"]


async def _children(base: str, server: str, count: int) -> None:
    async with Client(base) as client, asyncio.timeout(20):
        while (await client.status())["servers"][server]["children"] != count:
            await asyncio.sleep(0.02)


async def _by_http(relay: Relay) -> None:
    """Come by Streamable HTTP and leave."""
    async with Client(relay.base) as client:
        await client.begin()
        await _children(relay.base, "default", 1)
        assert await client.end() == 200


async def _by_line(relay: Relay) -> None:
    """Come by TCP and leave."""
    (address,) = (line.rpartition("tcp://")[2] for line in relay.said if "listening on tcp://" in line)
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(initialize() + b"\n")
    assert b'"result"' in await reader.readline()
    await _children(relay.base, "default", 1)
    writer.close()
    await writer.wait_closed()


async def _by_sse(relay: Relay) -> None:
    """Come by HTTP+SSE and leave, by closing the stream."""
    async with aiohttp.ClientSession() as http, http.get(relay.base + "/sse") as stream:
        await stream.content.readline()
        where = (await stream.content.readline()).decode().removeprefix("data: ").strip()
        async with http.post(relay.base + where, data=initialize(), headers=JSON) as posted:
            assert posted.status == 202
        await _children(relay.base, "default", 1)


async def _by_websocket(relay: Relay) -> None:
    """Come by WebSocket and leave."""
    async with aiohttp.ClientSession() as http, http.ws_connect(relay.base + "/mcp") as socket:
        await socket.send_str(initialize().decode())
        assert '"result"' in (await socket.receive_str())
        await _children(relay.base, "default", 1)


@pytest.mark.parametrize("come_and_leave", [_by_http, _by_sse, _by_websocket, _by_line])
async def test_a_shared_server_ends_when_its_last_client_has_left(
    come_and_leave: Callable[[Relay], Awaitable[None]],
) -> None:
    """By whichever way that came; the next client has a new one. It was kept for ever."""
    with run_relay("--share", "shared", "--shared-idle", "0.3", *LISTEN) as relay:
        for started in (1, 2):
            await come_and_leave(relay)
            await _children(relay.base, "default", 0)
            async with Client(relay.base) as client:
                assert (await client.status())["servers"]["default"]["started"] == started


async def test_a_shared_server_with_a_name_ends_too() -> None:
    """An offer of its own."""
    words = ["--share", "shared", "--shared-idle", "0.3", "--named-server", "server", shlex.join(stdio_server())]
    with run_words(*words) as relay:
        base = relay.base.partition("/servers/")[0]
        async with aiohttp.ClientSession(
            base, headers={**JSON, "accept": "application/json, text/event-stream"}
        ) as http:
            async with http.post("/servers/server/mcp", data=initialize()) as answer:
                session = {"mcp-session-id": answer.headers["mcp-session-id"]}
            await _children(base, "server", 1)
            async with http.delete("/servers/server/mcp", headers=session) as answer:
                assert answer.status == 200
        await _children(base, "server", 0)


@pytest.mark.parametrize("era", ["modern", "stateless"])
async def test_a_server_of_clients_without_sessions_ends_after_their_last_request(era: str) -> None:
    """They leave without a word: by default after --session-idle, or as --shared-idle says."""
    words = ["--stateless"] if era == "stateless" else []
    for option in ("--shared-idle", "--session-idle"):
        with run_relay(*words, option, "0.5") as relay:
            async with Client(relay.base) as client:
                client = ModernClient(relay.base) if era == "modern" else client
                meta = META if era == "modern" else {}
                (answer,) = await client.call(request(1, "pid", _meta=meta))
                assert "result" in json.loads(answer)
                await _children(relay.base, "default", 0)
                (again,) = await client.call(request(2, "pid", _meta=meta))
                assert json.loads(again)["result"]["pid"] != json.loads(answer)["result"]["pid"]
                client.close()
