"""An answer with a wrong or missing id settles its call exactly once, over every transport."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import relay
from relay.endpoints.core.dialling import DiallingOptions
from relay.endpoints.http.client.aiohttp_dial import Dial
from relay.endpoints.http.listening import ListeningOptions
from relay.endpoints.http.server.listener import HttpListener
from relay.endpoints.http.server.modern import ModernClients
from relay.limits import Limits
from tests.e2e.odd_doors import CLIENTS, SERVERS, WAIT, Client, Message, OwnPipes, reaching, serving

META = {"io.modelcontextprotocol/protocolVersion": "2026-07-28", "io.modelcontextprotocol/clientCapabilities": {}}
PAYLOAD = b'{"a":0.10,"b":9007199254740993,"id":[7,"7"]}'
MINE = b'{"code":-32099,"message":"mine"}'
LARGE = b'{"fill":"' + b"x" * 4000 + b'"}'


def spelt(head: bytes, payload: bytes = PAYLOAD, tail: bytes = b"") -> bytes:
    return b'{"jsonrpc":"2.0",' + head + b'"result":' + payload + tail + b"}"


def named(request_id: object) -> bytes:
    """Write an id as its client did."""
    return json.dumps(request_id).encode()


def other(request_id: object) -> bytes:
    """Write a number as text, and text as a number if it is one."""
    if isinstance(request_id, int):
        return json.dumps(str(request_id)).encode()
    assert isinstance(request_id, str)
    return request_id.encode() if request_id.isdigit() else named(request_id)


def escaped(request_id: object) -> bytes:
    return named(request_id).replace(b"a", b"\\u0061")


def fraction(request_id: object, tail: bytes) -> bytes:
    return (b"%d" % request_id if isinstance(request_id, int) else named(request_id).strip(b'"')) + tail


# What a server writes for the id, whether it is that of a number or of digits; its result must come home as it is.
RESULTS = {
    "as another type": lambda said: spelt(b'"id":%b,' % other(said)),
    "as a fraction": lambda said: spelt(b'"id":%b,' % fraction(said, b".0")),
    "as a power": lambda said: spelt(b'"id":%b,' % fraction(said, b"e0")),
    "at the end": lambda said: spelt(b"", tail=b',"id":%b' % fraction(said, b".00")),
    "before a large result": lambda said: spelt(b'"id":%b,' % other(said), LARGE),
    "behind a large result": lambda said: spelt(b"", LARGE, b',"id":%b' % fraction(said, b".0")),
    "with a null method": lambda said: spelt(b'"id":%b,"method":null,' % named(said)),
    "with a null method at the end": lambda said: spelt(b'"id":%b,' % named(said), tail=b',"method":null'),
    "with a null error": lambda said: spelt(b'"id":%b,"error":null,' % other(said)),
}  # fmt: skip
# What it writes that can be nothing but an error of its call, and what that error says.
ERRORS = {
    "an error without an id": (lambda said: b'{"jsonrpc":"2.0","id":null,"error":%b}' % MINE, -32099),
    "an error that leaves the id out": (lambda said: b'{"jsonrpc":"2.0","error":%b}' % MINE, -32099),
    "a result for a stranger": (lambda said: spelt(b'"id":"nobody",'), None),
    "a result for null": (lambda said: spelt(b'"id":null,'), None),
    "a result for a list": (lambda said: spelt(b'"id":[7],'), None),
    "bytes that are not UTF-8": (lambda said: spelt(b'"id":%b,' % named(said), b'{"text":"\xff"}'), -32001),
    "large bytes that are not UTF-8": (lambda said: spelt(b'"id":%b,' % named(said), LARGE[:-2] + b'\xe4"}'), -32001),
    "bytes that are not UTF-8 under another type": (lambda said: spelt(b'"id":%b,' % other(said), b'"\xff"'), -32001),
    "a number that JSON has not": (lambda said: spelt(b'"id":%b,' % named(said), b"NaN"), -32001),
    "half an answer": (lambda said: b'{"jsonrpc":"2.0","id":%b,"result":{"a":' % named(said), -32001),
    "no result at all": (lambda said: b'{"jsonrpc":"2.0","id":%b}' % named(said), -32001),
    "a method and a result": (lambda said: spelt(b'"id":%b,"method":"x",' % named(said)), -32001),
}  # fmt: skip
SOON = Limits(stray_grace=0.05)
CASES: dict[str, Any] = {**RESULTS, **{case: make for case, (make, _) in ERRORS.items()}}


def answer(message: Message) -> bytes | None:
    """Be the server: a call names in its method what is wrong with the answer to it."""
    if "id" not in message:
        return None
    request_id, method = message["id"], message["method"]
    if method == "initialize":
        result = {"protocolVersion": "2025-11-25", "capabilities": {}, "serverInfo": {"name": "odd", "version": "1"}}
        return json.dumps({"jsonrpc": "2.0", "id": request_id, "result": result}).encode()
    made = CASES[method.removeprefix("odd/")](request_id)
    assert isinstance(made, bytes)
    return made


@contextlib.asynccontextmanager
async def joined(kind: str, target: object, folder: Path) -> AsyncIterator[Client]:
    """Relay between a client by hand and a server at ``target`` until the block is left."""

    async def carry(listener: relay.Listener, group: asyncio.TaskGroup) -> None:
        async for client in listener:
            upstream = relay.connect(target, limits=SOON)  # type: ignore[arg-type]  # whatever it takes
            group.create_task(relay.pipe(client, upstream))

    async with contextlib.AsyncExitStack() as stack:
        group = await stack.enter_async_context(asyncio.TaskGroup())
        if kind == "stdio":
            stdio, client = await stack.enter_async_context(OwnPipes.open())
            piping = group.create_task(relay.pipe(stdio, relay.connect(target, limits=SOON)))  # type: ignore[arg-type]
            stack.callback(piping.cancel)
            yield client
            return
        spec = {"tcp": "tcp://127.0.0.1:0", "unix": f"unix:{folder}/listener"}.get(kind, "http://127.0.0.1:0/mcp")
        listener = await relay.listen(spec, limits=SOON)
        stack.push_async_callback(listener.aclose)
        accepting = group.create_task(carry(listener, group))
        stack.callback(accepting.cancel)
        yield await stack.enter_async_context(reaching(kind, listener.url))


async def ask(client: Client, request_id: object, method: str, **params: object) -> bytes:
    """Make a call; return what comes back for it."""
    message = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}
    async with asyncio.timeout(WAIT):
        await client.send(json.dumps(message).encode())
        return await client.receive()


async def greet(client: Client) -> None:
    client_info = {"name": "test", "version": "1"}
    params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client_info}
    assert "result" in json.loads(await ask(client, "greeting", "initialize", **params))
    await client.send(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')


def judge(case: str, request_id: object, came: bytes) -> None:
    """See that what came is the outcome of this call: the server's bytes under its client's id, or the right error."""
    read = json.loads(came.decode())
    assert read["id"] == request_id and type(read["id"]) is type(request_id), (case, came[:200])
    if case in RESULTS:
        payload = LARGE if "large" in case else PAYLOAD
        assert b'"result":' + payload in came, (case, came[:200])
        assert "method" not in read, "a null method is none, and some readers want none"
    else:
        code = ERRORS[case][1]
        assert read["error"]["code"] in ((-32001, -32004) if code in (None, -32001) else (code,)), (case, read)
        assert code != -32099 or read["error"]["message"] == "mine"


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize("client", CLIENTS)
async def test_every_answer_has_its_call(client: str, server: str, tmp_path: Path) -> None:
    """By every listener and every target: whatever the server wrote, the call has one outcome, under its own id."""
    # A WebSocket carries text: what is no UTF-8 ends the connection there (RFC 6455, 8.1), and the call with it.
    cases = [case for case in CASES if server != "ws" or "UTF-8" not in case]
    async with serving(server, answer, tmp_path) as target, joined(client, target, tmp_path) as connected:
        await greet(connected)
        for number, case in enumerate(cases):
            for request_id in (700 + number, str(900 + number)):
                judge(case, request_id, await ask(connected, request_id, f"odd/{case}"))
        escape = f"odd/{next(iter(RESULTS))}"
        judge(escape.removeprefix("odd/"), "a" * 3, await ask(connected, "aaa", escape))


@pytest.mark.parametrize("server", [server for server in SERVERS if server != "sse"])
async def test_every_answer_has_its_call_in_2026_07_28(server: str, tmp_path: Path) -> None:
    """Clients that share a server and have numbers of the relay's there: the same."""
    cases = [case for case in CASES if server != "ws" or "UTF-8" not in case]
    async with serving(server, answer, tmp_path) as target, joined("http", target, tmp_path) as connected:
        for number, case in enumerate(cases):
            for request_id in (700 + number, str(900 + number)):
                judge(case, request_id, await ask(connected, request_id, f"odd/{case}", _meta=META))


@pytest.mark.parametrize("server", ["child", "tcp", "http-json"])
async def test_every_answer_has_its_call_where_sessions_share_a_server(server: str, tmp_path: Path) -> None:
    """``--share shared``: each request has a number of the relay's, and its answer goes to the session that asked."""
    async with serving(server, answer, tmp_path) as target, contextlib.AsyncExitStack() as stack:
        group = await stack.enter_async_context(asyncio.TaskGroup())
        shared = relay.shared(target, limits=SOON)
        stack.push_async_callback(shared.aclose)
        listener = await relay.listen(limits=SOON)
        stack.push_async_callback(listener.aclose)

        async def carry() -> None:
            async for client in listener:
                assert not isinstance(client, ModernClients)
                group.create_task(relay.pipe(client, shared.session(client)))

        accepting = group.create_task(carry())
        stack.callback(accepting.cancel)
        clients = [await stack.enter_async_context(reaching("http", listener.url)) for _ in range(2)]
        for client in clients:
            await greet(client)
        for number, case in enumerate(CASES):
            for client in clients:
                judge(case, 700 + number, await ask(client, 700 + number, f"odd/{case}"))


@pytest.mark.parametrize("server", ["child", "http-json"])
async def test_every_answer_has_its_call_where_servers_stand_in_for_one_another(server: str, tmp_path: Path) -> None:
    """An endpoint made of endpoints keeps a table of its own."""
    async with serving(server, answer, tmp_path) as target, OwnPipes.open() as (stdio, client):
        piping = asyncio.get_running_loop().create_task(relay.pipe(stdio, relay.fallback(target, limits=SOON)))
        await greet(client)
        for number, case in enumerate(CASES):
            judge(case, 700 + number, await ask(client, 700 + number, f"odd/{case}"))
        piping.cancel()
        await asyncio.wait((piping,))


@pytest.mark.parametrize("era", ["legacy", "modern"])
@pytest.mark.parametrize("way", ["first", "kept"])
@pytest.mark.parametrize("server", ["http-json", "http-stream"])
async def test_every_answer_has_its_call_where_requests_are_handed_on(
    server: str, way: str, era: str, tmp_path: Path
) -> None:
    """HTTP to HTTP, over aiohttp's session and over connections that the relay keeps: the relay has no table there."""
    params: dict[str, Any] = {"_meta": META} if era == "modern" else {}
    async with serving(server, answer, tmp_path) as target, contextlib.AsyncExitStack() as stack:
        assert isinstance(target, str)
        dial = Dial(target, DiallingOptions(limits=SOON))
        stack.push_async_callback(dial.aclose)
        if way == "first":
            stack.enter_context(pytest.MonkeyPatch.context()).setattr(Dial, "pool", lambda *_: None)
        listener = HttpListener(options=ListeningOptions(limits=SOON), server=dial)
        await listener.start()
        stack.push_async_callback(listener.aclose)
        client = await stack.enter_async_context(reaching("http", listener.url))
        if era == "legacy":
            await greet(client)
        for number, case in enumerate(CASES):
            for request_id in (700 + number, str(900 + number)):
                judge(case, request_id, await ask(client, request_id, f"odd/{case}", **params))


BROKEN = {
    "bytes that are not UTF-8": b'{"jsonrpc":"2.0",%b"x":"\xff"}',
    "a number that JSON has not": b'{"jsonrpc":"2.0",%b"x":NaN}',
    "half a message": b'{"jsonrpc":"2.0",%b"x":{"a":',
}


class Asker:
    """A server that asks its client once for each call, and notes all that comes; it answers when it is told."""

    def __init__(self) -> None:
        self.came: list[Message] = []

    def answer(self, message: Message) -> bytes | None:
        if message.get("method") == "initialize":
            return answer(message)
        self.came.append(message)
        if message.get("method") == "ask":
            return b'{"jsonrpc":"2.0","id":31,"method":"roots/list"}'
        if message.get("method") == "what came":
            return json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": len(self.came)}).encode()
        return None


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("server", ["child", "tcp"])
@pytest.mark.parametrize("client", ["tcp", "unix", "stdio", "sse"])
async def test_the_side_that_waits_is_told_and_no_other(client: str, server: str, broken: str, tmp_path: Path) -> None:
    """A broken answer of a client: its server gets the error. A broken request: its client. A notification: nobody."""
    asker = Asker()
    async with serving(server, asker.answer, tmp_path) as target, joined(client, target, tmp_path) as connected:
        await greet(connected)
        await connected.send(b'{"jsonrpc":"2.0","method":"ask"}')
        async with asyncio.timeout(WAIT):
            assert json.loads(await connected.receive())["id"] == 31
            for part in (b'"id":31,"result":{},', b'"id":5,"method":"y","params":{},', b'"method":"y","params":{},'):
                with contextlib.suppress(AssertionError):  # an HTTP POST is refused besides
                    await connected.send(BROKEN[broken] % part)
            await connected.send(b'{"jsonrpc":"2.0","id":6,"method":"what came"}')
            answers = [json.loads(await connected.receive()) for _ in range(1 if client == "sse" else 2)]
        assert [one["id"] for one in answers] == ([6] if client == "sse" else [5, 6])
        assert all(one["error"]["code"] == -32700 for one in answers[:-1])
        initialized, asked, error, last = asker.came
        assert error["id"] == 31 and error["error"]["code"] == -32001 and last["id"] == 6


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("client", [client for client in CLIENTS if client != "http"])
async def test_a_broken_request_of_a_server_is_answered_to_it(client: str, broken: str, tmp_path: Path) -> None:
    """It waits; what is broken reaches no client, and the server hears nothing of its broken notification."""
    asker = Asker()

    def say(message: Message) -> bytes | None:
        said = asker.answer(message)
        if message.get("method") != "ask":
            return said
        parts = (b'"id":31,"method":"roots/list","params":{},', b'"method":"notifications/message","params":{},')
        return b"\n".join(BROKEN[broken] % part for part in parts)

    async with serving("child", say, tmp_path) as target, joined(client, target, tmp_path) as connected:
        await greet(connected)
        await connected.send(b'{"jsonrpc":"2.0","method":"ask"}')
        async with asyncio.timeout(WAIT):
            while len(asker.came) < 3:
                await asyncio.sleep(0.01)
            await connected.send(b'{"jsonrpc":"2.0","id":6,"method":"what came"}')
            assert json.loads(await connected.receive())["id"] == 6
        assert [message.get("id") for message in asker.came] == [None, None, 31, 6]
        assert asker.came[2]["error"]["code"] == -32700
