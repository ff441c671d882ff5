"""What becomes of a client's frames while the relay logs in, on every way to a server.

A login that waits for a person may take minutes. Frames keep their order, a cancelled request is never sent, a failed
login answers each request that waits, and a server that refuses everything sees few requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from relay.auth.outbound.tries import ServerLogin
from relay.endpoints.base import Endpoint
from relay.endpoints.core.dialling import DiallingOptions
from relay.endpoints.http.client.aiohttp_dial import Dial
from relay.endpoints.http.client.remote import Remote
from relay.endpoints.http.listening import ListeningOptions
from relay.endpoints.http.server.listener import HttpListener
from relay.endpoints.websocket.websocket import dial_websocket
from relay.frames.frame import Frame
from relay.limits import Limits
from tests.auth.counted import CountedCredentials
from tests.e2e.conversation import INITIALIZE, INITIALIZED
from tests.endpoints.http.house import until
from tests.endpoints.http.login_house import House, Json, house

LIMITS = Limits(close_grace=0.5)
WAYS = {"auto": "/mcp", "streamablehttp": "/mcp", "sse": "/sse", "websocket": "/ws", "pass": "/mcp"}
MODERN = {"_meta": {"io.modelcontextprotocol/protocolVersion": "2026-07-28"}}


class Numbered:
    """Lets in whoever has a token with this number or a higher one."""

    def __init__(self, least: float = 1, status: int = 401) -> None:
        self.least = least
        self.status = status

    def __call__(self, request: web.Request, body: bytes) -> web.Response | None:
        number = int(request.headers.get("Authorization", "-0").rpartition("-")[2])
        if number >= self.least:
            return None
        challenge = 'Bearer error="insufficient_scope", scope="more"'
        return web.Response(
            status=self.status, headers={"WWW-Authenticate": challenge}, text="canary-token-1 is no good"
        )


class Talk:
    """A client, with every answer it got."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.answers: dict[object, Json] = {}
        self.order: list[object] = []

    async def tell(self, message: Json) -> None:
        await self.endpoint.send((Frame(json.dumps(message).encode()),))

    async def send(self, number: object, method: str = "echo", **params: object) -> None:
        await self.tell({"jsonrpc": "2.0", "id": number, "method": method, "params": params})

    async def answer(self, number: object) -> Json:
        """Return the only answer to a request."""
        while number not in self.answers:
            for frame in await self.endpoint.receive():
                read = json.loads(frame.raw)
                assert read["id"] not in self.answers, "one answer each"
                self.answers[read["id"]] = read
        return self.answers[number]

    async def begin(self) -> None:
        await self.tell(INITIALIZE)
        assert "result" in await self.answer(INITIALIZE["id"])
        await self.tell(INITIALIZED)


@contextlib.asynccontextmanager
async def talking(
    there: House, way: str, credentials: CountedCredentials, limits: Limits = LIMITS
) -> AsyncIterator[Talk]:
    """Connect to a server in one of the ways."""
    async with contextlib.AsyncExitStack() as stack:
        url = f"{there.base}{WAYS[way]}"
        login = ServerLogin(credentials, url, limits=limits)
        endpoint: Endpoint
        if way == "websocket":
            options = DiallingOptions(login=login, limits=limits)
            endpoint = await dial_websocket(url.replace("http", "ws", 1), options)
        elif way == "pass":
            dial = Dial(url, DiallingOptions(limits=limits, login=login))
            stack.push_async_callback(dial.aclose)
            listener = HttpListener(options=ListeningOptions(limits=limits), server=dial)
            await listener.start()
            stack.push_async_callback(listener.aclose)
            endpoint = Remote(listener.base_url + "/mcp", DiallingOptions(transport="streamablehttp", limits=limits))
        else:
            transport = "auto" if way == "auto" else "sse" if way == "sse" else "streamablehttp"
            endpoint = Remote(url, DiallingOptions(transport=transport, limits=limits, login=login))  # type: ignore[arg-type]
        stack.push_async_callback(endpoint.aclose)
        yield Talk(endpoint)


@pytest.mark.parametrize("way", WAYS)
async def test_the_call_that_waited_is_answered_and_the_token_can_change(way: str) -> None:
    """The first request finds out that a login is needed; a later refusal renews it; each call is executed once."""
    gate, credentials = Numbered(), CountedCredentials()
    async with house(gate) as there, talking(there, way, credentials) as talk:
        await talk.begin()
        for number in range(1, 4):
            await talk.send(number, a=number)
            assert (await talk.answer(number))["result"] == {"a": number}
        gate.least = 2
        for number in range(4, 7):
            await talk.send(number, a=number)
        assert [(await talk.answer(number))["result"] for number in range(4, 7)] == [{"a": n} for n in (4, 5, 6)]
        assert there.executed[:4] == [INITIALIZE["id"], 1, 2, 3] and sorted(there.executed[4:], key=str) == [4, 5, 6]
        assert credentials.number == (1 if way == "websocket" else 2)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("status", [401, 403])
async def test_a_server_that_refuses_everything(way: str, status: int, caplog: pytest.LogCaptureFixture) -> None:
    """The request gets an error with its id after three tries, and the log one line; no token is shown."""
    credentials = CountedCredentials()
    async with house(Numbered(float("inf"), status)) as there:
        try:
            async with talking(there, way, credentials) as talk:
                await talk.tell(INITIALIZE)
                error = (await talk.answer(INITIALIZE["id"]))["error"]
                said, data = error["message"], error["data"]
                assert data["delivered"] == "no"
        except Exception as exc:  # a WebSocket is refused before there is an endpoint
            assert way == "websocket"
            said = str(exc)
        assert str(status) in said and "canary" not in said
        posts = [one for one in there.came if way != "sse" or one.method == "GET"]
        assert len(posts) == 3
        assert len(credentials.renewed) == 2
    warnings = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert [one for one in warnings if "does not accept this login" in one] == [
        f"{there.base}{WAYS[way]}: HTTP {status}: the server does not accept this login"
    ]


@pytest.mark.parametrize("way", ["auto", "streamablehttp", "sse"])
async def test_frames_keep_their_order_and_a_cancelled_request_is_never_sent(way: str) -> None:
    """While the login is under way the client can send, and take back what it has sent."""
    credentials = CountedCredentials()
    credentials.may_go_on.clear()
    async with house(Numbered()) as there, talking(there, way, credentials) as talk:
        await talk.tell(INITIALIZE)
        await until(lambda: credentials.renewed)
        await talk.tell(INITIALIZED)
        for number in (1, 2, 3):
            await talk.send(number)
        cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 2}}
        await talk.tell(cancel)
        assert (await talk.answer(2))["error"]["data"] == {"delivered": "no"}
        credentials.may_go_on.set()
        assert "result" in await talk.answer(1) and "result" in await talk.answer(3)
        assert there.executed[0] == INITIALIZE["id"] and sorted(there.executed[1:], key=str) == [1, 3]


@pytest.mark.parametrize("way", ["auto", "streamablehttp", "sse"])
async def test_the_request_that_asked_for_the_login_can_be_cancelled(way: str) -> None:
    """It is never sent again, and the next request may try."""
    credentials = CountedCredentials()
    credentials.may_go_on.clear()
    async with house(Numbered()) as there, talking(there, way, credentials) as talk:
        await talk.tell(INITIALIZE)
        await until(lambda: credentials.renewed)
        cancel = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": INITIALIZE["id"]}}
        await talk.tell(cancel)
        assert (await talk.answer(INITIALIZE["id"]))["error"]["data"] == {"delivered": "no"}
        credentials.may_go_on.set()
        talk.answers.clear()
        await talk.begin()
        assert there.executed == [INITIALIZE["id"]]


@pytest.mark.parametrize("way", ["streamablehttp", "pass"])
async def test_a_modern_request_waits_alone(way: str) -> None:
    """Requests of 2026-07-28 need no handshake: all of them wait for one login, each with its own answer."""
    credentials = CountedCredentials()
    credentials.may_go_on.clear()
    async with house(Numbered()) as there, talking(there, way, credentials) as talk:
        for number in range(5):
            await talk.send(number, _meta=MODERN["_meta"])
        await until(lambda: credentials.renewed)
        credentials.may_go_on.set()
        for number in range(5):
            assert "result" in await talk.answer(number)
        assert sorted(there.executed, key=str) == list(range(5))
        assert credentials.number == 1


@pytest.mark.parametrize("way", ["auto", "streamablehttp", "sse", "pass"])
async def test_a_failed_login_answers_all_who_wait_and_the_next_may_try_again(way: str) -> None:
    """Each gets the words of the login, which name what to open; nothing was sent."""
    credentials = CountedCredentials()
    credentials.failure = "nobody logged in within 300 s; open https://as/authorize?state=x"
    credentials.may_go_on.clear()
    async with house(Numbered()) as there, talking(there, way, credentials) as talk:
        await talk.tell(INITIALIZE)
        await until(lambda: credentials.renewed)
        if way != "pass":
            await talk.tell(INITIALIZED)
            await talk.send(1)
        credentials.may_go_on.set()
        for number in (INITIALIZE["id"], *([1] if way != "pass" else [])):
            error = (await talk.answer(number))["error"]
            assert (error["message"], error["data"]["delivered"]) == (credentials.failure, "no")
            assert way == "pass" or (error["code"], error["data"]["status"]) == (-32004, 401)
        assert len(credentials.renewed) == 1 and there.executed == []
        credentials.failure = None
        talk.answers.clear()
        await talk.begin()
        assert there.executed == [INITIALIZE["id"]]


async def test_only_so_many_frames_wait() -> None:
    """A full queue holds its client back, as a full server does; nothing is lost."""
    credentials = CountedCredentials()
    credentials.may_go_on.clear()
    limits = Limits(close_grace=0.5, max_login_frames=3)
    async with house(Numbered()) as there, talking(there, "auto", credentials, limits) as talk:
        await talk.tell(INITIALIZE)
        await until(lambda: credentials.renewed)
        await talk.tell(INITIALIZED)
        await talk.send(1)
        held = asyncio.get_running_loop().create_task(talk.send(2))
        for _ in range(20):
            await asyncio.sleep(0)
        assert not held.done()
        credentials.may_go_on.set()
        await held
        assert "result" in await talk.answer(1) and "result" in await talk.answer(2)
        assert there.executed[0] == INITIALIZE["id"] and sorted(there.executed[1:], key=str) == [1, 2]


async def test_a_relay_that_ends_during_a_login_answers_all_who_wait() -> None:
    """Each request gets its error."""
    credentials = CountedCredentials()
    credentials.may_go_on.clear()
    async with house(Numbered()) as there, talking(there, "auto", credentials) as talk:
        await talk.tell(INITIALIZE)
        await until(lambda: credentials.renewed)
        await talk.send(1)
        await talk.endpoint.aclose()
        assert [(await talk.answer(number))["error"]["data"]["delivered"] for number in (INITIALIZE["id"], 1)]
        assert there.executed == []


async def test_a_token_goes_only_under_what_it_covers() -> None:
    """A redirect out of the resource is not followed, even within the origin."""
    credentials = CountedCredentials(number=1)
    credentials.covered = "/mcp"
    async with house(Numbered()) as there, talking(there, "streamablehttp", credentials) as talk:
        there.redirect = "/other"
        await talk.tell(INITIALIZE)
        assert (await talk.answer(INITIALIZE["id"]))["error"]["data"]["status"] == 307
        assert {one.path for one in there.came} == {"/mcp"}
