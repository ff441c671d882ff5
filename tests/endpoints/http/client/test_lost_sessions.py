"""A session that its server has forgotten: a new one from the recorded handshake, and each request executed once.

And calls of which it is doubtful whether an answer will come: their stream was resumed, or their session is lost.
"""

from __future__ import annotations

import asyncio
import json
from urllib.parse import parse_qs, urlsplit

import pytest

import relay
from relay.endpoints.core.dialling import Transport
from relay.limits import Limits
from tests.e2e.conversation import INITIALIZE, Direct, note, request
from tests.e2e.fault_server import JSON, Exchange, FaultServer, Script, SseScript, error, result

QUICK = Limits(reconnect_min=0.01, reconnect_max=0.05, doubt=0.1)


class Refusal:
    """How a server says that it does not know a session."""

    def __init__(self, status: int, body: bytes = b"", kind: str | None = None) -> None:
        self.status, self.body, self.kind = status, body, kind

    def __repr__(self) -> str:
        return f"{self.status} {self.body[:40]!r}"

    async def give(self, exchange: Exchange) -> None:
        body = self.body.replace(b'"OWN"', json.dumps(exchange.message.get("id")).encode())
        await exchange.reply(self.status, body, kind=self.kind)


def refusal(status: int, request_id: object, message: str, code: int = -32000) -> Refusal:
    return Refusal(status, json.dumps(error(request_id, code, message)).encode(), JSON)


class Forgetful(Script):
    """Knows the sessions in ``live`` only."""

    def __init__(self, said: Refusal) -> None:
        super().__init__()
        self.said = said
        self.refused: list[object] = []
        self.executed: list[object] = []

    async def unknown_session(self, exchange: Exchange) -> None:
        if exchange.request.method == "POST":
            self.refused.append(exchange.message.get("id"))
        await self.said.give(exchange)

    async def call(self, exchange: Exchange) -> None:
        self.executed.append(exchange.message["id"])
        await super().call(exchange)


class ForgetfulSse(Forgetful, SseScript):
    """The same over HTTP+SSE: its streams stay open, whatever it has forgotten."""

    async def post(self, exchange: Exchange) -> None:
        if parse_qs(urlsplit(exchange.request.target).query)["session_id"][0] not in self.live:
            await self.unknown_session(exchange)
        else:
            await super().post(exchange)


WAYS = ["streamablehttp", "kept", "sse"]
REFUSALS = [
    Refusal(404),
    Refusal(404, b"<html>not found</html>", "text/html"),
    refusal(404, None, "Session not found"),
    refusal(404, "OWN", "Session not found", -32001),
    Refusal(410),
    refusal(410, None, "gone"),
    Refusal(400),
    Refusal(400, b"Bad Request", "text/plain"),
    refusal(400, None, "Bad Request: No valid session ID provided"),
    refusal(400, "server-error", "Bad Request: no valid session", -32600),
    refusal(400, "OWN", "Unknown session", -32600),
]


def transport_of(way: str) -> Transport:
    return "sse" if way == "sse" else "streamablehttp"


def forgetful(way: str, said: Refusal) -> Forgetful:
    return ForgetfulSse(said) if way == "sse" else Forgetful(said)


@pytest.mark.parametrize("said", REFUSALS, ids=repr)
@pytest.mark.parametrize("way", WAYS)
async def test_a_forgotten_session_is_begun_anew(way: str, said: Refusal) -> None:
    """By all that met it together: one handshake, each request sent once more and executed once."""
    script = forgetful(way, said)
    async with (
        FaultServer.running(script) as server,
        Direct.to(server.url, transport=transport_of(way), limits=QUICK) as client,
    ):
        await client.handshake()
        if way == "kept":
            await client.warm_up(server, lines=3)
        await server.until(lambda: "notifications/initialized" in server.methods())
        script.live.clear()
        await client.send(*(request(at, tag=at) for at in range(10)))
        answers = await client.all_answers(range(10))
        assert [one["result"]["echo"]["tag"] for one in answers] == list(range(10))
        assert sorted(one for one in script.executed if isinstance(one, int)) == list(range(10))
        first, second = server.posted("initialize")
        assert first.body == second.body and second.session is None
        assert len(server.posted("notifications/initialized")) == 2
        assert list(client.answers).count("init") == 1


@pytest.mark.parametrize("status", [400, 404, 410])
@pytest.mark.parametrize("way", WAYS)
async def test_a_session_that_is_forgotten_again(way: str, status: int) -> None:
    """One attempt: then the refusal is the answer."""

    class Amnesiac(Forgetful):
        async def answer(self, exchange: Exchange) -> None:
            if exchange.request.method == "POST" and exchange.message.get("method") == "tools/call":
                await self.unknown_session(exchange)
            else:
                await super().answer(exchange)

    class AmnesiacSse(Amnesiac, ForgetfulSse):
        pass

    script = (AmnesiacSse if way == "sse" else Amnesiac)(Refusal(status, b"no"))
    async with (
        FaultServer.running(script) as server,
        Direct.to(server.url, transport=transport_of(way), limits=QUICK) as client,
    ):
        await client.handshake()
        if way == "kept":
            await client.warm_up(server)
        answer = await client.call(1)
        assert answer["error"]["data"] == {"delivered": "no", "status": status}
        assert (script.refused, len(server.posted("initialize"))) == ([1, 1], 2)
        if status == 400 or way == "sse":  # it was about the request: sessions are not thrown away for the next one
            assert (await client.call(2))["error"]["data"] == {"delivered": "no", "status": status}
            assert (script.refused, len(server.posted("initialize"))) == ([1, 1, 2], 2)


@pytest.mark.parametrize(
    "said",
    [
        refusal(400, "OWN", "wrong", -32000),
        refusal(400, None, "no JSON", -32700),
        refusal(400, "OWN", "no such tool", -32602),
        refusal(404, "OWN", "no such method", -32601),
    ],
    ids=repr,
)
@pytest.mark.parametrize("way", WAYS)
async def test_a_refusal_about_the_request_is_its_answer(way: str, said: Refusal) -> None:
    """The session lives on."""

    class Refusing(Forgetful):
        async def answer(self, exchange: Exchange) -> None:
            if exchange.request.method == "POST" and exchange.message.get("id") == 1:
                await said.give(exchange)
            else:
                await super().answer(exchange)

    class RefusingSse(Refusing, ForgetfulSse):
        pass

    script = (RefusingSse if way == "sse" else Refusing)(said)
    async with (
        FaultServer.running(script) as server,
        Direct.to(server.url, transport=transport_of(way), limits=QUICK) as client,
    ):
        await client.handshake()
        if way == "kept":
            await client.warm_up(server)
        assert "error" in await client.call(1)
        assert "result" in await client.call(2)
        assert len(server.posted("initialize")) == 1


@pytest.mark.parametrize("way", ["streamablehttp", "sse"])
@pytest.mark.parametrize("way_of_combining", ["balance", "fallback"])
async def test_one_of_several_servers_forgets(way_of_combining: str, way: str) -> None:
    """Its clients do not notice, and it is not taken for a server that fails."""
    script = forgetful(way, Refusal(410))
    async with FaultServer.running(script) as server:
        balancer = relay.balance(server.url) if way_of_combining == "balance" else None
        far = balancer.session() if balancer is not None else relay.fallback(server.url)
        client = Direct(far)  # type: ignore[arg-type]  # an endpoint like it
        reading = asyncio.get_running_loop().create_task(client._read())
        try:
            await client.handshake()
            assert "result" in await client.call(1)
            script.live.clear()
            assert "result" in await client.call(2)
            assert len(script.sessions) == 2
        finally:
            await far.aclose()
            await reading
            if balancer is not None:
                await balancer.aclose()
        client.assert_exactly_one_outcome()


# -- what is open in a forgotten session ------------------------------------------------------------------------------


class Waiting(Forgetful):
    """Answers the call "open" never, or when the test does."""

    def __init__(self, said: Refusal) -> None:
        super().__init__(said)
        self.open: Exchange | None = None

    async def call(self, exchange: Exchange) -> None:
        if exchange.message["id"] != "open":
            await super().call(exchange)
            return
        self.open = exchange
        if not isinstance(self, SseScript):
            await exchange.hold()


class WaitingSse(Waiting, ForgetfulSse):
    """The same over HTTP+SSE."""


@pytest.mark.parametrize("way", WAYS)
async def test_a_call_in_a_session_that_is_lost_has_an_end(way: str) -> None:
    """An error, soon after the new session, if nothing comes for it; the new session is none the worse."""
    script = (WaitingSse if way == "sse" else Waiting)(Refusal(404))
    async with (
        FaultServer.running(script) as server,
        Direct.to(server.url, transport=transport_of(way), limits=QUICK) as client,
    ):
        await client.handshake()
        if way == "kept":
            await client.warm_up(server, lines=2)
        await client.send(request("open"))
        await server.until(lambda: server.posted("tools/call"))
        script.live.clear()
        assert "result" in await client.call(1)
        answer = await client.answer("open")
        assert answer["error"]["code"] == -32001 and answer["error"]["data"] == {"delivered": "unknown"}
        assert "result" in await client.call(2)
        assert len(server.posted("initialize")) == 2


async def test_a_stream_that_was_forgotten_is_read_to_its_last_answer() -> None:
    """Of two servers behind one name, one may know the session still: its answer counts."""
    script = WaitingSse(Refusal(404))
    limits = Limits(reconnect_min=0.01, doubt=20)
    async with FaultServer.running(script) as server, Direct.to(server.url, transport="sse", limits=limits) as client:
        await client.handshake()
        await client.send(request("open"))
        await server.until(lambda: script.open)
        script.live.clear()
        assert "result" in await client.call(1)
        assert script.open is not None and "open" not in client.answers
        await script.streams["session-1"].event(result(script.open.message))
        assert "result" in await client.answer("open")


# -- a stream that was resumed ----------------------------------------------------------------------------------------


class Resuming(Forgetful):
    """Cuts the stream of each call; resumed ones stay open, and say nothing by themselves."""

    def __init__(self, said: Refusal) -> None:
        super().__init__(said)
        self.resumed: Exchange | None = None
        self.pings = 0

    async def post(self, exchange: Exchange) -> None:
        self.pings += exchange.message.get("method") == "ping"
        await super().post(exchange)

    async def call(self, exchange: Exchange) -> None:
        await exchange.open_stream()
        await exchange.event(event_id="1")
        exchange.cut()

    async def get(self, exchange: Exchange) -> None:
        if "last-event-id" not in exchange.request.headers:
            await exchange.reply(405)
            return
        await exchange.open_stream()
        self.resumed = exchange
        await exchange.hold()


@pytest.mark.parametrize("kept", [False, True])
async def test_a_resumed_stream_that_stays_silent(kept: bool) -> None:
    """Its call waits while the server knows the session, however long; when it does not, the call has an error."""
    script = Resuming(Refusal(404))
    async with FaultServer.running(script) as server, Direct.to(server.url, limits=QUICK) as client:
        await client.handshake()
        if kept:
            await client.warm_up(server)
        before = script.pings
        await client.send(request("long"), request("lost"))
        await server.until(lambda: script.pings >= before + 6)
        assert {"long", "lost"}.isdisjoint(client.answers)
        assert script.resumed is not None
        script.live.clear()
        for answer in await client.all_answers(["long", "lost"]):
            assert answer["error"]["code"] == -32001 and answer["error"]["data"] == {"delivered": "unknown"}


async def test_a_resumed_stream_that_is_late() -> None:
    """The answer that comes after all is the answer; a stream that speaks is not asked about."""
    script = Resuming(Refusal(404))
    limits = Limits(reconnect_min=0.01, doubt=0.3)
    async with FaultServer.running(script) as server, Direct.to(server.url, limits=limits) as client:
        await client.handshake()
        await client.send(request("long"))
        await server.until(lambda: script.resumed)
        assert script.resumed is not None
        for at in range(10):
            await script.resumed.event(note("notifications/progress", progress=at))
            await asyncio.sleep(0.1)
        await script.resumed.event(result({"id": "long"}))
        assert "result" in await client.answer("long")


async def test_a_server_that_does_not_answer_to_a_new_handshake() -> None:
    """The requests that wait for it have an error after the time that a handshake may take, and not never."""

    class Mute(SseScript):
        async def post(self, exchange: Exchange) -> None:
            if len(self.sessions) > 1:
                await exchange.hold()
            await super().post(exchange)

    script = Mute()
    limits = Limits(reconnect_min=0.01, reconnect_max=0.05, handshake=0.2)
    async with FaultServer.running(script) as server, Direct.to(server.url, transport="sse", limits=limits) as client:
        await client.handshake()
        await server.until(lambda: "notifications/initialized" in server.methods())
        script.streams["session-1"].cut()
        await server.until(lambda: len(server.posted("initialize")) == 2)
        answer = await client.call(1)
        assert answer["error"]["code"] == -32006 and answer["error"]["data"] == {"delivered": "no"}


async def test_a_second_initialize_in_a_session_that_is_lost() -> None:
    """It is a handshake itself: none is repeated before it."""
    script = ForgetfulSse(Refusal(404))
    async with FaultServer.running(script) as server, Direct.to(server.url, transport="sse", limits=QUICK) as client:
        await client.handshake()
        await server.until(lambda: "notifications/initialized" in server.methods())
        script.live.clear()
        await client.send({**INITIALIZE, "id": "init-2"})
        assert "result" in await client.answer("init-2")
        assert len(server.posted("initialize")) == 3
