"""The guard beneath ``/proxy`` and ``/ws``: a canary on this machine must see no connection, however it is named."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import WSMsgType, web
from aiohttp.abc import ResolveResult

from relay.auth.egress import EgressRules, parse_networks
from relay.endpoints.core.keepalive import open_socket
from relay.endpoints.http.client.connector import Resolver
from tests.e2e.forward_proxy import ForwardProxy
from tests.gateway.far import Asked, Far, far, plain, sse
from tests.gateway.house import TOKEN, Page, gateway

LITERALS = (
    # This machine, in every spelling that some parser or resolver takes for it.
    "127.0.0.1", "127.0.0.2", "127.1.2.3", "127.255.255.255", "127.1", "127.0.1", "127.0.0.1.", "0", "0.0.0.0",
    "0.1.2.3", "2130706433", "0x7f000001", "0x7F.0x0.0x0.0x1", "0x7f.1", "017700000001", "0177.0.0.1", "0177.0.0.01",
    "127.0.0.0x1", "%31%32%37.0.0.1", "１２７.0.0.1", "127。0。0。1", "①②⑦.⓪.⓪.①", "127%2e0%2e0%2e1",
    "127.0.0.1%00.example", "[::1]", "[::]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:127.0.0.1]", "[::127.0.0.1]", "[::ffff:0:127.0.0.1]", "[64:ff9b::127.0.0.1]",
    "[64:ff9b::7f00:1]", "[2002:7f00:1::]",
    "[::1%25lo]", "[fe80::1%25eth0]", "[fe80::1%eth0]", "[2600::5efe:127.0.0.1]", "[2001:0:7f00:1::]",
    # Private networks and the metadata services of clouds.
    "10.0.0.1", "100.100.100.200", "168.63.129.16", "169.254.169.254", "172.16.0.1", "192.168.1.1", "192.0.0.192",
    "2852039166", "0xA9FEA9FE", "[::ffff:169.254.169.254]", "[fd00:ec2::254]", "[fec0::1]", "[fc00::1]", "[ff02::1]",
    "198.18.0.1", "224.0.0.1", "255.255.255.255",
    # URLs that two parsers could read differently.
    "mcp.example@127.0.0.1", "127.0.0.1\\@mcp.example", "127.0.0.1#@mcp.example", "mcp.example:80@127.0.0.1",
)  # fmt: skip
NAMES = {
    "localhost": "127.0.0.1", "LOCALHOST": "127.0.0.1", "localhost.": "127.0.0.1", "localtest.example": "127.0.0.1",
    "v6.example": "::1", "mapped.example": "::ffff:127.0.0.1", "nat64.example": "64:ff9b::7f00:1",
    "zero.example": "0.0.0.0", "metadata.example": "169.254.169.254", "inside.example": "10.0.0.1",
    "xn--lcal-loa.example": "127.0.0.1", "löcal.example": "127.0.0.1", "zoned.example": "fe80::1%1",
}  # fmt: skip
SPELLINGS = (*LITERALS, *NAMES)
FRIEND = "127.0.0.2"
FRIENDLY = EgressRules(allowed=parse_networks([FRIEND], "--proxy-allow-net"))
KINDS = ("http", "ws")

assert len(set(SPELLINGS)) >= 60


class Canary:
    """A port of every address of this machine; nobody may connect to it."""

    def __init__(self) -> None:
        self.port = 0
        self.connections = 0

    def connected(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.close()


@asynccontextmanager
async def canary() -> AsyncIterator[Canary]:
    bird = Canary()
    async with await asyncio.start_server(bird.connected, "0.0.0.0", 0) as first:
        bird.port = first.sockets[0].getsockname()[1]
        if not socket.has_ipv6:
            yield bird
            return
        async with await asyncio.start_server(bird.connected, "::", bird.port):
            yield bird
    assert bird.connections == 0


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note each address to which a guard lets a socket open."""
    addresses: list[str] = []

    def note(info: tuple[object, ...]) -> socket.socket:
        assert isinstance(info[4], tuple)
        addresses.append(info[4][0])
        return open_socket(info)

    monkeypatch.setattr("relay.endpoints.core.egress.open_socket", note)
    return addresses


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Callable[[], str]]]:
    """Resolve names as a test says, and no others."""
    known: dict[str, Callable[[], str]] = {}

    async def resolve(
        self: Resolver, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        if host not in known:
            raise OSError(f"no such name: {host}")
        address = known[host]()
        found = socket.AF_INET6 if ":" in address else socket.AF_INET
        return [ResolveResult(hostname=host, host=address, port=port, family=found, proto=0, flags=0)]

    monkeypatch.setattr(Resolver, "resolve", resolve)
    yield known


def know_all(names: dict[str, Callable[[], str]]) -> None:
    """Let the names of the table resolve to their addresses."""
    for name, address in NAMES.items():
        names[name.lower().replace("ö", "o")] = names[name.lower()] = lambda address=address: address  # type: ignore[misc]
    names["xn--lcal-5qa.example"] = lambda: "127.0.0.1"


async def attempt(page: Page, kind: str, url: str) -> int:
    """Call a server by ``/proxy``, or join it by ``/ws``; return the status or the code."""
    if kind == "http":
        status, _, body = await page.post({"mcp_server_url": url, "method": "tools/list"})
        assert status in (200, 400, 502), (url, status, body)
        return status
    async with page.websocket(proxy_token=TOKEN, mcp_server_url=url.replace("http", "ws", 1)) as socket:
        await socket.send_str('{"jsonrpc":"2.0","id":1,"method":"tools/list"}')
        while (message := await socket.receive(timeout=10)).type is WSMsgType.TEXT:
            if '"result"' in message.data:
                return 200
        return int(message.data)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.only_loop("uvloop")
async def test_every_spelling(kind: str, names: dict[str, Callable[[], str]], opened: list[str]) -> None:
    """No socket opens for any spelling of an address that is not public."""
    know_all(names)
    async with canary() as bird, gateway(EgressRules()) as page:
        for spelling in SPELLINGS:
            outcome = await attempt(page, kind, f"http://{spelling}:{bird.port}/mcp")
            assert outcome in (400, 502, 1002, 1011), (spelling, outcome)
            is_name = spelling in NAMES
            assert is_name == (outcome in (502, 1011)), (spelling, outcome)
    assert opened == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.only_loop("uvloop")
async def test_every_redirect(kind: str, names: dict[str, Callable[[], str]], opened: list[str]) -> None:
    """A server that is allowed may not lead the gateway to one that is not."""
    know_all(names)
    statuses = (301, 302, 303, 307, 308)

    async def answer(server: Far, request: web.BaseRequest, asked: Asked) -> web.StreamResponse:
        number = int(request.path.rpartition("/")[2])
        target = f"http://{SPELLINGS[number]}:{bird.port}/mcp"
        return web.Response(status=statuses[number % 5], headers={"Location": target.encode().decode("latin-1")})

    async with canary() as bird, far(answer, FRIEND) as friend, gateway(FRIENDLY) as page:
        for number in range(len(SPELLINGS)):
            assert await attempt(page, kind, f"{friend.url}/{number}") in (502, 1011)
        assert len(friend.asked) >= len(SPELLINGS)
    assert set(opened) == {FRIEND}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.only_loop("uvloop")
async def test_every_rebinding(kind: str, names: dict[str, Callable[[], str]], opened: list[str]) -> None:
    """A name that leads to an allowed address first, and to another from then on, opens no socket to the other.

    An implementation that checks one look-up and dials another would connect to the canary at once.
    """
    closing = {"Connection": "close"}

    async def answer(server: Far, request: web.BaseRequest, asked: Asked) -> web.StreamResponse:
        if request.headers.get("Upgrade") == "websocket":
            return web.Response(status=503, headers=closing)
        response = await plain(server, request, asked)
        response.headers.update(closing)
        return response

    addresses = sorted({*NAMES.values(), "127.0.0.1", "127.1.2.3", "::", "::ffff:7f00:1", "192.168.1.1", "fd00::1"})
    async with canary() as bird, far(answer, FRIEND) as friend, gateway(FRIENDLY) as page:
        for number in range(60):
            address = addresses[number % len(addresses)]
            answers = iter((FRIEND,))
            names[f"n{number}.example"] = lambda answers=answers, address=address: next(answers, address)  # type: ignore[misc]
            for port in (friend.port, bird.port):
                # The friend is asked once. The name has moved when the gateway connects again.
                url = f"http://n{number}.example:{port}/mcp"
                assert await attempt(page, kind, url) in (502, 1011), (number, address)
        assert len(friend.asked) >= 60
    assert set(opened) == {FRIEND}
    assert len(opened) == 60


@pytest.mark.only_loop("uvloop")
async def test_an_endpoint_of_another_origin(opened: list[str]) -> None:
    """A server of HTTP+SSE may not name an address elsewhere for the POSTs."""
    async with canary() as bird:
        for endpoint in (
            f"http://127.0.0.1:{bird.port}/m",
            f"//127.0.0.1:{bird.port}/m",
            f"http://localhost:{bird.port}/m",
        ):

            async def answer(
                server: Far, request: web.BaseRequest, asked: Asked, to: str = endpoint
            ) -> web.StreamResponse:
                if asked.http == "POST":
                    return web.Response(status=405)
                response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
                await response.prepare(request)
                await response.write(f"event: endpoint\ndata: {to}\n\n".encode())
                return response

            async with far(answer, FRIEND) as friend, gateway(FRIENDLY) as page:
                assert await attempt(page, "http", friend.url) == 502
    assert set(opened) == {FRIEND}


@pytest.mark.parametrize(
    "url", ["unix:/run/docker.sock", "stdio:", "fd:3", "tls://a.example:443", "file:///etc/passwd", "id", "", "http:"]
)
@pytest.mark.only_loop("uvloop")
async def test_other_schemes_and_commands(url: str, opened: list[str]) -> None:
    """They are refused before anything is dialled or started."""
    async with gateway() as page:
        status, _, _ = await page.post({"mcp_server_url": url, "method": "tools/list"})
        assert status == (422 if not url else 400)
        async with page.websocket(proxy_token=TOKEN, mcp_server_url=url) as socket:
            assert (await socket.receive(timeout=10)).data == 1002
    assert opened == []


@pytest.mark.only_loop("uvloop")
async def test_an_egress_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operator's proxy opens the connections; the gateway still judges URLs, and the environment names no proxy."""
    async with far() as server, ForwardProxy.running(mcp=server.port) as proxy:
        monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("NO_PROXY", "")
        async with gateway(EgressRules()) as page:
            assert await attempt(page, "http", "http://mcp.example/mcp") == 502
        assert proxy.asked == []
        async with gateway(EgressRules(), proxy=f"http://127.0.0.1:{proxy.port}") as page:
            assert await attempt(page, "http", "http://mcp.example/mcp") == 200
            assert await attempt(page, "http", "http://other.example/mcp") == 502
            count = len(proxy.asked)
            for url in (f"http://127.0.0.1:{server.port}/mcp", "http://2130706433/", "http://mcp.example:22/"):
                assert await attempt(page, "http", url) == 400
            assert len(proxy.asked) == count


@pytest.mark.parametrize("kind", KINDS)
async def test_a_network_that_the_operator_allows(kind: str, opened: list[str]) -> None:
    """With ``--proxy-allow-net 127.0.0.0/8`` loopback is reached by its names and addresses."""

    async def answer(server: Far, request: web.BaseRequest, asked: Asked) -> web.StreamResponse:
        if request.headers.get("Upgrade") != "websocket":
            return await sse(
                request, {"jsonrpc": "2.0", "id": asked.message.get("id"), "result": {"protocolVersion": "1"}}
            )
        socket = web.WebSocketResponse(protocols=("mcp",))
        await socket.prepare(request)
        await socket.receive()
        await socket.send_str('{"jsonrpc":"2.0","id":1,"result":{}}')
        await socket.receive()
        return socket

    async with far(answer) as server, gateway() as page:
        for host in ("127.0.0.1", "localhost", "[::ffff:127.0.0.1]"):
            assert await attempt(page, kind, f"http://{host}:{server.port}/mcp") == 200
    assert {"127.0.0.1"} <= set(opened) <= {"127.0.0.1", "::ffff:127.0.0.1", "::ffff:7f00:1"}
