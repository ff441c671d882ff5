"""``mcp-relay -- COMMAND``, one server for many: 64 clients, the same names everywhere, 6,400 calls in flight."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import resource
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.e2e.oracle import (
    Client,
    Oracle,
    Relay,
    Response,
    Wire,
    notification,
    request,
    run_relay,
)

pytestmark = [pytest.mark.only_loop("uvloop"), pytest.mark.timeout(240)]  # asyncio's debug mode is slow with so many

MODERN = "2026-07-28"
SUBSCRIPTION = "io.modelcontextprotocol/subscriptionId"
META = {"io.modelcontextprotocol/protocolVersion": MODERN, "io.modelcontextprotocol/clientCapabilities": {}}
CLIENTS, CALLS, REPORTS = 64, 100, 2
DESCRIPTORS = CLIENTS * (CALLS + 4) + 200


@pytest.fixture(scope="module", autouse=True)
def _descriptors() -> Iterator[None]:
    """Let this process have a connection for each call; the relay sees to its own."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < DESCRIPTORS:
        pytest.skip(f"{DESCRIPTORS} descriptors are needed; the hard limit is {hard}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, DESCRIPTORS), hard))
    # The relay is started with what a login gives.
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class ModernClient(Client):
    """A client of 2026-07-28: every frame goes with the headers that mirror it."""

    @classmethod
    @contextlib.asynccontextmanager
    async def to(cls, relay: Relay) -> AsyncIterator[ModernClient]:
        """Connect while the block lasts."""
        client = cls(relay.base)
        try:
            yield client
        finally:
            client.close()

    async def post(self, frame: bytes, **headers: str | None) -> Response:
        matched = re.search(rb'"method": ?"([^"]*)"', frame)
        assert matched
        chosen = {"mcp-protocol-version": MODERN, "mcp-method": matched.group(1).decode(), **headers}
        return await super().post(frame, **chosen)

    async def ask(self, request_id: object, method: str, **params: Any) -> Any:
        """Call a method that is not for the oracle; return the result."""
        (answer,) = await self.call(request(request_id, method, **params, _meta=META))
        read = json.loads(answer)
        assert read["id"] == request_id
        return read["result"]


class SharingOracle(Oracle):
    """Judges answers whose params hold the relay's token in the place of the client's, as the server saw it."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers: set[bytes] = set()

    def judge_all(self, client: str, token: str, frames: list[bytes]) -> None:
        """Check what came for one call: its progress in order, under its own token, then its answer; byte for byte."""
        *before, answer = frames
        assert before == [reported(token, number) for number in range(REPORTS)], (client, token, before)
        numbers = re.findall(rb'"progressToken":(\d+)', answer)
        assert len(numbers) == 1 and numbers[0] not in self.numbers, "each call has a number of its own"
        self.numbers.add(numbers[0])
        self.judge(client, answer.replace(b'"progressToken":' + numbers[0], b'"progressToken":' + token.encode()))


def reported(token: str, number: int) -> bytes:
    """Return a progress notification as the server writes it, named back."""
    params = f'{{"progressToken": {token}, "progress": {number}}}'
    return f'{{"jsonrpc":"2.0","method":"notifications/progress","params":{params}}}'.encode()


def names() -> list[str]:
    """Return the ids, and tokens, that every client uses: numbers and strings of the same digits among them."""
    odd = ["-7", '""', '"ü☃😀"', str(2**53 + 1), str(2**64), '"' + "x" * 500 + '"']
    return [*odd, *(str(number) for number in range(47)), *(f'"{number}"' for number in range(47))]


def gather(oracle: Oracle, client: Client, name: str, *, modern: bool) -> bytes:
    """Make one of the calls that the server answers when all have come."""
    meta = "".join(f"{json.dumps(key)}:{json.dumps(value)}," for key, value in META.items()) if modern else ""
    more = f'"of":{CLIENTS * CALLS},"count":{REPORTS},"_meta":{{{meta}"progressToken":{name}}}'
    return oracle.ask(
        client.name, name, "gather", more=more, payload='{"id":1,"big":9007199254740993,"a":0.10,"a":"é\\u0041"}'
    )


async def all_at_once(oracle: SharingOracle, clients: list[Client], *, modern: bool) -> None:
    """Have every client make its calls, all of them in flight before the first is answered."""

    async def one(client: Client, name: str) -> None:
        frames = await client.call(gather(oracle, client, name, modern=modern))
        oracle.judge_all(client.name, name, frames)

    async def connect(client: Client) -> None:
        # Calls in flight are what is looked at, not what the kernel does with a burst of connections.
        client._idle += [await Wire.open(client.base) for _ in range(CALLS - len(client._idle))]
        client._wires.update(client._idle)

    assert len(names()) == len(set(names())) == CALLS
    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(connect(client))
    async with asyncio.TaskGroup() as group:
        for client in clients:
            for name in names():
                group.create_task(one(client, name))
    assert len(oracle.numbers) == CLIENTS * CALLS


@pytest.mark.async_timeout(200)
async def test_64_clients_of_2026_07_28_with_6400_calls_in_flight_and_a_subscription_each() -> None:
    """The same ids, tokens and subscription ids everywhere: every frame to its own client, once, and byte for byte."""
    oracle = SharingOracle()
    with run_relay("--drain-timeout", "1", via=LOW) as relay:
        clients: list[Client] = [ModernClient(relay.base, f"client {number}") for number in range(CLIENTS)]
        try:
            params = [{"who": client.name, "notifications": {}, "_meta": META} for client in clients]
            streams = [
                await client.post(request("sub", "subscriptions/listen", **own))
                for client, own in zip(clients, params, strict=True)
            ]
            await all_at_once(oracle, clients, modern=True)
            oracle.finish(CLIENTS * CALLS)
            first = clients[0]
            assert isinstance(first, ModernClient)
            await first.ask("sub", "change", count=3)
            await first.ask("sub", "complete")
            for stream, own in zip(streams, params, strict=True):
                ack, *changes, end = [json.loads(frame) for frame in await stream.frames()]
                named = {"_meta": {SUBSCRIPTION: "sub"}}
                assert ack["params"] == {**named, "notifications": {"toolsListChanged": True}}
                expected = [{**named, "number": number, "params": own} for number in range(3)]
                assert [change["params"] for change in changes] == expected
                assert (end["id"], end["result"]) == ("sub", {"resultType": "complete", **named})
            seen = await first.ask(1, "seen")
            assert seen["lines"] == [], "nobody has cancelled anything"
            status = await clients[0].status()
            assert (status["in_flight"], status["sessions"], status["active_sse_connections"]) == (0, 0, 0)
            assert status["servers"]["default"]["started"] == 1 and status["refused"] == 0
        finally:
            for client in clients:
                client.close()


LOW = ["/bin/sh", "-c", 'ulimit -S -n 1024; exec "$@"', "sh"]
"""Start the relay with the descriptors that a login gives: it needs more, and must see to that itself."""


@pytest.mark.async_timeout(200)
async def test_64_sessions_of_one_server_with_6400_calls_in_flight() -> None:
    """--share shared: one child hears one handshake; ids, tokens and server's questions are each session's own."""
    oracle = SharingOracle()
    with run_relay("--share", "shared", "--drain-timeout", "1", via=LOW) as relay:
        clients = [Client(relay.base, f"client {number}") for number in range(CLIENTS)]
        try:
            async with asyncio.TaskGroup() as group:
                for client in clients:
                    group.create_task(client.begin())
            streams = [await client.listen() for client in clients]
            await all_at_once(oracle, clients, modern=False)
            oracle.finish(CLIENTS * CALLS)
            # Of a session with a call in flight they come on that call's stream, else on the GET stream.
            *on_call, _ = await clients[0].call(request(1, "change", count=3))
            for stream in streams:
                is_busy = stream is streams[0]
                changes = on_call if is_busy else [(await stream.next_event()).data for _ in range(3)]
                assert [json.loads(frame)["params"] for frame in changes] == [{"number": number} for number in range(3)]
            for client in clients[:8]:
                await _is_asked(client)
            (answer,) = await clients[0].call(request(1, "seen"))
            lines = json.loads(answer)["result"]["lines"]
            assert lines.count(notification("notifications/initialized").decode()) == 1
            assert len(lines) == 1 + 8, "the handshake, and the answers of those that were asked"
            status = await clients[0].status()
            assert (status["in_flight"], status["sessions"]) == (0, CLIENTS)
            assert status["servers"]["default"]["started"] == 1 and status["refused"] == 0
        finally:
            for client in clients:
                client.close()


async def _is_asked(client: Client) -> None:
    """Make a call that asks its own session something first."""
    response = await client.post(request(1, "ask", who=client.name))
    asked = json.loads((await response.next_event()).data)
    assert asked["method"] == "roots/list"
    said = json.dumps({"jsonrpc": "2.0", "id": asked["id"], "result": {"who": client.name}}).encode()
    await client.finished(await client.post(said))
    answer = json.loads((await response.next_event()).data)
    assert answer["id"] == 1
    assert (answer["result"]["client"]["result"], answer["result"]["params"]) == ({"who": client.name},) * 2
    await client.finished(response)


async def test_a_client_that_leaves_is_heard_of_by_the_real_server() -> None:
    """``notifications/cancelled`` with the server's number, of a call without and with a stream, and a subscription."""
    with run_relay() as relay:
        async with ModernClient.to(relay) as watching:
            await watching.ask(1, "echo")
            for method, params in (
                ("silent", {}),
                ("progress", {"silent": True}),
                ("subscriptions/listen", {"notifications": {}}),
            ):
                before = len((await watching.ask(1, "seen"))["lines"])
                async with ModernClient.to(relay) as leaving:
                    frame = request(1, method, **params, _meta={**META, "progressToken": 1})
                    posting = asyncio.get_running_loop().create_task(leaving.post(frame))
                    if method != "silent":
                        await (await posting).next_event()
                    else:
                        await _in_flight(watching, 1)
                    leaving.close()
                    await asyncio.sleep(0.1)
                    lines = (await watching.ask(1, "seen"))["lines"][before:]
                    posting.cancel()
                    await asyncio.wait([posting])
                assert [json.loads(line)["method"] for line in lines] == ["notifications/cancelled"]


async def _in_flight(client: Client, count: int) -> None:
    async with asyncio.timeout(20):
        while (await client.status())["in_flight"] != count:
            await asyncio.sleep(0.01)


async def test_when_the_shared_server_dies_each_gets_its_error_and_the_next_a_new_one() -> None:
    """Both eras: every open request one error within a second, under its own id; then a child that answers."""
    with run_relay("--share", "shared") as relay:
        async with ModernClient.to(relay) as modern, Client(relay.base) as legacy:
            await legacy.begin()
            pids = {(await modern.ask(1, "pid"))["pid"]}
            for client, meta in ((modern, META), (legacy, {})):
                posting = [
                    asyncio.get_running_loop().create_task(client.post(request(number, "silent", _meta=meta)))
                    for number in range(5)
                ]
                await _in_flight(client, 5)
                ending = await client.post(request("end", "exit", code=3, _meta=meta))
                async with asyncio.timeout(10):
                    frames = [frame for post in posting for frame in await (await post).frames()]
                    frames += await ending.frames()
                errors = [json.loads(frame) for frame in frames]
                assert [error["id"] for error in errors] == [0, 1, 2, 3, 4, "end"]
                assert all("status 3" in error["error"]["message"] for error in errors)
            pids.add((await modern.ask(1, "pid"))["pid"])
            again = await Client(relay.base).begin()
            (answer,) = await again.call(request(1, "pid"))
            pids.add(json.loads(answer)["result"]["pid"])
            again.close()
            assert len(pids) == 3


@pytest.mark.parametrize("share", ["session", "shared", "request"])
async def test_a_signal_ends_the_relay_and_its_servers(share: str) -> None:
    """Exit code 0 within seconds, with clients of both eras there and servers that have been left by theirs."""
    with run_relay("--share", share, "--drain-timeout", "1") as relay:
        async with ModernClient.to(relay) as modern, Client(relay.base) as legacy, Client(relay.base) as gone:
            await modern.ask(1, "pid")
            stream = await modern.post(request("sub", "subscriptions/listen", notifications={}, _meta=META))
            assert stream.is_stream
            if share != "request":
                await legacy.begin()
                await gone.begin("2025-06-18")
                assert await gone.end() == 200
            relay.process.send_signal(signal.SIGTERM)
            assert await relay.exit_code(20) == 0
            *_, last = await stream.frames()
            assert json.loads(last)["result"] == {"resultType": "complete", "_meta": {SUBSCRIPTION: "sub"}}


async def test_with_share_request_every_request_has_a_process_of_its_own() -> None:
    """Both eras at once, the same ids: as many processes as requests, and none is left."""
    with run_relay("--share", "request") as relay:
        modern = [ModernClient(relay.base) for _ in range(4)]
        legacy = [Client(relay.base) for _ in range(4)]
        results = await asyncio.gather(
            *(client.call(request(1, "pid", _meta=META)) for client in modern),
            *(client.call(request(1, "pid")) for client in legacy),
        )
        answers = [json.loads(frame) for (frame,) in results]
        assert [answer["id"] for answer in answers] == [1] * 8
        assert len({answer["result"]["pid"] for answer in answers}) == 8
        async with asyncio.timeout(10):
            while (status := await modern[0].status())["servers"]["default"]["children"]:
                await asyncio.sleep(0.05)
        assert (status["sessions"], status["in_flight"]) == (0, 0)
        for client in (*modern, *legacy):
            client.close()
