"""``POST /proxy``: the checks in their order, the bytes of a call, and the sessions behind it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from aiohttp import web

from relay.auth.inbound.login import InboundLogin
from relay.auth.inbound.token_sources import GivenTokens
from relay.mcp.revisions import MODERN_VERSION
from relay.routing.open_table import LISTEN
from tests.gateway.far import Asked, Far, far, gone, json_answer, plain, sse
from tests.gateway.house import OTHER, TOKEN, gateway

ORIGIN = "https://page.example"
CALL = {"mcp_server_url": "http://127.0.0.1:1/", "method": "tools/list"}
UNREACHABLE = (502, b'{"detail":"Failed to connect to MCP server"}')
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN_VERSION,
    "io.modelcontextprotocol/clientInfo": {"name": "page", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


def body_of(server: Far | str, method: str = "tools/list", **more: object) -> dict[str, object]:
    """Return the body of a call."""
    return {"mcp_server_url": server if isinstance(server, str) else server.url, "method": method, **more}


def error(request_id: object, code: int, message: str) -> dict[str, object]:
    """Return a JSON-RPC error."""
    return {"jsonrpc": "2.0", "id": request_id, "error": {"code": code, "message": message}}


# The door.


async def test_banner_and_health_need_no_token() -> None:
    """Both are JSON, as the original gateway has them; ``/status`` wants a token."""
    async with gateway() as page, page.session.get(page.base) as banner:
        assert await banner.json() == {"name": "MCP Proxy Server", "version": "1.2.3", "status": "running"}
        async with page.session.get(f"{page.base}/health") as health:
            assert (health.status, await health.json()) == (200, {"status": "healthy"})
        async with page.session.get(f"{page.base}/status") as status:
            assert status.status == 401
        async with page.session.get(f"{page.base}/other", headers={"X-Proxy-Token": TOKEN}) as other:
            assert other.status == 404
            assert "POST /proxy" in (await other.json())["detail"]
        async with page.session.get(f"{page.base}/proxy", headers={"X-Proxy-Token": TOKEN}) as get:
            assert (get.status, get.headers["Allow"]) == (405, "POST, OPTIONS")


async def test_the_checks_in_their_order() -> None:
    """Host 421, Origin 403, token 401, Content-Type 415, body 422, URL 400; each names its fault as a detail."""
    bad_url = {**CALL, "mcp_server_url": "tcp://127.0.0.1:1/"}
    steps: list[tuple[int, dict[str, str], object]] = [
        (421, {"Host": "evil.example"}, {}),
        (403, {"Origin": "https://evil.example"}, {}),
        (401, {"X-Proxy-Token": "wrong"}, {}),
        (415, {"Content-Type": "text/plain"}, {}),
        (422, {}, {}),
        (400, {}, bad_url),
    ]
    async with far() as server, gateway() as page:
        for at, (status, _, body) in enumerate(steps):
            # What fails later is wrong, too: the first fault decides.
            headers = {name: value for _, wrong, _ in reversed(steps[at:]) for name, value in wrong.items()}
            got, answered, text = await page.post(
                json.dumps(body).encode(), None, **{"Origin": ORIGIN, "X-Proxy-Token": TOKEN, **headers}
            )
            assert got == status, (status, got, text)
            assert list(json.loads(text)) == ["detail"]
            if "Origin" not in headers:
                assert answered["Access-Control-Allow-Origin"] == ORIGIN
                assert "Access-Control-Allow-Credentials" not in answered
        assert server.asked == []
        got, answered, text = await page.post(body_of(server), None, Origin=ORIGIN)
        assert (got, text) == (401, b'{"detail":"Invalid proxy token"}')
        assert answered["WWW-Authenticate"] == "Bearer"


async def test_every_header_of_a_token_and_the_preflight() -> None:
    """X-Proxy-Token, Authorization and X-API-Key are equal; a browser may send what it asks for."""
    async with far() as server, gateway() as page:
        for name, value in (("X-Proxy-Token", TOKEN), ("Authorization", f"Bearer {TOKEN}"), ("X-API-Key", TOKEN)):
            status, _, _ = await page.post(body_of(server), None, **{name: value})
            assert status == 200
        for asked in server.asked:  # and none of them goes on to the server
            assert not {"X-Proxy-Token", "Authorization", "X-API-Key", "Origin", "Cookie"} & set(asked.headers)
            assert TOKEN not in str(asked.headers)
        wanted = {"Origin": ORIGIN, "Access-Control-Request-Headers": "content-type,x-proxy-token"}
        async with page.session.options(f"{page.base}/proxy", headers=wanted) as preflight:
            assert preflight.headers["Access-Control-Allow-Headers"] == "content-type,x-proxy-token"
            assert "POST" in preflight.headers["Access-Control-Allow-Methods"]


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"null", b"{", b'"x"', b"\xff", b"{} {}",
        b'{"method":"m"}',
        b'{"mcp_server_url":"http://a.example/"}',
        b'{"mcp_server_url":1,"method":"m"}',
        b'{"mcp_server_url":"http://a.example/","method":null}',
        b'{"mcp_server_url":"http://a.example/","method":""}',
        b'{"mcp_server_url":"http://a.example/","method":["m"]}',
        b'{"mcp_server_url":"http://a.example/","method":"m","method":"n"}',
        b'{"mcp_server_url":"http://a.example/","method":"m","mcp_token":5}',
        b'{"mcp_server_url":"http://a.example/","method":"m","mcp_token":"a b"}',
        b'{"mcp_server_url":"http://a.example/","method":"m","mcp_token":"a\\nb"}',
        b'{"mcp_server_url":"http://a.example/","method":"m","mcp_token":"\xc3\xa4"}',
        b'{"mcp_server_url":"http://a.example/","method":"m","params":[]}',
        b'{"mcp_server_url":"http://a.example/","method":"m","params":"x"}',
        b'{"mcp_server_url":"http://a.example/","method":"m","params":{"a":01}}',
        b'{"mcp_server_url":"http://a.example/","method":"m","id":null}',
        b'{"mcp_server_url":"http://a.example/","method":"m","id":1.5}',
        b'{"mcp_server_url":"http://a.example/","method":"m","id":1e3}',
        b'{"mcp_server_url":"http://a.example/","method":"m","id":true}',
        b'{"mcp_server_url":"http://a.example/","method":"m","id":{}}',
        b'{"mcp_server_url":"http://a.example/","method":"m","jsonrpc":"1.0"}',
    ],
)  # fmt: skip
@pytest.mark.only_loop("uvloop")
async def test_bodies_that_are_no_calls(body: bytes) -> None:
    """Each is refused with 422 and a detail."""
    async with gateway() as page:
        status, _, answer = await page.post(body)
        assert status == 422
        assert isinstance(json.loads(answer)["detail"], str)


# The bytes of a call.


@pytest.mark.parametrize(
    ("request_id", "params"),
    [
        (b"1", b"{}"),
        (b'"a"', b'{"n":12345678901234567890123,"f":0.10,"e":1E+2,"s":"\\u00e9\\/","d":1,"d":2}'),
        (b'"\\u0061"', b'{ "spaced" : [ 1 , 2 ] }'),
        (b"123456789012345678901234567890", b'{"lone":"\\ud800"}'),
        (b"-0", None),
        (b"-7", b"null"),
        (None, b'{"id":5,"method":"x"}'),
    ],
)
@pytest.mark.only_loop("uvloop")
async def test_params_and_id_pass_byte_for_byte(request_id: bytes | None, params: bytes | None) -> None:
    """The server gets the bytes of ``params``, the page gets back the bytes of its id; absent stays absent."""

    async def answer(server: Far, request: web.BaseRequest, asked: Asked) -> web.StreamResponse:
        if asked.method != "tools/call":
            return await plain(server, request, asked)
        return json_answer(b'{"jsonrpc":"2.0", "result":{"x":0.10}, "id":%d}' % asked.message["id"])

    async with far(answer) as server, gateway() as page:
        parts = [b'{"mcp_server_url":"%b","method":"tools/call"' % server.url.encode()]
        parts += [b',"id":' + request_id] if request_id is not None else []
        parts += [b',"params":' + params] if params is not None else []
        for accept in ("application/json", "text/event-stream"):
            status, headers, got = await page.post(b"".join((*parts, b"}")), Accept=accept)
            assert (status, headers["Content-Type"].partition(";")[0]) == (200, accept)
            assert b'{"jsonrpc":"2.0", "result":{"x":0.10}, "id":%b}' % (request_id or b"1") in got
        sent = server.asked[-1].body
        if params in (None, b"null"):
            assert b"params" not in sent
        else:
            assert b'"params":' + (params or b"") + b"}" in sent


async def test_notifications_have_no_id_and_no_answer() -> None:
    """``notifications/*`` goes as a notification, whatever id came with it, and gets 202."""
    async with far() as server, gateway() as page:
        for more in ({}, {"id": 4}):
            status, _, body = await page.post(body_of(server, "notifications/roots/list_changed", **more))
            assert (status, body) == (202, b"")
        await server.wait_for(lambda methods: methods.count("notifications/roots/list_changed") == 2)
        assert all("id" not in one.message for one in server.asked if one.method.endswith("roots/list_changed"))


# Sessions.


async def test_sixty_calls_with_one_id_share_one_session() -> None:
    """One handshake; each call has its own answer."""
    async with far() as server, gateway() as page:
        calls = (page.call(server.url, "tools/call", {"n": number}, id=1) for number in range(60))
        answers = await asyncio.gather(*calls)
        assert [answer["result"]["params"]["n"] for answer in answers] == list(range(60))
        assert {answer["id"] for answer in answers} == {1}
        assert server.methods[:2] == ["initialize", "notifications/initialized"]
        assert server.methods.count("initialize") == 1
        assert len({one.message.get("id") for one in server.asked if one.method == "tools/call"}) == 60


async def test_a_pages_own_initialize_goes_up_verbatim() -> None:
    """The gateway adds ``notifications/initialized``; the new session replaces the old one, which is deleted."""
    params = {
        "protocolVersion": "2024-11-05",
        "capabilities": {"sampling": {}},
        "clientInfo": {"name": "p", "version": "1"},
    }
    async with far() as server, gateway() as page:
        assert (await page.call(server.url, "tools/call"))["result"]["session"] == "session-1"
        answer = await page.call(server.url, "initialize", params, id="x")
        assert (answer["id"], answer["result"]["protocolVersion"]) == ("x", "2024-11-05")
        sent = next(one for one in server.asked if one.message.get("id") == "x")
        assert sent.message == {"jsonrpc": "2.0", "id": "x", "method": "initialize", "params": params}
        assert (await page.call(server.url, "tools/call"))["result"]["session"] == "session-2"
        assert server.methods.count("notifications/initialized") == 2
        await server.wait_for(lambda methods: "DELETE" in methods)
        deleted = next(one for one in server.asked if one.http == "DELETE")
        assert deleted.headers["Mcp-Session-Id"] == "session-1"


async def test_a_session_that_is_gone_is_begun_anew() -> None:
    """One new handshake, and the call once more; a page does not notice."""

    async def answer(server: Far, request: web.BaseRequest, asked: Asked) -> web.StreamResponse:
        if asked.headers.get("Mcp-Session-Id") == "session-1" and asked.message.get("params", {}).get("n") == 2:
            return gone()
        return await plain(server, request, asked)

    async with far(answer) as server, gateway() as page:
        await page.call(server.url, "tools/call", {"n": 1})
        assert (await page.call(server.url, "tools/call", {"n": 2}))["result"]["session"] == "session-2"
        assert server.methods.count("initialize") == 2
        assert server.methods.count("tools/call") == 3


async def test_no_session_is_shared_by_principals_or_tokens() -> None:
    """A session is of one principal, one URL and one token; an idle one is deleted."""
    async with far() as server, gateway(session_idle=0.3) as page:
        seen = []
        for token, mcp_token in ((TOKEN, "s1"), (TOKEN, "s2"), (OTHER, "s1"), (TOKEN, None), (TOKEN, "s1")):
            _, _, body = await page.post(body_of(server, "tools/call", mcp_token=mcp_token), token)
            seen.append(json.loads(body)["result"]["session"])
        assert seen == ["session-1", "session-2", "session-3", "session-4", "session-1"]
        sent = [one.headers.get("Authorization") for one in server.asked if one.method == "tools/call"]
        assert sent == ["Bearer s1", "Bearer s2", "Bearer s1", None, "Bearer s1"]
        await server.wait_for(lambda methods: methods.count("DELETE") == 4)
        assert len(page.routes._upstreams) == 0


@pytest.mark.only_loop("uvloop")
async def test_nothing_crosses_principals() -> None:
    """64 clients of four principals, all with the same ids, tokens and session guesses at once."""
    tokens = {f"p{number}": f"token-number-{number}-of-the-four-principals" for number in range(4)}
    async with far() as server, gateway(login=InboundLogin(GivenTokens(tokens))) as page:

        async def ask(client: int, name: str) -> tuple[str, str]:
            params = {"client": client, "_meta": {"progressToken": 1}}
            body = body_of(server, "tools/call", mcp_token="same", id=1, params=params)
            _, _, answer = await page.post(body, tokens[name], **{"Mcp-Session-Id": "session-1"})
            message = json.loads(answer)
            assert (message["id"], message["result"]["params"]["client"]) == (1, client)
            return name, message["result"]["session"]

        found = await asyncio.gather(*(ask(client, f"p{client % 4}") for client in range(64)))
        assert len({session for _, session in found}) == 4
        assert len(set(found)) == 4
        assert server.methods.count("initialize") == 4


async def test_the_least_recently_used_session_makes_room() -> None:
    """The number of sessions is bounded."""
    async with far() as server, gateway() as page:
        page.routes._upstreams._most = 2
        for token in ("a", "b", "a", "c"):
            await page.post(body_of(server, mcp_token=token))
        await server.wait_for(lambda methods: "DELETE" in methods)
        deleted = next(one for one in server.asked if one.http == "DELETE")
        assert deleted.headers["Authorization"] == "Bearer b"
        assert len(page.routes._upstreams) == 2


# What the server speaks.


async def modern(server: Far, request: web.BaseRequest, asked: Asked) -> web.StreamResponse:
    """Be a server of 2026-07-28 only."""
    meta = asked.message.get("params", {}).get("_meta", {})
    if meta.get("io.modelcontextprotocol/protocolVersion") != MODERN_VERSION:
        return json_answer(error(asked.message.get("id"), -32601, "Method not found"), 404)
    result: dict[str, Any] = {"resultType": "complete", "method": asked.headers.get("Mcp-Method"), "meta": meta}
    if asked.method == "server/discover":
        result["supportedVersions"] = [MODERN_VERSION]
    if asked.method == "tools/list":
        result["tools"] = []
    return json_answer({"jsonrpc": "2.0", "id": asked.message["id"], "result": result})


async def test_a_call_of_the_modern_era_needs_no_handshake() -> None:
    """Its headers are made from its body."""
    async with far(modern) as server, gateway() as page:
        params = {"name": "echo", "arguments": {}, "_meta": META}
        answer = await page.call(server.url, "prompts/get", params)
        assert answer["result"]["method"] == "prompts/get"
        assert answer["result"]["meta"] == META
        assert server.methods == ["prompts/get"]
        assert server.asked[0].headers["Mcp-Name"] == "echo"


@pytest.mark.parametrize("params", [None, {}, {"a": 1}, {"_meta": {}, "a": 1}, {"a": 1, "_meta": {"progressToken": 5}}])
async def test_a_legacy_call_to_a_modern_server(params: dict[str, Any] | None) -> None:
    """The gateway finds out the era, and adds to the call's ``_meta`` what a server of 2026-07-28 requires."""
    async with far(modern) as server, gateway() as page:
        meta = (await page.call(server.url, "resources/list", params))["result"]["meta"]
        assert meta["io.modelcontextprotocol/protocolVersion"] == MODERN_VERSION
        assert ("progressToken" in meta) == bool(params and params.get("_meta"))
        assert server.methods == ["initialize", "server/discover", "resources/list"]


async def test_a_server_without_a_handshake() -> None:
    """Some servers of plain JSON know nothing but calls; the original gateway worked with those."""

    async def answer(server: Far, request: web.BaseRequest, asked: Asked) -> web.StreamResponse:
        if asked.method in ("initialize", "server/discover"):
            return json_answer(error(asked.message["id"], -32601, "Method not found"))
        return await plain(server, request, asked)

    async with far(answer) as server, gateway() as page:
        assert (await page.call(server.url, "tools/call", {"n": 1}))["result"]["params"] == {"n": 1}


async def test_a_refused_handshake_is_the_answer() -> None:
    """What the server says against ``initialize`` is its answer to the call, under the call's id."""

    async def answer(server: Far, request: web.BaseRequest, asked: Asked) -> web.StreamResponse:
        return json_answer(error(asked.message["id"], -32000, "no more clients today"), 400)

    async with far(answer) as server, gateway() as page:
        assert await page.call(server.url, "tools/list", id="q") == error("q", -32000, "no more clients today")


# Answers.


async def test_an_answer_that_came_as_a_stream() -> None:
    """A page that asks for JSON gets JSON, the final answer alone; one that asks for streams gets everything."""

    async def answer(server: Far, request: web.BaseRequest, asked: Asked) -> web.StreamResponse:
        if asked.method != "tools/call":
            return await plain(server, request, asked)
        token = asked.message["params"]["_meta"]["progressToken"]
        progress = {
            "jsonrpc": "2.0",
            "method": "notifications/progress",
            "params": {"progressToken": token, "progress": 1},
        }
        return await sse(request, progress, {"jsonrpc": "2.0", "id": asked.message["id"], "result": {"done": True}})

    async with far(answer) as server, gateway() as page:
        call = body_of(server, "tools/call", params={"_meta": {"progressToken": "mine"}}, id="x")
        for accept in ("*/*", "application/json"):
            _, headers, body = await page.post(call, Accept=accept)
            assert headers["Content-Type"].startswith("application/json")
            assert json.loads(body) == {"jsonrpc": "2.0", "id": "x", "result": {"done": True}}
        _, headers, body = await page.post(call, Accept="application/json, text/event-stream", Origin=ORIGIN)
        assert headers["Content-Type"] == "text/event-stream"
        assert headers["Access-Control-Allow-Origin"] == ORIGIN
        events = [json.loads(line[5:]) for line in body.splitlines() if line.startswith(b"data:")]
        assert events[0]["params"]["progressToken"] == "mine"
        assert events[1] == {"jsonrpc": "2.0", "id": "x", "result": {"done": True}}


async def test_requests_of_the_server() -> None:
    """A ping is answered; for anything else a page needs ``/ws``."""

    async def answer(server: Far, request: web.BaseRequest, asked: Asked) -> web.StreamResponse:
        if "result" in asked.message or "error" in asked.message:
            return web.Response(status=202)
        if asked.method != "tools/call":
            return await plain(server, request, asked)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        for number, method in enumerate(("ping", "sampling/createMessage")):
            question = {"jsonrpc": "2.0", "id": f"q{number}", "method": method, "params": {}}
            await response.write(b"data: " + json.dumps(question).encode() + b"\n\n")
        await server.wait_for(
            lambda _: sum("id" in one.message and "method" not in one.message for one in server.asked) == 2
        )
        done = {"jsonrpc": "2.0", "id": asked.message["id"], "result": {}}
        await response.write(b"data: " + json.dumps(done).encode() + b"\n\n")
        return response

    async with far(answer) as server, gateway() as page:
        assert (await page.call(server.url, "tools/call"))["result"] == {}
        said = {one.message["id"]: one.message for one in server.asked if "method" not in one.message and one.body}
        assert said["q0"]["result"] == {}
        assert said["q1"]["error"]["code"] == -32601
        assert "/ws" in said["q1"]["error"]["message"]


def refusing(status: int, body: bytes, kind: str, **headers: str) -> Any:
    """Return a server that answers everything alike."""

    async def answer(server: Far, request: web.BaseRequest, asked: Asked) -> web.StreamResponse:
        return web.Response(status=status, body=body, content_type=kind, headers=headers)

    return answer


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (refusing(500, b"the secret of the inside", "text/plain"), (502, b'{"detail":"MCP server error: HTTP 500"}')),
        (refusing(401, b"who are you", "text/plain"), (502, b'{"detail":"MCP server error: HTTP 401"}')),
        (refusing(200, b"<title>router</title>", "text/html"), UNREACHABLE),
        (refusing(302, b"", "text/plain", Location="/elsewhere"), UNREACHABLE),
        (refusing(307, b"", "text/plain", Location="/elsewhere"), UNREACHABLE),
        (refusing(200, b"SSH-2.0-OpenSSH", "application/json"), UNREACHABLE),
    ],
)
@pytest.mark.only_loop("uvloop")
async def test_failures_of_a_server_without_json_rpc(answer: Any, expected: tuple[int, bytes]) -> None:
    """The page hears of a status at most, and of no text, address or reason."""
    async with far(answer) as server, gateway() as page:
        status, _, body = await page.post(body_of(server))
        assert (status, body) == expected


async def test_what_cannot_be_reached_is_one_uniform_502() -> None:
    """A closed port, and a server that breaks off, tell a page the same."""

    async def answer(server: Far, request: web.BaseRequest, asked: Asked) -> web.StreamResponse:
        if asked.method == "tools/call":
            assert request.transport is not None
            request.transport.abort()
        return await plain(server, request, asked)

    async with gateway() as page:
        async with far(answer) as server:
            assert (await page.post(body_of(server, "tools/call")))[0::2] == UNREACHABLE
        assert (await page.post(body_of(server)))[0::2] == UNREACHABLE
        assert len(page.routes._upstreams) <= 1


async def test_a_json_rpc_error_is_an_answer_whatever_its_status() -> None:
    """The HTTP status speaks of the gateway, JSON-RPC of the server."""

    async def answer(server: Far, request: web.BaseRequest, asked: Asked) -> web.StreamResponse:
        if asked.method != "tools/call":
            return await plain(server, request, asked)
        return json_answer(error(asked.message["id"], -32602, "wrong"), 400)

    async with far(answer) as server, gateway() as page:
        assert await page.call(server.url, "tools/call", id="z") == error("z", -32602, "wrong")


async def hanging(server: Far, request: web.BaseRequest, asked: Asked) -> web.StreamResponse:
    """Never answer a call."""
    if asked.method == "tools/call":
        await asyncio.sleep(60)
    return await plain(server, request, asked)


@pytest.mark.only_loop("uvloop")
async def test_a_call_that_takes_too_long() -> None:
    """504, or an error in the stream that has begun; the call is cancelled at the server."""
    async with far(hanging) as server, gateway(within=0.5) as page:
        status, _, body = await page.post(body_of(server, "tools/call"))
        assert (status, body) == (504, b'{"detail":"MCP server gave no answer within 0.5 s"}')
        await server.wait_for(lambda methods: "notifications/cancelled" in methods)
        status, _, body = await page.post(body_of(server, "tools/call", id="late"), Accept="text/event-stream")
        assert status == 200
        event = next(json.loads(line[5:]) for line in body.splitlines() if line.startswith(b"data:"))
        assert event["id"] == "late" and "no answer within 0.5 s" in event["error"]["message"]


async def test_a_page_that_leaves_cancels() -> None:
    """The server hears of it at once, and other calls go on."""
    async with far(hanging) as server, gateway() as page:
        asking = asyncio.get_running_loop().create_task(page.post(body_of(server, "tools/call")))
        await server.wait_for(lambda methods: "tools/call" in methods)
        asking.cancel()
        await asyncio.wait((asking,))
        await server.wait_for(lambda methods: "notifications/cancelled" in methods)
        assert (await page.call(server.url, "tools/list"))["result"]["session"] == "session-1"


async def listening(server: Far, request: web.BaseRequest, asked: Asked) -> web.StreamResponse:
    """Be a server of 2026-07-28 with a subscription that never ends."""
    if asked.method != LISTEN:
        return await modern(server, request, asked)
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    note = {
        "jsonrpc": "2.0", "method": "notifications/subscriptions/acknowledged",
        "params": {"_meta": {"io.modelcontextprotocol/subscriptionId": asked.message["id"]}},
    }  # fmt: skip
    await response.write(b"data: " + json.dumps(note).encode() + b"\n\n")
    await asyncio.sleep(60)
    return response


async def test_a_subscription_ends_with_the_gateway() -> None:
    """It outlasts ``--timeout``, and ends in good order when the gateway does."""
    async with far(listening) as server, gateway(within=0.3) as page:
        body = body_of(server, LISTEN, params={"_meta": META}, id="s")
        headers = {"X-Proxy-Token": TOKEN, "Accept": "text/event-stream"}
        async with page.session.post(f"{page.base}/proxy", json=body, headers=headers) as response:
            events = response.content
            while not (line := await events.readline()).startswith(b"data:"):
                assert line
            assert json.loads(line[5:])["params"]["_meta"]["io.modelcontextprotocol/subscriptionId"] == "s"
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.5):
                    while not (await events.readline()).startswith(b"data:"):
                        pass
            await page.listener.drain(10)
            assert json.loads((await events.read()).partition(b"data:")[2])["id"] == "s"


async def test_a_server_that_is_this_gateway() -> None:
    """The gateway never dials the port where it listens."""
    async with gateway() as page:
        assert (await page.post(body_of(f"{page.base}/proxy")))[0::2] == UNREACHABLE
        assert page.listener._context.requests == 1
