"""``/ws``: a page's WebSocket, joined to the server that its address names."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import websockets
from aiohttp import WSMsgType, WSServerHandshakeError, web

from relay.auth.inbound.login import InboundLogin
from relay.auth.inbound.rates import Rate, Rates
from relay.auth.inbound.token_sources import GivenTokens
from tests.gateway.far import Asked, Far, far, plain
from tests.gateway.house import OTHER, TOKEN, gateway
from tests.peers.locate import free_port

ORIGIN = "https://page.example"
WAIT = 15.0  # a few seconds on a quiet machine
LIST = '{"jsonrpc":"2.0","id":1,"method":"tools/list"}'
HELLO = json.dumps(
    {
        "jsonrpc": "2.0", "id": "h", "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "p", "version": "1"}},
    }
)  # fmt: skip
INITIALIZED = '{"jsonrpc":"2.0","method":"notifications/initialized"}'


async def ended(page_socket: Any) -> tuple[int, list[dict[str, Any]]]:
    """Return the code with which the gateway closes, and the messages before."""
    said = []
    while (message := await page_socket.receive(timeout=10)).type is WSMsgType.TEXT:
        said.append(json.loads(message.data))
    assert message.type in (WSMsgType.CLOSE, WSMsgType.CLOSED), message
    return page_socket.close_code, said


class Peer:
    """A server that speaks WebSocket."""

    def __init__(self) -> None:
        self.url = ""
        self.headers: list[dict[str, str]] = []
        self.got: list[str | bytes] = []
        self.left = asyncio.Event()
        self.sockets: list[Any] = []

    async def handle(self, socket: Any) -> None:
        self.headers.append(dict(socket.request.headers))
        self.sockets.append(socket)
        try:
            async for message in socket:
                self.got.append(message)
                if "tools/list" in message:
                    await socket.send(message.replace('"method":"tools/list"', '"result":{"n":0.10}'))
        except websockets.ConnectionClosedError:
            pass
        finally:
            self.left.set()


@asynccontextmanager
async def peer() -> AsyncIterator[Peer]:
    one = Peer()
    async with websockets.serve(one.handle, "127.0.0.1", 0, subprotocols=["mcp"]) as server:  # type: ignore[list-item]
        one.url = f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp?x=1"
        yield one


@pytest.mark.parametrize(
    ("query", "code", "reason"),
    [
        ({}, 1008, b"Invalid proxy token"),
        ({"proxy_token": "wrong"}, 1008, b"Invalid proxy token"),
        ({"proxy_token": TOKEN}, 1002, b"MCP server URL required"),
        ({"proxy_token": TOKEN, "mcp_server_url": "tcp://127.0.0.1:1"}, 1002, b"Invalid MCP server URL"),
        ({"proxy_token": TOKEN, "mcp_server_url": "http://10.0.0.1/"}, 1002, b"Invalid MCP server URL"),
        ({"proxy_token": TOKEN, "mcp_server_url": "x", "mcp_token": "a b"}, 1002, b"Invalid MCP server URL"),
    ],
)
@pytest.mark.only_loop("uvloop")
async def test_what_is_turned_away(query: dict[str, str], code: int, reason: bytes) -> None:
    """A page reads a code; nothing is dialled."""
    async with far() as server, gateway() as page:
        async with page.websocket(**{"mcp_server_url": server.url, **query} if code == 1008 else query) as socket:
            message = await socket.receive(timeout=10)
            assert (message.type, message.data, message.extra) == (WSMsgType.CLOSE, code, reason.decode())
        assert server.asked == []


async def test_host_and_origin_are_refused_before_the_upgrade() -> None:
    """No page of another origin gets as far as a code."""
    async with gateway() as page:
        for headers, status in (({"Origin": "https://evil.example"}, 403), ({"Host": "evil.example"}, 421)):
            with pytest.raises(WSServerHandshakeError) as refused:
                await page.session.ws_connect(f"{page.base}/ws?proxy_token={TOKEN}", headers=headers)
            assert refused.value.status == status
        async with page.session.get(
            f"{page.base}/ws?proxy_token={TOKEN}&mcp_server_url=http://a.example/"
        ) as plain_get:
            assert plain_get.status == 400
            assert "detail" in await plain_get.json()


async def test_websocket_to_websocket() -> None:
    """Text passes byte for byte both ways, with the server's token; no compression, subprotocol ``mcp``."""
    async with peer() as server, gateway() as page:
        query = {"mcp_server_url": server.url, "mcp_token": "secret-of-the-server"}
        socket = await page.session.ws_connect(
            f"{page.base}/ws",
            params=query,
            headers={"X-Proxy-Token": TOKEN, "Origin": ORIGIN},
            protocols=("mcp",),
            compress=15,
        )
        assert (socket.protocol, socket.compress) == ("mcp", 0)
        await socket.send_str(LIST)
        assert (await socket.receive(timeout=10)).data == '{"jsonrpc":"2.0","id":1,"result":{"n":0.10}}'
        assert server.got == [LIST]
        headers = {name.lower(): value for name, value in server.headers[0].items()}
        assert headers["authorization"] == "Bearer secret-of-the-server"
        assert TOKEN not in str(headers) and "origin" not in headers
        await socket.close()
        async with asyncio.timeout(WAIT):
            await server.left.wait()


@pytest.mark.parametrize("is_asked", [False, True])
async def test_the_websocket_server_leaves(is_asked: bool) -> None:
    """The page knows at once; each open id has its error first."""
    async with peer() as server, gateway() as page:
        async with page.websocket(proxy_token=TOKEN, mcp_server_url=server.url) as socket:
            await socket.send_str('{"jsonrpc":"2.0","id":"open","method":"hang"}' if is_asked else INITIALIZED)
            async with asyncio.timeout(10):
                while not server.got:
                    await asyncio.sleep(0.01)
            server.sockets[0].transport.abort()
            async with asyncio.timeout(WAIT):
                code, said = await ended(socket)
            assert code == 1011
            assert [(one["id"], one["error"]["message"]) for one in said] == (
                [("open", "Failed to connect to MCP server")] if is_asked else []
            )


@pytest.mark.parametrize("scheme", ["http", "ws"])
async def test_a_server_that_cannot_be_reached(scheme: str) -> None:
    """An error for each open id, then 1011; neither says why."""
    async with gateway() as page:
        async with page.websocket(proxy_token=TOKEN, mcp_server_url=f"{scheme}://127.0.0.1:{free_port()}/") as socket:
            await socket.send_str(HELLO)
            code, said = await ended(socket)
        assert code == 1011
        assert [one["id"] for one in said] in (
            ["h"],
            [] if scheme == "ws" else ["h"],
        )  # it may fail before a frame comes
        assert all(one["error"]["message"].endswith("Failed to connect to MCP server") for one in said)


async def asking(server: Far, request: web.BaseRequest, asked: Asked) -> web.StreamResponse:
    """Ask the client for its roots during a call."""
    if asked.method == "tools/call":
        question = {"jsonrpc": "2.0", "id": "q", "method": "roots/list"}
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: " + json.dumps(question).encode() + b"\n\n")
        await server.wait_for(lambda _: any(one.message.get("id") == "q" for one in server.asked))
        said = next(one for one in server.asked if one.message.get("id") == "q")
        done = {"jsonrpc": "2.0", "id": asked.message["id"], "result": said.message["result"]}
        await response.write(b"data: " + json.dumps(done).encode() + b"\n\n")
        return response
    if "result" in asked.message:
        return web.Response(status=202)
    return await plain(server, request, asked)


async def test_websocket_to_streamable_http() -> None:
    """The server's requests reach the page; when the page leaves, the session is deleted."""
    async with far(asking) as server, gateway() as page:
        async with page.websocket(proxy_token=TOKEN, mcp_server_url=server.url) as socket:
            await socket.send_str(HELLO)
            assert (await socket.receive_json(timeout=10))["id"] == "h"
            await socket.send_str(INITIALIZED)
            await socket.send_str('{"jsonrpc":"2.0","id":7,"method":"tools/call","params":{"name":"x"}}')
            assert (await socket.receive_json(timeout=10))["method"] == "roots/list"
            await socket.send_str('{"jsonrpc":"2.0","id":"q","result":{"roots":[]}}')
            assert await socket.receive_json(timeout=10) == {"jsonrpc": "2.0", "id": 7, "result": {"roots": []}}
        async with asyncio.timeout(WAIT):
            await server.wait_for(lambda methods: "DELETE" in methods)


async def test_a_page_that_leaves_during_a_call() -> None:
    """The session is deleted within four seconds, whatever the server does."""

    async def answer(server: Far, request: web.BaseRequest, asked: Asked) -> web.StreamResponse:
        if asked.method == "tools/call":
            await asyncio.sleep(60)
        return await plain(server, request, asked)

    async with far(answer) as server, gateway() as page:
        socket = await page.websocket(proxy_token=TOKEN, mcp_server_url=server.url)
        await socket.send_str(HELLO)
        await socket.receive(timeout=10)
        await socket.send_str('{"jsonrpc":"2.0","id":7,"method":"tools/call"}')
        await server.wait_for(lambda methods: "tools/call" in methods)
        await socket.close()
        async with asyncio.timeout(WAIT):
            await server.wait_for(lambda methods: "DELETE" in methods)


@pytest.mark.parametrize("transport", ["streamable", "sse"])
async def test_the_http_server_leaves(transport: str) -> None:
    """An idle page knows within three seconds that nothing listens any more."""

    async def answer(server: Far, request: web.BaseRequest, asked: Asked) -> web.StreamResponse:
        if asked.http == "POST":
            if transport == "streamable":
                return await plain(server, request, asked)
            if request.path == "/mcp":
                return web.Response(status=405)
            reply = await plain(server, request, asked)
            if asked.method == "initialize":
                assert isinstance(reply, web.Response) and isinstance(reply.body, bytes)
                await server.stream.write(b"data: " + reply.body + b"\n\n")
            return web.Response(status=202)
        if asked.http == "DELETE":
            return web.Response()
        server.stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await server.stream.prepare(request)
        await server.stream.write(b": hello\n\n" if transport == "streamable" else b"event: endpoint\ndata: /m\n\n")
        server.is_listening.set()
        await asyncio.sleep(60)
        return server.stream

    async with gateway() as page:
        async with far(answer) as server:
            socket = await page.websocket(proxy_token=TOKEN, mcp_server_url=server.url)
            await socket.send_str(HELLO)
            assert (await socket.receive_json(timeout=10))["id"] == "h"
            await socket.send_str(INITIALIZED)
            async with asyncio.timeout(10):
                await server.is_listening.wait()
        async with asyncio.timeout(WAIT):
            code, _ = await ended(socket)
        assert code == 1011


async def test_errors_of_a_server_over_http_are_discreet() -> None:
    """A status is all that a page learns of an answer without JSON-RPC; the connection stays."""

    async def answer(server: Far, request: web.BaseRequest, asked: Asked) -> web.StreamResponse:
        if asked.method == "initialize":
            return await plain(server, request, asked)
        return web.Response(status=503, text="inner secret")

    async with far(answer) as server, gateway() as page:
        async with page.websocket(proxy_token=TOKEN, mcp_server_url=server.url) as socket:
            await socket.send_str(HELLO)
            await socket.receive(timeout=10)
            await socket.send_str(LIST)
            said = await socket.receive_json(timeout=10)
            assert (said["id"], said["error"]["message"]) == (1, "MCP server error: HTTP 503")


@pytest.mark.only_loop("uvloop")
async def test_a_verifier_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception in a login admits nobody."""

    def fail(*_: object) -> None:
        raise RuntimeError(f"a bug that names {TOKEN}")

    async with far() as server, gateway() as page:
        monkeypatch.setattr(page.login, "_look", fail)
        status, _, body = await page.post({"mcp_server_url": server.url, "method": "tools/list"})
        assert (status, body) == (401, b'{"detail":"Invalid proxy token"}')
        async with page.websocket(proxy_token=TOKEN, mcp_server_url=server.url) as socket:
            assert (await ended(socket))[0] == 1008
        assert server.asked == []


async def test_a_login_that_ends() -> None:
    """A token that is taken back closes the WebSockets that it opened, also those with the token in their address."""
    tokens = {"first": TOKEN, "second": OTHER}
    login = InboundLogin(GivenTokens(tokens))
    async with peer() as server, gateway(login=login) as page:
        first = await page.websocket(proxy_token=TOKEN, mcp_server_url=server.url)
        second = await page.websocket(proxy_token=OTHER, mcp_server_url=server.url)
        for socket in (first, second):
            await socket.send_str(LIST)
            assert (await socket.receive(timeout=10)).type is WSMsgType.TEXT
        del tokens["first"]
        login.reload()
        assert (await ended(first))[0] == 1008
        await second.send_str(LIST)
        assert (await second.receive(timeout=10)).type is WSMsgType.TEXT
        await first.close()
        await second.close()


async def test_a_rate_of_calls() -> None:
    """Beyond it a call gets 429, and a message waits."""
    async with far() as server, gateway(rates=Rates(Rate(2, 3600))) as page:
        body = {"mcp_server_url": server.url, "method": "tools/list"}
        assert [(await page.post(body))[0] for _ in range(3)] == [200, 200, 429]
        status, headers, _ = await page.post(body, OTHER)
        assert status == 200
        async with page.websocket(proxy_token=OTHER, mcp_server_url=server.url) as socket:
            await socket.send_str(HELLO)
            assert (await socket.receive_json(timeout=10))["id"] == "h"
            await socket.send_str(LIST)
            with pytest.raises(TimeoutError):
                await socket.receive(timeout=0.2)


async def test_binary_messages_are_refused() -> None:
    """MCP is text."""
    async with peer() as server, gateway() as page:
        async with page.websocket(proxy_token=TOKEN, mcp_server_url=server.url) as socket:
            await socket.send_bytes(b"{}")
            code, _ = await ended(socket)
            assert code == 1003
        assert server.got == []


async def test_the_gateway_ends_while_pages_are_connected() -> None:
    """They are told, and their servers are left."""
    async with far() as server:
        async with gateway() as page:
            socket = await page.websocket(proxy_token=TOKEN, mcp_server_url=server.url)
            await socket.send_str(HELLO)
            await socket.receive(timeout=10)
            (code, _), _ = await asyncio.gather(ended(socket), page.listener.aclose())
            assert code == 1001
        assert "DELETE" in server.methods
