"""The heads of requests: how large one may be, what is said of one that is larger, and what it may expect."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from relay.limits import Limits
from tests.e2e.oracle import ACCEPT_BOTH, Response, Wire, initialize, request
from tests.endpoints.http.house import House, answer, house, refused
from tests.endpoints.http.through.test_pass_through import Saying, hop_to

BEARER = "Bearer " + "x" * 10_240
UPGRADE = {
    "connection": "Upgrade",
    "upgrade": "websocket",
    "sec-websocket-version": "13",
    "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==",
}
ROUTES: tuple[tuple[str, str, dict[str, str], int], ...] = (
    ("GET", "/status", {}, 200),
    ("GET", "/health", {}, 200),
    ("OPTIONS", "/mcp", {}, 204),
    ("GET", "/sse", {"accept": "text/event-stream"}, 200),
    ("GET", "/mcp", {"accept": "text/event-stream"}, 400),
    ("GET", "/mcp", UPGRADE, 101),
    ("DELETE", "/mcp", {}, 400),
    ("POST", "/messages/?session_id=x", {"content-type": "application/json"}, 404),
)


def head_of(size: int, more: str = "") -> bytes:
    """Write the head of a GET that is so large."""
    start = f"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\n{more}X-Fill: ".encode()
    return start + b"x" * (size - len(start) - 4) + b"\r\n\r\n"


@pytest.mark.parametrize(("method", "path", "headers", "status"), ROUTES)
async def test_a_bearer_of_10_kb_goes_everywhere(method: str, path: str, headers: dict[str, str], status: int) -> None:
    """And all headers together may be 32 KiB."""
    async with house() as there:
        for more in ({"authorization": BEARER}, {"authorization": BEARER, "x-a": "y" * 10_000, "x-b": "z" * 11_000}):
            client = there.client()
            response = await client.request(method, path, {**headers, **more}, b"{}" if method == "POST" else None)
            assert response.status == status
            client.close()


@pytest.mark.parametrize("path", ["/mcp", "/mcp/"])  # the second is nobody's quick way
async def test_calls_with_a_large_bearer_are_answered(path: str) -> None:
    """From the first of a session to the tenth on one connection."""
    async with house() as there:
        client, session = await there.begin()
        wire = await client.wire()
        head = [("content-type", "application/json"), ("accept", ACCEPT_BOTH), ("authorization", BEARER)]
        for number in range(10):
            await wire.send("POST", path, [*head, ("mcp-session-id", client.session or "")], request(number, "x"))
            await session.receive()
            await session.send([answer(number)])
            assert await (await wire.response()).frames() == [answer(number).raw]


@pytest.mark.parametrize(
    ("raw", "status", "reason"),
    [
        pytest.param(head_of(32 * 1024), 200, "", id="as large as may be"),
        pytest.param(head_of(32 * 1024 + 1), 431, "larger than 32768 bytes", id="a byte more"),
        pytest.param(head_of(40_000), 431, "larger than 32768 bytes", id="one header"),
        pytest.param(head_of(10_000, "X: " + "y" * 8000 + "\r\n") + b"", 200, "", id="two"),
        pytest.param(head_of(200_000), 431, "larger than 32768 bytes", id="much more"),
        pytest.param(head_of(41_000, ("X: " + "y" * 990 + "\r\n") * 40), 431, "larger than 32768", id="the sum"),
        pytest.param(head_of(5_000, "X: y\r\n" * 200), 431, "more than 128 headers", id="their number"),
        pytest.param(b"GET /status?" + b"x" * 33_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414, "target", id="target"),
        pytest.param(head_of(40_000)[:-4], 431, "larger than 32768 bytes", id="without an end"),
    ],
)
@pytest.mark.parametrize("how", ["first", "kept", "in pieces"])
async def test_a_larger_head_is_refused_with_the_reason(raw: bytes, status: int, reason: str, how: str) -> None:
    """431, in JSON, and the connection ends; whether it is the first on its connection or comes in many reads."""
    async with house(Limits(close_grace=0.1)) as there:
        wire = await Wire.open(there.base)
        if how == "kept":
            await wire.send("GET", "/status")
            await (await wire.response()).body()
        step = 3000 if how == "in pieces" else len(raw)
        for at in range(0, len(raw), step):  # all of it, though it is refused before the last piece
            wire.writer.write(raw[at : at + step])
            await wire.writer.drain()
            await asyncio.sleep(0)
        response = await wire.response()
        if status == 200:
            assert (response.status, (await response.json())["sessions"]) == (200, 0)
        else:
            assert reason in (await refused(response, status))["error"]["message"]
            assert await wire.reader.read() == b""
        wire.close()


async def test_a_body_is_no_head() -> None:
    """In however many reads it comes, and whether its request's task runs already or not."""
    async with house() as there:
        client, session = await there.begin()
        wire = await client.wire()
        head = [("content-type", "application/json"), ("mcp-session-id", client.session or "")]
        for number, step in enumerate((100_000, 20_000, 60_000)):
            frame = request(number, "x", fill="y" * 200_000)
            await wire.send("POST", "/mcp", [*head, ("content-length", str(len(frame)))], frame[:10])
            for at in range(10, len(frame), step):
                wire.writer.write(frame[at : at + step])
                await asyncio.sleep(0)
            await session.receive()
            await session.send([answer(number)])
            assert await (await wire.response()).frames() == [answer(number).raw]


# -- Expect -----------------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def place(where: str) -> AsyncIterator[tuple[str, str, list[tuple[str, str]], bytes, House | None]]:
    """Yield a base, a path, headers and a frame that are taken there, and the house whose session it is for."""
    head = [("content-type", "application/json"), ("accept", ACCEPT_BOTH)]
    if where == "through":
        async with hop_to(Saying(200, answer(1).raw)) as (hop, _):
            yield hop.base, "/mcp", [*head, ("mcp-session-id", "s")], request(1, "x"), None
        return
    async with house(Limits(close_grace=0.1)) as there:
        if where == "/messages/":
            client = there.client()
            stream = await client.request("GET", "/sse", {"accept": "text/event-stream"})
            path = (await stream.next_event()).data.decode()
            yield there.base, path, head, initialize(), None
            return
        yield there.base, where, head, initialize(), there


async def final(wire: Wire) -> Response:
    """Read the final response, which must come with no other before it."""
    response = await wire.response()
    assert response.status != 100
    return response


ANSWERS = {
    "/mcp": [answer(0).raw],
    "/mcp/": [answer(0).raw],
    "/messages/": [b"Accepted"],
    "through": [answer(1).raw],
}
PLACES = tuple(ANSWERS)


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("expect", ["100-continue", "100-Continue"])
async def test_a_client_that_waits_is_told_to_go_on(where: str, expect: str) -> None:
    """100 once its head is admitted, then the answer to its body; and again on the same connection."""
    async with place(where) as (base, path, head, frame, there):
        wire = await Wire.open(base)
        for _ in range(2):
            length = ("content-length", str(len(frame)))
            await wire.send("POST", path, [*head, ("expect", expect), length])
            assert (await wire.response()).status == 100
            wire.writer.write(frame)
            if there is not None:
                session = await there.session()
                await session.receive()
                await session.send([answer(0)])
            response = await final(wire)
            assert response.status in (200, 202)
            assert await response.frames() == ANSWERS[where]
            if where == "/messages/":
                break  # a session begins once
        wire.close()


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"host": "evil.example"}, 421),
        ({"origin": "http://evil.example"}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"content-length": "99999999999"}, 413),
        ({"expect": "200-ok"}, 417),
        ({"expect": "100-continue, gold"}, 417),
    ],
)
async def test_a_head_that_is_refused_is_answered_at_once(where: str, changed: dict[str, str], status: int) -> None:
    """By its final status alone; the connection closes, since nobody could tell the body from the next request."""
    async with place(where) as (base, path, head, frame, _):
        wire = await Wire.open(base)
        sent = {**dict(head), "expect": "100-continue", "content-length": str(len(frame)), **changed}
        await wire.send("POST", path, list(sent.items()))
        response = await final(wire)
        await refused(response, status)
        assert response.headers["connection"] == "close"
        assert await wire.reader.read() == b""
        wire.close()


@pytest.mark.parametrize("where", PLACES)
async def test_who_does_not_wait_need_not_be_told(where: str) -> None:
    """A body that is here already is answered; HTTP/1.0 knows no expectations, nor does a request without a body."""
    async with place(where) as (base, path, head, frame, there):
        wire = await Wire.open(base)
        expects = [*head, ("expect", "100-continue")]
        await wire.send("POST", path, expects, frame)
        if there is not None:
            session = await there.session()
            await session.receive()
            await session.send([answer(0)])
        response = await wire.response()
        assert response.status in (200, 202)
        await response.frames()
        await wire.send("GET", "/status", [("expect", "100-continue")])
        assert (await final(wire)).status == 200
        old = await Wire.open(base)
        lines = "".join(f"{name}: {value}\r\n" for name, value in [*head, ("expect", "gold")])
        old.writer.write(f"POST {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n{lines}Content-Length: 2\r\n\r\n".encode())
        old.writer.write(b"{}")
        assert (await final(old)).status == 400
        wire.close()
        old.close()
