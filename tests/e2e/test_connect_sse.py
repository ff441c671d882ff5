"""`mcp-relay --transport sse URL`: a server of 2024-11-05, whose session is its stream."""

from __future__ import annotations

import asyncio
import json

import pytest

from relay.limits import Limits
from tests.e2e.conversation import INITIALIZE, INITIALIZED, Direct, Program, note, request
from tests.e2e.fault_server import Exchange, FaultServer, Script, SseScript, result

SSE = ("--transport", "sse")


class Silent(SseScript):
    """Answers calls only when a test does it; `asked` are those that wait, with their streams."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: dict[object, Exchange] = {}

    async def call(self, exchange: Exchange) -> None:
        self.asked[exchange.message["id"]] = self.stream(exchange)


async def test_stream_lost_with_requests_open(loop_name: str) -> None:
    """Open requests get their errors at once, a new stream the recorded handshake, unseen; then calls work again."""
    script = Silent()
    async with FaultServer.running(script) as server, Program.running(server.url, *SSE, loop=loop_name) as program:
        await program.handshake()
        await program.send(*(request(at) for at in range(32)))
        await server.until(lambda: len(script.asked) == 32)
        script.streams["session-1"].cut()
        answers = await program.all_answers(range(32), seconds=1)
        assert {(one["error"]["code"], one["error"]["data"]["delivered"]) for one in answers} == {(-32001, "unknown")}
        await server.until(lambda: server.methods().count("notifications/initialized") == 2)
        handshakes = server.posted("initialize")
        assert [one.target for one in handshakes] == [f"/messages/?session_id=session-{at}" for at in (1, 2)]
        assert handshakes[0].body == handshakes[1].body
        await program.send(request("again", value=1))
        await server.until(lambda: "again" in script.asked)
        await script.asked["again"].event(result(request("again"), {"well": True}))
        assert (await program.answer("again"))["result"] == {"well": True}
        assert len(server.posted("tools/call")) == 33, "nothing was resent"
        assert len([one for one in program.messages if one.get("id") == "init"]) == 1


async def test_call_while_the_server_is_away(loop_name: str) -> None:
    """A call while nobody listens gets its error soon, not delivered; once the server is back calls work."""
    script = SseScript()
    async with FaultServer.running(script) as server, Program.running(server.url, *SSE, loop=loop_name) as program:
        await program.handshake()
        await server.until(lambda: "notifications/initialized" in server.methods())
        await server.stop()
        # A call that meets the closing connection is honestly uncertain; once the loss is seen, it is not.
        first = await program.call(1)
        assert first["error"]["data"]["delivered"] in ("no", "unknown")
        answer = await program.call("after it")
        assert answer["error"]["data"] == {"delivered": "no"}
        await server.start()
        await server.until(lambda: server.methods().count("notifications/initialized") == 2)
        assert "result" in await program.call(2)
        program.eof()
        await program.ended()


async def test_server_requests_and_answers(loop_name: str) -> None:
    """Requests from the server reach the client, and its answers the server, in order and amid calls."""
    script = Silent()
    async with FaultServer.running(script) as server, Program.running(server.url, *SSE, loop=loop_name) as program:
        await program.handshake()
        await program.send(request(1))
        await server.until(lambda: 1 in script.asked)
        stream = script.asked[1]
        for at in range(10):
            await stream.event(request(1 if at == 0 else f"s{at}", "sampling/createMessage", at=at))
        await program.until(lambda: len(program.others) == 10)
        assert [one["params"]["at"] for one in program.others] == list(range(10))
        for one in program.others:
            await program.write([json.dumps({"jsonrpc": "2.0", "id": one["id"], "result": {}}).encode()])
        await server.until(lambda: server.methods().count("response") == 10)
        replies = [one.message["id"] for one in server.requests if one.method == "POST" and "result" in one.message]
        assert replies == [1, *(f"s{at}" for at in range(1, 10))], "1 is the server's own id, not the client's call"
        await stream.event(result(request(1), {"done": True}))
        assert (await program.answer(1))["result"] == {"done": True}


async def test_many_calls_at_once(loop_name: str) -> None:
    """500 calls piped at once are each answered once, and EOF waits for them."""
    async with FaultServer.running(SseScript()) as server, Program.running(server.url, *SSE, loop=loop_name) as program:
        await program.send(INITIALIZE, INITIALIZED, *(request(at, tag=at) for at in range(500)))
        program.eof()
        assert await program.ended() == 0
        assert [program.answers[at]["result"]["echo"]["tag"] for at in range(500)] == list(range(500))
        assert len(server.posted("tools/call")) == 500


@pytest.mark.parametrize(
    "endpoint",
    ["http://127.0.0.1:{port}/steal", "//127.0.0.1:{port}/steal", "https://127.0.0.1:{own}/x", "http://[::1]:{own}/x"],
)
async def test_endpoint_of_another_origin(endpoint: str) -> None:
    """An endpoint of another host, port or scheme is refused: an error, and not one byte goes there."""
    async with FaultServer.running(Script()) as elsewhere:

        class Luring(SseScript):
            def endpoint(self, session: str) -> str:
                return endpoint.format(port=elsewhere.port, own=server.port)

        async with (
            FaultServer.running(Luring()) as server,
            Program.running(server.url, *SSE, env={"API_ACCESS_TOKEN": "token"}, exit_code=1) as program,
        ):
            answer = await program.call(1, "initialize")
            assert answer["error"]["code"] == -32006
            assert "another origin" in answer["error"]["message"]
            assert answer["error"]["data"] == {"delivered": "no"}
            assert server.methods() == ["GET"]
        assert elsewhere.connections == 0


@pytest.mark.parametrize(
    "endpoint", ["?session_id={0}", "/messages/?session_id={0}", "messages/?session_id={0}", "full"]
)
async def test_endpoint_forms(endpoint: str) -> None:
    """The endpoint may be a path, relative, or a whole URL of the same origin."""

    class Naming(SseScript):
        def endpoint(self, session: str) -> str:
            full = f"http://127.0.0.1:{server.port}/messages/?session_id={session}"
            return full if endpoint == "full" else endpoint.format(session)

        async def answer(self, exchange: Exchange) -> None:
            if exchange.request.method == "GET":
                await self.get(exchange)
            else:
                await self.post(exchange)

    async with FaultServer.running(Naming()) as server, Direct.to(server.url, transport="sse") as client:
        await client.handshake()
        assert "result" in await client.call(1)


@pytest.mark.parametrize("status", [403, 413, 500])
async def test_post_refused(status: int) -> None:
    """A POST that is refused is one error with its status; the stream goes on."""

    class Refusing(SseScript):
        async def post(self, exchange: Exchange) -> None:
            if exchange.message.get("id") == 1:
                await exchange.reply(status, b"no")
            else:
                await super().post(exchange)

    async with FaultServer.running(Refusing()) as server, Direct.to(server.url, transport="sse") as client:
        await client.handshake()
        answer = await client.call(1)
        assert answer["error"]["data"] == {"delivered": "no" if status < 500 else "unknown", "status": status}
        assert "result" in await client.call(2)
        assert server.methods().count("GET") == 1


async def test_answer_before_the_post_is_accepted() -> None:
    """The answer may come over the stream before the POST has its 202: it is delivered, once."""

    class Quick(SseScript):
        async def post(self, exchange: Exchange) -> None:
            if exchange.message.get("id") == 1:
                await self.stream(exchange).event(result(exchange.message))
                await self.stream(exchange).event(result(exchange.message))
                await asyncio.sleep(0.05)
                await exchange.reply(202)
            else:
                await super().post(exchange)

    async with FaultServer.running(Quick()) as server, Direct.to(server.url, transport="sse") as client:
        await client.handshake()
        assert "result" in await client.call(1)
        assert "result" in await client.call(2)


async def test_no_endpoint_event() -> None:
    """A stream that never names its endpoint: an error after `endpoint_wait`, and a later frame tries anew."""

    class Mute(SseScript):
        async def get(self, exchange: Exchange) -> None:
            if len(self.sessions) == 0:
                self.open_session()
                await exchange.open_stream()
                await exchange.hold()
            else:
                await super().get(exchange)

    limits = Limits(endpoint_wait=2.0, connect=1.0)  # the second stream must be as quick, on any machine
    async with FaultServer.running(Mute()) as server, Direct.to(server.url, transport="sse", limits=limits) as client:
        answer = await client.call("early", "initialize")
        assert answer["error"]["code"] == -32006
        assert any(why in answer["error"]["message"] for why in ("no endpoint event", "did not open in time"))
        await client.handshake()
        assert "result" in await client.call(1)


@pytest.mark.parametrize("status", [500, 202])
async def test_handshake_that_fails_after_a_loss(status: int) -> None:
    """If the new stream's handshake is refused, or its stream lost amid it, the next stream is tried."""

    class Moody(SseScript):
        async def post(self, exchange: Exchange) -> None:
            if exchange.message.get("method") == "initialize" and len(self.sessions) == 2:
                await exchange.reply(status)
                self.stream(exchange).cut()
            else:
                await super().post(exchange)

    script = Moody()
    limits = Limits(reconnect_min=0.01)
    async with FaultServer.running(script) as server, Direct.to(server.url, transport="sse", limits=limits) as client:
        await client.handshake()
        script.streams["session-1"].cut()
        await server.until(lambda: server.methods().count("notifications/initialized") == 2)
        assert "result" in await client.call(1)
        assert len(server.posted("initialize")) == 3


async def test_notifications_from_the_server_while_idle(loop_name: str) -> None:
    """What the server says unasked arrives, in order, in the very bytes it was said in."""
    script = Silent()
    async with FaultServer.running(script) as server, Program.running(server.url, *SSE, loop=loop_name) as program:
        await program.handshake()
        raw = [b'{"jsonrpc":"2.0",  "method":"n","params":{"at":%d,"x":0.10}}' % at for at in range(100)]
        for one in raw:
            await script.streams["session-1"].event(one)
        await script.streams["session-1"].event(note("last"))
        await program.until(lambda: len(program.others) == 101)
        assert program.lines[1:-1] == raw
