"""Several servers on one port with the real program: each under its name, isolated, and replaced at run time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import websockets

from tests import peers, warm_start
from tests.e2e.oracle import (
    Client,
    Oracle,
    Relay,
    Response,
    initialize,
    request,
    run_words,
    stdio_server,
)
from tests.peers import matrix

pytestmark = pytest.mark.only_loop("asyncio")

MODERN = "2026-07-28"
META = {"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}}
DIES = ["/bin/sh", "-c", "exit 3"]


class Named(Client):
    """A client of the server below a prefix."""

    def __init__(self, relay: Relay, server: str = "", slash: str = "") -> None:
        super().__init__(relay.base.removesuffix("/servers/NAME"), server)
        self.prefix = f"/servers/{server}" if server else ""
        self._path = f"{self.prefix}/mcp{slash}"

    async def __aenter__(self) -> Named:
        return self

    async def request(
        self, method: str, target: str, headers: Mapping[str, str | None] | None = None, body: bytes | None = None
    ) -> Response:
        return await super().request(method, self._path if target == "/mcp" else target, headers, body)

    async def result(self, frame: bytes) -> dict[str, Any]:
        """Call, and return the one answer."""
        (answer,) = await self.call(frame)
        found = json.loads(answer)
        assert isinstance(found, dict)
        return found

    async def state(self, server: str | None = None) -> dict[str, Any]:
        """Return what /status says of a server."""
        found = (await self.status())["servers"][server or self.name or "default"]
        assert isinstance(found, dict)
        return found


class File:
    """A file of servers, as an editor has it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, **servers: Mapping[str, Any] | list[str]) -> None:
        """Put another file in its place at once, as editors do."""
        entries = {name: _entry(one) for name, one in servers.items()}
        self.replace(json.dumps({"mcpServers": entries}, indent=2))

    def replace(self, text: str) -> None:
        fresh = self.path.with_suffix(".new")
        fresh.write_text(text)
        fresh.rename(self.path)


def _entry(server: Mapping[str, Any] | list[str]) -> Mapping[str, Any]:
    return server if isinstance(server, Mapping) else {"command": server[0], "args": server[1:]}


@pytest.fixture
def file(tmp_path: Path) -> File:
    return File(tmp_path / "servers.json")


@contextlib.contextmanager
def reading(file: File, *words: str) -> Iterator[Relay]:
    """Run the relay with the servers of a file, and none without a name unless ``words`` say one."""
    with run_words("--named-server-config", str(file.path), *words) as relay:
        yield relay


def named(**servers: list[str]) -> list[str]:
    """Return the words that name these servers."""
    return [word for name, one in servers.items() for word in ("--named-server", name, shlex.join(one))]


async def said(relay: Relay, text: str, count: int = 1) -> str:
    """Wait for a line on stderr."""
    async with asyncio.timeout(10):
        while len(found := [line for line in relay.said if text in line]) < count:
            await asyncio.sleep(0.01)
    return found[-1]


@contextlib.asynccontextmanager
async def clients(relay: Relay, *servers: str) -> AsyncIterator[list[Named]]:
    """Open a session at each of these servers."""
    opened = [Named(relay, server) for server in servers]
    try:
        for client in opened:
            await client.begin()
        yield opened
    finally:
        for client in opened:
            client.close()


# -- where they are ---------------------------------------------------------------------------------------------------


async def test_each_server_has_sessions_of_its_own() -> None:
    """A session opened at one is unknown at every other, with colliding ids no answer goes astray."""
    server = stdio_server()
    with run_words(*named(a=server, b=server), "--", *server) as relay:
        async with clients(relay, "", "a", "b") as opened:
            oracle = Oracle()

            async def ask(client: Named, number: int) -> None:
                for answer in await client.call(oracle.ask(client.name, json.dumps(number))):
                    oracle.judge(client.name, answer)

            async with asyncio.TaskGroup() as group:
                for client in opened:
                    for number in range(16):
                        group.create_task(ask(client, number))
            oracle.finish(48)
            pids = {(await client.result(request(1, "pid")))["result"]["pid"] for client in opened}
            assert len(pids) == 3
            for client in opened:
                for other in opened:
                    if other is not client:
                        assert (await client.post(request(1, "echo"), mcp_session_id=other.session)).status == 404
                        assert (await client.listen(mcp_session_id=other.session)).status == 404
            status = await opened[0].status()
            assert status["server_instances"] == dict.fromkeys(("default", "a", "b"), "configured")
            assert {name: one["sessions"] for name, one in status["servers"].items()} == {"default": 1, "a": 1, "b": 1}
            assert status["sessions"] == 3
            assert [await client.end() for client in opened] == [200, 200, 200]


async def test_every_way_in_and_the_rules_of_the_root() -> None:
    """/mcp and /mcp/, both eras, WebSocket, HTTP+SSE that names its own address; Host and Origin as at the root."""
    with run_words(*named(a=stdio_server())) as relay:
        async with Named(relay, "a", slash="/") as client, Named(relay) as root:
            await client.begin()
            assert (await client.result(request(1, "echo", x=1)))["result"] == {"params": {"x": 1}}
            for headers, status in (({"origin": "http://evil.example"}, 403), ({"host": "evil.example"}, 421)):
                assert (await client.post(request(2, "echo"), **headers)).status == status
            assert (await client.request("PUT", "/mcp")).status == 405
            assert (await client.post(b"{")).status == 400
            modern = {"mcp_session_id": None, "mcp_protocol_version": MODERN, "mcp_method": "ping"}
            response = await client.post(request(3, "ping", _meta=META), **modern)
            assert (response.status, (await response.json())["id"]) == (200, 3)
            for path, status in (("/mcp", 404), ("/sse", 404), ("/servers/b/mcp", 404), ("/servers/mcp", 404)):
                response = await root.request("GET", path, {"accept": "text/event-stream"})
                assert response.status == status
                assert "/servers/a/mcp" in (await response.json())["error"]["message"]
            stream = await client.request("GET", "/servers/a/sse", {"accept": "text/event-stream"})
            events = stream.events()
            address = (await anext(events)).data.decode()
            assert address.startswith("/servers/a/messages/?session_id=")
            foreign = address.replace("/a/", "/none/")
            post = {"content-type": "application/json"}
            assert (await client.request("POST", foreign, post, initialize())).status == 404
            assert (await client.request("POST", address, post, initialize())).status == 202
            assert json.loads((await anext(events)).data)["id"] == 0
            url = f"{client.base.replace('http', 'ws')}/servers/a/mcp"
            async with websockets.connect(url) as socket:
                await socket.send(initialize(request_id="ws").decode())
                assert json.loads(await socket.recv())["id"] == "ws"


@pytest.mark.timeout(60)
def test_the_official_clients_at_named_servers() -> None:
    """Streamable HTTP and HTTP+SSE of the SDKs, through a command and through the URL of another relay."""
    command = warm_start.stand_in(peers.server_command("py2"))
    with run_words(*named(local=command)) as inner:
        base = inner.base.removesuffix("/servers/NAME")
        with run_words("--named-server", "far", f"{base}/servers/local/mcp", *named(near=command)) as relay:
            base = relay.base.removesuffix("/servers/NAME")

            def run(client: str, way: str, server: str) -> dict[str, Any]:
                url = f"{base}/servers/{server}/{'sse' if way == '--sse' else 'mcp'}"
                return matrix.run_client(client, [way, url], "--only", "echo,tools")

            calls = (("py1", "--http", "near"), ("py2", "--sse", "near"), ("ts", "--http", "far"))
            with ThreadPoolExecutor(len(calls)) as pool:
                for report in pool.map(lambda call: run(*call), calls):
                    assert report["failed"] == {} and len(report["passed"]) == 2, report


async def test_places_are_of_all_servers_together() -> None:
    """--max-sessions counts the sessions of every server; one that ends makes room at another."""
    with run_words("--max-sessions", "2", *named(a=stdio_server(), b=stdio_server())) as relay:
        async with clients(relay, "a", "b") as (a, b), Named(relay, "a") as late:
            assert (await late.post(initialize())).status == 429
            assert await b.end() == 200
            await late.begin()
            assert "result" in await a.result(request(1, "echo"))


async def test_an_address_that_nobody_listens_at() -> None:
    """By HTTP, request by request or in sessions, and by TCP: an error that says so, and /status says it too."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    words = [
        "--named-server",
        "web",
        f"http://127.0.0.1:{port}/mcp",
        "--named-server",
        "tcp",
        f"tcp://127.0.0.1:{port}",
    ]
    with run_words(*words) as relay:
        async with Named(relay, "web") as web, Named(relay, "tcp") as tcp:
            stream = await web.request("GET", "/servers/web/sse", {"accept": "text/event-stream"})
            events = stream.events()
            address = (await anext(events)).data.decode()
            await web.request("POST", address, {"content-type": "application/json"}, initialize(request_id="sse"))
            first = json.loads((await anext(events)).data)
            errors = [first, *[await (await one.post(initialize(request_id=one.name))).json() for one in (web, tcp)]]
            assert [error["id"] for error in errors] == ["sse", "web", "tcp"]
            assert {error["error"]["code"] for error in errors} == {-32006}
            for one in (web, tcp):
                state = await one.state()
                assert state["state"] == "failing" and "Connection refused" in state["last_error"]


# -- each for itself --------------------------------------------------------------------------------------------------


async def test_one_that_dies_touches_no_other() -> None:
    """kill -9: its requests get errors with their ids within a second; calls at the others go on."""
    with run_words(*named(a=stdio_server(), b=stdio_server())) as relay:
        async with clients(relay, "a", "b") as (a, b):
            pid = (await a.result(request(1, "pid")))["result"]["pid"]
            lost = [await a.post(request(request_id, "silent")) for request_id in (7, "7")]
            kept = asyncio.get_running_loop().create_task(b.result(request(7, "delay", seconds=0.3)))
            os.kill(pid, signal.SIGKILL)
            async with asyncio.timeout(10):
                errors = [json.loads(frame) for response in lost for frame in await response.frames()]
            assert [error["id"] for error in errors] == [7, "7"]
            assert all("a: was killed by SIGKILL" in error["error"]["message"] for error in errors)
            assert (await kept)["result"] == {"params": {"seconds": 0.3}}
            assert (await a.post(request(8, "echo"))).status == 404
            state = await a.state()
            assert (state["state"], state["last_error"]) == ("failing", "was killed by SIGKILL")
            a.session = None
            await a.begin()
            assert (await a.state())["state"] == "running"


async def test_one_that_cannot_start_refuses_and_the_others_work(tmp_path: Path) -> None:
    """An error with the id that names the server and why; /status tells it; it works once the program is there."""
    program = tmp_path / "later"
    with run_words(*named(absent=[str(program)], good=stdio_server())) as relay:
        async with clients(relay, "good") as (good,), Named(relay, "absent") as absent:
            response = await absent.post(initialize(request_id="me"))
            error = await response.json()
            assert (response.status, error["id"], error["error"]["code"]) == (200, "me", -32006)
            assert error["error"]["message"].startswith("absent: command ") and "not found" in error["error"]["message"]
            assert error["error"]["data"] == {"delivered": "no"}
            state = await good.state("absent")
            assert state["state"] == "failing" and "not found" in state["last_error"] and state["started"] == 0
            assert "result" in await good.result(request(1, "echo"))
            program.write_text(f"#!/bin/sh\nexec {shlex.join(stdio_server())}\n")
            program.chmod(0o700)
            await absent.begin()
            assert (await good.state("absent"))["state"] == "running"


async def test_one_that_keeps_dying_is_refused_at_once_and_probed_later(tmp_path: Path) -> None:
    """After five ends nothing is started; then one probe, which finds it well; others are not held up."""
    flag = tmp_path / "well"
    script = f"test -e {flag} || exit 3; exec {shlex.join(stdio_server())}"
    with run_words(*named(ill=["/bin/sh", "-c", script], good=stdio_server())) as relay:
        async with clients(relay, "good") as (good,), Named(relay, "ill") as ill:
            for _ in range(5):
                error = await ill.result(initialize())
                assert "ill: exited with status 3" in error["error"]["message"]
            refused = await ill.result(initialize(request_id="six"))
            assert refused["id"] == "six" and refused["error"]["code"] == -32006
            assert "not started, because it keeps failing: exited with status 3" in refused["error"]["message"]
            state = await ill.state()
            assert (state["state"], state["started"], state["children"]) == ("open", 5, 0)
            assert state["open_until"] > "2000" and "tried again in" in refused["error"]["message"]
            assert "result" in await good.result(request(1, "echo"))
            await said(relay, "ill: failed 5 times in a minute")
            flag.touch()
            async with asyncio.timeout(10):
                while (await ill.state())["state"] != "half-open":
                    await asyncio.sleep(0.02)
            await ill.begin()
            assert (await ill.state())["state"] == "running"
            await said(relay, "ill: runs again")


async def test_an_answer_that_takes_too_long(file: File) -> None:
    """An error with the id after the server's own timeout, which progress puts off; the server is told."""
    file.write(slow={**_entry(stdio_server()), "timeout": 0.4}, other=stdio_server())
    with reading(file, "--drain-timeout", "0") as relay:
        async with clients(relay, "slow", "other") as (slow, other):
            late = await slow.post(request("late", "silent"))
            patient = await other.post(request("late", "silent"))
            error = json.loads((await late.frames())[-1])
            assert (error["id"], error["error"]["data"]) == ("late", {"delivered": "unknown"})
            assert "slow: no answer within 0.4 s" in error["error"]["message"]
            seen = (await slow.result(request(1, "seen")))["result"]["lines"]
            assert json.loads(seen[-1])["params"]["requestId"] == "late"
            seen = (await other.result(request(1, "seen")))["result"]["lines"]
            assert len(seen) == 1 and not patient.is_read
            assert "result" in await slow.result(request(2, "echo"))


async def test_eager_starts_all_and_the_first_session_takes_it(file: File) -> None:
    """Named or not; one that ends before it is used is started again, with waits."""
    file.write(a=stdio_server(), dies=DIES)
    with reading(file, "--eager", "--", *stdio_server()) as relay:
        async with Named(relay) as client, Named(relay, "a") as a, asyncio.timeout(10):
            while (await client.status())["servers"]["dies"]["started"] < 2:
                await asyncio.sleep(0.02)
            for server in ("default", "a"):
                state = await client.state(server)
                assert (state["children"], state["started"], state["sessions"]) == (1, 1, 0)
            for one in (client, a):
                await one.begin()
                state = await one.state()
                assert (state["children"], state["started"], state["sessions"]) == (1, 1, 1)


async def test_paths_and_the_base_url_hold_behind_every_name() -> None:
    """A client is told where to POST as it sees the relay from beyond its proxy; the default paths are nowhere then."""
    paths = ("--mcp-path", "/x/mcp", "--sse-path", "/events", "--message-path", "/said/")
    words = (*paths, "--base-url", "https://a.example/tools", *named(a=stdio_server(), b=stdio_server()))
    with run_words(*words, "--", *stdio_server()) as relay:
        base = relay.base.removesuffix("/x").removesuffix("/servers/NAME")
        async with Client(base) as client:
            for prefix in ("", "/servers/a", "/servers/b"):
                stream = await client.request("GET", f"{prefix}/events", {"accept": "text/event-stream"})
                address = (await stream.next_event()).data.decode()
                assert address.startswith(f"https://a.example/tools{prefix}/said/?session_id=")
                head = {"content-type": "application/json"}
                posted = await client.request(
                    "POST", address.removeprefix("https://a.example/tools"), head, initialize()
                )
                assert posted.status == 202
                assert json.loads((await stream.next_event()).data)["id"] == 0
                both = {**head, "accept": "application/json, text/event-stream"}
                assert (await client.request("POST", f"{prefix}/x/mcp", both, initialize())).status == 200
                for gone in ("/mcp", "/sse", "/messages/"):
                    assert (await client.request("GET", prefix + gone)).status == 404


async def test_a_way_that_is_left_out_is_left_out_behind_every_name() -> None:
    """And is not in what the relay says of itself."""
    with run_words("--sse-path", "", *named(a=stdio_server())) as relay:
        async with Named(relay, "a") as client:
            await client.begin()
            assert (await client.request("GET", "/servers/a/sse", {"accept": "text/event-stream"})).status == 404
        assert not any("/sse" in line for line in relay.said if "listening" in line)


async def test_options_of_the_root_hold_for_every_server() -> None:
    """Who may come, what pages may read, how large and how many, and how long a session is kept."""
    pages = ("--allow-origin", "https://a.example", "--expose-header", "X-One", "--allowed-host", "a.lan")
    limits = ("--max-frame-bytes", "64k", "--max-sessions", "2", "--session-idle", "1.5")
    with run_words(*pages, *limits, *named(a=stdio_server(), b=stdio_server())) as relay:
        async with Named(relay, "a") as a, Named(relay, "b") as b, Named(relay, "b") as third:
            await a.begin()
            answer = await b.post(initialize(), origin="https://a.example", host="a.lan")
            assert answer.headers["access-control-allow-origin"] == "https://a.example"
            assert "X-One" in answer.headers["access-control-expose-headers"]
            b.session = answer.headers["mcp-session-id"]
            assert (await b.post(b" " * (64 * 1024 + 1))).status == 413
            assert (await third.post(initialize())).status == 429
            async with asyncio.timeout(30):
                while (await third.status())["sessions"]:
                    await asyncio.sleep(0.05)
            assert (await b.post(request(1, "echo"))).status == 404


@pytest.mark.parametrize("share", ["shared", "request", "stateless"])
async def test_sharing_is_per_server(share: str) -> None:
    """What clients share they share at one server only."""
    with run_words("--share", share, *named(a=stdio_server(), b=stdio_server())) as relay:
        if share == "shared":
            async with clients(relay, "a", "a", "b") as opened:
                pids = [(await client.result(request(1, "pid")))["result"]["pid"] for client in opened]
                assert pids[0] == pids[1] != pids[2]
        else:
            async with Named(relay, "a") as a, Named(relay, "b") as b:
                results = await asyncio.gather(*(one.result(request(1, "pid")) for one in (a, b)))
                assert len({one["result"]["pid"] for one in results}) == 2


# -- exchanged while it runs ------------------------------------------------------------------------------------------


async def test_the_file_adds_removes_and_replaces(file: File) -> None:
    """Sessions of what stays go on with their children; what has gone drains, then 404; what is new is there."""
    file.write(stays=stdio_server(), changes=stdio_server(), goes=stdio_server())
    with reading(file, "--", *stdio_server()) as relay:
        async with clients(relay, "", "stays", "changes", "goes") as (default, stays, changes, goes):
            pids = [(await one.result(request(1, "pid")))["result"]["pid"] for one in (default, stays, changes)]
            under_way = await goes.post(request("last", "delay", seconds=2.5))
            assert under_way.is_stream
            file.write(new=stdio_server(), changes=stdio_server("--other"), stays=stdio_server())
            line = await said(relay, "servers.json: ")
            assert line.endswith("added new; replaced changes; removed goes"), line
            async with clients(relay, "new", "changes") as (_, changed):
                assert (await changed.result(request(1, "pid")))["result"]["pid"] not in pids
                again = [(await one.result(request(1, "pid")))["result"]["pid"] for one in (default, stays)]
                assert again == pids[:2]
                assert (await changes.post(request(2, "echo"))).status == 404
                assert (await goes.post(initialize(), mcp_session_id=None)).status == 404
                assert (await goes.post(request(2, "echo"))).status == 404
                (answer,) = await under_way.frames()
                assert json.loads(answer)["result"] == {"params": {"seconds": 2.5}}, "what was under way is answered"
                status = await default.status()
                assert set(status["servers"]) == {"default", "new", "changes", "stays"}
                assert (status["servers"]["stays"]["started"], status["servers"]["default"]["started"]) == (1, 1)


@pytest.mark.parametrize("ours", [False, True])
async def test_a_wrong_value_costs_its_server_alone(file: File, ours: bool) -> None:
    """At the start and on reload, in an editor's file and in ours: named with line and key, the others run on."""
    place, words = ("servers", ("--config",)) if ours else ("mcpServers", ("--named-server-config",))
    good = json.dumps(_entry(stdio_server()))

    def write(b: str, c: str) -> None:
        file.replace(f'{{"{place}": {{"a": {good},\n"b": {b},\n"c": {c}}}}}')

    write(good, '{"command": "x", "args": ["t0ps3cret", {}]}')
    with run_words(*words, str(file.path)) as relay:
        async with clients(relay, "a", "b") as (a, b):
            line = await said(relay, "args[1]")
            assert f"line 3: {place}.c.args[1]: expected a text in quotes, found an object" in line
            async with Named(relay, "c") as refused:
                answer = await refused.post(initialize(), mcp_session_id=None)
                message = (await answer.json())["error"]["message"]
                assert "cannot run: args[1]: expected a text" in message and file.path.name not in message
            write("5", good)
            line = await said(relay, f"{place}.b: expected")
            assert "line 2: " in line and line.endswith("found a number; this server cannot run")
            await said(relay, "replaced c; cannot run now, stays as it was: b")
            async with clients(relay, "c") as (c,):
                for client in (a, b, c):
                    assert "result" in await client.result(request(1, "echo"))
            status = await a.status()
            assert set(status["servers"]) == {"a", "b", "c"} and status["servers"]["b"]["state"] == "running"
            for count, unusable in enumerate(('{"comand": "x"}', '{"command": "/no/such/program"}'), 1):
                write(unusable, good)
                await said(relay, f"{file.path}: cannot run now, stays as it was: b", count)
                assert "result" in await b.result(request(2, "echo"))
            write(json.dumps(_entry(stdio_server("--name", "mended"))), good)
            await said(relay, "replaced b")
            assert (await b.post(request(3, "echo"))).status == 404
        assert not any("t0ps3cret" in line for line in relay.said)


async def test_a_file_with_a_mistake_changes_nothing(file: File) -> None:
    """One line says where; the next good one counts, with comments above that move every line."""
    file.write(a=stdio_server())
    with reading(file) as relay:
        async with clients(relay, "a") as (a,):
            file.replace('{"mcpServers":\n  7}')
            line = await said(relay, "the servers stay as they are")
            assert "line 1: mcpServers: expected an object" in line and line.startswith("mcp-relay: "), line
            file.path.unlink()
            await said(relay, "the servers stay as they are", 2)
            assert "result" in await a.result(request(1, "echo"))
            entries = json.dumps({"a": _entry(stdio_server()), "off": {"command": "x", "disabled": True}})
            file.replace("// moved\n\n\n" + json.dumps({"mcpServers": {}}).replace("{}", entries))
            await said(relay, "nothing has changed")
            assert "result" in await a.result(request(2, "echo"))
            assert await a.state("off") == {"state": "disabled"}
            async with Named(relay, "off") as off:
                assert (await off.post(initialize())).status == 404
            assert (await a.status())["server_instances"] == {"a": "configured"}


async def test_options_beside_the_servers_of_our_own_file(file: File) -> None:
    """They count when the relay is started again: said as long as the file differs from the start."""
    servers = {"a": {"command": stdio_server()[0], "args": stdio_server()[1:]}}
    file.replace(json.dumps({"port": 0, "servers": servers, "proxy": {}}))
    with run_words("--config", str(file.path)) as relay:
        file.replace(json.dumps({"port": 8080, "debug": False, "servers": servers, "proxy": {}}))
        line = await said(relay, "started again")
        assert line.endswith(
            ".json: port, debug changed: that counts when the relay is started again, only servers at once"
        )
        file.replace(json.dumps({"port": 8080, "servers": {**servers, "b": servers["a"]}}))
        assert ".json: added b; port changed: " in await said(relay, "added b")
        file.replace(json.dumps({"port": 0, "servers": {**servers, "b": servers["a"]}, "test": {}}))
        await said(relay, "nothing has changed")


async def test_sighup_reads_the_file_and_ends_nothing(file: File) -> None:
    """At once, changed or not; SIGTERM still ends the relay in good order."""
    file.write(a=stdio_server())
    with reading(file) as relay:
        async with clients(relay, "a") as (a,):
            relay.process.send_signal(signal.SIGHUP)
            await said(relay, "nothing has changed")
            file.write(a={**_entry(stdio_server()), "disabled": True}, b=stdio_server())
            relay.process.send_signal(signal.SIGHUP)
            await said(relay, "added b; removed a")
            async with clients(relay, "b") as (b,):
                assert (await a.post(request(1, "echo"))).status == 404
                under_way = await b.post(request("last", "delay", seconds=0.4))
                relay.process.send_signal(signal.SIGTERM)
                assert json.loads((await under_way.frames())[-1])["id"] == "last"
        assert await relay.exit_code(10) == 0


async def test_secrets_of_a_file_stay_there(file: File) -> None:
    """Not in /status, not in the log, not in another server's environment, from the first file or a later one."""
    secret = "hush-0123456789"
    show = [sys.executable, "-c", "import os, sys; print(os.environ, file=sys.stderr)"]
    file.write(first=stdio_server())
    with reading(file, "--debug") as relay:
        file.write(mine={**_entry(show), "env": {"API_TOKEN": secret}}, others=show)
        await said(relay, "removed first")
        async with Named(relay, "mine") as mine, Named(relay, "others") as others:
            for one in (mine, others):
                await one.result(request(0, "initialize", clientInfo={"name": secret}))
                assert secret not in json.dumps(await one.status())
        await said(relay, "[others] environ")
        await said(relay, "[mine] environ")
        text = "\n".join(relay.said)
        assert secret not in text and "API_TOKEN" not in await said(relay, "[others] environ")
