"""The gateway before servers that the official SDKs make, of both eras and of every transport."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from relay.mcp.revisions import MODERN_VERSION
from tests import peers
from tests.e2e.modern_sdks import Servers
from tests.gateway.house import TOKEN, gateway

pytestmark = pytest.mark.only_loop("uvloop")

HELLO = {
    "protocolVersion": "2025-11-25",
    "capabilities": {"sampling": {}},
    "clientInfo": {"name": "page", "version": "1"},
}
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN_VERSION,
    "io.modelcontextprotocol/clientInfo": {"name": "page", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    """Start each server once."""
    peers.install("py2", "node", "ws1")
    with contextlib.ExitStack() as things:
        yield Servers(things)


@pytest.fixture
def url(request: pytest.FixtureRequest, servers: Servers) -> str:
    """Where the server of this test is, which runs before the test begins."""
    parameters = request.node.callspec.params
    return servers.url(parameters["server"], parameters["transport"])


def text_of(answer: dict[str, Any]) -> str:
    """Return the text of a tool's result."""
    return str(answer["result"]["content"][0]["text"])


def echo(text: str) -> dict[str, object]:
    return {"name": "echo", "arguments": {"text": text}}


@pytest.mark.parametrize(("server", "transport"), [("py2", "http"), ("ts", "sse")])
async def test_calls_of_a_page(server: str, transport: str, url: str) -> None:
    """The tools, twenty calls at once under one id, progress on a stream, an error, and the page's own handshake."""
    async with gateway() as page:
        tools = [tool["name"] for tool in (await page.call(url, "tools/list"))["result"]["tools"]]
        assert "echo" in tools
        texts = [f"né\u2028{number}" for number in range(20)]
        answers = await asyncio.gather(*(page.call(url, "tools/call", echo(text)) for text in texts))
        assert [text_of(answer) for answer in answers] == texts
        call = {"name": "progress", "arguments": {"steps": 3}, "_meta": {"progressToken": "p"}}
        body = {"mcp_server_url": url, "method": "tools/call", "params": call, "id": "s"}
        _, _, stream = await page.post(body, Accept="application/json, text/event-stream")
        events = [json.loads(line[5:]) for line in stream.splitlines() if line.startswith(b"data:")]
        assert [event.get("params", {}).get("progressToken", event.get("id")) for event in events] == ["p"] * 3 + ["s"]
        assert (await page.call(url, "tools/call", {"name": "nothing"}, id=5))["id"] == 5
        assert (await page.call(url, "initialize", HELLO))["result"]["protocolVersion"] == "2025-11-25"
        assert (
            json.loads(text_of(await page.call(url, "tools/call", {"name": "whoami"})))["clientInfo"]["name"] == "page"
        )
        refused = await page.call(url, "tools/call", {"name": "sample", "arguments": {"prompt": "x"}})
        assert "/ws" in json.dumps(refused)
        assert len(page.routes._upstreams) == 1


@pytest.mark.parametrize(("server", "transport"), [("py2", None)])
async def test_calls_of_both_eras(server: str, transport: None, url: str) -> None:
    """A page of 2026-07-28 and one of an earlier revision use the same server; annotated tools get their headers."""
    region = {"name": "region", "arguments": {"region": "Wales", "zone": 7}}
    async with gateway() as page:
        assert text_of(await page.call(url, "tools/call", region)) == "Wales 7"
        assert text_of(await page.call(url, "tools/call", {**region, "_meta": META})) == "Wales 7"
        assert len(page.routes._upstreams) == 2


@pytest.mark.parametrize(("server", "transport"), [("py2", "http"), ("ts", "sse"), ("py1", "ws")])
async def test_a_pages_websocket(server: str, transport: str, url: str) -> None:
    """The server's own requests reach the page, whatever transport the server speaks."""
    url = url.replace("http", "ws", 1) if transport == "ws" else url
    async with gateway() as page, page.websocket(proxy_token=TOKEN, mcp_server_url=url) as socket:

        async def ask(request_id: object, method: str, params: Mapping[str, object]) -> dict[str, Any]:
            await socket.send_json({"jsonrpc": "2.0", "id": request_id, "method": method, "params": params})
            while True:
                message: dict[str, Any] = await socket.receive_json(timeout=20)
                if message.get("method") == "sampling/createMessage":
                    content = {"role": "assistant", "model": "m", "content": {"type": "text", "text": "sampled"}}
                    await socket.send_json({"jsonrpc": "2.0", "id": message["id"], "result": content})
                elif message.get("id") == request_id:
                    return message

        assert (await ask("h", "initialize", HELLO))["result"]["serverInfo"]["name"] == f"peer-server-{server}"
        await socket.send_json({"jsonrpc": "2.0", "method": "notifications/initialized"})
        assert text_of(await ask(1, "tools/call", echo("x"))) == "x"
        assert text_of(await ask(2, "tools/call", {"name": "sample", "arguments": {"prompt": "?"}})) == "sampled"
