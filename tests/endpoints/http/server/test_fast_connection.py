"""The fast connection remembers headers it has admitted: for those alone, there alone, and while the session lives."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from relay.endpoints.http.server import fast_connection as http_fast_connection
from relay.endpoints.http.server.fast_connection import FastConnection
from relay.endpoints.http.server.session import HttpSession
from relay.errors import EndpointBroken
from relay.limits import Limits
from tests.e2e.oracle import ACCEPT_BOTH, Response, Wire, initialize, request
from tests.endpoints.http.house import PATIENT, House, answer, house, initialized, until

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
    "takes no JSON": ({"Accept": "text/event-stream"}, 406),
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


async def test_how_long_an_answer_may_take_is_the_session_s_own() -> None:
    """Whatever the call before it could take on the same connection: one of 2026-07-28 has no stream to become."""
    async with house(Limits(answer_wait=0.15, keep_alive=60)) as opened:
        line = await Line(opened).begin()
        assert opened.listener._http is not None
        own = line.wire.writer.get_extra_info("sockname")
        for connection in opened.listener._http.connections:
            if connection.transport is not None and connection.transport.get_extra_info("peername") == own:
                assert isinstance(connection, http_fast_connection.FastConnection)
                await until(lambda timed=connection: timed._timer is None)
                connection._wait(60)
        await line.wire.send("POST", "/mcp", line.headers, request(40, "tools/call"))
        async with asyncio.timeout(20):
            response = await line.wire.response()
        assert response.is_stream
        await line.session.send([answer(40)])
        assert await response.frames() == [answer(40).raw]
        line.wire.close()


@pytest.mark.shortcuts
async def test_an_end_waits_for_answers_that_are_being_read() -> None:
    """A large one has been written, as far as the session is concerned; its client has most of it still to read."""
    large = answer(41, "x" * 40_000_000)
    async with house() as opened:
        line = await Line(opened).begin()
        await line.wire.send("POST", "/mcp", line.headers, request(41, "tools/call"))
        await line.session.receive()
        await line.session.send([large])
        assert not opened.listener.in_flight
        draining = asyncio.get_running_loop().create_task(opened.listener.drain(20))
        await asyncio.sleep(0.2)
        assert not draining.done()
        response = await line.wire.response()
        assert await response.body() == large.raw
        await draining
        line.wire.close()


# -- a server that takes no more for a moment


def raw_post(line: Line, frame: bytes) -> bytes:
    """Return the bytes of a POST."""
    headers = [("Host", line.house.base.removeprefix("http://")), *line.headers, ("Content-Length", str(len(frame)))]
    return b"POST /mcp HTTP/1.1\r\n%b\r\n\r\n%b" % ("\r\n".join(map(": ".join, headers)).encode(), frame)


async def post_with_a_task(line: Line, frame: bytes) -> None:
    """POST a request that goes the ordinary way: it says what page it comes from, the relay's own."""
    await line.wire.send("POST", "/mcp", [*line.headers, ("Origin", line.house.base)], frame)


class Early:
    """Lets requests come in the moment in which a task of aiohttp's has answered one, before it waits for the next."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pieces: list[list[bytes]] = []
        """What comes at the end of the first ordinary request, of the second, and so on."""
        self.ordinary = 0
        """Requests that had a task."""
        self.is_leaving = False
        handle = web.RequestHandler._handle_request

        async def handled(handler: FastConnection, *arguments: Any) -> Any:
            self.ordinary += 1
            outcome = await handle(handler, *arguments)
            if self.pieces:
                asyncio.get_running_loop().call_soon(self._come, handler, self.pieces.pop(0))
            return outcome

        monkeypatch.setattr(web.RequestHandler, "_handle_request", handled)

    def _come(self, handler: FastConnection, pieces: list[bytes]) -> None:
        for piece in pieces:
            handler.data_received(piece)
        if self.is_leaving:
            assert handler.transport is not None
            handler.transport.abort()


@pytest.mark.shortcuts
@pytest.mark.parametrize("cut", [None, 100, 700], ids=["whole", "in its head", "in its body"])
async def test_a_request_that_comes_as_a_task_ends_needs_none(cut: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a quick client's would all have one. In two pieces it has; either way it is answered once, in its turn."""
    async with house() as opened:
        line = await Line(opened).begin()
        early = Early(monkeypatch)
        frames = [request(number, "tools/call", of="x" * 1000) for number in range(5, 10)]
        raw = [raw_post(line, frame) for frame in frames[1:]]
        early.pieces = [[one] if cut is None else [one[:cut], one[cut:]] for one in raw]
        await post_with_a_task(line, frames[0])
        for number, frame in enumerate(frames[: 2 if cut is None else 5], 5):
            assert [one.raw for one in await line.session.receive()] == [frame]
            await line.session.send([answer(number)])
            response = await line.wire.response()
            assert (response.status, await response.body()) == (200, answer(number).raw)
        assert early.ordinary == (1 if cut is None else 5)
        await line.call(20)
        line.wire.close()


@pytest.mark.shortcuts
async def test_a_client_that_leaves_as_a_task_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """What came with the end of the connection is handed on, as any request is; the session goes on."""
    async with house() as opened:
        line = await Line(opened).begin()
        early = Early(monkeypatch)
        early.is_leaving = True
        frame = request(6, "tools/call")
        early.pieces = [[raw_post(line, frame)]]
        await post_with_a_task(line, request(5, "tools/call"))
        await line.session.receive()
        await line.session.send([answer(5)])
        await line.wire.response()
        assert [one.raw for one in await line.session.receive()] == [frame]
        await line.session.send([answer(6)])
        line.wire.close()
        line.wire = await Wire.open(opened.base)
        await line.call(7)
        line.wire.close()


@pytest.mark.shortcuts
async def test_a_request_that_comes_with_its_connection_needs_no_task(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor do those that follow."""
    async with house() as opened:
        line = await Line(opened).begin()
        line.wire.close()
        early = Early(monkeypatch)
        frame = request(5, "tools/call")
        made = web.RequestHandler.connection_made

        def with_a_request(handler: FastConnection, transport: asyncio.BaseTransport) -> None:
            made(handler, transport)
            handler.data_received(raw_post(line, frame))

        monkeypatch.setattr(web.RequestHandler, "connection_made", with_a_request)
        line.wire = await Wire.open(opened.base)
        assert [one.raw for one in await line.session.receive()] == [frame]
        await line.session.send([answer(5)])
        assert await (await line.wire.response()).body() == answer(5).raw
        await line.call(6)
        assert early.ordinary == 0
        line.wire.close()


SMALL = dataclasses.replace(PATIENT, buffer_high=1000, buffer_low=700)  # two requests of 600 bytes are enough
BIG = "x" * 500


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let requests wait on their connections for as long as a busy machine may need to open them all."""
    monkeypatch.setattr(http_fast_connection, "_CROWDED", 30.0)


@contextlib.asynccontextmanager
async def crowd(count: int) -> AsyncIterator[tuple[House, Line, list[Line]]]:
    """Open a session whose server is told of two requests at a time, and connections that have made three calls."""
    async with house(SMALL) as opened:
        first = await Line(opened).begin()
        lines = []
        for _ in range(count):
            line = Line(opened)
            line.client, line.session, line.headers = first.client, first.session, first.headers
            line.wire = await Wire.open(opened.base)
            for number in (1, 22, 333):
                await line.call(number)
            lines.append(line)
        yield opened, first, lines
        for line in (first, *lines):
            line.wire.close()


async def post_all(lines: list[Line], session: HttpSession, first: int) -> list[bytes]:
    """POST one request on each connection; return them once all but the two that fit wait for room."""
    frames = [request(first + place, "tools/call", of=BIG) for place in range(len(lines))]
    for place, (line, frame) in enumerate(zip(lines, frames, strict=True)):
        await line.wire.send("POST", "/mcp", line.headers, frame)
        await until(lambda due=place: len(session.ledger) + session.waiting > due)
    assert (len(session.ledger), session.waiting) == (2, len(lines) - 2)
    return frames


async def receive(session: HttpSession, count: int) -> list[bytes]:
    """Take so many frames from the client."""
    seen: list[bytes] = []
    while len(seen) < count:
        seen += [frame.raw for frame in await session.receive()]
    assert len(seen) == count
    return seen


async def answer_all(lines: list[Line], session: HttpSession, first: int) -> None:
    """Answer each request, and see each answer come on its own connection."""
    await session.send([answer(first + place) for place in range(len(lines))])
    for place, line in enumerate(lines):
        response = await line.wire.response()
        assert (response.status, await response.body()) == (200, answer(first + place).raw)


@pytest.mark.parametrize("wait", [0.0, 0.3], ids=["a moment", "long"])
async def test_requests_wait_on_their_connections_for_room(wait: float) -> None:
    """Those beyond the high mark come in order once there is room, however long that takes; the next calls too."""
    async with crowd(7) as (_, line, lines):
        for first in (100, 200):
            frames = await post_all(lines, line.session, first)
            await asyncio.sleep(wait)
            assert line.session.waiting == 5 and line.session.inbox.waiting_bytes < 1500
            assert sorted(await receive(line.session, 7)) == sorted(frames)
            await answer_all(lines, line.session, first)
        assert not line.session.waiting
        for one in (line, *lines):
            await one.call(8)


@pytest.mark.usefixtures("unhurried")
@pytest.mark.shortcuts
async def test_requests_that_wait_for_a_moment_need_no_task_and_keep_their_order() -> None:
    """As many as there is room for are taken each time."""
    async with crowd(7) as (opened, line, lines):
        frames = await post_all(lines, line.session, 100)
        assert not opened.listener._http or not any(
            one._current_request
            for one in opened.listener._http.connections  # what aiohttp has a task for
        )
        assert [one.raw for one in await line.session.receive()] == frames[:2]
        await until(lambda: line.session.waiting == 3)
        assert line.session.inbox.waiting_bytes > 1000
        assert await receive(line.session, 5) == frames[2:]
        await answer_all(lines, line.session, 100)


@pytest.mark.usefixtures("unhurried")
@pytest.mark.shortcuts
async def test_those_who_wait_as_tasks_are_not_overtaken_again_and_again() -> None:
    """A page's request, which goes the ordinary way, comes first when there is room."""
    async with crowd(7) as (_, line, lines):
        frames = await post_all(lines, line.session, 100)
        page = asyncio.get_running_loop().create_task(
            line.client.post(request(300, "tools/call", of=BIG), origin="http://127.0.0.1")
        )
        await until(lambda: line.session.waiting == 6)
        assert [one.raw for one in await line.session.receive()] == frames[:2]
        rest = await receive(line.session, 6)
        assert rest == [request(300, "tools/call", of=BIG), *frames[2:]]
        await answer_all(lines, line.session, 100)
        await line.session.send([answer(300)])
        assert (await (await page).json())["id"] == 300


@pytest.mark.usefixtures("unhurried")
async def test_a_client_that_leaves_while_it_waits_for_room_is_forgotten() -> None:
    """Its request goes nowhere: nothing of it was accepted."""
    async with crowd(4) as (_, line, lines):
        frames = await post_all(lines, line.session, 100)
        lines[2].wire.close()
        await until(lambda: line.session.waiting == 1)
        assert await receive(line.session, 3) == [*frames[:2], frames[3]]
        assert not line.session.waiting and not line.session.inbox._at_room
        del lines[2]
        await line.session.send([answer(100), answer(101), answer(103)])


@pytest.mark.usefixtures("unhurried")
async def test_what_comes_behind_a_request_that_waits_for_room_waits_too() -> None:
    """On the same connection: each is taken once, and answered in order."""
    async with crowd(3) as (_, line, lines):
        frames = await post_all(lines, line.session, 100)
        await lines[2].wire.send("POST", "/mcp", line.headers, request(200, "ping"))
        assert await receive(line.session, 3) == frames
        await answer_all(lines, line.session, 100)
        assert await receive(line.session, 1) == [request(200, "ping")]
        await answer_all(lines[2:], line.session, 200)


@pytest.mark.usefixtures("unhurried")
async def test_a_session_that_ends_tells_those_who_wait_for_room() -> None:
    """Those that were accepted get their errors, the others 404: they surely were not delivered."""
    async with crowd(5) as (_, line, lines):
        await post_all(lines, line.session, 100)
        await line.session.aclose(EndpointBroken("gone"))
        responses = [await one.wire.response() for one in lines]
        assert [response.status for response in responses] == [200, 200, 404, 404, 404]
        bodies = [await response.body() for response in responses]
        assert [f'"id":{100 + place},'.encode() in body for place, body in enumerate(bodies[:2])] == [True] * 2
