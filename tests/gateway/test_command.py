"""``mcp-relay gateway`` and ``as thelia``: what starts, what does not, and what the log shows."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from relay.app.commands import gateway as command
from relay.app.dropins import native_args
from relay.app.dropins.thelia import read_env_file
from relay.app.log.stderr import StderrSink
from relay.errors import ConfigError
from tests import warm_start
from tests.gateway.far import far
from tests.gateway.house import OTHER, TOKEN

WEAK = "weak-token"


class Program:
    """A gateway in a process of its own."""

    def __init__(self, process: warm_start.Process) -> None:
        self.process = process
        self.said = ""
        self.base = ""

    async def wait_for(self, text: str) -> None:
        """Read what it says until it says this."""
        assert self.process.stderr is not None
        async with asyncio.timeout(20):
            while text not in self.said:
                line = await self.process.stderr.readline()
                assert line, self.said
                self.said += line.decode()

    async def start(self) -> None:
        await self.wait_for("listening on ")
        self.base = self.said.split("listening on ")[1].split("/proxy")[0]

    async def end(self) -> str:
        """End it in good order; return all that it has said."""
        assert self.process.stderr is not None
        self.process.send_signal(signal.SIGTERM)
        self.said += (await self.process.stderr.read()).decode()
        assert await self.process.wait() == 0, self.said
        return self.said


@asynccontextmanager
async def running(*words: str, env: Mapping[str, str], cwd: Path | None = None) -> AsyncIterator[Program]:
    """Run ``mcp-relay`` with these words."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PROXY_TOKEN", "HOST", "PORT")}
    where: dict[str, Any] = {} if cwd is None else {"cwd": str(cwd)}
    process = await warm_start.Process.start(
        sys.executable, "-m", "relay", *words, stderr=asyncio.subprocess.PIPE, env={**kept, **env}, **where
    )
    program = Program(process)
    try:
        await program.start()
        yield program
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        process.close()


async def post(base: str, token: str, server: str, **more: object) -> tuple[int, str]:
    """Call a server; return the status and the body."""
    async with aiohttp.ClientSession() as session:
        body = {"mcp_server_url": server, "method": "tools/call", **more}
        async with session.post(f"{base}/proxy", json=body, headers={"X-Proxy-Token": token}) as response:
            return response.status, await response.text()


@pytest.mark.only_loop("uvloop")
async def test_a_gateway_with_several_tokens(tmp_path: Path) -> None:
    """Tokens are read again at SIGHUP; no token, and no address with one, is in the log."""
    tokens = tmp_path / "tokens"
    tokens.write_text(f"alice {TOKEN}\n")
    words = ("gateway", "--port", "0", "--proxy-token-file", str(tokens), "--proxy-allow-net", "127.0.0.0/8", "--debug")
    async with far() as server, running(*words, env={"PROXY_TOKEN": WEAK}) as program:
        for token, status in ((TOKEN, 200), (WEAK, 200), (OTHER, 401)):
            assert (await post(program.base, token, server.url, mcp_token="upstream-secret"))[0] == status
        tokens.write_text(f"alice {OTHER}\n")
        program.process.send_signal(signal.SIGHUP)
        await program.wait_for("read the tokens of clients again: 2")
        assert (await post(program.base, OTHER, server.url))[0] == 200
        assert (await post(program.base, TOKEN, server.url))[0] == 401
        async with aiohttp.ClientSession() as session:
            query = {"proxy_token": OTHER, "mcp_server_url": server.url, "mcp_token": "upstream-secret"}
            async with session.ws_connect(f"{program.base}/ws", params=query) as socket:
                await socket.send_str('{"jsonrpc":"2.0","id":1,"method":"tools/list"}')
                assert (await socket.receive_json(timeout=10))["id"] == 1
        said = await program.end()
        await server.wait_for(lambda methods: "DELETE" in methods)
        assert "PROXY_TOKEN is short" in said
        assert not any(secret in said for secret in (TOKEN, OTHER, WEAK, "upstream-secret", "proxy_token="))


@pytest.mark.only_loop("uvloop")
async def test_as_thelia(tmp_path: Path) -> None:
    """Its variables, and its file of them; pages of every origin, with a warning, without the browser's credentials."""
    (tmp_path / ".env").write_text(f'PROXY_TOKEN="{TOKEN}"\nHOST=127.0.0.1 # here\nexport PORT=1\nOTHER=x\n')
    async with running("as", "thelia", env={"PORT": "0"}, cwd=tmp_path) as program:
        assert "WARNING: --allow-origin '*'" in program.said
        async with aiohttp.ClientSession() as session:
            headers = {"Origin": "https://any.example", "X-Proxy-Token": TOKEN}
            body = {"mcp_server_url": "http://127.0.0.1:1/", "method": "m"}
            async with session.post(f"{program.base}/proxy", json=body, headers=headers) as response:
                assert response.status == 400  # this machine is not public
                assert response.headers["Access-Control-Allow-Origin"] == "*"
                assert "Access-Control-Allow-Credentials" not in response.headers
        await program.end()


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ((), "PROXY_TOKEN is not set"),
        (("--proxy-token-file", "/nowhere/tokens"), "'/nowhere/tokens' cannot be read"),
        (("--proxy-allow", "http://a.example/"), "--proxy-allow: 'http://a.example/' is not a host"),
        (("--proxy-allow-net", "10.0.0.1/8"), "--proxy-allow-net: '10.0.0.1/8' is not a network"),
        (("--proxy-deny", "x"), "--proxy-deny: 'x' is not a network"),
        (("--allow-origin", "app.example.com"), "is not an origin"),
        (("--tls-key", "x"), "--tls-key has no effect without --tls-cert"),
        (("--port", "70000"), "'70000' is not a port"),
    ],
)
def test_mistakes_of_the_operator(words: tuple[str, ...], fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line that names what to change."""
    monkeypatch.delenv("PROXY_TOKEN", raising=False)
    if words and "--proxy-token-file" not in words:
        monkeypatch.setenv("PROXY_TOKEN", TOKEN)
    with pytest.raises(ConfigError, match=fault):
        command.gateway(words, StderrSink()).close()


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, ["--host", "0.0.0.0", "--port", "8000"]),
        ({"HOST": "127.0.0.1", "PORT": "9"}, ["--host", "127.0.0.1", "--port", "9"]),
    ],
)
def test_arguments_of_thelia(
    variables: dict[str, str], expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The gateway gets native options; a wrong port is a mistake."""
    monkeypatch.chdir(tmp_path)
    for name in ("HOST", "PORT", "PROXY_TOKEN", "no_proxy", "API_ACCESS_TOKEN"):
        monkeypatch.setenv(name, "x")  # restored at the end, whatever the reader does
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert native_args("thelia", [], StderrSink()) == ["gateway", *expected, "--allow-origin", "*"]
    monkeypatch.setenv("PORT", "x")
    with pytest.raises(ConfigError, match="PORT: 'x' is not a port"):
        native_args("thelia", [], StderrSink())


def test_a_file_of_variables(tmp_path: Path) -> None:
    """Quotes, comments, ``export``, a byte order mark; other lines do not count, and no file is no mistake."""
    file = tmp_path / ".env"
    assert read_env_file(str(file)) == {}
    file.write_bytes(b"\xef\xbb\xbfA=1\r\n# B=2\n export C = 'x y' # c\nD=\"#\"\nE=a#b #c\nF=\nnonsense\n")
    assert read_env_file(str(file)) == {"A": "1", "C": "x y", "D": "#", "E": "a#b", "F": ""}
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not a text file"):
        read_env_file(str(file))
