"""HTTP+SSE, dialling, with small limits: sizes, batches of waiting calls, and a stream that comes and goes."""

from __future__ import annotations

import asyncio
import json

import pytest

from relay.limits import Limits
from tests.e2e.conversation import Direct, note, request
from tests.e2e.fault_server import Exchange, FaultServer, SseScript, result, sse_event

SMALL = Limits(max_frame_bytes=100_000, reconnect_min=0.01, reconnect_max=0.05, cancel_grace=0.2)


class Sized(SseScript):
    """Answers with exactly `params.size` bytes."""

    async def call(self, exchange: Exchange) -> None:
        frame = json.dumps({"jsonrpc": "2.0", "id": exchange.message["id"], "result": {"fill": ""}}).encode()
        fill = exchange.message["params"]["size"] - len(frame)
        await self.stream(exchange).event(frame.replace(b'""', b'"' + b"x" * fill + b'"'))


async def test_answer_at_the_limit_and_beyond() -> None:
    """One byte beyond the limit fails its own request; the stream and every other request go on."""
    limit = SMALL.max_frame_bytes
    sizes = {"at": limit, "beyond": limit + 1, "far": 10 * limit, "small": 100}
    async with FaultServer.running(Sized()) as server, Direct.to(server.url, transport="sse", limits=SMALL) as client:
        await client.handshake()
        await client.send(*(request(name, size=size) for name, size in sizes.items()))
        answers = dict(zip(sizes, await client.all_answers(sizes), strict=True))
        assert ["result" in one for one in answers.values()] == [True, False, False, True]
        assert {answers[name]["error"]["code"] for name in ("beyond", "far")} == {-32003}
        assert server.methods().count("GET") == 1


@pytest.mark.parametrize("losses", [1, 5])
async def test_stream_that_comes_and_goes(losses: int) -> None:
    """After any number of losses the session works, and each loss cost one handshake, unseen by the client."""
    script = SseScript()
    async with FaultServer.running(script) as server, Direct.to(server.url, transport="sse", limits=SMALL) as client:
        await client.handshake()
        for at in range(losses):
            await server.until(lambda: server.methods().count("notifications/initialized") == at + 1)  # noqa: B023
            assert "result" in await client.call(at)
            script.streams[f"session-{at + 1}"].cut()
        await server.until(lambda: server.methods().count("notifications/initialized") == losses + 1)
        assert "result" in await client.call("last")
        assert len(server.posted("initialize")) == losses + 1


async def test_cancelled_call() -> None:
    """A cancelled call that its server leaves unanswered gets an end; its late answer reaches nobody."""
    asked: list[Exchange] = []

    class Leaving(SseScript):
        async def call(self, exchange: Exchange) -> None:
            asked.append(exchange)

    script = Leaving()
    async with FaultServer.running(script) as server, Direct.to(server.url, transport="sse", limits=SMALL) as client:
        await client.handshake()
        await client.send(request(1))
        await client.send(note("notifications/cancelled", requestId=1))
        assert (await client.answer(1))["error"]["code"] == -32005
        await script.streams["session-1"].event(result(asked[0].message))
        await script.streams["session-1"].event(note("last"))
        await client.until(lambda: client.others)
        assert len(client.messages) == 3


async def test_a_stream_that_the_server_ends_is_opened_anew() -> None:
    """In good order, as some servers do after a while: what was open gets its error, the session goes on."""

    over = asyncio.Event()

    class Ending(SseScript):
        async def get(self, exchange: Exchange) -> None:
            session = self.open_session()
            self.streams[session] = exchange
            await exchange.open_stream()
            await exchange.event(self.endpoint(session).encode(), event="endpoint")
            if session == "session-1":
                await over.wait()
                await exchange.end()
            else:
                await exchange.hold()

        async def call(self, exchange: Exchange) -> None:
            if exchange.message["id"] == "last words":
                over.set()
            else:
                await super().call(exchange)

    async with FaultServer.running(Ending()) as server, Direct.to(server.url, transport="sse", limits=SMALL) as client:
        await client.handshake()
        answer = await client.call("last words")
        assert answer["error"]["data"] == {"delivered": "unknown"}
        assert "the server ended the stream" in answer["error"]["message"]
        assert "result" in await client.call("after")
        assert len(server.posted("initialize")) == 2


async def test_what_comes_amid_a_new_handshake() -> None:
    """Notifications go on to the client; the answer to the handshake does not, not even if it comes twice."""

    class Talkative(SseScript):
        async def post(self, exchange: Exchange) -> None:
            if exchange.message.get("method") != "initialize" or len(self.sessions) == 1:
                await super().post(exchange)
                return
            await exchange.reply(202)
            welcome = self.welcome(exchange)
            parts = [sse_event(part) for part in (note("news"), welcome, welcome)]
            await self.stream(exchange).chunk(b"".join(parts))

    script = Talkative()
    async with FaultServer.running(script) as server, Direct.to(server.url, transport="sse", limits=SMALL) as client:
        await client.handshake()
        script.streams["session-1"].cut()
        await client.until(lambda: client.others)
        assert "result" in await client.call("after")
        assert [one["method"] for one in client.others] == ["news"]
        assert len(client.messages) == 3


async def test_an_endpoint_that_is_no_url() -> None:
    """The request gets an error that shows what is wrong; nothing was delivered."""

    class Muddled(SseScript):
        def endpoint(self, session: str) -> str:
            return "http://[::1/messages"

    async with FaultServer.running(Muddled()) as server, Direct.to(server.url, transport="sse", limits=SMALL) as client:
        answer = await client.call(1, "initialize")
        assert (answer["error"]["code"], answer["error"]["data"]) == (-32006, {"delivered": "no"})
        assert "the endpoint event holds no URL" in answer["error"]["message"]


async def test_a_second_endpoint_event_changes_nothing() -> None:
    """A session has one place to POST to: a stream cannot be turned elsewhere in the middle."""
    script = SseScript()
    async with FaultServer.running(script) as server, Direct.to(server.url, transport="sse", limits=SMALL) as client:
        await client.handshake()
        await script.streams["session-1"].event(b"/elsewhere", event="endpoint")
        await script.streams["session-1"].event(note("behind it"))
        await client.until(lambda: client.others)
        assert "result" in await client.call(1)
        assert not [one for one in server.requests if one.target.startswith("/elsewhere")]


async def test_a_stream_that_is_lost_when_the_client_has_left() -> None:
    """What was open gets its error, and no new stream is opened for nobody."""

    class Held(SseScript):
        async def call(self, exchange: Exchange) -> None:
            pass

    script = Held()
    async with FaultServer.running(script) as server, Direct.to(server.url, transport="sse", limits=SMALL) as client:
        await client.handshake()
        await client.send(request(1))
        await server.until(lambda: server.posted("tools/call"))
        await client.remote.send_eof()
        script.streams["session-1"].cut()
        assert (await client.answer(1))["error"]["data"] == {"delivered": "unknown"}
        await asyncio.sleep(0.1)  # twice as long as the longest wait before a new one
        assert server.methods().count("GET") == 1
