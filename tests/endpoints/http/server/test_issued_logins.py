"""Listeners whose clients have tokens of an authorization server: their verification, their end, and the metadata."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from relay.auth.inbound.introspection import IntrospectionClient, IntrospectionLogin
from relay.auth.inbound.jwt import JwtLogin
from relay.auth.inbound.login import InboundLogin
from relay.auth.inbound.metadata import ResourceMetadata
from relay.auth.inbound.token_sources import GivenTokens
from relay.endpoints.http.client.oauth.web import AuthorizationWeb
from relay.endpoints.http.paths import HttpPaths
from relay.endpoints.http.server.fast_connection import FastConnection
from tests.auth.inbound.issuer import AUDIENCE, EXPECTED, ISSUER, Server, claims, key_of, public, server, signed
from tests.e2e.oracle import initialize, notification, request
from tests.endpoints.http.house import answer, refused
from tests.endpoints.http.modern_house import acknowledged, completion, headers_for, listen
from tests.endpoints.http.server.test_logins import ASKED, TOKENS, UPGRADE, Guarded, guarded

METADATA = ResourceMetadata(ISSUER, ("mcp:use",), "https://mcp.example")


@contextlib.asynccontextmanager
async def judged_by(kind: str, **options: Any) -> AsyncIterator[tuple[Guarded, Server]]:
    """Listen for clients with tokens of an authorization server; a static token is good, too."""
    login = InboundLogin(GivenTokens({"bob": TOKENS["bob"]}), METADATA)
    async with server() as issuer:
        issuer.documents["/keys"] = public(key_of("EC"))
        issuer.documents["/introspect"] = lambda form: {"active": form["token"] == ["opaque"], **claims()}
        web = AuthorizationWeb()
        if kind == "jwt":
            login.issued = JwtLogin(web, EXPECTED, f"{issuer.url}/keys", login.changed)
        else:
            client = IntrospectionClient(f"{issuer.url}/introspect", "relay", "canary")
            login.issued = IntrospectionLogin(web, EXPECTED, client)
        async with guarded(login, **options) as there:
            yield there, issuer


def good(kind: str) -> str:
    return signed(claims()) if kind == "jwt" else "opaque"


KINDS = pytest.mark.parametrize("kind", ["jwt", "introspection"])


@KINDS
@pytest.mark.shortcuts
async def test_i_08_a_token_is_verified_once(kind: str) -> None:
    """The ordinary way waits for the authorization server; then the quick way knows who the client is."""
    async with judged_by(kind) as (there, issuer):
        alice, session = await there.begin_as(good(kind))
        assert session.owner == "sub:alice"
        taken = []
        really = FastConnection._offer

        def offer(connection: FastConnection, message: Any, body: bytes) -> bool:
            taken.append(really(connection, message, body))
            return taken[-1]

        FastConnection._offer = offer  # type: ignore[method-assign,assignment]
        try:
            for _ in range(4):
                response = await alice.post(notification("x"))
                assert response.status == 202
                await alice.finished(response)
        finally:
            FastConnection._offer = really  # type: ignore[method-assign]
        assert taken == [True] * 4
        assert issuer.asked in (["/keys"], ["/introspect"])
        bob, _ = await there.begin_as("bob")
        assert len(issuer.asked) == 1
        await refused(await bob.listen(mcp_session_id=alice.session), 404)


@KINDS
async def test_i_08_every_way_verifies(kind: str) -> None:
    """Whatever is asked, a good token is not refused for who it is, and a bad one is."""
    async with judged_by(kind) as (there, _):
        for what, (method, path, headers, body) in ASKED.items():
            if what in ("post", "modern post", "upgrade", "sse"):
                continue  # they begin something; the other tests do
            bad = signed(claims(aud="other")) if kind == "jwt" else "other"
            for token, is_good in ((good(kind), True), (bad, False)):
                there.listener._context.gate.login.failures._failed.clear()  # type: ignore[union-attr]
                response = await there.member(token).request(method, path, headers, body)
                assert (response.status != 401) is is_good, (what, response.status)


@pytest.mark.parametrize("is_whole", [True, False])
async def test_an_admission_ends_with_its_token(is_whole: bool) -> None:
    """On a connection that was admitted, by the next request, whichever way it is carried."""
    async with judged_by("jwt") as (there, _):
        login = there.listener._context.gate.login
        assert login is not None and isinstance(login.issued, JwtLogin)
        now = time.time()
        login.issued._clock = lambda: now
        alice, session = await there.begin_as(signed(claims(exp=now + 1.5, iat=None)))

        async def read() -> None:
            while await session.receive():
                pass

        reading = asyncio.get_running_loop().create_task(read())
        padding = "x" * (1 if is_whole else 200_000)
        statuses = set()
        async with asyncio.timeout(20):
            while 401 not in statuses:
                response = await alice.post(notification("x", padding=padding))
                statuses.add(response.status)
                now = time.time()
                await alice.finished(response)
                await asyncio.sleep(0.1)
        reading.cancel()
        assert statuses == {202, 401}
        assert response.headers["www-authenticate"].startswith(
            'Bearer error="invalid_token", error_description="the token has expired"'
        )


async def close_code(reader: asyncio.StreamReader) -> int:
    """Read a WebSocket to its end; return the code of its close frame."""
    while True:
        kind, size = await reader.readexactly(2)
        if size == 126:
            size = int.from_bytes(await reader.readexactly(2), "big")
        content = await reader.readexactly(size)
        if kind == 0x88:
            return int.from_bytes(content[:2], "big")


@pytest.mark.parametrize("way", ["time", "reload"])
async def test_what_has_no_end_of_its_own_ends_with_the_login(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The GET stream, HTTP+SSE, a WebSocket and a subscription; a call that was admitted gets its answer."""
    tokens = {"carol": "carol-" + "c" * 40}
    async with judged_by("jwt") as (there, _):
        login = there.listener._context.gate.login
        assert login is not None
        login._sources = GivenTokens(tokens)
        login.reload()
        token = tokens["carol"] if way == "reload" else signed(claims())
        assert isinstance(login.issued, JwtLogin)
        now = time.time()
        login.issued._clock = lambda: now
        monkeypatch.setattr("relay.auth.inbound.jwt._ADMITTED", 0.3)  # asked again so often
        carol, session = await there.begin_as(token)
        stream = await carol.listen()
        sse = await carol.request("GET", "/sse", {"accept": "text/event-stream"})
        assert (await sse.any_event()) is not None
        posting = asyncio.get_running_loop().create_task(carol.post(request(1, "tools/call")))
        assert [frame.head.method for frame in await session.receive()] == ["tools/call"]
        subscription = asyncio.get_running_loop().create_task(
            carol.request("POST", "/mcp", headers_for(listen(5)), listen(5))
        )
        modern = await anext(there._sessions)
        (frame,) = await modern.receive()
        await modern.send([acknowledged(frame.head.id)])
        subscribed = await subscription
        assert (await subscribed.next_event()).data == acknowledged(5).raw
        websocket = await carol.request("GET", "/mcp", UPGRADE)
        payload = initialize()
        head = bytes([0x81, 0xFE]) + len(payload).to_bytes(2, "big")
        websocket.wire.writer.write(head + bytes(4) + payload)
        await anext(there._sessions)
        now += 3600
        if way == "reload":
            tokens.clear()
            login.reload()
        async with asyncio.timeout(20):
            assert [event async for event in stream.events() if event.data] == []
            assert [event async for event in sse.events()] == []
            events = [json.loads(event.data) async for event in subscribed.events() if event.data]
            assert events == [completion(5)]
            assert await close_code(websocket.wire.reader) == 1008
        await session.send([answer(1)])
        response = await posting
        assert (response.status, await response.body()) == (200, answer(1).raw)
        await refused(await carol.listen(), 401)


async def test_i_08_what_a_client_learns_from_a_refusal() -> None:
    """Without a token where to get one; with one that allows too little, what it must allow."""
    async with judged_by("jwt") as (there, _):
        where = 'resource_metadata="https://mcp.example/.well-known/oauth-protected-resource/mcp"'
        response = await there.member(None).post(initialize())
        await refused(response, 401)
        assert response.headers["www-authenticate"] == f"Bearer {where}"
        response = await there.member(signed(claims(scope="more"))).post(initialize())
        await refused(response, 403)
        assert response.headers["www-authenticate"] == (
            f'Bearer error="insufficient_scope", error_description="the token lacks mcp:use", scope="mcp:use", {where}'
        )
        response = await there.member(None).request("GET", "/sse", {"accept": "text/event-stream"})
        await refused(response, 401)
        assert "oauth-protected-resource/sse" in response.headers["www-authenticate"]


async def test_i_08_the_metadata() -> None:
    """At both well-known addresses, without a login, for pages of any origin; of no server that is not here."""
    well_known = "/.well-known/oauth-protected-resource"
    async with judged_by("jwt") as (there, _):
        there.listener.mount("maps")
        expected = {
            "resource": AUDIENCE,
            "authorization_servers": [ISSUER],
            "bearer_methods_supported": ["header"],
            "scopes_supported": ["mcp:use"],
        }
        client = there.client()
        for path, resource in (
            ("", "/mcp"),
            ("/mcp", "/mcp"),
            ("/sse", "/sse"),
            ("/servers/maps/mcp", "/servers/maps/mcp"),
        ):
            response = await client.request("GET", well_known + path, {"origin": "https://anywhere.example"})
            assert response.status == 200 and response.headers["access-control-allow-origin"] == "*"
            assert await response.json() == {**expected, "resource": f"https://mcp.example{resource}"}
        for path in ("/other", "/servers/other/mcp", "/"):
            await refused(await client.request("GET", well_known + path), 404)
        asked = {"origin": "https://anywhere.example", "access-control-request-headers": "mcp-protocol-version"}
        preflight = await client.request("OPTIONS", f"{well_known}/mcp", asked)
        assert preflight.status == 204 and preflight.headers["access-control-allow-origin"] == "*"
        assert preflight.headers["access-control-allow-headers"] == "mcp-protocol-version"
        await refused(await client.request("POST", f"{well_known}/mcp"), 405)
        await refused(await client.request("GET", f"{well_known}/mcp", {"host": "evil.example"}), 421)
        await refused(await client.request("GET", f"{well_known}x"), 401)


async def test_i_08_the_metadata_on_this_machine() -> None:
    """Without a public URL it is what the client called the relay, which the check of Host has admitted."""
    login = InboundLogin(metadata=ResourceMetadata(ISSUER))
    async with guarded(login, paths=HttpPaths(mcp="/m")) as there:
        host = there.base.removeprefix("http://").replace("127.0.0.1", "localhost")
        response = await there.client().request("GET", "/.well-known/oauth-protected-resource/m", {"host": host})
        assert (await response.json())["resource"] == f"http://{host}/m"


async def test_static_tokens_have_no_metadata() -> None:
    """Nobody issues them; clients that look for an authorization server learn that without a login."""
    async with guarded() as there:
        await refused(await there.client().request("GET", "/.well-known/oauth-protected-resource/mcp"), 404)


@pytest.mark.parametrize("path", ["", "/tools"])
def test_i_08_a_public_url_with_a_path(path: str) -> None:
    """The well-known name goes before the whole path (RFC 9728 §3.1)."""
    metadata = ResourceMetadata(ISSUER, (), f"https://x.example{path}")
    address = f"https://x.example/.well-known/oauth-protected-resource{path}/mcp"
    assert metadata.address("http://ignored", "/mcp") == address
    assert metadata.resource("http://ignored", "/mcp") == f"https://x.example{path}/mcp"
    assert metadata.path_of(f"/.well-known/oauth-protected-resource{path}/mcp") == "/mcp"
    assert metadata.path_of("/.well-known/oauth-protected-resource") == ""


STEPS: dict[str, Callable[[InboundLogin], tuple[object, str]]] = {
    "look": lambda login: (login.issued, "look"),
    "verify": lambda login: (login.issued, "verify"),
    "static tokens": lambda login: (login.tokens, "name_of"),
    "failures": lambda login: (login.failures, "wait_of"),
    "keys": lambda login: (login.issued.keys, "find"),  # type: ignore[union-attr]
    "the web": lambda login: (login.issued.keys._web, "get"),  # type: ignore[union-attr]
}


@pytest.mark.parametrize("step", STEPS)
async def test_i_01_an_exception_anywhere_in_a_verifier_is_a_401(
    step: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No step of a login admits anybody by its failure, and no log says the token."""
    token = signed(claims())

    def fail(*_: object, **__: object) -> Any:
        raise RuntimeError(f"cannot judge {token}")

    async with judged_by("jwt") as (there, _):
        login = there.listener._context.gate.login
        assert login is not None
        owner, name = STEPS[step](login)
        monkeypatch.setattr(owner, name, fail)
        for _ in range(2):
            response = await there.member(token).post(initialize())
            await refused(response, 401)
        assert len(there.listener._mounts()[0].sessions) == 0
    assert token not in caplog.text or step == "the web"
    caplog.clear()


async def test_an_authorization_server_that_is_down_admits_nobody() -> None:
    """A token about which nobody can say anything is not refused either: the client tries again."""
    async with judged_by("introspection") as (there, issuer):
        del issuer.documents["/introspect"]
        response = await there.member("opaque").post(initialize())
        await refused(response, 503)
        assert response.headers["retry-after"] == "5" and "www-authenticate" not in response.headers
        issuer.documents["/introspect"] = {"active": True, **claims()}
        await there.begin_as("opaque")
