"""``mcp-relay proxy`` and ``load-balance`` with real servers, one killed and one that never answers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import shlex
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests import peers, warm_start
from tests.e2e.oracle import (
    Client,
    Oracle,
    Response,
    initialize,
    notification,
    request,
    run_relay,
    run_words,
    stdio_server,
)

pytestmark = pytest.mark.timeout(120)

MODERN = "2026-07-28"
META = {"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}}
META_TEXT = f'"_meta":{json.dumps(META)}'
TIMEOUT = 1.0


class ModernClient(Client):
    """A client of 2026-07-28."""

    async def post(self, frame: bytes, **headers: str | None) -> Response:
        matched = re.search(rb'"method": ?"([^"]*)"', frame)
        assert matched
        chosen = {"mcp-protocol-version": MODERN, "mcp-method": matched.group(1).decode(), **headers}
        return await super().post(frame, **chosen)


@contextlib.asynccontextmanager
async def swallowing() -> AsyncIterator[str]:
    """A server that accepts and reads everything, and says nothing; its address."""

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while await reader.read(65536):
                pass
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp"


class Judge:
    """Asks, and has every answer judged: the oracle's echo, or an error that says what became of the request."""

    def __init__(self) -> None:
        self.oracle = Oracle()
        self.failed: list[tuple[object, str, str]] = []
        self.answered = 0
        self._failed_tags: set[str] = set()

    async def call(self, client: Client, number: int, *, more: str = "") -> str:
        """Make one call; return what kind of end it had."""
        frame = self.oracle.ask(client.name, str(number), more=more)
        response = await client.post(frame)
        frames = await client.finished(response)
        if response.status == 404 and b'"result"' not in b"".join(frames):
            self._forget(frame)
            return "no session"
        (answer,) = frames
        if b'"error"' in answer[:80]:
            read = json.loads(answer)
            assert read["id"] == number
            self.failed.append((number, read["error"]["message"], read["error"]["data"]["delivered"]))
            self._forget(frame)
            return "failed"
        self.oracle.judge(client.name, answer)
        self.answered += 1
        return "answered"

    def _forget(self, frame: bytes) -> None:
        del self.oracle._asked[json.loads(frame)["params"]["tag"]]


async def test_requests_without_a_session(loop_name: str) -> None:
    """One killed, one that swallows, eight clients at once: at most three fail, and say so; who was killed is back."""
    ports = peers.free_port(), peers.free_port()
    judge = Judge()
    pids: set[int] = set()
    with contextlib.ExitStack() as stack:
        stack.enter_context(run_relay("--port", str(ports[0])))
        killed = stack.enter_context(run_relay("--port", str(ports[1])))
        async with swallowing() as hole:
            urls = [f"http://127.0.0.1:{ports[0]}/mcp", f"http://127.0.0.1:{ports[1]}/mcp", hole]
            relay = stack.enter_context(run_words(*_words(urls)))
            clients = [ModernClient(relay.base, f"client {number}") for number in range(8)]

            async def talk(client: Client, count: int) -> None:
                for number in range(count):
                    await judge.call(client, number, more=META_TEXT)

            async def pid() -> int:
                (answer,) = await clients[0].call(request(0, "pid", _meta=META))
                return int(json.loads(answer)["result"]["pid"])

            for client in clients:
                await talk(client, 1)  # what servers are like is known by now, but for who swallows
            await asyncio.gather(*(talk(client, 50) for client in clients))
            before = {await pid() for _ in range(6)}
            assert len(before) == 2
            killed.process.kill()
            killed.process.wait(5)
            await asyncio.gather(*(talk(client, 50) for client in clients))
            assert len(judge.failed) <= 3, judge.failed
            assert all(delivered == "unknown" and "no answer within 1 s" in said for _, said, delivered in judge.failed)
            judge.oracle.finish()
            assert judge.answered == 8 * 101 - len(judge.failed)

            stack.enter_context(run_relay("--port", str(ports[1])))
            clock = asyncio.get_running_loop().time
            recovered = clock()
            while len(pids - before) < 1:
                pids.add(await pid())
                assert clock() - recovered < 10, "it is not back"
                await asyncio.sleep(0.05)
            for client in clients:
                client.close()
        assert any("has recovered" in line for line in relay.said)


async def test_sessions(loop_name: str) -> None:
    """Each stays where it began; those of the killed one are told to begin anew; at most three requests fail."""
    ports = peers.free_port(), peers.free_port()
    judge = Judge()
    with contextlib.ExitStack() as stack:
        stack.enter_context(run_relay("--port", str(ports[0])))
        killed = stack.enter_context(run_relay("--port", str(ports[1])))
        async with swallowing() as hole:
            urls = [f"http://127.0.0.1:{ports[0]}/mcp", f"http://127.0.0.1:{ports[1]}/mcp", hole]
            relay = stack.enter_context(run_words(*_words(urls)))
            refusals: list[dict[str, Any]] = []

            async def begin(client: Client) -> None:
                client.session = None
                while client.session is None:
                    response = await client.post(initialize())
                    (answer,) = await client.finished(response)
                    if b'"error"' in answer:
                        refusals.append(json.loads(answer)["error"])
                    else:
                        client.session = response.headers["mcp-session-id"]
                await client.finished(await client.post(notification("notifications/initialized")))

            clients = [Client(relay.base, f"client {number}") for number in range(6)]
            for client in clients:
                await begin(client)

            async def pid(client: Client) -> int:
                (answer,) = await client.call(request(0, "pid"))
                return int(json.loads(answer)["result"]["pid"])

            homes = [await pid(client) for client in clients]
            assert len(set(homes)) == 6
            for number in range(1, 20):
                ends = await asyncio.gather(*(judge.call(client, number) for client in clients))
                assert set(ends) == {"answered"}
            assert [await pid(client) for client in clients] == homes
            judge.oracle.finish(6 * 19)

            killed.process.kill()
            killed.process.wait(5)
            # What is sent over a connection whose end has not been read yet is lost with the server.
            while any(getattr(one.raddr, "port", 0) == ports[1] for one in psutil.Process(relay.pid).net_connections()):
                await asyncio.sleep(0.01)
            renewed: list[str] = []

            async def talk(client: Client) -> None:
                for number in range(20, 40):
                    if (end := await judge.call(client, number)) == "no session":
                        renewed.append(client.name)
                        await begin(client)
                        end = await judge.call(client, number)
                    assert end == "answered", judge.failed

            await asyncio.gather(*(talk(client) for client in clients))
            assert len(set(renewed)) == len(renewed) == 3, "the sessions of the killed one, each once"
            assert not any("is not asked any more" in line for line in relay.said), "it is said once, for the server"
            assert not judge.failed and 1 <= len(refusals) <= 3, "what the one that swallows was given"
            assert all("no answer within 1 s" in one["message"] for one in refusals)
            assert {one["data"]["delivered"] for one in refusals} == {"unknown"}
            assert [await pid(client) in homes for client in clients].count(True) == 3

            revived = stack.enter_context(run_relay("--port", str(ports[1])))
            async with asyncio.timeout(10):
                while revived.pid not in [one.pid for one in psutil.Process(await pid(clients[0])).parents()]:
                    await begin(clients[0])
            judge.oracle.finish()
            for client in clients:
                client.close()


def _words(urls: Sequence[str]) -> list[str]:
    return [
        "load-balance", "--endpoints", ",".join(urls), "--timeout", str(TIMEOUT), "--retry-delay", "50",
        "--listen", "http://127.0.0.1:0/mcp",
    ]  # fmt: skip


async def test_commands_for_clients_of_a_socket(loop_name: str) -> None:
    """Each connection is a session with a child of its own, from either command by turns; none is left behind."""
    port = peers.free_port()
    one = shlex.join(stdio_server())
    listening = ["--listen", f"tcp://127.0.0.1:{port}", "--listen", "http://127.0.0.1:0/mcp"]  # the last one is seen
    with run_words("load-balance", "--endpoints", f"{one},{one} --version 2025-06-18", *listening) as relay:
        oracle = Oracle()
        versions: list[str] = []

        async def talk(name: str) -> int:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(initialize() + b"\n" + notification("notifications/initialized") + b"\n")
            versions.append(json.loads(await reader.readline())["result"]["protocolVersion"])
            writer.writelines(oracle.ask(name, str(number)) + b"\n" for number in range(1, 101))
            for _ in range(100):
                oracle.judge(name, (await reader.readline()).rstrip(b"\n"))
            writer.write(request(101, "pid") + b"\n")
            pid = int(json.loads(await reader.readline())["result"]["pid"])
            writer.write_eof()
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()
            return pid

        pids = await asyncio.gather(*(talk(f"client {number}") for number in range(4)))
        oracle.finish(400)
        assert len(set(pids)) == 4
        assert sorted(versions) == ["2025-06-18"] * 2 + ["2025-11-25"] * 2
        relay.process.terminate()
        assert await relay.exit_code(10) == 0
        assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


# Own stdio.


def spoken(*words: str, lines: Sequence[bytes]) -> tuple[list[object], str, int]:
    """Run the program with these lines on stdin; return what it wrote, and its exit code."""
    done = warm_start.run(
        [sys.executable, "-m", "relay", *words], input=b"".join(line + b"\n" for line in lines), capture_output=True,
        timeout=40,
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr.decode(), done.returncode


def test_a_fallback_on_own_stdio() -> None:
    """The first cannot be reached, a program is not there: all that was said goes to the last, once."""
    oracle = Oracle()
    dead = f"http://127.0.0.1:{peers.free_port()}/mcp"
    lines = [initialize(), notification("notifications/initialized"), *(oracle.ask("me", str(n)) for n in range(1, 50))]
    words = ["proxy", "--endpoint", dead, "--fallbacks", f"tcp,/no/such/program,{shlex.join(stdio_server())}"]
    done = warm_start.run(
        [sys.executable, "-m", "relay", *words],
        input=b"".join(line + b"\n" for line in lines), capture_output=True, timeout=40,
    )  # fmt: skip
    first, *answers = done.stdout.splitlines()
    assert b"serverInfo" in first
    for answer in answers:
        oracle.judge("me", answer)
    oracle.finish(49)
    assert done.returncode == 0, done.stderr


def test_nobody_there_on_own_stdio() -> None:
    """An error that says what each answered; exit code 1, as for one server that is never reached."""
    ports = peers.free_port(), peers.free_port()
    found, said, code = spoken(
        "load-balance", "--endpoints", f"http://127.0.0.1:{ports[0]}/mcp,127.0.0.1:{ports[1]}", "--retry-attempts", "2",
        "--retry-delay", "10", lines=[initialize()],
    )  # fmt: skip
    (answer,) = found
    assert isinstance(answer, dict)
    assert answer["error"]["data"] == {"delivered": "no"}
    assert answer["error"]["message"] == (
        f"none of 2 servers could be reached, tried 2 times: http://127.0.0.1:{ports[0]}/mcp: cannot connect: "
        f"Connection refused; tcp://127.0.0.1:{ports[1]}: cannot connect: Connection refused"
    )
    assert code == 1, said
