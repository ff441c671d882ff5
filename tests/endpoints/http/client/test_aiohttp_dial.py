"""Dial: why a server could not be reached, in words that say what to do, without secrets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Mapping
from types import SimpleNamespace

import pytest

from relay.endpoints.core.dialling import DiallingOptions
from relay.endpoints.http.client.aiohttp_dial import Dial
from relay.errors import EndpointBroken, EndpointUnavailable
from relay.limits import Limits
from tests.e2e.fault_server import Exchange, FaultServer, Script


@contextlib.asynccontextmanager
async def dialling(
    url: str, headers: Mapping[str, str] | None = None, limits: Limits | None = None
) -> AsyncIterator[Dial]:
    """Make the connections to a server for the length of the block."""
    dial = Dial(url, DiallingOptions(headers=headers or {}, limits=limits or Limits()))
    try:
        yield dial
    finally:
        await dial.aclose()


@contextlib.asynccontextmanager
async def speaking(answer: bytes) -> AsyncIterator[str]:
    """Give everybody the same answer to whatever is said first; yield the address."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.write(answer)
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    async with server:
        yield "{}:{}".format(*server.sockets[0].getsockname())


async def failure_of(url: str, headers: Mapping[str, str] | None = None, limits: Limits | None = None) -> str:
    """Return what is said when nothing can be sent to this server."""
    async with dialling(url, headers, limits) as dial:
        with pytest.raises(EndpointUnavailable) as caught:
            async with dial.request("POST", {}, body=b"{}"):
                raise AssertionError("it was sent")
        return str(caught.value)


async def test_a_name_that_has_no_address() -> None:
    """The name is said; what the query holds is not."""
    said = await failure_of("http://no-such-host.invalid/mcp?token=canary")
    assert said == "http://no-such-host.invalid/mcp: cannot connect: no address for 'no-such-host.invalid'"


async def test_a_server_that_speaks_plain_http() -> None:
    """An https address of it is the likely mistake, and the line says so."""
    async with speaking(b"HTTP/1.1 400 Bad Request\r\n\r\n") as address:
        said = await failure_of(f"https://{address}/mcp")
    assert "the TLS handshake failed: " in said
    assert said.endswith("; if the server speaks without TLS, its address begins with http://")


async def test_a_server_that_does_not_take_the_connection() -> None:
    """Given up after ``connect``: nothing was sent."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, contextlib.ExitStack() as waiting:
        address = full.getsockname()
        for _ in range(4):  # the kernel keeps one or two more than it was asked to
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(address)
        said = await failure_of(f"http://127.0.0.1:{address[1]}/mcp", limits=Limits(connect=0.2))
    assert said.endswith("/mcp: cannot connect: timed out")


async def test_a_header_that_cannot_be_sent() -> None:
    """A line break in a header of the caller's: refused before anything goes, and without the value."""
    async with FaultServer.running(Script()) as server:
        said = await failure_of(server.url, {"X-Team": "blue\r\nX-Evil: 1"})
        assert "invalid header" in said
        assert server.requests == []


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST."])
async def test_localhost_is_this_machine(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By either of its addresses, whatever the hosts file says: nobody is asked."""

    def asked(*_: object, **__: object) -> None:
        raise AssertionError("a resolver was asked")

    monkeypatch.setattr("aiohttp.resolver.DefaultResolver.resolve", asked)
    async with (
        FaultServer.running(Script()) as server,
        dialling(server.url.replace("127.0.0.1", host)) as dial,
        dial.request("GET", {}) as response,
    ):
        assert response.status == 405


class ErrorPage(Script):
    """Answers everything with a page."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.page = page

    async def answer(self, exchange: Exchange) -> None:
        await exchange.reply(500, self.page, kind="text/plain")


@pytest.mark.parametrize(
    ("page", "said"),
    [
        (b'{"error":{"code":1,"message":"no room"}}', "no room"),
        (b'{"error":"no room"}', "no room"),
        (b'{"detail":"no room"}', "no room"),
        (b'{"error":{"code":1}}', '{"error":{"code":1}}'),
        (b"no room\nfor you", "no room"),
        (b"no\x1b[31m room\xff", "no [31m room\ufffd"),
        (b"<html>no room</html>", ""),
        (b"you sent blue-canary", "you sent ***"),
        (b"you sent Bearer blue-canary", "you sent ***"),
        (b"x" * 1_000_000, "x" * 500),
        (b"", ""),
    ],
)
async def test_what_an_error_page_says(page: bytes, said: str) -> None:
    """Its message, or its first line; bounded, printable, and without the secrets of ours that it repeats."""
    headers = {"Authorization": "Bearer blue-canary"}
    async with (
        FaultServer.running(ErrorPage(page)) as server,
        dialling(server.url, headers, Limits(max_error_body=2000)) as dial,
        dial.request("POST", {}, body=b"{}") as response,
    ):
        body = await dial.read_error_body(response)
        assert len(body) <= 2000
        assert dial.describe_error_body(body) == said


async def test_an_answer_that_is_not_http() -> None:
    """It was reached, so what was sent may have been executed."""

    async with speaking(b"220 mail.example ESMTP\r\n\r\n") as address, dialling(f"http://{address}/mcp") as dial:
        with pytest.raises(EndpointBroken, match="the server's answer is not HTTP"):
            async with dial.request("POST", {}, body=b"{}"):
                raise AssertionError("it was an answer")


async def test_a_failure_of_the_callers_stays_its_own() -> None:
    """It is no header that could not be sent: the request has been answered."""
    async with FaultServer.running(Script()) as server, dialling(server.url) as dial:
        with pytest.raises(ValueError, match="mine"):
            async with dial.request("POST", {}, body=b'{"method":"x"}'):
                raise ValueError("mine")
        assert len(server.requests) == 1


@pytest.mark.parametrize("end", [b"\n", b"\r"])
async def test_others_get_their_turn_between_pieces_of_very_short_lines(end: bytes) -> None:
    """A reader takes 0.3 s for 3 MiB of them; long lines come as they arrived."""

    class Content:
        async def iter_any(self) -> AsyncIterator[bytes]:
            yield short
            yield long

    short, long = (b"data:" + end) * 500_000, b"data: " + b"x" * 3_000_000 + end
    turns = 0

    def take_turn() -> None:
        nonlocal turns
        turns += 1
        asyncio.get_running_loop().call_soon(take_turn)

    take_turn()
    async with dialling("http://127.0.0.1:1/mcp") as dial:
        arriving = dial.pieces(SimpleNamespace(content=Content()))  # type: ignore[arg-type]
        pieces = [(piece, turns) async for piece in arriving]
    *parts, (last, _) = pieces
    assert b"".join(part for part, _ in parts) == short
    assert last == long
    assert len({turn for _, turn in parts}) == len(parts) > 50
