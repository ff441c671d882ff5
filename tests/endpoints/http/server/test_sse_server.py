"""HttpListener: HTTP+SSE of 2024-11-05."""

from __future__ import annotations

import json

import pytest

from relay.endpoints.http.server.sse_session import SseSession
from relay.errors import EndpointBroken, EndpointClosed
from relay.frames.frame import Frame
from relay.limits import Limits
from tests.e2e.oracle import Client, Event, Response, initialize, notification, request
from tests.endpoints.http.house import (
    House,
    answer,
    house,
    initialized,
    message,
    refused,
)


async def open_sse(there: House) -> tuple[Client, Response, str]:
    client = there.client()
    stream = await client.request("GET", "/sse", {"accept": "text/event-stream"})
    assert stream.status == 200 and stream.is_stream
    first = await stream.any_event()
    assert first is not None and first.event == "endpoint"
    return client, stream, first.data.decode()


async def say(client: Client, address: str, frame: bytes) -> Response:
    return await client.request("POST", address, {"content-type": "application/json"}, frame)


async def begin_sse(there: House) -> tuple[Client, Response, str, SseSession]:
    client, stream, address = await open_sse(there)
    assert (await say(client, address, initialize("2024-11-05"))).status == 202
    session = await there.session()
    assert isinstance(session, SseSession)
    assert [frame.head.method for frame in await session.receive()] == ["initialize"]
    await session.send([initialized("2024-11-05")])
    assert (await stream.next_event()).data == initialized("2024-11-05").raw
    return client, stream, address, session


async def test_sse_names_its_endpoint_first_and_carries_everything() -> None:
    """The address is a path with a 43-character session id; answers, notices and requests come in order, no ids."""
    async with house() as there:
        client, stream, address, session = await begin_sse(there)
        path, _, name = address.partition("?session_id=")
        assert path == "/messages/" and len(name) == 43
        assert (await say(client, address, request(1, "x"))).status == 202
        assert [frame.raw for frame in await session.receive()] == [request(1, "x")]
        sent = [message(0), Frame(request("s", "ping")), answer(1), message(1)]
        await session.send(sent)
        events = [await stream.next_event() for _ in sent]
        assert events == [Event("message", frame.raw) for frame in sent]


async def test_sse_sessions_end_with_their_stream() -> None:
    """The client closes the stream: the upstream is told the end, and the address is 404."""
    async with house() as there:
        client, stream, address, session = await begin_sse(there)
        stream.wire.close()
        assert await session.receive() == ()
        await refused(await say(client, address, request(1, "x")), 404)
        assert (await client.status())["sessions"] == 0


async def test_sse_refusals() -> None:
    """No session id 400, an unknown one 404, a Streamable HTTP one 404 and the other way round, 415, 400."""
    async with house() as there:
        client, _, address, session = await begin_sse(there)
        other, _ = await there.begin()
        await refused(await say(client, "/messages/", request(1, "x")), 400)
        await refused(await say(client, "/messages/?session_id=" + "x" * 43, request(1, "x")), 404)
        await refused(await say(client, f"/messages/?session_id={other.session}", request(1, "x")), 404)
        await refused(await other.post(request(1, "x"), mcp_session_id=session.id), 404)
        await refused(await client.request("POST", address, {"content-type": "text/plain"}, request(1, "x")), 415)
        await refused(await say(client, address, b"{"), 400)
        assert (await say(client, address, request(1, "x"))).status == 202
        assert (await refused(await say(client, address, request(1, "x")), 400))["id"] == 1


async def test_sse_gives_open_requests_their_errors_on_the_stream() -> None:
    """When the server dies: an error with each id, then the stream ends."""
    async with house() as there:
        client, stream, address, session = await begin_sse(there)
        for request_id in (1, "1"):
            await say(client, address, request(request_id, "x"))
        await session.aclose(EndpointBroken("killed"))
        errors = [json.loads(frame) for frame in await stream.frames()]
        assert [error["id"] for error in errors] == [1, "1"]
        assert all("killed" in error["error"]["message"] for error in errors)


async def test_sse_requests_have_a_cap_too() -> None:
    """503 with the id beyond ``max_in_flight``; a cancellation passes."""
    async with house(Limits(max_in_flight=2)) as there:
        client, _, address, _ = await begin_sse(there)
        for number in (1, 2):
            assert (await say(client, address, request(number, "x"))).status == 202
        assert (await refused(await say(client, address, request(3, "x")), 503))["id"] == 3
        assert (await say(client, address, notification("notifications/cancelled", requestId=1))).status == 202


async def test_sse_before_initialize_a_request_is_refused_not_swallowed() -> None:
    """There is no server yet that could answer it."""
    async with house() as there:
        client, _, address = await open_sse(there)
        assert (await refused(await say(client, address, request(1, "tools/list")), 400))["id"] == 1


async def test_sse_a_stream_without_initialize_is_closed() -> None:
    """After ``handshake`` seconds."""
    async with house(Limits(handshake=0.1, session_idle=0.2)) as there:
        _, stream, _ = await open_sse(there)
        assert await stream.frames() == []


@pytest.mark.async_timeout(40)
async def test_sse_a_stalled_stream_ends_its_session() -> None:
    """Unread for ``stall`` seconds: the connection is dropped and the upstream told; what waited was bounded."""
    async with house(Limits(stall=0.5)) as there:
        client, stream, address, session = await begin_sse(there)
        stream.wire.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's transport
        highest = 0
        with pytest.raises(EndpointClosed):
            for number in range(40):
                await session.send([message(number, 2**20)])
                highest = max(highest, session.stream.log.unwritten_bytes)
        assert await session.receive() == ()
        assert highest <= 2 * 2**20
        await refused(await say(client, address, request(1, "x")), 404)
