"""HTTP+SSE, dialling, with small limits: sizes, batches of waiting calls, and a stream that comes and goes."""

from __future__ import annotations

import json

import pytest

from relay.limits import Limits
from tests.e2e.conversation import Direct, note, request
from tests.e2e.fault_server import Exchange, FaultServer, SseScript, result

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
