"""`relay.listen(spec)` returns the same kind of listener for every transport."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest

import relay
from relay.errors import ConfigError
from tests.e2e.oracle import Client, initialize

SERVER = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    if "id" in asked:
        result = {"protocolVersion": "2025-11-25", "method": asked["method"]}
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}), flush=True)
"""
INITIALIZE = relay.Frame(
    b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-11-25","capabilities":{}}}'
)


@pytest.mark.parametrize("kind", ["http://127.0.0.1:0/mcp", "ws://127.0.0.1:0/mcp", "tcp://localhost:0", "unix:"])
async def test_each_kind_serves_two_clients(kind: str, tmp_path: Path) -> None:
    """An endpoint for each; `url` has the port that was given and is what `connect` takes."""
    listener = await relay.listen(f"unix:{tmp_path}/s" if kind == "unix:" else kind)
    assert re.fullmatch(
        r"http://127\.0\.0\.1:[1-9]\d*/mcp|tcp://(127\.0\.0\.1|\[::1\]):[1-9]\d*|unix:/.*/s", listener.url
    )
    came: list[relay.Endpoint] = []

    async def serve(group: asyncio.TaskGroup) -> None:
        async for client in listener:
            came.append(client)
            server = relay.connect([sys.executable, "-S", "-c", SERVER], limits=relay.Limits(close_grace=0.5))
            group.create_task(relay.pipe(client, server))

    async with asyncio.TaskGroup() as group:
        serving = group.create_task(serve(group))
        for _ in range(2):
            client = relay.connect(listener.url.replace("http", "ws") if kind.startswith("ws") else listener.url)
            await client.send([INITIALIZE])
            (answer,) = await client.receive()
            assert answer.head.id == 1
            await client.aclose()
        await listener.aclose()
        await listener.aclose()
        await serving
    assert len(came) == 2


def test_own_stdio_is_one_client() -> None:
    """It is yielded once; `url` is the spec."""
    code = """
import asyncio, sys, relay
async def main():
    listener = await relay.listen("stdio:")
    print(listener.url, file=sys.stderr)
    async for client in listener:
        frames = await client.receive()
        await client.send(frames)
        await client.send_eof()
        await client.aclose()
        await listener.aclose()
asyncio.run(main())
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], input='{"method":"x"}\n', capture_output=True, text=True, timeout=20
    )
    assert (ended.stdout, ended.stderr) == ('{"method":"x"}\n', "stdio:\n")


@pytest.mark.parametrize("spec", ["127.0.0.1", "http://127.0.0.1:0/other", "ftp://x", "unix:"])
async def test_a_spec_that_is_none(spec: str) -> None:
    """A ConfigError that says what would be, in words that are no command line's."""
    with pytest.raises(relay.RelayError, match="^cannot listen: '") as caught:
        await relay.listen(spec)
    assert "--listen" not in str(caught.value)


@pytest.mark.parametrize("spec", ["https://127.0.0.1:0/mcp", "wss://127.0.0.1:0/mcp", "tls://127.0.0.1:0"])
async def test_tls_wants_a_certificate(spec: str) -> None:
    """Without a context nothing listens."""
    with pytest.raises(relay.RelayError, match="TLS needs a context with a certificate"):
        await relay.listen(spec)


async def test_tokens_from_python() -> None:
    """Clients with one are admitted under its name, and share no server with those of another name."""
    tokens = {"ada": "ada-" + "a" * 40, "bob": "bob-" + "b" * 40}
    listener = await relay.listen(tokens=tokens)
    made: list[relay.Endpoint] = []

    def make() -> relay.Endpoint:
        near, far = relay.memory_pair()
        made.append(far)
        return near

    server = relay.shared(make)
    base = listener.url.removesuffix("/mcp")
    try:
        async with Client(base) as stranger, asyncio.TaskGroup() as group:
            assert (await stranger.post(initialize())).status == 401
            sessions = aiter(listener)
            posts = []
            for name in ("ada", "bob"):
                posts.append(group.create_task(stranger.post(initialize(), authorization=f"Bearer {tokens[name]}")))
                client = await anext(sessions)
                assert getattr(client, "owner", None) == name
                group.create_task(relay.pipe(client, server.session(client)))
            async with asyncio.timeout(20):
                while len(made) < 2:
                    await asyncio.sleep(0.01)
            for post in posts:
                post.cancel()
            await server.aclose()
            await listener.aclose()
    finally:
        await server.aclose()
        await listener.aclose()
    with pytest.raises(ConfigError, match="only HTTP can ask for a token"):
        await relay.listen("tcp://127.0.0.1:0", tokens=tokens)
