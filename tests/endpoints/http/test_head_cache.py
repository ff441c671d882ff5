"""A head that has come before is recognized byte for byte: what the parser would say of it, or nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import EMPTY_PAYLOAD
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser, RawRequestMessage
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from relay.endpoints.core.tasks import TaskScope
from relay.endpoints.http.client.cookies import CookieJar
from relay.endpoints.http.client.kept import ServerHint
from relay.endpoints.http.client.pool import ConnectionPool, PooledConnection, PooledResponse
from relay.endpoints.http.head_cache import CachedHead
from relay.endpoints.http.server.fast_connection import FastConnection
from tests.e2e.oracle import request
from tests.endpoints.http.house import House, answer, house
from tests.endpoints.http.server.test_fast_connection import Line

pytestmark = pytest.mark.shortcuts

NAMES = st.sampled_from(["Accept", "mcp-session-id", "X-Content-Length", "X", "cookie", "Content-Length-X"])
VALUES = st.text(st.sampled_from("abc019 :%;=,/Content-Length"), max_size=30)
BODIES = st.integers(1, 1200).map(lambda size: b"\r\n{"[: size % 4] + b"x" * (size - size % 4 or 1))


@st.composite
def heads(draw: st.DrawFn) -> str:
    """A head in which ``@`` stands for the length of the body."""
    drawn = draw(st.lists(st.tuples(NAMES, st.sampled_from([":", ": ", ":  "]), VALUES), max_size=5))
    lines = ["".join(parts) for parts in drawn]
    name = draw(st.sampled_from(["Content-Length", "content-length", "CONTENT-length"]))
    lines.insert(draw(st.integers(0, len(lines))), f"{name}: @")
    return "\r\n".join(["POST /mcp HTTP/1.1", "Host: h", *lines, "", ""])


def whole(head: str, body: bytes) -> bytes:
    """Put a head and a body together."""
    return head.replace("@", str(len(body))).encode() + body


def parse(data: bytes) -> list[tuple[RawRequestMessage, bytes | None]]:
    """Return what a new C parser makes of ``data``: each message with its body, None if that is not whole."""
    loop = asyncio.get_running_loop()
    parser = HttpRequestParser(BaseProtocol(loop), loop, 2**16)
    found: list[tuple[RawRequestMessage, bytes | None]] = []
    for message, payload in parser.feed_data(data)[0]:
        body = b"" if payload is EMPTY_PAYLOAD else b"".join(payload._buffer)
        found.append((message, body if payload.is_eof() else None))
    return found


def learn(data: bytes) -> CachedHead[RawRequestMessage] | None:
    """Learn the head of a whole request."""
    [(message, body)] = parse(data)
    assert body is not None
    return CachedHead.of(data, body, message)


def means(message: RawRequestMessage) -> object:
    """Return all that a head says but for the length of the body."""
    headers = [(name, value) for name, value in message.raw_headers if name.lower() != b"content-length"]
    return message.method, message.path, message.version, message.should_close, headers


@given(heads(), BODIES, BODIES)
async def test_a_body_of_any_size_is_found(head: str, first: bytes, second: bytes) -> None:
    """With the length that it has, however many digits that takes."""
    known = learn(whole(head, first))
    if known is not None:  # else the length is written in a way of its own
        assert known.body_of(whole(head, second)) == second
    else:
        assert f": {len(first)}\r\n".encode() not in whole(head, first)


@pytest.mark.parametrize("size", [1, 8, 9, 10, 11, 98, 99, 100, 101, 998, 999, 1000, 1001, 9999, 10000])
async def test_sizes_at_which_digits_change(size: int) -> None:
    """The length counts its own digits in what is left."""
    head = "POST /mcp HTTP/1.1\r\nHost: h\r\nContent-Length: @\r\n\r\n"
    known = learn(whole(head, b"x" * 50))
    assert known is not None
    assert known.body_of(whole(head, b"y" * size)) == b"y" * size


@given(heads(), BODIES, st.data())
async def test_what_is_recognized_is_what_the_parser_says(head: str, body: bytes, data: st.DataObject) -> None:
    """Whatever is changed, cut off or added."""
    first = whole(head, body)
    known = learn(first)
    if known is None:
        return
    at = data.draw(st.integers(0, len(first)))
    piece = data.draw(st.sampled_from([b"", b"x", b"0", b"\r\n", b"\r\n\r\n", b"Content-Length: 3\r\n", first]))
    changed = first[:at] + piece + first[at + data.draw(st.integers(0, 3)) :]
    recognized = known.body_of(changed)
    if recognized is not None:
        [(message, parsed)] = parse(changed)
        assert (means(message), parsed) == (means(known.message), recognized)


@pytest.mark.parametrize(
    "data",
    [
        b"POST /mcp HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        b"POST /mcp HTTP/1.1\r\nHost: h\r\nContent-Length:  2\r\n\r\n{}",
        b"POST /mcp HTTP/1.1\r\nHost: h\r\nContent-Length: 02\r\n\r\n{}",
        b"POST /mcp HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"POST /mcp HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
        b"POST /mcp HTTP/1.1\r\nHost: h\r\nContent-Length: 20000\r\n\r\n" + b" " * 20000,
    ],
)
async def test_unusual_heads_stay_the_parser_s(data: bytes) -> None:
    """A length said twice, or oddly, or by chunks; no body; one that does not come in one read."""
    try:
        known = learn(data)
    except Exception as refusal:  # llhttp's own: two lengths
        assert "Content-Length" in str(refusal)
    else:
        assert known is None


# -- on a connection


def parsed(opened: House) -> list[int]:
    """Return how many requests the parser has seen, for each open connection."""
    assert opened.listener._http is not None
    return sorted(connection._request_count for connection in opened.listener._http.connections)


def line_of(opened: House, line: Line) -> FastConnection:
    """Return the relay's side of a line."""
    assert opened.listener._http is not None
    own = line.wire.writer.get_extra_info("sockname")
    [found] = [
        connection
        for connection in opened.listener._http.connections
        if connection.transport is not None and connection.transport.get_extra_info("peername") == own
    ]
    assert isinstance(found, FastConnection)
    return found


def head_of(line: Line) -> bytes:
    """Return the head of a request over this line, but for what says how long its body is, and for its end."""
    host = f"Host: 127.0.0.1:{line.wire.writer.get_extra_info('peername')[1]}"
    lines = ["POST /mcp HTTP/1.1", host, *(f"{name}: {value}" for name, value in line.headers), ""]
    return "\r\n".join(lines).encode()


def bytes_of(line: Line, frame: bytes) -> bytes:
    """Return a whole request over this line."""
    return head_of(line) + b"Content-Length: %d\r\n\r\n" % len(frame) + frame


async def answer_over(line: Line, number: int) -> None:
    """Have the server answer; see that it comes."""
    await line.session.send([answer(number)])
    response = await line.wire.response()
    assert (response.status, await response.body()) == (200, answer(number).raw)


async def test_calls_pass_the_parser_by() -> None:
    """From the fourth request of a connection on, whatever their sizes."""
    async with house() as opened:
        line = await Line(opened).begin()
        before = parsed(opened)
        for number in range(50, 70):
            await line.call(number)
        assert parsed(opened) == before
        line.wire.close()


async def test_requests_that_come_together_are_all_answered_in_order() -> None:
    """One that waits for its answer after it has passed the parser by, and two behind it."""
    async with house() as opened:
        line = await Line(opened).begin()
        await line.wire.send("POST", "/mcp", line.headers, request(71, "ping"))
        await line.session.receive()
        await line.wire.send("POST", "/mcp", line.headers, request(72, "ping"))
        await line.wire.send("POST", "/mcp", line.headers, request(73, "ping"))
        for number in (71, 72, 73):
            if number > 71:
                assert [one.raw for one in await line.session.receive()] == [request(number, "ping")]
            await answer_over(line, number)
        await line.call(74)
        line.wire.close()


async def test_two_in_one_read_go_to_the_parser() -> None:
    """Their bytes are no longer one request."""
    async with house() as opened:
        line = await Line(opened).begin()
        line.wire.writer.write(bytes_of(line, request(75, "ping")) + bytes_of(line, request(76, "ping")))
        for number in (75, 76):
            assert [one.raw for one in await line.session.receive()] == [request(number, "ping")]
            await answer_over(line, number)
        for number in (77, 78):
            await line.call(number)
        line.wire.close()


BEGUN = b"GET /nothere HTTP/1.1\r\nX: "


@pytest.mark.parametrize(
    "trick",
    [
        b"Transfer-Encoding: chunked\r\n\r\n1\r\nP\r\n0\r\n\r\nP",
        b"Content-Length: 1\r\n\r\nP\r\n\r\nP",
        b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n%b" % (len(BEGUN), BEGUN, BEGUN),
        b"Content-Length: %d\r\n\r\n%b\r\n\r\n%b" % (len(BEGUN), BEGUN, BEGUN),
    ],
)
async def test_what_the_parser_holds_is_not_passed_by(trick: bytes) -> None:
    """A request with the beginning of another behind it, which looks like its body: the next is a part of that."""
    async with house() as opened:
        line = await Line(opened).begin()
        line.wire.writer.write(head_of(line) + trick)
        response = await line.wire.response()
        assert response.status == 400
        await response.body()
        assert not line_of(opened, line)._is_between
        await line.wire.send("POST", "/mcp", line.headers, request(90, "tools/call"))
        response = await line.wire.response()
        assert response.status in (400, 404)
        assert not line.session.inbox.waiting_bytes, "no call was made"
        line.wire.close()


@pytest.mark.parametrize("cut", [1, 20, -30, -1])
async def test_a_request_in_two_reads_is_whole(cut: int) -> None:
    """And so are those after it."""
    async with house() as opened:
        line = await Line(opened).begin()
        frame = request(80, "tools/call")
        data = bytes_of(line, frame)
        before = parsed(opened)
        line.wire.writer.write(data[:cut])
        while line_of(opened, line)._is_between:
            await asyncio.sleep(0)  # until the first part has been read alone
        line.wire.writer.write(data[cut:])
        assert [one.raw for one in await line.session.receive()] == [frame]
        await answer_over(line, 80)
        assert parsed(opened) != before
        await line.call(81)
        line.wire.close()


async def test_a_client_that_leaves_is_noticed() -> None:
    """Its call had passed the parser by; the session lives on."""
    async with house() as opened:
        line = await Line(opened).begin()
        await line.wire.send("POST", "/mcp", line.headers, request(82, "tools/call"))
        await line.session.receive()
        line.wire.close()
        while len(parsed(opened)) > 1:
            await asyncio.sleep(0)
        await line.session.send([answer(82)])  # kept for the client's return, not written to whoever comes next
        other = await Line(opened).begin()
        await other.call(83)
        other.wire.close()


# -- from a server


class Far:
    """A server by hand: answers every request with the same head, in the pieces it is told to."""

    def __init__(self, extra: str = "") -> None:
        self.extra = extra
        self.cuts: dict[int, int] = {}
        """Where the answer to a request is cut in two, by its id."""
        self.after: dict[int, bytes] = {}
        """What follows the answer to a request in the same write."""
        self.instead: dict[int, bytes] = {}
        """What is sent instead of an answer."""
        self.met: asyncio.Event = asyncio.Event()
        self.go_on: asyncio.Event = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                size = next(
                    int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")
                )
                number = json.loads(await reader.readexactly(size))["id"]
                body = answer(number).raw + b" " * (number % 7)
                lines = f"Content-Type: application/json\r\n{self.extra}Content-Length: {len(body)}\r\n\r\n"
                data = b"HTTP/1.1 200 OK\r\n" + lines.encode() + body + self.after.get(number, b"")
                data = self.instead.get(number, data)
                if (cut := self.cuts.get(number)) is not None:
                    writer.write(data[:cut])
                    self.met.set()
                    await self.go_on.wait()
                    data = data[cut:]
                writer.write(data)
        writer.close()


@contextlib.asynccontextmanager
async def pool_to(far: Far) -> AsyncIterator[ConnectionPool]:
    """Open one kept connection to a server by hand."""
    server = await asyncio.start_server(far.serve, "127.0.0.1", 0)
    tasks = TaskScope()
    port = server.sockets[0].getsockname()[1]
    pool = ConnectionPool(
        URL(f"http://127.0.0.1:{port}/mcp"), {}, CookieJar("127.0.0.1", is_secure=False), tasks, ServerHint()
    )
    pool.set_headers({"Content-Type": "application/json"})
    try:
        await grown(pool)
        yield pool
    finally:
        pool.close()
        await tasks.aclose()
        server.close()
        await server.wait_closed()


async def grown(pool: ConnectionPool) -> None:
    """Wait for a connection."""
    while not pool._idle:
        pool.grow(1)
        await asyncio.sleep(0)


async def ask(pool: ConnectionPool, number: int) -> bytes | None:
    """Ask over the kept connection; return the body, read whole or (odd numbers) as a stream; None if it was lost."""
    while (line := pool.take()) is None:
        await grown(pool)
    told: asyncio.Future[PooledResponse | None] = asyncio.get_running_loop().create_future()
    frame = request(number, "ping")
    line.ask(pool.head(frame), frame, told.set_result)
    found = await told
    if found is None:
        return None
    assert found.status in (200, 204)
    body = b"".join([piece async for piece in found.content.iter_any()]) if number % 2 else found.whole_body()
    line.release()
    return body


def said(number: int) -> bytes:
    return answer(number).raw + b" " * (number % 7)


async def test_answers_pass_the_parser_by(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the second on, read whole or as a stream."""
    async with pool_to(Far()) as pool:
        assert await ask(pool, 0) == said(0)
        parsed: list[object] = []
        monkeypatch.setattr(PooledConnection, "feed_data", lambda line, data, size=0: parsed.append(data))
        for number in range(1, 30):
            assert await ask(pool, number) == said(number)
        assert not parsed


async def test_an_answer_of_any_size_can_be_read_as_a_stream() -> None:
    """Also one that is larger than what a stream holds before it asks its source to pause."""
    async with pool_to(Far()) as pool:
        assert await ask(pool, 0) == said(0)
        [line] = pool._connections
        assert line._cached_head is not None
        for size in (1, 20_000, 300_000):
            body = b"x" * size
            found = PooledResponse(line, line._cached_head.message, body)
            assert (found.is_whole, found.size) == (True, size)
            assert b"".join([piece async for piece in found.content.iter_any()]) == body
        assert await ask(pool, 1) == said(1)


@pytest.mark.parametrize("cut", [1, 40, -30, -1])
async def test_an_answer_in_two_reads_is_whole(cut: int) -> None:
    """And so are those after it."""
    far = Far()
    async with pool_to(far) as pool:
        assert await ask(pool, 0) == said(0)
        far.cuts[23] = cut  # an odd one: read as a stream
        [line] = pool._connections
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(ask(pool, 23))
            await far.met.wait()
            while line._is_between:
                await asyncio.sleep(0)
            far.go_on.set()
        assert asking.result() == said(23)
        for number in (24, 25):
            assert await ask(pool, number) == said(number)


@pytest.mark.parametrize("extra", [said(5), b"\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", b"HTTP/1.1 2"])
async def test_what_follows_an_answer_is_never_another_s(extra: bytes) -> None:
    """Bytes that nobody asked for are not read as the answer to what is asked next."""
    far = Far()
    far.after[4] = extra
    async with pool_to(far) as pool:
        for number in (0, 1, 2, 3, 4, 5, 6, 8):
            assert await ask(pool, number) in (said(number), None if number >= 4 else b"")


@pytest.mark.parametrize("number", [4, 5])
async def test_an_answer_without_a_body(number: int) -> None:
    """Nor a length: it is told, and the line goes on."""
    far = Far()
    far.instead[number] = b"HTTP/1.1 204 No Content\r\n\r\n"
    async with pool_to(far) as pool:
        for asked in range(8):
            assert await ask(pool, asked) == (b"" if asked == number else said(asked))


async def test_the_head_of_a_100_is_not_the_answer_s() -> None:
    """Even with a length of its own, and in one read with the answer."""
    far = Far()
    for number, length in ((1, 41), (2, 9), (3, 100)):
        before = f"HTTP/1.1 100 Continue\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
        body = said(number)
        far.instead[number] = f"{before}HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    async with pool_to(far) as pool:
        for number in (0, 1, 2, 3, 4, 5):
            assert await ask(pool, number) == said(number)


async def test_a_server_that_closes_each_time_is_believed() -> None:
    """An answer that ends its connection is not repeated from memory."""
    async with pool_to(Far("Connection: close\r\n")) as pool:
        for number in range(4):
            [line] = pool._connections or [None]
            assert await ask(pool, number) == said(number)
            assert line is None or line not in pool._idle
