"""`mcp-relay --listen http://… URL` between HTTP and HTTP, killed and restarted under its clients."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests import peers
from tests.e2e.fault_server import Exchange, FaultServer, Script, Sized, SseScript, note, result
from tests.e2e.modern_sdks import Servers, program, run
from tests.e2e.oracle import Client, Oracle, Relay, request, run_relay, run_words, stdio_server
from tests.e2e.test_connect_modern import LISTED
from tests.endpoints.http.modern_house import ask, headers_for

CALL = request(1, "tools/call", name="x")


@contextlib.contextmanager
def hop(url: str, *options: str, port: int = 0, env: dict[str, str] | None = None) -> Iterator[Relay]:
    """Run a relay from HTTP to a server by HTTP until the block is left."""
    with run_words(*options, "--listen", f"http://127.0.0.1:{port}/mcp", url, env=env) as relay:
        yield relay


def kill(relay: Relay) -> None:
    relay.process.kill()
    relay.process.wait(5)


@contextlib.asynccontextmanager
async def behind(script: Script, *options: str) -> AsyncIterator[tuple[Client, FaultServer, Relay]]:
    """Run a hop before a script; yield a client of it that has begun a session."""
    async with FaultServer.running(script) as server:
        with hop(server.url, *options) as relay:
            async with Client(relay.base) as client:
                yield await client.begin(), server, relay


# -- restarts ---------------------------------------------------------------------------------------------------------


@pytest.mark.only_loop("asyncio")
async def test_kill_and_restart_between_two_calls() -> None:
    """kill -9 of the hop between any two requests of a session: its clients notice nothing."""
    oracle = Oracle()
    with run_relay(command=stdio_server()) as server:
        port = peers.free_port()
        async with Client("http://127.0.0.1:" + str(port), "one") as client:
            for turn in range(4):
                with hop(f"{server.base}/mcp", port=port) as relay:
                    if turn == 0:
                        await client.begin()
                    for number in range(3):
                        (answer,) = await client.call(oracle.ask("one", str(number)))
                        oracle.judge("one", answer)
                    assert (await client.status())["sessions"] == 0
                    kill(relay)
                    client.close()  # as its end of them is by now
            with hop(f"{server.base}/mcp", port=port):
                assert await client.end() == 200
        oracle.finish(12)


@pytest.mark.only_loop("asyncio")
async def test_streams_resume_through_another_hop() -> None:
    """An answer whose hop was killed amid it, and a GET stream, go on by Last-Event-ID through the next hop."""

    class Resumable(Script):
        def __init__(self) -> None:
            super().__init__()
            self.go_on = asyncio.Event()

        async def call(self, exchange: Exchange) -> None:
            await exchange.open_stream()
            await exchange.event(event_id="c-1")
            await exchange.event(note("notifications/progress", progress=1), event_id="c-2")
            await exchange.hold()

        async def get(self, exchange: Exchange) -> None:
            await exchange.open_stream()
            last = exchange.request.headers.get("last-event-id")
            if last == "c-2":
                await exchange.event(result(json.loads(CALL)), event_id="c-3")
                await exchange.end()
            else:
                await exchange.event(note("notifications/message", after=last), event_id=f"{last}+")
                await exchange.hold()

    async with FaultServer.running(Resumable()) as server:
        port = peers.free_port()
        async with Client("http://127.0.0.1:" + str(port)) as client:
            with hop(server.url, port=port) as relay:
                await client.begin()
                response = await client.post(CALL)
                assert (await response.next_event()).id == "c-2"
                listening = await client.listen()
                assert (await listening.next_event()).id == "None+"
                kill(relay)
                for broken in (response, listening):
                    with pytest.raises((asyncio.IncompleteReadError, ConnectionError, AssertionError)):
                        await broken.next_event()
            with hop(server.url, port=port):
                resumed = await client.listen("c-2")
                event = await resumed.next_event()
                assert event.id == "c-3" and json.loads(event.data) == result(json.loads(CALL))
                assert (await (await client.listen("None+")).next_event()).id == "None++"
        assert len(server.posted("tools/call")) == 1


@pytest.mark.only_loop("asyncio")
async def test_a_real_listener_replays_through_the_hop() -> None:
    """A relay behind keeps what was not read: cut after each event, the client gets every event once."""
    with run_relay(command=stdio_server()) as server:
        port = peers.free_port()
        async with Client("http://127.0.0.1:" + str(port), "one") as client:
            with hop(f"{server.base}/mcp", port=port) as relay:
                await client.begin()
                response = await client.post(request(5, "progress", count=5, _meta={"progressToken": "t"}))
                seen = [await response.next_event() for _ in range(2)]
                kill(relay)
                client.close()
            with hop(f"{server.base}/mcp", port=port):
                rest = await client.listen(seen[-1].id)
                seen += [await rest.next_event() for _ in range(4)]
                messages = [json.loads(event.data) for event in seen]
                numbers = [message["params"]["progress"] for message in messages[:5]]
                assert numbers == list(range(numbers[0], numbers[0] + 5))
                assert messages[5]["id"] == 5 and "result" in messages[5]


# -- outcomes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("script", ["half-json", "half-sse"])
async def test_kill_of_the_server_amid_32_answers(script: str, loop_name: str) -> None:
    """kill -9 of the server amid 32 half-written answers: 32 errors within a second, nothing sent twice."""
    from tests.e2e.test_connect_outcomes import Killable

    async with Killable.running(script) as server:
        with hop(server.url, env=_environment(loop_name)) as relay:
            async with Client(relay.base) as client:
                await client.begin()
                calls = [
                    asyncio.get_running_loop().create_task(_one_call(client, request(n, "tools/call")))
                    for n in range(1, 33)
                ]
                await server.until_called(32)
                await asyncio.sleep(0.1)  # let the halves that are under way arrive: there is no sign of it
                await server.kill()
                async with asyncio.timeout(10):
                    answers = await asyncio.gather(*calls)
                assert [one["id"] for one in answers] == list(range(1, 33))
                assert all(one["error"]["data"]["delivered"] == "unknown" for one in answers)
        calls_seen = [one for one in server.requests if one["message"].get("method") == "tools/call"]
        assert len(calls_seen) == 32


async def _one_call(client: Client, frame: bytes) -> Any:
    response = await client.post(frame)
    body = await response.body()
    if response.is_stream:  # what clients look at: the last event
        body = body.strip().rpartition(b"data: ")[2]
    return json.loads(body)


def _environment(loop_name: str) -> dict[str, str]:
    import os

    return {**os.environ, "MCP_RELAY_LOOP": loop_name}


@pytest.mark.only_loop("asyncio")
@pytest.mark.async_timeout(60)
@pytest.mark.parametrize("how", ["json", "sse", "get-sse"])
async def test_64_mib_answers(how: str) -> None:
    """An answer of 64 MiB passes in bounded memory as a stream; with one byte more there is an error, or none of it."""
    limit = 64 * 2**20
    async with behind(Sized()) as (client, _, relay):
        if how == "get-sse":
            listening = await client.listen()
        before = relay.memory()
        response = await client.post(request(1, "tools/call", size=limit, how=how))
        source = listening if how == "get-sse" else response
        size = peak = 0
        if how == "json":
            size = len(await response.body())
            assert size == limit
        else:
            async for chunk in source.chunks():
                size += len(chunk)
                peak = max(peak, relay.memory())
                if size >= limit + len("event: message\ndata: \n\n"):
                    break
            assert peak - before < 16 * 2**20, (peak - before) / 2**20
        if how == "get-sse":
            return
        response = await client.post(request(2, "tools/call", size=limit + 1, how=how))
        error = (await response.body())[-1000:]
        assert b'"code":-32003' in error and b'"id":2' in error


@pytest.mark.only_loop("asyncio")
@pytest.mark.async_timeout(60)
async def test_64_mib_requests() -> None:
    """64 MiB of request pass as they are; one byte more is 413, and none of it goes on."""
    limit = 64 * 2**20

    class Sink(Script):
        async def call(self, exchange: Exchange) -> None:
            await exchange.json({"jsonrpc": "2.0", "id": 1, "result": {"size": len(exchange.request.body)}})

    head, tail = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"fill":"', b'"}}'
    body = head + b"x" * (limit - len(head) - len(tail)) + tail
    async with behind(Sink()) as (client, server, _):
        response = await client.post(body)
        assert response.status == 200 and (await response.json())["result"]["size"] == limit
        assert server.requests[-1].body == body
        count = len(server.requests)
        assert (await client.post(body + b" ")).status == 413
        assert len(server.requests) == count


# -- the operator -----------------------------------------------------------------------------------------------------


@pytest.mark.only_loop("asyncio")
async def test_configured_headers_go_and_are_not_shown() -> None:
    """-H goes with every request and is in no line of the log and no answer, though the server repeats it."""
    secret = "s3cret-of-the-operator"

    class Telling(Script):
        async def call(self, exchange: Exchange) -> None:
            said = f"bad token {exchange.request.headers['authorization']}"
            await exchange.reply(403, said.encode(), kind="text/plain")

    options = ("--debug", "-H", "Authorization", f"Bearer {secret}")
    async with behind(Telling(), *options) as (client, server, relay):
        response = await client.post(CALL, authorization="Bearer theirs-s3cret", cookie="c=theirs-s3cret")
        assert response.status == 403 and secret.encode() not in await response.body()
        await (await client.listen()).body()
        assert {one.headers["authorization"] for one in server.requests} == {f"Bearer {secret}"}
        assert not [one for one in server.requests if "cookie" in one.headers]
        said = "\n".join(relay.said)
        assert secret not in said and "theirs-s3cret" not in said


@pytest.mark.only_loop("asyncio")
async def test_sigterm_drains() -> None:
    """A call in flight is answered, a silent GET stream ends, and the exit is 0 within a second after it."""

    class Slow(Script):
        def __init__(self) -> None:
            super().__init__()
            self.go_on = asyncio.Event()

        async def call(self, exchange: Exchange) -> None:
            await self.go_on.wait()
            await exchange.result()

        async def get(self, exchange: Exchange) -> None:
            await exchange.open_stream()
            await exchange.hold()

    script = Slow()
    async with behind(script) as (client, server, relay):
        listening = await client.listen()
        calling = asyncio.get_running_loop().create_task(client.post(CALL))
        await server.until(lambda: server.posted("tools/call"))
        relay.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.2)
        assert not calling.done()
        script.go_on.set()
        answered_at = time.monotonic()
        assert (await (await calling).json())["result"]
        assert await relay.exit_code(20) == 0
        assert time.monotonic() - answered_at < 4
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
            await listening.body()
        assert not [line for line in relay.said if "Traceback" in line or "ERROR" in line], relay.said


@pytest.mark.only_loop("asyncio")
async def test_a_modern_client_that_leaves_cancels() -> None:
    """Its connection to the server is closed within 100 ms."""

    class Slow(Script):
        left_at = 0.0

        async def call(self, exchange: Exchange) -> None:
            await exchange.hold()
            self.left_at = time.monotonic()

    script = Slow()
    async with FaultServer.running(script) as server:
        with hop(server.url) as relay:
            async with Client(relay.base) as client:
                frame = ask(1)
                wire = await client.wire()
                headers = [(name, value) for name, value in headers_for(frame).items() if value]
                await wire.send("POST", "/mcp", headers, frame)
                await server.until(lambda: server.requests)
                began = time.monotonic()
                wire.close()
                async with asyncio.timeout(20):
                    while not script.left_at:
                        await asyncio.sleep(0.005)
                assert script.left_at - began < 0.1


# -- other framings ---------------------------------------------------------------------------------------------------


@pytest.mark.only_loop("asyncio")
@pytest.mark.parametrize("options", [(), ("--transport", "sse")])
async def test_before_a_server_of_http_sse(options: tuple[str, ...]) -> None:
    """Found out or told: sessions are the relay's own then, several at once, and end as such."""
    async with FaultServer.running(SseScript()) as server:
        with hop(server.url, *options) as relay:
            async with Client(relay.base, "a") as one, Client(relay.base, "b") as other:
                await one.begin("2025-03-26")
                await other.begin("2025-03-26")
                assert one.session and other.session and one.session != other.session
                for client in (one, other):
                    (answer,) = await client.call(CALL)
                    assert json.loads(answer) == result(json.loads(CALL))
                assert (await one.status())["sessions"] == 2
                assert await one.end() == 200
                response = await one.post(CALL)
                assert response.status == 404
                assert (await one.listen()).status == 404
                assert len(await other.call(CALL)) == 1


# -- real peers -------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["py2", "ts2"])
def modern_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where a server of 2026-07-28 is, which runs before the test begins."""
    peers.install("py1", "py2", "node", "ts2")
    with contextlib.ExitStack() as things:
        yield Servers(things).url(request.param, None)


@pytest.mark.only_loop("uvloop")
@pytest.mark.async_timeout(60)
async def test_the_modern_era_through_two_relays(modern_url: str, loop_name: str) -> None:
    """A modern SDK client by stdio, a relay, a hop, a modern SDK server: the same as with one relay."""
    with hop(modern_url) as relay:
        (seen,), _ = await run(program("client", "py2"), "auto", f"{relay.base}/mcp", loop_name)
    assert seen["version"] == "2026-07-28" and seen["tools"] == LISTED
    assert seen["region"] == " é 42" and seen["cancelled"] == "1"
    assert seen["many"] == [str(number) for number in range(50)]
