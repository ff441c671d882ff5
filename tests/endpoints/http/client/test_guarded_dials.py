"""Dials behind a guard: each way that opens a socket asks the guard for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from yarl import URL

from relay.app.run.wiring import connect_with
from relay.auth.egress import EgressRules, parse_networks
from relay.endpoints.core.dialling import DiallingOptions
from relay.endpoints.core.egress import EgressGuard
from relay.endpoints.core.tasks import TaskScope
from relay.endpoints.http.client.aiohttp_dial import Dial
from relay.endpoints.http.client.connector import new_connector
from relay.endpoints.websocket.websocket import dial_websocket
from relay.errors import ConfigError, EndpointUnavailable

PUBLIC_ONLY = EgressRules()
LOOPBACK = EgressRules(allowed=parse_networks(["127.0.0.0/8"], "--proxy-allow-net"))


class Canary:
    """A port of this machine that counts its connections and answers each request with a redirect."""

    def __init__(self) -> None:
        self.connections = 0
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 307 Moved\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
            await reader.read()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def canary() -> AsyncIterator[Canary]:
    """Run a canary at 127.0.0.1."""
    bird = Canary()
    server = await asyncio.start_server(bird.serve, "127.0.0.1", 0)
    bird.port = server.sockets[0].getsockname()[1]
    async with server:
        yield bird


def guarded(rules: EgressRules = PUBLIC_ONLY) -> DiallingOptions:
    """Return dialling options with a guard."""
    return DiallingOptions(guard=EgressGuard(rules))


@pytest.mark.parametrize("target", ["tcp://8.8.8.8:80", "tls://8.8.8.8:80", "unix:/run/docker.sock", "stdio:", ["id"]])
def test_only_http_and_websocket_are_dialled_behind_a_guard(target: str | list[str]) -> None:
    """A guard that cannot judge a target refuses the target."""
    with pytest.raises(ConfigError, match="behind a guard"):
        connect_with(guarded(), target)


async def test_a_name_is_judged_by_its_address() -> None:
    """A public name that resolves to this machine opens no socket, by HTTP or by WebSocket."""
    async with canary() as bird:
        dial = Dial(f"http://localhost:{bird.port}/mcp", guarded())
        with pytest.raises(EndpointUnavailable, match="refused to dial"):
            async with dial.request("POST", {}, body=b"{}"):
                pass
        await dial.aclose()
        with pytest.raises(EndpointUnavailable, match="refused to dial"):
            await dial_websocket(f"ws://localhost:{bird.port}/mcp", guarded())
    assert bird.connections == 0


async def test_the_environment_names_no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would open the connections that the guard refuses."""
    async with canary() as bird:
        monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{bird.port}")
        monkeypatch.setenv("NO_PROXY", "")
        dial = Dial("http://mcp.invalid/mcp", guarded())
        assert dial.proxy is None
        with pytest.raises(EndpointUnavailable):
            async with dial.request("POST", {}, body=b"{}"):
                pass
        await dial.aclose()
    assert bird.connections == 0


async def test_no_redirect_is_followed_and_own_ports_are_refused() -> None:
    """Behind a guard a 307 of the same origin is an answer; a port where the process listens is never dialled."""
    options = guarded(LOOPBACK)
    assert options.guard is not None
    async with canary() as bird:
        dial = Dial(f"http://127.0.0.1:{bird.port}/mcp", options)
        async with dial.request("POST", {}, body=b"{}") as response:
            assert response.status == 307
        assert dial.where(dial.url) == dial.url
        await dial.aclose()
        assert bird.connections == 1
        options.guard.own_ports = (bird.port,)
        again = Dial(f"http://127.0.0.2:{bird.port}/mcp", options)
        with pytest.raises(EndpointUnavailable, match="where this relay listens"):
            async with again.request("POST", {}, body=b"{}"):
                pass
        await again.aclose()
    assert bird.connections == 1


@pytest.mark.shortcuts
async def test_kept_connections_are_judged_too() -> None:
    """The pool resolves names itself: when a name moves to a refused address, the pool opens nothing there."""
    tasks = TaskScope()
    async with canary() as bird:
        dial = Dial(f"http://localhost:{bird.port}/mcp", guarded())
        dial._open()
        pool = dial.pool(tasks)
        assert pool is not None
        pool.grow(1)
        async with asyncio.timeout(5):
            while pool._opening:
                await asyncio.sleep(0)
        assert pool.take() is None
        await dial.aclose()
        await tasks.aclose()
    assert bird.connections == 0


async def test_a_guarded_connector_keeps_no_names() -> None:
    """aiohttp's cache of names would hand an old address to a new connection."""
    guard = EgressGuard(EgressRules())
    connector = new_connector(None, is_tls=False, guard=guard)
    assert not connector.use_dns_cache
    await connector.close()


def test_a_url_is_judged_before_its_name_is_looked_up() -> None:
    """A dial to a refused URL cannot be made."""
    for url in ("http://127.0.0.1/", "http://[::ffff:10.0.0.1]/", "http://2130706433/", "http://a.example:22/"):
        with pytest.raises(ConfigError, match="refused"):
            Dial(url, guarded())
    assert Dial("http://a.example/", guarded()).url == URL("http://a.example/")
