"""``mcp-relay -- COMMAND``: clients and servers that do not read hurt only themselves."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import statistics
import sys
from collections.abc import AsyncIterator, Iterator

import pytest

from relay.app.log.child_stderr import ChildStderr
from relay.app.log.stderr import StderrSink
from relay.app.run.child_target import ChildTarget
from relay.app.run.serve import _Serving
from relay.app.settings import ServeSettings
from relay.app.specs import ListenSpec
from relay.endpoints.base import Listener
from relay.endpoints.child.child import child_environment
from relay.endpoints.http.listening import ListeningOptions
from relay.endpoints.http.server.listener import HttpListener
from relay.limits import Limits
from tests.e2e.oracle import Client, Oracle, Relay, Wire, initialize, notification, request, run_relay, stdio_server

pytestmark = [
    pytest.mark.only_loop("asyncio"),
    pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc"),
]

MIB = 2**20


@pytest.fixture
def relay(request: pytest.FixtureRequest) -> Iterator[Relay]:
    """Run a relay of its own for each test: memory is measured."""
    with run_relay("--drain-timeout", "0", env={"MCP_RELAY_LOOP": getattr(request, "param", "uvloop")}) as running:
        yield running


class MemoryWatch:
    """The most memory the relay had while this was entered, above what it had before."""

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._before = relay.memory()
        self.growth = 0

    async def __aenter__(self) -> MemoryWatch:
        self._task = asyncio.get_running_loop().create_task(self._watch())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _watch(self) -> None:
        while True:
            self.growth = max(self.growth, self._relay.memory() - self._before)
            await asyncio.sleep(0.02)


async def _times(base: str, name: str, count: int) -> list[float]:
    """Call ``count`` times, judged by an oracle; return how long each call took."""
    loop = asyncio.get_running_loop()
    oracle = Oracle()
    times = []
    async with Client(base, name) as client:
        await client.begin()
        for number in range(count):
            began = loop.time()
            (answer,) = await client.call(oracle.ask(name, str(number)))
            times.append(loop.time() - began)
            oracle.judge(name, answer)
    oracle.finish(count)
    return times


async def _stalled(client: Client, method: str, target: str, body: bytes | None) -> Wire:
    """Send a request on a connection that is never read."""
    wire = await client.wire()
    wire.writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's transport
    head = [("accept", "application/json, text/event-stream"), ("content-type", "application/json")]
    await wire.send(method, target, [*head, ("mcp-session-id", client.session or "")], body)
    return wire


@pytest.mark.async_timeout(40)
@pytest.mark.parametrize("relay", ["uvloop", "asyncio"], indirect=True)
@pytest.mark.parametrize("stream", ["GET", "POST", "SSE"])
async def test_a_stalled_client_with_200_mib_waiting_costs_32_mib_at_most(relay: Relay, stream: str) -> None:
    """On each kind of stream; meanwhile seven other clients are answered as fast as before, give or take."""
    async with Client(relay.base) as client:
        if stream == "SSE":
            sse = await client.request("GET", "/sse", {"accept": "text/event-stream"})
            endpoint = await sse.any_event()
            assert endpoint is not None
            address = endpoint.data.decode()
            posts = [request(0, "initialize"), request(1, "notify", count=200, size=MIB)]
            wires = [sse.wire]
        else:
            await client.begin()
            posts = []
        quiet = statistics.median(await _times(relay.base, "before", 100))
        async with MemoryWatch(relay) as memory:
            if stream == "GET":
                await _stalled(client, "GET", "/mcp", None)
                assert (await client.call(request(1, "notify", count=200, size=MIB, after=0.2)))[0]
            elif stream == "POST":
                await _stalled(client, "POST", "/mcp", request(1, "log", count=200, size=MIB))
            else:
                wires[0].writer.transport.pause_reading()  # type: ignore[attr-defined]  # a socket's transport
                for frame in posts:
                    accepted = await client.request("POST", address, {"content-type": "application/json"}, frame)
                    await client.finished(accepted)
            await asyncio.sleep(0.5)
            others = await asyncio.gather(*(_times(relay.base, f"other {n}", 50) for n in range(7)))
            await asyncio.sleep(0.5)
        # Another session each, with a child each: what was read from the stalled one's child is bounded.
        assert memory.growth <= 32 * MIB, f"{memory.growth / MIB:.1f} MiB"
        assert statistics.median(sum(others, [])) < 20 * max(quiet, 0.002), "seven at once on two cores"
        status = await client.status()
        assert status["active_sse_connections"] == 1


@pytest.mark.async_timeout(40)
async def test_a_server_that_does_not_read_hurts_only_its_own_session(relay: Relay) -> None:
    """128 MiB wait for it on 32 connections: two frames and a read buffer for each are held; others go on."""
    async with Client(relay.base) as client:
        await client.begin()
        await client.call(request("deaf", "deaf"))
        async with MemoryWatch(relay) as memory:
            frame = notification("notifications/x", fill="x" * 4 * MIB)
            posting = [asyncio.get_running_loop().create_task(client.post(frame)) for _ in range(32)]
            await asyncio.sleep(1)
            assert len(await _times(relay.base, "other", 100)) == 100
        waiting = sum(not post.done() for post in posting)
        assert waiting >= 28
        # aiohttp and the loop keep 0.75 MiB of a body that is not read.
        assert memory.growth <= 16 * MIB + 32 * MIB, f"{memory.growth / MIB:.1f} MiB"
        assert await client.end() == 200
        for post in posting:
            assert (await post).status in (202, 404)


@contextlib.asynccontextmanager
async def _serving(limits: Limits) -> AsyncIterator[tuple[str, ChildTarget]]:
    """Serve the test server from this process, with limits that have no option."""
    silent = os.open(os.devnull, os.O_WRONLY)
    sink, stopped = StderrSink(silent), asyncio.Event()
    stderr = ChildStderr("test", sink)
    await stderr.open()
    target = ChildTarget(stdio_server(), env=child_environment(), cwd=None, limits=limits, stderr=stderr)
    settings = ServeSettings(command=stdio_server(), name="test", env={}, listening=ListeningOptions(limits=limits))
    listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    class Telling(_Serving):
        async def _listen(self, spec: ListenSpec) -> Listener:
            listener = await super()._listen(spec)
            assert isinstance(listener, HttpListener)
            listening.set_result(listener.base_url)
            return listener

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(Telling(settings, target, None, sink).run(stopped))
            yield await listening, target
            stopped.set()
    finally:
        await target.aclose()
        stderr.close()
        sink.flush()
        os.close(silent)


async def _no_children(target: ChildTarget, seconds: float) -> None:
    async with asyncio.timeout(seconds):
        while any(child.is_alive for child in target.children):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("end", ["DELETE", "expiry", "shutdown"])
async def test_a_server_that_does_not_read_still_ends_with_its_session(end: str) -> None:
    """Though its pipe waits to send, the child is gone soon after the session, however the session ended."""
    limits = Limits(linger=0.2, close_grace=0.2, drain=0, session_idle=0.5 if end == "expiry" else 60)
    async with _serving(limits) as (base, target), Client(base) as client:
        await client.begin()
        await client.call(request("deaf", "deaf"))
        frame = notification("notifications/x", fill="x" * MIB)
        posting = [asyncio.get_running_loop().create_task(client.post(frame)) for _ in range(8)]
        await asyncio.sleep(0.1)
        assert sum(child.is_alive for child in target.children) == 1
        if end == "DELETE":
            assert await client.end() == 200
        if end != "shutdown":
            await _no_children(target, 5)
        client_ended = asyncio.gather(*posting, return_exceptions=True)
    await client_ended
    await _no_children(target, 5)


async def test_a_bug_of_ours_ends_one_session_and_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its open request gets an error, the operator a traceback; the next session works, and the relay ends well."""

    async def fail(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    async with _serving(Limits(close_grace=0.2)) as (base, target), Client(base) as unlucky, Client(base) as client:
        with monkeypatch.context() as broken:
            broken.setattr("relay.app.run.offer.pipe", fail)
            response = await unlucky.post(initialize())
            (error,) = await response.frames()
            assert json.loads(error)["error"]["message"] == "the request was lost: the relay failed"
        await client.begin()
        await client.call(request(1, "echo"))
    await _no_children(target, 5)
    (record,) = [one for one in caplog.records if one.levelno >= logging.ERROR]
    assert "unexpected failure" in record.getMessage() and record.exc_info is not None


async def test_slow_clients_do_not_slow_the_others(relay: Relay) -> None:
    """200 half-sent headers and 200 half-sent bodies stand by: calls are answered as before."""
    async with Client(relay.base) as client:
        await client.begin()
        quiet = statistics.median(await _times(relay.base, "before", 100))
        for number in range(400):
            wire = await client.wire()
            wire.writer.write(b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\n")
            if number % 2:
                session = f"Mcp-Session-Id: {client.session}\r\n".encode()
                wire.writer.write(b"Content-Type: application/json\r\n" + session + b"Content-Length: 1000\r\n\r\n{")
        loris = statistics.median(await _times(relay.base, "during", 100))
        assert loris < 3 * max(quiet, 0.002)
        assert (await client.status())["connections"] >= 400


async def test_a_json_bomb_does_not_hold_the_others_up(relay: Relay) -> None:
    """16 MiB of ``{},`` again and again: 413 each time, memory bounded, no call waits for more than half a second."""
    bomb = b'{"jsonrpc":"2.0","id":1,"method":"x","params":[' + b"{}," * (16 * MIB // 3) + b"{}]}"
    async with Client(relay.base) as client, MemoryWatch(relay) as memory:
        await client.begin()
        other = asyncio.get_running_loop().create_task(_times(relay.base, "other", 200))
        for _ in range(5):
            response = await client.post(bomb)
            assert response.status == 413
        assert max(await other) < 0.5
    assert memory.growth <= 48 * MIB, f"{memory.growth / MIB:.1f} MiB"


async def test_escapes_and_nested_ids_are_checked_in_linear_time(relay: Relay) -> None:
    """8 MiB of escapes, or of strings that spell "id", pass and do not hold the others up for long."""
    bodies = [
        request(1, "pid", fill="é" * (8 * MIB // 6)),
        b'{"jsonrpc":"2.0","id":1,"method":"pid","params":[' + b'"id",' * (8 * MIB // 5) + b"1]}",
        b'{"params":[' + b'"id",' * (8 * MIB // 5) + b'1],"jsonrpc":"2.0","id":1,"method":"pid"}',
    ]
    async with Client(relay.base) as client:
        await client.begin()
        for body in bodies:
            other = asyncio.get_running_loop().create_task(_times(relay.base, "other", 50))
            response = await client.post(body)
            frames = await client.finished(response)
            assert response.status == 200 and json.loads(frames[-1])["id"] == 1
            assert max(await other) < 1, body[:40]
