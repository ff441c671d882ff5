"""A caller's own httpx client: MCP's rules over HTTP are those of the other dial, so its tests are run over this one.

Beside them, what only httpx brings: an `httpx.Auth`, settings of the caller's that must not get in the way, its errors.
HTTP/2 and applications in the same process are in tests/test_embedding.py.
"""

from __future__ import annotations

import asyncio
import functools
import json
import socket
import ssl
import subprocess
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable

import httpx
import pytest

import relay
from relay.endpoints.core.dialling import DiallingOptions
from relay.endpoints.http.client.httpx_dial import HttpxDial
from relay.limits import Limits
from relay.testing import laws
from tests.e2e.conversation import Direct, note
from tests.e2e.fault_server import Exchange, FaultServer, Script
from tests.e2e.test_connect_sessions import Forgetful, Listening
from tests.endpoints.http.client import test_remote as remote
from tests.endpoints.http.client import test_sse_client as sse
from tests.endpoints.http.client import test_streamable as streamable
from tests.endpoints.http.client import test_streamable_modern as modern

QUICK = Limits(reconnect_min=0.01, reconnect_max=0.05, linger=0.3, close_grace=0.5)


class OwningDial(HttpxDial):
    """Closes the client, as nobody else has it."""

    async def aclose(self) -> None:
        await self._client.aclose()


@pytest.fixture
def through_httpx(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every `Remote` of this test dial through a client with httpx's own defaults."""

    def dial(url: str, options: DiallingOptions, *_: object) -> HttpxDial:
        return OwningDial(url, httpx.AsyncClient(), options)

    monkeypatch.setattr("relay.endpoints.http.client.remote._dial", dial)


over_http = functools.partial(remote.test_laws_of_an_endpoint, transport="streamablehttp")
over_sse = functools.partial(remote.test_laws_of_an_endpoint, transport="sse")

# Laws of the HTTP client, each a test of its own elsewhere; those about kept connections are of aiohttp's dial alone.
LAWS: list[Callable[[], Awaitable[None]]] = [
    functools.partial(streamable.test_answer_at_the_limit_and_beyond, "json", kept=False),
    functools.partial(streamable.test_answer_at_the_limit_and_beyond, "get-sse", kept=False),
    functools.partial(streamable.test_server_that_cannot_resume, 404),
    functools.partial(streamable.test_resumption_is_tried_again, 503),
    functools.partial(streamable.test_resumption_is_tried_again, "cut-later"),
    streamable.test_resumption_ends_after_three_failures,
    streamable.test_batch_without_what_nobody_waits_for,
    streamable.test_oversized_request_of_the_server_is_refused,
    functools.partial(modern.test_headers_mirror_the_frame, kept=False),
    functools.partial(modern.test_headers_of_the_operator_do_not_stand_beside, kept=False),
    functools.partial(modern.test_parameters_are_mirrored_once_the_tool_was_listed, kept=False),
    functools.partial(modern.test_to_cancel_is_to_close_the_stream, "hold", kept=False),
    functools.partial(modern.test_to_cancel_is_to_close_the_stream, "hold stream", kept=False),
    functools.partial(modern.test_a_stream_that_ends_without_an_answer_is_not_resumed, "cut", kept=False),
    functools.partial(over_http, laws.a_slow_receiver_loses_nothing),
    functools.partial(over_http, laws.large_frames_pass_inwards),
    functools.partial(over_http, laws.cancelling_receive_loses_nothing),
    functools.partial(over_http, laws.closing_ends_it),
    functools.partial(over_sse, laws.order_is_kept_inwards),
    functools.partial(over_sse, laws.received_frames_survive_the_close),
    sse.test_answer_at_the_limit_and_beyond,
    sse.test_a_stream_that_the_server_ends_is_opened_anew,
]  # fmt: skip


def _name(law: Callable[[], Awaitable[None]]) -> str:
    if not isinstance(law, functools.partial):
        return law.__name__
    return "-".join([law.func.__name__, *(getattr(one, "__name__", str(one)) for one in law.args)])


@pytest.mark.usefixtures("through_httpx")
@pytest.mark.parametrize("law", LAWS, ids=_name)
async def test_a_law_of_the_http_client(law: Callable[[], Awaitable[None]]) -> None:
    """It holds whoever sends the requests."""
    await law()


@pytest.mark.usefixtures("through_httpx")
async def test_a_forgotten_session_is_begun_anew() -> None:
    """404: a new session from the recorded handshake, the call sent once more, a new GET stream, and a DELETE."""
    script = Forgetful()
    async with FaultServer.running(script) as server:
        async with Direct.to(server.url, limits=QUICK) as client:
            await client.handshake()
            await server.until(lambda: script.listeners)
            script.live.clear()
            assert (await client.call(1, tag="x"))["result"]["echo"]["tag"] == "x"
            assert [one.session for one in server.posted("tools/call")] == ["session-1", "session-2"]
            await server.until(lambda: len(script.listeners) == 2)
            await script.listeners[1].event(note("notifications/after"))
            await client.until(lambda: client.others)
        await server.until(lambda: "DELETE" in server.methods())


@pytest.mark.usefixtures("through_httpx")
async def test_the_get_stream_is_resumed() -> None:
    """One that ends or breaks is asked for again, from the last event that it named; nothing comes twice."""
    asked: list[str | None] = []

    class Ending(Script):
        async def get(self, exchange: Exchange) -> None:
            asked.append(exchange.request.headers.get("last-event-id"))
            at = int(asked[-1] or 0) + 1
            await exchange.open_stream()
            await exchange.event(note("notifications/message", at=at), event_id=str(at), retry=10)
            if at == 3:
                await exchange.hold()
            elif at == 1:
                await exchange.end()
            else:
                exchange.cut()

    async with FaultServer.running(Ending()) as server, Direct.to(server.url, limits=QUICK) as client:
        await client.handshake()
        await client.until(lambda: len(client.others) == 3)
        assert [one["params"]["at"] for one in client.others] == [1, 2, 3]
    assert asked == [None, "1", "2"]


class Guarded(Listening):
    """Wants the token of the day; repeats what it was sent on its error page."""

    token = "token-of-monday"

    async def answer(self, exchange: Exchange) -> None:
        given = exchange.request.headers.get("authorization", "")
        if given != f"Bearer {self.token}":
            await exchange.reply(401, f"no good: {given}".encode())
        else:
            await super().answer(exchange)


class TokenAuth(httpx.Auth):
    """Gets a new token when the old one is refused."""

    def __init__(self, script: Guarded) -> None:
        self.script = script
        self.token = "token-of-sunday"
        self.refreshed = 0

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        request.headers["Authorization"] = f"Bearer {self.token}"
        if (yield request).status_code == 401:
            self.refreshed += 1
            self.token = self.script.token
            request.headers["Authorization"] = f"Bearer {self.token}"
            yield request


async def test_a_token_is_refreshed_after_401() -> None:
    """By the caller's `httpx.Auth`, also in the middle of a session; each call is executed once."""
    script = Guarded()
    async with FaultServer.running(script) as server:
        auth = TokenAuth(script)
        async with httpx.AsyncClient(auth=auth) as client:
            near, far = relay.memory_pair()
            async with asyncio.TaskGroup() as group:
                group.create_task(relay.pipe(far, relay.connect(server.url, client=client, limits=QUICK), limits=QUICK))
                talk = Talk(near)
                await talk.handshake()
                assert auth.refreshed == 1
                await server.until(lambda: script.listeners)
                script.token = "token-of-tuesday"
                assert "result" in await talk.call(1)
                assert auth.refreshed == 2
                await near.aclose()
            assert not client.is_closed
        assert [one.headers["authorization"] for one in server.posted("tools/call")] == [
            "Bearer token-of-monday",
            "Bearer token-of-tuesday",
        ]


class Talk:
    """A client that has one request open at a time."""

    def __init__(self, near: relay.Endpoint) -> None:
        self.near = near

    async def ask(self, message: dict[str, object]) -> dict[str, object]:
        await self.near.send([relay.Frame(json.dumps({"jsonrpc": "2.0", **message}).encode())])
        while True:
            for frame in await self.near.receive():
                if frame.head.id == message["id"]:
                    answer: dict[str, object] = json.loads(frame.raw)
                    return answer

    async def handshake(self) -> None:
        params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "t", "version": "1"}}
        assert "result" in await self.ask({"id": 0, "method": "initialize", "params": params})
        await self.near.send([relay.Frame(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')])

    async def call(self, number: int) -> dict[str, object]:
        return await self.ask({"id": number, "method": "tools/call", "params": {"name": "echo", "arguments": {}}})


async def refusal(url: str, client: httpx.AsyncClient) -> dict[str, object]:
    """Return the error that a first request gets."""
    endpoint = relay.connect(url, client=client, limits=QUICK)
    try:
        answer = await Talk(endpoint).ask({"id": 1, "method": "initialize", "params": {}})
        error = answer["error"]
        assert isinstance(error, dict)
        return error
    finally:
        await endpoint.aclose()


async def test_credentials_that_an_auth_adds_are_masked() -> None:
    """An error page that repeats them does not bring them to the client."""
    async with FaultServer.running(Guarded()) as server:
        async with httpx.AsyncClient(auth=lambda request: _with_token(request, "canary-token")) as client:
            error = await refusal(server.url, client)
    assert "no good: ***" in str(error["message"])
    assert "canary" not in json.dumps(error)


def _with_token(request: httpx.Request, token: str) -> httpx.Request:
    request.headers["Authorization"] = f"Bearer {token}"
    return request


async def test_nobody_listens() -> None:
    """The request was not executed, and the error says so."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        async with httpx.AsyncClient() as client:
            error = await refusal(f"http://127.0.0.1:{bound.getsockname()[1]}/mcp", client)
    assert (error["code"], error["data"]) == (-32006, {"delivered": "no"})


async def test_a_pool_without_a_free_place() -> None:
    """The stream of the session has the only connection: a call that waited for it in vain was not executed."""
    script = Listening()
    async with FaultServer.running(script) as server:
        only_one = httpx.Limits(max_connections=1)
        async with httpx.AsyncClient(limits=only_one, timeout=httpx.Timeout(5, pool=0.05)) as client:
            endpoint = relay.connect(server.url, client=client, limits=QUICK)
            talk = Talk(endpoint)
            await talk.handshake()
            await server.until(lambda: script.listeners)
            error = (await talk.call(1))["error"]
            assert isinstance(error, dict)
            assert (error["code"], error["data"]) == (-32006, {"delivered": "no"})
            assert not server.posted("tools/call")
            await endpoint.aclose()


async def test_a_client_that_fails_in_its_own_way() -> None:
    """Whatever the caller's code raises is that request's error; how far it got is not known."""

    class Failing(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            raise ZeroDivisionError("a bug")

    async with httpx.AsyncClient(transport=Failing()) as client:
        error = await refusal("http://in.process/mcp", client)
    assert (error["code"], error["data"]) == (-32001, {"delivered": "unknown"})
    assert "the httpx client failed: a bug" in str(error["message"])


async def test_a_client_that_was_closed() -> None:
    """Nothing was sent."""
    async with httpx.AsyncClient() as client:
        pass
    error = await refusal("http://127.0.0.1:9/mcp", client)
    assert (error["code"], error["data"]) == (-32006, {"delivered": "no"})
    assert "the httpx client is closed" in str(error["message"])


async def test_redirects_are_not_followed_whatever_the_client_says() -> None:
    """A token must not go to another origin."""

    class Moved(Script):
        async def answer(self, exchange: Exchange) -> None:
            await exchange.reply(307, headers={"Location": "http://evil.invalid/mcp"})

    async with FaultServer.running(Moved()) as server, httpx.AsyncClient(follow_redirects=True) as client:
        error = await refusal(server.url, client)
    assert error["data"] == {"delivered": "no", "status": 307}


async def test_a_silent_stream_outlives_the_clients_read_timeout() -> None:
    """A GET stream may say nothing for hours; what httpx says of reading is not for it."""
    script = Listening()
    async with FaultServer.running(script) as server, httpx.AsyncClient(timeout=httpx.Timeout(5, read=0.05)) as client:
        endpoint = relay.connect(server.url, client=client, limits=QUICK)
        talk = Talk(endpoint)
        await talk.handshake()
        await server.until(lambda: script.listeners)
        await asyncio.sleep(0.2)  # four read timeouts
        await script.listeners[0].event(note("notifications/late"))
        (frame,) = await endpoint.receive()
        assert frame.head.method == "notifications/late"
        assert len(script.listeners) == 1
        await endpoint.aclose()


@pytest.mark.parametrize("target", [["command"], "stdio:", "tcp://127.0.0.1:1"])
def test_a_target_that_is_no_url(target: str | list[str]) -> None:
    """Said at once."""
    with pytest.raises(relay.RelayError, match="that takes an http"):
        relay.connect(target, client=httpx.AsyncClient())


def test_tls_is_the_clients_own() -> None:
    """Two words on whom to trust would be one too many."""
    with pytest.raises(relay.RelayError, match="has its own TLS"):
        relay.connect("https://h/mcp", client=httpx.AsyncClient(), ssl=ssl.create_default_context())


async def test_a_missing_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what brings it."""
    monkeypatch.setitem(sys.modules, "httpx_sse", None)
    monkeypatch.delitem(sys.modules, "relay.endpoints.http.client.httpx_dial", raising=False)
    monkeypatch.delitem(sys.modules, "relay.endpoints.http.client.httpx_events", raising=False)
    endpoint = relay.connect("http://127.0.0.1:1/mcp", client=httpx.AsyncClient())
    with pytest.raises(relay.RelayError, match=r"httpx_sse.*; install 'mcp-frame-relay\[httpx\]'"):
        await endpoint.receive()
    await endpoint.aclose()


async def test_what_is_no_client() -> None:
    """Said when it is used, as of every target."""
    endpoint = relay.connect("http://127.0.0.1:1/mcp", client=httpx.Client())  # type: ignore[arg-type]  # the mistake
    with pytest.raises(relay.RelayError, match=r"expected an httpx\.AsyncClient, not Client"):
        await endpoint.receive()
    await endpoint.aclose()


@pytest.mark.shortcuts
def test_it_loads_no_aiohttp() -> None:
    """Who brings a client of his own does not pay for ours."""
    code = """
import asyncio, sys, httpx, relay
async def main():
    async with httpx.AsyncClient() as client:
        endpoint = relay.connect("http://127.0.0.1:9/mcp", client=client)
        await endpoint.send([relay.Frame(b'{"jsonrpc":"2.0","id":1,"method":"initialize"}')])
        assert len(await endpoint.receive()) == 1
        await endpoint.aclose()
asyncio.run(main())
print("aiohttp" in sys.modules)
"""
    ended = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=20)
    assert (ended.stdout, ended.stderr) == ("False\n", "")
