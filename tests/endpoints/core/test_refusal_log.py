"""The refusal log warns of each kind once, and no stranger can fill it."""

from __future__ import annotations

import contextlib
import logging

import pytest

from relay.endpoints.core.refusal_log import RefusalLog
from relay.endpoints.socket.listener import TcpListener
from relay.limits import Limits
from tests.e2e.fault_server import Script
from tests.e2e.oracle import ACCEPT_BOTH, Wire, initialize, request
from tests.endpoints.http.house import house, until
from tests.endpoints.http.server.test_heads import UPGRADE, head_of
from tests.endpoints.http.through.test_pass_through import hop_to


def warned(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the warnings so far."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# -- the log ----------------------------------------------------------------------------------------------------------


def test_each_kind_is_said_once_and_the_others_at_info(caplog: pytest.LogCaptureFixture) -> None:
    """Also beyond the number of those that are named at once: one a minute then, with the number of the others."""
    caplog.set_level(logging.INFO, "relay")
    now = [0.0]
    log = RefusalLog(lambda: now[0])
    for _ in range(3):
        log.note("421", "a.example", "http: 421 a.example")
    assert len(warned(caplog)) == 1 and len(caplog.records) == 3
    for number in range(1000):
        log.note("421", f"{number}.example", f"http: 421 {number}.example")
        log.note("403", "http://evil.example", "http: 403")
    assert len([line for line in warned(caplog) if "421" in line]) == 10
    assert len([line for line in warned(caplog) if "403" in line]) == 1, "each status by itself"
    now[0] = 61.0
    for number in range(2000, 2005):
        log.note("421", f"{number}.example", f"http: 421 {number}.example")
    assert [line for line in warned(caplog) if "2000" in line] == [warned(caplog)[-1]]
    assert "991 others meanwhile" in warned(caplog)[-1]


def test_what_is_remembered_is_bounded() -> None:
    """However long the relay runs, and whatever strangers send."""
    now = [0.0]
    log = RefusalLog(lambda: now[0])
    for number in range(1000):
        now[0] += 61
        log.note("421", f"{number}" + "x" * 10_000, "x" * 100_000)
    (budget,) = log._budgets.values()
    assert len(budget.named) <= 256 and max(map(len, budget.named)) <= 300


def test_a_stranger_writes_no_lines_of_his_own(caplog: pytest.LogCaptureFixture) -> None:
    """No line breaks, no control characters, no end of it, and no login."""
    RefusalLog().note(
        "404", "x", "http: GET /\r\n\x1b[31m2026 WARNING all is well http://me:s3cret@a.example/" + "x" * 9999
    )
    (line,) = warned(caplog)
    assert "\n" not in line and "\r" not in line and "\x1b" not in line and len(line) < 400
    assert "s3cret" not in line and "me:" not in line


# -- what is refused --------------------------------------------------------------------------------------------------

JSON = {"content-type": "application/json", "accept": ACCEPT_BOTH}
REFUSED: dict[str, tuple[int, str, str, dict[str, str], bytes | None]] = {
    "a host": (421, "POST", "/mcp", {**JSON, "host": "evil.example"}, initialize()),
    "a host of a stream": (421, "GET", "/sse", {"host": "evil.example"}, None),
    "a host of an upgrade": (421, "GET", "/mcp", {**UPGRADE, "host": "evil.example"}, None),
    "an origin": (403, "POST", "/mcp", {**JSON, "origin": "http://evil.example"}, initialize()),
    "an origin of a preflight": (403, "OPTIONS", "/mcp", {"origin": "http://evil.example"}, None),
    "an origin of an upgrade": (403, "GET", "/mcp", {**UPGRADE, "origin": "http://evil.example"}, None),
    "accept": (406, "POST", "/mcp", {**JSON, "accept": "text/html"}, initialize()),
    "accept of a stream": (406, "GET", "/sse", {"accept": "text/html"}, None),
    "no session": (400, "POST", "/mcp", JSON, request(1, "x")),
    "no JSON": (400, "POST", "/mcp", JSON, b"nonsense"),
    "a subprotocol": (400, "GET", "/mcp", {**UPGRADE, "sec-websocket-protocol": "other"}, None),
    "no place": (404, "GET", "/nowhere", {}, None),
    "a method": (405, "PUT", "/mcp", {}, None),
    "too large": (413, "POST", "/mcp", {**JSON, "content-length": "99999999"}, None),
    "a type": (415, "POST", "/mcp", {**JSON, "content-type": "text/plain"}, b"{}"),
    "an expectation": (417, "POST", "/mcp", {**JSON, "expect": "gold"}, b"{}"),
}


MALFORMED = {
    "a header's value": b"Cookie: sid=hunter2\x01\r\n\r\n",
    "a header's name": b"Authorization : Bearer hunter2\r\n\r\n",
    "a header without a colon": b"Authorization hunter2\r\n\r\n",
    "a length": b"Content-Length: hunter2\r\n\r\n",
    "a chunk": b"Transfer-Encoding: chunked\r\n\r\nhunter2\r\n",
    "a host with a login": b"Host: me:hunter2@evil.example\r\n\r\n",
}


@pytest.mark.parametrize("case", [*MALFORMED, "a query", "a version", "a method"])
async def test_what_is_no_proper_http_is_told_without_its_bytes(case: str, caplog: pytest.LogCaptureFixture) -> None:
    """A secret may be among them, and none of it looks like one."""
    caplog.set_level(logging.INFO, "relay")
    lines = {"a query": b"POST /mcp?t=hunter2\x01 HTTP/1.1", "a version": b"POST /mcp?t=hunter2 HTTP/9.9"}
    line = lines.get(case, b"hunter2 hunter2" if case == "a method" else b"POST /mcp HTTP/1.1")
    rest = MALFORMED.get(case, b"\r\n")
    async with house() as there:
        wire = await Wire.open(there.base)
        host = b"" if rest.startswith(b"Host") else b"Host: localhost\r\n"
        types = b"Content-Type: application/json\r\nAccept: */*\r\n"
        wire.writer.write(line + b"\r\n" + host + types + rest)
        assert (await wire.response()).status in (400, 421)
        wire.close()
    assert len(warned(caplog)) == 1
    assert not any("hunter2" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("case", REFUSED)
async def test_a_refusal_is_a_warning_the_first_time(case: str, caplog: pytest.LogCaptureFixture) -> None:
    """One line that names what was refused, with its status; the same again is none."""
    caplog.set_level(logging.INFO, "relay")
    status, method, path, headers, body = REFUSED[case]
    async with house(Limits(max_frame_bytes=65536, close_grace=0.1)) as there:
        for _ in range(3):
            client = there.client()
            response = await client.request(method, path, {**headers, "authorization": "Bearer s3cret"}, body)
            assert response.status == status
            client.close()
    (line,) = warned(caplog)
    assert f"{status} " in line and method in line
    assert headers.get("host" if status == 421 else "origin" if status == 403 else "", "") in line
    assert not any("s3cret" in record.getMessage() for record in caplog.records)


async def test_one_who_makes_up_hosts_does_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """Nor origins, nor paths, nor heads."""
    async with house() as there:
        client = there.client()
        for number in range(60):
            for headers in ({"host": f"h{number}.example"}, {"origin": f"http://o{number}.example"}, {}):
                response = await client.request("GET", f"/x{number}" if not headers else "/mcp", headers)
                await response.body()
                client._idle.append(response.wire)
            wire = await Wire.open(there.base)
            wire.writer.write(f"nonsense {number}\r\n\r\n".encode())
            assert (await wire.response()).status == 400
            wire.close()
    assert len(warned(caplog)) <= 31


async def test_a_page_that_may_not_read_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """A preflight that is answered without the headers that its browser wants: the operator learns the option."""
    async with house() as there:
        for origin in ("http://localhost:3000", "http://localhost:3000", "http://localhost:4000"):
            head = {"origin": origin, "access-control-request-method": "POST"}
            assert (await there.client().request("OPTIONS", "/mcp", head)).status == 204
    assert ["--allow-origin" in line for line in warned(caplog)] == [True, True]


async def test_limits_that_are_reached_are_warnings(caplog: pytest.LogCaptureFixture) -> None:
    """Sessions, connections, and the size of heads."""
    async with house(Limits(max_sessions=1, max_connections=2, close_grace=0.1)) as there:
        client, _ = await there.begin()
        assert (await client.post(initialize(), mcp_session_id=None)).status == 429
        wires = [await Wire.open(there.base) for _ in range(2)]
        assert (await wires[1].response()).status == 503
        wires[0].writer.write(head_of(40_000))
        assert (await wires[0].response()).status == 431
        for wire in wires:
            wire.close()
    said = warned(caplog)
    assert [status for status in ("429", "503", "431") if any(status in line for line in said)] == ["429", "503", "431"]
    assert len(said) == 3


async def test_refusals_before_a_server_by_http_are_said_too(caplog: pytest.LogCaptureFixture) -> None:
    """HTTP to HTTP."""
    async with hop_to(Script()) as (hop, _):
        for headers in ({"host": "evil.example"}, {"accept": "text/html"}):
            assert (await hop.client().post(request(1, "x"), **headers)).status in (421, 406)
    assert len(warned(caplog)) == 2


async def test_what_tcp_refuses_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    """A web page that tries, and who speaks TLS; not our own end."""
    caplog.set_level(logging.INFO, "relay")
    listener = TcpListener()
    await listener.start()
    base = f"http://127.0.0.1:{listener.addresses[0][1]}"
    try:
        for opening in (b"POST / HTTP/1.1\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", b"\x16\x03\x01", b"\x16\x03\x01"):
            wire = await Wire.open(base)
            wire.writer.write(opening)
            with contextlib.suppress(ConnectionError):
                await wire.reader.read()
            wire.close()
        idle = await Wire.open(base)
        await until(lambda: listener.connections == 1)
    finally:
        await listener.aclose()
    idle.close()
    assert [("TLS" in line, "HTTP" in line) for line in warned(caplog)] == [(False, True), (True, False)]


# -- a byte order mark ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/mcp", "/mcp/"])
async def test_a_body_may_begin_with_a_byte_order_mark(path: str) -> None:
    """It is no part of the message, and the server behind does not get it."""
    async with house() as there:
        client, session = await there.begin()
        head = {"content-type": "application/json", "accept": ACCEPT_BOTH, "mcp-session-id": client.session}
        for number in range(4):
            frame = request(number, "x")
            wire = await client.wire()
            chosen = [(name, value or "") for name, value in head.items()]
            await wire.send("POST", path, chosen, b"\xef\xbb\xbf" + frame)
            assert [one.raw for one in await session.receive()] == [frame]
            wire.close()


async def test_a_byte_order_mark_stays_here() -> None:
    """HTTP to HTTP and HTTP+SSE; two are one too many."""
    async with hop_to(Script()) as (hop, server):
        client = hop.client()
        for _ in range(3):
            response = await client.post(b"\xef\xbb\xbf" + request(1, "x"))
            assert response.status == 200
            await client.finished(response)
        assert [told.body for told in server.requests] == [request(1, "x")] * 3
        assert (await client.post(b"\xef\xbb\xbf\xef\xbb\xbf" + request(1, "x"))).status == 400
    async with house() as there:
        client = there.client()
        stream = await client.request("GET", "/sse", {"accept": "text/event-stream"})
        path = (await stream.next_event()).data.decode()
        head = {"content-type": "application/json"}
        assert (await client.request("POST", path, head, b"\xef\xbb\xbf" + initialize())).status == 202
        session = await there.session()
        assert [one.raw for one in await session.receive()] == [initialize()]
