"""HttpListener for 2026-07-28: what is refused, whose each frame is, and how a request ends."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Coroutine
from typing import Any

import pytest

from relay.endpoints.http.server.modern import ModernClients
from relay.errors import EndpointBroken
from relay.frames.frame import Frame
from relay.limits import Limits
from tests.e2e.oracle import Response, Wire, initialize, notification, request
from tests.endpoints.http.house import PATIENT, answer, initialized, message, progress, refused, until
from tests.endpoints.http.modern_house import (
    META,
    MODERN,
    about,
    acknowledged,
    ask,
    completion,
    frames_from,
    headers_for,
    listen,
    meta,
    modern_house,
)

FAST, ORDINARY = "/mcp", "/mcp/"
both_ways = pytest.mark.parametrize("path", [FAST, ORDINARY], ids=["fast", "ordinary"])


async def is_lost(response: Response) -> bool:
    """Tell whether a stream ends in the middle: no more events, and no proper end."""
    try:
        async with asyncio.timeout(20):
            while await response.any_event() is not None:
                pass
    except (asyncio.IncompleteReadError, ConnectionError):
        return True
    return False


# -- what is refused --------------------------------------------------------------------------------------------------


def without(*keys: str) -> bytes:
    """Make a request that lacks some of its ``_meta``."""
    whole = json.loads(ask(7))
    for key in keys:
        del whole["params"]["_meta"][META + key]
    return json.dumps(whole).encode()


def named(name: object, **more: Any) -> bytes:
    return ask(7, "tools/call", name=name, **more)


@both_ways
@pytest.mark.parametrize(
    ("frame", "changed", "code"),
    [
        pytest.param(ask(7), {"mcp_method": None}, -32020, id="no Mcp-Method"),
        pytest.param(ask(7), {"mcp_method": "x/ECHO"}, -32020, id="Mcp-Method in another case"),
        pytest.param(named("t"), {"mcp_name": None}, -32020, id="no Mcp-Name"),
        pytest.param(named("t"), {"mcp_name": "u"}, -32020, id="another Mcp-Name"),
        pytest.param(named("ü"), {"mcp_name": "=?base64?dA==?="}, -32020, id="Mcp-Name in Base64 of another"),
        pytest.param(named("t"), {"mcp_name": "=?base64?%%%?="}, -32020, id="Mcp-Name that is no Base64"),
        pytest.param(named("t"), {"mcp_name": "\xfc"}, -32020, id="Mcp-Name beyond ASCII"),
        pytest.param(ask(7, "resources/read", uri="a:b"), {}, -32020, id="no Mcp-Name for a resource"),
        pytest.param(ask(7), {"mcp_protocol_version": None}, -32020, id="no version header"),
        pytest.param(ask(7), {"mcp_protocol_version": "2027-01-01"}, -32020, id="another version header"),
        pytest.param(ask(7), {"mcp_protocol_version": "2025-11-25"}, -32020, id="a legacy version header"),
        pytest.param(ask("seven" * 50), {"mcp_method": None}, -32020, id="a long string id"),
        pytest.param(ask(2**70), {"mcp_method": None}, -32020, id="a huge id"),
        pytest.param(without("protocolVersion"), {}, -32602, id="no version in _meta"),
        pytest.param(without("clientCapabilities"), {}, -32602, id="no capabilities in _meta"),
        pytest.param(without("protocolVersion", "clientCapabilities"), {}, -32602, id="an empty _meta"),
        pytest.param(request(7, "x/echo"), {}, -32602, id="no _meta"),
        pytest.param(b'{"jsonrpc":"2.0","id":7,"method":"x/echo"}', {}, -32602, id="no params"),
        pytest.param(ask(7, token=7.5), {}, -32600, id="a token that is a float"),
        pytest.param(ask(7, token=True), {}, -32600, id="a token that is a truth"),
    ],
)
async def test_a_request_that_is_not_whole_is_refused_under_its_id(
    path: str, frame: bytes, changed: dict[str, str | None], code: int
) -> None:
    """400, the code of the rule, the request's own id; nothing reaches the server, and the connection goes on."""
    async with modern_house(path) as there:
        client, server = await there.warm()
        response = await there.post(client, frame, **changed)
        error = await refused(response, 400)
        assert (error["id"], error["error"]["code"]) == (json.loads(frame)["id"], code)
        assert server.inbox.waiting_bytes == 0 and server.ledger.calls == 0


@both_ways
@pytest.mark.parametrize(
    ("frame", "code"),
    [
        pytest.param(b"[" + ask(1) + b"," + ask(2) + b"]", -32600, id="a batch"),
        pytest.param(b"[" + notification("x") + b"]", -32600, id="a batch of notifications"),
        pytest.param(b'{"jsonrpc":"2.0","id":1,"result":{}}', -32600, id="a response"),
        pytest.param(b'{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":""}}', -32600, id="an error"),
        pytest.param(b'{"jsonrpc":"2.0","id":1.5,"method":"x"}', -32600, id="an id that is a float"),
        pytest.param(b'{"jsonrpc":"2.0","id":null,"method":"x"}', -32600, id="an id that is null"),
        pytest.param(b'{"jsonrpc":"2.0"', -32700, id="no JSON"),
        pytest.param(ask(1).replace(b'"id": 1', b'"id": 1, "id": 2'), -32600, id="two ids"),
    ],
)
async def test_what_is_no_single_request_or_notification_is_refused(path: str, frame: bytes, code: int) -> None:
    """400 and JSON-RPC's own codes; nothing reaches the server."""
    async with modern_house(path) as there:
        client, server = await there.warm()
        response = await there.post(client, frame)
        assert (await refused(response, 400))["error"]["code"] == code
        assert server.inbox.waiting_bytes == 0 and server.ledger.calls == 0


@both_ways
@pytest.mark.parametrize(
    ("code", "status"),
    [(-32020, 400), (-32021, 400), (-32022, 400), (-32601, 404), (-32602, 200), (-32603, 200), (1, 200)],
)
async def test_a_server_s_error_sets_the_status(path: str, code: int, status: int) -> None:
    """Where the revision says so; the bytes are the server's but for the id, ``supported`` and all."""
    data = '{"supported":["2026-07-28"],"requested":"1900-01-01","x":0.10}'
    text = '{"jsonrpc":"2.0","error":{"code":%d,"message":"…","data":%s},"id":%s}'
    async with modern_house(path) as there:
        client, server = await there.warm()
        posting, number = await there.posted(client, server, ask("an id"))
        await server.send([Frame((text % (code, data, number)).encode())])
        response = await posting
        assert (response.status, response.headers["content-type"]) == (status, "application/json")
        assert await response.body() == (text % (code, data, '"an id"')).encode()
        assert there.taken_at_once == (path == FAST)


@both_ways
async def test_initialize_under_a_modern_header_never_reaches_the_server(path: str) -> None:
    """404 and -32601: a server of both eras could take it for a handshake of all its clients."""
    async with modern_house(path) as there:
        client, server = await there.warm()
        error = await refused(await there.post(client, initialize(request_id=7)), 404)
        assert (error["id"], error["error"]["code"]) == (7, -32601)
        assert server.inbox.waiting_bytes == 0


def begun(posting: Coroutine[Any, Any, Response]) -> asyncio.Task[Response]:
    return asyncio.get_running_loop().create_task(posting)


async def question(server: ModernClients, method: str) -> tuple[int, Any]:
    """Take what the relay asks of its own accord; return its number and parameters."""
    (frame,) = await frames_from(server, 1)
    assert frame["method"] == method
    assert frame["params"]["_meta"]["io.modelcontextprotocol/protocolVersion"] == MODERN
    return frame["id"], frame["params"]


@both_ways
async def test_a_version_that_the_server_does_not_support_is_refused(path: str) -> None:
    """The server is asked once, with ``server/discover``; the refusal names what it supports."""
    frame = ask(1).replace(MODERN.encode(), b"1900-01-01")
    async with modern_house(path) as there:
        client, server = await there.warm()
        first = begun(there.post(client, frame, mcp_protocol_version="1900-01-01"))
        number, _params = await question(server, "server/discover")
        await server.send([answer(number, {"supportedVersions": [MODERN, "2025-11-25"]})])
        second = await there.post(there.client(), frame, mcp_protocol_version="1900-01-01")
        for response in (await first, second):
            error = await refused(response, 400)
            assert (error["id"], error["error"]["code"]) == (1, -32022)
            assert error["error"]["data"] == {"supported": [MODERN, "2025-11-25"], "requested": "1900-01-01"}
        assert server.inbox.waiting_bytes == 0


async def test_a_version_is_the_server_s_to_refuse_if_it_does_not_say_what_it_supports() -> None:
    """Older than any and with ``_meta``: it reaches the server, whose -32022 is 400."""
    frame = ask(1).replace(MODERN.encode(), b"1900-01-01")
    async with modern_house() as there:
        client, server = await there.warm()
        posting = begun(there.post(client, frame, mcp_protocol_version="1900-01-01"))
        number, _params = await question(server, "server/discover")
        await server.send([answer(number, {})])
        (asked,) = await frames_from(server, 1)
        await server.send([Frame(b'{"jsonrpc":"2.0","id":%d,"error":{"code":-32022,"message":""}}' % asked["id"])])
        error = await refused(await posting, 400)
        assert (error["id"], error["error"]["code"]) == (1, -32022)


@both_ways
async def test_tools_that_were_never_listed_are_asked_for_before_their_first_call(path: str) -> None:
    """Every page, once for all who wait; then each call is held against its tool's annotations."""
    schema = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
    frame = named("t", arguments={"region": "nord"})
    async with modern_house(path) as there:
        client, server = await there.warm()
        other = there.client()
        wrong = begun(there.post(client, frame))
        number, _params = await question(server, "tools/list")
        right = begun(there.post(other, frame, mcp_param_region="nord"))
        await server.send([answer(number, {"tools": [{"name": "s"}], "nextCursor": "2"})])
        number, params = await question(server, "tools/list")
        assert params["cursor"] == "2"
        await server.send([answer(number, {"tools": [{"name": "t", "inputSchema": schema}]})])
        assert (await refused(await wrong, 400))["error"]["code"] == -32020
        (asked,) = await frames_from(server, 1)
        assert asked["params"]["name"] == "t"
        await server.send([answer(asked["id"])])
        assert (await right).status == 200
        await other.finished(await right)
        unknown = begun(there.post(client, named("u", arguments={})))
        (asked,) = await frames_from(server, 1)
        assert asked["params"]["name"] == "u", "the list is not asked for again so soon"
        await server.send([answer(asked["id"])])
        await client.finished(await unknown)


async def test_a_server_that_does_not_list_its_tools_gets_the_call_unchecked() -> None:
    """An error, and then silence until the limit: the call goes on."""
    async with modern_house(limits=Limits(find_out=0.2)) as there:
        client, server = await there.warm()
        posting = begun(there.post(client, named("t", arguments={})))
        await question(server, "tools/list")
        cancelled, asked = await frames_from(server, 2)
        assert cancelled["method"] == "notifications/cancelled"
        assert asked["params"]["name"] == "t"
        await server.send([answer(asked["id"])])
        await client.finished(await posting)


@both_ways
async def test_annotated_parameters_are_held_against_their_headers(path: str) -> None:
    """Once ``tools/list`` has passed: missing, wrong and superfluous are -32020; right, and Base64, pass."""
    schema = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
    async with modern_house(path) as there:
        client, server = await there.warm()
        posting, number = await there.posted(client, server, ask(1, "tools/list"))
        await server.send([answer(number, {"tools": [{"name": "t", "inputSchema": schema}]})])
        await client.finished(await posting)
        frame = named("t", arguments={"region": "süd"})
        for changed in ({}, {"mcp_param_region": "nord"}, {"mcp_param_region": "=?base64?bm9yZA==?="}):
            response = await there.post(client, frame, **changed)
            assert (await refused(response, 400))["error"]["code"] == -32020
        response = await there.post(client, named("t", arguments={}), mcp_param_region="nord")
        assert (await refused(response, 400))["error"]["code"] == -32020
        assert server.inbox.waiting_bytes == 0
        posting, number = await there.posted(client, server, frame, mcp_param_region="=?base64?c8O8ZA==?=")
        await server.send([answer(number)])
        assert (await posting).status == 200


@both_ways
async def test_notifications_are_accepted_and_those_about_requests_kept(path: str) -> None:
    """202 without a body; a client's ids mean nothing to the server, so no cancellation of one reaches it."""
    said = notification("notifications/x", number=2**60)
    async with modern_house(path) as there:
        client, server = await there.warm()
        other = there.client("other")
        posting, number = await there.posted(other, server, ask(1))
        about_requests = [
            notification("notifications/cancelled", requestId=number),
            b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":%d,"requestId":null}}'
            % int(number),
            notification("notifications/cancelled", requestId=float(number)),
            notification("notifications/progress", progressToken=number, progress=1),
            notification("notifications/progress", progressToken=[number], progress=1),
        ]
        for frame in [*about_requests, said]:
            response = await there.post(client, frame)
            assert (response.status, await client.finished(response)) == (202, [])
        assert [frame.raw for frame in await server.receive()] == [said]
        await server.send([answer(number)])
        assert (await posting).status == 200


@both_ways
async def test_a_session_id_means_nothing(path: str) -> None:
    """Unknown or of a living session: ignored, and none is minted or echoed."""
    async with modern_house(path) as there:
        client, server = await there.warm()
        legacy, _ = await there.begin()
        for session_id in ("nonsense", legacy.session):
            posting, number = await there.posted(client, server, ask(1), mcp_session_id=session_id, last_event_id="1-1")
            await server.send([answer(number)])
            response = await posting
            assert response.status == 200 and "mcp-session-id" not in response.headers
            await client.finished(response)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_get_and_delete_of_this_revision_are_405(method: str) -> None:
    """With the version header and no session; with neither, or of a legacy version, they are the sessions'."""
    async with modern_house() as there:
        client = there.client()
        headers = {"accept": "text/event-stream"}
        response = await client.request(method, "/mcp", {**headers, "mcp-protocol-version": MODERN})
        await refused(response, 405)
        assert "POST" in response.headers["allow"]
        for version in (None, "2025-11-25"):
            await refused(
                await there.client().request(method, "/mcp", {**headers, "mcp-protocol-version": version}), 400
            )


# -- whose each frame is ----------------------------------------------------------------------------------------------


@both_ways
async def test_an_answer_is_the_server_s_bytes_but_for_the_id(path: str) -> None:
    """Big numbers, repeated keys, escapes, white space and ids within, as they were."""
    raw = rb'{ "jsonrpc":"2.0", "id" : %s,"result":{"id":1,"a":0.10,"a":9007199254740993,"\u0041":"\ud83d\u2028/"} }'
    async with modern_house(path) as there:
        client, server = await there.warm()
        posting, number = await there.posted(client, server, ask("é☃"))
        await server.send([Frame(raw.replace(b"%s", str(number).encode()))])
        response = await posting
        assert response.headers["content-type"] == "application/json"
        assert await response.body() == raw.replace(b"%s", '"é☃"'.encode())
        assert there.taken_at_once == (path == FAST)


@both_ways
async def test_two_clients_with_the_same_id_and_token_at_once(path: str) -> None:
    """Progress, logs of their own stream, and answers: each to its own, under its own id and token."""
    async with modern_house(path) as there:
        _, server = await there.warm()
        postings = [await there.posted(there.client(), server, ask(1, token="t")) for _ in range(3)]
        numbers = [int(number) for _, number in postings]
        assert len(set(numbers)) == 3
        for step in range(2):
            await server.send([progress(number, 10 * index + step) for index, number in enumerate(numbers)])
        await server.send([answer(number, {"for": number}) for number in reversed(numbers)])
        for index, (posting, number) in enumerate(postings):
            response = await posting
            assert response.is_stream and response.headers["x-accel-buffering"] == "no"
            assert "mcp-session-id" not in response.headers
            events = [event async for event in response.events()]
            assert all(event.id is None and event.retry is None for event in events), "nothing can be resumed"
            assert [event.data for event in events] == [
                progress("t", 10 * index).raw,
                progress("t", 10 * index + 1).raw,
                answer(1, {"for": number}).raw,
            ]
        assert server.dropped == 0 and server.ledger.calls == 0


@both_ways
async def test_what_nobody_can_be_told_to_own_is_nobody_s(path: str) -> None:
    """With two requests open and a subscription: no log, no change, no progress or answer of unknown numbers passes."""
    strays = [
        message(0),
        Frame(notification("notifications/tools/list_changed")),
        Frame(notification("notifications/cancelled", requestId=999)),
        about(999),
        progress(999, 1),
        progress("t", 1),
        answer(999),
        answer("1"),
        Frame(b'{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":""}}'),
        Frame(message(0).raw, belongs_to=999),
        Frame(b"[" + message(1).raw + b"," + progress(999, 2).raw + b"]"),
    ]
    async with modern_house(path) as there:
        client, server = await there.warm()
        listening, subscription = await there.posted(client, server, listen(1))
        await server.send([acknowledged(subscription)])
        stream = await listening
        assert (await stream.next_event()).data == acknowledged(1).raw
        postings = [await there.posted(there.client(), server, ask(1, token="t")) for _ in range(2)]
        await server.send(strays)
        assert server.dropped == len(strays) + 1
        await server.send([answer(number) for _, number in postings])
        for posting, _ in postings:
            response = await posting
            assert not response.is_stream and await response.body() == answer(1).raw
        await server.send([message(1), Frame(notification("notifications/resources/list_changed"))])
        assert server.dropped == len(strays) + 3
        await server.send([about(subscription)])
        assert (await stream.next_event()).data == about(1).raw


async def test_a_log_message_is_for_the_only_request_that_is_open() -> None:
    """Nobody else's could it be; what the transport tied to a request is that one's among many."""
    async with modern_house() as there:
        client, server = await there.warm()
        posting, number = await there.posted(client, server, ask(1))
        await server.send([message(0)])
        other, second = await there.posted(there.client(), server, ask(1))
        await server.send([message(1), Frame(message(2).raw, belongs_to=number), answer(number), answer(second)])
        assert await (await posting).frames() == [message(0).raw, message(2).raw, answer(1).raw]
        assert await (await other).frames() == [answer(1).raw]


async def test_what_an_abandoned_request_may_have_caused_is_not_told_to_another() -> None:
    """A log that comes after a client has left could be of its request: not for the only one that waits now."""
    async with modern_house(limits=dataclasses.replace(PATIENT, abandoned_memory=0.2)) as there:
        first, server = await there.warm()
        leaving, left = await there.posted(first, server, ask(1))
        staying, number = await there.posted(there.client(), server, ask(1))
        first.close()
        await frames_from(server, 1)
        await server.send([message(0)])
        assert server.dropped == 1
        await server.send([answer(left), message(1), answer(number)])
        assert await (await staying).frames() == [message(1).raw, answer(1).raw], "its answer was the last word of it"
        await _see_it_fail(leaving)


async def test_a_server_that_asks_is_told_no() -> None:
    """ "The server MUST NOT write JSON-RPC requests": it gets an error under its id, no client hears of it."""
    async with modern_house() as there:
        client, server = await there.warm()
        posting, number = await there.posted(client, server, ask(1))
        await server.send([Frame(request("s", "sampling/createMessage")), Frame(request(number, "ping"))])
        replies = await frames_from(server, 2)
        assert [(reply["id"], reply["error"]["code"]) for reply in replies] == [("s", -32601), (number, -32601)]
        await server.send([answer(number)])
        assert not (await posting).is_stream


@both_ways
async def test_a_slow_answer_s_connection_is_kept_alive(path: str) -> None:
    """Nothing for ``keep_alive`` seconds: a stream, comments, then the answer."""
    async with modern_house(path, Limits(keep_alive=0.05)) as there:
        client, server = await there.warm()
        posting, number = await there.posted(client, server, ask(1))
        response = await posting
        assert response.is_stream
        await asyncio.sleep(0.3)
        await server.send([answer(number)])
        assert await response.frames() == [answer(1).raw] and response.comments >= 3


async def test_a_session_and_a_client_without_one_do_not_meet() -> None:
    """On one listener at once, with the same ids and tokens: two endpoints, each with its own frames."""
    async with modern_house() as there:
        client, server = await there.warm()
        legacy, session = await there.begin()
        old = asyncio.get_running_loop().create_task(legacy.post(request(1, "x", _meta={"progressToken": 1})))
        (frame,) = await session.receive()
        assert frame.head.id == 1
        posting, number = await there.posted(client, server, ask(1, token=1))
        await session.send([progress(1, 0), answer(1, {"era": "legacy"})])
        await server.send([progress(number, 1), answer(number, {"era": "modern"})])
        assert await (await posting).frames() == [progress(1, 1).raw, answer(1, {"era": "modern"}).raw]
        assert await (await old).frames() == [progress(1, 0).raw, answer(1, {"era": "legacy"}).raw]


async def test_slow_senders_of_large_bodies_hold_up_nobody() -> None:
    """Four clients stop in the middle of a body: a fifth's passes."""
    body = ask(1, fill="x" * 300_000)
    async with modern_house() as there:
        _, server = await there.warm()
        wires = [await Wire.open(there.base) for _ in range(4)]
        for wire in wires:
            headers = [(name, value) for name, value in headers_for(ask(1)).items() if value is not None]
            await wire.send("POST", "/mcp", [*headers, ("content-length", "300000")], b"{")
        async with asyncio.timeout(20):
            posting, number = await there.posted(there.client(), server, body)
        await server.send([answer(number)])
        assert (await posting).status == 200
        for wire in wires:
            wire.close()


# -- how a request ends -----------------------------------------------------------------------------------------------


async def _see_it_fail(posting: asyncio.Task[Response]) -> None:
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await posting


async def _is_cancelled(server: ModernClients, number: object) -> None:
    began = asyncio.get_running_loop().time()
    (cancelled,) = await frames_from(server, 1)
    assert asyncio.get_running_loop().time() - began < 10, "100 ms on a machine that does nothing else"
    assert (cancelled["method"], cancelled["params"]["requestId"]) == ("notifications/cancelled", number)


@pytest.mark.shortcuts
@both_ways
@pytest.mark.parametrize("began", [False, True], ids=["before the stream", "after it began"])
@pytest.mark.parametrize("is_new", [False, True], ids=["kept connection", "new connection"])
async def test_a_client_that_leaves_has_cancelled(path: str, began: bool, is_new: bool) -> None:
    """The server hears of it at once, by its own number; what it still says is dropped; another goes on."""
    async with modern_house(path) as there:
        first, server = await there.warm()
        other, kept = await there.posted(there.client(), server, ask(1, token=1))
        client = there.client() if is_new else first
        posting, number = await there.posted(client, server, ask(1, token=1))
        assert there.taken_at_once == (2 if path == FAST else 0)
        if began:
            await server.send([progress(number, 1)])
            assert (await (await posting).next_event()).data == progress(1, 1).raw
        client.close()
        await _is_cancelled(server, number)
        if not began:
            await _see_it_fail(posting)
        assert server.ledger.calls == 1
        await server.send([progress(number, 2), answer(number), answer(kept)])
        assert server.dropped == 2
        assert await (await other).frames() == [answer(1).raw]
        assert server.inbox.waiting_bytes == 0, "cancelled once, and only what was left"


@both_ways
async def test_an_answer_in_the_moment_the_client_leaves_harms_nobody(path: str) -> None:
    """Between the connection's end and the turn of its task: dropped, and the endpoint of all goes on."""
    async with modern_house(path) as there:
        client, server = await there.warm()
        other, kept = await there.posted(there.client(), server, ask(1))
        posting, number = await there.posted(client, server, ask(1))
        http = there.listener._http
        assert http is not None
        connection = http.connections[0]
        connection.connection_lost(None)
        await server.send([answer(number)])
        await server.send([answer(kept)])
        assert await (await other).frames() == [answer(1).raw]
        client.close()
        await _see_it_fail(posting)


@both_ways
async def test_the_server_s_end_is_an_error_for_each_request_and_the_next_begins_anew(path: str) -> None:
    """One error each, under its own id, plain or on its stream; subscriptions complete; then another endpoint."""
    async with modern_house(path) as there:
        client, server = await there.warm()
        clients = [there.client() for _ in range(4)]
        listening, subscription = await there.posted(clients[0], server, listen("same"))
        await server.send([acknowledged(subscription)])
        stream = await listening
        plain = [(await there.posted(one, server, ask("same")))[0] for one in clients[1:3]]
        begun, number = await there.posted(clients[3], server, ask("same", token=1))
        await server.send([progress(number, 1)])
        await server.aclose(EndpointBroken("the server has exited with status 3"))
        for response in [await posting for posting in plain]:
            error = await response.json()
            assert response.status == 200 and (error["id"], error["error"]["code"]) == ("same", -32001)
            assert "status 3" in error["error"]["message"] and error["error"]["data"] == {"delivered": "unknown"}
        *_, last = await (await begun).frames()
        assert (json.loads(last)["id"], json.loads(last)["error"]["code"]) == ("same", -32001)
        assert [json.loads(frame) for frame in await stream.frames()] == [
            json.loads(acknowledged("same").raw),
            completion("same"),
        ]
        following = asyncio.get_running_loop().create_task(there.post(client, ask("same")))
        second = await there.clients_of()
        assert second is not server
        (frame,) = await second.receive()
        await second.send([answer(frame.head.id)])
        assert await (await following).frames() == [answer("same").raw]


async def test_a_request_that_waits_for_room_is_the_next_server_s() -> None:
    """Its server takes no more and ends: it is neither lost nor answered with 404."""
    limits = dataclasses.replace(PATIENT, buffer_high=1000, buffer_low=500)
    async with modern_house(limits=limits) as there:
        client, server = await there.warm()
        first = asyncio.get_running_loop().create_task(there.post(there.client(), ask(1, fill="x" * 2000)))
        await until(lambda: server.inbox.is_paused)
        waiting = asyncio.get_running_loop().create_task(there.post(client, ask(2)))
        await until(lambda: server.waiting == 1)
        await server.aclose(EndpointBroken("gone"))
        assert (await (await first).json())["error"]["code"] == -32001
        second = await there.clients_of()
        (frame,) = await second.receive()
        await second.send([answer(frame.head.id)])
        assert await (await waiting).frames() == [answer(2).raw]


# -- subscriptions ----------------------------------------------------------------------------------------------------


@both_ways
async def test_subscriptions_with_the_same_id_are_kept_apart(path: str) -> None:
    """Each gets its acknowledgement first, then its own changes under its own id, and nothing of calls."""
    async with modern_house(path) as there:
        _, server = await there.warm()
        opened = [await there.posted(there.client(), server, listen("same")) for _ in range(3)]
        calling, call = await there.posted(there.client(), server, ask("same", token=1))
        await server.send([acknowledged(number) for _, number in reversed(opened)])
        for change in range(5):
            await server.send([about(number, fill=f"{index}/{change}") for index, (_, number) in enumerate(opened)])
        await server.send([message(0), progress(call, 1), answer(call)])
        assert await (await calling).frames() == [message(0).raw, progress(1, 1).raw, answer("same").raw]
        for index, (listening, number) in enumerate(opened):
            stream = await listening
            assert stream.is_stream
            expected = [acknowledged("same"), *(about("same", fill=f"{index}/{change}") for change in range(5))]
            assert [(await stream.next_event()).data for _ in range(6)] == [frame.raw for frame in expected]
            end = {"resultType": "complete", "_meta": {"io.modelcontextprotocol/subscriptionId": number}}
            await server.send([answer(number, end)])
            assert [json.loads(frame) for frame in await stream.frames()] == [completion("same")]


async def test_a_subscription_is_kept_alive_by_comments() -> None:
    """A comment per ``keep_alive``, before the acknowledgement too, and no event."""
    async with modern_house(limits=Limits(keep_alive=0.03)) as there:
        client, server = await there.warm()
        listening, number = await there.posted(client, server, listen(1))
        stream = await listening
        await asyncio.sleep(0.3)
        await server.send([acknowledged(number)])
        assert (await stream.next_event()).data == acknowledged(1).raw
        assert stream.comments >= 4


@both_ways
async def test_a_client_that_closes_its_subscription_has_cancelled_it(path: str) -> None:
    """The server hears of it; what it still says on it is dropped, and another with the same id goes on."""
    async with modern_house(path) as there:
        client, server = await there.warm()
        listening, number = await there.posted(client, server, listen(1))
        other, kept = await there.posted(there.client(), server, listen(1))
        await server.send([acknowledged(number), acknowledged(kept)])
        assert (await (await listening).next_event()).data == acknowledged(1).raw
        client.close()
        await _is_cancelled(server, number)
        await server.send([about(number), answer(number), about(kept)])
        assert server.dropped == 2
        stream = await other
        assert [(await stream.next_event()).data for _ in range(2)] == [acknowledged(1).raw, about(1).raw]


async def test_a_server_ends_a_subscription_by_cancelling_it() -> None:
    """Its client is told, and gets the completion; what the server says after that is nobody's."""
    async with modern_house() as there:
        client, server = await there.warm()
        listening, number = await there.posted(client, server, listen(1))
        calling, call = await there.posted(there.client(), server, ask(1))
        await server.send([acknowledged(number), Frame(notification("notifications/cancelled", requestId=number))])
        await server.send([about(number), answer(number)])
        assert server.dropped == 2
        *before, last = await (await listening).frames()
        assert json.loads(last) == completion(1)
        assert before == [acknowledged(1).raw, notification("notifications/cancelled", requestId=1)]
        await server.send([Frame(notification("notifications/cancelled", requestId=call)), answer(call)])
        assert await (await calling).frames() == [answer(1).raw], (
            "a call is answered by its server, and not ended by it"
        )
        assert server.inbox.waiting_bytes == 0


async def test_a_drain_completes_subscriptions_and_waits_for_calls() -> None:
    """The server is told; new requests are refused with 503; the call that is in flight has its answer."""
    async with modern_house() as there:
        client, server = await there.warm()
        silent, acked = there.client(), there.client()
        first, _ = await there.posted(silent, server, listen(1))
        second, number = await there.posted(acked, server, listen(1))
        await server.send([acknowledged(number)])
        calling, call = await there.posted(client, server, ask(1))
        late = there.client()
        await late.finished(await late.request("GET", "/health"))
        draining = asyncio.get_running_loop().create_task(there.listener.drain(5))
        cancelled = await frames_from(server, 2)
        assert {frame["method"] for frame in cancelled} == {"notifications/cancelled"}
        assert [json.loads(frame) for frame in await (await first).frames()] == [completion(1)]
        assert [json.loads(frame) for frame in await (await second).frames()][1:] == [completion(1)]
        assert (await refused(await there.post(late, ask(9)), 503))["id"] == 9
        assert not draining.done()
        await server.send([answer(call)])
        assert await (await calling).frames() == [answer(1).raw]
        await draining


@pytest.mark.async_timeout(40)
async def test_a_slow_reader_is_cut_alone() -> None:
    """One of three subscribers does not read: it loses its connection and is cancelled; the others get everything."""
    limits = dataclasses.replace(PATIENT, replay_bytes=200_000)
    count, fill = 400, "x" * 50_000
    async with modern_house(limits=limits) as there:
        _, server = await there.warm()
        opened = [await there.posted(there.client(), server, listen(1)) for _ in range(3)]
        await server.send([acknowledged(number) for _, number in opened])
        streams = [await listening for listening, _ in opened]
        read: list[list[bytes]] = [[], []]

        async def follow(stream: Response, into: list[bytes]) -> None:
            while len(into) <= count:
                into.append((await stream.next_event()).data)

        async with asyncio.TaskGroup() as group:
            for index in range(2):
                group.create_task(follow(streams[index], read[index]))
            for change in range(count):
                await server.send([about(number, fill=f"{change}{fill}") for _, number in opened])
                await until(lambda sent=change: all(len(one) > sent for one in read))
        for one in read:
            assert one == [acknowledged(1).raw, *(about(1, fill=f"{change}{fill}").raw for change in range(count))]
        await _is_cancelled(server, opened[2][1])
        assert await is_lost(streams[2])
        await server.send([about(number) for _, number in opened])
        assert [(await stream.next_event()).data for stream in streams[:2]] == [about(1).raw] * 2


# -- a server for each request ----------------------------------------------------------------------------------------


async def test_with_share_request_each_request_has_its_own_server() -> None:
    """Two clients, the same id and token at once: two endpoints, which end with their answers."""
    async with modern_house(per_request="all") as there:
        clients = [there.client() for _ in range(3)]
        postings = []
        servers = []
        for client in clients:
            postings.append(asyncio.get_running_loop().create_task(there.post(client, ask(1, token="t"))))
            servers.append(await there.clients_of())
        numbers = []
        for server in servers:
            (frame,) = await server.receive()
            numbers.append(frame.head.id)
        assert len({id(server) for server in servers}) == 3
        for index in (2, 0, 1):
            number = numbers[index]
            await servers[index].send([message(index), progress(number, index), answer(number, {"for": index})])
            assert await servers[index].receive() == (), "it has ended"
        for index, posting in enumerate(postings):
            expected = [message(index), progress("t", index), answer(1, {"for": index})]
            assert await (await posting).frames() == [frame.raw for frame in expected]
        status = await there.client().status()
        assert (status["sessions"], status["in_flight"]) == (0, 0)


async def test_with_share_request_a_client_that_leaves_ends_its_server() -> None:
    """The cancellation, then the end."""
    async with modern_house(per_request="all") as there:
        client = there.client()
        posting = asyncio.get_running_loop().create_task(there.post(client, ask(1)))
        server = await there.clients_of()
        (frame,) = await server.receive()
        client.close()
        await _is_cancelled(server, frame.head.id)
        assert await server.receive() == ()
        await _see_it_fail(posting)


async def test_with_share_request_what_no_server_could_answer_is_refused() -> None:
    """A batch with a request in it: 400, in either era, and a response of this one; notifications: 202."""
    async with modern_house(per_request="all") as there:
        batch = b"[" + request(1, "x") + b"," + request(2, "x") + b"]"
        for response in [
            await there.client().post(batch),
            await there.client().post(batch, mcp_protocol_version="2025-03-26"),
            await there.post(there.client(), batch),
            await there.post(there.client(), b'{"jsonrpc":"2.0","id":1,"result":{}}'),
        ]:
            assert (await refused(response, 400))["error"]["code"] == -32600
        assert (await there.post(there.client(), notification("notifications/x"))).status == 202
        assert (await there.client().post(notification("notifications/initialized"))).status == 202


async def test_a_server_of_the_legacy_era_is_found_out_by_discover() -> None:
    """An error that is none of this revision's: the client has it, and that server is not kept for nothing."""
    async with modern_house() as there:
        client, server = await there.warm()
        posting, number = await there.posted(client, server, ask(1, "server/discover"))
        await server.send([Frame(b'{"jsonrpc":"2.0","id":%d,"error":{"code":-32601,"message":""}}' % int(number))])
        assert (await refused(await posting, 404))["id"] == 1
        assert await server.receive() == ()
        legacy = asyncio.get_running_loop().create_task(there.client().post(initialize()))
        session = await there.session()
        assert [frame.head.method for frame in await session.receive()] == ["initialize"]
        await session.send([initialized()])
        assert (await legacy).status == 200


# -- the log ----------------------------------------------------------------------------------------------------------

LOG_LEVEL = META + "logLevel"


def asking_for_log(request_id: object) -> bytes:
    """Make a call that asks for log messages."""
    params = {"_meta": meta(None, **{LOG_LEVEL: "info"})}
    return json.dumps({"jsonrpc": "2.0", "id": request_id, "method": "x/echo", "params": params}).encode()


def said(number: int) -> Frame:
    return Frame(notification("notifications/message", level="info", data=number))


@both_ways
async def test_log_messages_are_for_the_only_open_call_that_asked(path: str) -> None:
    """Whatever other clients' calls are open; while two have asked, or one has asked and left, for nobody."""
    async with modern_house(path) as opened:
        _, server = await opened.warm()
        silent, number = await opened.posted(opened.client("silent"), server, ask(1))
        asking, asked = await opened.posted(opened.client("asking"), server, asking_for_log(1))
        await server.send([said(1)])
        also_client = opened.client("also")
        also, also_asked = await opened.posted(also_client, server, asking_for_log(1))
        await server.send([said(2)])  # could be of either
        also_client.close()
        assert [one["params"]["requestId"] for one in await frames_from(server, 1)] == [also_asked]
        await server.send([said(3)])  # of the one that has gone, perhaps
        await server.send([answer(also_asked)])
        await server.send([said(4)])
        await server.send([answer(asked), answer(number)])
        *logged, last = [json.loads(one) for one in await (await asking).frames()]
        assert [one["params"]["data"] for one in logged] == [1, 4] and last == {"jsonrpc": "2.0", "id": 1, "result": {}}
        assert [json.loads(one) for one in await (await silent).frames()] == [last], "it has not asked"
        also.cancel()
