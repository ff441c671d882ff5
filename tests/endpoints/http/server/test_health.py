"""``/health`` and ``--health-path``: what load balancers and orchestrators ask, by whatever name."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest

from relay.endpoints.http.listening import ListeningOptions
from relay.endpoints.http.paths import HttpPaths
from relay.endpoints.http.server.listener import HttpListener
from tests.e2e.oracle import Client, Wire
from tests.endpoints.http.house import refused


@contextlib.asynccontextmanager
async def listening() -> AsyncIterator[HttpListener]:
    """Listen under one name alone, with two more places that say how we are."""
    options = ListeningOptions(allowed_hosts=("relay.example",), paths=HttpPaths(health=("/", "/healthz")))
    listener = HttpListener("0.0.0.0", 0, options)
    await listener.start()
    try:
        yield listener
    finally:
        await listener.aclose()


HOSTS = ("10.244.0.7:8080", "relay.default.svc.cluster.local.", "evil.com[::1]", "", "other.example")
PLACES = (("/health", '{"status":"%s"}', "healthy"), ("/", "%s", "ok"), ("/healthz", "%s", "ok"))


@pytest.mark.parametrize(("path", "written", "well"), PLACES)
async def test_a_probe_is_answered_by_whatever_name(path: str, written: str, well: str) -> None:
    """By GET, HEAD and OPTIONS, without Host in HTTP/1.0; 503 from the moment in which the relay is about to leave."""
    async with listening() as listener, Client(listener.base_url) as client:
        for is_leaving, status, said in ((False, 200, well), (True, 503, "draining")):
            listener.is_leaving = is_leaving
            for host in HOSTS:
                response = await client.request("GET", path, {"host": host})
                assert (response.status, await response.body()) == (status, (written % said).encode()), host
                client.close()
            wires = [await Wire.open(listener.base_url) for _ in range(3)]
            wires[0].writer.write(f"HEAD {path} HTTP/1.0\r\n\r\n".encode())
            wires[1].writer.write(f"OPTIONS {path} HTTP/1.0\r\n\r\n".encode())
            wires[2].writer.write(f"GET {path}?from=probe HTTP/1.0\r\n\r\n".encode())
            for wire in wires:
                assert (await wire.response()).status == status
                wire.close()


@pytest.mark.parametrize(
    ("method", "path", "headers", "status"),
    [
        ("GET", "/status", {"host": "10.0.0.7"}, 421),
        ("GET", "/mcp", {"host": "10.0.0.7"}, 421),
        ("POST", "/health", {"host": "10.0.0.7"}, 421),
        ("POST", "/", {"host": "relay.example"}, 404),
        ("DELETE", "/", {"host": "relay.example"}, 404),
        ("GET", "/other", {"host": "relay.example"}, 404),
        ("GET", "//", {"host": "relay.example"}, 404),
        ("POST", "/health", {"host": "relay.example"}, 405),
        ("GET", "/health", {"host": "relay.example", "origin": "http://evil.example"}, 403),
        ("GET", "/", {"host": "10.0.0.7", "origin": "http://evil.example"}, 403),
    ],
)
async def test_nothing_else_is(method: str, path: str, headers: dict[str, str], status: int) -> None:
    """The other paths keep their names, a page of another origin is told nothing, and ``/`` is itself alone."""
    async with listening() as listener, Client(listener.base_url) as client:
        await refused(await client.request(method, path, headers, b"{}" if method == "POST" else None), status)
