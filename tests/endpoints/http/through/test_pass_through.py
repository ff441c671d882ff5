"""Requests handed on from one HTTP server to another: what passes, what does not, and what each gets if it goes wrong.

The test is the client, by hand, and the server is a script (tests/e2e/fault_server.py); between them the listener.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import logging
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from relay.endpoints.core.dialling import DiallingOptions
from relay.endpoints.http.client.aiohttp_dial import Dial
from relay.endpoints.http.listening import ListeningOptions
from relay.endpoints.http.server import connections as http_connections
from relay.endpoints.http.server.listener import HttpListener
from relay.limits import Limits
from tests.e2e.fault_server import JSON, Exchange, FaultServer, Script, SseScript, error, note, result, sse_event
from tests.e2e.oracle import ACCEPT_BOTH, Client, Event, Response, initialize, notification, request
from tests.endpoints.http.house import refused, until
from tests.endpoints.http.modern_house import ask, headers_for, listen

LOST, UNAVAILABLE, TOO_LARGE, STATUS = -32001, -32006, -32003, -32004


class Hop:
    """A listener that hands requests on, and its clients."""

    def __init__(self, listener: HttpListener) -> None:
        self.listener = listener
        self.base = listener.base_url
        self._clients: list[Client] = []

    def client(self, session: str | None = "s") -> Client:
        client = Client(self.base)
        client.session = session
        self._clients.append(client)
        return client

    async def aclose(self) -> None:
        for client in self._clients:
            client.close()
        await self.listener.aclose()


@contextlib.asynccontextmanager
async def hop(url: str, headers: Mapping[str, str] | None = None, limits: Limits | None = None) -> AsyncIterator[Hop]:
    """Hand requests on to a server until the block is left."""
    limits = limits or Limits(close_grace=0.5)
    dial = Dial(url, DiallingOptions(headers=headers or {}, limits=limits))
    listener = HttpListener(options=ListeningOptions(limits=limits), server=dial)
    await listener.start()
    opened = Hop(listener)
    try:
        yield opened
    finally:
        await opened.aclose()
        await dial.aclose()


@contextlib.asynccontextmanager
async def hop_to(
    script: Script, headers: Mapping[str, str] | None = None, limits: Limits | None = None
) -> AsyncIterator[tuple[Hop, FaultServer]]:
    """Hand requests on to a script, which knows the session ``s``."""
    script.live.add("s")
    async with FaultServer.running(script) as server, hop(server.url, headers, limits) as opened:
        yield opened, server


class Saying(Script):
    """Answers every call with one fixed answer."""

    def __init__(self, status: int, body: bytes = b"", kind: str | None = JSON, **headers: str) -> None:
        super().__init__()
        self.said = (status, body, kind, {name.replace("_", "-"): value for name, value in headers.items()})

    async def call(self, exchange: Exchange) -> None:
        status, body, kind, headers = self.said
        await exchange.reply(status, body, kind=kind, headers=headers)


class Doing(Script):
    """Answers calls and GETs by steps: bytes are chunks of a stream, the words what happens between them."""

    def __init__(self, *steps: bytes | str) -> None:
        super().__init__()
        self.steps = steps
        self.go_on = asyncio.Event()
        self.left = asyncio.Event()
        self.left_at = 0.0

    async def call(self, exchange: Exchange) -> None:
        await exchange.open_stream()
        for step in self.steps:
            if isinstance(step, bytes):
                await exchange.chunk(step)
            elif step == "wait":
                await self.go_on.wait()
            elif step == "cut":
                exchange.cut()
            elif step == "end":
                await exchange.end()
            elif step == "hold":
                await exchange.hold()
                self.left_at = time.monotonic()
                self.left.set()

    async def get(self, exchange: Exchange) -> None:
        await self.call(exchange)


CALL = request(1, "tools/call", name="x")
ANSWER = sse_event(result(json.loads(CALL)))
WITH_ID = sse_event(result(json.loads(CALL)), event_id="7")
PRIMING = sse_event(event_id="6")


async def events_of(response: Response) -> list[Event]:
    return [event async for event in response.events()]


def sees(event: Event) -> bool:
    """Tell whether a client looks at an event: each SDK asks for `message`, or no name."""
    return event.event in ("message", "") and bool(event.data)


async def only_error(response: Response) -> dict[str, Any]:
    """Return the one message of a stream that a client looks at, an error."""
    (event,) = [event for event in await events_of(response) if sees(event)]
    found = json.loads(event.data)
    assert found["id"] == 1 and "error" in found, found
    return dict(found["error"])


# -- what passes ------------------------------------------------------------------------------------------------------


async def test_a_session_is_the_servers_own() -> None:
    """The id of a session, its requests, notifications and end pass; the listener has no session."""
    async with hop_to(Script()) as (opened, server):
        client = opened.client(None)
        await client.begin()
        assert client.session == "session-1"
        (answer,) = await client.call(CALL)
        assert json.loads(answer) == result(json.loads(CALL))
        assert (await client.status())["sessions"] == 0
        assert await client.end() == 200
        assert server.methods() == ["initialize", "notifications/initialized", "tools/call", "DELETE"]
        assert (await client.post(CALL)).status == 404  # and it says so


async def test_a_bodys_bytes_are_kept_both_ways() -> None:
    """Numbers beyond 2^53, white space and unknown members pass as they are."""
    said = b'{ "jsonrpc":"2.0", "id":1, "result":{"a":0.10,"b":123456789012345678901234567890,"a":1e5} }'
    async with hop_to(Saying(200, said)) as (opened, server):
        sent = b' {"jsonrpc":"2.0","id":1,"method":"x","params":{"n":0.10, "n2":12345678901234567890},"more":[]} '
        response = await opened.client().post(sent)
        assert await response.body() == said
        assert server.requests[-1].body == sent


async def test_only_the_transports_headers_go_onward() -> None:
    """Credentials, cookies and forwarding headers of a client stay here; what is configured goes with each request."""
    async with hop_to(Script(), {"Authorization": "Bearer ours", "X-Key": "k"}) as (opened, server):
        client = opened.client()
        theirs: dict[str, str | None] = {
            "authorization": "Bearer theirs",
            "cookie": "a=b",
            "x-api-key": "secret",
            "x-forwarded-for": "10.0.0.1",
            "forwarded": "for=10.0.0.1",
            "proxy-authorization": "Basic x",
            "connection": "keep-alive, x-hop",
            "x-hop": "1",
            "te": "trailers",
            "user-agent": "me",
            "origin": opened.base,
            "mcp-protocol-version": "2025-11-25",
            "traceparent": "00-1-2-01",
        }
        for response in (await client.post(CALL, **theirs), await client.listen("9", **theirs)):
            await response.body()
        for seen in server.requests:
            headers = seen.headers
            assert headers["authorization"] == "Bearer ours" and headers["x-key"] == "k"
            assert headers["mcp-session-id"] == "s" and headers["mcp-protocol-version"] == "2025-11-25"
            assert headers["traceparent"] == "00-1-2-01"
            unwanted = ("cookie", "x-api-key", "x-forwarded-for", "forwarded", "proxy-authorization", "x-hop", "te")
            assert not [name for name in (*unwanted, "origin") if name in headers]
            assert headers["user-agent"] != "me" and not seen.repeated
        assert server.requests[-1].headers["last-event-id"] == "9"


async def test_a_servers_cookies_and_challenges_stay_here() -> None:
    """What one client's request got is neither passed on nor sent with another's."""
    script = Saying(
        200,
        json.dumps(result(json.loads(CALL))).encode(),
        Set_Cookie="who=alice",
        WWW_Authenticate="Bearer",
        X_More="1",
    )
    async with FaultServer.running(script) as server, hop(server.url) as opened:
        for session in ("alice", "bob"):
            script.live.add(session)
            response = await opened.client(session).post(CALL)
            assert response.status == 200
            await response.body()
            assert not {"set-cookie", "www-authenticate", "x-more"} & response.headers.keys()
        assert [one.headers.get("cookie") for one in server.requests] == [None, None]


async def test_modern_headers_are_kept() -> None:
    """The headers that mirror a modern request go with it, those of its parameters too, twice if they came twice."""
    async with hop_to(Script()) as (opened, server):
        client = opened.client(None)
        frame = ask(1, "tools/call", name="x")
        headers = {**headers_for(frame), "mcp-param-region": "=?base64?w6k=?=", "Mcp-Param-N": "42"}
        response = await client.request("POST", "/mcp", headers, frame)
        assert response.status == 200 and (await response.json())["id"] == 1
        seen = server.requests[-1].headers
        assert seen["mcp-method"] == "tools/call" and seen["mcp-name"] == "x"
        assert seen["mcp-protocol-version"] == "2026-07-28"
        assert seen["mcp-param-region"] == "=?base64?w6k=?=" and seen["mcp-param-n"] == "42"
        wire = await client.wire()
        twice = [(name, value) for name, value in headers.items() if value is not None]
        await wire.send("POST", "/mcp", [*twice, ("Mcp-Param-N", "43")], frame)
        assert (await wire.response()).status == 200
        assert server.requests[-1].repeated == ("mcp-param-n",)  # for the server to refuse


@pytest.mark.parametrize("status", [400, 403, 404, 406, 409, 429, 500, 503])
async def test_statuses_pass_with_their_jsonrpc_error(status: int) -> None:
    """A refusal that is JSON-RPC is the client's answer as it stands, Retry-After with it."""
    body = json.dumps(error(1, -32000, "Bad Request: no")).encode()
    async with hop_to(Saying(status, body, JSON, Retry_After="7")) as (opened, _):
        response = await opened.client().post(CALL)
        assert response.status == status and await response.body() == body
        assert response.headers["retry-after"] == "7" and response.headers["content-type"] == JSON


@pytest.mark.parametrize("status", [400, 404, 410, 429, 500, 503])
async def test_statuses_pass_without_their_pages(status: int) -> None:
    """A page is said as a JSON-RPC error with the request's id: no HTML, no secret of ours that it repeats."""
    page = b"you sent ours-and-secret, which is wrong"
    async with hop_to(Saying(status, page, "text/plain"), {"X-Key": "ours-and-secret"}) as (opened, _):
        response = await opened.client().post(CALL)
        found = await refused(response, status)
        assert found["id"] == 1 and found["error"]["code"] == STATUS
        assert "which is wrong" in found["error"]["message"] and "secret" not in json.dumps(found)
        assert found["error"]["data"]["delivered"] == ("no" if status < 500 else "unknown")


@pytest.mark.parametrize("status", [401, 407])
async def test_the_servers_login_is_the_relays_matter(status: int) -> None:
    """401 would have the client log in where its token never goes: it is an error of the relay's side."""
    async with hop_to(Saying(status, b"", None, WWW_Authenticate='Bearer realm="x"')) as (opened, _):
        response = await opened.client().post(CALL)
        found = await refused(response, 502)
        assert found["id"] == 1 and str(status) in found["error"]["message"]
        assert "www-authenticate" not in response.headers


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_refused(status: int) -> None:
    """Nothing is sent anywhere else, and the client is not sent there either."""
    async with FaultServer.running(Script()) as other:
        async with hop_to(Saying(status, b"", None, Location=other.url)) as (opened, server):
            response = await opened.client().post(CALL)
            found = await refused(response, 502)
            assert found["id"] == 1 and found["error"]["code"] == STATUS
            assert "location" not in response.headers
            assert not other.requests and len(server.requests) == 1


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("text/html", b"<script>alert(1)</script>"),
        (None, b'{"jsonrpc":"2.0","id":1,"result":{}}'),
        (JSON, b""),
        (JSON, b'{"jsonrpc":"2.0","id":2,"result":{}}'),
        (JSON, b'{"jsonrpc":"2.0","id":null,"result":{}}'),
        (JSON, b'{"jsonrpc":"2.0","id":1,"resu'),
        (JSON, b'{"detail":"hm"}'),
    ],
)
async def test_a_request_gets_its_answer_or_an_error(kind: str | None, body: bytes) -> None:
    """What is no answer to the request is not passed for one."""
    async with hop_to(Saying(200, body, kind)) as (opened, _):
        found = await refused(await opened.client().post(CALL), 502)
        assert found["id"] == 1 and found["error"]["data"]["delivered"] == "unknown"


async def test_what_asks_nothing_gets_its_status() -> None:
    """202 passes, a page with it does not; nor does one in place of a stream."""

    class Chatty(Script):
        async def notification(self, exchange: Exchange) -> None:
            await exchange.reply(202, b"<b>Accepted</b>", kind="text/html")

        async def get(self, exchange: Exchange) -> None:
            await exchange.reply(200, b"<b>hello</b>", kind="text/html")

    async with hop_to(Chatty()) as (opened, _):
        client = opened.client()
        response = await client.post(notification("notifications/x"))
        assert (response.status, await response.body()) == (202, b"")
        response = await client.listen()
        assert await response.body() == b"" and "html" not in response.headers.get("content-type", "")


async def test_get_and_delete_are_refused_as_the_server_refuses_them() -> None:
    """405 to a GET passes, with Allow; so does 404 for an unknown session."""

    class Postal(Script):
        async def get(self, exchange: Exchange) -> None:
            await exchange.reply(405, b"no", kind="text/plain", headers={"Allow": "POST"})

    async with hop_to(Postal()) as (opened, _):
        response = await opened.client().listen()
        await refused(response, 405)
        assert response.headers["allow"] == "POST"
        await refused(await opened.client("unknown").listen(), 404)
        assert await opened.client("unknown").end() == 404


async def test_the_checks_come_first() -> None:
    """Host, Origin, media types and the body's form are seen to before anything goes out."""
    async with hop_to(Script()) as (opened, server):
        client = opened.client()
        await refused(await client.post(CALL, host="evil.example"), 421)
        await refused(await client.listen(host="evil.example"), 421)
        await refused(await client.post(CALL, origin="https://evil.example"), 403)
        await refused(await client.listen(origin="https://evil.example"), 403)
        await refused(await client.listen(sec_fetch_site="cross-site"), 403)
        await refused(await client.post(CALL, content_type="text/plain"), 415)
        await refused(await client.post(CALL, accept="text/html"), 406)
        await refused(await client.post(b"[" * 10), 400)
        await refused(await client.post(b'{"jsonrpc":"2.0","id":1,"id":2,"method":"x"}'), 400)
        assert not server.requests


@pytest.mark.parametrize("encoding", ["gzip"])
async def test_a_compressed_answer_is_unpacked(encoding: str) -> None:
    """A server that compresses unasked is understood; a bomb is not unpacked beyond the limit."""
    body = json.dumps(result(json.loads(CALL))).encode()
    async with hop_to(Saying(200, gzip.compress(body), JSON, Content_Encoding=encoding)) as (opened, _):
        response = await opened.client().post(CALL)
        assert await response.body() == body and "content-encoding" not in response.headers
    bomb = gzip.compress(b" " * 3_000_000 + body)
    limits = Limits(max_frame_bytes=1_000_000, close_grace=0.5)
    async with hop_to(Saying(200, bomb, JSON, Content_Encoding=encoding), limits=limits) as (opened, _):
        assert (await refused(await opened.client().post(CALL), 502))["error"]["code"] == TOO_LARGE


# -- streams ----------------------------------------------------------------------------------------------------------


async def test_events_pass_one_by_one() -> None:
    """Each event is there before the next is made, and the stream's head before any."""
    first, second = sse_event(note("notifications/progress", progress=1)), sse_event(note("notifications/progress"))
    script = Doing("wait", first, "wait", second, "wait", ANSWER, "end")
    async with hop_to(script) as (opened, _):
        response = await opened.client().post(CALL)
        assert response.is_stream and response.headers["x-accel-buffering"] == "no"
        for _ in range(3):
            script.go_on.set()
            event = await response.next_event()
            script.go_on.clear()
            assert event.data
        assert json.loads(event.data)["id"] == 1
        assert await events_of(response) == []


@pytest.mark.parametrize("cut_at", range(1, len(WITH_ID)))
@pytest.mark.only_loop("uvloop")
async def test_a_stream_is_bytes(cut_at: int) -> None:
    """Wherever the server cuts it, the client gets the same bytes."""
    if cut_at % 7:
        return
    async with hop_to(Doing(PRIMING + WITH_ID[:cut_at], WITH_ID[cut_at:], "end")) as (opened, _):
        response = await opened.client().post(CALL)
        assert await response.body() == PRIMING + WITH_ID


async def test_a_silent_get_stream_is_open_at_once_and_resumes() -> None:
    """The head comes before any event; Last-Event-ID arrives; what breaks is broken here too."""
    script = Doing("wait", WITH_ID, "cut")
    async with hop_to(script) as (opened, server):
        response = await opened.client().listen("5")
        assert response.status == 200 and response.is_stream
        assert server.requests[-1].headers["last-event-id"] == "5"
        script.go_on.set()
        assert (await response.next_event()).id == "7"
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await response.body()


@pytest.mark.parametrize("how", ["cut", "end"])
@pytest.mark.parametrize(
    "half",
    [
        b"",
        ANSWER[:-1].replace(b"\n", b"\r"),
        b"event: message\r\ndata: {}\r",
        ANSWER[:-1],
        ANSWER[:-2],
        ANSWER[:40],
        b"da",
        b"data: {",
        b": comm",
        b"id",
    ],
)
async def test_a_stream_that_ends_too_soon_ends_with_an_error(how: str, half: bytes) -> None:
    """Without event ids nothing can be resumed: an error, after whatever half of an event, which no client takes."""
    before = sse_event(note("notifications/progress", progress=1))
    async with hop_to(Doing(*(part for part in (before, half) if part), how)) as (opened, _):
        response = await opened.client().post(CALL)
        body = await response.body()
    assert body.startswith(before + half)
    messages = _read_as_clients_do(body)
    assert json.loads(messages[0])["method"] == "notifications/progress"
    (last,) = map(json.loads, messages[1:])
    assert last["id"] == 1 and last["error"]["code"] == LOST and last["error"]["data"]["delivered"] == "unknown"


def _read_as_clients_do(body: bytes) -> list[bytes]:
    """Read a stream as httpx-sse does, which the official SDK for Python uses."""
    from httpx_sse._decoders import SSEDecoder

    decoder = SSEDecoder()
    events = [decoder.decode(line) for line in body.decode().replace("\r\n", "\n").replace("\r", "\n").split("\n")]
    return [event.data.encode() for event in events if event is not None and event.event == "message" and event.data]


async def test_a_stream_that_can_be_resumed_breaks_as_it_broke() -> None:
    """After an event id no error is made: the client comes back with it."""
    async with hop_to(Doing(PRIMING, ANSWER[:30], "cut")) as (opened, _):
        response = await opened.client().post(CALL)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await response.body()
    async with hop_to(Doing(PRIMING, "end")) as (opened, _):
        response = await opened.client().post(CALL)
        assert await response.body() == PRIMING


async def test_an_event_id_means_nothing_in_the_modern_era() -> None:
    """Nothing is resumed there: the request has its error at once."""
    for how in ("cut", "end"):
        async with hop_to(Doing(PRIMING, how)) as (opened, _):
            frame = ask(1)
            response = await opened.client(None).request("POST", "/mcp", headers_for(frame), frame)
            assert (await only_error(response))["code"] == LOST


async def test_an_answered_stream_that_breaks_has_ended() -> None:
    """Whoever has its answer is not told of an error."""
    async with hop_to(Doing(ANSWER, "cut")) as (opened, _):
        response = await opened.client().post(CALL)
        assert await response.body() == ANSWER


async def test_each_of_a_batch_is_answered_once() -> None:
    """Of three requests one is answered before the break: the other two get errors; all three, if nothing is sent."""
    three = [json.loads(request(number, "x")) for number in (1, "two", 3)]
    batch = json.dumps([*three, json.loads(notification("n"))]).encode()
    async with hop_to(_BatchDoing(sse_event(result(three[1])), "cut")) as (opened, _):
        response = await opened.client().post(batch)
        found = [json.loads(event.data) for event in await events_of(response)]
        assert [(one["id"], "error" in one) for one in found] == [("two", False), (1, True), (3, True)]
    async with hop_to(_BatchDoing()) as (opened, server):
        await server.stop()
        response = await opened.client().post(batch)
        assert response.status == 502
        assert [(one["id"], one["error"]["code"]) for one in await response.json()] == [
            (number, UNAVAILABLE) for number in (1, "two", 3)
        ]


class _BatchDoing(Doing):
    async def post(self, exchange: Exchange) -> None:
        await self.call(exchange)


# -- lost servers -----------------------------------------------------------------------------------------------------


async def test_a_server_that_is_not_there() -> None:
    """Nothing was executed, and the error says so."""
    async with FaultServer.running(Script()) as server:
        url = server.url
    async with hop(url) as opened:
        found = await refused(await opened.client().post(CALL), 502)
        assert (found["id"], found["error"]["code"]) == (1, UNAVAILABLE)
        assert found["error"]["data"] == {"delivered": "no"}
        await refused(await opened.client().listen(), 502)


async def test_a_server_that_dies_before_its_head_or_amid_its_json() -> None:
    """One error, nothing sent again."""

    class Dying(Script):
        async def call(self, exchange: Exchange) -> None:
            if exchange.message["params"]["name"] == "half":
                await exchange.raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{")
            if exchange.message["params"]["name"] == "unframed":
                body = b'{"jsonrpc":"2.0","id":1,"result":{"a":{"fill":"' + b"x" * 4096 + b'"}'
                await exchange.raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + body)
                exchange.writer.close()
            else:
                exchange.cut()

    async with hop_to(Dying()) as (opened, server):
        for count, name in enumerate(("at once", "half", "unframed", "at once"), 1):
            found = await refused(await opened.client().post(request(1, "tools/call", name=name)), 502)
            assert found["id"] == 1 and found["error"]["data"] == {"delivered": "unknown"}
            assert len(server.requests) == count


async def test_a_kept_connection_that_closes_on_a_post() -> None:
    """A POST that meets the close may have been executed: it is not sent again. A GET is."""

    class Closing(Script):
        async def call(self, exchange: Exchange) -> None:
            if exchange.message["params"]["name"] == "cut":
                exchange.cut()
            else:
                await exchange.result()

        async def get(self, exchange: Exchange) -> None:
            if exchange.request.connection == 1:
                exchange.cut()
            else:
                await exchange.reply(405)

    async with hop_to(Closing()) as (opened, server):
        client = opened.client()
        await client.call(CALL)
        await refused(await client.listen(), 405)
        assert server.methods() == ["tools/call", "GET", "GET"]
        await client.call(CALL)
        await client.call(CALL)
        found = await refused(await client.post(request(1, "tools/call", name="cut")), 502)
        assert found["error"]["code"] == LOST
        assert len(server.posted("tools/call")) == 4
        assert server.requests[-1].connection in {one.connection for one in server.requests[:-1]}, "it was kept"


# -- lost clients -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("era", ["legacy", "modern"])
@pytest.mark.parametrize("steps", [("hold",), ("head", "hold"), (PRIMING, "hold")])
async def test_a_client_that_leaves_is_gone_upstream(
    era: str, steps: tuple[bytes | str, ...], caplog: pytest.LogCaptureFixture
) -> None:
    """Its connection there is closed within 100 ms, which cancels a modern request; nothing is called lost."""
    caplog.set_level(logging.INFO, "relay")

    class Slow(Doing):
        async def call(self, exchange: Exchange) -> None:
            if steps[0] == "hold":  # not even a head
                await exchange.hold()
                self.left_at = time.monotonic()
                self.left.set()
            else:
                await super().call(exchange)

    script = Slow(*steps)
    async with hop_to(script) as (opened, server):
        client = opened.client("s" if era == "legacy" else None)
        frame = CALL if era == "legacy" else ask(1)
        wire = await client.wire()
        headers = headers_for(frame) if era == "modern" else {"mcp-session-id": "s"}
        sent = {"content-type": JSON, "accept": ACCEPT_BOTH, **headers}
        await wire.send("POST", "/mcp", [(name, value) for name, value in sent.items() if value], frame)
        await server.until(lambda: server.requests)
        if steps[0] != "hold":
            await wire.response()
        await until(lambda: opened.listener.in_flight == 1)
        left_at = time.monotonic()
        wire.close()
        await script.left.wait()
        assert script.left_at - left_at < 0.1
        await until(lambda: opened.listener.in_flight == 0)
        assert len(server.requests) == 1
    assert not [record for record in caplog.records if "lost" in record.getMessage()]


@pytest.mark.parametrize("how", ["sse", "json", "get"])
async def test_a_client_that_does_not_read_is_dropped(
    how: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the stall time its connection goes, in any kind of answer; what is in memory meanwhile is bounded."""
    written = 0
    # The kernel is told the same time, and may come first.
    monkeypatch.setattr(http_connections, "detect_dead_peer", lambda *_: None)

    class Flood(Script):
        async def call(self, exchange: Exchange) -> None:
            nonlocal written
            if how == "json":
                body = json.dumps(result(exchange.message, {"fill": "x" * 30_000_000})).encode()
                await exchange.reply(200, body, kind=JSON)
                return
            await exchange.open_stream()
            data = sse_event(note("notifications/message", data="x" * 100_000))
            while True:
                await exchange.chunk(data)
                written += len(data)

        async def get(self, exchange: Exchange) -> None:
            await self.call(exchange)

    limits = Limits(stall=0.5, close_grace=0.5)
    async with hop_to(Flood(), limits=limits) as (opened, _):
        client = opened.client()
        wire = await client.wire()
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a transport that reads
        headers = [("content-type", JSON), ("accept", ACCEPT_BOTH), ("mcp-session-id", "s")]
        await wire.send(*(("GET", "/mcp", headers[1:]) if how == "get" else ("POST", "/mcp", headers, CALL)))
        await until(lambda: "unread" in caplog.text, seconds=10)
        await until(lambda: opened.listener.in_flight == 0)
        assert written < 40_000_000  # the kernel's buffers of two connections
        (record,) = [
            record for record in caplog.records if record.name == "relay" and record.levelno >= logging.WARNING
        ]
        assert "lost" not in caplog.text and "unread for 0.5 s" in record.getMessage()


# -- sizes ------------------------------------------------------------------------------------------------------------


def of_size(size: int, message: Any) -> bytes:
    frame = json.dumps(message).encode()
    return frame.replace(b'"fill": ""', b'"fill": "' + b"x" * (size - len(frame)) + b'"')


LIMIT = 600_000


@pytest.mark.parametrize("how", ["json", "sse"])
async def test_answers_up_to_the_limit(how: str) -> None:
    """A frame of the largest size passes; with one byte more there is an error in its place."""

    class Large(Script):
        async def call(self, exchange: Exchange) -> None:
            body = of_size(exchange.message["params"]["size"], result(exchange.message, {"fill": ""}))
            if how == "json":
                await exchange.reply(200, body, kind=JSON)
                return
            await exchange.open_stream()
            await exchange.event(body)
            await exchange.end()

    async with hop_to(Large(), limits=Limits(max_frame_bytes=LIMIT, close_grace=0.5)) as (opened, _):
        client = opened.client()
        (frame,) = await client.call(request(1, "tools/call", size=LIMIT))
        assert len(frame) == LIMIT
        response = await client.post(request(1, "tools/call", size=LIMIT + 1))
        if how == "json":
            assert (await refused(response, 502))["error"]["code"] == TOO_LARGE
        else:
            (frame,) = _read_as_clients_do(await response.body())
            assert json.loads(frame)["error"]["code"] == TOO_LARGE


async def test_requests_up_to_the_limit() -> None:
    """The same for what clients send, the answer to the first beginning while the next comes."""
    async with hop_to(Saying(200, json.dumps(result({"id": 1}, {})).encode())) as (opened, server):
        assert opened.listener._root is not None
        assert opened.listener._root.through is not None
        opened.listener._root.through._limits = limits = Limits(max_frame_bytes=LIMIT)
        opened.listener._context.gate.limits = limits
        body = of_size(LIMIT, json.loads(request(1, "tools/call", fill="")))
        assert len(body) == LIMIT
        for _ in range(2):
            assert (await opened.client().post(body)).status == 200
            assert server.requests[-1].body == body
        assert (await refused(await opened.client().post(body + b" "), 413))["error"]["code"] == TOO_LARGE
        assert len(server.requests) == 2


async def test_large_requests_under_way_keep_no_others_out() -> None:
    """A place among the large bodies is free once the body is sent, however long the answer takes."""
    many = 10
    body = of_size(LIMIT, json.loads(request(1, "tools/call", fill="")))
    script = Script()
    release = asyncio.Event()

    async def call(exchange: Exchange) -> None:
        await release.wait()
        await exchange.result({})

    script.call = call  # type: ignore[method-assign]  # one that waits
    async with hop_to(script) as (opened, server):
        async with asyncio.TaskGroup() as group:
            posting = [group.create_task(opened.client().post(body)) for _ in range(many)]
            await server.until(lambda: len(server.requests) == many)
            release.set()
        assert [task.result().status for task in posting] == [200] * many


async def test_a_large_answer_is_known_by_its_ends() -> None:
    """Beyond what is kept of an event, its id is still seen: no second outcome when the stream breaks after it."""
    body = json.dumps(result({"id": 1}, {"fill": "x" * 1_000_000})).encode()
    async with hop_to(Doing(sse_event(body), "cut")) as (opened, _):
        (frame,) = _read_as_clients_do(await (await opened.client().post(CALL)).body())
        assert frame == body


# -- two relays, loops, HTTP+SSE --------------------------------------------------------------------------------------


async def test_two_in_a_row() -> None:
    """A hop before a hop changes nothing."""
    async with hop_to(Doing(PRIMING, WITH_ID, "end")) as (first, server), hop(first.listener.url) as second:
        response = await second.client().post(CALL)
        assert await response.body() == PRIMING + WITH_ID
        assert server.requests[-1].headers["mcp-relay-hops"] == "2"


async def test_a_relay_that_leads_to_itself_stops() -> None:
    """After four relays a request is refused, and each of them says so."""
    async with FaultServer.running(Script()) as server:
        port = server.port
    limits = Limits(close_grace=0.5)
    dial = Dial(f"http://127.0.0.1:{port}/mcp", DiallingOptions(limits=limits))
    listener = HttpListener("127.0.0.1", port, ListeningOptions(limits=limits), server=dial)
    await listener.start()
    opened = Hop(listener)
    try:
        assert (await refused(await opened.client().post(CALL), 508))["id"] == 1
        await refused(await opened.client().listen(), 508)
        assert (await opened.client().status())["requests"] == 11
    finally:
        await opened.aclose()
        await dial.aclose()


@pytest.mark.parametrize("page", [b"Missing session", b'{"error":"no session"}'])
async def test_a_stray_request_does_not_part_others_from_their_sessions(page: bytes) -> None:
    """A server that refuses a request without session in its own words is no server of HTTP+SSE."""

    class Wordy(Script):
        async def post(self, exchange: Exchange) -> None:
            if exchange.request.session is None and exchange.message.get("method") != "initialize":
                await exchange.reply(400, page, kind="text/plain")
            else:
                await super().post(exchange)

        async def get(self, exchange: Exchange) -> None:
            await exchange.open_stream()
            await exchange.hold()

    async with hop_to(Wordy()) as (opened, server):
        await refused(await opened.client(None).post(CALL), 400)
        assert len(server.requests) == 1
        assert len(await opened.client().call(CALL)) == 1
        assert (await opened.client().listen()).status == 200


async def test_a_page_in_place_of_initialize_does_not_last() -> None:
    """While a server is replaced, its proxy may answer 404 to all: sessions go on after it, GET streams too."""

    class Replaced(Script):
        is_away = False

        async def answer(self, exchange: Exchange) -> None:
            if self.is_away:
                await exchange.reply(404, b"<h1>Not found</h1>", kind="text/html")
            else:
                await super().answer(exchange)

        async def call(self, exchange: Exchange) -> None:
            await exchange.open_stream()
            await exchange.event(result(exchange.message))
            await exchange.end()

        async def get(self, exchange: Exchange) -> None:
            await exchange.open_stream()
            await exchange.hold()

    script = Replaced()
    async with hop_to(script) as (opened, _):
        client = opened.client()
        script.is_away = True
        posting = asyncio.get_running_loop().create_task(opened.client(None).post(initialize()))
        session = await anext(aiter(opened.listener))  # tried over HTTP+SSE, which is not looked at here
        await session.aclose()
        assert "error" in await (await posting).json()
        script.is_away = False
        assert len(await client.call(CALL)) == 1
        assert (await client.listen()).status == 200


async def test_a_modern_client_before_a_server_of_http_sse() -> None:
    """It is told that POST is refused, once, and falls back by itself."""
    async with hop_to(SseScript()) as (opened, server):
        frame = ask(1, "server/discover")
        response = await opened.client(None).request("POST", "/mcp", headers_for(frame), frame)
        assert (await refused(response, 405))["id"] == 1
        assert server.methods() == ["server/discover"]


async def test_a_session_before_a_server_of_http_sse_that_is_not_known() -> None:
    """405 to a POST in a session is no session: the client begins a new one."""
    async with hop_to(SseScript()) as (opened, server):
        found = await refused(await opened.client("old").post(CALL), 404)
        assert found["id"] == 1
        assert server.methods() == ["tools/call"]


# -- the end ----------------------------------------------------------------------------------------------------------


async def test_drain_lets_answers_come_and_ends_streams() -> None:
    """Nothing new is taken, what the client answers is; calls have their answers; subscriptions and streams end."""
    script = Doing("wait", ANSWER, "end")

    async def get(exchange: Exchange) -> None:
        await exchange.open_stream()
        await exchange.hold()

    script.get = get  # type: ignore[method-assign]  # one that is silent
    async with hop_to(script) as (opened, server):
        client, other = opened.client(), opened.client()
        call = await client.post(CALL)
        stream = await client.listen()
        await other.finished(await other.post(notification("n")))
        draining = asyncio.get_running_loop().create_task(opened.listener.drain(5))
        await until(lambda: opened.listener.is_draining)
        accepted = await other.post(json.dumps(result({"id": 9}, {})).encode())
        assert accepted.status == 202
        await other.finished(accepted)
        await refused(await other.post(CALL), 503)
        script.go_on.set()
        assert await call.body() == ANSWER
        await draining
        began = time.monotonic()
        await opened.listener.aclose()
        assert time.monotonic() - began < 4
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await stream.body()
        assert len(server.posted("tools/call")) == 1


async def test_drain_ends_subscriptions_in_good_order() -> None:
    """A subscription would outlast every drain: it gets its result, in the middle of an event too."""
    event = sse_event(note("notifications/tools/list_changed"))
    async with hop_to(Doing(event, event[:20], "hold")) as (opened, _):
        frame = listen(1)
        response = await opened.client(None).request("POST", "/mcp", headers_for(frame), frame)
        assert json.loads((await response.next_event()).data)["method"] == "notifications/tools/list_changed"
        began = time.monotonic()
        await opened.listener.drain(5)
        assert time.monotonic() - began < 4
        _, last = _read_as_clients_do(event + response._rest + await response.body())
        assert json.loads(last)["result"]["resultType"] == "complete"


@pytest.mark.parametrize("steps", [("hold",), (ANSWER[:20], "hold")])
async def test_a_call_that_outlasts_the_drain_gets_an_error(steps: tuple[bytes | str, ...]) -> None:
    """Also one whose server has not even begun to answer."""
    async with hop_to(Doing(*steps)) as (opened, _):
        response = await opened.client().post(CALL)
        await opened.listener.drain(0.1)
        closing = asyncio.get_running_loop().create_task(opened.listener.aclose())
        (frame,) = _read_as_clients_do(await response.body())
        assert json.loads(frame)["id"] == 1 and "shutting down" in json.loads(frame)["error"]["message"]
        await closing


async def test_a_call_without_a_head_gets_an_error_at_the_end() -> None:
    """As above, before there is any answer."""

    class Mute(Script):
        async def call(self, exchange: Exchange) -> None:
            await exchange.hold()

    async with hop_to(Mute()) as (opened, server):
        posting = asyncio.get_running_loop().create_task(opened.client().post(CALL))
        await server.until(lambda: server.requests)
        await opened.listener.drain(0.1)
        closing = asyncio.get_running_loop().create_task(opened.listener.aclose())
        assert (await refused(await posting, 502))["id"] == 1
        await closing
