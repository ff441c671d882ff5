"""Clients of the official SDKs that log in, and tokens that a real authorization server, oidc-provider, has issued."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from relay.auth.outbound.logins import basic_authorization
from tests import peers
from tests.e2e.oracle import Client, initialize, run_relay

pytestmark = [pytest.mark.only_loop("uvloop"), pytest.mark.timeout(90)]

HERE = Path(__file__).parent / "logins"
SERVER = [sys.executable, "-m", "relay.demo.server"]
TOKEN = "the-static-token-of-a-client-of-an-sdk"


@pytest.fixture(scope="module")
def issuer() -> Iterator[str]:
    """Start the authorization server once; return its origin, which is its name."""
    peers.install("oidc")
    pipe = subprocess.PIPE
    with subprocess.Popen(peers.authorization_server(), stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as server:
        assert server.stdout is not None and server.stdin is not None
        yield server.stdout.readline().decode().strip()
        server.stdin.close()


async def machine_token(issuer: str, resource: str, scope: str = "mcp:read") -> str:
    """Get a token as a machine does."""
    form = {"grant_type": "client_credentials", "resource": resource, "scope": scope}
    login = {"Authorization": basic_authorization("machine", "the-secret-of-the-machine")}
    async with aiohttp.ClientSession(headers=login) as session, session.post(f"{issuer}/token", data=form) as response:
        answer = await response.json()
    assert response.status == 200, answer
    return str(answer["access_token"])


async def run_client(sdk: str, url: str, token: str | None) -> Any:
    """Run a client to its end; return what it saw."""
    peers.install(sdk)
    words = [str(peers.python("py2")), str(HERE / "client_py2.py")]
    if sdk == "ts2":
        words = [*peers.node_command(), str(HERE / "client_ts2.mjs")]
    environment = {**os.environ, **({} if token is None else {"TOKEN": token})}
    pipe = asyncio.subprocess.PIPE
    client = await asyncio.create_subprocess_exec(*words, url, stdout=pipe, stderr=pipe, env=environment)
    out, said = await client.communicate()
    assert client.returncode == 0, said.decode()[-3000:]
    return json.loads(out)


def check(seen: Any, *, has_browser: bool = False) -> None:
    assert "echo" in seen["tools"] and seen["texts"] == [f"{number}" for number in range(20)]
    assert seen["has_browser"] is has_browser


async def test_an_sdk_with_a_static_token() -> None:
    """It sends the token with every request: POST, GET and DELETE."""
    with run_relay("--accept-token", "sdk=env:SDK_TOKEN", command=SERVER, env={"SDK_TOKEN": TOKEN}) as relay:
        check(await run_client("ts2", f"{relay.base}/mcp", TOKEN))
        assert not any(TOKEN in line for line in relay.said)


async def test_i_08_a_person_logs_in_with_an_sdk(issuer: str) -> None:
    """The SDK finds the authorization server by the relay's metadata, registers, and gets a signed token."""
    port = peers.free_port()
    resource = f"http://127.0.0.1:{port}/mcp"
    words = ("--auth", "jwt", "--issuer", issuer, "--audience", resource, "--required-scope", "mcp:read")
    with run_relay(*words, "--port", str(port), command=SERVER) as relay:
        check(await run_client("py2", f"{relay.base}/mcp", None), has_browser=True)
        async with Client(relay.base) as client:
            for token, status in (
                (await machine_token(issuer, resource), 200),
                (await machine_token(issuer, resource, "mcp:write"), 403),
                (await machine_token(issuer, "http://127.0.0.1:1/mcp"), 401),
                (await machine_token(issuer, f"{resource}/opaque"), 401),
            ):
                response = await client.post(initialize(), authorization=f"Bearer {token}")
                await client.finished(response)
                assert response.status == status, response.headers
                assert not any(token in line for line in relay.said)


async def test_i_08_a_real_server_is_asked_about_opaque_tokens(issuer: str) -> None:
    """By introspection; a token that is for another server is active, and no good here."""
    resource = "http://127.0.0.1:7/opaque"
    words = ["--auth", "introspection", "--issuer", issuer, "--audience", resource]
    words += ["--introspection-url", f"{issuer}/token/introspection", "--introspection-client-id", "machine"]
    words += ["--introspection-client-secret", "env:MACHINE"]
    with run_relay(*words, command=SERVER, env={"MACHINE": "the-secret-of-the-machine"}) as relay:
        async with Client(relay.base) as client:
            for token, status in (
                (await machine_token(issuer, resource), 200),
                (await machine_token(issuer, "http://127.0.0.1:8/opaque"), 401),
                ("no-token-of-anybody", 401),
            ):
                response = await client.post(initialize(), authorization=f"Bearer {token}")
                await client.finished(response)
                assert response.status == status, response.headers
