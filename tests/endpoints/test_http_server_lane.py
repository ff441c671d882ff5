"""The fast lane remembers headers it has admitted: for those alone, there alone, and while the session lives."""

from __future__ import annotations

import asyncio

import pytest

from relay.limits import Limits
from tests.e2e.oracle import ACCEPT_BOTH, Response, Wire, initialize, request
from tests.endpoints.http_house import PATIENT, House, answer, house, initialized

Headers = list[tuple[str, str]]


def usual(session_id: str) -> Headers:
    """Return what a client sends with each POST."""
    return [("Content-Type", "application/json"), ("Accept", ACCEPT_BOTH), ("Mcp-Session-Id", session_id)]


async def ask(wire: Wire, headers: Headers, frame: bytes, path: str = "/mcp") -> Response:
    """POST on this connection; read the head of what comes."""
    await wire.send("POST", path, headers, frame)
    return await wire.response()


class Line:
    """One kept connection of a client whose session is open, after three calls that went the fast way."""

    def __init__(self, opened: House) -> None:
        self.house = opened

    async def begin(self) -> Line:
        self.client, self.session = await self.house.begin()
        assert self.client.session is not None
        self.headers = usual(self.client.session)
        self.wire = await Wire.open(self.house.base)
        for number in (1, 22, 333):  # bodies of three lengths: all headers are the same but that
            await self.call(number)
        return self

    async def call(self, number: int) -> None:
        frame = request(number, "tools/call", of="x" * number)
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(ask(self.wire, self.headers, frame))
            assert [one.raw for one in await self.session.receive()] == [frame]
            await self.session.send([answer(number)])
        response = asking.result()
        assert (response.status, await response.body()) == (200, answer(number).raw)

    async def refused(self, headers: Headers, path: str = "/mcp") -> int:
        response = await ask(self.wire, headers, request(7, "ping"), path)
        await response.body()
        return response.status


CHANGES: dict[str, tuple[dict[str, str | None], int]] = {
    "a foreign page": ({"Origin": "https://evil.example"}, 403),
    "a foreign host": ({"Host": "evil.example"}, 421),
    "a form": ({"Content-Type": "text/plain"}, 415),
    "compressed": ({"Content-Encoding": "gzip"}, 415),
    "takes no streams": ({"Accept": "application/json"}, 406),
    "another session": ({"Mcp-Session-Id": "x" * 43}, 404),
    "no session": ({"Mcp-Session-Id": None}, 400),
    "an unknown version": ({"MCP-Protocol-Version": "1999-01-01"}, 400),
    "a page of elsewhere": ({"Sec-Fetch-Site": "cross-site"}, 403),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_any_other_header_is_checked(change: str) -> None:
    """What was admitted before on the same connection does not matter; nor does the refusal, afterwards."""
    changed, status = CHANGES[change]
    async with house() as opened:
        line = await Line(opened).begin()
        headers = [(name, value) for name, value in line.headers if name not in changed]
        headers += [(name, value) for name, value in changed.items() if value is not None]
        assert await line.refused(headers) == status
        await line.call(8)
        line.wire.close()


async def test_a_header_that_stands_elsewhere_or_twice_is_checked() -> None:
    """The same headers in another order are as good; one more that says otherwise is not passed over."""
    async with house() as opened:
        line = await Line(opened).begin()
        line.headers.reverse()
        await line.call(9)
        assert await line.refused([*line.headers, ("Origin", "https://evil.example")]) == 403
        assert await line.refused([("Origin", "https://evil.example"), *line.headers]) == 403
        line.wire.close()


async def test_a_session_that_has_ended_is_unknown() -> None:
    """At once, on the connection that used it."""
    async with house() as opened:
        line = await Line(opened).begin()
        line.session.finish()
        assert await line.refused(line.headers) == 404
        line.wire.close()


async def test_a_session_of_one_server_is_unknown_at_another() -> None:
    """The same connection, the same headers, another path."""
    async with house() as opened:
        other = opened.listener.mount("other")
        line = await Line(opened).begin()
        assert await line.refused(line.headers, "/servers/other/mcp") == 404
        await line.call(10)
        assert not other.in_flight
        line.wire.close()


async def test_sessions_that_share_a_connection_are_told_apart() -> None:
    """As a gateway in front of us does it: every call goes to the session that it names."""
    async with house() as opened:
        line = await Line(opened).begin()
        other = await Line(opened).begin()
        other.wire.close()
        other.wire = line.wire
        for number in range(20, 26):
            await (line if number % 2 else other).call(number)
        line.wire.close()


async def test_an_answer_that_is_late_comes_as_a_stream_each_time() -> None:
    """One timer serves all calls of a connection: each waits its whole time, and no more."""
    async with house(Limits(answer_wait=0.15, keep_alive=60)) as opened:
        line = await Line(opened).begin()
        for number in (40, 41):
            frame = request(number, "tools/call")
            await line.wire.send("POST", "/mcp", line.headers, frame)
            assert [one.raw for one in await line.session.receive()] == [frame]
            response = await line.wire.response()
            assert response.is_stream
            await line.session.send([answer(number)])
            assert await response.frames() == [answer(number).raw]
        await line.call(42)
        line.wire.close()


async def test_a_session_may_begin_on_a_connection_that_another_has_used() -> None:
    """``initialize`` names no session: it is not taken for one of the session before."""
    async with house(PATIENT) as opened:
        line = await Line(opened).begin()
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(ask(line.wire, line.headers[:2], initialize("2025-06-18")))
            begun = await opened.session()
            await begun.receive()
            await begun.send([initialized("2025-06-18")])
        response = asking.result()
        await response.body()
        assert response.headers["mcp-session-id"] not in (line.client.session, "")
        await line.call(11)
        line.wire.close()
