"""HTTP to HTTP: each request that is handed on has one answer, though its server dies or says it twice."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import Any

import pytest

from relay.limits import Limits
from tests.e2e.fault_server import JSON, SSE, Exchange, Script, note, result, sse_event
from tests.e2e.oracle import Client, Event, Response, initialize, request
from tests.endpoints.http.through.test_pass_through import CALL, LOST, PRIMING, Doing, events_of, hop_to, sees

STREAMS = 32
AGAIN = sse_event(result(json.loads(CALL), "again"), event_id="8")
FIRST = sse_event(result(json.loads(CALL), "first"), event_id="7")
SPELT = ["1", '"1"', "1.0", "1e0", '"\\u0031"']


def spelt(event: bytes, request_id: str) -> bytes:
    """Return what a server writes that has its own way with the id 1."""
    assert event.count(b'"id": 1,') == 1
    return event.replace(b'"id": 1,', b'"id": ' + request_id.encode() + b",")


def answers_in(events: list[Event]) -> list[dict[str, Any]]:
    found = [json.loads(event.data) for event in events if sees(event)]
    return [one for one in found if "method" not in one]


class Holding(Script):
    """Begins a resumable stream for each call and says no more."""

    async def call(self, exchange: Exchange) -> None:
        await exchange.open_stream()
        await exchange.event(event_id=f"{exchange.message['id']}-1")
        await exchange.event(note("notifications/progress", progress=1), event_id=f"{exchange.message['id']}-2")
        await exchange.hold()


class HoldingUnframed(Script):
    """The same on a stream that ends with its connection: whether it was cut, nothing says."""

    async def call(self, exchange: Exchange) -> None:
        number = exchange.message["id"]
        await exchange.raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
        await exchange.raw(sse_event(event_id=f"{number}-1"))
        await exchange.raw(sse_event(note("notifications/progress", progress=1), event_id=f"{number}-2"))
        with contextlib.suppress(asyncio.CancelledError):
            await exchange.hold()
        exchange.writer.close()  # the end that a killed process leaves
        await exchange.writer.wait_closed()


async def open_call(client: Client, number: int) -> Response:
    response = await client.post(request(number, "tools/call", name="x"))
    assert (await response.next_event()).id == f"{number}-2"
    return response


@pytest.mark.parametrize("script", [Holding, HoldingUnframed])
async def test_a_server_that_dies_with_resumable_streams_open(script: type[Script]) -> None:
    """Nobody is there to ask for the rest: each of 32 requests has its error, with its id, on its stream."""
    async with hop_to(script()) as (opened, server):
        clients = [opened.client() for _ in range(STREAMS)]
        responses = await asyncio.gather(*(open_call(client, number) for number, client in enumerate(clients)))
        await server.stop()
        for number, response in enumerate(responses):
            (answer,) = answers_in(await events_of(response))
            assert answer["id"] == number
            assert answer["error"]["code"] == LOST and answer["error"]["data"] == {"delivered": "unknown"}


@pytest.mark.parametrize("how", ["cut", "end"])
async def test_a_server_that_is_gone_when_the_client_comes_back(how: str) -> None:
    """The client asked for the rest of a stream that has no head any more: it hears of its request all the same."""

    class Ending(Script):
        async def call(self, exchange: Exchange) -> None:
            await exchange.open_stream()
            await exchange.event(event_id="6", retry=10)
            exchange.cut() if how == "cut" else await exchange.end()

    async with hop_to(Ending()) as (opened, server):
        client = opened.client()
        response = await client.post(CALL)
        try:
            await response.body()
        except (asyncio.IncompleteReadError, ConnectionError):
            assert how == "cut"
        await server.stop()
        headers = {"Accept": SSE, "Mcp-Session-Id": "s", "Last-Event-ID": "6"}
        back = await opened.client().request("GET", "/mcp", headers)
        assert back.status == 200
        (answer,) = answers_in(await events_of(back))
        assert answer["id"] == 1 and answer["error"]["code"] == LOST
        again = await opened.client().request("GET", "/mcp", headers)
        assert again.status == 502  # it has been told


async def test_a_server_that_dies_while_a_resumed_stream_is_open() -> None:
    """Its client has come back with Last-Event-ID, and the stream breaks for good."""

    class Resumed(Holding):
        async def get(self, exchange: Exchange) -> None:
            await exchange.open_stream()
            await exchange.event(event_id="7-1")
            await exchange.event(note("notifications/progress", progress=1), event_id="7-2")
            await exchange.hold()

        async def call(self, exchange: Exchange) -> None:
            await exchange.open_stream()
            await exchange.event(event_id="6", retry=10)
            await exchange.end()

    async with hop_to(Resumed()) as (opened, server):
        assert await (await opened.client().post(CALL)).body()
        headers = {"Accept": SSE, "Mcp-Session-Id": "s", "Last-Event-ID": "6"}
        back = await opened.client().request("GET", "/mcp", headers)
        assert (await back.next_event()).id == "7-2"
        await server.stop()
        (answer,) = answers_in(await events_of(back))
        assert answer["id"] == 1 and answer["error"]["code"] == LOST


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("step", [1, 7, 10_000])
@pytest.mark.parametrize("request_id", SPELT)
async def test_a_second_answer_does_not_pass(request_id: str, step: int, line_end: bytes) -> None:
    """On one stream, wherever the bytes were cut and however the id is spelt; what else comes does."""
    news, again = sse_event(note("notifications/message")), spelt(AGAIN, request_id)
    stream = (PRIMING + FIRST + again + news + again).replace(b"\n", line_end)
    steps = [stream[at : at + step] for at in range(0, len(stream), step)]
    async with hop_to(Doing(*steps, "end")) as (opened, _):
        body = await (await opened.client().post(CALL)).body()
        assert [one.get("result") or one["method"] for one in _read(body)] == ["first", "notifications/message"]


def _read(body: bytes) -> list[dict[str, object]]:
    """Read a stream as httpx-sse does, which the official SDK for Python uses."""
    from httpx_sse._decoders import SSEDecoder

    decoder = SSEDecoder()
    events = [decoder.decode(line) for line in body.decode().replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    return [json.loads(one.data) for one in events if one is not None and one.event == "message" and one.data]


@pytest.mark.parametrize("request_id", SPELT)
async def test_a_second_answer_is_not_that_of_the_other_request(request_id: str) -> None:
    """Of a batch, whose other request has its own answer later than a stray would be taken for it."""
    late = sse_event(result({"id": 2}, "late"))

    class Slow(Script):
        async def post(self, exchange: Exchange) -> None:
            await exchange.open_stream()
            await exchange.chunk(FIRST + spelt(AGAIN, request_id))
            await asyncio.sleep(0.3)
            await exchange.chunk(late)
            await exchange.end()

    async with hop_to(Slow(), limits=Limits(stray_grace=0.05)) as (opened, _):
        calls = [json.loads(CALL), json.loads(request(2, "tools/call", name="x"))]
        body = await (await opened.client().post(json.dumps(calls).encode())).body()
        assert [one.get("result") for one in _read(body)] == ["first", "late"]


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("request_id", SPELT)
async def test_a_batch_with_a_second_answer(request_id: str, kept: bool) -> None:
    """In a JSON body, and in one event, however the second one spells the id."""
    first, again = result(json.loads(CALL), "first"), result(json.loads(CALL), "again")
    again_spelt = spelt(json.dumps(again).encode(), request_id)
    news = json.dumps(note("n")).encode()
    batch = b"[" + b", ".join([json.dumps(first).encode(), again_spelt, news]) + b"]"

    class Twice(Script):
        async def call(self, exchange: Exchange) -> None:
            if exchange.message["params"].get("how") == "event":
                await exchange.open_stream()
                await exchange.chunk(b"data: " + batch + b"\n\ndata: [" + again_spelt + b"]\n\n")
                await exchange.end()
            else:
                await exchange.reply(200, b" " + batch, kind=JSON)

    async with hop_to(Twice()) as (opened, server):
        client = opened.client()
        for at in range(200 if kept else 0):
            assert (await client.post(request(f"ping {at}", "ping"))).status == 200
            if at > 3 and server.requests[-1].connection == server.requests[-2].connection > 1:
                break
        found = json.loads(await (await client.post(CALL)).body())
        assert found == [first, note("n")]
        body = await (await client.post(request(1, "tools/call", how="event"))).body()
        assert _read(body) == [first, note("n")]


async def test_no_answer_passes_on_a_stream_of_what_is_said_unasked() -> None:
    """MCP 2025-11-25, "Listening for Messages from the Server" 4: none may come there but on a resumed one."""
    news = sse_event(note("notifications/message"))
    async with hop_to(Doing(AGAIN, news, "end")) as (opened, _):
        back = await opened.client().request("GET", "/mcp", {"Accept": SSE, "Mcp-Session-Id": "s"})
        assert [one["method"] for one in _read(await back.body())] == ["notifications/message"]
        headers = {"Accept": SSE, "Mcp-Session-Id": "s", "Last-Event-ID": "6"}
        resumed = await opened.client().request("GET", "/mcp", headers)
        assert [one.get("result") or one["method"] for one in _read(await resumed.body())] == [
            "again",
            "notifications/message",
        ]


async def test_a_session_is_none_the_worse_for_a_question() -> None:
    """Whether the server is there still is asked with nothing that it could execute, and without the session."""
    async with hop_to(Doing(PRIMING, "cut")) as (opened, server):
        client = opened.client()
        assert (await client.post(initialize())).status == 200
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await (await opened.client().post(CALL)).body()
        (question,) = [one for one in server.requests if one.method not in ("POST", "GET")]
        assert (question.method, question.body, question.session) == ("OPTIONS", b"", None)
