"""`mcp-relay URL`: every request gets exactly one outcome, and nothing is ever sent twice, whatever the server does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator

import pytest

from tests import warm_start
from tests.e2e.conversation import Program, note, request
from tests.e2e.fault_server import Exchange, FaultServer, Message, Script, SseScript, error, result

MANY = 32
WAYS = ("first", "kept")
"""The first calls go through aiohttp's session, later ones over connections that the relay keeps itself."""


class Killable:
    """A fault server in a process of its own, and what it was asked."""

    def __init__(self, process: warm_start.Process) -> None:
        self.process = process
        self.url = ""
        self.requests: list[Message] = []

    @classmethod
    @contextlib.asynccontextmanager
    async def running(cls, script: str, *, port: int = 0) -> AsyncIterator[Killable]:
        """Serve a script by name until the block ends or `kill` is called."""
        process = await warm_start.Process.start(
            sys.executable,
            *("-m", "tests.e2e.fault_server", script, "--port", str(port)),
            stdout=asyncio.subprocess.PIPE,
        )
        self = cls(process)
        try:
            assert process.stdout is not None, "a pipe"
            self.url = json.loads(await process.stdout.readline())["listening"]
            yield self
        finally:
            await self.kill()
            process.close()

    async def until_called(self, count: int) -> None:
        """Wait until so many calls have come."""
        assert self.process.stdout is not None, "a pipe"
        while sum(one["message"].get("method") == "tools/call" for one in self.requests) < count:
            async with asyncio.timeout(15):
                self.requests.append(json.loads(await self.process.stdout.readline()))

    async def kill(self) -> None:
        """End it as `kill -9` does; whatever it recorded and we did not read is read now."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        assert self.process.stdout is not None, "a pipe"
        while line := await self.process.stdout.readline():
            self.requests.append(json.loads(line))


@pytest.mark.parametrize(
    ("script", "way"),
    [*((script, way) for script in ("half-json", "half-sse", "half-sse-with-ids") for way in WAYS), ("silent-sse", "")],
)
async def test_kill_of_the_server_amid_32_answers(script: str, way: str, loop_name: str) -> None:
    """kill -9 amid 32 half-written answers: 32 errors within a second, nothing resent, the next session works."""
    ids = range(1, MANY + 1)
    async with Killable.running(script) as first, Program.running(first.url, loop=loop_name) as program:
        await program.handshake()
        if way == "kept":
            for turn in range(5):
                await asyncio.gather(*(program.call(f"warm-up {turn}.{each}", "ping") for each in range(MANY)))
        await program.send(*(request(one) for one in ids))
        await first.until_called(MANY)
        await asyncio.sleep(0.1)  # let the halves of answers that are under way arrive: there is no sign of it
        await first.kill()
        answers = await program.all_answers(ids, seconds=1)
        assert [one["error"]["data"]["delivered"] for one in answers] == ["unknown"] * MANY
        assert {one["error"]["code"] for one in answers} == {-32001}
        sent = sorted(one["message"]["id"] for one in first.requests if one["message"].get("method") == "tools/call")
        assert sent == list(ids), "each went out once"

        next_script = SseScript() if script == "silent-sse" else Script()
        port = int(first.url.rpartition(":")[2].partition("/")[0])
        async with FaultServer.running(next_script, port=port) as second:
            if script == "silent-sse":  # a new stream is opened with the recorded handshake, unasked
                await second.until(lambda: "notifications/initialized" in second.methods())
            assert (await program.call("again", value=7))["result"] == {"echo": {"value": 7}}
            assert len(second.posted("initialize")) == 1
            assert [one.message["id"] for one in second.posted("tools/call") if one.message["id"] != "again"] == []
            program.eof()
            await program.ended()


@pytest.mark.parametrize("way", WAYS)
async def test_stream_cut_without_event_ids(way: str, loop_name: str) -> None:
    """A stream cut where nothing can be resumed: one error that says delivery is uncertain; nothing is resent."""

    class Cut(Script):
        async def call(self, exchange: Exchange) -> None:
            await exchange.open_stream()
            await exchange.event(note("notifications/message", level="info", data="working"))
            exchange.cut()

    async with FaultServer.running(Cut()) as server, Program.running(server.url, loop=loop_name) as program:
        await program.handshake()
        if way == "kept":
            await program.warm_up(server)
        answer = await program.call(1)
        assert answer["error"]["code"] == -32001
        assert answer["error"]["data"] == {"delivered": "unknown"}
        assert [one["method"] for one in program.others] == ["notifications/message"]
        assert len(server.posted("tools/call")) == 1


@pytest.mark.parametrize("way", WAYS)
async def test_stream_cut_after_an_event_id(way: str, loop_name: str) -> None:
    """A stream cut after an event id is resumed with Last-Event-ID; what was missed and the answer arrive once."""

    class Cut(Script):
        async def call(self, exchange: Exchange) -> None:
            self.asked = exchange.message
            await exchange.open_stream()
            await exchange.event(note("notifications/message", level="info", data=1), event_id="a-1")
            exchange.cut()

        async def get(self, exchange: Exchange) -> None:
            if exchange.request.headers.get("last-event-id") != "a-1":
                await exchange.reply(405)
                return
            await exchange.open_stream()
            await exchange.event(note("notifications/message", level="info", data=2), event_id="a-2")
            await exchange.event(result(self.asked), event_id="a-3")
            await exchange.end()

    async with FaultServer.running(Cut()) as server, Program.running(server.url, loop=loop_name) as program:
        await program.handshake()
        if way == "kept":
            await program.warm_up(server)
        assert (await program.call(1, value="x"))["result"] == {"echo": {"value": "x"}}
        assert [one["params"]["data"] for one in program.others] == [1, 2]
        assert len(server.posted("tools/call")) == 1
        resumed = [one for one in server.requests if "last-event-id" in one.headers]
        assert [(one.method, one.session, one.headers["mcp-protocol-version"]) for one in resumed] == [
            ("GET", "session-1", "2025-11-25")
        ]


@pytest.mark.parametrize("way", WAYS)
async def test_polling_server(way: str, loop_name: str) -> None:
    """A server of 2025-11-25 that ends its POST streams on purpose is polled, after the time it said each time."""
    times: list[float] = []

    class Polling(Script):
        async def call(self, exchange: Exchange) -> None:
            self.asked = exchange.message
            times.append(asyncio.get_running_loop().time())
            await exchange.open_stream()
            await exchange.event(event_id="p-0", retry=300)
            await exchange.end()

        async def get(self, exchange: Exchange) -> None:
            last = exchange.request.headers.get("last-event-id")
            if last is None:
                await exchange.reply(405)
                return
            times.append(asyncio.get_running_loop().time())
            await exchange.open_stream()
            step = int(last.removeprefix("p-")) + 1
            if step < 3:
                await exchange.event(event_id=f"p-{step}")
            else:
                await exchange.event(result(self.asked), event_id=f"p-{step}")
            await exchange.end()

    async with FaultServer.running(Polling()) as server, Program.running(server.url, loop=loop_name) as program:
        await program.handshake()
        if way == "kept":
            await program.warm_up(server)
        assert "result" in await program.call(1)
        assert [one.headers.get("last-event-id") for one in server.requests if one.method == "GET"][1:] == [
            "p-0",
            "p-1",
            "p-2",
        ]
        waits = [later - earlier for earlier, later in zip(times, times[1:], strict=False)]
        assert len(waits) == 3
        assert min(waits) >= 0.29, waits


@pytest.mark.parametrize("way", WAYS)
async def test_answers_nobody_waits_for_are_dropped(way: str, loop_name: str) -> None:
    """The second answer to a request, and an answer to a request that never was, reach nobody."""

    class Twice(Script):
        async def call(self, exchange: Exchange) -> None:
            await exchange.open_stream()
            await exchange.event(error(4711, message="nobody asked"))
            await exchange.event(result(exchange.message, {"first": True}))
            await exchange.event(result(exchange.message, {"first": False}))
            await exchange.event(error("1", message="the text 1 is the number 1 once more"))
            await exchange.end()

        async def get(self, exchange: Exchange) -> None:
            await exchange.open_stream()
            await self.listening.wait()
            await exchange.event(error(1, message="long answered"))
            await exchange.event(note("notifications/last"))
            await exchange.hold()

        listening = asyncio.Event()

    script = Twice()
    script.listening = asyncio.Event()
    async with FaultServer.running(script) as server, Program.running(server.url, loop=loop_name) as program:
        await program.handshake()
        if way == "kept":
            await program.warm_up(server)
        assert (await program.call(1))["result"] == {"first": True}
        script.listening.set()
        await program.until(lambda: program.others)
        assert [one["method"] for one in program.others] == ["notifications/last"]
        assert len([one for one in program.messages if one.get("id") == 1]) == 1


@pytest.mark.parametrize("status", [500, 503, 401, 403, 413, 429])
async def test_status_becomes_one_error(status: int, loop_name: str) -> None:
    """An HTTP refusal is one error with the status in its data, and none of our secrets in it."""
    secret = "s3cr3t-of-the-operator"

    class Refusing(Script):
        async def call(self, exchange: Exchange) -> None:
            sent = exchange.request.headers["authorization"]
            assert secret in sent
            await exchange.json({"error": f"bad token {sent}"}, status=status)

    async with (
        FaultServer.running(Refusing()) as server,
        Program.running(
            f"{server.url}?key={secret}", "--debug", loop=loop_name, env={"API_ACCESS_TOKEN": secret}
        ) as program,
    ):
        await program.handshake()
        answer = await program.call(1)
        assert answer["error"]["code"] == -32004
        assert answer["error"]["data"] == {"delivered": "no" if status < 500 else "unknown", "status": status}
        assert "bad token" in answer["error"]["message"]
        assert secret not in json.dumps(answer)
        assert len(server.posted("tools/call")) == 1
    assert secret not in program.stderr


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(status: int) -> None:
    """A redirect is an error with its status; the place it leads to never hears of us."""
    async with FaultServer.running(Script()) as elsewhere:

        class Redirecting(Script):
            async def call(self, exchange: Exchange) -> None:
                await exchange.reply(status, headers={"Location": elsewhere.url})

            async def get(self, exchange: Exchange) -> None:
                await exchange.reply(status, headers={"Location": elsewhere.url})

        async with FaultServer.running(Redirecting()) as server, Program.running(server.url) as program:
            await program.handshake()
            answer = await program.call(1)
            assert answer["error"]["data"] == {"delivered": "no", "status": status}
            await server.until(lambda: "GET" in server.methods())
        assert elsewhere.connections == 0


async def test_first_request_redirected(loop_name: str) -> None:
    """A redirect of the very first request is an error too, not a reason to try HTTP+SSE."""
    async with FaultServer.running(Script()) as elsewhere:

        class Redirecting(Script):
            async def answer(self, exchange: Exchange) -> None:
                await exchange.reply(307, headers={"Location": elsewhere.url})

        async with FaultServer.running(Redirecting()) as server, Program.running(server.url, loop=loop_name) as program:
            answer = await program.call(1, "initialize")
            assert answer["error"]["data"]["status"] == 307
            assert server.methods() == ["initialize"]
        assert elsewhere.connections == 0


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["202", "html", "none", "json-of-another", "empty-stream", "not-http", "bad-chunk"])
async def test_answer_that_is_none(kind: str, way: str, loop_name: str) -> None:
    """200 with something else than an answer, or bytes that are not HTTP: one error, and the next call works."""

    class Wrong(Script):
        async def call(self, exchange: Exchange) -> None:
            if exchange.message["id"] == 2:
                await exchange.result()
            elif kind == "202":
                await exchange.reply(202)
            elif kind == "html":
                await exchange.reply(200, b"<html>Welcome</html>", kind="text/html")
            elif kind == "none":
                await exchange.reply(200)
            elif kind == "json-of-another":
                await exchange.json(error(99))
            elif kind == "empty-stream":
                await exchange.open_stream()
                await exchange.end()
            elif kind == "not-http":
                await exchange.raw(b"\x00\x01 what?\r\n\r\n")
                exchange.writer.close()
            else:
                await exchange.open_stream()
                await asyncio.sleep(0.05)  # a read of its own
                await exchange.raw(b"zz\r\nwhat\r\n")
                await exchange.hold()

    url_secret = "in-the-query"
    async with (
        FaultServer.running(Wrong()) as server,
        Program.running(f"{server.url}?key={url_secret}", loop=loop_name) as program,
    ):
        await program.handshake()
        if way == "kept":
            await program.warm_up(server)
        answer = await program.call(1)
        assert answer["error"]["code"] in (-32001, -32004)
        assert answer["error"]["data"]["delivered"] == "unknown"
        assert url_secret not in json.dumps(answer)
        assert "result" in await program.call(2)
        assert [one.message["id"] for one in server.posted("tools/call")] == [1, 2]


@pytest.mark.parametrize("way", WAYS)
async def test_json_rpc_error_with_a_status_is_passed_on(way: str, loop_name: str) -> None:
    """A refusal that is a JSON-RPC error to this request is the answer, byte for byte."""
    body = b'{"jsonrpc":"2.0",  "id":1, "error":{"code":-32042,"message":"not \\u0061 number","data":0.10}}'

    class Refusing(Script):
        async def call(self, exchange: Exchange) -> None:
            await exchange.reply(400, body, kind="application/json")

    async with FaultServer.running(Refusing()) as server, Program.running(server.url, loop=loop_name) as program:
        await program.handshake()
        if way == "kept":
            await program.warm_up(server)
        await program.call(1)
        assert program.lines[-1] == body


@pytest.mark.parametrize("way", WAYS)
async def test_cancelled_request_gets_an_end(way: str, loop_name: str) -> None:
    """A cancelled request that its server does not answer any more is ended by us; its stream is closed."""
    gone = asyncio.Event()

    class Cancellable(Script):
        async def call(self, exchange: Exchange) -> None:
            await exchange.open_stream()
            await exchange.hold()
            gone.set()

    async with FaultServer.running(Cancellable()) as server, Program.running(server.url, loop=loop_name) as program:
        await program.handshake()
        if way == "kept":
            await program.warm_up(server)
        await program.send(request(1))
        await server.until(lambda: server.posted("tools/call"))
        await program.send(note("notifications/cancelled", requestId=1))
        answer = await program.answer(1)
        assert answer["error"]["code"] == -32005
        await asyncio.wait_for(gone.wait(), 20)
        assert len(server.posted("notifications/cancelled")) == 1


async def test_notification_that_is_never_accepted(loop_name: str) -> None:
    """A server that never accepts a notification holds the next frame up for a while, not for ever."""

    class Deaf(Script):
        async def notification(self, exchange: Exchange) -> None:
            if exchange.message["method"] == "notifications/initialized":
                await exchange.reply(202)
            else:
                await exchange.hold()

    async with FaultServer.running(Deaf()) as server, Program.running(server.url, loop=loop_name) as program:
        await program.handshake()
        await program.send(note("notifications/roots/list_changed"))
        assert "result" in await program.call(1)
        assert server.methods().index("notifications/roots/list_changed") < server.methods().index("tools/call")


async def test_exact_bytes_both_ways(loop_name: str) -> None:
    """What JSON parsers change passes unchanged: big integers, 0.10, repeated keys, spacing, U+2028."""
    ask = '{"jsonrpc": "2.0","id":90071992547409931234,"method":"x/y","params":{"a":0.10,"a":1e400,"s":"\u2028"}}'
    back = '{"result":{"n":123456789012345678901234567890,"n":0.10,"s":"\u2028\U0001f9ea"} ,"id":90071992547409931234}'

    class Exact(Script):
        async def call(self, exchange: Exchange) -> None:
            if exchange.message["method"] == "x/json":
                await exchange.result()
                return
            await exchange.open_stream()
            for byte in b"data: " + back.encode() + b"\n\n":
                await exchange.chunk(bytes((byte,)))
            await exchange.end()

    async with (
        FaultServer.running(Exact()) as server,
        Program.running(server.url, loop=loop_name, owed=True) as program,
    ):
        await program.handshake()
        await program.write([ask.encode()])
        await program.until(lambda: len(program.lines) == 2)
        assert program.lines[1] == back.encode()
        assert [one.body for one in server.requests if b"x/y" in one.body] == [ask.encode()]
