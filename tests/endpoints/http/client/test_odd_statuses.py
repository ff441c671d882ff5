"""A POST that a server answers with a status that is none of MCP's: one outcome, soon, on each way out."""

from __future__ import annotations

import asyncio
import json
import re

import pytest

from relay.endpoints.core.dialling import Transport
from relay.limits import Limits
from tests.e2e import oracle
from tests.e2e.conversation import Direct, request
from tests.e2e.fault_server import Exchange, FaultServer, Script, SseScript
from tests.endpoints.http.through.test_pass_through import Hop, hop_to

QUICK = Limits(close_grace=0.2, error_body_wait=0.2)
STATUSES = (99, 101, 201, 202, 204, 205, 206, 300, 302, 304, 305, 402, 418, 426, 451, 505, 599, 600, 999)
TAILS = {
    "empty": b"Content-Length: 0\r\n\r\n",
    "a page": b"Content-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello",
    "no length": b"\r\n",  # the body ends with the connection, which stays open
    "an upgrade": b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
}
WITHOUT_BODY = (101, 204, 304)
KEPT = (99, 101, 202, 204, 205, 302, 304, 426)


class Odd(Script):
    """Answers a call that has a parameter ``status`` with that, and has no more to say if its answer has no end."""

    async def call(self, exchange: Exchange) -> None:
        params = exchange.message.get("params", {})
        if "status" not in params:
            await super().call(exchange)
            return
        status, tail = params["status"], params["tail"]
        await exchange.raw(f"HTTP/1.1 {status:03} Odd\r\n".encode() + TAILS[tail])
        if b"Content-Length" not in TAILS[tail] and status not in WITHOUT_BODY:
            await exchange.hold()


class OddSse(Odd, SseScript):
    """The same over HTTP+SSE."""

    async def post(self, exchange: Exchange) -> None:
        if "status" in exchange.message.get("params", {}):
            await Odd.call(self, exchange)
        else:
            await super().post(exchange)


def odd(tail: str, statuses: tuple[int, ...] = STATUSES) -> list[int]:
    """Leave out what is no HTTP: bytes after an answer that has no body."""
    return [one for one in statuses if tail != "a page" or one not in WITHOUT_BODY]


def see(answer: dict[str, object], request_id: int) -> None:
    error = answer["error"]
    assert isinstance(error, dict) and answer["id"] == request_id, answer
    assert error["code"] == -32004, answer
    said = re.search(r"HTTP (\d+)", str(error["message"]))
    status = 200 if said is None else int(said[1])
    assert error["data"]["delivered"] == ("no" if 300 <= status < 500 else "unknown"), answer


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("transport", ["streamablehttp", "sse"])
async def test_a_call_has_its_error(transport: Transport, tail: str) -> None:
    """And the session goes on."""
    script = OddSse() if transport == "sse" else Odd()
    # What is accepted over HTTP+SSE waits for the stream.
    statuses = [one for one in odd(tail) if transport != "sse" or not 200 <= one < 300]
    async with (
        FaultServer.running(script) as server,
        Direct.to(server.url, transport=transport, limits=QUICK) as client,
    ):
        await client.handshake()
        await client.send(*(request(one, status=one, tail=tail) for one in statuses))
        for status, answer in zip(statuses, await client.all_answers(statuses), strict=True):
            see(answer, status)
            assert f"HTTP {status}" in answer["error"]["message"]
        assert "result" in await client.call("after")


@pytest.mark.shortcuts
@pytest.mark.parametrize("tail", TAILS)
async def test_a_call_on_a_kept_connection_has_its_error(tail: str) -> None:
    """And the session goes on."""
    async with FaultServer.running(Odd()) as server:
        for status in odd(tail, KEPT):
            async with Direct.to(server.url, limits=QUICK) as client:
                await client.handshake()
                await client.warm_up(server)
                see(await client.call(status, status=status, tail=tail), status)
                assert "result" in await client.call("after")


@pytest.mark.parametrize("tail", TAILS)
async def test_a_call_that_is_handed_on_has_its_error(tail: str) -> None:
    """With its id, on a connection that its client can use again."""
    async with hop_to(Odd(), limits=QUICK) as (opened, _):
        async with asyncio.TaskGroup() as group:
            for status in odd(tail):
                group.create_task(see_handed_on(opened, status, tail))


async def see_handed_on(opened: Hop, status: int, tail: str) -> None:
    client = opened.client()
    response = await client.post(oracle.request(status, "tools/call", status=status, tail=tail))
    assert response.status >= 400
    see(json.loads(await response.body()), status)
    assert (await client.post(oracle.request("after", "ping"))).status == 200


@pytest.mark.shortcuts
@pytest.mark.parametrize("tail", TAILS)
async def test_a_call_that_is_handed_on_at_once_has_its_error(tail: str) -> None:
    """From one kept connection to another."""
    for status in odd(tail, KEPT):
        async with hop_to(Odd(), limits=QUICK) as (opened, server):
            client = opened.client()
            for at in range(200):
                assert (await client.post(oracle.request(f"ping {at}", "ping"))).status == 200
                if at > 3 and server.requests[-1].connection == server.requests[-2].connection > 1:
                    break
            await see_handed_on(opened, status, tail)


@pytest.mark.parametrize("kept", [False, True])
async def test_what_comes_before_an_answer_is_none(kept: bool) -> None:
    """Any number of 1xx other than 101, some at once and some apart."""

    class Hinting(Script):
        async def call(self, exchange: Exchange) -> None:
            for status in (100, 102, 103, 199):
                await exchange.raw(f"HTTP/1.1 {status} Early\r\nLink: </x>\r\n\r\n".encode() * 2)
            await super().call(exchange)

    async with FaultServer.running(Hinting()) as server, Direct.to(server.url, limits=QUICK) as client:
        await client.handshake()
        if kept:
            await client.warm_up(server)
        assert "result" in await client.call(1)
        assert "result" in await client.call(2)
