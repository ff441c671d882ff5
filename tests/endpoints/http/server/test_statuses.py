"""HttpListener: statuses, and the life of sessions."""

from __future__ import annotations

import asyncio
import json

import pytest

from relay.errors import EndpointBroken
from relay.frames.frame import Frame
from relay.limits import Limits
from tests.e2e.oracle import initialize, notification, request
from tests.endpoints.http.house import (
    answer,
    house,
    initialized,
    message,
    posted,
    progress,
    refused,
    until,
    with_token,
)
from tests.timers import held_timers


async def test_a_session_is_named_by_43_unguessable_characters() -> None:
    """256 bits, URL-safe, all distinct."""
    async with house() as there:
        ids = [(await there.begin())[0].session for _ in range(20)]
        assert len(set(ids)) == 20
        assert all(name and len(name) == 43 and name.replace("-", "").replace("_", "").isalnum() for name in ids)


async def test_sessions_are_told_apart_by_status() -> None:
    """Missing: 400. Unknown, malformed, deleted: 404. On POST, GET and DELETE alike."""
    async with house() as there:
        client, _ = await there.begin()
        gone, _ = await there.begin()
        assert await gone.end() == 200
        for method, body in (("POST", request(1, "x")), ("GET", None), ("DELETE", None)):
            for name, status in ((None, 400), ("x" * 43, 404), ("", 404), (gone.session, 404)):
                headers = {"content-type": "application/json", "accept": "*/*", "mcp-session-id": name}
                await refused(await client.request(method, "/mcp", headers, body), status)


async def test_delete_ends_the_session_and_its_streams() -> None:
    """The GET stream ends, an open call gets its end from upstream's close, /mcp/ is the same as /mcp."""
    async with house() as there:
        client, session = await there.begin()
        get = await client.listen()
        posting = await posted(client, session, request(1, "x"))
        response = await client.request("DELETE", "/mcp/", {"mcp-session-id": client.session})
        assert response.status == 200
        assert await session.receive() == ()
        await session.aclose()
        assert await get.frames() == []
        (raw,) = await (await posting).frames()
        assert json.loads(raw)["id"] == 1 and json.loads(raw)["error"]["code"] == -32001


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/mcp", "GET, POST, DELETE, OPTIONS"),
        ("PATCH", "/mcp", "GET, POST, DELETE, OPTIONS"),
        ("HEAD", "/mcp", "GET, POST, DELETE, OPTIONS"),
        ("POST", "/sse", "GET, OPTIONS"),
        ("GET", "/messages/", "POST, OPTIONS"),
        ("POST", "/health", "GET, HEAD, OPTIONS"),
        ("DELETE", "/status", "GET, HEAD, OPTIONS"),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(method: str, path: str, allow: str) -> None:
    """405 with Allow."""
    async with house() as there:
        response = await there.client().request(method, path, {}, b"" if method == "POST" else None)
        assert (response.status, response.headers["allow"]) == (405, allow)


async def test_nothing_is_elsewhere() -> None:
    """404 with a JSON-RPC error that names the paths."""
    async with house() as there:
        for path in ("/", "/mcp/x", "/MCP", "/favicon.ico", "/mcp%00", "/../mcp"):
            error = await refused(await there.client().request("GET", path), 404)
            assert "/mcp" in error["error"]["message"]


@pytest.mark.parametrize("accept", ["text/event-stream", "text/html", "application/json;q=0, */*;q=0"])
async def test_a_post_must_accept_json(accept: str) -> None:
    """406 unless it does, and of a GET unless event streams are accepted."""
    async with house() as there:
        client, _ = await there.begin()
        await refused(await client.post(request(1, "x"), accept=accept), 406)
        await refused(await client.listen(accept="application/json"), 406)


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded", "application/jsonx"])
async def test_only_json_is_taken(content_type: str | None) -> None:
    """415: a browser can send any of these across sites without asking first."""
    async with house() as there:
        client, session = await there.begin()
        await refused(await client.post(request(1, "x"), content_type=content_type), 415)
        assert session.inbox.waiting_bytes == 0


async def test_compressed_bodies_are_not_taken() -> None:
    """415 for a Content-Encoding: no bomb can be unpacked."""
    async with house() as there:
        client, _ = await there.begin()
        for encoding in ("gzip", "deflate", "br", "zstd"):
            await refused(await client.post(b"\x1f\x8b", content_encoding=encoding), 415)


@pytest.mark.parametrize("content_type", ["application/json; charset=utf-8", "Application/JSON"])
async def test_json_is_json_however_it_is_spelled(content_type: str) -> None:
    """Parameters and case do not matter."""
    async with house() as there:
        client, _ = await there.begin()
        response = await client.post(notification("a"), content_type=content_type)
        assert response.status == 202


async def test_a_body_of_the_limit_passes_and_one_byte_more_does_not() -> None:
    """413 by Content-Length at once, by chunks when they pass it; the session goes on."""
    limit = 100_000
    async with house(Limits(max_frame_bytes=limit, answer_wait=10)) as there:
        client, session = await there.begin()
        empty = len(notification("a", fill=""))
        fits = notification("a", fill="x" * (limit - empty))
        assert len(fits) == limit
        assert (await client.post(fits)).status == 202
        assert [frame.raw for frame in await session.receive()] == [fits]
        await refused(await client.post(fits + b" "), 413)
        for body, status in ((fits, 202), (fits + b" ", 413)):
            wire = await client.wire()
            head = [("content-type", "application/json"), ("mcp-session-id", client.session or "")]
            chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:50_000], body[50_000:]))
            await wire.send("POST", "/mcp", [*head, ("transfer-encoding", "chunked")], chunks + b"0\r\n\r\n")
            assert (await wire.response()).status == status
        assert [frame.raw for frame in await session.receive()] == [fits]


async def test_a_huge_body_is_refused_before_it_is_sent() -> None:
    """A Content-Length beyond the limit gets 413 while its body is still to come, and the connection is closed."""
    async with house(Limits(close_grace=0.2)) as there:
        client, _ = await there.begin()
        wire = await client.wire()
        head = [("content-type", "application/json"), ("mcp-session-id", client.session or "")]
        await wire.send("POST", "/mcp", [*head, ("content-length", str(10**12))])
        response = await wire.response()
        await refused(response, 413)
        assert await wire.reader.read() == b""


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", -32700),
        (b"{", -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"x"}}', -32700),
        (b'{"jsonrpc":"2.0","id":1,"method":"\xff"}', -32700),
        (b'{"jsonrpc":"2.0","method":"x","params":{"a":"\xed\xa0\x80"}}', -32700),
        (b"NaN", -32700),
        (b"[" * 100_000, -32700),
        (b"null", -32600),
        (b"[]", -32600),
        (b'"x"', -32600),
        (b'{"jsonrpc":"2.0","id":null,"method":"x"}', -32600),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"x"}', -32600),
        (b'{"jsonrpc":"2.0","id":{},"method":"x"}', -32600),
        (b'{"jsonrpc":"2.0","id":1}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"x","result":{}}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"id":2,"method":"x"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"\\u0069d":2,"method":"x"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"x","method":"y"}', -32600),
    ],
)
async def test_what_is_not_json_rpc_is_refused_and_goes_nowhere(body: bytes, code: int) -> None:
    """400 with -32700 or -32600; the server never sees it."""
    async with house() as there:
        client, session = await there.begin()
        error = await refused(await client.post(body), 400)
        assert error["error"]["code"] == code, error
        assert session.inbox.waiting_bytes == 0
        assert (await client.post(notification("a"))).status == 202


@pytest.mark.parametrize("extra", [0, 1])
@pytest.mark.parametrize("most", [60, 99, 100, 101, 150, 1000])
async def test_nodes_are_counted_whether_they_are_few_or_many(most: int, extra: int) -> None:
    """Arrays and objects together: as many as are allowed pass."""
    async with house(Limits(answer_wait=0, max_json_nodes=most)) as there:
        client, session = await there.begin()
        left = most - 2 + extra  # the message and its params
        inner = b"[]," * (left // 3) + b"{}," * (left - left // 3) + b'"%b"' % (b"x" * most)
        response = await client.post(b'{"jsonrpc":"2.0","id":1,"method":"x","params":[' + inner + b"]}")
        assert response.status == (413 if extra else 200)


async def test_a_json_bomb_is_refused_fast_and_others_go_on() -> None:
    """16 MiB of ``{},``: 413 in well under a second."""
    async with house() as there:
        client, _ = await there.begin()
        bomb = b'{"jsonrpc":"2.0","id":1,"method":"x","params":[' + b"{}," * (16 * 2**20 // 3) + b"{}]}"
        began = asyncio.get_running_loop().time()
        await refused(await client.post(bomb), 413)
        assert asyncio.get_running_loop().time() - began < 10, "0.2 s on a machine that does nothing else"


async def test_an_id_that_waits_cannot_be_used_again() -> None:
    """400 with that id; the first call goes on. 1 and "1" are two ids."""
    async with house() as there:
        client, session = await there.begin()
        first = await posted(client, session, request(1, "x"))
        error = await refused(await client.post(request(1, "x")), 400)
        assert error["id"] == 1 and error["error"]["code"] == -32600
        second = await posted(client, session, request("1", "x"))
        await session.send([answer(1, {"a": 1}), answer("1", {"a": "1"})])
        assert await (await first).frames() == [answer(1, {"a": 1}).raw]
        assert await (await second).frames() == [answer("1", {"a": "1"}).raw]
        third = await posted(client, session, request(1, "x"))
        await session.send([answer(1)])
        assert (await third).status == 200


async def test_an_answer_nobody_waits_for_is_dropped() -> None:
    """Unknown, repeated, or of the other type: dropped and counted, never a second answer."""
    async with house() as there:
        client, session = await there.begin()
        posting = await posted(client, session, request(1, "x"))
        await session.send([answer(2), answer("1"), answer(1), answer(1)])
        assert await (await posting).frames() == [answer(1).raw]
        assert session.dropped == 3


async def test_a_session_needs_a_successful_initialize() -> None:
    """If the server refuses, its error is the answer, there is no session and no session id."""
    async with house() as there:
        client = there.client()
        async with asyncio.TaskGroup() as group:
            posting = group.create_task(client.post(initialize()))
            session = await there.session()
            await session.receive()
            error = Frame(b'{"jsonrpc":"2.0","id":0,"error":{"code":-32602,"message":"no"}}')
            await session.send([error])
        response = posting.result()
        assert await response.frames() == [error.raw]
        assert "mcp-session-id" not in response.headers
        assert await session.receive() == ()
        assert (await client.status())["sessions"] == 0


async def test_a_session_cannot_be_used_before_its_initialize_is_answered() -> None:
    """An id that was seen too early (on the stream's head) names nothing yet: 404."""
    async with house(Limits(answer_wait=0)) as there:
        client = there.client()
        posting = asyncio.get_running_loop().create_task(client.post(initialize()))
        session = await there.session()
        response = await posting
        early = response.headers.get("mcp-session-id", session.id)
        await refused(await client.post(request(1, "x"), mcp_session_id=early), 404)
        await session.send([initialized()])
        assert await response.frames() == [initialized().raw]
        assert (await client.post(notification("a"), mcp_session_id=session.id)).status == 202


@pytest.mark.parametrize("answer_wait", [10.0, 0.0], ids=["before its stream", "after its stream began"])
async def test_a_client_gone_during_initialize_leaves_no_session(answer_wait: float) -> None:
    """The upstream is told the end at once, and the place is free again."""
    async with house(Limits(answer_wait=answer_wait, max_sessions=1)) as there:
        client = there.client()
        posting = asyncio.get_running_loop().create_task(client.post(initialize()))
        session = await there.session()
        assert len(await session.receive()) == 1
        if answer_wait:
            client.close()
            with pytest.raises(asyncio.IncompleteReadError):
                await posting
        else:
            (await posting).wire.close()
        assert await session.receive() == ()
        assert (await there.client().status())["sessions"] == 0


async def test_sessions_have_a_cap() -> None:
    """429 with the request's id beyond ``max_sessions``, on both transports; a place that is freed is given again."""
    async with house(Limits(max_sessions=2, answer_wait=10)) as there:
        first, session = await there.begin()
        await there.begin()
        response = await there.client().post(initialize(request_id="late"))
        error = await refused(response, 429)
        assert error["id"] == "late" and "retry-after" in response.headers
        await refused(await there.client().request("GET", "/sse", {"accept": "text/event-stream"}), 429)
        await first.end()
        assert await session.receive() == ()
        await there.begin()


async def test_requests_in_flight_have_a_cap_that_a_cancellation_passes() -> None:
    """503 with the id for one more request; notifications and answers still pass, for they may end one."""
    async with house(Limits(max_in_flight=2, answer_wait=10)) as there:
        client, session = await there.begin()
        open_calls = [await posted(client, session, request(number, "x")) for number in (1, 2)]
        error = await refused(await client.post(request(3, "x")), 503)
        assert error["id"] == 3
        for frame in (notification("notifications/cancelled", requestId=1), answer("from-server").raw):
            assert (await client.post(frame)).status == 202
        await session.send([answer(2), answer(1)])
        assert [(await call).status for call in open_calls] == [200, 200]


async def test_a_second_get_takes_over_from_the_first() -> None:
    """The first stream ends; what comes later is on the second, once."""
    async with house() as there:
        client, session = await there.begin("2025-06-18")
        first = await client.listen()
        await session.send([message(0)])
        assert (await first.next_event()).data == message(0).raw
        second = await client.listen()
        assert await first.any_event() is None
        await session.send([message(1)])
        assert (await second.next_event()).data == message(1).raw


async def test_an_idle_session_is_closed_and_one_in_use_is_not() -> None:
    """``session_idle`` after its last use: 404. An open GET stream or a call in progress is use."""
    async with house(Limits(session_idle=0.3, answer_wait=0)) as there:
        idle, idle_session = await there.begin()
        listening, _ = await there.begin()
        calling, calling_session = await there.begin()
        get = await listening.listen()
        posting = await posted(calling, calling_session, request(1, "x"))
        assert await idle_session.receive() == ()
        await asyncio.sleep(0.6)
        await refused(await idle.post(request(1, "x")), 404)
        assert (await listening.post(notification("a"))).status == 202
        await calling_session.send([answer(1)])
        assert await (await posting).frames() == [answer(1).raw]
        get.wire.close()


async def test_a_session_whose_clients_have_left_is_idle_though_a_call_is_open() -> None:
    """A server that never answers a client that never returns must not hold the session for ever."""
    async with house(Limits(session_idle=0.2, answer_wait=0)) as there:
        client, session = await there.begin()
        response = await (await posted(client, session, request(1, "x")))
        response.wire.close()
        assert await session.receive() == ()


async def test_a_body_that_arrives_after_its_session_has_ended_is_refused() -> None:
    """404, not a call that nobody will ever answer."""
    async with house() as there:
        client, session = await there.begin()
        wire = await client.wire()
        frame = request(1, "x")
        head = [("content-type", "application/json"), ("mcp-session-id", client.session or "")]
        await wire.send("POST", "/mcp", [*head, ("content-length", str(len(frame)))])
        wire.writer.write(frame[:10])
        await client.end()
        await session.aclose()
        wire.writer.write(frame[10:])
        await refused(await wire.response(), 404)


async def test_a_request_that_waited_for_room_learns_that_its_session_has_ended() -> None:
    """The same for one whose body is here and which waits for a server that does not read."""
    async with house(Limits(answer_wait=10, buffer_high=1000)) as there:
        client, session = await there.begin()
        first = asyncio.get_running_loop().create_task(client.post(request(1, "x", fill="x" * 2000)))
        await until(lambda: session.inbox.is_paused)
        second = asyncio.get_running_loop().create_task(client.post(request(2, "x")))
        await asyncio.sleep(0.05)
        await session.aclose(EndpointBroken("gone"))
        (raw,) = await (await first).frames()
        assert json.loads(raw)["id"] == 1 and "gone" in json.loads(raw)["error"]["message"]
        await refused(await second, 404)


async def test_a_server_that_does_not_read_holds_bodies_in_the_network() -> None:
    """Beyond the high mark, requests wait; a cancellation passes; and in the end each arrives once, in order."""
    async with house(Limits(answer_wait=10, buffer_high=10_000)) as there:
        client, session = await there.begin()
        async with asyncio.TaskGroup() as group:
            posts = [group.create_task(client.post(notification("n", number=n, fill="x" * 4000))) for n in range(20)]
            await until(lambda: session.inbox.is_paused)
            assert (await client.post(notification("notifications/cancelled", requestId=99))).status == 202
            assert session.inbox.waiting_bytes < 20_000
            seen: list[bytes] = []
            while len(seen) < 21:
                seen += [frame.raw for frame in await session.receive()]
        assert all(post.result().status == 202 for post in posts)
        assert len(set(seen)) == 21


async def test_a_cancelled_request_gets_an_end() -> None:
    """A server need not answer what was cancelled: after ``cancel_grace`` we do, with the request's id."""
    async with house(Limits(answer_wait=10, cancel_grace=0.05)) as there:
        client, session = await there.begin()
        posting = await posted(client, session, request(1, "x"))
        assert (await client.post(notification("notifications/cancelled", requestId=1))).status == 202
        (raw,) = await (await posting).frames()
        assert json.loads(raw)["id"] == 1 and json.loads(raw)["error"]["code"] == -32005


async def test_a_cancellation_ends_only_the_request_it_was_for() -> None:
    """If the cancelled id was answered and used again, the new request is not ended by the old cancellation."""
    limits = Limits(answer_wait=10)
    async with house(limits) as there:
        client, session = await there.begin()
        with held_timers(limits.cancel_grace) as timers:
            first = await posted(client, session, request(1, "x"))
            await client.post(notification("notifications/cancelled", requestId=1))
            await session.receive()
            await session.send([answer(1)])
            assert (await first).status == 200
            second = await posted(client, session, request(1, "x"))
            assert len(timers) == 1
            timers.go_off()
        await session.send([answer(1, {"second": True})])
        assert await (await second).frames() == [answer(1, {"second": True}).raw]


async def test_a_session_that_breaks_gives_every_open_call_its_error() -> None:
    """Plain JSON where nothing had come, an event where a stream had begun; each with its own id and the reason."""
    ids = [1, "1", 2**70, "ünïcode ☃", "", 0, -5]
    async with house() as there:
        client, session = await there.begin()
        posts = [await posted(client, session, with_token(request_id, f"t{n}")) for n, request_id in enumerate(ids)]
        await session.send([progress("t0", 1)])
        await session.aclose(EndpointBroken("the server was killed by SIGKILL"))
        for request_id, posting in zip(ids, posts, strict=True):
            error = json.loads((await (await posting).frames())[-1])
            assert error["id"] == request_id and type(error["id"]) is type(request_id)
            assert error["error"]["code"] == -32001 and error["error"]["data"]["delivered"] == "unknown"
            assert "SIGKILL" in error["error"]["message"]


async def test_draining_refuses_what_is_new_and_lets_the_rest_finish() -> None:
    """/health says 503, requests and sessions get 503 with their id, the open call its answer; then drain returns."""
    async with house() as there:
        client, session = await there.begin()
        wires = [await client.wire() for _ in range(5)]
        posting = await posted(client, session, request(1, "x"))
        draining = asyncio.get_running_loop().create_task(there.listener.drain(10))
        await until(lambda: there.listener.is_draining)
        client._idle += wires
        health = await client.request("GET", "/health")
        assert (health.status, await health.json()) == (503, {"status": "draining"})
        assert (await refused(await client.post(request(2, "x")), 503))["id"] == 2
        assert (await refused(await client.post(initialize(), mcp_session_id=None), 503))["id"] == 0
        assert (await client.post(notification("a"))).status == 202
        assert not draining.done()
        await session.send([answer(1)])
        assert (await posting).status == 200
        await draining


async def test_closing_gives_what_is_left_an_error() -> None:
    """After the drain time: an error with the id for each open call, and streams end."""
    async with house() as there:
        client, session = await there.begin()
        get = await client.listen()
        posting = await posted(client, session, request("left", "x"))
        await there.listener.drain(0.01)
        await there.listener.aclose()
        (raw,) = await (await posting).frames()
        assert json.loads(raw)["id"] == "left" and "shutting down" in json.loads(raw)["error"]["message"]
        assert await get.frames() == []
