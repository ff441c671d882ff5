"""HttpListener by hand: the test is the client, on real sockets, and the upstream, by ``receive`` and ``send``.

Nothing stands between, so each law is seen at its moment: what a POST becomes when this comes before that, what a client
that cut the connection here gets when it comes back, what a limit of this size lets through.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from relay.auth.origin import OriginPolicy
from relay.endpoints.http_server import HttpListener
from relay.endpoints.http_session import HttpSession, SseSession
from relay.errors import EndpointBroken
from relay.frames.frame import Frame
from relay.limits import Limits
from tests.e2e.oracle import VERSION, Client, Event, Response, Wire, initialize, notification, request

VERSIONS = ("2025-03-26", "2025-06-18", "2025-11-25")
PATIENT = Limits(answer_wait=10, keep_alive=60)  # nothing becomes a stream unless something related comes


class House:
    """A listener, and the sessions it has yielded."""

    def __init__(self, listener: HttpListener) -> None:
        self.listener = listener
        self.base = listener.base_url
        self._sessions = aiter(listener)
        self._clients: list[Client] = []

    def client(self, name: str = "client") -> Client:
        client = Client(self.base, name)
        self._clients.append(client)
        return client

    async def session(self) -> HttpSession | SseSession:
        return await anext(self._sessions)

    async def begin(self, version: str = VERSION) -> tuple[Client, HttpSession]:
        """Open a session; return both of its ends."""
        client = self.client()
        async with asyncio.TaskGroup() as group:
            posting = group.create_task(client.post(initialize(version)))
            session = await self.session()
            assert isinstance(session, HttpSession)
            assert [frame.head.method for frame in await session.receive()] == ["initialize"]
            await session.send([initialized(version)])
        response = posting.result()
        assert response.status == 200
        client.session = response.headers["mcp-session-id"]
        await client.finished(response)
        return client, session

    async def aclose(self) -> None:
        for client in self._clients:
            client.close()
        await self.listener.aclose()


@contextlib.asynccontextmanager
async def house(limits: Limits = PATIENT, policy: OriginPolicy | None = None) -> AsyncIterator[House]:
    """Listen on a free port until the block is left."""
    listener = HttpListener(limits=limits, policy=policy)
    await listener.start()
    opened = House(listener)
    try:
        yield opened
    finally:
        await opened.aclose()


def initialized(version: str = VERSION, request_id: object = 0) -> Frame:
    result = {"protocolVersion": version, "capabilities": {}, "serverInfo": {"name": "test", "version": "1"}}
    return answer(request_id, result)


def answer(request_id: object, result: object = None) -> Frame:
    return Frame(json.dumps({"jsonrpc": "2.0", "id": request_id, "result": result or {}}).encode())


def message(number: int, size: int = 0) -> Frame:
    return Frame(notification("notifications/message", level="info", data={"number": number, "fill": "x" * size}))


def progress(token: object, number: int, size: int = 0) -> Frame:
    return Frame(notification("notifications/progress", progressToken=token, progress=number, message="x" * size))


def with_token(request_id: object, token: object) -> bytes:
    return request(request_id, "tools/call", _meta={"progressToken": token})


async def posted(client: Client, session: HttpSession, frame: bytes) -> asyncio.Task[Response]:
    """POST a frame and see it arrive upstream; the response is still to come."""
    task = asyncio.get_running_loop().create_task(client.post(frame))
    assert [received.raw for received in await session.receive()] == [frame]
    return task


async def refused(response: Response, status: int) -> dict[str, Any]:
    """See a refusal: this status, and a JSON-RPC error as its body; return the body."""
    body = await response.body()
    assert response.status == status, (response.status, body)
    assert response.headers["content-type"] == "application/json", (response.headers, body)
    error = json.loads(body)
    assert error["jsonrpc"] == "2.0" and "id" in error and -32768 <= error["error"]["code"] <= -32000, error
    assert isinstance(error, dict)
    return error


# -- answering --------------------------------------------------------------------------------------------------------


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
        assert 0.04 <= asyncio.get_running_loop().time() - began < 2
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


# -- coming back ------------------------------------------------------------------------------------------------------


async def read_in_pieces(client: Client, response: Response, piece: int, count: int = 0) -> list[Event]:
    """Read a stream to its end, or ``count`` events, cutting the connection after every ``piece`` and resuming."""
    seen: list[Event] = []
    while True:
        taken = 0
        while taken < piece:
            event = await response.any_event()
            if event is None:
                return seen
            if event.data:
                seen.append(event)
                taken += 1
                if len(seen) == count:
                    return seen
        response.wire.close()
        response = await client.listen(seen[-1].id)
        assert response.status == 200, await response.body()


@pytest.mark.parametrize("piece", [1, 2, 3, 5])
async def test_a_post_stream_resumes_after_any_event(piece: int) -> None:
    """Cut anywhere, Last-Event-ID brings the rest exactly: nothing lost, nothing twice, ids distinct."""
    async with house() as there:
        client, session = await there.begin()
        posting = await posted(client, session, with_token(1, "t"))
        sent = [progress("t", number) for number in range(11)]
        await session.send(sent[:6])
        response = await posting

        async def the_rest() -> None:
            for frame in [*sent[6:], answer(1)]:
                await session.send([frame])
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            reading = group.create_task(read_in_pieces(client, response, piece))
            group.create_task(the_rest())
        events = reading.result()
        assert [event.data for event in events] == [frame.raw for frame in [*sent, answer(1)]]
        assert len({event.id for event in events}) == 12


@pytest.mark.parametrize("piece", [1, 2, 7])
async def test_a_get_stream_resumes_after_any_event(piece: int) -> None:
    """The same for the GET stream, with events that come while nobody is connected."""
    async with house() as there:
        client, session = await there.begin()
        response = await client.listen()
        sent = [message(number) for number in range(21)]

        async def send_all() -> None:
            for frame in sent:
                await session.send([frame])
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            reading = group.create_task(read_in_pieces(client, response, piece, len(sent)))
            await send_all()
        assert [event.data for event in reading.result()] == [frame.raw for frame in sent]


async def _until(holds: Any, seconds: float = 5) -> None:
    """Wait until something nobody announces is so."""
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - a test looks at what has no event
            await asyncio.sleep(0.005)


async def test_the_empty_event_can_be_resumed_from() -> None:
    """The id of the opening event stands for "nothing seen yet": the whole answer comes."""
    async with house(Limits(answer_wait=0)) as there:
        client, session = await there.begin()
        response = await (await posted(client, session, request(1, "x")))
        opening = await response.any_event()
        assert opening is not None and opening.data == b""
        response.wire.close()
        await session.send([message(0), answer(1)])
        again = await client.listen(opening.id)
        assert await again.frames() == [message(0).raw, answer(1).raw]


async def test_a_finished_call_s_answer_waits_for_its_client() -> None:
    """A client that left in the middle of a call finds the answer when it comes back, once the call is over too."""
    async with house() as there:
        client, session = await there.begin()
        posting = await posted(client, session, with_token(1, "t"))
        await session.send([progress("t", 0)])
        response = await posting
        seen = await response.next_event()
        response.wire.close()
        await session.send([answer(1)])
        for _ in range(2):  # asking twice is the client's right
            assert await (await client.listen(seen.id)).frames() == [answer(1).raw]


@pytest.mark.parametrize("event_id", ["9-9", "0-99", "nonsense", "1-", "-1", "1-1-1", "٣-٣", "9" * 5000])
async def test_an_unknown_event_id_is_refused(event_id: str) -> None:
    """400 with a JSON-RPC error: never another stream's events, never a crash."""
    async with house() as there:
        client, _ = await there.begin()
        await refused(await client.listen(event_id.encode().decode("latin-1")), 400)


async def test_another_session_s_events_are_never_shown() -> None:
    """An event id says nothing in another session: it gets its own events or a refusal, not the other's."""
    async with house() as there:
        alice, alices = await there.begin()
        bob, bobs = await there.begin()
        posting = await posted(alice, alices, with_token(1, "t"))
        await alices.send([progress("t", 0), answer(1)])
        event = await (await posting).next_event()
        await refused(await bob.listen(event.id), 400)
        await bobs.send([message(5)])
        await alices.send([message(6)])
        assert (await (await bob.listen("0-0")).next_event()).data == message(5).raw


async def test_all_that_one_session_keeps_is_bounded() -> None:
    """However many streams a session has had, it keeps ``replay_bytes`` of events, the youngest."""
    limits = Limits(answer_wait=0, replay_bytes=100_000)
    async with house(limits) as there:
        client, session = await there.begin()
        for number in range(20):
            posting = await posted(client, session, request(number, "x"))
            await session.send([message(number, 40_000), answer(number)])
            assert len(await client.finished(await posting)) == 2
        assert session.kept_bytes <= limits.replay_bytes


async def test_a_gap_in_a_call_s_stream_is_refused_not_hidden() -> None:
    """If what came next is no longer kept, a resume says so: skipping an answer would leave its client waiting."""
    async with house(Limits(answer_wait=10, replay_bytes=1000)) as there:
        client, session = await there.begin()
        posting = await posted(client, session, with_token(1, "t"))
        await session.send([progress("t", 0)])
        response = await posting
        seen = await response.next_event()
        response.wire.close()
        await _until(lambda: not any(stream.has_reader for stream in session._streams.values()))
        await session.send([progress("t", number, 600) for number in range(1, 4)])
        await session.send([answer(1)])
        await refused(await client.listen(seen.id), 400)


# -- statuses and sessions --------------------------------------------------------------------------------------------


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


@pytest.mark.parametrize("accept", ["application/json", "text/event-stream", "text/html", "application/json;q=0, */*;q=0"])
async def test_a_post_must_accept_both(accept: str) -> None:
    """406 unless JSON and event streams are both accepted."""
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


async def test_a_json_bomb_is_refused_fast_and_others_go_on() -> None:
    """16 MiB of ``{},``: 413 in well under a second."""
    async with house() as there:
        client, _ = await there.begin()
        bomb = b'{"jsonrpc":"2.0","id":1,"method":"x","params":[' + b"{}," * (16 * 2**20 // 3) + b"{}]}"
        began = asyncio.get_running_loop().time()
        await refused(await client.post(bomb), 413)
        assert asyncio.get_running_loop().time() - began < 1


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
        await _until(lambda: session.inbox.is_paused)
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
            await _until(lambda: session.inbox.is_paused)
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
    async with house(Limits(answer_wait=10, cancel_grace=0.05)) as there:
        client, session = await there.begin()
        first = await posted(client, session, request(1, "x"))
        await client.post(notification("notifications/cancelled", requestId=1))
        await session.receive()
        await session.send([answer(1)])
        assert (await first).status == 200
        second = await posted(client, session, request(1, "x"))
        await asyncio.sleep(0.15)
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
        await _until(lambda: there.listener.is_draining)
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


# -- hostile bytes ----------------------------------------------------------------------------------------------------

_POST = "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(_POST + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="both lengths"),
        pytest.param(_POST + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", id="two lengths"),
        pytest.param(_POST + "Content-Length: -1\r\n\r\n", id="negative length"),
        pytest.param(_POST + "Transfer-Encoding: xchunked\r\n\r\n", id="unknown transfer encoding"),
        pytest.param("GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\0b\r\n\r\n", id="NUL in a header"),
        pytest.param("GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\r\n b\r\n\r\n", id="folded header"),
        pytest.param("GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX : a\r\n\r\n", id="space before the colon"),
        pytest.param("GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + "x" * 9000 + "\r\n\r\n", id="huge header"),
        pytest.param("GET /" + "x" * 9000 + " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", id="huge target"),
        pytest.param("GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n" + "X: y\r\n" * 2000 + "\r\n", id="2,000 headers"),
        pytest.param("GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n", id="two hosts"),
        pytest.param("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", id="TLS"),
        pytest.param("not http at all\r\n\r\n", id="not HTTP"),
    ],
)
async def test_hostile_headers_are_refused_in_json(raw: str) -> None:
    """A 4xx with a JSON-RPC error, the connection closed, and no traceback in any log."""
    async with house() as there:
        client = there.client()
        wire = await client.wire()
        wire.writer.write(raw.encode("latin-1"))
        response = await wire.response()
        error = await refused(response, response.status)
        assert 400 <= response.status < 500, error
        assert await wire.reader.read() == b""
        assert (await there.client().status())["sessions"] == 0


async def test_slow_headers_and_silent_connections_are_closed() -> None:
    """Nothing, or half a request's headers, within ``header_deadline``: the connection is closed."""
    async with house(Limits(header_deadline=0.2)) as there:
        client = there.client()
        wires = [await client.wire() for _ in range(3)]
        wires[1].writer.write(b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nX-")
        for wire in wires:
            assert await wire.reader.read() == b""


async def test_a_connection_is_not_idle_while_a_call_waits() -> None:
    """A POST that comes just before a kept connection would be closed for idleness still gets its answer."""
    async with house(Limits(header_deadline=0.3, answer_wait=0.25)) as there:
        client, session = await there.begin()
        await asyncio.sleep(0.2)
        posting = await posted(client, session, request(1, "x"))
        await asyncio.sleep(0.2)
        await session.send([answer(1)])
        assert await (await posting).frames() == [answer(1).raw]


@pytest.mark.parametrize("framing", ["Content-Length: 60000000", "Transfer-Encoding: chunked"])
async def test_a_slow_body_is_closed_however_much_it_promises(framing: str) -> None:
    """The deadline grows with what has come, not with what was announced."""
    async with house(Limits(body_deadline=0.2, close_grace=0.2)) as there:
        client, _ = await there.begin()
        wire = await client.wire()
        wire.writer.write(f"{_POST}Mcp-Session-Id: {client.session}\r\n{framing}\r\n\r\n".encode())
        await refused(await wire.response(), 408)
        assert await wire.reader.read() == b""


async def test_connections_have_a_cap() -> None:
    """One more than ``max_connections`` gets 503 and is closed; the others go on."""
    async with house(Limits(max_connections=3, answer_wait=10)) as there:
        client = there.client()
        wires = [await client.wire() for _ in range(3)]
        await wires[0].send("GET", "/health")
        assert (await wires[0].response()).status == 200
        late = await client.wire()
        assert (await late.response()).status == 503
        assert await late.reader.read() == b""
        await wires[1].send("GET", "/health")
        assert (await wires[1].response()).status == 200


# -- who may come in --------------------------------------------------------------------------------------------------

_ROUTES = [
    ("POST", "/mcp"), ("GET", "/mcp"), ("DELETE", "/mcp"), ("OPTIONS", "/mcp"), ("POST", "/mcp/"), ("GET", "/sse"),
    ("POST", "/messages/?session_id=x"), ("POST", "/messages?session_id=x"), ("GET", "/health"), ("GET", "/status"),
    ("GET", "/nowhere"), ("PUT", "/mcp"),
]  # fmt: skip
_SOURCES: list[tuple[dict[str, str], int | None]] = [
    ({"host": "evil.example"}, 421),
    ({"host": "127.0.0.1.evil.example"}, 421),
    ({"host": "localhost@evil.example"}, 421),
    ({"host": "evil.example:80"}, 421),
    ({"host": "2130706433"}, 421),
    ({"host": "[::2]"}, 421),
    ({"host": "192.168.1.1"}, 421),
    ({"origin": "http://evil.example"}, 403),
    ({"origin": "null"}, 403),
    ({"origin": "http://localhost.evil.example"}, 403),
    ({"origin": "http://127.0.0.1@evil.example"}, 403),
    ({"origin": "file://"}, 403),
    ({"origin": "chrome-extension://localhost"}, 403),
    ({"sec-fetch-site": "cross-site"}, 403),
    ({"host": "localhost"}, None),
    ({"host": "LOCALHOST:1"}, None),
    ({"host": "[::1]:8080"}, None),
    ({"origin": "http://localhost:3000"}, None),
    ({"origin": "http://127.0.0.1:6274"}, None),
    ({"sec-fetch-site": "same-origin"}, None),
    ({"sec-fetch-site": "none"}, None),
]


@pytest.mark.parametrize(("method", "path"), _ROUTES)
async def test_every_route_looks_at_host_and_origin_first(method: str, path: str) -> None:
    """A foreign Host is 421, a foreign Origin or cross-site fetch 403, before anything else; loopback names pass."""
    async with house() as there:
        client = there.client()
        for source, status in _SOURCES:
            headers = {"accept": "text/event-stream, application/json", **source}
            response = await client.request(method, path, headers, b"{}" if method == "POST" else None)
            if status is None:
                assert response.status not in (403, 421), (source, response.status)
            else:
                await refused(response, status)
                assert not any(name.startswith("access-control") for name in response.headers), source
            client.close()


async def test_a_preflight_admits_mcp_headers_and_answers_show_the_session_id() -> None:
    """For an allowed origin only; exact, with Vary, never with credentials."""
    origin = "https://app.example"
    async with house(policy=OriginPolicy("127.0.0.1", (), (origin,))) as there:
        client = there.client()
        wanted = "content-type,mcp-session-id,mcp-protocol-version,mcp-method,mcp-param-future,last-event-id"
        asked = {"access-control-request-method": "POST", "access-control-request-headers": wanted}
        response = await client.request("OPTIONS", "/mcp", {"origin": origin, **asked})
        assert response.status == 204
        assert response.headers["access-control-allow-origin"] == origin
        assert response.headers["access-control-allow-headers"] == wanted
        assert {"GET", "POST", "DELETE"} <= set(response.headers["access-control-allow-methods"].split(", "))
        assert response.headers["vary"] == "Origin"
        assert "access-control-allow-credentials" not in response.headers
        for response in (
            await client.post(request(1, "x"), origin=origin),
            await client.request("GET", "/sse", {"origin": origin}),
        ):
            assert response.headers["access-control-allow-origin"] == origin
            assert "Mcp-Session-Id" in response.headers["access-control-expose-headers"]
        other = await there.client().request("OPTIONS", "/mcp", {"origin": "http://localhost:1", **asked})
        assert not any(name.startswith("access-control") for name in other.headers)


async def test_allowed_hosts_and_any_origin() -> None:
    """--allowed-host adds names, with or without a port; '*' admits every origin, and Host is still checked."""
    async with house(policy=OriginPolicy("127.0.0.1", ("mcp.example", "b.example:81"), ("*",))) as there:
        client = there.client()
        for host, status in (("mcp.example:9", 200), ("b.example:81", 200), ("b.example:82", 421), ("c.example", 421)):
            response = await client.request("GET", "/health", {"host": host, "origin": "https://any.example"})
            assert response.status == status, host
            await client.finished(response)


# -- clients that do not read -----------------------------------------------------------------------------------------


async def _unread_stream(client: Client, session: HttpSession, frame: bytes) -> Wire:
    """POST a frame on a connection that is never read."""
    wire = await client.wire()
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's transport
    head = [("content-type", "application/json"), ("mcp-session-id", client.session or "")]
    await wire.send("POST", "/mcp", head, frame)
    assert [received.raw for received in await session.receive()] == [frame]
    await _until(lambda: any(stream.has_reader for stream in session._streams.values()))
    return wire


@pytest.mark.async_timeout(40)
async def test_a_stalled_reader_is_dropped_after_the_stall_limit_and_holds_a_bounded_amount() -> None:
    """It holds its source back meanwhile, loses the connection, and the session goes on."""
    limits = Limits(answer_wait=0, stall=0.5, replay_bytes=2**20)
    async with house(limits) as there:
        client, session = await there.begin()
        await _unread_stream(client, session, request(1, "x"))
        began = asyncio.get_running_loop().time()
        highest = 0
        for number in range(40):
            await session.send([message(number, 2**20)])
            highest = max(highest, session.kept_bytes)
        assert asyncio.get_running_loop().time() - began >= 0.4
        assert highest <= limits.replay_bytes + limits.buffer_high + 2 * 2**20
        await _until(lambda: not any(stream.has_reader for stream in session._streams.values()))
        posting = await posted(client, session, request(2, "x"))
        await session.send([answer(2)])
        assert await (await posting).frames() == [answer(2).raw]


@pytest.mark.async_timeout(40)
async def test_one_stalled_stream_among_read_ones_still_holds_the_source_back() -> None:
    """Frames for a reader in the same batch must not hide that another stream is full."""
    limits = Limits(answer_wait=0, stall=0.5, replay_bytes=2**20)
    async with house(limits) as there:
        client, session = await there.begin()
        await _unread_stream(client, session, with_token(1, "slow"))
        reading = await (await posted(client, session, with_token(2, "quick")))

        async def read() -> int:
            return len(await reading.frames())

        highest = 0
        async with asyncio.TaskGroup() as group:
            count = group.create_task(read())
            for number in range(40):
                await session.send([progress("slow", number, 2**20), progress("quick", number)])
                highest = max(highest, session.kept_bytes)
            await session.send([answer(2)])
        assert count.result() == 41
        assert highest <= limits.replay_bytes + limits.buffer_high + 2 * 2**20


# -- HTTP+SSE ---------------------------------------------------------------------------------------------------------


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
        for number in range(20):
            if session.is_closing:
                break
            await session.send([message(number, 2**20)])
            highest = max(highest, session.stream.log.unwritten_bytes)
        assert await session.receive() == ()
        assert highest <= 2 * 2**20
        await refused(await say(client, address, request(1, "x")), 404)
