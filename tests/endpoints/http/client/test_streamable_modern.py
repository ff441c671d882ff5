"""Streamable HTTP of 2026-07-28, dialling: headers made from the frame, one POST for each request, closed to cancel."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable

import pytest

from relay.limits import Limits
from tests.e2e.conversation import INITIALIZE, INITIALIZED, Direct, Message, note, request
from tests.e2e.fault_server import Exchange, FaultServer, Request, Script, SseScript, error, result
from tests.e2e.fault_server import note as notification
from tests.timers import held_timers

VERSION = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": VERSION,
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}
QUICK = Limits(reconnect_min=0.01, reconnect_max=0.05, cancel_grace=0.2, linger=0.3)

TOOLS = [
    {"name": "plain", "inputSchema": {"type": "object"}},
    {
        "name": "annotated",
        "inputSchema": {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}},
    },
    {
        "name": "invalid",
        "inputSchema": {"type": "object", "properties": {"x": {"type": "number", "x-mcp-header": "X"}}},
    },
]


def modern(request_id: object, method: str = "tools/call", **params: object) -> Message:
    """Make a request of 2026-07-28."""
    return request(request_id, method, _meta=META, **params)


def cancelled(request_id: object) -> Message:
    """Make the notification that cancels a request."""
    return note("notifications/cancelled", requestId=request_id, reason="enough")


class Modern(Script):
    """A server of both eras; a modern call does what ``params.name`` says."""

    def __init__(self) -> None:
        super().__init__()
        self.held: list[Exchange] = []
        self.left: list[object] = []

    async def call(self, exchange: Exchange) -> None:
        message = exchange.message
        params = message.get("params", {})
        if message["method"] == "tools/list":
            await exchange.result({"tools": TOOLS, "ttlMs": 0.10})
        elif params.get("name") == "hold":
            await self.hold(exchange)
        elif params.get("name") == "hold stream" or message["method"] == "subscriptions/listen":
            await exchange.open_stream()
            await exchange.event(notification("notifications/subscriptions/acknowledged", id=message["id"]))
            await self.hold(exchange)
        elif params.get("name") == "stream":
            await exchange.open_stream()
            await exchange.event(notification("notifications/progress", progress=1), event_id="e1")
            await exchange.event(result(message))
            await exchange.end()
        elif params.get("name") in ("end", "cut"):
            await exchange.open_stream()
            await exchange.event(notification("notifications/progress", progress=1), event_id="e1")
            if params["name"] == "end":
                await exchange.end()
            else:
                exchange.cut()
        else:
            await exchange.result()

    async def hold(self, exchange: Exchange) -> None:
        """Answer nothing until the client has closed the stream."""
        self.held.append(exchange)
        await exchange.hold()
        self.left.append(exchange.message["id"])


async def prepare(client: Direct, server: FaultServer, *, kept: bool) -> None:
    """See the transport decided, and if ``kept`` the next call go over a kept connection."""
    await client.send(modern("discover", "server/discover"))
    await client.answer("discover")
    if kept:
        await client.warm_up(server)


async def until(holds: Callable[[], object]) -> None:
    """Wait until something is so that the script does not announce."""
    async with asyncio.timeout(20):
        while not holds():
            await asyncio.sleep(0.005)


def gets(server: FaultServer) -> list[Request]:
    """List the GETs."""
    return [one for one in server.requests if one.method == "GET"]


def last(server: FaultServer, method: str = "tools/call") -> Request:
    """Return the last POST of a method."""
    return server.posted(method)[-1]


# Headers.


@pytest.mark.parametrize("kept", [False, True])
async def test_headers_mirror_the_frame(kept: bool) -> None:
    """Version, method and name; and the body is the frame, byte for byte."""
    script = Modern()
    async with FaultServer.running(script) as server, Direct.to(server.url, limits=QUICK) as client:
        await prepare(client, server, kept=kept)
        for name, encoded in (("plain", "plain"), ("Grüße", "=?base64?R3LDvMOfZQ==?="), ("50%d", "50%d")):
            client.asked.append(name)
            frame = json.dumps(modern(name, name=name, arguments={"big": 2**70})).encode() + b" "
            await client.write([frame])
            assert "result" in await client.answer(name)
            came = last(server)
            assert came.body == frame
            assert came.headers["mcp-protocol-version"] == VERSION
            assert came.headers["mcp-method"] == "tools/call"
            assert came.headers["mcp-name"] == encoded
            assert came.headers["accept"] == "application/json, text/event-stream"
            assert came.headers["content-type"] == "application/json"
            assert "mcp-session-id" not in came.headers
            assert not came.repeated
        assert "mcp-name" not in last(server, "server/discover").headers
        assert {one.method for one in server.requests} == {"POST"}
    assert {one.method for one in server.requests} == {"POST"}  # no DELETE either


@pytest.mark.parametrize("kept", [False, True])
async def test_headers_of_the_operator_do_not_stand_beside(kept: bool) -> None:
    """What the frame says counts; all else that was given goes with it."""
    given = {"mcp-protocol-version": "2025-11-25", "X-Mine": "50%", "Mcp-Param-Region": "mine"}
    async with (
        FaultServer.running(Modern()) as server,
        Direct.to(server.url, headers=given, limits=QUICK) as client,
    ):
        await prepare(client, server, kept=kept)
        await client.send(modern(1, name="a"))
        await client.answer(1)
        came = last(server)
        assert came.headers["mcp-protocol-version"] == VERSION
        assert (came.headers["x-mine"], came.headers["mcp-param-region"]) == ("50%", "mine")
        assert not came.repeated


@pytest.mark.parametrize("kept", [False, True])
async def test_parameters_are_mirrored_once_the_tool_was_listed(kept: bool) -> None:
    """From the listing that passed through; a null value has no header."""
    async with FaultServer.running(Modern()) as server, Direct.to(server.url, limits=QUICK) as client:
        await prepare(client, server, kept=kept)
        for at, (region, encoded) in enumerate(
            [("before", None), ("eu", "eu"), (" é", "=?base64?IMOp?="), (None, None)]
        ):
            await client.send(modern(at, name="annotated", arguments={"region": region}))
            await client.answer(at)
            assert last(server).headers.get("mcp-param-region") == encoded
            if at == 0:
                await client.send(modern("list", "tools/list"))
                await client.answer("list")


@pytest.mark.parametrize("kept", [False, True])
async def test_invalid_tools_are_left_out_with_a_warning(kept: bool, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing else of the answer is touched; a legacy listing is not touched at all."""
    async with FaultServer.running(Modern()) as server, Direct.to(server.url, limits=QUICK) as client:
        await prepare(client, server, kept=kept)
        with caplog.at_level(logging.WARNING, "relay"):
            await client.send(modern("list", "tools/list"))
            await client.answer("list")
        assert "dropped the tool 'invalid' from the list: 'x' has an x-mcp-header" in caplog.text
        answer = result({"id": "list"}, {"tools": TOOLS[:2], "ttlMs": 0.10})
        assert client.lines[-1] == json.dumps(answer).encode()
        caplog.clear()
        legacy = await client.call("legacy", "tools/list")
        assert legacy["result"]["tools"] == TOOLS
        assert not caplog.records


# Refusals.


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize(("status", "code"), [(400, -32020), (400, -32022), (404, -32601), (400, -32602)])
async def test_a_refusal_with_an_error_is_the_answer(status: int, code: int, kept: bool) -> None:
    """Byte for byte if it has the request's id; under that id if it has none."""

    class Refusing(Modern):
        async def call(self, exchange: Exchange) -> None:
            if exchange.message["method"] != "tools/call":
                await super().call(exchange)
                return
            refusal = error(exchange.message["id"] if exchange.message["id"] != "none" else None, code)
            refusal["error"]["data"] = {"supported": [VERSION], "n": 0.10}
            await exchange.json(refusal, status=status)

    async with FaultServer.running(Refusing()) as server, Direct.to(server.url, limits=QUICK) as client:
        await client.handshake()  # in a session 404 means something else, but not to a modern request
        await prepare(client, server, kept=kept)
        for request_id in ("own", "none"):
            await client.send(modern(request_id, name="x"))
            answer = await client.answer(request_id)
            assert answer["error"] == {"code": code, "message": "no", "data": {"supported": [VERSION], "n": 0.10}}
        assert len(server.posted("initialize")) == 1
        assert len(server.posted("tools/call")) == 2


@pytest.mark.parametrize("status", [400, 401, 404, 405, 500])
@pytest.mark.parametrize("body", [b"", b"Not Found", b'{"error":"no"}', b'{"error":{"code":"x","message":1}}'])
async def test_any_other_refusal_becomes_an_error(status: int, body: bytes) -> None:
    """With the status in it, and a code that no client takes for a modern server's."""

    class Refusing(Modern):
        async def call(self, exchange: Exchange) -> None:
            await exchange.reply(status, body)

    async with FaultServer.running(Refusing()) as server, Direct.to(server.url, limits=QUICK) as client:
        answer = (await modern_call(client, 1))["error"]
        assert (answer["code"], answer["data"]["status"]) == (-32004, status)


async def modern_call(client: Direct, request_id: object, *, name: str = "x") -> Message:
    """Ask by a modern request, and wait for the answer."""
    await client.send(modern(request_id, name=name))
    return await client.answer(request_id)


@pytest.mark.shortcuts
async def test_a_server_that_was_not_ready_is_spoken_to_as_any_other() -> None:
    """A refusal that says nothing of the era leaves nothing behind: connections are kept once it answers."""

    class Late(Modern):
        async def answer(self, exchange: Exchange) -> None:
            if len(server.requests) <= 3:
                await exchange.reply(503)
            else:
                await super().answer(exchange)

    async with FaultServer.running(Late()) as server, Direct.to(server.url, limits=QUICK) as client:
        for at in range(3):
            assert (await modern_call(client, at))["error"]["data"] == {"delivered": "unknown", "status": 503}
        assert "result" in await modern_call(client, "decided")
        await client.warm_up(server)
        await client.handshake()
        assert "result" in await client.call("legacy")


class Old(SseScript):
    """An HTTP+SSE server that refuses a POST to its /sse as a test wants."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__()
        self.refusal = (status, body)

    async def answer(self, exchange: Exchange) -> None:
        if exchange.request.method == "POST" and exchange.request.target.startswith("/sse"):
            is_call = exchange.message["method"] == "tools/call"
            await exchange.reply(self.refusal[0], self.refusal[1] if is_call else b"", kind="application/json")
        else:
            await super().answer(exchange)


@pytest.mark.parametrize("status", [400, 404, 405])
@pytest.mark.parametrize("body", [b"", b"no", json.dumps(error(None, -32600)).encode()])
async def test_after_a_refusal_that_is_not_modern_http_sse_is_found(status: int, body: bytes) -> None:
    """The client is told at once, goes on with initialize, and that is answered over HTTP+SSE."""
    async with FaultServer.running(Old(status, body)) as server, Direct.to(server.url, limits=QUICK) as client:
        assert "error" in await modern_call(client, "probe", name="x")
        await client.handshake()
        assert "result" in await client.call(1)
        assert server.methods()[:4] == ["tools/call", "initialize", "GET", "initialize"]


@pytest.mark.parametrize("status", [400, 404, 405])
@pytest.mark.parametrize("request_id", [None, "probe"])
async def test_after_a_modern_refusal_nothing_else_is_tried(status: int, request_id: str | None) -> None:
    """Only a modern server says so: initialize is POSTed, and its refusal is the end of it."""
    script = Old(status, json.dumps(error(request_id, -32022)).encode())
    async with FaultServer.running(script) as server, Direct.to(server.url, limits=QUICK) as client:
        assert "error" in await modern_call(client, "probe", name="x")
        await client.send(INITIALIZE)
        assert "error" in await client.answer("init")
        assert server.methods() == ["tools/call", "initialize"]


async def test_a_modern_error_with_no_id_keeps_initialize_from_http_sse() -> None:
    """405 and null: that is how HTTP+SSE refuses a POST, but not with this code."""

    class ModernOnly(Modern):
        async def initialize(self, exchange: Exchange) -> None:
            await exchange.json(error(None, -32022), status=405)

    async with FaultServer.running(ModernOnly()) as server, Direct.to(server.url, limits=QUICK) as client:
        await client.send(INITIALIZE)
        assert "error" in await client.answer("init")
        assert server.methods() == ["initialize"]


# Cancellation.


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("name", ["hold", "hold stream"])
async def test_to_cancel_is_to_close_the_stream(name: str, kept: bool) -> None:
    """At once, without a POST; and nothing is answered, by nobody."""
    script = Modern()
    async with FaultServer.running(script) as server, Direct.to(server.url, limits=QUICK, owed=True) as client:
        await prepare(client, server, kept=kept)
        with held_timers(QUICK.cancel_grace) as timers:
            for request_id in (1, "1"):
                await client.send(modern(request_id, name=name))
                await until(lambda: len(script.held) == 1)
                if name == "hold stream":
                    await client.until(lambda: client.others)
                await client.send(cancelled(request_id))
                async with asyncio.timeout(10):
                    await until(lambda: script.left)
                assert script.left == [request_id]
                script.held.clear()
                script.left.clear()
            assert "result" in await modern_call(client, 1, name="plain")
            assert len(timers) == 0, "nothing would answer it later"
        assert [one["id"] for one in client.messages if one.get("id") in (1, "1")] == [1]
        assert server.posted("notifications/cancelled") == []
        assert client.remote._client is not None and client.remote._client.in_flight == 0


@pytest.mark.parametrize("kept", [False, True])
async def test_cancelled_in_the_same_breath(kept: bool) -> None:
    """A request that has not begun yet leaves nothing behind either: not even its place."""
    script = Modern()
    limits = Limits(max_in_flight=2, cancel_grace=0.2)
    async with FaultServer.running(script) as server, Direct.to(server.url, limits=limits, owed=True) as client:
        await prepare(client, server, kept=kept)
        for at in range(6):
            await client.send(modern(at, name="hold"), cancelled(at))
            await client.send(modern(f"sub {at}", "subscriptions/listen"), cancelled(f"sub {at}"))
        await until(lambda: len(script.left) == len(script.held))
        assert "result" in await modern_call(client, "after", name="plain")
        assert [one for one in client.messages if one.get("id") in range(6)] == []


@pytest.mark.parametrize("has_session", [False, True])
async def test_a_late_cancellation_is_kept_from_a_modern_server(has_session: bool) -> None:
    """It wants no such message; a legacy one is told, as ever, if its client is one."""
    script = Modern()
    async with FaultServer.running(script) as server, Direct.to(server.url, limits=QUICK) as client:
        if has_session:
            await client.handshake()
        await modern_call(client, 1, name="plain")
        await client.send(note("notifications/cancelled", _meta=META, requestId=1), cancelled(1))
        await modern_call(client, 2, name="plain")
        assert len(server.posted("notifications/cancelled")) == has_session


async def test_a_legacy_request_is_cancelled_as_ever() -> None:
    """By a message, and with an answer."""
    script = Modern()
    async with FaultServer.running(script) as server, Direct.to(server.url, limits=QUICK) as client:
        await client.handshake()
        await client.send(request(1, name="hold"))
        await until(lambda: script.held)
        await client.send(cancelled(1))
        assert (await client.answer(1))["error"]["code"] == -32005
        assert len(server.posted("notifications/cancelled")) == 1


# Streams.


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("name", ["end", "cut"])
async def test_a_stream_that_ends_without_an_answer_is_not_resumed(name: str, kept: bool) -> None:
    """Whatever event ids it had: the request is lost."""
    async with FaultServer.running(Modern()) as server, Direct.to(server.url, limits=QUICK) as client:
        await prepare(client, server, kept=kept)
        answer = await modern_call(client, 1, name=name)
        assert (answer["error"]["code"], answer["error"]["data"]) == (-32001, {"delivered": "unknown"})
        assert [one["method"] for one in client.others] == ["notifications/progress"]
        assert "result" in await modern_call(client, 2, name="stream")
        assert gets(server) == []


@pytest.mark.shortcuts
async def test_both_eras_of_one_client_go_side_by_side() -> None:
    """Legacy frames have their session, modern ones have none; neither knows of the other."""
    script = Modern()
    async with FaultServer.running(script) as server, Direct.to(server.url, limits=QUICK) as client:
        await prepare(client, server, kept=False)
        await client.send(INITIALIZE, modern("beside", name="plain"))
        await client.all_answers(["init", "beside"])
        await client.send(INITIALIZED)
        await client.warm_up(server, lines=2)
        for at in range(6):
            await client.send(request(at, name="plain"), modern(str(at), name="plain"))
            await client.all_answers([at, str(at)])
        await client.send(note("notifications/initialized", _meta=META))
        for one in server.posted("tools/call"):
            is_modern = "_meta" in one.message["params"]
            assert one.session == (None if is_modern else "session-1")
            assert one.headers["mcp-protocol-version"] == (VERSION if is_modern else "2025-11-25")
            assert ("mcp-method" in one.headers) == is_modern
            assert not one.repeated
        script.live.clear()  # the session is forgotten: the legacy call begins a new one, the modern one does not care
        assert "result" in await modern_call(client, "m", name="plain")
        assert len(script.sessions) == 1
        assert "result" in await client.call("l", name="plain")
        assert len(script.sessions) == 2
        assert len(gets(server)) == 2


# Subscriptions.


@pytest.mark.shortcuts
async def test_subscriptions_take_no_place_from_requests() -> None:
    """As many as there are places are open at once, each on its own stream; one more is refused at once."""
    script = Modern()
    limits = Limits(max_in_flight=2, cancel_grace=0.2)
    async with FaultServer.running(script) as server, Direct.to(server.url, limits=limits, owed=True) as client:
        await prepare(client, server, kept=True)
        await client.send(*(modern(at, "subscriptions/listen") for at in range(3)))
        refused = await client.answer(2)
        assert (refused["error"]["code"], refused["error"]["data"]) == (-32006, {"delivered": "no"})
        await client.until(lambda: len(client.others) == 2)
        for _ in range(3):
            for exchange in script.held:
                await exchange.chunk(b": still here\n\n")
        for at in range(5):
            assert "result" in await modern_call(client, f"call {at}", name="stream")
        await script.held[1].event(notification("notifications/tools/list_changed", of=1))
        await client.until(lambda: client.others[-1]["params"] == {"of": 1})
        await client.send(cancelled(0))
        await until(lambda: script.left == [0])
        await client.send(modern("again", "subscriptions/listen"))
        await client.until(lambda: client.others[-1]["params"] == {"id": "again"})
        # Its server ends it, gracefully or not.
        await script.held[1].event({"jsonrpc": "2.0", "id": 1, "result": {"resultType": "complete"}})
        assert "result" in await client.answer(1)
        script.held[2].cut()
        assert (await client.answer("again"))["error"]["code"] == -32001


async def test_a_client_that_leaves_does_not_wait_for_its_subscriptions() -> None:
    """Its requests are answered, then its subscriptions are over, each with an answer."""
    script = Modern()
    async with FaultServer.running(script) as server, Direct.to(server.url, limits=QUICK) as client:
        await client.send(modern("sub", "subscriptions/listen"))
        await client.until(lambda: client.others)
        await client.send(modern("call", name="hold"))
        await until(lambda: len(script.held) == 2)
        await client.remote.send_eof()
        await script.held[1].result()
        await client.all_answers(["call", "sub"])
        assert [one["id"] for one in client.messages if "id" in one] == ["call", "sub"]
        assert client.answers["sub"]["result"]["resultType"] == "complete"


async def test_an_id_in_use_is_refused_and_takes_no_place() -> None:
    """For a subscription as for a call."""
    script = Modern()
    limits = Limits(max_in_flight=2, cancel_grace=0.2)
    async with FaultServer.running(script) as server, Direct.to(server.url, limits=limits, owed=True) as client:
        await prepare(client, server, kept=False)
        await client.send(modern(1, "subscriptions/listen"))
        await client.until(lambda: client.others)
        for _ in range(3):
            await client.send(modern(1, "subscriptions/listen"))
        await client.until(lambda: len([one for one in client.messages if one.get("id", 0) is None]) == 3)
        await client.send(modern(2, "subscriptions/listen"))
        await client.until(lambda: len(client.others) == 2)
