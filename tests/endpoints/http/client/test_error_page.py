"""What a server says that does not answer, told by every way of dialling: its page, and what its headers say."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Mapping

import httpx
import pytest
from yarl import URL

import relay
from relay.app.doctor.cli import check
from relay.app.doctor.settings import DoctorSettings
from relay.app.log.stderr import StderrSink
from relay.endpoints.core.dialling import DiallingOptions
from relay.endpoints.http.client.content_coding import decode
from relay.endpoints.http.client.error_page import describe_page, page_of
from relay.errors import EndpointBroken, RelayError
from relay.frames.frame import Frame
from relay.limits import Limits
from tests.e2e.conversation import Direct
from tests.e2e.fault_server import Exchange, FaultServer, Script, SseScript, result
from tests.e2e.oracle import request
from tests.endpoints.http.through.test_pass_through import hop

HELLO = Frame(b'{"jsonrpc":"2.0","id":1,"method":"initialize","params":{}}')
KEPT = [pytest.param(door, marks=pytest.mark.shortcuts) for door in ("http kept", "through kept")]
DOORS = ("http", "httpx", "sse", "sse post", "ws", "through", "test", "test ws", *KEPT)
PAGE = b"<!DOCTYPE html>\n<html><head><title lang=en>\n 503 &amp; gone </title></head><body>nginx</body></html>"


class Refusing(SseScript):
    """Does everything right until ``refusal`` is set: then that is the answer to everything."""

    path = "/mcp"

    def __init__(self, kind: str = "http") -> None:
        super().__init__()
        self.kind = kind
        self.refusal: tuple[int, Mapping[str, str], bytes] | None = None

    async def answer(self, exchange: Exchange) -> None:
        if self.refusal is not None:
            status, headers, body = self.refusal
            await exchange.reply(status, body, headers=headers)
        elif self.kind == "sse":
            await super().answer(exchange)
        else:
            await Script.answer(self, exchange)

    async def post(self, exchange: Exchange) -> None:
        await (super().post(exchange) if self.kind == "sse" else Script.post(self, exchange))

    async def call(self, exchange: Exchange) -> None:
        await (super().call(exchange) if self.kind == "sse" else Script.call(self, exchange))

    async def get(self, exchange: Exchange) -> None:
        await (super().get(exchange) if self.kind == "sse" else Script.get(self, exchange))


async def _said(endpoint: relay.Endpoint) -> str:
    try:
        await endpoint.send([HELLO])
        return b"".join(frame.raw for frame in await endpoint.receive()).decode()
    except RelayError as exc:
        return str(exc)
    finally:
        await endpoint.aclose()


async def told_by(door: str, status: int, headers: Mapping[str, str], body: bytes, capsys: object = None) -> str:
    """Return what a client, or an operator, is told of an answer that comes by one way."""
    script = Refusing("sse" if door == "sse post" else "http")
    refusal = status, {"Content-Type": "text/html", **headers}, body
    async with FaultServer.running(script) as server:
        address = f"127.0.0.1:{server.port}/mcp"
        if door in ("http", "http kept"):
            async with Direct.to(server.url) as client:
                await client.handshake()
                if door == "http kept":
                    await client.warm_up(server)
                script.refusal = refusal
                return json.dumps(await client.call(1), ensure_ascii=False)
        if door == "sse post":
            async with Direct.to(server.url, transport="sse") as client:
                await client.handshake()
                script.refusal = refusal
                return json.dumps(await client.call(1), ensure_ascii=False)
        if door in ("through", "through kept"):
            async with hop(server.url) as opened:
                asking = opened.client(None)
                for at in range(20 if door == "through kept" else 1):
                    await asking.finished(await asking.post(request(at, "ping")))
                script.refusal = refusal
                response = await asking.post(request(99, "tools/call"))
                return b"".join(await asking.finished(response)).decode()
        script.refusal = refusal
        if door == "httpx":
            async with httpx.AsyncClient() as library:
                return await _said(relay.connect(f"http://{address}", client=library))
        if door == "sse":
            return await _said(relay.connect(f"http://{address}", transport="sse"))
        if door == "ws":
            return await _said(relay.connect(f"ws://{address}"))
        scheme = "ws" if door == "test ws" else "http"
        assert isinstance(capsys, pytest.CaptureFixture)
        await check(DoctorSettings(target=f"{scheme}://{address}", timeout=5), StderrSink(), wants_json=True)
        return str(json.loads(capsys.readouterr().out)["error"])


@pytest.mark.parametrize("door", DOORS)
async def test_page_and_retry_after_are_told(door: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The title of a page, and how long to wait, stand in the error."""
    said = await told_by(door, 503, {"Retry-After": "17"}, PAGE, capsys)
    assert "HTTP 503" in said
    assert "503 & gone" in said
    assert "Retry-After: 17 s" in said
    assert "nginx" not in said


@pytest.mark.parametrize("door", ["http", "httpx", "through", *KEPT])
async def test_page_in_place_of_an_answer_is_told(door: str) -> None:
    """A login page comes with 200."""
    said = await told_by(door, 200, {}, PAGE)
    assert "content type 'text/html' 503 & gone" in said
    assert "nginx" not in said


@pytest.mark.parametrize("door", DOORS)
async def test_where_a_redirect_leads_is_told(door: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The Location stands in the error, without a login and without its query."""
    location = "https://u:s3cret@elsewhere.example/v2/mcp?token=s3cret#s3cret"
    said = await told_by(door, 302, {"Location": location}, PAGE, capsys)
    assert "HTTP 302" in said
    assert (
        ": redirects are not followed; this one leads to https://elsewhere.example/v2/mcp?…: configure that"
        in said.replace("the final address", "that")
    )
    assert "s3cret" not in said


@pytest.mark.parametrize("coding", ["br", "zstd"])
@pytest.mark.parametrize("door", DOORS)
async def test_coding_that_nobody_asked_for_is_named(
    door: str, coding: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A page in a coding that cannot be read is told as that, beside its status."""
    said = await told_by(door, 502, {"Content-Encoding": coding}, b"\x8b\x01\x80" * 20, capsys)
    assert "HTTP 502" in said
    assert f"Content-Encoding: {coding}, which the relay did not request" in said


@pytest.mark.parametrize("coding", ["X-GZip", "deflate"])
@pytest.mark.parametrize("door", DOORS)
async def test_packed_page_is_read(door: str, coding: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A page in gzip or deflate is read, though nobody asked for it."""
    packed = zlib.compress(PAGE) if coding == "deflate" else gzip.compress(PAGE)
    assert "503 & gone" in await told_by(door, 503, {"Content-Encoding": coding}, packed, capsys)


CALL_DOORS = ("http", "httpx", "through", *KEPT)


class Packing(Script):
    """Packs the answer to every call."""

    def __init__(self, coding: str, packed: bytes | None = None, before: bytes = b"") -> None:
        super().__init__()
        self.coding, self.packed, self.before = coding, packed, before

    async def call(self, exchange: Exchange) -> None:
        body = self.before + json.dumps(result(exchange.message)).encode()
        packed = {"gzip": gzip.compress(body), "deflate": zlib.compress(body)}.get(self.coding, body)
        headers = {"Content-Encoding": self.coding} if self.coding else {}
        await exchange.reply(200, self.packed or packed, kind="application/json", headers=headers)

    async def initialize(self, exchange: Exchange) -> None:
        body = self.before + json.dumps(self.welcome(exchange)).encode()
        await exchange.reply(200, body, kind="application/json", headers={"Mcp-Session-Id": self.open_session()})


@contextlib.asynccontextmanager
async def calling(door: str, server: FaultServer, limits: Limits) -> AsyncIterator[Direct]:
    """Yield a client whose calls go by one way."""
    async with contextlib.AsyncExitStack() as stack:
        url = server.url
        if door.startswith("through"):
            url = f"{(await stack.enter_async_context(hop(url, limits=limits))).base}/mcp"
        client = await stack.enter_async_context(Direct.to(url, limits=limits))
        if door == "httpx":
            from relay.endpoints.http.client.httpx_dial import HttpxDial

            library = await stack.enter_async_context(httpx.AsyncClient())
            client.remote._dial = HttpxDial(url, library, DiallingOptions(limits=limits))
        await client.handshake()
        if door.endswith("kept"):
            await client.warm_up(server)
        yield client


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
@pytest.mark.parametrize("door", CALL_DOORS)
async def test_packed_answer_is_read(door: str, coding: str) -> None:
    """An answer in gzip or deflate is an answer."""
    async with FaultServer.running(Packing(coding)) as server, calling(door, server, Limits()) as client:
        for at in range(3):
            assert (await client.call(at, n=at))["result"] == {"echo": {"n": at}}


@pytest.mark.parametrize("door", CALL_DOORS)
@pytest.mark.parametrize("fault", ["br", "no gzip", "half"])
async def test_answer_that_cannot_be_unpacked_is_an_error(door: str, fault: str) -> None:
    """One that cannot be read is an error that names the coding; the next call has its own outcome."""
    body = gzip.compress(b'{"jsonrpc":"2.0","id":1,"result":{"fill":"%b"}}' % (b"x" * 3000))
    packed = {"br": b"\x8b\x01\x80", "no gzip": b"{}", "half": body[:-9]}[fault]
    script = Packing("br" if fault == "br" else "gzip", packed)
    async with FaultServer.running(script) as server, calling(door, server, Limits()) as client:
        said = (await client.call(1))["error"]
        assert ("Content-Encoding: br" if fault == "br" else "gzip") in said["message"]
        assert said["data"] == {"delivered": "unknown"}
        script.coding, script.packed = "gzip", None
        assert "result" in await client.call(2)


@functools.cache
def packed(byte: bytes, size: int) -> bytes:
    """Pack that many of the same byte, once for all tests."""
    return gzip.compress(byte * size)


@pytest.mark.parametrize("door", CALL_DOORS)
async def test_bomb_ends_at_the_limit(door: str) -> None:
    """What unpacks to more than a frame may have is an error of its own size, and costs no more than that."""
    limits = Limits(max_frame_bytes=1_000_000)
    bomb = packed(b" ", 64 * 2**20)
    async with FaultServer.running(Packing("gzip", bomb)) as server, calling(door, server, limits) as client:
        assert (await client.call(1))["error"]["code"] == -32003


@pytest.mark.parametrize("door", CALL_DOORS)
async def test_body_with_a_byte_order_mark_is_read(door: str) -> None:
    """A BOM before a JSON body is no part of it: the answer is read, and passed on without it."""
    bom = b"\xef\xbb\xbf"
    async with FaultServer.running(Packing("", before=bom)) as server, calling(door, server, Limits()) as client:
        for at in range(3):
            assert "result" in await client.call(at)
        assert not [line for line in client.lines if bom in line]


@pytest.mark.parametrize("door", ["http", "through", *KEPT])
async def test_refusal_with_a_byte_order_mark_is_read(door: str) -> None:
    """A JSON-RPC error with a BOM before it is the request's error, in the server's words."""
    body = b'\xef\xbb\xbf{"jsonrpc":"2.0","id":%b,"error":{"code":-32050,"message":"theirs"}}'
    said = await told_by(door, 400, {"Content-Type": "application/json"}, body % (b"99" if "through" in door else b"1"))
    assert json.loads(said)["error"] == {"code": -32050, "message": "theirs"}


# A redirect within the origin.


class Moved(Script):
    """Redirects every POST at its old path."""

    def __init__(self, location: str, status: int = 307) -> None:
        super().__init__()
        self.location, self.status = location, status
        self.is_moved = True
        self.old = "/mcp"

    async def answer(self, exchange: Exchange) -> None:
        if self.is_moved and exchange.request.method == "POST" and exchange.request.target == self.old:
            await exchange.reply(self.status, headers={"Location": self.location})
        else:
            await super().answer(exchange)


@pytest.mark.parametrize("status", [307, 308])
@pytest.mark.parametrize("door", CALL_DOORS)
async def test_redirect_within_the_origin_is_followed_once(door: str, status: int) -> None:
    """``/mcp`` that is at ``/mcp/`` works, costs one request more, and the new address is used from then on."""
    script = Moved("/mcp/?v=%2F", status)
    async with FaultServer.running(script) as server:
        async with calling(door, server, Limits()) as client:
            for at in range(5):
                assert "result" in await client.call(at)
        asked = [(one.method, one.target) for one in server.requests]
    assert asked.count(("POST", "/mcp")) == 1
    assert {target for method, target in asked if method != "POST"} <= {"/mcp/?v=%2F"}
    assert asked[0:2] == [("POST", "/mcp"), ("POST", "/mcp/?v=%2F")]
    assert server.requests[0].body == server.requests[1].body


@pytest.mark.parametrize("door", KEPT)
async def test_server_that_moves_meanwhile_is_followed(door: str) -> None:
    """Calls on kept connections that meet the redirect are all answered, each executed once."""
    script = Moved("/mcp/")
    script.is_moved = False
    async with FaultServer.running(script) as server, calling(door, server, Limits()) as client:
        script.is_moved = True
        answers = await asyncio.gather(*(client.call(at) for at in range(8)))
        assert all("result" in one for one in answers)
        before = len(server.requests)
        for at in range(8, 12):
            assert "result" in await client.call(at)
        assert {one.target for one in server.requests[before:]} == {"/mcp/"}
        executed = [one.message["id"] for one in server.posted("tools/call") if one.target == "/mcp/"]
        assert sorted(executed) == sorted({*executed}), "none was executed twice"


async def test_large_request_is_sent_where_the_server_is() -> None:
    """HTTP to HTTP, where its bytes are dropped as they are sent: not before it is known where the server is."""
    script = Moved("/mcp/")
    async with FaultServer.running(script) as server, hop(server.url) as opened:
        asking = opened.client(None)

        async def call(at: int) -> dict[str, object]:
            response = await asking.post(request(at, "tools/call", text="x" * 300_000))
            return dict(json.loads(await response.body()))

        for at in range(2):
            assert "result" in await call(at)
        script.old, script.location = "/mcp/", "/mcp/new"
        assert "error" in await call(2)  # too late for this one
        assert "result" in await call(3)
        executed = [one.message["id"] for one in server.posted("tools/call") if one.target != "/mcp"]
        assert executed == [0, 1, 2, 3]


@pytest.mark.parametrize("door", CALL_DOORS)
@pytest.mark.parametrize(
    "location",
    ["http://localhost:{port}/mcp/", "https://127.0.0.1:{port}/mcp/", "http://127.0.0.1:1/mcp/", "//evil.example/mcp/"],
)
async def test_redirect_to_another_origin_is_not_followed(door: str, location: str) -> None:
    """Nothing goes to another origin: another name, scheme or port of the same machine is one."""
    script = Moved("")
    script.is_moved = False
    async with FaultServer.running(script) as server, calling(door, server, Limits()) as client:
        script.location = location.format(port=server.port)
        script.is_moved = True
        said = (await client.call(1))["error"]
        assert said["data"]["delivered"] == "no"
        assert "/mcp/: configure the final address" in said["message"]
        assert {one.target for one in server.requests} == {"/mcp"}


async def test_redirects_in_a_ring_end() -> None:
    """A second redirect is an error that says where it leads."""

    class Ring(Script):
        async def answer(self, exchange: Exchange) -> None:
            await exchange.reply(307, headers={"Location": "/b" if exchange.request.target == "/mcp" else "/mcp"})

    async with FaultServer.running(Ring()) as server, Direct.to(server.url) as client:
        said = (await client.call(1, "initialize"))["error"]["message"]
        assert f"this one leads to http://127.0.0.1:{server.port}/mcp" in said
        assert len(server.requests) == 2


@pytest.mark.parametrize("status", [301, 302, 303])
async def test_other_redirects_are_not_followed(status: int) -> None:
    """Only 307 and 308 say that the request is to be sent again as it is."""
    async with FaultServer.running(Moved("/mcp/", status)) as server, Direct.to(server.url) as client:
        assert f"leads to {server.url}/" in (await client.call(1, "initialize"))["error"]["message"]
        assert len(server.requests) == 1


async def test_sse_post_is_followed() -> None:
    """The place that an ``endpoint`` event names may be elsewhere in the origin, too."""

    class Slash(SseScript):
        async def answer(self, exchange: Exchange) -> None:
            if exchange.request.target.startswith("/messages?"):
                await exchange.reply(307, headers={"Location": exchange.request.target.replace("?", "/?")})
            else:
                await super().answer(exchange)

        def endpoint(self, session: str) -> str:
            return f"/messages?session_id={session}"

    async with FaultServer.running(Slash()) as server, Direct.to(server.url, transport="sse") as client:
        await client.handshake()
        assert "result" in await client.call(1)
        assert [one.target.partition("?")[0] for one in server.requests].count("/messages") == 1


# Pure.


class _Answer:
    def __init__(self, status: int, **headers: str) -> None:
        self.status = status
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


@pytest.mark.parametrize(
    ("status", "headers", "body", "said"),
    [
        (500, {}, b"<html><body>no title</body></html>", ""),
        (500, {}, b"<title>\x1b[31m red\xff</title>", "[31m red\ufffd"),
        (500, {}, b"<title>" + b"x" * 999 + b"</title>", "x" * 200),
        (500, {}, b'\xef\xbb\xbf{"error":{"message":"theirs"}}', "theirs"),
        (500, {}, b"first\nsecond", "first"),
        (500, {"Content_Type": "text/html; charset=iso-8859-1"}, b"<title>zu f\xfcr</title>", "zu f\u00fcr"),
        (500, {"Content_Type": 'Text/HTML;charset="Windows-1251"'}, b"<title>\xc4\xe0</title>", "\u0414\u0430"),
        (500, {"Content_Type": "text/html; charset=windows-1"}, b"<title>\xc3\xa4</title>", "\u00e4"),
        (500, {"Content_Type": "text/html; charset=punycode"}, b"<title>\xc3\xa4</title>", "\u00e4"),
        (429, {"Retry_After": "Fri, 01 Jan 2027 00:00:00 GMT"}, b"", "Retry-After: Fri, 01 Jan 2027 00:00:00 GMT"),
        (429, {"Retry_After": "\x1b[2J" + "9" * 999}, b"", "Retry-After:  [2J" + "9" * 196),
        (
            300,
            {"Location": "/d"},
            b"choose",
            "choose; redirects are not followed; this one leads to http://h/d: configure the final address",
        ),
        (302, {}, b"<title>Found</title>", "redirects are not followed; configure the final address"),
        (
            302,
            {"Location": "../b?x=1"},
            b"",
            "redirects are not followed; this one leads to http://h/b?…: configure the final address",
        ),
        (
            302,
            {"Location": "http://u:p@[::1/x?y"},
            b"",
            "redirects are not followed; this one leads to http://[::1/x: configure the final address",
        ),
    ],
)
def test_what_is_said_of_a_page(status: int, headers: dict[str, str], body: bytes, said: str) -> None:
    """Printable, bounded, without a login."""
    assert describe_page(page_of(_Answer(status, **headers), body, URL("http://h/a/c"))).strip() == said


@pytest.mark.parametrize("size", [0, 1, 65536, 65537, 300_000])
@pytest.mark.parametrize("coding", ["gzip", "deflate", "bare", "members"])
@pytest.mark.parametrize("piece", [1, 1000])
async def test_unpacking_gives_the_same_bytes(size: int, coding: str, piece: int) -> None:
    """However it comes; a bare deflate and gzip of several members, too."""
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    bare = zlib.compressobj(wbits=-15)
    packed = {
        "gzip": gzip.compress(data),
        "deflate": zlib.compress(data),
        "bare": bare.compress(data) + bare.flush(),
        "members": gzip.compress(data[: size // 2]) + gzip.compress(data[size // 2 :]),
    }[coding]

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(packed), piece):
            yield packed[at : at + piece]

    name = "deflate" if coding in ("deflate", "bare") else "gzip"
    parts = [part async for part in decode(pieces(), name, "it")]
    assert b"".join(parts) == data
    assert max(map(len, parts), default=0) <= 64 * 1024


async def test_unpacking_lets_others_run() -> None:
    """A body that unpacks to much does not hold up the loop."""
    body = packed(b"\0", 32 * 2**20)

    async def pieces() -> AsyncIterator[bytes]:
        yield body

    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async with asyncio.TaskGroup() as group:
        counting = group.create_task(count())
        async for _ in decode(pieces(), "gzip", "it"):
            pass
        counting.cancel()
    assert turns >= 30


async def test_empty_body_is_in_no_coding() -> None:
    """A head that names a coding for no body at all is no fault."""

    async def pieces() -> AsyncIterator[bytes]:
        for piece in (b"",):
            yield piece

    for coding in ("gzip", "br"):
        assert [part async for part in decode(pieces(), coding, "it")] == []
    with pytest.raises(EndpointBroken):
        assert [part async for part in decode(_one(b"x"), "br", "it")]


async def _one(piece: bytes) -> AsyncIterator[bytes]:
    yield piece
