"""Logging in: HTTP Basic, Digest, and tokens for client credentials, on every way to a server.

Whatever the login costs, each request is executed once and answered once, and no secret reaches whom it is not for.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from relay.auth.outbound.logins import ClientCredentials, DigestLogin, Login, basic_authorization
from relay.auth.outbound.tries import ServerLogin
from relay.endpoints.base import Endpoint
from relay.endpoints.core.dialling import DiallingOptions, Transport
from relay.endpoints.http.client.aiohttp_dial import Dial
from relay.endpoints.http.client.login import HttpDigest, open_login
from relay.endpoints.http.client.remote import Remote
from relay.endpoints.http.listening import ListeningOptions
from relay.endpoints.http.server.listener import HttpListener
from relay.endpoints.websocket.websocket import dial_websocket
from relay.errors import EndpointUnavailable
from relay.frames.frame import Frame
from relay.limits import Limits
from tests.e2e.authority import Authority
from tests.e2e.conversation import INITIALIZE, INITIALIZED
from tests.endpoints.http.house import until
from tests.endpoints.http.login_house import (
    CLIENT,
    PASSWORD,
    SECRET,
    USER,
    Bearer,
    Digest,
    Gate,
    House,
    Json,
    basic,
    house,
    open_gate,
)

AnyLogin = ServerLogin | HttpDigest
LIMITS = Limits(close_grace=0.5)
PATHS = {"streamablehttp": "/mcp", "sse": "/sse", "websocket": "/ws", "pass": "/mcp"}


class Talk:
    """A client of an endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._answers: dict[object, Json] = {}

    async def begin(self) -> None:
        assert "result" in await self.ask(0, INITIALIZE)
        await self._endpoint.send((Frame(json.dumps(INITIALIZED).encode()),))

    async def ask(self, number: object, message: Json | None = None, **params: object) -> Json:
        """Make one call; return its answer."""
        (answer,) = await self.ask_all(number, message=message, **params)
        return answer

    async def ask_all(self, *numbers: object, message: Json | None = None, **params: object) -> list[Json]:
        """Make calls at once; return their answers."""
        for number in numbers:
            made = {**(message or {"jsonrpc": "2.0", "method": "echo", "params": params}), "id": number}
            await self._endpoint.send((Frame(json.dumps(made).encode()),))
        while not all(number in self._answers for number in numbers):
            for frame in await self._endpoint.receive():
                read = json.loads(frame.raw)
                if "id" in read:
                    assert read["id"] not in self._answers, "one answer each"
                    self._answers[read["id"]] = read
        return [self._answers.pop(number) for number in numbers]


def login_for(there: House, *, where: str = "/mcp", password: str = PASSWORD) -> AnyLogin | None:
    """Return the login that a server wants, if it is no header."""
    made: Login
    if isinstance(there.gate, Digest):
        made = DigestLogin(USER, password)
    elif isinstance(there.gate, Bearer):
        made = ClientCredentials(CLIENT, SECRET, f"{there.base}/token")
    else:
        return None
    scheme = "ws" if where == "/ws" else "http"
    return open_login(made, f"{scheme}://127.0.0.1:{there.port}{where}")


@contextlib.asynccontextmanager
async def talking(there: House, way: str = "streamablehttp", login: AnyLogin | None = None) -> AsyncIterator[Talk]:
    """Connect to a server in one of the ways, as the login that it wants."""
    where = PATHS[way]
    login = login or login_for(there, where=where)
    headers = {"Authorization": basic_authorization(USER, PASSWORD)} if there.gate is basic else {}
    async with contextlib.AsyncExitStack() as stack:
        endpoint: Endpoint
        if way == "websocket":
            endpoint = await dial_websocket(
                f"ws://127.0.0.1:{there.port}/ws", DiallingOptions(headers=headers, login=login)
            )
        elif way == "pass":
            dial = Dial(there.base + "/mcp", DiallingOptions(headers=headers, limits=LIMITS, login=login))
            stack.push_async_callback(dial.aclose)
            listener = HttpListener(options=ListeningOptions(limits=LIMITS), server=dial)
            await listener.start()
            stack.push_async_callback(listener.aclose)
            # What the client says who it is, is not for the server.
            endpoint = Remote(
                listener.base_url + "/mcp", DiallingOptions(headers={"Authorization": "Bearer mine"}, limits=LIMITS)
            )
        else:
            transport: Transport = "sse" if way == "sse" else "streamablehttp"
            endpoint = Remote(
                there.base + where, DiallingOptions(headers=headers, transport=transport, limits=LIMITS, login=login)
            )
        stack.push_async_callback(endpoint.aclose)
        yield Talk(endpoint)


def gates() -> list[tuple[str, Gate]]:
    """Return a new one of each kind."""
    return [
        ("basic", basic),
        ("digest-md5", Digest("MD5")),
        ("digest-sha256", Digest("SHA-256")),
        ("digest-stale", Digest("SHA-256", uses=2)),
        ("digest-old", Digest("MD5", qop=None)),
        ("bearer", Bearer()),
    ]


@pytest.mark.parametrize("way", PATHS)
@pytest.mark.parametrize("kind", [name for name, _ in gates()])
async def test_every_login_on_every_way(way: str, kind: str) -> None:
    """A handshake, calls one by one and at once: each is executed once, and nobody has come in without the login."""
    gate = dict(gates())[kind]
    async with house(gate) as there, talking(there, way) as talk:
        await talk.begin()
        assert (await talk.ask("first", a=1))["result"] == {"a": 1}
        answers = await talk.ask_all(*range(1, 9), b="é")
        assert [answer["result"] for answer in answers] == [{"b": "é"}] * 8
        assert sorted(map(str, there.executed)) == sorted(["0", "first", *map(str, range(1, 9))])
        assert not any(one.headers.get("Authorization") == "Bearer mine" for one in there.came)
        if isinstance(gate, Bearer):
            assert gate.asked == ["header"]
            assert all(one.headers["Authorization"] == "Bearer canary-token-1" for one in there.came)


@pytest.mark.parametrize(("uses", "only_nonce"), [(1, None), (1000, "n")], ids=["each its own", "one for all"])
async def test_many_at_once_do_not_use_up_each_other_s_nonces(uses: int, only_nonce: str | None) -> None:
    """A nonce is good for one request, or there is but one and its uses are counted."""
    gate = Digest(uses=uses, only_nonce=only_nonce)
    async with house(gate) as there, talking(there) as talk:
        await talk.begin()
        answers = await talk.ask_all(*range(1, 41), b="é")
        assert [answer.get("result") for answer in answers] == [{"b": "é"}] * 40
        assert sorted(there.executed, key=str) == sorted(range(41), key=str)


@pytest.mark.parametrize("way", ["streamablehttp", "pass"])
@pytest.mark.parametrize("kind", ["digest-sha256", "bearer"])
async def test_a_large_body_is_sent_again_whole(way: str, kind: str) -> None:
    """After a 401 the body is what it was, however it was written."""
    gate = dict(gates())[kind]
    async with house(gate) as there, talking(there, way) as talk:
        await talk.begin()
        await until(lambda: any(one.method == "GET" for one in there.let_in))  # else it would meet the change
        if isinstance(gate, Bearer):
            gate.rotate()
        else:
            assert isinstance(gate, Digest)
            gate._counts.clear()
        text = "é" * 700_000
        assert (await talk.ask(1, text=text))["result"] == {"text": text}
        assert there.executed == [0, 1]
        assert sum((one.content_length or 0) > len(text) for one in there.came) == 2


# -- tokens -----------------------------------------------------------------------------------------------------------


async def test_a_token_is_fetched_once_for_all_who_wait() -> None:
    """Twenty requests of four connections before there is one, and twenty after it has changed: two fetches."""
    gate = Bearer()
    gate.may_answer.clear()
    async with house(gate) as there, contextlib.AsyncExitStack() as stack:
        login = login_for(there)
        talks = [await stack.enter_async_context(talking(there, login=login)) for _ in range(4)]
        async with asyncio.TaskGroup() as group:
            begun = [group.create_task(talk.begin()) for talk in talks]
            while not gate.asked:
                await asyncio.sleep(0)
            gate.may_answer.set()
        assert all(task.done() for task in begun)
        assert gate.asked == ["header"]
        gate.rotate()
        there.executed.clear()
        async with asyncio.TaskGroup() as group:
            answers = [group.create_task(talk.ask_all(1, 2, 3, 4, 5)) for talk in talks]
        assert all("result" in answer for task in answers for answer in task.result())
        assert gate.asked == ["header"] * 2
        assert sorted(map(str, there.executed)) == sorted("12345" * 4)


@pytest.mark.parametrize(("expires_in", "fetches"), [(0, 4), ("0", 4), (3600, 1), (None, 1), ("soon", 1)])
async def test_a_token_is_used_until_its_end(expires_in: object, fetches: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that has ended already serves the request it was fetched for; without an end it is used until refused."""
    gate = Bearer(expires_in=expires_in)
    now = [0.0]
    monkeypatch.setattr("relay.endpoints.http.client.login.monotonic", lambda: now[0])
    async with house(gate) as there, talking(there) as talk:
        for number in range(4):
            now[0] += 60
            assert "result" in await talk.ask(number)
        assert gate.given == fetches
        assert len(there.came) == 4


async def test_a_server_that_wants_the_secret_in_the_form() -> None:
    """It is told so after the first refusal, and at once the next time."""
    gate = Bearer(takes=("form",))
    async with house(gate) as there, talking(there) as talk:
        assert "result" in await talk.ask(1)
        gate.rotate()
        assert "result" in await talk.ask(2)
        assert gate.asked == ["header", "form", "form"]


async def test_a_token_that_cannot_be_had_fails_those_who_wait() -> None:
    """They hear what the endpoint said, without our secret; the server was sent nothing; the next one tries again."""
    gate = Bearer()
    said = {"error": "invalid_scope", "error_description": f"not for {SECRET}\nat all"}
    gate.failure = web.json_response(said, status=400)
    gate.may_answer.clear()
    async with house(gate) as there, talking(there) as talk:
        asking = asyncio.get_running_loop().create_task(talk.ask_all(1, 2, 3))
        while not gate.asked:
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        gate.may_answer.set()
        answers = await asking
        assert gate.asked == ["header"]
        assert [(one["error"]["code"], one["error"]["data"]) for one in answers] == [(-32006, {"delivered": "no"})] * 3
        assert answers[0]["error"]["message"] == (
            f"{there.base}: no token from {there.base}/token: HTTP 400: invalid_scope: not for *** at all"
        )
        assert there.came == []
        assert "result" in await talk.ask(4)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (web.Response(text="<html>"), "the answer is not JSON"),
        (web.Response(status=503, text="busy"), "HTTP 503"),
        (web.json_response({"token_type": "bearer"}), "no access_token that a header can carry"),
        (web.json_response({"access_token": "a\nb"}), "no access_token that a header can carry"),
        (web.json_response({"access_token": "x", "token_type": "mac"}), "tokens of the type 'mac', expected Bearer"),
        (web.Response(status=307, headers={"Location": "/mcp"}), "HTTP 307"),
        (web.Response(body=b'{"access_token": "' + b"x" * 300_000), "the answer is longer than 262144 bytes"),
    ],
)
@pytest.mark.only_loop("asyncio")
async def test_answers_of_a_token_endpoint_that_are_none(answer: web.Response, said: str) -> None:
    """One line each; no redirect is followed, and nothing without an end is read."""
    gate = Bearer()
    gate.failure = answer
    async with house(gate) as there, talking(there) as talk:
        error = (await talk.ask(1))["error"]
        assert said in error["message"] and "\n" not in error["message"]
        assert there.came == []


async def test_a_token_endpoint_that_is_not_there() -> None:
    """It says so, and that nothing was delivered."""
    async with house(Bearer()) as there:
        login = open_login(ClientCredentials(CLIENT, SECRET, "http://127.0.0.1:9/token"), there.base)
        async with talking(there, login=login) as talk:
            error = (await talk.ask(1))["error"]
    assert error["message"] == f"{there.base}: no token from http://127.0.0.1:9/token: Connection refused"
    assert error["data"] == {"delivered": "no"}


async def test_a_server_that_accepts_no_token_is_not_asked_for_ever() -> None:
    """The same token is not sent again; after that, for a while, a refusal is a refusal. No error shows a token."""
    gate = Bearer()
    gate.is_never_content = True
    async with house(gate) as there, talking(there) as talk:
        for number, (requests, tokens) in enumerate([(1, 2), (2, 2), (3, 2)]):
            error = (await talk.ask(number))["error"]
            assert error["data"]["status"] == 401
            fault = "HTTP 401: no: Bearer ***; the server does not accept this login"
            assert error["message"] == f"{there.base}/mcp: {fault}"
            assert (len(there.came), gate.given) == (requests, tokens)


async def test_whoever_leaves_while_a_token_is_fetched_takes_it_from_nobody() -> None:
    """The next one who waits fetches it."""
    gate = Bearer()
    gate.may_answer.clear()
    async with house(gate) as there:
        login = login_for(there)
        async with talking(there, login=login) as talk, talking(there, login=login) as other:
            leaving = asyncio.get_running_loop().create_task(talk.ask(1))
            while not gate.asked:
                await asyncio.sleep(0)
            staying = asyncio.get_running_loop().create_task(other.ask(2))
            leaving.cancel()
            await talk._endpoint.aclose()
            gate.may_answer.set()
            assert "result" in await staying
            assert there.executed == [2]


# -- Digest -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "more",
    [
        ['Basic realm="r"'],
        ['Digest realm="r", nonce="x", algorithm=SHA-512-256, qop="auth"'],
        ["Negotiate", 'Bearer realm="Digest "'],
        ['Basic realm="r", Digest realm="r", nonce="x", algorithm="unknown"'],
    ],
)
async def test_the_challenge_may_stand_behind_others(more: list[str]) -> None:
    """The first that can be answered is."""
    async with house(Digest("SHA-256", more=more)) as there, talking(there) as talk:
        assert (await talk.ask(1, a=1))["result"] == {"a": 1}


async def test_a_wrong_password_is_tried_once() -> None:
    """Two requests, then the server's refusal, which does not show it."""
    gate = Digest()
    async with house(gate) as there:
        login = login_for(there, password="canary-wrong")
        async with talking(there, login=login) as talk:
            error = (await talk.ask(1))["error"]
        assert error["data"] == {"delivered": "no", "status": 401}
        assert "the server does not accept this login" in error["message"] and "canary" not in error["message"]
        assert len(there.came) == 2 and there.executed == []


async def test_a_challenge_that_cannot_be_answered() -> None:
    """Nothing was executed, and the error says why."""

    def refuse(request: web.Request, body: bytes) -> web.Response:
        return web.Response(status=401, headers={"WWW-Authenticate": 'Digest realm="r", nonce=""'}, body=b"x" * 9999)

    async with house(refuse) as there:
        login = open_login(DigestLogin(USER, PASSWORD), there.base)
        async with talking(there, login=login) as talk:
            error = (await talk.ask(1))["error"]
        assert (error["code"], error["data"]) == (-32006, {"delivered": "no"})
        assert "the relay cannot answer the server's challenge" in error["message"]


# -- TLS --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Make one for all."""
    return Authority.made(tmp_path_factory.mktemp("certificates"))


@pytest.mark.parametrize("kind", ["basic", "digest-sha256", "bearer"])
async def test_logging_in_with_tls(authority: Authority, kind: str) -> None:
    """To the server, and to the token endpoint, whose authority is the operator's own."""
    gate = dict(gates())[kind]
    async with house(gate, authority.serving()) as there:
        made = {
            "basic": None,
            "digest-sha256": DigestLogin(USER, PASSWORD),
            "bearer": ClientCredentials(CLIENT, SECRET, f"{there.base}/token"),
        }[kind]
        context = authority.dialling()
        login = open_login(made, there.base, context) if made is not None else None
        headers = {"Authorization": basic_authorization(USER, PASSWORD)} if made is None else {}
        remote = Remote(f"{there.base}/mcp", DiallingOptions(headers=headers, limits=LIMITS, tls=context, login=login))
        try:
            talk = Talk(remote)
            await talk.begin()
            assert (await talk.ask(1, a=1))["result"] == {"a": 1}
        finally:
            await remote.aclose()


@pytest.mark.only_loop("uvloop")  # asyncio's tells its handler of a handshake that a client breaks off
async def test_no_secret_goes_where_nobody_is_verified(authority: Authority) -> None:
    """Who trusts any server does not give the secret to any token endpoint."""
    context = authority.dialling()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    async with house(Bearer(), authority.serving()) as there:
        login = open_login(ClientCredentials(CLIENT, SECRET, f"{there.base}/token"), there.base, context)
        remote = Remote(f"{there.base}/mcp", DiallingOptions(limits=LIMITS, tls=context, login=login))
        try:
            error = (await Talk(remote).ask(1))["error"]
        finally:
            await remote.aclose()
        assert "no token from" in error["message"] and "its certificate is not trusted" in error["message"]
        assert isinstance(there.gate, Bearer) and there.gate.asked == [] and there.came == []


# -- to nobody else ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["streamablehttp", "websocket"])
async def test_no_redirect_takes_a_login_elsewhere(way: str) -> None:
    """Neither the login nor any header that is for one server; the other one hears nothing."""
    async with house(Bearer()) as there, house(open_gate) as elsewhere:
        there.redirect = f"{elsewhere.base}{PATHS[way]}"
        try:
            async with talking(there, way) as talk:
                assert (await talk.ask(1))["error"]["data"]["status"] == 307
        except EndpointUnavailable as exc:
            assert "HTTP 307: redirects are not followed" in str(exc)
        assert elsewhere.came == []


async def test_a_login_is_for_one_origin() -> None:
    """Whoever uses it for another sends nothing of it."""
    async with house(Bearer()) as there, house(open_gate) as elsewhere:
        async with talking(elsewhere, login=login_for(there)) as talk:
            assert "result" in await talk.ask(1)
        assert [one.headers.get("Authorization") for one in elsewhere.came] == [None]
        assert isinstance(there.gate, Bearer) and there.gate.asked == []
