"""Several servers at one listener: each with a mount of its own, found by its path, left in good order."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from relay.endpoints.http.server.fast_connection import FastConnection
from relay.endpoints.http.server.mount import Mount
from relay.endpoints.http.server.session import HttpSession
from tests.e2e.oracle import Client, initialize, notification, request
from tests.endpoints.http.house import House, answer, house, initialized, refused, until

ASK = request(1, "x")
_HEADERS = {"content-type": "application/json", "accept": "application/json, text/event-stream"}


class Below(Client):
    """A client below a prefix."""

    prefix = ""

    async def request(self, method: str, target: str, *args: Any, **kwargs: Any) -> Any:
        return await super().request(method, self.prefix + target, *args, **kwargs)


async def begin(opened: House, mount: Mount, prefix: str) -> tuple[Below, HttpSession]:
    """Open a session at a mount; return both of its ends."""
    client = Below(opened.base)
    client.prefix = prefix
    opened._clients.append(client)
    posting = asyncio.get_running_loop().create_task(client.post(initialize()))
    session = await anext(aiter(mount))
    assert isinstance(session, HttpSession)
    await session.receive()
    await session.send([initialized()])
    response = await posting
    client.session = response.headers["mcp-session-id"]
    await client.finished(response)
    return client, session


@pytest.mark.shortcuts
async def test_a_named_server_has_the_fast_way_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """A POST in a known session is answered in the callback that read it; a name may need quoting."""
    async with house() as opened:
        mount = opened.listener.mount("a b/ü")
        client, session = await begin(opened, mount, "/servers/a%20b%2F%C3%BC")
        taken: list[bool] = []
        offer = FastConnection._offer

        def count(connection: FastConnection, message: Any, body: bytes) -> bool:
            taken.append(offer(connection, message, body))
            return taken[-1]

        monkeypatch.setattr(FastConnection, "_offer", count)
        for number in range(3):
            task = asyncio.get_running_loop().create_task(client.post(request(number, "x")))
            await session.receive()
            await session.send([answer(number)])
            await client.finished(await task)
        assert taken == [True] * 3


async def test_sessions_are_of_their_mount() -> None:
    """The same id at another path, the root included, is of no session."""
    async with house() as opened:
        mounts = {name: opened.listener.mount(name) for name in ("a", "b")}
        a, _ = await begin(opened, mounts["a"], "/servers/a")
        for prefix in ("", "/servers/b"):
            a.prefix = prefix
            await refused(await a.post(request(1, "x")), 404)
            await refused(await a.listen(), 404)
        assert (len(mounts["a"].sessions), len(mounts["b"].sessions)) == (1, 0)


async def test_a_server_that_leaves_answers_what_is_under_way() -> None:
    """Its place is free at once; its session still takes answers, but nothing new, and is unknown in the end."""
    async with house() as opened:
        listener, loop = opened.listener, asyncio.get_running_loop()
        old = listener.mount("a")
        client, session = await begin(opened, old, "/servers/a")
        under_way = loop.create_task(client.post(request(1, "x")))
        await session.receive()
        leaving = loop.create_task(listener.unmount(old, 5))
        new = listener.mount("a")
        newcomer, _ = await begin(opened, new, "/servers/a")
        assert newcomer.session is not None and new.sessions.find(newcomer.session) is not None
        assert (await client.post(notification("notifications/x"))).status == 202
        assert [frame.head.method for frame in await session.receive()] == ["notifications/x"]
        error = await refused(await client.post(request(2, "x")), 404)
        assert error["id"] == 2 and "no longer offers" in error["error"]["message"]
        await session.send([answer(1)])
        assert (await under_way).status == 200
        await leaving
        assert session.is_closed and not listener._leaving
        await refused(await client.post(notification("notifications/x")), 404)
        assert listener.in_flight == 0


async def test_a_server_that_leaves_does_not_wait_for_ever() -> None:
    """After its time what is still under way gets an error."""
    async with house() as opened:
        mount = opened.listener.mount("a")
        client, session = await begin(opened, mount, "/servers/a")
        under_way = asyncio.get_running_loop().create_task(client.post(request(1, "x")))
        await session.receive()
        await opened.listener.unmount(mount, 0.05)
        body = await (await under_way).json()
        assert body["id"] == 1 and "no longer offers" in body["error"]["message"]
        await until(lambda: not opened.listener.in_flight)


async def test_when_somebody_last_used_a_server() -> None:
    """Whichever way a request goes; who looks at /status uses none."""
    async with house() as opened:
        listener, loop = opened.listener, asyncio.get_running_loop()
        assert listener.last_used == 0
        mount = listener.mount("a")
        client, session = await begin(opened, mount, "/servers/a")
        for path in ("/mcp", "/mcp/"):
            before = loop.time()
            task = loop.create_task(client.request("POST", path, _HEADERS | {"mcp-session-id": client.session}, ASK))
            await session.receive()
            await session.send([answer(1)])
            await client.finished(await task)
            assert before <= listener.last_used <= loop.time()
        last = listener.last_used
        await client.finished(await Client.request(client, "GET", "/status"))
        assert listener.last_used == last
