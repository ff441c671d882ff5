"""What one client may take, and what of its requests goes on: rates, sessions, headers."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from relay.auth.inbound.login import InboundLogin
from relay.auth.inbound.rates import Rate, Rates
from relay.auth.inbound.token_sources import GivenTokens
from relay.endpoints.core.dialling import DiallingOptions
from relay.endpoints.http.client.aiohttp_dial import Dial
from relay.endpoints.http.listening import ListeningOptions
from relay.endpoints.http.server.listener import HttpListener
from relay.endpoints.http.server.session import HttpSession
from relay.endpoints.websocket.websocket import WebSocketEndpoint
from tests.e2e.fault_server import FaultServer, Script
from tests.e2e.oracle import initialize, notification, request
from tests.endpoints.http.house import PATIENT, answer, house, initialized, refused
from tests.endpoints.http.modern_house import ask, headers_for
from tests.endpoints.http.server.test_logins import TOKENS, UPGRADE, Guarded, guarded

SLOW = Rate(6, 3600.0)


@pytest.mark.parametrize("padding", [1, 200_000])
async def test_i_14_requests_are_limited_by_principal(padding: int) -> None:
    """Each counts once, whichever way it is carried; the next is told when to come back."""
    async with guarded(rates=Rates(SLOW)) as there:
        alice, session = await there.begin_as("alice")
        seen = []
        for _ in range(5):
            response = await alice.post(notification("x", padding="x" * padding))
            seen.append(response.status)
            await alice.finished(response)
            await session.receive()
        response = await alice.post(notification("x", padding="x" * padding))
        await refused(response, 429)
        assert seen == [202] * 5 and 500 <= int(response.headers["retry-after"]) <= 600
        await refused(await alice.listen(), 429)
        await there.begin_as("bob")


async def test_i_14_requests_are_limited_by_address() -> None:
    """Where nobody logs in; health is not counted, and neither is a page's question whether it may ask."""
    async with house(ListeningOptions(limits=PATIENT, rates=Rates(SLOW))) as there:
        client, _ = await there.begin()
        for _ in range(5):
            assert (await client.post(notification("x"))).status == 202
        for _ in range(3):
            assert (await client.request("GET", "/health")).status == 200
            assert (await client.request("OPTIONS", "/mcp")).status == 204
        await refused(await client.post(notification("x")), 429)


async def test_i_14_a_request_that_waits_for_room_counts_once() -> None:
    """It is asked about again on its connection, when the server reads."""
    limits = dataclasses.replace(PATIENT, buffer_high=2000, buffer_low=1000)
    async with house(ListeningOptions(limits=limits, rates=Rates(Rate(7, 3600.0)))) as there:
        client, session = await there.begin()
        posts = [
            asyncio.get_running_loop().create_task(client.post(notification("x", at=at, f="x" * 900)))
            for at in range(6)
        ]
        async with asyncio.timeout(20):
            got = 0
            while got < 6:
                got += len(await session.receive())
        assert {(await post).status for post in posts} == {202}
        await refused(await client.post(notification("x")), 429)


async def test_i_14_messages_by_websocket_wait() -> None:
    """The relay reads them no faster than they may come: none is lost."""
    async with guarded(rates=Rates(Rate(5, 0.5))) as there:
        response = await there.member("bob").request("GET", "/mcp", UPGRADE)
        assert response.status == 101
        start = asyncio.get_running_loop().time()
        for number in range(12):
            payload = request(number, "x") if number else initialize()
            size = (
                bytes([0xFE]) + len(payload).to_bytes(2, "big") if len(payload) > 125 else bytes([0x80 | len(payload)])
            )
            response.wire.writer.write(b"\x81" + size + bytes(4) + payload)
        endpoint = await anext(there._sessions)
        assert isinstance(endpoint, WebSocketEndpoint)
        got = 0
        while got < 12:
            got += len(await endpoint.receive())
        assert asyncio.get_running_loop().time() - start > 0.5


async def test_i_11_sessions_of_one_principal() -> None:
    """One cannot take the places of the others; a session that has ended gives its place back."""
    limits = dataclasses.replace(PATIENT, max_sessions=5, max_sessions_each=2)
    login = InboundLogin(GivenTokens(TOKENS))
    listener = HttpListener(options=ListeningOptions(limits=limits, login=login))
    await listener.start()
    there = Guarded(listener)
    try:
        first, _ = await there.begin_as("alice")
        await there.begin_as("alice")
        alice = there.member("alice")
        for response in (
            await alice.post(initialize()),
            await alice.request("GET", "/sse", {"accept": "text/event-stream"}),
            await alice.request("GET", "/mcp", UPGRADE),
            await alice.request("POST", "/mcp", headers_for(ask(1)), ask(1)),
        ):
            error = await refused(response, 429)
            assert "2 sessions of this client are open already" in error["error"]["message"]
            assert response.headers["retry-after"] == "5"
        await there.begin_as("bob")
        assert await first.end() == 200
        asking = asyncio.get_running_loop().create_task(alice.request("POST", "/mcp", headers_for(ask(1)), ask(1)))
        await anext(there._sessions)
        modern = listener._mounts()[0].modern["alice"]
        (frame,) = await modern.receive()
        await modern.send([answer(frame.head.id)])
        assert (await asking).status == 200
        await refused(await alice.post(initialize()), 429)  # the clients of 2026-07-28 have one of the places
    finally:
        await there.aclose()


async def test_requests_with_servers_of_their_own_are_no_sessions() -> None:
    """One principal may have many of them at once."""
    limits = dataclasses.replace(PATIENT, max_sessions_each=1)
    login = InboundLogin(GivenTokens(TOKENS))
    listener = HttpListener(options=ListeningOptions(limits=limits, login=login), per_request="all")
    await listener.start()
    there = Guarded(listener)
    try:
        loop = asyncio.get_running_loop()
        asking = [
            loop.create_task(there.member("alice").request("POST", "/mcp", headers_for(ask(1)), ask(1)))
            for _ in range(3)
        ]
        for _ in asking:
            one = await anext(there._sessions)
            assert one.owner == "alice"
            (frame,) = await one.receive()
            await one.send([answer(frame.head.id)])
        assert [(await one).status for one in asking] == [200] * 3
    finally:
        await there.aclose()


async def test_i_09_no_header_goes_on_unless_it_is_named() -> None:
    """Neither credentials nor any other; by the quick way, too; and the named one, with each request's own value."""
    script = Script()
    own = {"authorization": f"Bearer {TOKENS['alice']}", "cookie": "canary=1", "forwarded": "for=canary"}
    others = {"x-api-key": TOKENS["alice"], "x-proxy-token": TOKENS["alice"], "proxy-authorization": "canary"}
    for named in ((), ("X-Tenant",)):
        async with FaultServer.running(script) as server:
            dial = Dial(server.url, DiallingOptions(headers={"X-Operator": "o"}, limits=PATIENT))
            async with guarded(server=dial, forward_headers=named) as there:
                alice = there.member("alice")
                await alice.begin()
                for tenant in ("1", "1", "1", "1", "2"):
                    more = {**own, **others, "x-tenant": tenant, "x-forwarded-for": "canary"}
                    response = await alice.post(request(1, "x"), **{k.replace("-", "_"): v for k, v in more.items()})
                    assert response.status == 200
                    await alice.finished(response)
                await alice.end()
            await dial.aclose()
        tenants = [one.headers.get("x-tenant") for one in server.requests if one.method == "POST"]
        assert tenants == ([None, None, "1", "1", "1", "1", "2"] if named else [None] * 7)
        for one in server.requests:
            text = f"{one.headers}"
            assert "canary" not in text and TOKENS["alice"] not in text and one.headers["x-operator"] == "o"


async def test_i_09_a_session_forwards_the_header_of_its_beginning() -> None:
    """Where the relay keeps the session itself; clients that share a server forward nothing."""
    async with guarded(forward_headers=("X-Tenant",)) as there:
        member = there.member("alice")
        posting = asyncio.get_running_loop().create_task(member.post(initialize(), x_tenant="7"))
        session = await there.session()
        assert isinstance(session, HttpSession) and session.trail is not None
        assert session.trail.headers["X-Tenant"] == "7"
        await session.receive()
        await session.send([initialized()])
        await posting
        headers = {**headers_for(ask(1)), "x-tenant": "8"}
        asking = asyncio.get_running_loop().create_task(member.request("POST", "/mcp", headers, ask(1)))
        modern = await anext(there._sessions)
        assert modern.trail is not None and "X-Tenant" not in modern.trail.headers
        asking.cancel()
