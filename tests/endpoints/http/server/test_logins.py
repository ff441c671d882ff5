"""Listeners that want a login: who is admitted where, and whose sessions are whose."""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import trustme

from relay.auth.inbound.certificates import name_in_certificate
from relay.auth.inbound.login import InboundLogin
from relay.auth.inbound.token_sources import GivenTokens
from relay.endpoints.core.dialling import DiallingOptions
from relay.endpoints.http.client.aiohttp_dial import Dial
from relay.endpoints.http.listening import ListeningOptions
from relay.endpoints.http.paths import HttpPaths
from relay.endpoints.http.server.listener import HttpListener
from relay.endpoints.http.server.session import HttpSession
from relay.endpoints.websocket.websocket import WebSocketEndpoint
from tests.e2e.fault_server import FaultServer, Script
from tests.e2e.oracle import ACCEPT_BOTH, Client, Response, initialize, notification, request
from tests.endpoints.http.house import PATIENT, House, answer, house, initialized, message, refused
from tests.endpoints.http.modern_house import ask, headers_for

TOKENS = {"alice": "alice-" + "a" * 40, "bob": "bob-" + "b" * 40}
UPGRADE = {
    "connection": "Upgrade",
    "upgrade": "websocket",
    "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
    "sec-websocket-version": "13",
}


class Member(Client):
    """A client that sends its token with everything."""

    token: str | None = None

    async def request(self, method: str, target: str, headers: object = None, body: bytes | None = None) -> Response:
        chosen = {**(headers or {}), "authorization": f"Bearer {self.token}" if self.token else None}  # type: ignore[dict-item]
        return await super().request(method, target, chosen, body)


class Guarded(House):
    """A listener that wants a login."""

    def member(self, token: str | None) -> Member:
        member = Member(self.base)
        member.token = TOKENS.get(token or "", token)
        self._clients.append(member)
        return member

    async def begin_as(self, name: str) -> tuple[Member, HttpSession]:
        member = self.member(name)
        posting = asyncio.get_running_loop().create_task(member.post(initialize()))
        session = await self.session()
        assert isinstance(session, HttpSession)
        await session.receive()
        await session.send([initialized()])
        response = await posting
        member.session = response.headers["mcp-session-id"]
        await member.finished(response)
        return member, session


@contextlib.asynccontextmanager
async def guarded(login: InboundLogin | None = None, **options: object) -> AsyncIterator[Guarded]:
    """Listen on a free port, for alice and bob, until the block is left."""
    server = options.pop("server", None)
    listening = ListeningOptions(limits=PATIENT, login=login or InboundLogin(GivenTokens(TOKENS)), **options)  # type: ignore[arg-type]
    listener = HttpListener(options=listening, server=server)  # type: ignore[arg-type]
    await listener.start()
    opened = Guarded(listener)
    try:
        yield opened
    finally:
        await opened.aclose()


ASKED = {
    "post": ("POST", "/mcp", {"content-type": "application/json", "accept": ACCEPT_BOTH}, initialize()),
    "post in a session": (
        "POST",
        "/mcp",
        {"content-type": "application/json", "accept": ACCEPT_BOTH, "mcp-session-id": "x" * 43},
        notification("notifications/initialized"),
    ),
    "post of a page": ("POST", "/mcp", {"content-type": "application/json", "origin": "http://localhost"}, b"{}"),
    "modern post": ("POST", "/mcp", headers_for(ask(1)), ask(1)),
    "stream": ("GET", "/mcp", {"accept": "text/event-stream", "mcp-session-id": "x" * 43}, None),
    "delete": ("DELETE", "/mcp", {"mcp-session-id": "x" * 43}, None),
    "upgrade": ("GET", "/mcp", UPGRADE, None),
    "sse": ("GET", "/sse", {"accept": "text/event-stream"}, None),
    "message": ("POST", "/messages/?session_id=" + "x" * 43, {"content-type": "application/json"}, b"{}"),
    "status": ("GET", "/status", {}, None),
    "nothing": ("GET", "/nothing", {}, None),
    "a method": ("PUT", "/mcp", {}, b"{}"),
    "health by post": ("POST", "/health", {}, b"{}"),
}


@pytest.mark.parametrize("token", [None, "wrong", TOKENS["alice"][:-1]])
async def test_i_01_nothing_without_a_login(token: str | None) -> None:
    """No path, no method and no transport; a missing path says no more than one that is there."""
    async with guarded() as there:
        for what, (method, path, headers, body) in ASKED.items():
            there.listener._context.gate.login = InboundLogin(GivenTokens(TOKENS))  # failures of before do not count
            response = await there.member(token).request(method, path, headers, body)
            error = await refused(response, 401)
            expected = "Bearer" if token is None else 'Bearer error="invalid_token", error_description='
            assert response.headers["www-authenticate"].startswith(expected), what
            assert ("error=" in response.headers["www-authenticate"]) is (token is not None)
            assert "id" in error and error["id"] is None and TOKENS["alice"][:-1] not in json.dumps(error)
        assert len(there.listener._mounts()[0].sessions) == 0 and not there.listener._mounts()[0].modern


async def test_i_01_what_is_open() -> None:
    """Health, for those that balance; and preflights, which browsers send without a login."""
    async with guarded(paths=HttpPaths(health=("/healthz",)), allowed_origins=["https://app.example"]) as there:
        for path in ("/health", "/healthz"):
            assert (await there.member(None).request("GET", path)).status == 200
        asked = {
            "origin": "https://app.example",
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization,mcp-session-id,mcp-param-x",
        }
        preflight = await there.member(None).request("OPTIONS", "/mcp", asked)
        assert preflight.status == 204
        assert preflight.headers["access-control-allow-headers"] == asked["access-control-request-headers"]


async def test_i_05_a_page_can_read_why_it_is_refused() -> None:
    """The challenge is exposed, with the headers of CORS on the 401 too."""
    async with guarded(allowed_origins=["https://app.example"]) as there:
        response = await there.member(None).post(initialize(), origin="https://app.example")
        await refused(response, 401)
        assert response.headers["access-control-allow-origin"] == "https://app.example"
        assert "WWW-Authenticate" in response.headers["access-control-expose-headers"]


@pytest.mark.parametrize("header", ["authorization", "x-api-key", "x-proxy-token"])
async def test_i_07_a_token_admits(header: str) -> None:
    """To sessions, whose calls go the fast way, too."""
    async with guarded() as there:
        value = TOKENS["alice"] if header != "authorization" else f"Bearer {TOKENS['alice']}"
        client = there.client()
        posting = asyncio.get_running_loop().create_task(client.post(initialize(), **{header: value}))
        session = await there.session()
        assert isinstance(session, HttpSession) and session.owner == "alice"
        await session.receive()
        await session.send([initialized()])
        response = await posting
        client.session = response.headers["mcp-session-id"]
        await client.finished(response)
        for number in range(3):
            posting = asyncio.get_running_loop().create_task(client.post(request(number, "x"), **{header: value}))
            await session.receive()
            await session.send([answer(number)])
            assert (await client.finished(await posting)) == [answer(number).raw]
        await refused(await client.post(request(7, "x")), 401)
        status = await client.request("GET", "/status", {header: value})
        assert status.status == 200 and TOKENS["alice"].encode() not in await status.body()


async def test_i_07_websocket_is_refused_before_the_upgrade() -> None:
    """And belongs to its principal when it is admitted."""
    async with guarded() as there:
        await refused(await there.member(None).request("GET", "/mcp", UPGRADE), 401)
        response = await there.member("bob").request("GET", "/mcp", UPGRADE)
        assert response.status == 101
        payload = initialize()
        head = bytes([0x81, 0xFE]) + len(payload).to_bytes(2, "big")  # a masked text of more than 125 bytes
        response.wire.writer.write(head + bytes(4) + payload)
        endpoint = await anext(there._sessions)
        assert isinstance(endpoint, WebSocketEndpoint) and endpoint.owner == "bob"


async def test_i_11_a_session_of_another_principal_is_unknown() -> None:
    """POST, GET, resumption, DELETE: every answer is that of a session that never was, and the session lives on."""
    async with guarded() as there:
        alice, session = await there.begin_as("alice")
        await session.send([message(1)])
        bob = there.member("bob")
        told = []
        for name in (alice.session, "x" * 43):
            bob.session = name
            answers = [
                await bob.post(notification("notifications/initialized")),
                await bob.post(request(1, "x")),
                await bob.post(request(1, "x"), accept="application/json"),
                await bob.post(request(1, "x", fill="x" * 100_000)),
                await bob.listen(),
                await bob.listen("0-1"),
                await bob.request("DELETE", "/mcp", {"mcp-session-id": name}),
                await bob.request("POST", f"/messages/?session_id={name}", {"content-type": "application/json"}, b"{}"),
            ]
            told.append([(one.status, await one.body()) for one in answers])
        assert told[0] == told[1]
        assert {status for status, _ in told[0]} == {404}
        assert not session.is_closing and alice.session is not None
        stream = await alice.listen()
        assert (await stream.next_event()).data == message(1).raw


async def test_i_11_an_sse_session_is_its_principals() -> None:
    """The address of its messages is of no use to anybody else."""
    async with guarded() as there:
        alice, bob = there.member("alice"), there.member("bob")
        stream = await alice.request("GET", "/sse", {"accept": "text/event-stream"})
        first = await stream.any_event()
        assert first is not None
        address = first.data.decode()
        json_type = {"content-type": "application/json"}
        unknown = await bob.request("POST", "/messages/?session_id=" + "x" * 43, json_type, initialize("2024-11-05"))
        foreign = await bob.request("POST", address, json_type, initialize("2024-11-05"))
        assert (unknown.status, await unknown.body()) == (404, await foreign.body())
        assert (await alice.request("POST", address, json_type, initialize("2024-11-05"))).status == 202


async def test_i_11_clients_of_2026_07_28_share_with_their_principal_alone() -> None:
    """Each principal has an endpoint, and so a server, of its own."""
    async with guarded() as there:
        owners = []
        for name in ("alice", "bob", "alice"):
            asking = asyncio.get_running_loop().create_task(
                there.member(name).request("POST", "/mcp", headers_for(ask(1)), ask(1))
            )
            if name not in owners:
                endpoint = await anext(there._sessions)
                owners.append(endpoint.owner)
            mount = there.listener._mounts()[0]
            (frame,) = await mount.modern[name].receive()
            await mount.modern[name].send([answer(frame.head.id)])
            assert (await asking).status == 200
        assert owners == ["alice", "bob"]


async def test_i_11_sessions_at_a_server_behind() -> None:
    """The server names them; the relay remembers whose they are, and forgets those that have ended."""
    script = Script()
    async with FaultServer.running(script) as server:
        dial = Dial(server.url, DiallingOptions(limits=PATIENT))
        async with guarded(server=dial) as there:
            alice, bob = there.member("alice"), there.member("bob")
            await alice.begin()
            await bob.begin()
            assert alice.session != bob.session
            seen = len(server.requests)
            for member, foreign in ((alice, bob.session), (bob, alice.session), (bob, "session-7")):
                for response in (
                    await member.post(request(1, "x"), mcp_session_id=foreign),
                    await member.listen(mcp_session_id=foreign),
                    await member.request("DELETE", "/mcp", {"mcp-session-id": foreign}),
                    await member.post(ask(1), **{k.replace("-", "_"): v for k, v in headers_for(ask(1)).items()},
                                      mcp_session_id=foreign),
                ):  # fmt: skip
                    error = await refused(response, 404)
                    assert error["error"]["message"].startswith("no such session: expired, ended or never begun")
            assert len(server.requests) == seen  # nothing reached the server
            for _ in range(4):  # on the way through, and then on its quick way
                assert len(await alice.call(request(1, "x"))) == 1
            assert all("authorization" not in one.headers for one in server.requests)
            assert await alice.end() in (200, 202, 204)
            await refused(await alice.post(request(1, "x")), 404)
        await dial.aclose()


async def test_a_token_that_is_taken_back_ends_admissions() -> None:
    """At once, on a connection that was admitted; other tokens stay as good as they were."""
    tokens = dict(TOKENS)
    login = InboundLogin(GivenTokens(tokens))
    async with guarded(login) as there:
        alice, _ = await there.begin_as("alice")
        bob, _ = await there.begin_as("bob")
        for member in (alice, bob):
            for _ in range(4):
                assert (await member.finished(await member.post(notification("x")))) == []
        del tokens["alice"]
        login.reload()
        assert (await bob.post(notification("x"))).status == 202
        await refused(await alice.post(notification("x")), 401)


async def test_i_14_failed_logins_are_limited() -> None:
    """Ten, whichever way they come; the next is told when to come back, also with a token that is right."""
    async with guarded() as there:
        for number in range(10):
            await refused(await there.member(f"wrong-{number}").post(initialize()), 401)
        response = await there.member("wrong").post(initialize())
        await refused(response, 429)
        assert 50 <= int(response.headers["retry-after"]) <= 60
        await refused(await there.member("alice").post(initialize()), 429)
        await refused(await there.member(None).post(initialize()), 401)


@pytest.mark.parametrize(
    ("certificate", "name"),
    [
        ({"subjectAltName": (("email", "a@x"), ("DNS", "b")), "subject": ((("commonName", "c"),),)}, "a@x"),
        ({"subject": ((("organizationName", "o"),), (("commonName", "c"),))}, "c"),
        ({"subject": ((("organizationName", "o"),),)}, None),
        ({}, None),
        (None, None),
    ],
)
def test_i_10_the_name_in_a_certificate(certificate: dict[str, Any] | None, name: str | None) -> None:
    """The first alternative name, else the common name."""
    assert name_in_certificate(certificate) == name


async def test_i_10_a_certificate_is_a_principal() -> None:
    """Where it is demanded and no token is: sessions belong to the names in certificates, on the quick ways, too."""
    authority = trustme.CA()
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(serving)
    authority.configure_trust(serving)
    serving.verify_mode = ssl.CERT_REQUIRED
    login = InboundLogin()
    login.by_certificate = True
    async with guarded(login, tls=serving) as there, contextlib.AsyncExitStack() as stack:
        clients = []
        for name in ("alice@x.example", "bob@x.example"):
            context = ssl.create_default_context()
            authority.configure_trust(context)
            authority.issue_cert(name).configure_cert(context)
            connector = aiohttp.TCPConnector(ssl=context)
            clients.append(await stack.enter_async_context(aiohttp.ClientSession(there.base, connector=connector)))
        alice, bob = clients
        headers = {"Content-Type": "application/json", "Accept": ACCEPT_BOTH}

        async def status(client: aiohttp.ClientSession, frame: bytes) -> int:
            async with client.post("/mcp", data=frame, headers=headers) as response:
                headers.setdefault("Mcp-Session-Id", response.headers.get("Mcp-Session-Id", ""))
                await response.read()
                return response.status

        beginning = asyncio.get_running_loop().create_task(status(alice, initialize()))
        session = await there.session()
        assert isinstance(session, HttpSession) and session.owner == "certificate:alice@x.example"
        await session.receive()
        await session.send([initialized()])
        assert await beginning == 200
        assert [await status(alice, notification("x")) for _ in range(4)] == [202] * 4
        assert [await status(bob, notification("x")) for _ in range(2)] == [404] * 2


async def test_i_19_the_relay_is_no_authorization_server() -> None:
    """Nobody registers, logs in or gets a token here, with a login or without."""
    async with guarded() as there, house() as bare:
        for path in ("/authorize", "/register", "/token", "/.well-known/oauth-authorization-server"):
            for method, body in (("GET", None), ("POST", b"{}")):
                await refused(await there.member(None).request(method, path, {}, body), 401)
                await refused(await there.member("alice").request(method, path, {}, body), 404)
                await refused(await bare.client().request(method, path, {}, body), 404)


async def test_i_21_nothing_is_cached() -> None:
    """The same request of two principals, and again of one, reaches the server each time."""
    script = Script()
    async with FaultServer.running(script) as server:
        dial = Dial(server.url, DiallingOptions(limits=PATIENT))
        async with guarded(server=dial) as there:
            for name in ("alice", "bob"):
                member = await there.member(name).begin()
                for _ in range(3):
                    await member.call(request(1, "tools/list"))
        await dial.aclose()
    asked = [one for one in server.requests if one.body and one.message["method"] == "tools/list"]
    assert len(asked) == 6


async def test_no_login_wants_none() -> None:
    """A listener without one admits every client, also one that sends a token."""
    async with house() as there:
        client, session = await there.begin()
        assert session.owner == "anonymous"
        assert (await client.post(notification("x"), authorization="Bearer x")).status == 202
