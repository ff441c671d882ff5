"""An operator sees forwarded requests: every message, a fault and its end, the last use, and streams."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.e2e.fault_server import Exchange, Script, note
from tests.e2e.oracle import Client, Relay, request, run_words, stdio_server
from tests.e2e.test_hop import behind

pytestmark = pytest.mark.only_loop("asyncio")  # the relay is a process: its loop is uvloop's

WAIT = 15.0


class Odd(Script):
    """Breaks off, or answers by a stream, if the method says so."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on = asyncio.Event()

    async def call(self, exchange: Exchange) -> None:
        method = exchange.message["method"]
        if method == "x/break":
            exchange.cut()
        elif method == "x/stream":
            await exchange.open_stream()
            await exchange.event(note("notifications/message", level="info", data="amid"))
            await self.go_on.wait()
            await exchange.event({"jsonrpc": "2.0", "id": exchange.message["id"], "result": {}})
            await exchange.end()
        elif method == "x/fail":
            await exchange.reply(503, b"busy", kind="text/plain")
        else:
            await exchange.result()


async def until(holds: Callable[[], bool]) -> None:
    """Wait for something that happens in the other process, and of which nothing tells."""
    async with asyncio.timeout(WAIT):
        while not holds():
            await asyncio.sleep(0.01)


async def warm(client: Client) -> None:
    """Have several connections kept, so that what follows goes over one of them."""
    for turn in range(4):
        await asyncio.gather(*(client.call(request(f"warm {turn} {each}", "x/echo")) for each in range(4)))


async def state_of(client: Client) -> dict[str, Any]:
    state = (await client.status())["servers"]["default"]
    assert isinstance(state, dict)
    return state


def shown(relay: Relay, what: str) -> list[str]:
    """Return from whom to whom a message was shown."""
    found = [line for line in relay.said if what in line]
    return [re.sub(r'.* DEBUG (.*?) > (.*?): \{".*', r"\1 > \2", line) for line in found]


async def test_debug_shows_each_message_once() -> None:
    """By aiohttp's session, over kept connections and on streams: what comes and what goes back."""
    async with behind(Odd(), "--debug") as (client, server, relay):
        await warm(client)
        await client.call(request("kept", "x/echo"))
        script = server.script
        assert isinstance(script, Odd)
        script.go_on.set()
        await client.call(request("streamed", "x/stream"))
        with pytest.raises(AssertionError):
            await client.call(request("failed", "x/fail"))
        await until(lambda: len(shown(relay, '"failed"')) == 2)
        for name in ("warm 0 0", "warm 3 3", "kept", "streamed", "failed"):
            there, back = shown(relay, f'"{name}"')
            assert re.fullmatch(r"session [0-9a-f]{8} > http:\S+", there), there
            assert back == " > ".join(reversed(there.split(" > ")))
        assert len(shown(relay, '"amid"')) == 1
        assert client.session is not None and not any(client.session in line for line in relay.said)


@pytest.mark.parametrize("how", ["x/break", "x/fail"])
async def test_status_says_that_a_server_fails_until_it_answers_again(how: str) -> None:
    """The next answer is the end of the fault, whichever way it came."""
    async with behind(Odd()) as (client, _, _):
        await warm(client)
        assert (await state_of(client))["state"] != "failing"
        with pytest.raises(AssertionError):
            await client.call(request("broken", how))
        state = await state_of(client)
        assert state["state"] == "failing" and state["last_error"]
        await client.call(request("again", "x/echo"))
        state = await state_of(client)
        assert state["state"] != "failing" and state["last_error"] is None


async def test_status_says_when_a_request_was_handed_on_last() -> None:
    """One over a kept connection counts as any other; to ask for the status does not."""
    async with behind(Odd()) as (client, _, _):
        await warm(client)
        await asyncio.sleep(0.05)
        before = datetime.now(UTC)
        assert datetime.fromisoformat((await client.status())["api_last_activity"]) < before
        await client.call(request("late", "x/echo"))
        assert datetime.fromisoformat((await client.status())["api_last_activity"]) >= before


async def test_status_counts_streams_that_pass() -> None:
    """While one is open it is an active SSE connection."""
    async with behind(Odd()) as (client, server, relay):
        script = server.script
        assert isinstance(script, Odd)
        calling = asyncio.get_running_loop().create_task(client.call(request("streamed", "x/stream")))
        async with Client(relay.base) as other:
            async with asyncio.timeout(WAIT):
                while (await other.status())["active_sse_connections"] != 1:
                    await asyncio.sleep(0.01)
                script.go_on.set()
                await calling
                while (await other.status())["active_sse_connections"]:
                    await asyncio.sleep(0.01)


async def test_use_by_tcp_counts() -> None:
    """A client of a connection uses the server as one of HTTP does, after it has begun, too; and when it has gone."""
    words = ("--listen", "http://127.0.0.1:0/mcp", "--listen", "tcp://127.0.0.1:0", "--", *stdio_server())
    with run_words(*words) as relay:
        await until(lambda: any("listening on tcp://" in line for line in relay.said))
        address = next(line for line in relay.said if "listening on tcp://" in line).rpartition(":")[2]
        reader, writer = await asyncio.open_connection("127.0.0.1", int(address))
        async with Client(relay.base) as client:
            for number in range(2):
                await asyncio.sleep(0.05)
                before = datetime.now(UTC)
                assert datetime.fromisoformat((await client.status())["api_last_activity"]) < before
                writer.write(request(number, "ping") + b"\n")
                assert json.loads(await reader.readline())["id"] == number
                assert datetime.fromisoformat((await client.status())["api_last_activity"]) >= before
            last = datetime.fromisoformat((await client.status())["api_last_activity"])
            writer.close()
            while (await client.status())["servers"]["default"]["sessions"]:
                await asyncio.sleep(0.01)
            # It is reckoned back from now each time, by another clock.
            now = datetime.fromisoformat((await client.status())["api_last_activity"])
            assert abs(now - last) < timedelta(seconds=0.02)
