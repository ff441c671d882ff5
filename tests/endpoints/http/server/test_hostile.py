"""HttpListener: who may come in, hostile bytes, slow clients and clients that do not read."""

from __future__ import annotations

import asyncio

import pytest

from relay.endpoints.http.listening import ListeningOptions
from relay.endpoints.http.server.session import HttpSession
from relay.limits import Limits
from tests.e2e.oracle import Client, Wire, request
from tests.endpoints.http.house import (
    PATIENT,
    answer,
    house,
    message,
    posted,
    progress,
    refused,
    until,
    with_token,
)

# -- hostile bytes ----------------------------------------------------------------------------------------------------

_POST = "POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(_POST + "Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="both lengths"),
        pytest.param(_POST + "Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", id="two lengths"),
        pytest.param(_POST + "Content-Length: -1\r\n\r\n", id="negative length"),
        pytest.param(_POST + "Transfer-Encoding: xchunked\r\n\r\n", id="unknown transfer encoding"),
        pytest.param("GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\0b\r\n\r\n", id="NUL in a header"),
        pytest.param("GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: a\r\n b\r\n\r\n", id="folded header"),
        pytest.param("GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX : a\r\n\r\n", id="space before the colon"),
        pytest.param("GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + "x" * 40_000 + "\r\n\r\n", id="huge header"),
        pytest.param("GET /" + "x" * 40_000 + " HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", id="huge target"),
        pytest.param("GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n" + "X: y\r\n" * 2000 + "\r\n", id="2,000 headers"),
        pytest.param("GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n\r\n", id="two hosts"),
        pytest.param("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", id="TLS"),
        pytest.param("not http at all\r\n\r\n", id="not HTTP"),
    ],
)
async def test_hostile_headers_are_refused_in_json(raw: str) -> None:
    """A 4xx with a JSON-RPC error, the connection closed, and no traceback in any log."""
    async with house(Limits(close_grace=0.1)) as there:
        client = there.client()
        wire = await client.wire()
        wire.writer.write(raw.encode("latin-1"))
        response = await wire.response()
        error = await refused(response, response.status)
        assert 400 <= response.status < 500, error
        assert await wire.reader.read() == b""
        assert (await there.client().status())["sessions"] == 0


async def test_slow_headers_and_silent_connections_are_closed() -> None:
    """Nothing, or half a request's headers, within ``header_deadline``: the connection is closed."""
    async with house(Limits(header_deadline=0.2)) as there:
        client = there.client()
        wires = [await client.wire() for _ in range(3)]
        wires[1].writer.write(b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nX-")
        for wire in wires:
            assert await wire.reader.read() == b""


async def test_a_head_that_begins_late_has_its_time_too() -> None:
    """On a kept connection it counts from its first byte, however much later the connection would count as idle."""
    async with house(Limits(header_deadline=0.3, idle_connection=60)) as there:
        client, _ = await there.begin()
        wire = await client.wire()
        await asyncio.sleep(0.2)
        for byte in b"POST /mcp":
            wire.writer.write(bytes([byte]))
            await asyncio.sleep(0.01)
        async with asyncio.timeout(20):
            assert await wire.reader.read() == b""


@pytest.mark.parametrize("path", ["/mcp", "/mcp/"])  # the second is nobody's quick way
async def test_a_kept_connection_is_closed_once_it_has_been_idle(path: str) -> None:
    """For ``idle_connection`` seconds since its last answer, and not before."""
    async with house(Limits(header_deadline=60, idle_connection=0.4)) as there:
        client, session = await there.begin()
        wire = await client.wire()
        head = [("content-type", "application/json"), ("mcp-session-id", client.session or "")]
        for number in range(4):
            await asyncio.sleep(0.2)
            await wire.send("POST", path, head, request(number, "x"))
            await session.receive()
            await session.send([answer(number)])
            assert await (await wire.response()).frames() == [answer(number).raw]
        began = asyncio.get_running_loop().time()
        assert await wire.reader.read() == b""
        assert asyncio.get_running_loop().time() - began > 0.3
    assert Limits().idle_connection > 60, "which is how long load balancers keep a connection"


async def test_a_connection_is_not_idle_while_a_call_waits() -> None:
    """A POST that comes just before a kept connection would be closed for idleness still gets its answer."""
    async with house(Limits(idle_connection=0.3, answer_wait=0.25)) as there:
        client, session = await there.begin()
        await asyncio.sleep(0.2)
        posting = await posted(client, session, request(1, "x"))
        await asyncio.sleep(0.2)
        await session.send([answer(1)])
        assert await (await posting).frames() == [answer(1).raw]
    async with house(Limits(idle_connection=0.05, answer_wait=30)) as there:
        client, session = await there.begin()
        posting = await posted(client, session, request(1, "x"))
        await asyncio.sleep(0.3)
        await session.send([answer(1)])
        assert await (await posting).frames() == [answer(1).raw]


@pytest.mark.parametrize("framing", ["Content-Length: 60000000", "Transfer-Encoding: chunked"])
async def test_a_slow_body_is_closed_however_much_it_promises(framing: str) -> None:
    """The deadline grows with what has come, not with what was announced."""
    async with house(Limits(body_deadline=0.2, close_grace=0.2)) as there:
        client, _ = await there.begin()
        wire = await client.wire()
        wire.writer.write(f"{_POST}Mcp-Session-Id: {client.session}\r\n{framing}\r\n\r\n".encode())
        await refused(await wire.response(), 408)
        assert await wire.reader.read() == b""


async def test_connections_have_a_cap() -> None:
    """One more than ``max_connections`` gets 503 and is closed; the others go on."""
    async with house(Limits(max_connections=3, answer_wait=10)) as there:
        client = there.client()
        wires = [await client.wire() for _ in range(3)]
        await wires[0].send("GET", "/health")
        assert (await wires[0].response()).status == 200
        late = await client.wire()
        assert (await late.response()).status == 503
        assert await late.reader.read() == b""
        await wires[1].send("GET", "/health")
        assert (await wires[1].response()).status == 200


# -- who may come in --------------------------------------------------------------------------------------------------

_ROUTES = [
    ("POST", "/mcp"), ("GET", "/mcp"), ("DELETE", "/mcp"), ("OPTIONS", "/mcp"), ("POST", "/mcp/"), ("GET", "/sse"),
    ("POST", "/messages/?session_id=x"), ("POST", "/messages?session_id=x"), ("GET", "/health"), ("GET", "/status"),
    ("GET", "/nowhere"), ("PUT", "/mcp"),
]  # fmt: skip
_SOURCES: list[tuple[dict[str, str], int | None]] = [
    ({"host": "evil.example"}, 421),
    ({"host": "127.0.0.1.evil.example"}, 421),
    ({"host": "localhost@evil.example"}, 421),
    ({"host": "evil.example:80"}, 421),
    ({"host": "2130706433"}, 421),
    ({"host": "[::2]"}, 421),
    ({"host": "192.168.1.1"}, 421),
    ({"origin": "http://evil.example"}, 403),
    ({"origin": "null"}, 403),
    ({"origin": "http://localhost.evil.example"}, 403),
    ({"origin": "http://127.0.0.1@evil.example"}, 403),
    ({"origin": "file://"}, 403),
    ({"origin": "chrome-extension://localhost"}, 403),
    ({"sec-fetch-site": "cross-site"}, 403),
    ({"host": "localhost"}, None),
    ({"host": "LOCALHOST:1"}, None),
    ({"host": "[::1]:8080"}, None),
    ({"origin": "http://localhost:3000"}, None),
    ({"origin": "http://127.0.0.1:6274"}, None),
    ({"sec-fetch-site": "same-origin"}, None),
    ({"sec-fetch-site": "none"}, None),
]


@pytest.mark.parametrize(("method", "path"), _ROUTES)
async def test_every_route_looks_at_host_and_origin_first(method: str, path: str) -> None:
    """A foreign Host is 421, a foreign Origin or cross-site fetch 403, before anything else; loopback names pass."""
    async with house() as there:
        client = there.client()
        for source, status in _SOURCES:
            headers = {"accept": "text/event-stream, application/json", **source}
            response = await client.request(method, path, headers, b"{}" if method == "POST" else None)
            if status is None or (path, status) == ("/health", 421):  # a probe may come by any name
                assert response.status not in (403, 421), (source, response.status)
            else:
                await refused(response, status)
                assert not any(name.startswith("access-control") for name in response.headers), source
            client.close()


async def test_a_preflight_admits_mcp_headers_and_answers_show_the_session_id() -> None:
    """For an allowed origin only; exact, with Vary, never with credentials."""
    origin = "https://app.example"
    async with house(ListeningOptions(allowed_origins=(origin,), limits=PATIENT)) as there:
        client = there.client()
        wanted = "content-type,mcp-session-id,mcp-protocol-version,mcp-method,mcp-param-future,last-event-id"
        asked = {"access-control-request-method": "POST", "access-control-request-headers": wanted}
        response = await client.request("OPTIONS", "/mcp", {"origin": origin, **asked})
        assert response.status == 204
        assert response.headers["access-control-allow-origin"] == origin
        assert response.headers["access-control-allow-headers"] == wanted
        assert {"GET", "POST", "DELETE"} <= set(response.headers["access-control-allow-methods"].split(", "))
        assert response.headers["vary"] == "Origin"
        assert "access-control-allow-credentials" not in response.headers
        for response in (
            await client.post(request(1, "x"), origin=origin),
            await client.request("GET", "/sse", {"origin": origin}),
        ):
            assert response.headers["access-control-allow-origin"] == origin
            assert "Mcp-Session-Id" in response.headers["access-control-expose-headers"]
        other = await there.client().request("OPTIONS", "/mcp", {"origin": "http://localhost:1", **asked})
        assert not any(name.startswith("access-control") for name in other.headers)


async def test_allowed_hosts_and_any_origin() -> None:
    """--allowed-host adds names, with or without a port; '*' admits every origin, and Host is still checked."""
    options = ListeningOptions(allowed_hosts=("mcp.example", "b.example:81"), allowed_origins=("*",), limits=PATIENT)
    async with house(options) as there:
        client = there.client()
        for host, status in (("mcp.example:9", 200), ("b.example:81", 200), ("b.example:82", 421), ("c.example", 421)):
            response = await client.request("GET", "/status", {"host": host, "origin": "https://any.example"})
            assert response.status == status, host
            await client.finished(response)


# -- clients that do not read -----------------------------------------------------------------------------------------


async def _unread_stream(client: Client, session: HttpSession, frame: bytes) -> Wire:
    """POST a frame on a connection that is never read."""
    wire = await client.wire()
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's transport
    head = [("content-type", "application/json"), ("mcp-session-id", client.session or "")]
    await wire.send("POST", "/mcp", head, frame)
    assert [received.raw for received in await session.receive()] == [frame]
    await until(lambda: any(stream.has_reader for stream in session._streams.values()))
    return wire


@pytest.mark.async_timeout(40)
async def test_a_stalled_reader_is_dropped_after_the_stall_limit_and_holds_a_bounded_amount() -> None:
    """It holds its source back meanwhile, loses the connection, and the session goes on."""
    limits = Limits(answer_wait=0, stall=0.5, replay_bytes=2**20)
    async with house(limits) as there:
        client, session = await there.begin()
        await _unread_stream(client, session, request(1, "x"))
        began = asyncio.get_running_loop().time()
        highest = 0
        for number in range(40):
            await session.send([message(number, 2**20)])
            highest = max(highest, session.kept_bytes)
        assert asyncio.get_running_loop().time() - began >= 0.4
        assert highest <= limits.replay_bytes + limits.buffer_high + 2 * 2**20
        await until(lambda: not any(stream.has_reader for stream in session._streams.values()))
        posting = await posted(client, session, request(2, "x"))
        await session.send([answer(2)])
        assert await (await posting).frames() == [answer(2).raw]


@pytest.mark.async_timeout(40)
async def test_one_stalled_stream_among_read_ones_still_holds_the_source_back() -> None:
    """Frames for a reader in the same batch must not hide that another stream is full."""
    limits = Limits(answer_wait=0, stall=0.5, replay_bytes=2**20)
    async with house(limits) as there:
        client, session = await there.begin()
        await _unread_stream(client, session, with_token(1, "slow"))
        reading = await (await posted(client, session, with_token(2, "quick")))

        async def read() -> int:
            return len(await reading.frames())

        highest = 0
        async with asyncio.TaskGroup() as group:
            count = group.create_task(read())
            for number in range(40):
                await session.send([progress("slow", number, 2**20), progress("quick", number)])
                highest = max(highest, session.kept_bytes)
            await session.send([answer(2)])
        assert count.result() == 41
        assert highest <= limits.replay_bytes + limits.buffer_high + 2 * 2**20
