"""Requests handed on from one kept connection to another: all that a client sees is as it is the ordinary way.

Every answer here is asked for twice: by a client whose first call it is, which goes aiohttp's way, and by one behind
whom connections are kept on both sides.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
from collections.abc import AsyncIterator, Callable

import pytest

from relay.endpoints.core.dialling import DiallingOptions
from relay.endpoints.http.client.aiohttp_dial import Dial
from relay.endpoints.http.client.pool import PooledConnection
from relay.endpoints.http.listening import ListeningOptions
from relay.endpoints.http.server.listener import HttpListener
from relay.limits import Limits
from tests.e2e.fault_server import JSON, Exchange, FaultServer, Script, error, result, sse_event
from tests.e2e.oracle import ACCEPT_BOTH, Client, Response, Wire, notification, request
from tests.endpoints.http.house import refused, until
from tests.endpoints.http.modern_house import ask, headers_for

pytestmark = pytest.mark.shortcuts

LOST = -32001
WARM = request(0, "tools/call", name="warm")
PACKED = {"Content-Encoding": "gzip"}
CALL = request(1, "tools/call", name="x")


class Answering(Script):
    """Answers calls named ``warm`` plainly, and what else comes as told."""

    async def call(self, exchange: Exchange) -> None:
        params = exchange.message.get("params") or {}
        await (exchange.result() if params.get("name") == "warm" else self.odd(exchange))

    async def odd(self, exchange: Exchange) -> None:
        await exchange.result()


class Hop:
    """A listener before a script, the connections behind it, and clients."""

    def __init__(self, listener: HttpListener, dial: Dial, server: FaultServer) -> None:
        self.listener, self.dial, self.server = listener, dial, server
        self.asked: list[bytes] = []
        """What went the short way."""
        self.clients: list[Client] = []

    def client(self) -> Client:
        client = Client(self.listener.base_url)
        client.session = "s"
        self.clients.append(client)
        return client

    async def warm_client(self) -> Client:
        """Return a client with a kept connection, while another is kept towards the server."""
        client = self.client()
        pool = None
        while pool is None or not pool._idle:
            await client.finished(await client.post(WARM))
            pool = self.dial._pool
            await asyncio.sleep(0)
        self.asked.clear()
        self.server.requests.clear()
        return client


@contextlib.asynccontextmanager
async def hop_to(
    script: Script, monkeypatch: pytest.MonkeyPatch, limits: Limits | None = None, **headers: str
) -> AsyncIterator[Hop]:
    """Hand requests on to a script, which knows the session ``s``."""
    script.live.add("s")
    limits = limits or Limits(close_grace=0.5)
    async with FaultServer.running(script) as server:
        dial = Dial(server.url, DiallingOptions(headers=headers, limits=limits))
        listener = HttpListener(options=ListeningOptions(limits=limits), server=dial)
        await listener.start()
        opened = Hop(listener, dial, server)
        ask_as_ever = PooledConnection.ask

        def noted(line: PooledConnection, head: bytes, body: bytes, on_answer: object) -> None:
            opened.asked.append(body)
            ask_as_ever(line, head, body, on_answer)  # type: ignore[arg-type]  # as it came

        monkeypatch.setattr(PooledConnection, "ask", noted)
        try:
            yield opened
        finally:
            for client in opened.clients:
                client.close()
            await listener.aclose()
            await dial.aclose()


async def seen(response: Response, was_read: asyncio.Event | None = None) -> tuple[int, dict[str, str], bytes]:
    """Return all that a client sees of an answer, but for the time of day and how its end is told."""
    body = b""
    async for chunk in response.chunks():
        body += chunk
        if was_read is not None:
            was_read.set()
    told = ("date", "content-length", "transfer-encoding", "server")
    return response.status, {name: value for name, value in response.headers.items() if name not in told}, body


def answer_to(exchange: Exchange) -> bytes:
    return json.dumps(result(exchange.message)).encode()


class Odd(Answering):
    """One of many answers."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.was_read = asyncio.Event()

    async def odd(self, exchange: Exchange) -> None:
        plain = answer_to(exchange)
        replies: dict[str, tuple[int, bytes, str | None, dict[str, str]]] = {
            "plain": (200, plain, JSON, {}),
            "spaced": (200, b'\n{"id" : 1,\r\n "result":{"n":1.0, "n":1234567890123456789012}} ', JSON, {}),
            "with a charset": (200, plain, "application/json; charset=utf-8", {}),
            "with headers": (200, plain, JSON, {"Retry-After": "3", "Cache-Control": "no-store", "X-Own": "kept back"}),
            "with a cookie": (200, plain, JSON, {"Set-Cookie": "a=b"}),
            "an error": (200, json.dumps(error(1, -32601, "no")).encode(), JSON, {}),
            "of another": (200, json.dumps({"jsonrpc": "2.0", "id": 2, "result": {}}).encode(), JSON, {}),
            "no JSON": (200, b"<p>", JSON, {}),
            "empty": (200, b"", JSON, {}),
            "a page": (200, b"<p>", "text/html", {}),
            "accepted": (202, b"", None, {}),
            "a request": (200, b'{"jsonrpc":"2.0","id":1,"method":"x"}', JSON, {}),
            "gzip": (200, gzip.compress(plain), JSON, PACKED),
            "400": (400, json.dumps(error(1, -32602, "bad")).encode(), JSON, {}),
            "401": (401, b"", None, {"WWW-Authenticate": "Bearer"}),
            "404": (404, json.dumps(error(None, -32001, "no session")).encode(), JSON, {}),
            "405": (405, b"", None, {"Allow": "GET"}),
            "429": (429, b"later", "text/plain", {"Retry-After": "9"}),
            "500": (500, b"<h1>oh</h1>", "text/html", {}),
            "302": (302, b"", None, {"Location": "http://127.0.0.1:1/"}),
        }  # fmt: skip
        heavy: dict[str, Callable[[], bytes]] = {  # made only where they are wanted: each takes a tenth of a second
            "large": lambda: json.dumps(result(exchange.message, {"fill": "x" * 300_000})).encode(),
            "huge": lambda: json.dumps(result(exchange.message, {"fill": "é" * 3_000_000})).encode(),
            "huge, of another": lambda: json.dumps({"id": 2, "result": "x" * 300_000}).encode(),
            "a bomb": lambda: gzip.compress(b'{"id":1,"result":"%b"}' % (b" " * 2**24)),
            "too large": lambda: json.dumps(result(exchange.message, {"fill": "x" * 8_000_000})).encode(),
        }
        if self.how in heavy:
            await exchange.reply(200, heavy[self.how](), kind=JSON, headers=PACKED if self.how == "a bomb" else {})
        elif self.how in replies:
            status, body, kind, headers = replies[self.how]
            await exchange.reply(status, body, kind=kind, headers=headers)
        elif self.how == "a stream":
            await exchange.open_stream()
            await exchange.chunk(sse_event({"jsonrpc": "2.0", "method": "notifications/message", "params": {}}))
            await exchange.chunk(sse_event(result(exchange.message)))
            await exchange.end()
        elif self.how == "a stream that breaks":
            await exchange.open_stream()
            await exchange.chunk(sse_event({"jsonrpc": "2.0", "method": "notifications/message", "params": {}}))
            await self.was_read.wait()  # aiohttp drops what nobody has read when the connection breaks
            exchange.cut()
        elif self.how == "in pieces":
            await exchange.raw(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n" % len(plain)
            )
            await exchange.raw(b"\r\n" + plain[:9])
            await asyncio.sleep(0.01)
            await exchange.raw(plain[9:])
        elif self.how in ("huge, in pieces", "huge, cut"):
            huge = json.dumps(result(exchange.message, {"fill": "x" * 1_000_000})).encode()
            await exchange.raw(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(huge)
            )
            for start in range(0, len(huge), 200_000):
                await asyncio.sleep(0.005)
                await exchange.raw(huge[start : start + 200_000])
                if self.how == "huge, cut" and start:
                    exchange.cut()
                    return
        elif self.how == "no length to speak of":
            length = "9" * 15
            await exchange.raw(
                f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n".encode()
            )
            exchange.cut()
        elif self.how == "huge, in chunks":
            huge = json.dumps(result(exchange.message, {"fill": "x" * 400_000})).encode()
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
            await exchange.raw(head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(huge), huge))
        elif self.how == "to its end":
            await exchange.raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + plain)
            exchange.writer.close()
        elif self.how == "half":
            await exchange.raw(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{")
            exchange.cut()
        else:
            assert self.how == "cut"
            exchange.cut()


HOWS = (
    "plain", "spaced", "with a charset", "with headers", "with a cookie", "an error", "large", "of another", "no JSON",
    "empty", "a page", "accepted", "a request", "gzip", "400", "401", "404", "405", "429", "500", "302", "a stream",
    "a stream that breaks", "in pieces", "to its end", "half", "cut", "huge", "huge, of another", "a bomb", "too large",
    "huge, in pieces", "huge, cut", "huge, in chunks", "no length to speak of",
)  # fmt: skip


@pytest.mark.parametrize("how", HOWS)
async def test_each_answer_is_the_same_either_way(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Status, headers and bytes; the request, too; and the next call is none the worse."""
    script = Odd(how)
    limits = Limits(close_grace=0.5, max_frame_bytes=7_000_000 if how == "too large" else 2**26)
    async with hop_to(script, monkeypatch, limits) as opened:
        cold = opened.client()
        expected = await seen(await cold.post(CALL), script.was_read)
        script.was_read.clear()
        (sent,) = opened.server.requests
        assert not opened.asked, "there was no kept connection"
        warm = await opened.warm_client()
        assert await seen(await warm.post(CALL), script.was_read) == expected
        assert opened.asked == [CALL], "it went the short way"
        (again,) = opened.server.requests
        assert (again.method, again.target, again.body) == (sent.method, sent.target, sent.body)
        cookies = {"cookie": "a=b"} if how == "with a cookie" else {}
        assert again.headers == {**sent.headers, **cookies}
        await until(lambda: opened.listener.in_flight == 0)
        script.how = "plain"
        assert (await seen(await (await opened.warm_client()).post(CALL)))[0] == 200


async def test_only_ordinary_requests_go_the_short_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither pages of browsers, nor what is refused, nor what asks nothing, nor what is large."""
    async with hop_to(Answering(), monkeypatch) as opened:
        client = await opened.warm_client()
        await client.finished(await client.post(notification("notifications/initialized")))
        await client.finished(await client.post(CALL, origin="http://127.0.0.1"))
        await client.finished(await client.post(request(1, "tools/call", name="x" * 300_000)))
        await refused(await client.post(CALL, accept="text/html"), 406)
        await refused(await client.post(CALL, host="evil.example"), 421)
        await refused(await client.post(b'{"jsonrpc":"2.0","id":1,"id":1,"method":"x"}'), 400)
        assert not opened.asked


async def test_the_operators_headers_win_no_place_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that a client may send too stands once, as the ordinary way has it."""
    async with hop_to(Answering(), monkeypatch, traceparent="ours", Authorization="Bearer t") as opened:
        cold = opened.client()
        await cold.finished(await cold.post(CALL, traceparent="theirs", authorization="Bearer theirs"))
        (sent,) = opened.server.requests
        warm = await opened.warm_client()
        await warm.finished(await warm.post(CALL, traceparent="theirs", authorization="Bearer theirs"))
        (again,) = opened.server.requests
        assert opened.asked == [CALL] and again.headers == sent.headers
        assert again.headers["authorization"] == "Bearer t" and not again.repeated


async def test_a_modern_request_keeps_its_headers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mcp-Method and the like are the client's own."""
    frame = ask(5)
    async with hop_to(Answering(), monkeypatch) as opened:
        client = await opened.warm_client()
        client.session = None
        headers = {name.lower(): value for name, value in headers_for(frame).items() if value is not None}
        sent_as = {name.replace("-", "_"): value for name, value in headers.items()}
        assert (await seen(await client.post(frame, **sent_as)))[0] == 200
        assert opened.asked == [frame]
        assert headers.items() <= opened.server.requests[0].headers.items()


class Slow(Answering):
    """Answers when it is told to, and notes who leaves."""

    def __init__(self) -> None:
        super().__init__()
        self.go_on, self.came, self.left = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def odd(self, exchange: Exchange) -> None:
        await self.begin(exchange)
        self.came.set()
        holding = asyncio.get_running_loop().create_task(exchange.hold())
        waiting = asyncio.get_running_loop().create_task(self.go_on.wait())
        await asyncio.wait((holding, waiting), return_when=asyncio.FIRST_COMPLETED)
        if holding.done():
            self.left.set()
        else:
            holding.cancel()
            await self.end(exchange)
        waiting.cancel()
        await asyncio.wait((holding, waiting))

    async def begin(self, exchange: Exchange) -> None:
        pass

    async def end(self, exchange: Exchange) -> None:
        await exchange.result()


@pytest.mark.parametrize("wait", [0.02, 5.0], ids=["late", "soon"])
async def test_an_answer_may_take_its_time(wait: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is sent once, and answered once, whichever way it goes in the end."""
    script = Slow()
    async with hop_to(script, monkeypatch, Limits(answer_wait=wait, close_grace=0.5)) as opened:
        client = await opened.warm_client()
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(client.post(CALL))
            await script.came.wait()
            assert opened.listener.in_flight == 1
            await asyncio.sleep(0.06)
            assert opened.listener.in_flight == 1
            script.go_on.set()
        assert (await seen(asking.result()))[0] == 200
        assert len(opened.server.requests) == 1 and opened.asked == [CALL]
        await until(lambda: opened.listener.in_flight == 0)


async def call_that_waits(opened: Hop, script: Slow) -> Wire:
    """Make a call on a connection of its own, which is at the server by now."""
    wire = await (await opened.warm_client()).wire()
    headers = [("Content-Type", JSON), ("Accept", ACCEPT_BOTH), ("Mcp-Session-Id", "s")]
    await wire.send("POST", "/mcp", headers, CALL)
    await script.came.wait()
    await asyncio.sleep(0.06)
    return wire


@pytest.mark.parametrize("wait", [0.02, 5.0], ids=["late", "soon"])
async def test_a_client_that_leaves_is_gone_upstream(wait: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which cancels a modern request; nothing waits for the answer any more."""
    script = Slow()
    async with hop_to(script, monkeypatch, Limits(answer_wait=wait, close_grace=0.5)) as opened:
        wire = await call_that_waits(opened, script)
        wire.close()
        await script.left.wait()
        await until(lambda: opened.listener.in_flight == 0)
        assert len(opened.server.requests) == 1


@pytest.mark.parametrize("wait", [0.02, 5.0], ids=["late", "soon"])
async def test_a_relay_that_ends_answers_first(wait: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an error that carries the request's id."""
    script = Slow()
    async with hop_to(script, monkeypatch, Limits(answer_wait=wait, close_grace=0.5)) as opened:
        client = await opened.warm_client()
        async with asyncio.TaskGroup() as group:
            asking = group.create_task(client.post(CALL))
            await script.came.wait()
            await asyncio.sleep(0.06)
            group.create_task(opened.listener.aclose())
        found = await refused(asking.result(), 502)
        assert (found["id"], found["error"]["code"]) == (1, LOST)


class Half(Slow):
    """Begins a large answer, and ends it when it is told to."""

    async def begin(self, exchange: Exchange) -> None:
        self.huge = json.dumps(result(exchange.message, {"fill": "x" * 1_000_000})).encode()
        head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(self.huge)
        await exchange.raw(head + self.huge[:500_000])

    async def end(self, exchange: Exchange) -> None:
        await exchange.raw(self.huge[500_000:])


@pytest.mark.parametrize("wait", [0.02, 5.0], ids=["late", "soon"])
@pytest.mark.parametrize("then", ["the rest", "the client leaves", "the relay ends"])
async def test_half_of_a_large_answer_and_then(then: str, wait: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits on its connection for the rest, and no longer than any answer; whoever leaves is missed."""
    script = Half()
    async with hop_to(script, monkeypatch, Limits(answer_wait=wait, close_grace=0.5)) as opened:
        wire = await call_that_waits(opened, script)
        assert opened.listener.in_flight == 1 and opened.asked == [CALL]
        if then == "the rest":
            script.go_on.set()
            status, _, body = await seen(await wire.response())
            assert (status, len(json.loads(body)["result"]["fill"])) == (200, 1_000_000)
        elif then == "the client leaves":
            wire.close()
            await script.left.wait()
        else:
            closing = asyncio.get_running_loop().create_task(opened.listener.aclose())
            found = await refused(await wire.response(), 502)
            assert (found["id"], found["error"]["code"]) == (1, LOST)
            await closing
            await script.left.wait()
        wire.close()
        await until(lambda: opened.listener.in_flight == 0)
        assert len(opened.server.requests) == 1


async def test_many_at_a_time_are_not_mixed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight clients with the same ids, each answer its own."""

    class Echo(Answering):
        async def odd(self, exchange: Exchange) -> None:
            await asyncio.sleep(exchange.message["params"]["delay"] / 1000)
            await exchange.result(exchange.message["params"])

    async with hop_to(Echo(), monkeypatch) as opened:
        clients = [await opened.warm_client() for _ in range(8)]

        async def use(number: int, client: Client) -> None:
            for turn in range(25):
                said = {"name": f"{number}/{turn}", "delay": (number * turn) % 3}
                response = await client.post(request(turn, "tools/call", **said))
                (frame,) = await client.finished(response)
                assert json.loads(frame) == {"jsonrpc": "2.0", "id": turn, "result": said}

        async with asyncio.TaskGroup() as group:
            for number, client in enumerate(clients):
                group.create_task(use(number, client))
        assert len(opened.asked) > 100
