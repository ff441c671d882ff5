"""A relay that points at itself reports it at once, over every transport, and uses up no descriptors."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from pathlib import Path

import pytest

from relay.app.run import targets
from relay.app.run.targets import AddressTarget
from relay.endpoints.core.dialling import DiallingOptions
from relay.frames.frame import Frame
from relay.limits import Limits
from tests.e2e.oracle import Client, Relay, initialize, run_words

needs_proc = pytest.mark.skipif(sys.platform != "linux", reason="descriptors are counted in /proc")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def descriptors(relay: Relay) -> int:
    return len(os.listdir(f"/proc/{relay.pid}/fd"))


async def said_to_http(base: str) -> str:
    async with Client(base) as client:
        return (await (await client.post(initialize())).body()).decode()


async def said_to_line(address: int | str) -> str:
    if isinstance(address, int):
        reader, writer = await asyncio.open_connection("127.0.0.1", address)
    else:
        reader, writer = await asyncio.open_unix_connection(address)
    writer.write(initialize() + b"\n")
    said = await reader.readline()
    writer.transport.abort()
    return said.decode()


SELF = {
    "http": ("http://127.0.0.1:{a}/mcp", "http://127.0.0.1:{a}/mcp", ()),
    "http, sessions": ("http://127.0.0.1:{a}/mcp", "http://127.0.0.1:{a}/mcp", ("--share", "session")),
    "http, shared": ("http://127.0.0.1:{a}/mcp", "http://127.0.0.1:{a}/mcp", ("--share", "shared")),
    "sse": ("http://127.0.0.1:{a}/mcp", "http://127.0.0.1:{a}/sse", ("--transport", "sse")),
    "websocket": ("http://127.0.0.1:{a}/mcp", "ws://127.0.0.1:{a}/mcp", ()),
    "tcp": ("tcp://127.0.0.1:{a}", "tcp://localhost:{a}", ()),
    "tcp, shared": ("tcp://127.0.0.1:{a}", "tcp://127.0.0.1:{a}", ("--share", "shared")),
    "unix": ("unix:{place}/s", "unix:{place}/s", ()),
}
"""Where a relay listens, what it was pointed at, and other words."""


@needs_proc
@pytest.mark.only_loop("asyncio")
@pytest.mark.parametrize("way", SELF)
async def test_a_relay_that_leads_to_itself(way: str, tmp_path: Path) -> None:
    """The client hears why, nothing is opened again and again, and SIGTERM ends it as ever."""
    port = free_port()
    listen, target, words = (
        [word.format(a=port, place=tmp_path) for word in one] if isinstance(one, tuple)
        else one.format(a=port, place=tmp_path)
        for one in SELF[way]
    )  # fmt: skip
    via_http = str(listen).startswith("http")
    extra = () if via_http else ("--listen", "http://127.0.0.1:0/mcp")  # by which the test sees that it is there
    with run_words(*words, "--listen", str(listen), *extra, str(target)) as relay:
        before = descriptors(relay)
        async with asyncio.timeout(20):
            if via_http:
                said = await said_to_http(relay.base)
            else:
                said = await said_to_line(port if way.startswith("tcp") else f"{tmp_path}/s")
        answer = json.loads(said.rpartition("\ndata: ")[2])  # as a stream, where the machine is slow
        assert answer["id"] == 0
        assert "itself" in answer["error"]["message"]
        assert descriptors(relay) <= before + 24, "a loop has hundreds at once"
        relay.process.send_signal(signal.SIGTERM)
        assert await relay.exit_code(15) == 0


@needs_proc
@pytest.mark.only_loop("asyncio")
@pytest.mark.parametrize("scheme", ["http", "ws"])
async def test_two_relays_that_lead_to_each_other(scheme: str) -> None:
    """The mark of the first comes back to it by the second."""
    one, other = free_port(), free_port()
    words = [
        ("--share", "session", "--listen", f"http://127.0.0.1:{here}/mcp", f"{scheme}://127.0.0.1:{there}/mcp")
        for here, there in ((one, other), (other, one))
    ]
    with run_words(*words[0]) as first, run_words(*words[1]) as second:
        async with asyncio.timeout(20):
            assert "itself" in await said_to_http(first.base)
        assert max(descriptors(first), descriptors(second)) < 64


async def test_connections_that_are_never_answered_have_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """No mark passes TCP: but in a loop no connection is ever answered. An answer makes room."""
    monkeypatch.setattr(targets, "_MOST_UNANSWERED", 3)
    peers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: peers.append(writer), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    target = AddressTarget(f"tcp://127.0.0.1:{port}", DiallingOptions(limits=Limits(find_out=0.1, close_grace=0.1)))
    endpoints = [target.endpoint() for _ in range(5)]
    for endpoint in endpoints[:3]:
        await endpoint.send([Frame(initialize())])
    await endpoints[3].send([Frame(initialize())])
    (refused,) = await endpoints[3].receive()
    error = json.loads(refused.raw)
    assert error["id"] == 0
    assert error["error"]["data"]["delivered"] == "no"
    assert "does it lead back to this relay?" in error["error"]["message"]
    while len(peers) < 3:
        await asyncio.sleep(0.005)
    peers[0].write(b'{"jsonrpc":"2.0","method":"notifications/message"}\n')
    assert await endpoints[0].receive()
    await endpoints[4].send([Frame(initialize())])
    while len(peers) < 4:
        await asyncio.sleep(0.005)
    for endpoint in endpoints:
        await endpoint.aclose()
    for peer in peers:
        peer.transport.abort()
    server.close()
    await server.wait_closed()
