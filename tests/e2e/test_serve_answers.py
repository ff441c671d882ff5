"""``mcp-relay -- COMMAND``: a real child answers HTTP requests, and every byte stays as it was."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Iterator

import pytest

from tests.e2e.oracle import Client, Oracle, Relay, initialize, notification, request, run_relay, stdio_server

pytestmark = pytest.mark.only_loop("asyncio")  # the relay under test is another process

IDS = [
    "1",
    '"1"',
    "0",
    "-7",
    '""',
    '"ünï ☃ 😀"',
    '"\\u0031"',
    str(2**53 + 1),
    str(2**64),
    "9" * 1000,
    '"' + "x" * 1000 + '"',
]
PAYLOADS = [
    "0.10",
    "9007199254740993",
    "1e400",
    "-0",
    '{"a":1,"a":2,"b":{"id":1,"id":2}}',
    r'"\u0041\u2028\ud83d\ude00\/\b\""',
    '"\u2028\u2029\x7f😀"',
    "[" * 200 + "]" * 200,
    '{ "white" : [ 1 ,  2 ] }',
    '"' + "x" * 300_000 + '"',
]


@pytest.fixture(scope="module", params=["uvloop", "asyncio"])
def relay(request: pytest.FixtureRequest) -> Iterator[Relay]:
    """Run one relay before the test server, for all tests of this module, on each loop."""
    with run_relay("--drain-timeout", "1", env={"MCP_RELAY_LOOP": request.param}) as running:
        yield running


async def test_every_byte_of_an_id_and_of_params_comes_back(relay: Relay) -> None:
    """Ids and payloads of every kind, one after the other on one connection: identical bytes."""
    oracle = Oracle()
    async with Client(relay.base) as client:
        await client.begin()
        for request_id, payload in [(name, '"…"') for name in IDS] + [("5", payload) for payload in PAYLOADS]:
            for frame in await client.call(oracle.ask("client", request_id, payload=payload)):
                oracle.judge("client", frame)
    oracle.finish(len(IDS) + len(PAYLOADS))


async def test_all_kinds_of_ids_at_once(relay: Relay) -> None:
    """1 and "1", thousand-digit numbers and empty strings wait side by side; each answer is its own."""
    oracle = Oracle()
    ids = [name for name in IDS if name != '"\\u0031"']  # the same id as "1", spelled otherwise
    async with Client(relay.base) as client:
        await client.begin()
        frames = [oracle.ask("client", name, "delay", more='"seconds":0.2') for name in ids]
        for answers in await asyncio.gather(*map(client.call, frames)):
            (answer,) = answers
            oracle.judge("client", answer)
    oracle.finish(len(ids))


async def test_64_clients_with_the_same_ids_get_each_their_own(relay: Relay) -> None:
    """64 sessions, the same 6 ids in each, all at once: 384 answers, none astray."""
    oracle = Oracle()

    async def one(name: str) -> None:
        async with Client(relay.base, name) as client:
            await client.begin()
            frames = [oracle.ask(name, request_id) for request_id in ("0", "1", '"1"', "2", '"2"', "3")]
            for answers in await asyncio.gather(*map(client.call, frames)):
                (answer,) = answers
                oracle.judge(name, answer)
            assert await client.end() == 200

    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        for number in range(64):
            group.create_task(one(f"client {number}"))
    oracle.finish(384)


@pytest.mark.async_timeout(40)
async def test_a_soup_of_calls_of_all_sizes_is_answered_exactly(relay: Relay) -> None:
    """8 clients, each 8 calls at a time, 640 in all, 20 B to 1 MiB, some slow, some with progress: every byte."""
    oracle = Oracle()
    dice = random.Random(20251125)

    def frame(name: str, number: int) -> bytes:
        payload = '"' + dice.choice("xé☃") * round(20 * (2**20 / 60) ** dice.random()) + '"'
        if number % 5 == 0:
            return oracle.ask(name, str(number), "delay", more=f'"seconds":{dice.random() / 4:.3f}', payload=payload)
        if number % 7 == 0:
            more = f'"count":3,"_meta":{{"progressToken":{number}}}'
            return oracle.ask(name, str(number), "progress", more=more, payload=payload)
        return oracle.ask(name, str(number), payload=payload)

    async def lane(client: Client, numbers: range) -> None:
        for number in numbers:
            *before, last = await client.call(frame(client.name, number))
            oracle.judge(client.name, last)
            assert [json.loads(notice)["params"]["progressToken"] for notice in before] in ([], [number] * 3)

    async def one(name: str) -> None:
        async with Client(relay.base, name) as client:
            await client.begin()
            await asyncio.gather(*(lane(client, range(start, 80, 8)) for start in range(8)))

    async with asyncio.TaskGroup() as group:
        for number in range(8):
            group.create_task(one(f"client {number}"))
    oracle.finish(640)


async def test_progress_logs_and_questions_come_before_their_answer(relay: Relay) -> None:
    """On the call's own stream, in order, then the answer; a request of the server is answered by a POST."""
    async with Client(relay.base) as client:
        await client.begin()
        frames = await client.call(request(1, "progress", count=50, _meta={"progressToken": "t"}))
        assert [json.loads(frame)["params"]["progress"] for frame in frames[:-1]] == list(range(50))
        assert json.loads(frames[-1])["id"] == 1
        logged = await client.call(request(2, "log", count=3))
        assert [json.loads(frame).get("method") for frame in logged] == ["notifications/message"] * 3 + [None]
        response = await client.post(request(3, "ask"))
        asked = json.loads((await response.next_event()).data)
        assert (asked["method"], asked["id"]) == ("roots/list", "ask-3")
        answer = b'{"jsonrpc":"2.0","id":"ask-3","result":{"roots":[],"big":9007199254740993,"a":0.10}}'
        assert (await client.post(answer)).status == 202
        assert b'"client":' + answer in (await response.next_event()).data


async def test_what_a_server_says_while_idle_comes_on_the_get_stream(relay: Relay) -> None:
    """In order, 300 notifications, each once, though the connection is cut after every 50."""
    async with Client(relay.base) as client:
        await client.begin()
        stream = await client.listen()
        await client.call(request(1, "notify", count=300, after=0.1))
        numbers: list[int] = []
        while len(numbers) < 300:
            event = await stream.next_event()
            numbers.append(json.loads(event.data)["params"]["data"]["number"])
            if len(numbers) % 50 == 0:
                stream.wire.close()
                stream = await client.listen(event.id)
        assert numbers == list(range(300))


async def test_client_s_own_words_reach_the_server(relay: Relay) -> None:
    """Notifications arrive in order, each once, with their bytes."""
    said = [notification("notifications/x", number=number, big=2**60 + number) for number in range(20)]
    async with Client(relay.base) as client:
        await client.begin()
        for frame in said:
            assert (await client.post(frame)).status == 202
        (answer,) = await client.call(request(1, "seen"))
        lines = json.loads(answer)["result"]["lines"]
        assert [line.encode() for line in lines[1:]] == said


async def test_batches_of_2025_03_26(relay: Relay) -> None:
    """Answered as one batch, or member by member, as the server does it; later versions refuse them."""
    async with Client(relay.base) as client:
        await client.begin("2025-03-26")
        batch = b"[" + request(1, "echo") + b"," + notification("notifications/x") + b"," + request("1", "echo") + b"]"
        (answer,) = await client.call(batch)
        assert [member["id"] for member in json.loads(answer)] == [1, "1"]
        apart = b"[" + request(1, "echo", apart=True) + b"," + request("1", "echo") + b"]"
        assert [json.loads(frame)["id"] for frame in await client.call(apart)] == [1, "1"]
    async with Client(relay.base) as client:
        await client.begin("2025-06-18")
        assert (await client.post(batch)).status == 400


async def test_noise_on_the_server_s_stdout_is_nobody_s_frame(relay: Relay) -> None:
    """The answer comes alone; the noise is shown to the operator, escaped."""
    async with Client(relay.base) as client:
        await client.begin()
        (answer,) = await client.call(request(1, "noise", count=3))
        assert json.loads(answer)["id"] == 1
        await asyncio.sleep(0.1)
        assert any("noise 2 \\x1b[31m not json" in line for line in relay.said), relay.said[-5:]


async def test_a_server_that_never_answers_one_call_answers_others(relay: Relay) -> None:
    """In the same session and in another."""
    async with Client(relay.base) as client, Client(relay.base) as other:
        await client.begin()
        await other.begin()
        silent = await client.post(request(1, "silent"))
        assert silent.is_stream
        for caller in (client, other):
            assert json.loads((await caller.call(request(2, "echo")))[0])["id"] == 2


async def test_a_failed_initialize_leaves_nothing() -> None:
    """The server's error is the answer, no session, and its child is gone."""
    with run_relay(command=stdio_server("--initialize-fails")) as relay:
        async with Client(relay.base) as client:
            response = await client.post(initialize())
            # An answer that takes longer than `answer_wait`, on a busy machine, comes on a stream that named a session.
            assert "mcp-session-id" not in response.headers or response.is_stream
            assert json.loads((await client.finished(response))[0])["error"]["code"] == -32602
            async with asyncio.timeout(20):
                while (status := await client.status())["servers"]["default"]["children"] or status["sessions"]:
                    await asyncio.sleep(0.02)
            assert status["servers"]["default"]["started"] == 1


@pytest.mark.async_timeout(40)
@pytest.mark.parametrize("relay", ["uvloop"], indirect=True)  # on asyncio they are in test_hop.py
async def test_frames_of_64_mib_pass_both_ways_and_a_larger_one_fails_alone(relay: Relay) -> None:
    """Just below the limit up and down; one byte too many is 413 up, and an error with its id down."""
    limit = 64 * 2**20
    async with Client(relay.base) as client:
        await client.begin()
        empty = request(1, "pid", fill="")
        (answer,) = await client.call(empty.replace(b'""', b'"' + b"x" * (limit - len(empty)) + b'"'))
        assert "pid" in json.loads(answer)["result"]
        (answer,) = await client.call(request(2, "big", bytes=limit - 100))
        assert limit - 100 < len(answer) <= limit and answer.count(b"x") == limit - 100
        (answer,) = await client.call(request(3, "big", bytes=limit))
        error = json.loads(answer)
        assert (error["id"], error["error"]["code"]) == (3, -32003)
        refused = await client.post(b" " * (limit + 1))
        assert refused.status == 413
        assert json.loads((await client.call(request(4, "pid")))[0])["id"] == 4


# -- HTTP+SSE ---------------------------------------------------------------------------------------------------------


async def test_http_sse_carries_a_whole_conversation(relay: Relay) -> None:
    """2024-11-05: the endpoint event first; then answers, progress and questions on the one stream, byte for byte."""
    oracle = Oracle()
    async with Client(relay.base) as client:
        stream = await client.request("GET", "/sse", {"accept": "text/event-stream"})
        endpoint = await stream.any_event()
        assert endpoint is not None and endpoint.event == "endpoint"
        address = endpoint.data.decode()

        async def say(frame: bytes) -> None:
            response = await client.request("POST", address, {"content-type": "application/json"}, frame)
            await client.finished(response)
            assert response.status == 202

        await say(initialize("2024-11-05"))
        assert json.loads((await stream.next_event()).data)["result"]["protocolVersion"] == "2024-11-05"
        await say(notification("notifications/initialized"))
        for request_id in IDS:
            await say(oracle.ask("client", request_id))
            oracle.judge("client", (await stream.next_event()).data)
        oracle.finish(len(IDS))
        await say(request(1, "progress", count=3, _meta={"progressToken": 1}))
        assert [json.loads((await stream.next_event()).data).get("method") for _ in range(4)] == [
            *["notifications/progress"] * 3,
            None,
        ]
        await say(request(2, "ask"))
        assert json.loads((await stream.next_event()).data)["id"] == "ask-2"
        await say(b'{"jsonrpc":"2.0","id":"ask-2","result":{}}')
        assert json.loads((await stream.next_event()).data)["id"] == 2
        await say(request(3, "silent"))
        await say(request("3", "exit", code=3))
        errors = [json.loads((await stream.next_event()).data) for _ in range(2)]
        assert [error["id"] for error in errors] == [3, "3"]
        assert all("status 3" in error["error"]["message"] for error in errors)
        assert await stream.any_event() is None
