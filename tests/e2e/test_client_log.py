"""`--log-to client` sends the relay's warnings as MCP notifications, only when and if a client accepts them."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import subprocess
import sys

import pytest

from relay.app.log.client import ClientLog
from relay.endpoints.core.memory import memory_pair
from relay.endpoints.stdio.own_stdio import OwnStdio
from relay.frames.frame import Frame
from tests import warm_start
from tests.e2e.conversation import INITIALIZE, INITIALIZED, Program, request
from tests.e2e.fault_server import Exchange, FaultServer, Message, Script, result

TO_CLIENT = ("--log-to", "client")


class Confused(Script):
    """Answers each call twice, the first time somebody else's; `initialize` too."""

    async def stray(self, exchange: Exchange, name: object) -> None:
        await exchange.open_stream()
        await exchange.event({"jsonrpc": "2.0", "id": name, "result": {}})

    async def initialize(self, exchange: Exchange) -> None:
        await exchange.open_stream({"Mcp-Session-Id": self.open_session()})
        await exchange.event({"jsonrpc": "2.0", "id": "nobody's handshake", "result": {}})
        await exchange.event(self.welcome(exchange))
        await exchange.end()

    async def call(self, exchange: Exchange) -> None:
        if exchange.message["method"] in ("tools/call", "subscriptions/listen"):
            await self.stray(exchange, exchange.message["params"].get("stray", "nobody's"))
        else:
            await exchange.open_stream()
        await exchange.event(result(exchange.message))
        await exchange.end()


def warnings_in(program: Program) -> list[Message]:
    return [one["params"] for one in program.others if one["method"] == "notifications/message"]


async def test_warnings_reach_the_client_after_its_handshake(loop_name: str) -> None:
    """One before that is on stderr; the others are notifications, before the answer that they were found beside."""
    async with FaultServer.running(Confused()) as server:
        async with Program.running(server.url, *TO_CLIENT, loop=loop_name) as program:
            await program.handshake()
            await program.call(1)
            await program.until(lambda: warnings_in(program))
            kinds = [one.get("method", one.get("id")) for one in program.messages]
            assert kinds == ["init", "notifications/message", 1]
            (said,) = warnings_in(program)
            url = f"http://127.0.0.1:{server.port}/mcp"
            text = f'{url}: dropped an answer to "nobody\'s", which no request waits for'
            assert said == {"level": "warning", "logger": "mcp-relay", "data": text}
        assert program.stderr.count("nobody's handshake") == 1
        assert program.stderr.count("dropped an answer") == 1


@pytest.mark.only_loop("asyncio")
async def test_by_default_everything_is_on_stderr(loop_name: str) -> None:
    """Nobody gets messages that were not asked for."""
    async with FaultServer.running(Confused()) as server, Program.running(server.url, loop=loop_name) as program:
        await program.handshake()
        await program.call(1)
    assert not program.others
    assert program.stderr.count("dropped an answer") == 2


async def test_the_clients_level_is_kept(loop_name: str) -> None:
    """After `logging/setLevel` with error, a warning is said on stderr; with debug it comes again."""
    async with FaultServer.running(Confused()) as server:
        async with Program.running(server.url, *TO_CLIENT, loop=loop_name) as program:
            await program.handshake()
            for number, (level, expected) in enumerate([("error", 0), ("debug", 1), ("nonsense", 2), ("alert", 2)]):
                await program.call(f"level {number}", "logging/setLevel", level=level)
                await program.call(number, stray=f"after {level}")
                assert len(warnings_in(program)) == expected, level
        assert "after error" in program.stderr
        assert "after alert" in program.stderr
        assert "after debug" not in program.stderr


@pytest.mark.only_loop("asyncio")
async def test_secrets_are_masked(loop_name: str) -> None:
    """As on stderr."""
    async with FaultServer.running(Confused()) as server:
        options = (*TO_CLIENT, "-H", "Authorization", "Bearer canary-token")
        async with Program.running(server.url, *options, loop=loop_name) as program:
            await program.handshake()
            await program.call(1, stray="is it canary-token")
            await program.call(2, stray="https://x/?access_token=canary-two")
            said = [one["data"] for one in warnings_in(program)]
    assert "is it ***" in said[0]
    assert "access_token=***" in said[1]
    assert "canary" not in " ".join([*said, program.stderr])


@pytest.mark.only_loop("asyncio")
async def test_a_flood_is_for_the_operator(loop_name: str) -> None:
    """Twenty at once, then one a second; the rest is on stderr, and nothing is lost."""
    async with FaultServer.running(Confused()) as server:
        async with Program.running(server.url, *TO_CLIENT, loop=loop_name) as program:
            await program.handshake()
            for number in range(50):
                await program.call(number)
        told = len(warnings_in(program))
        assert 20 <= told < 50
        assert told + program.stderr.count("dropped an answer") == 51


class Unreached(Script):
    """Closes each connection: no request is answered."""

    async def answer(self, exchange: Exchange) -> None:
        exchange.cut()


META = "io.modelcontextprotocol/"


def modern(request_id: object, method: str = "tools/call", **meta: object) -> Message:
    version = {META + "protocolVersion": "2026-07-28", META + "clientCapabilities": {}}
    return request(
        request_id, method, name="x", _meta={**version, **{META + key: value for key, value in meta.items()}}
    )


async def test_of_2026_07_28_only_who_asks_is_told(loop_name: str) -> None:
    """By `logLevel` in the request's `_meta`, while that request is open, and not on a subscription's account."""
    async with FaultServer.running(Confused()) as server:
        async with Program.running(server.url, *TO_CLIENT, loop=loop_name) as program:
            for name, asks in {
                "silent": modern("silent"),
                "asks": modern("asks", logLevel="info"),
                "higher": modern("higher", logLevel="critical"),
                "later": modern("later"),
                "subscribed": modern("subscribed", "subscriptions/listen", logLevel="debug"),
            }.items():
                await program.send(asks)
                await program.answer(name)
            kinds = [one.get("method", one.get("id")) for one in program.messages]
            assert kinds == ["silent", "notifications/message", "asks", "higher", "later", "subscribed"]
        assert program.stderr.count("dropped an answer") == 4


@pytest.mark.only_loop("asyncio")
async def test_a_server_that_cannot_be_reached_before_the_handshake(loop_name: str) -> None:
    """It is on stderr, as there is nobody yet who may be told."""
    async with FaultServer.running(Script()) as server:
        url = server.url
    async with Program.running(url, *TO_CLIENT, loop=loop_name, exit_code=1) as program:
        await program.send(INITIALIZE)
        assert "error" in await program.answer("init")
    assert not program.others
    assert "cannot connect" in program.stderr


@pytest.mark.parametrize(
    "words",
    [
        [*TO_CLIENT, "--", "true"],
        [*TO_CLIENT, "--listen", "tcp://127.0.0.1:0", "http://127.0.0.1:9/mcp"],
        [*TO_CLIENT, "--listen", "stdio:", "--listen", "tcp://127.0.0.1:0", "tcp://127.0.0.1:9"],
        ["load-balance", *TO_CLIENT, "--endpoints", "tcp://127.0.0.1:9", "--listen", "tcp://127.0.0.1:0"],
    ],
)
def test_where_there_is_no_own_stdio(words: list[str]) -> None:
    """Exit code 2, one line that says where it works."""
    ended = subprocess.run([sys.executable, "-m", "relay", *words], capture_output=True, text=True, timeout=20)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("mcp-relay: --log-to client is for a client on own stdio")
    assert ended.stderr.count("\n") == 1


def test_an_idle_run_does_not_load_it() -> None:
    """Start-up pays for nothing that was not asked for."""
    code = "import sys, relay.cli, relay.app.run.bridge; print('relay.app.log.client' in sys.modules)"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20)
    assert ended.stdout == "False\n"


@pytest.mark.only_loop("asyncio")
async def test_a_command_and_several_servers_behind_own_stdio() -> None:
    """`--listen stdio:` before a command, and `proxy`, have a client to tell, too."""
    async with FaultServer.running(Confused()) as server:
        for words in (
            ["--listen", "stdio:", "--max-frame-bytes", "300", *TO_CLIENT, "--", sys.executable, "-c", NOISY],
            ["proxy", "--endpoint", server.url, *TO_CLIENT],
        ):
            process = await warm_start.Process.start(
                *(sys.executable, "-m", "relay", *words), stdin=subprocess.PIPE, stdout=subprocess.PIPE
            )
            assert process.stdin is not None
            assert process.stdout is not None
            kinds: list[object] = []
            for message, last in ((INITIALIZE, "init"), (INITIALIZED, "init"), (request(1), 1)):
                process.stdin.write(json.dumps(message).encode() + b"\n")
                while last not in kinds:
                    line = json.loads(await asyncio.wait_for(process.stdout.readline(), 10))
                    kinds.append(line.get("method", line.get("id")))
            assert kinds == ["init", "notifications/message", 1], words
            process.stdin.close()
            assert await process.wait() == 0


NOISY = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    if "id" in asked:
        if asked["method"] == "tools/call":
            print(json.dumps({"jsonrpc": "2.0", "method": "x", "params": {"fill": "x" * 999}}), flush=True)
        result = {"protocolVersion": "2025-11-25"}
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": result}), flush=True)
"""


async def test_what_a_client_is_never_told() -> None:
    """Tracebacks, lines below warning, other libraries' words, and anything once it has closed stdin."""
    reading, writing = os.pipe()
    out, into = os.pipe()
    stdio = await OwnStdio.open(stdin=reading, stdout=into)
    near, far = memory_pair()
    log = ClientLog(stdio, [])
    log.look(stdio, far, [Frame(json.dumps(INITIALIZE).encode())])
    log.look(far, stdio, [Frame(b'{"jsonrpc":"2.0","id":"init","result":{}}')])

    def record(name: str = "relay", level: int = logging.WARNING, *, traceback: bool = False) -> logging.LogRecord:
        info = (ValueError, ValueError(), None) if traceback else None
        return logging.LogRecord(name, level, "x.py", 1, "said %d", (1,), info)

    assert not log.take(record()), "initialized has not come"
    log.look(stdio, far, [Frame(json.dumps(INITIALIZED).encode())])
    assert not log.take(record(level=logging.INFO))
    assert not log.take(record("aiohttp"))
    assert not log.take(record(level=logging.ERROR, traceback=True))
    assert not await asyncio.to_thread(log.take, record()), "another thread must not write"
    assert log.take(record(level=logging.ERROR))
    log.side_finished(stdio, None)
    assert not log.take(record())
    await stdio.aclose()
    assert os.read(out, 9999) == (
        b'{"jsonrpc":"2.0","method":"notifications/message",'
        b'"params":{"level":"error","logger":"mcp-relay","data":"said 1"}}\n'
    )
    await near.aclose()
    for descriptor in (reading, writing, out, into):
        os.close(descriptor)
