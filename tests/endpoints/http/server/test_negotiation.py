"""What clients may leave out, say twice, or say still: sessions that begin anew, Accept, headers on several lines."""

from __future__ import annotations

import asyncio
import json

import pytest
import websockets.asyncio.client
from websockets.typing import Subprotocol

from relay.endpoints.http.listening import ListeningOptions
from relay.limits import Limits
from tests.e2e.fault_server import SSE, Exchange, Script, note, sse_event
from tests.e2e.oracle import ACCEPT_BOTH, Client, Response, initialize, notification, request
from tests.endpoints.http.house import PATIENT, House, answer, house, initialized, message, posted, progress, refused
from tests.endpoints.http.house import with_token as request_with_token
from tests.endpoints.http.modern_house import ask, headers_for, listen, modern_house
from tests.endpoints.http.through.test_pass_through import hop_to

JSON_ONLY = ("application/json", "application/*", "application/json;q=0.5, text/html", "*/*, text/event-stream;q=0")
BOTH = ("*/*", None, "application/json;q=0.1, text/event-stream;q=0.9", ACCEPT_BOTH)
NEITHER = ("text/html", "application/json;q=0", "application/json;q=0, */*", "text/event-stream", "", "*/*;q=0")


# -- a session that is gone -------------------------------------------------------------------------------------------


async def begins(there: House, client: Client, path: str, session_id: str) -> str:
    """See that ``initialize`` with this session id begins another session; return its id."""
    head = {"content-type": "application/json", "accept": ACCEPT_BOTH, "mcp-session-id": session_id}
    async with asyncio.TaskGroup() as group:
        posting = group.create_task(client.request("POST", path, head, initialize()))
        session = await there.session()
        await session.receive()
        await session.send([initialized()])
    response = posting.result()
    assert response.status == 200
    await client.finished(response)
    return response.headers["mcp-session-id"]


@pytest.mark.parametrize("path", ["/mcp", "/mcp/"])
async def test_initialize_begins_a_session_whatever_id_comes_with_it(path: str) -> None:
    """One that ended, one of nobody, an empty one; on new connections and kept ones."""
    async with house() as there:
        client, _ = await there.begin()
        ended = client.session or ""
        assert await client.end() == 200
        found = {await begins(there, client, path, gone) for gone in (ended, "x" * 43, "")}
        assert len(found) == 3 and ended not in found


@pytest.mark.parametrize("gone", ["x" * 43, ""])
@pytest.mark.parametrize(
    "body", [request(1, "x"), notification("x"), answer(1).raw, b"[" + initialize() + b"]", b"nonsense", b"{}", b""]
)
async def test_nothing_else_does(gone: str, body: bytes) -> None:
    """404, which tells the client to begin."""
    async with house() as there:
        client = there.client()
        client.session = gone
        error = await refused(await client.post(body), 404)
        assert "begin a new one" in error["error"]["message"]
        assert (await client.request("DELETE", "/mcp", {"mcp-session-id": gone})).status == 404


@pytest.mark.parametrize("gone", ["gone", ""])
async def test_a_server_behind_is_not_told_the_id_that_is_gone(gone: str) -> None:
    """HTTP to HTTP: its session begins, too; another request reaches it with the id as it is."""
    async with hop_to(Script()) as (hop, server):
        client = hop.client(gone)
        response = await client.post(initialize())
        assert (response.status, response.headers["mcp-session-id"]) == (200, "session-1")
        await client.finished(response)
        (told,) = server.requests
        assert "mcp-session-id" not in told.headers
        assert (await client.post(request(1, "x"))).status == 404


# -- Accept -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("accept", JSON_ONLY)
@pytest.mark.parametrize("path", ["/mcp", "/mcp/"])
async def test_who_takes_json_alone_gets_json(accept: str, path: str) -> None:
    """However late the answer is, and whatever comes before it, which waits for the client's GET stream."""
    async with house(Limits(answer_wait=0, keep_alive=0.05)) as there:
        client, session = await there.begin()
        head = {"content-type": "application/json", "accept": accept, "mcp-session-id": client.session}
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(client.request("POST", path, head, request_with_token(1, "t")))
            await session.receive()
            await session.send([message(0), progress("t", 1)])
            await asyncio.sleep(0.1)
            await session.send([answer(1)])
        response = asking.result()
        assert (response.status, response.headers["content-type"]) == (200, "application/json")
        assert await client.finished(response) == [answer(1).raw]
        stream = await client.listen()
        assert [(await stream.next_event()).data for _ in range(2)] == [message(0).raw, progress("t", 1).raw]


async def test_a_batch_is_answered_as_one_to_who_takes_json_alone() -> None:
    """Once its answers are all there, also if they came one by one."""
    batch = b"[%b,%b,%b]" % (request(1, "x"), notification("n"), request(2, "x"))
    async with house() as there:
        client, session = await there.begin("2025-03-26")
        for frames in ([answer(2), answer(1)], [answer(2)], [answer(1)]):
            posting = asyncio.get_running_loop().create_task(client.post(batch, accept="application/json"))
            await session.receive()
            for frame in frames:
                await session.send([frame])
            for late in {1, 2} - {frame.head.id for frame in frames}:
                assert isinstance(late, int)
                await session.send([answer(late)])
            response = await posting
            found = await response.json()
            assert response.status == 200 and sorted(one["id"] for one in found) == [1, 2]


@pytest.mark.parametrize("accept", JSON_ONLY)
@pytest.mark.parametrize("path", ["/mcp", "/mcp/"])
async def test_who_takes_json_alone_gets_json_in_2026(accept: str, path: str) -> None:
    """What comes beside the answer is dropped there; what is nothing but a stream is refused."""
    async with modern_house(path, Limits(keep_alive=0.05)) as there:
        client, server = await there.warm()
        posting, number = await there.posted(client, server, ask(1, token="t"), accept=accept)
        await server.send([progress(number, 1)])
        await asyncio.sleep(0.1)
        await server.send([answer(number)])
        response = await posting
        assert (response.status, response.headers["content-type"]) == (200, "application/json")
        assert await client.finished(response) == [answer(1).raw]
        error = await refused(await there.post(client, listen(2), accept=accept), 406)
        assert error["id"] == 2


class Streaming(Script):
    """Answers every call with a stream that says something else first."""

    async def call(self, exchange: Exchange) -> None:
        await exchange.open_stream()
        await exchange.chunk(sse_event(event_id="0") + sse_event(note("notifications/message", level="info")))
        for at in range(0, len(event := sse_event({"jsonrpc": "2.0", "id": exchange.message["id"], "result": {}})), 7):
            await exchange.chunk(event[at : at + 7])
        await exchange.end()


@pytest.mark.parametrize("accept", JSON_ONLY)
@pytest.mark.parametrize("is_modern", [False, True])
async def test_who_takes_json_alone_gets_it_from_a_server_that_streams(accept: str, is_modern: bool) -> None:
    """HTTP to HTTP: the server hears that both are taken, the client gets the answer out of the stream."""
    async with hop_to(Streaming()) as (hop, server):
        client = hop.client(None if is_modern else "s")
        frame = ask(1) if is_modern else request(1, "x")
        headers = headers_for(frame) if is_modern else {"content-type": "application/json", "mcp-session-id": "s"}
        for _ in range(3):
            response = await client.request("POST", "/mcp", {**headers, "accept": accept}, frame)
            assert (response.status, response.headers["content-type"]) == (200, "application/json")
            assert json.loads(b"".join(await client.finished(response))) == {"jsonrpc": "2.0", "id": 1, "result": {}}
        assert all(told.headers["accept"] == ACCEPT_BOTH for told in server.requests)
        if is_modern:
            await refused(
                await client.request("POST", "/mcp", {**headers_for(listen(2)), "accept": accept}, listen(2)), 406
            )


class Breaking(Script):
    """Ends every stream before its answer."""

    async def call(self, exchange: Exchange) -> None:
        await exchange.open_stream()
        await exchange.chunk(sse_event(note("notifications/message", level="info"), event_id="1"))
        await exchange.end()


async def test_a_stream_without_an_answer_is_an_error_to_who_takes_none() -> None:
    """It could not come back for the rest."""
    async with hop_to(Breaking()) as (hop, _):
        response = await hop.client().post(request(1, "x"), accept="application/json")
        assert response.status == 502 and (await response.json())["id"] == 1


@pytest.mark.parametrize("accept", BOTH)
async def test_who_takes_both_may_get_a_stream(accept: str | None) -> None:
    """As before."""
    async with house(Limits(answer_wait=10)) as there:
        client, session = await there.begin()
        asking = asyncio.get_running_loop().create_task(client.post(request_with_token(1, "t"), accept=accept))
        await session.receive()
        await session.send([progress("t", 1), answer(1)])
        response = await asking
        assert response.headers["content-type"] == SSE
        assert await client.finished(response) == [progress("t", 1).raw, answer(1).raw]


@pytest.mark.parametrize("accept", NEITHER)
async def test_who_takes_no_json_is_refused(accept: str) -> None:
    """406, and it says what is wanted."""
    async with house() as there:
        client, _ = await there.begin()
        error = await refused(await client.post(request(1, "x"), accept=accept), 406)
        assert "application/json" in error["error"]["message"]


# -- headers on several lines -----------------------------------------------------------------------------------------


async def lines(client: Client, method: str, path: str, head: list[tuple[str, str]], body: bytes | None) -> Response:
    """Send a request whose headers may stand twice."""
    wire = await client.wire()
    await wire.send(method, path, head, body)
    return await wire.response()


@pytest.mark.parametrize("path", ["/mcp", "/mcp/"])
async def test_a_list_may_stand_on_two_lines(path: str) -> None:
    """Accept of POST and of GET, Content-Encoding, and what a preflight asks for."""
    options = ListeningOptions(allowed_origins=("https://a.example",), limits=PATIENT)
    async with house(options) as there:
        client, session = await there.begin()
        own = [("content-type", "application/json"), ("mcp-session-id", client.session or "")]
        two = [("accept", "application/json"), ("accept", "text/event-stream;q=0.3"), ("content-encoding", "identity")]
        asking = asyncio.get_running_loop().create_task(
            lines(client, "POST", path, [*own, *two, ("content-encoding", "Identity")], request_with_token(1, "t"))
        )
        await session.receive()
        await session.send([progress("t", 1), answer(1)])
        assert (await asking).headers["content-type"] == SSE
        response = await lines(client, "POST", path, [*own, *two, ("content-encoding", "gzip")], b"{}")
        await refused(response, 415)
        split = [("accept", "text/html"), ("accept", "text/event-stream"), *own[1:]]
        assert (await lines(client, "GET", path, split, None)).headers["content-type"] == SSE
        asked = [("access-control-request-headers", name) for name in ("mcp-session-id", "x-two")]
        head = [("origin", "https://a.example"), ("access-control-request-method", "POST"), *asked]
        preflight = await lines(there.client(), "OPTIONS", path, head, None)
        assert preflight.headers["access-control-allow-headers"] == "mcp-session-id, x-two"


@pytest.mark.parametrize("name", ["mcp-session-id", "mcp-protocol-version", "origin", "authorization", "last-event-id"])
@pytest.mark.parametrize("method", ["POST", "GET"])
async def test_a_single_value_may_not(name: str, method: str) -> None:
    """400, also if both are the same: another reader of the request could take the other one."""
    async with house(ListeningOptions(allowed_origins=("*",), limits=PATIENT)) as there:
        client, _ = await there.begin()
        value = {"mcp-session-id": client.session or "", "mcp-protocol-version": "2025-11-25"}.get(name, "http://a")
        head = {"content-type": "application/json", "accept": ACCEPT_BOTH, "mcp-session-id": client.session or ""}
        doubled = [*(pair for pair in head.items() if pair[0] != name), (name, value), (name, value)]
        response = await lines(client, method, "/mcp", doubled, request(1, "x") if method == "POST" else None)
        error = await refused(response, 400)
        assert name in error["error"]["message"].lower()


async def test_subprotocols_may_stand_on_two_lines() -> None:
    """``mcp`` is found on either."""
    async with house() as there:
        async with websockets.asyncio.client.connect(
            there.base.replace("http", "ws") + "/mcp",
            additional_headers=[("Sec-WebSocket-Protocol", "other")],
            subprotocols=[Subprotocol("mcp")],
            proxy=None,
        ) as connection:
            assert connection.subprotocol == "mcp"


async def test_an_ordinary_call_is_what_it_was() -> None:
    """Plain JSON at once."""
    async with house() as there:
        client, session = await there.begin()
        posting = await posted(client, session, request(1, "x"))
        await session.send([answer(1)])
        assert (await posting).headers["content-type"] == "application/json"
