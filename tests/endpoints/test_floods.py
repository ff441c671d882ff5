"""One message that is expensive to read, over every way in: no code takes a step for each token.

Steps are counted, not timed; see tests/frames/test_json_cost.py for what each reader does with every kind of message.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import relay
from bench.flood.corpus import make, modernise
from relay.endpoints.base import Endpoint
from relay.endpoints.http.media import JSON
from relay.errors import RelayError
from relay.frames.frame import Frame
from relay.limits import Limits
from tests.e2e.conversation import Direct
from tests.e2e.fault_server import FaultServer, Script
from tests.e2e.oracle import request
from tests.endpoints.http.house import house
from tests.endpoints.http.modern_house import modern_house
from tests.endpoints.http.server.test_sse_server import begin_sse, say
from tests.endpoints.http.through.test_pass_through import Saying, hop_to
from tests.endpoints.socket import test_tcp
from tests.endpoints.socket.socket_far import SocketFar
from tests.endpoints.websocket import test_websocket

SIZE = 256 * 1024
MOST_STEPS = 150_000
"""Calls while the message comes and goes, the test's own among them; for each token they would be half a million."""
KINDS = ("scalars", "batch-of-requests", "top-level-keys", "half-pairs", "ids-within", "line-ends")
LIMITS = Limits(answer_wait=0, close_grace=0.5)
LAST = b'{"jsonrpc":"2.0","id":"last","method":"x"}'

ANNOTATED = Frame(
    b'{"result":{"tools":[{"name":"x","inputSchema":{"properties":{"a":{"type":"string","x-mcp-header":"A"}}}}]}}'
)

SAYING = """
import sys
for line in sys.stdin.buffer:
    sys.stdout.buffer.write(open(sys.argv[1], "rb").read() + b"\\n" + line.replace(b'"method":"x"', b'"result":{}'))
    sys.stdout.buffer.flush()
"""


@contextlib.contextmanager
def few_steps() -> Iterator[None]:
    """See that no more than so many calls are made meanwhile."""
    count = 0

    def note(_frame: FrameType, event: str, _: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield
    finally:
        sys.setprofile(before)
    assert count < MOST_STEPS, count


async def taken(near: Endpoint) -> None:
    """Receive until the last message has come, or the end."""
    with contextlib.suppress(RelayError):
        while frames := await near.receive():
            if any(frame.raw.startswith(LAST[:30]) for frame in frames):
                return


async def by_line(far: SocketFar, near: Endpoint, raw: bytes) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(far.send_bytes(raw + b"\n" + LAST + b"\n"))
        await taken(near)


async def tcp(raw: bytes, _: Path) -> None:
    async with test_tcp.accepted("tcp", LIMITS) as (near, far):
        with few_steps():
            await by_line(far, near, raw)


async def unix(raw: bytes, _: Path) -> None:
    async with test_tcp.accepted("unix", LIMITS) as (near, far):
        with few_steps():
            await by_line(far, near, raw)


async def from_tcp(raw: bytes, _: Path) -> None:
    async with test_tcp.dialled("tcp", LIMITS) as (near, far):
        with few_steps():
            await by_line(far, near, raw)


async def tcp_first_line(raw: bytes, _: Path) -> None:
    async with test_tcp.listening("tcp", LIMITS) as listener:
        far = await test_tcp.call(listener)
        taking = asyncio.get_running_loop().create_task(test_tcp.first_of(listener))
        closing = asyncio.get_running_loop().create_task(far.receive_bytes())
        with few_steps():
            with contextlib.suppress(ConnectionError):
                await far.send_bytes(raw + b"\n")
            await asyncio.wait((taking, closing), return_when=asyncio.FIRST_COMPLETED)
        if taking.done():
            await taking.result().aclose()
        else:
            taking.cancel()
        await asyncio.wait((taking, closing))
        far.sock.close()


async def websocket(raw: bytes, _: Path) -> None:
    async with test_websocket.accepted(LIMITS) as (near, far):
        await over_websocket(near, far, raw)


async def from_websocket(raw: bytes, _: Path) -> None:
    async with test_websocket.dialled(LIMITS) as (near, far):
        await over_websocket(near, far, raw)


async def over_websocket(near: Endpoint, far: Any, raw: bytes) -> None:
    messages = (raw.decode(), LAST.decode())
    with few_steps():
        async with asyncio.TaskGroup() as group:
            group.create_task(send_all(far, messages))
            await taken(near)


async def send_all(far: Any, messages: tuple[str, ...]) -> None:
    for message in messages:
        await far.connection.send(message)


async def http(raw: bytes, _: Path) -> None:
    async with house(LIMITS) as there:
        with few_steps():
            await there.client().post(raw)


async def http_session(raw: bytes, _: Path) -> None:
    async with house(LIMITS) as there:
        client, _session = await there.begin("2025-03-26")
        with few_steps():
            await client.post(raw)


async def http_modern(raw: bytes, _: Path) -> None:
    async with modern_house() as there:
        _first, server = await there.warm()
        server.server.tools.learn(ANNOTATED)  # so that nobody asks for them
        headers = {"mcp_protocol_version": "2026-07-28", "mcp_method": "tools/call", "mcp_name": "x"}
        posting = asyncio.get_running_loop().create_task(there.client().post(modernise(raw), **headers))
        taking = asyncio.get_running_loop().create_task(server.receive())
        with few_steps():
            await asyncio.wait((posting, taking), return_when=asyncio.FIRST_COMPLETED)
        for task in (posting, taking):
            task.cancel()
        await asyncio.wait((posting, taking))


async def sse(raw: bytes, _: Path) -> None:
    async with house(LIMITS) as there:
        client, _stream, address, _session = await begin_sse(there)
        with few_steps():
            await say(client, address, raw)


async def through(raw: bytes, _: Path) -> None:
    async with hop_to(Script(), limits=LIMITS) as (opened, _server):
        with few_steps():
            await opened.client("s").post(raw)


async def from_through(raw: bytes, _: Path) -> None:
    async with hop_to(Saying(200, raw, JSON), limits=LIMITS) as (opened, _server):
        client = opened.client("s")
        with few_steps():
            await (await client.post(request(7, "x"))).body()


async def from_child(raw: bytes, place: Path) -> None:
    path = place / "message"
    path.write_bytes(raw)
    near = relay.connect([sys.executable, "-c", SAYING, str(path)], limits=LIMITS)
    try:
        await near.send([Frame(LAST)])
        with few_steps():
            await taken(near)
    finally:
        await near.aclose()


async def from_http(raw: bytes, _: Path) -> None:
    await answered(Saying(200, raw, JSON))


async def from_events(raw: bytes, _: Path) -> None:
    line = raw.replace(b"\r", b" ").replace(b"\n", b" ")
    await answered(Saying(200, b"data: " + line + b"\n\n", "text/event-stream"))


async def answered(script: Saying) -> None:
    async with FaultServer.running(script) as server, Direct.to(server.url, limits=LIMITS) as client:
        await client.handshake()
        with few_steps():
            await client.call(7)


DOORS: tuple[Callable[[bytes, Path], Awaitable[None]], ...] = (
    http, http_session, http_modern, sse, websocket, tcp, tcp_first_line, unix, through, from_child, from_http,
    from_events, from_tcp, from_through, from_websocket,
)  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("door", DOORS, ids=lambda door: door.__name__)
@pytest.mark.only_loop("uvloop")
@pytest.mark.allow_leaks("a message that nobody answers leaves its exchange open")
async def test_no_message_costs_a_step_for_each_of_its_tokens(
    door: Callable[[bytes, Path], Awaitable[None]], kind: str, tmp_path: Path
) -> None:
    """From a client or a server, of either era; whether it is handed on or refused."""
    await door(make(kind, SIZE), tmp_path)
