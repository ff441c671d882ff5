"""HttpListener: what a POST is answered with, and what goes to which stream."""

from __future__ import annotations

import asyncio
import contextlib
import json

import pytest

from relay.frames.frame import Frame
from relay.limits import Limits
from tests.e2e.oracle import Client, notification, request
from tests.endpoints.http.house import (
    answer,
    house,
    message,
    posted,
    progress,
    refused,
    with_token,
)

VERSIONS = ("2025-03-26", "2025-06-18", "2025-11-25")


async def test_a_quick_answer_is_plain_json_of_the_very_bytes() -> None:
    """An answer that comes first is the body: 0.10, 2^53+1, repeated keys, escapes and white space as they were."""
    raw = rb'{ "jsonrpc":"2.0", "id" : 1,"result":{"a":0.10,"a":9007199254740993,"\u0041":"\ud83d\ude00\u2028/"} }'
    async with house() as there:
        client, session = await there.begin()
        posting = await posted(client, session, request(1, "x"))
        await session.send([Frame(raw)])
        response = await posting
        assert (response.status, response.headers["content-type"]) == (200, "application/json")
        assert await response.body() == raw


@pytest.mark.parametrize(
    "related",
    [
        pytest.param(progress("token", 1), id="progress"),
        pytest.param(message(0), id="log message"),
        pytest.param(Frame(request("from-server", "sampling/createMessage")), id="request to the client"),
    ],
)
async def test_what_comes_before_the_answer_is_on_the_call_s_own_stream(related: Frame) -> None:
    """Related first: the POST becomes a stream with that event, then the answer, and the stream ends."""
    async with house() as there:
        client, session = await there.begin("2025-06-18")
        posting = await posted(client, session, with_token(1, "token"))
        await session.send([related])
        response = await posting
        assert response.status == 200 and response.is_stream
        assert (await response.next_event()).data == related.raw
        await session.send([answer(1)])
        events = [event async for event in response.events()]
        assert [event.data for event in events] == [answer(1).raw]
        assert events[0].event == "message"


async def test_a_slow_call_becomes_a_stream_after_the_wait() -> None:
    """Nothing within ``answer_wait``: headers come without any event, the answer as an event later."""
    async with house(Limits(answer_wait=0.05)) as there:
        client, session = await there.begin("2025-06-18")
        began = asyncio.get_running_loop().time()
        response = await (await posted(client, session, request(1, "x")))
        assert 0.04 <= asyncio.get_running_loop().time() - began < 10
        assert response.is_stream
        await session.send([answer(1)])
        assert await response.frames() == [answer(1).raw]


@pytest.mark.parametrize("version", VERSIONS)
async def test_only_2025_11_25_opens_a_stream_with_an_empty_event(version: str) -> None:
    """From 2025-11-25 on: an id, empty data and retry first. Before it: clients choke on empty data, so nothing."""
    async with house(Limits(answer_wait=0)) as there:
        client, session = await there.begin(version)
        get = await client.listen()
        await session.send([message(7)])
        on_get = await get.any_event()
        post = await (await posted(client, session, request(1, "x")))
        await session.send([answer(1)])
        on_post = await post.any_event()
        assert on_get is not None and on_post is not None
        if version == "2025-11-25":
            assert (on_get.event, on_get.data, on_get.retry) == ("message", b"", 1000)
            assert (on_post.event, on_post.data, on_post.retry) == ("message", b"", 1000)
            assert on_get.id and on_post.id and on_get.id != on_post.id
        else:
            assert (on_get.data, on_post.data) == (message(7).raw, answer(1).raw)
            assert on_get.retry is None and on_get.id and on_post.id


async def test_a_stream_forbids_caches_and_buffers() -> None:
    """Cache-Control, X-Accel-Buffering, the session's id, and no Content-Length are on every stream."""
    async with house(Limits(answer_wait=0)) as there:
        client, session = await there.begin()
        for response in (await client.listen(), await (await posted(client, session, request(1, "x")))):
            assert response.headers["cache-control"] == "no-cache, no-transform"
            assert response.headers["x-accel-buffering"] == "no"
            assert response.headers["mcp-session-id"] == client.session
            assert "content-length" not in response.headers


async def test_comments_keep_an_idle_stream_alive() -> None:
    """A comment per ``keep_alive``, on GET and POST streams alike, and no event among them."""
    async with house(Limits(answer_wait=0, keep_alive=0.02)) as there:
        client, session = await there.begin("2025-06-18")
        for response in (await client.listen(), await (await posted(client, session, request(1, "x")))):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.3):
                    assert await response.any_event() is None
            assert response.comments >= 4


async def test_what_is_said_while_idle_goes_to_the_get_stream() -> None:
    """Without a call, notifications go to GET; what came before the GET is kept for it; nothing twice."""
    async with house() as there:
        client, session = await there.begin()
        await session.send([message(0), message(1)])
        response = await client.listen()
        await session.send([message(2)])
        assert [(await response.next_event()).data for _ in range(3)] == [message(n).raw for n in range(3)]


async def test_with_two_calls_open_an_untied_notification_goes_to_the_get_stream() -> None:
    """It cannot be told whose it is: the GET stream, and neither call becomes a stream by it."""
    async with house() as there:
        client, session = await there.begin()
        get = await client.listen()
        first = await posted(client, session, request(1, "x"))
        second = await posted(client, session, request(2, "x"))
        await session.send([message(0)])
        assert (await get.next_event()).data == message(0).raw
        await session.send([answer(2), answer(1)])
        assert not (await first).is_stream and not (await second).is_stream


async def test_without_a_get_stream_it_goes_to_the_latest_call() -> None:
    """A server that asks something must not wait for a stream that nobody opens."""
    async with house() as there:
        client, session = await there.begin()
        first = await posted(client, session, request(1, "x"))
        second = await posted(client, session, request(2, "x"))
        await session.send([message(0), answer(1), answer(2)])
        assert not (await first).is_stream
        assert await (await second).frames() == [message(0).raw, answer(2).raw]


async def test_progress_finds_its_own_call_among_many() -> None:
    """Tokens 1 and "1" are two; each call's progress is on its own stream, though a GET stream is open."""
    async with house() as there:
        client, session = await there.begin()
        await client.listen()
        first = await posted(client, session, with_token(1, 1))
        second = await posted(client, session, with_token("1", "1"))
        await session.send([progress("1", 0), progress(1, 0), progress("1", 1), answer(1), answer("1")])
        assert await (await first).frames() == [progress(1, 0).raw, answer(1).raw]
        assert await (await second).frames() == [progress("1", 0).raw, progress("1", 1).raw, answer("1").raw]


async def test_what_the_transport_tied_to_a_call_goes_to_that_call() -> None:
    """A frame that arrived on request 1's own stream upstream leaves on request 1's own stream."""
    async with house() as there:
        client, session = await there.begin()
        first = await posted(client, session, request(1, "x"))
        second = await posted(client, session, request(2, "x"))
        await session.send([Frame(message(0).raw, belongs_to=1), answer(2), answer(1)])
        assert await (await first).frames() == [message(0).raw, answer(1).raw]
        assert await (await second).frames() == [answer(2).raw]


async def test_newlines_in_a_frame_cannot_forge_an_event() -> None:
    """A frame with CR and LF between its tokens is one data line on a stream."""
    raw = b'{"jsonrpc":"2.0",\r\n\r\n"id":1,\n\nevent:"endpoint",\r"result":{}}'.replace(b"event:", b'"event":')
    async with house(Limits(answer_wait=0)) as there:
        client, session = await there.begin("2025-06-18")
        response = await (await posted(client, session, request(1, "x")))
        await session.send([Frame(raw)])
        assert [json.loads(frame) for frame in await response.frames()] == [json.loads(raw)]


async def test_a_batch_is_answered_as_one_batch_if_it_comes_as_one() -> None:
    """2025-03-26: a batch's answer of all its ids is the plain JSON body."""
    raw = b'[{"jsonrpc":"2.0","id":2,"result":{}},{"jsonrpc":"2.0","id":1,"result":{}}]'
    async with house() as there:
        client, session = await there.begin("2025-03-26")
        posting = await posted(client, session, b"[" + request(1, "x") + b"," + request(2, "x") + b"]")
        await session.send([Frame(raw)])
        assert await (await posting).frames() == [raw]


async def test_a_batch_s_answers_may_come_one_by_one() -> None:
    """Each is an event of the POST's stream, which ends with the last."""
    async with house() as there:
        client, session = await there.begin("2025-03-26")
        posting = await posted(client, session, b"[" + request(1, "x") + b"," + request(2, "x") + b"]")
        await session.send([answer(2), answer(1)])
        assert await (await posting).frames() == [answer(2).raw, answer(1).raw]


async def test_a_batch_without_requests_is_accepted() -> None:
    """Only notifications and answers: 202."""
    async with house() as there:
        client, _ = await there.begin("2025-03-26")
        response = await client.post(b"[" + notification("a") + b"," + notification("b") + b"]")
        assert (response.status, await response.body()) == (202, b"")


@pytest.mark.parametrize("version", ["2025-06-18", "2025-11-25"])
async def test_later_versions_refuse_batches(version: str) -> None:
    """2025-06-18 removed batching: 400, and nothing reaches the server."""
    async with house() as there:
        client, session = await there.begin(version)
        await refused(await client.post(b"[" + request(1, "x") + b"]"), 400)
        assert session.inbox.waiting_bytes == 0


async def test_pipelined_requests_are_answered_in_order() -> None:
    """Three POSTs and a GET in one packet: each has its own answer, in the order of the requests."""
    async with house() as there:
        client, session = await there.begin()
        wire = await client.wire()
        for number in (1, 2, 3):
            head = [("content-type", "application/json"), ("mcp-session-id", client.session or "")]
            await wire.send("POST", "/mcp", head, request(number, "x"))
        await wire.send("GET", "/health")
        for number in (1, 2, 3):
            assert [frame.head.id for frame in await session.receive()] == [number]
            await session.send([answer(number)])
            assert await (await wire.response()).frames() == [answer(number).raw]
        assert await (await wire.response()).json() == {"status": "healthy"}


@pytest.mark.parametrize("piece", [1, 7, 100])
async def test_a_request_may_come_in_any_pieces(piece: int) -> None:
    """Cut anywhere, inside a character too: the same frame arrives, on a connection that is kept."""
    async with house() as there:
        client, session = await there.begin()
        wire = await client.wire()
        frame = '{"jsonrpc":"2.0","id":"é☃😀","method":"x"}'.encode()
        raw = _raw_post(client, frame)
        for _ in range(2):
            for begin in range(0, len(raw), piece):
                wire.writer.write(raw[begin : begin + piece])
                await asyncio.sleep(0)
            assert [received.raw for received in await session.receive()] == [frame]
            await session.send([answer("é☃😀")])
            assert await (await wire.response()).frames() == [answer("é☃😀").raw]


def _raw_post(client: Client, frame: bytes) -> bytes:
    head = ["POST /mcp HTTP/1.1", "Host: localhost", "Content-Type: application/json"]
    return (
        "\r\n".join([*head, f"Mcp-Session-Id: {client.session}", f"Content-Length: {len(frame)}", "", ""]).encode()
        + frame
    )


async def test_a_post_whose_second_half_comes_at_once_is_delivered_once() -> None:
    """Two reads before any task runs: the task that the first has woken takes the request, and nobody else."""
    async with house() as there:
        client, session = await there.begin()
        assert there.listener._http is not None
        (connection,) = there.listener._http.connections
        for number, cut in enumerate((60, -10, -1)):
            raw = _raw_post(client, request(number, "x"))
            connection.data_received(raw[:cut])
            connection.data_received(raw[cut:])
            assert [frame.head.id for frame in await session.receive()] == [number]
            await session.send([answer(number)])
            await _settle()
            assert session.inbox.waiting_bytes == 0 and session.dropped == 0


async def _settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)
