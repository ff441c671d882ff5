"""`mcp-relay URL` between the clients and the servers of both eras that the SDKs 2.x make."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

import pytest

from tests import peers
from tests.e2e.conversation import Program, note, request
from tests.e2e.modern_sdks import Servers, program, run

VERSION = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": VERSION,
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


@pytest.fixture(scope="module")
def installed() -> None:
    """Install the SDKs, once."""
    peers.install("py1", "py2", "node", "ts2")


@pytest.fixture(scope="module")
def servers(installed: None) -> Iterator[Servers]:
    with contextlib.ExitStack() as things:
        yield Servers(things)


@pytest.fixture
def url(request: pytest.FixtureRequest, servers: Servers) -> str:
    """Where the server of this test is, which runs before the test begins."""
    parameters = request.node.callspec.params
    return servers.url(parameters["server"], parameters.get("transport"))


LOOPS = ("asyncio", "uvloop")
LISTED = ["cancelled", "change", "echo", "grüße", "region", "slow"]


@pytest.mark.async_timeout(60)
@pytest.mark.only_loop("asyncio")  # the client is told of the relay's
@pytest.mark.parametrize("server", ["py2", "ts2"])
@pytest.mark.parametrize("client", ["py2", "ts2"])
async def test_a_dual_era_client_speaks_the_new_era(client: str, server: str, url: str) -> None:
    """Discovery, mirrored headers, an invalid tool left out, cancellation, two subscriptions at once."""
    every, err = await run(program("client", client), "auto", url, *LOOPS)
    for seen in every:
        assert seen == {
            "version": VERSION,
            "echo": "né\u2028",
            "tools": LISTED,
            "unicode": "x",
            "region": " é 42",
            "cancelled": "1",
            "events": seen["events"],
            "many": [str(number) for number in range(50)],
        }
        assert seen["events"] in (2, ["ToolsListChanged"] * 2)
    left_out = err.count("dropped the tool 'invalid'")
    assert left_out >= len(LOOPS) if server == "py2" else left_out == 0


@pytest.mark.async_timeout(60)
@pytest.mark.only_loop("asyncio")  # the client is told of the relay's
@pytest.mark.parametrize("server", ["py2", "ts2"])
@pytest.mark.parametrize("client", ["py2", "ts2"])
async def test_a_legacy_client_of_a_dual_era_server_works(client: str, server: str, url: str) -> None:
    """By the handshake; no tool is left out in that era, and its own way of cancelling holds."""
    every, _ = await run(program("client", client), "legacy", url, *LOOPS)
    for seen in every:
        assert seen["version"] == "2025-11-25"
        assert seen["region"] == " é 42"
        assert ("invalid" in seen["tools"]) == (server == "py2")
        assert seen["many"] == [str(number) for number in range(50)]


@pytest.mark.async_timeout(60)
@pytest.mark.only_loop("asyncio")  # as above
@pytest.mark.parametrize(("server", "transport"), [("py1", "http"), ("ts", "http"), ("ts", "sse"), ("py2", "sse")])
@pytest.mark.parametrize("client", ["py2", "ts2"])
async def test_a_dual_era_client_of_a_legacy_server_works(client: str, transport: str, server: str, url: str) -> None:
    """It finds out by itself, over Streamable HTTP with sessions and over HTTP+SSE."""
    every, _ = await run(program("client", client), "auto", url, *LOOPS)
    for seen in every:
        assert seen["version"] == "2025-11-25"
        assert seen["echo"] == "né\u2028"
        assert seen["many"] == [str(number) for number in range(50)]


def modern(request_id: object, method: str = "tools/call", **params: object) -> dict[str, Any]:
    """Make a request of 2026-07-28."""
    return request(request_id, method, _meta=META, **params)


@pytest.mark.async_timeout(60)
@pytest.mark.parametrize("server", ["py2", "ts2"])
async def test_errors_of_a_modern_server_are_the_answers(server: str, url: str, loop_name: str) -> None:
    """400 and 404 with a JSON-RPC error, by hand: unknown method, unsupported version, stale schemas mended."""
    async with Program.running(url, loop=loop_name) as relay:
        await relay.send(modern("discover", "server/discover"))
        assert VERSION in (await relay.answer("discover"))["result"]["supportedVersions"]
        await relay.send(modern("method", "no/such"))
        assert (await relay.answer("method"))["error"]["code"] == -32601
        old = {**META, "io.modelcontextprotocol/protocolVersion": "1900-01-01"}
        await relay.send(request("version", "tools/list", _meta=old))
        refused = (await relay.answer("version"))["error"]
        assert refused["code"] == -32022
        assert VERSION in refused["data"]["supported"]
        await relay.send(modern("stale", name="region", arguments={"region": "eu", "zone": 1}))
        assert (await relay.answer("stale"))["error"]["code"] == -32020
        await relay.send(modern("list", "tools/list"))
        await relay.answer("list")
        await relay.send(modern("fresh", name="region", arguments={"region": "eu", "zone": 1}))
        assert (await relay.answer("fresh"))["result"]["content"][0]["text"] == "eu 1"


@pytest.mark.async_timeout(60)
@pytest.mark.parametrize("server", ["py2", "ts2"])
async def test_a_client_that_leaves_its_subscriptions_open(server: str, url: str, loop_name: str) -> None:
    """The program ends at once when its stdin does, and the subscriptions have their answers."""
    async with Program.running(url, loop=loop_name) as relay:
        await relay.send(
            *(modern(at, "subscriptions/listen", notifications={"toolsListChanged": True}) for at in range(3))
        )
        await relay.until(lambda: len(relay.others) == 3)
        ids = {one["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] for one in relay.others}
        assert ids == {0, 1, 2}
        relay.asked.remove(1)  # nothing is answered to what is cancelled
        await relay.send(note("notifications/cancelled", requestId=1))
        await relay.send(modern("change", name="change", arguments={}))
        await relay.until(lambda: len(relay.others) == 5)
        relay.eof()
        async with asyncio.timeout(10):
            assert await relay.ended() == 0
