"""Every connection that the relay dials, whatever the door: the kernel is told to notice a path that has gone silent.

The far end here is a bare listener in the same process. When a request reaches it, it looks at the socket that the
request came from, with ``getsockopt``, and breaks the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import httpx
import pytest

from relay.auth.outbound.logins import ClientCredentials
from relay.auth.outbound.tries import ServerLogin
from relay.endpoints.core.dialling import DiallingOptions, Transport
from relay.endpoints.http.client.login import HttpDigest, open_login
from relay.endpoints.http.client.remote import Remote
from relay.endpoints.socket.tcp import dial
from relay.endpoints.websocket.websocket import dial_websocket
from relay.errors import RelayError
from relay.frames.frame import Frame
from tests.e2e.authority import Authority
from tests.e2e.conversation import INITIALIZE, PROXIES, Direct
from tests.e2e.fault_server import FaultServer, Request, Script, SseScript
from tests.e2e.oracle import request
from tests.endpoints.http.through.test_pass_through import hop

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="each system has options of its own")

OPTIONS = ("TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT", "TCP_USER_TIMEOUT")
WATCHED = (1, 30, 10, 3, 60_000)
PING = Frame(b'{"jsonrpc":"2.0","id":1,"method":"ping"}')


def options_of_sockets_to(port: int) -> list[tuple[int, ...]]:
    """Return the options of every socket of this process that is connected to a port."""
    found = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the descriptor of the listing itself is closed by now
            if os.readlink(f"/proc/self/fd/{number}").startswith("socket:"):
                found += options_of(os.dup(int(number)), port)
    return found


def options_of(descriptor: int, port: int) -> list[tuple[int, ...]]:
    with socket.socket(fileno=descriptor) as one:
        if one.family != socket.AF_INET or one.getpeername()[1] != port:
            return []
        values = (one.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) for name in OPTIONS)
        return [(one.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), *values)]


@dataclass(slots=True)
class Far:
    """A listener that looks at whoever speaks to it."""

    port: int = 0
    seen: list[tuple[int, ...]] = field(default_factory=list)

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, tls: ssl.SSLContext | None = None) -> AsyncIterator[Far]:
        self = cls()
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read(1)
            self.seen += options_of_sockets_to(self.port)
        finally:
            writer.transport.abort()


async def ask_by(
    transport: Transport,
    url: str,
    *,
    tls: ssl.SSLContext | None = None,
    login: ServerLogin | HttpDigest | None = None,
    client: httpx.AsyncClient | None = None,
) -> None:
    remote = Remote(url, DiallingOptions(transport=transport, tls=tls, login=login), client=client)
    try:
        await remote.send((Frame(PING.raw),))
        await remote.receive()
    finally:
        await remote.aclose()


async def by_http(far: Far, authority: Authority) -> None:
    """A POST over aiohttp's session."""
    await ask_by("streamablehttp", f"http://127.0.0.1:{far.port}/mcp")


async def by_https(far: Far, authority: Authority) -> None:
    """The same over TLS."""
    await ask_by("streamablehttp", f"https://127.0.0.1:{far.port}/mcp", tls=authority.dialling())


async def by_sse(far: Far, authority: Authority) -> None:
    """The stream of HTTP+SSE."""
    await ask_by("sse", f"http://127.0.0.1:{far.port}/sse")


async def by_httpx(far: Far, authority: Authority) -> None:
    """A caller's own client."""
    async with httpx.AsyncClient(trust_env=False) as client:
        await ask_by("streamablehttp", f"http://127.0.0.1:{far.port}/mcp", client=client)


async def by_httpx_and_proxy(far: Far, authority: Authority) -> None:
    """The same, through a proxy of the caller's."""
    async with httpx.AsyncClient(trust_env=False, proxy=f"http://127.0.0.1:{far.port}") as client:
        await ask_by("streamablehttp", "https://mcp.example/mcp", client=client)


async def by_proxy(far: Far, authority: Authority) -> None:
    """A proxy that reads the request."""
    await ask_by("streamablehttp", "http://mcp.example/mcp")


async def by_tunnel(far: Far, authority: Authority) -> None:
    """A proxy that is asked for a tunnel."""
    await ask_by("streamablehttp", "https://mcp.example/mcp", tls=authority.dialling())


async def by_websocket(far: Far, authority: Authority) -> None:
    """An upgrade."""
    with contextlib.suppress(RelayError):
        await dial_websocket(f"ws://127.0.0.1:{far.port}/ws")


async def by_websocket_and_tls(far: Far, authority: Authority) -> None:
    """The same over TLS."""
    with contextlib.suppress(RelayError):
        await dial_websocket(f"wss://127.0.0.1:{far.port}/ws", DiallingOptions(tls=authority.dialling()))


async def by_websocket_and_proxy(far: Far, authority: Authority) -> None:
    """The same through a proxy."""
    with contextlib.suppress(RelayError):
        await dial_websocket("ws://mcp.example/ws")


async def by_tcp(far: Far, authority: Authority) -> None:
    """Lines over TCP."""
    await ask_over_socket(f"tcp://127.0.0.1:{far.port}")


async def by_tls(far: Far, authority: Authority) -> None:
    """Lines over TLS."""
    await ask_over_socket(f"tls://127.0.0.1:{far.port}", authority.dialling())


async def ask_over_socket(address: str, ssl_context: ssl.SSLContext | None = None) -> None:
    endpoint = await dial(address, ssl_context=ssl_context)
    with contextlib.suppress(RelayError):
        await endpoint.send((PING,))
        await endpoint.receive()
    await endpoint.aclose()


async def by_token_endpoint(far: Far, authority: Authority) -> None:
    """The request for a token."""
    credentials = ClientCredentials("client", "secret", f"http://127.0.0.1:{far.port}/token")
    url = "http://127.0.0.1:9/mcp"
    await ask_by("streamablehttp", url, login=open_login(credentials, url))


async def by_handing_on(far: Far, authority: Authority) -> None:
    """HTTP to HTTP."""
    async with hop(f"http://127.0.0.1:{far.port}/mcp") as opened:
        client = opened.client()
        assert (await client.post(request(1, "tools/call", name="x"))).status == 502


DOORS: list[Callable[[Far, Authority], Awaitable[None]]] = [
    by_http, by_https, by_sse, by_httpx, by_httpx_and_proxy, by_proxy, by_tunnel, by_websocket, by_websocket_and_tls,
    by_websocket_and_proxy, by_tcp, by_tls, by_token_endpoint, by_handing_on,
]  # fmt: skip
OVER_TLS = (by_https, by_websocket_and_tls, by_tls)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority.made(tmp_path_factory.mktemp("certificates"))


@pytest.mark.parametrize("door", DOORS)
async def test_a_dialled_path_is_watched(
    door: Callable[[Far, Authority], Awaitable[None]], authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Probes after 30 idle seconds, and at most a minute for what was sent and is not acknowledged."""
    async with Far.running(authority.serving() if door in OVER_TLS else None) as far:
        for name in PROXIES:
            monkeypatch.delenv(name, raising=False)
            if name.lower().startswith("http"):
                monkeypatch.setenv(name, f"http://127.0.0.1:{far.port}")
        await door(far, authority)
        assert far.seen and set(far.seen) == {WATCHED}, far.seen


@pytest.mark.parametrize("script", [pytest.param(Script, marks=pytest.mark.shortcuts), SseScript])
async def test_every_connection_of_a_session_is_watched(script: type[Script]) -> None:
    """The stream, the POSTs and the kept connections beside them."""
    async with FaultServer.running(script()) as server:
        seen: list[tuple[int, ...]] = []

        def look(_: Request) -> None:
            seen.extend(options_of_sockets_to(server.port))

        server.on_request = look
        transport: Transport = "sse" if script is SseScript else "streamablehttp"
        async with Direct.to(server.url, transport=transport) as client:
            await client.send(INITIALIZE)
            await client.answer("init")
            if script is SseScript:
                await client.call(1)
            else:
                await client.warm_up(server)
        assert len(seen) > 3 and set(seen) == {WATCHED}, set(seen)
