"""WebSocket, dialled and accepted, with the ``websockets`` library and Node's WebSocket as peers."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager

import aiohttp
import psutil
import pytest
import websockets.asyncio.client
import websockets.asyncio.connection
import websockets.asyncio.server
import websockets.exceptions
from aiohttp import web
from websockets.typing import Subprotocol

from relay.endpoints.core.dialling import DiallingOptions
from relay.endpoints.core.memory import memory_pair
from relay.endpoints.websocket.websocket import WebSocketEndpoint, accept_websocket, dial_websocket
from relay.errors import ConfigError, EndpointBroken, EndpointUnavailable
from relay.frames import replies
from relay.frames.frame import Frame
from relay.limits import Limits
from relay.pipe import pipe
from relay.testing import Capabilities, Pair, check_endpoint, joined
from relay.testing.pair import of_size, request, take
from tests.endpoints.http.house import house
from tests.endpoints.http.peers_by_hand import HELLO, QUICK, answer, error_of, start
from tests.endpoints.library_far import LibraryFar

MCP = Subprotocol("mcp")


Sides = tuple[WebSocketEndpoint, LibraryFar]
Make = Callable[[Limits], AbstractAsyncContextManager[Sides]]


@contextlib.asynccontextmanager
async def dialled(limits: Limits) -> AsyncIterator[Sides]:
    """Dial a server of the library."""
    came: asyncio.Queue[LibraryFar] = asyncio.Queue()

    async def handle(connection: websockets.asyncio.server.ServerConnection) -> None:
        came.put_nowait(LibraryFar(connection))
        await connection.wait_closed()

    async with websockets.asyncio.server.serve(
        handle, "127.0.0.1", 0, subprotocols=[MCP], max_size=None, max_queue=1, ping_interval=None, compression=None
    ) as server:
        port = server.sockets[0].getsockname()[1]
        near = await dial_websocket(f"ws://127.0.0.1:{port}/mcp", DiallingOptions(limits=limits))
        far = await came.get()
        assert far.connection.subprotocol == "mcp"
        try:
            yield near, far
        finally:
            await near.aclose()
            await far.vanish()


@contextlib.asynccontextmanager
async def accepting(limits: Limits) -> AsyncIterator[tuple[str, asyncio.Queue[WebSocketEndpoint]]]:
    """Serve WebSockets as the HTTP listener does."""
    came: asyncio.Queue[WebSocketEndpoint] = asyncio.Queue()

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        if request.headers.get("Upgrade") != "websocket":
            return web.Response(status=405)
        endpoint = await accept_websocket(request, limits)
        came.put_nowait(endpoint)
        return await endpoint.serve()

    http = web.Server(handle, handler_cancellation=True)
    server = await asyncio.get_running_loop().create_server(http, "127.0.0.1", 0)
    try:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp", came
    finally:
        server.close()
        await http.shutdown(1)


@contextlib.asynccontextmanager
async def accepted(limits: Limits) -> AsyncIterator[Sides]:
    """Accept a client of the library."""
    async with accepting(limits) as (url, came):
        connection = await websockets.asyncio.client.connect(
            url, subprotocols=[MCP], max_size=None, max_queue=1, ping_interval=None, compression=None, proxy=None
        )
        assert connection.subprotocol == "mcp"
        near = await came.get()
        far = LibraryFar(connection)
        try:
            yield near, far
        finally:
            await near.aclose()
            await far.vanish()


both_sides = pytest.mark.parametrize("make", [dialled, accepted])


@pytest.mark.async_timeout(90)
@both_sides
async def test_websocket(make: Make) -> None:
    """Every law that it can show: it has no half-close, and who goes without a close frame has failed."""

    @contextlib.asynccontextmanager
    async def make_pair(limits: Limits) -> AsyncIterator[Pair]:
        async with make(limits) as (near, far), joined(near, far) as pair:
            yield pair

    await check_endpoint(make_pair, Capabilities(half_close=False, vanishing_breaks=True, most_buffered=12 * 2**20))


# -- one outcome ------------------------------------------------------------------------------------------------------


@both_sides
async def test_late_answers_come_after_our_end_and_then_it_has_finished(make: Make) -> None:
    """There is no half-close: the end is ours once the peer owes nothing, without waiting for the linger."""
    async with make(QUICK) as (near, far):
        await near.send([request(1), request(2)])
        await take(far, 2)
        await near.send_eof()
        await far.send([answer(2), HELLO, answer(1)])
        assert [frame.raw for frame in await take(near, 99)] == [answer(2).raw, HELLO.raw, answer(1).raw]
        await near.aclose()
        assert await far.receive() == ()
        assert far.connection.close_code == 1000


@both_sides
@pytest.mark.parametrize("way", ["vanish", "close 1011", "close 1000"])
async def test_open_requests_get_their_errors_when_the_peer_goes(make: Make, way: str) -> None:
    """However it goes, within a second; broken unless it went in order."""
    async with make(QUICK) as (near, far):
        await near.send([request(number) for number in range(5)])
        await take(far, 5)
        await far.send([answer(3)])
        assert [frame.head.id for frame in await take(near, 1)] == [3]
        began = time.monotonic()
        if way == "vanish":
            await far.vanish()
        else:
            await far.connection.close(int(way[-4:]), "bye")
        frames = await take(near, 4)
        assert [error_of(frame) for frame in frames] == [
            (number, replies.LOST, {"delivered": "unknown"}) for number in (0, 1, 2, 4)
        ]
        assert time.monotonic() - began < 10
        if way == "close 1000":
            assert await near.receive() == ()
        else:
            with pytest.raises(EndpointBroken, match="closed with code 10(06|11)"):
                await near.receive()
        with pytest.raises(EndpointBroken):
            await near.send([request(9)])


@both_sides
async def test_the_peers_requests_get_their_errors_when_we_go(make: Make) -> None:
    """With the reason, before the close frame; its code says that something failed."""
    async with make(QUICK) as (near, far):
        await far.send([request(1), request(2)])
        await take(near, 2)
        await near.send([answer(1)])
        async with asyncio.TaskGroup() as group:
            group.create_task(near.aclose(EndpointBroken("server: exited with status 1")))
            frames = await take(far, 9)
        assert [frame.head.id for frame in frames] == [1, 2]
        assert b"server: exited with status 1" in frames[1].raw
        assert far.connection.close_code in (1001, 1011)


async def test_kill_9_of_a_dialled_server() -> None:
    """A process with twenty requests open: twenty errors within a second, through a pipe."""
    code = """
import asyncio, websockets.asyncio.server
async def handle(connection):
    for _ in range(20):
        await connection.recv()
    print("read", flush=True)
    await connection.wait_closed()
async def main():
    async with websockets.asyncio.server.serve(handle, "127.0.0.1", 0, subprotocols=["mcp"]) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""
    with start(sys.executable, "-c", code) as server:
        try:
            assert server.stdout is not None
            port = int(await asyncio.to_thread(server.stdout.readline))
            client, ours = memory_pair()
            upstream = await dial_websocket(f"ws://127.0.0.1:{port}", DiallingOptions(limits=QUICK))
            async with asyncio.TaskGroup() as group:
                group.create_task(pipe(ours, upstream, limits=QUICK))
                await client.send([request(number) for number in range(20)])
                await asyncio.to_thread(server.stdout.readline)
                os.kill(server.pid, signal.SIGKILL)
                began = time.monotonic()
                frames = await take(client, 999)
                assert [error_of(frame)[:2] for frame in frames] == [(n, replies.LOST) for n in range(20)]
                assert time.monotonic() - began < 10
                await client.aclose()
        finally:
            server.kill()


# -- what comes -------------------------------------------------------------------------------------------------------


@both_sides
async def test_bytes_are_kept_as_they_are(make: Make) -> None:
    """Newlines, numbers, duplicate keys, any UTF-8, halves of surrogate pairs; batches as one message."""
    odd = [
        Frame('{\n "jsonrpc": "2.0",\r\n\t"method": "ö\u2028\U0001f600", "params": ["\\ud800", 0.10, 1E400]}'.encode()),
        Frame(b'[{"jsonrpc":"2.0","method":"a"} ,\n{"jsonrpc":"2.0","method":"b"}]'),
        Frame(b'{"method":"x","x":123456789012345678901234567890,"x":1}'),
    ]
    async with make(QUICK) as (near, far):
        await far.send(odd)
        assert [frame.raw for frame in await take(near, 3)] == [frame.raw for frame in odd]
        await far.connection.send([HELLO.raw[:5].decode(), HELLO.raw[5:].decode()])  # in fragments
        assert [frame.raw for frame in await take(near, 1)] == [HELLO.raw]
        await near.send(odd)
        assert [frame.raw for frame in await take(far, 3)] == [frame.raw for frame in odd]


@both_sides
@pytest.mark.parametrize("message", [HELLO.raw, [HELLO.raw[:9], HELLO.raw[9:]]], ids=["whole", "in fragments"])
async def test_a_binary_message_is_refused(make: Make, message: bytes | list[bytes]) -> None:
    """The subprotocol's frames are text: 1003 says so, and every open request has its error."""
    async with make(QUICK) as (near, far):
        await near.send([request(1)])
        await take(far, 1)
        await far.send([HELLO])
        await far.connection.send(message)
        assert [frame.raw for frame in await take(near, 1)] == [HELLO.raw]
        (lost,) = await take(near, 1)
        assert error_of(lost)[:2] == (1, replies.LOST)
        with pytest.raises(EndpointBroken, match="1003.*binary"):
            await near.receive()
        await far.connection.wait_closed()
        assert far.connection.close_code == 1003


TEXT, CONTINUATION, PING, CLOSE = 0x81, 0x80, 0x89, 0x88


def ws_frame(opcode: int, payload: bytes, *, masked: bool) -> bytes:
    """Write a frame, with a key of four bytes if it is masked."""
    size = len(payload)
    short = size if size < 126 else 126 if size < 65536 else 127
    length = b"" if short < 126 else size.to_bytes(2 if short == 126 else 8, "big")
    key = b"\x01\x02\x03\x04"
    if masked:
        payload = bytes(byte ^ key[at % 4] for at, byte in enumerate(payload))
    return bytes([opcode, short | (0x80 if masked else 0)]) + length + (key if masked else b"") + payload


HANDSHAKE = (
    b"GET /mcp HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: mcp\r\n\r\n"
)
LONGER = Frame(b'{"jsonrpc":"2.0","method":"x","params":"%b"}' % (b"y" * 200))
LARGE = Frame(b'{"jsonrpc":"2.0","method":"x","params":"%b"}' % (b"y" * 70_000))


@pytest.mark.parametrize(
    "bad",
    [
        ws_frame(TEXT, HELLO.raw, masked=False),
        ws_frame(TEXT, LARGE.raw, masked=False)[:64],
        ws_frame(PING, b"", masked=False),
        ws_frame(CLOSE, b"\x03\xe8", masked=False),
        ws_frame(0x01, HELLO.raw[:9], masked=True) + ws_frame(CONTINUATION, HELLO.raw[9:], masked=False),
    ],
    ids=["text", "large", "ping", "close", "continuation"],
)
@pytest.mark.parametrize("cut", ["with the handshake", "at once", "byte by byte"])
async def test_a_client_must_mask_its_frames(bad: bytes, cut: str) -> None:
    """RFC 6455 §5.1: what is masked before is taken, what is not ends the connection with 1002, however it comes."""
    good = b"".join(ws_frame(TEXT, frame.raw, masked=True) for frame in (HELLO, LONGER, HELLO))
    good += ws_frame(0x8A, b"pong", masked=True)
    async with accepting(QUICK) as (url, came):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.split(":")[2].split("/")[0]))
        early = good + bad if cut == "with the handshake" else b""
        writer.write(HANDSHAKE + early)
        await reader.readuntil(b"\r\n\r\n")
        if cut == "byte by byte":
            for at in range(len(good)):
                writer.write(good[at : at + 1])
                await asyncio.sleep(0)
        elif not early:
            writer.write(good)
        if not early:
            writer.write(bad)
        near = await came.get()
        assert [frame.raw for frame in await take(near, 3)] == [HELLO.raw, LONGER.raw, HELLO.raw]
        with pytest.raises(EndpointBroken, match="1002.*not masked"):
            await near.receive()
        assert await reader.read() == ws_frame(CLOSE, b"\x03\xea", masked=False)
        writer.close()
        await near.aclose()


async def test_what_is_not_json_rpc() -> None:
    """A client is told and may go on; a server's is dropped and counted; ours never leaves."""
    async with accepted(QUICK) as (near, far):
        await far.connection.send("nonsense")
        await far.connection.send('{"hello":1}')
        await far.send([HELLO])
        assert [frame.raw for frame in await take(near, 1)] == [HELLO.raw]
        assert [error_of(frame)[:2] for frame in await take(far, 2)] == [(None, -32700), (None, -32600)]
        assert near.noise == 2
    async with dialled(QUICK) as (near, far):
        await far.connection.send("nonsense")
        await near.send([Frame(b"nonsense"), Frame(b'{"method":"\xff"}'), request(1)])
        assert [error_of(frame)[1] for frame in await take(near, 1)] == [-32700]
        assert [frame.raw for frame in await take(far, 1)] == [request(1).raw]
        assert near.noise == 1


@both_sides
async def test_invalid_utf_8_ends_the_connection(make: Make) -> None:
    """RFC 6455, 8.1: code 1007."""
    async with make(QUICK) as (near, far):
        await far.connection.send(b'{"method":"\xff"}', text=True)
        with pytest.raises(EndpointBroken, match="1007"):
            await near.receive()
        assert await far.receive() == ()
        assert far.connection.close_code == 1007


@both_sides
async def test_what_is_too_large(make: Make) -> None:
    """Somewhat: its request or answer gets an error and the rest goes on. Far: 1009, and errors for what is open."""
    limits = dataclasses.replace(QUICK, max_frame_bytes=5000)
    async with make(limits) as (near, far):
        await near.send([request(1), request(2)])
        await take(far, 2)
        huge = b'{"jsonrpc":"2.0","id":1,"result":{"p":"' + b"x" * 6000 + b'"}}'
        await far.send([Frame(huge), of_size(7, 5001), of_size(8, 5000)])
        frames = await take(near, 2)
        assert error_of(frames[0]) == (1, replies.TOO_LARGE, {"delivered": "unknown"})
        assert frames[1].head.id == 8
        assert error_of((await take(far, 1))[0]) == (7, replies.TOO_LARGE, {"delivered": "no"})
        with contextlib.suppress(websockets.exceptions.ConnectionClosed):
            await far.connection.send("x" * (2**20 + 6000))
        (lost,) = await take(near, 1)
        assert error_of(lost)[:2] == (2, replies.LOST)
        assert b"--max-frame-bytes" in lost.raw
        with pytest.raises(EndpointBroken, match="1009"):
            await near.receive()
        await asyncio.wait([asyncio.get_running_loop().create_task(far.connection.wait_closed())], timeout=2)
        assert far.connection.close_code == 1009


@pytest.mark.async_timeout(60)
@both_sides
async def test_a_mixed_thousand_and_a_frame_of_16_mib(make: Make) -> None:
    """Both ways at once, byte for byte and in order."""
    frames = [request(number, [0, 17, 900, 70_000][number % 4]) for number in range(1000)]
    frames[500:500] = [of_size(5000, 16 * 2**20)]
    async with make(QUICK) as (near, far), asyncio.TaskGroup() as group:
        group.create_task(near.send(frames))
        group.create_task(far.send(frames))
        inwards, outwards = group.create_task(take(near, 1001)), group.create_task(take(far, 1001))
        await asyncio.wait([inwards, outwards])
        assert [frame.raw for frame in inwards.result()] == [frame.raw for frame in frames]
        assert [frame.raw for frame in outwards.result()] == [frame.raw for frame in frames]


@both_sides
async def test_neither_side_that_does_not_read_costs_memory(make: Make) -> None:
    """200 MB offered to a peer that does not read, then by one that we do not: a few MB here; closing is bounded."""
    frame = Frame(b'{"jsonrpc":"2.0","method":"x","params":"' + b"x" * 100_000 + b'"}')
    async with make(QUICK) as (near, far):
        before = psutil.Process().memory_info().rss

        async def offer(send: Callable[[Sequence[Frame]], object]) -> None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.7):
                    for _ in range(2000):
                        await send([frame])  # type: ignore[misc]  # near's or far's
                    raise AssertionError("200 MB were accepted")

        await offer(near.send)
        await offer(far.send)
        assert psutil.Process().memory_info().rss - before < 32 * 2**20
        began = time.monotonic()
        await near.aclose()
        assert time.monotonic() - began < 10


# -- life and death ---------------------------------------------------------------------------------------------------


@both_sides
async def test_a_peer_that_answers_no_ping_is_dead(make: Make) -> None:
    """After ``limits.stall`` seconds of silence; its requests get errors. One that answers lives on."""
    limits = dataclasses.replace(QUICK, keep_alive=0.1, stall=1.0)
    async with make(limits) as (near, far):
        await near.send([request(1)])
        await take(far, 1)
        await asyncio.sleep(2)
        await near.send([request(2)])
        await take(far, 1)
        far.connection.transport.pause_reading()
        began = time.monotonic()
        assert [error_of(frame)[0] for frame in await take(near, 2)] == [1, 2]
        with pytest.raises(EndpointBroken, match="no ping"):
            await near.receive()
        assert 0.2 < time.monotonic() - began < 10


@both_sides
async def test_a_relay_that_was_suspended_asks_before_it_gives_up(make: Make) -> None:
    """Silence in which nobody could speak proves nothing."""
    limits = dataclasses.replace(QUICK, keep_alive=0.3, stall=1.0)
    async with make(limits) as (near, far):
        time.sleep(1.3)  # noqa: TID251, ASYNC251 - the process stands still, before its first ping
        await asyncio.sleep(0.7)
        await near.send([request(1)])
        await take(far, 1)


@both_sides
async def test_a_peer_that_we_do_not_read_is_not_taken_for_dead(make: Make) -> None:
    """While the receiver is slow, its pongs wait behind what it sent."""
    limits = dataclasses.replace(QUICK, keep_alive=0.1, stall=0.4)
    frames = [of_size(number, 64 * 1024) for number in range(100)]
    async with make(limits) as (near, far), asyncio.TaskGroup() as group:
        group.create_task(far.send(frames))
        await asyncio.sleep(1.2)
        assert [frame.raw for frame in await take(near, 100)] == [frame.raw for frame in frames]


# -- the handshake ----------------------------------------------------------------------------------------------------


KEY = "AAAAAAAAAAAAAAAAAAAAAA=="
UPGRADE = {
    "Upgrade": "websocket", "Connection": "keep-alive, Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": KEY
}  # fmt: skip


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"Sec-WebSocket-Key": "x"}, "not a proper WebSocket handshake"),
        ({"Sec-WebSocket-Key": "QUJD"}, "not a proper WebSocket handshake"),
        ({"Sec-WebSocket-Key": None}, "not a proper WebSocket handshake"),
        ({"Sec-WebSocket-Version": "12"}, "not a proper WebSocket handshake"),
        ({"Sec-WebSocket-Version": None}, "not a proper WebSocket handshake"),
        ({"Connection": "keep-alive"}, "not a proper WebSocket handshake"),
        ({"Sec-WebSocket-Protocol": "chat, mcp2"}, "the subprotocol here is 'mcp'; offered: chat, mcp2"),
    ],
)
async def test_who_may_not_upgrade(changed: dict[str, str | None], words: str) -> None:
    """Foreign subprotocols and broken handshakes are refused with 400."""
    headers = {name: value for name, value in (UPGRADE | changed).items() if value is not None}
    async with house(QUICK) as opened, aiohttp.ClientSession() as session:
        async with session.get(opened.listener.url, headers=headers) as response:
            assert (response.status, (await response.json())["error"]["message"]) == (400, words)


@pytest.mark.parametrize("offered", [None, ["mcp"], ["chat", "mcp"]])
async def test_who_may_upgrade(offered: list[str] | None) -> None:
    """Without a subprotocol, or with ours among others."""
    async with house(QUICK) as opened:
        url = opened.listener.url.replace("http:", "ws:")
        subprotocols = None if offered is None else [Subprotocol(one) for one in offered]
        async with websockets.asyncio.client.connect(url, subprotocols=subprotocols, proxy=None) as connection:
            assert connection.subprotocol == (None if offered is None else "mcp")
            await connection.send(HELLO.raw.decode())
            near = await anext(aiter(opened.listener))
            assert [frame.raw for frame in await near.receive()] == [HELLO.raw]
            await near.aclose()


async def test_dialling_what_is_no_websocket() -> None:
    """ConfigError for what is no address; EndpointUnavailable for a closed port and for a server that refuses."""
    for wrong in ("http://127.0.0.1/", "ws://", "ws://[::1"):
        with pytest.raises(ConfigError):
            await dial_websocket(wrong)
    with pytest.raises(EndpointUnavailable, match="Connection refused"):
        await dial_websocket("ws://127.0.0.1:1/mcp")
    refusing = web.Server(lambda request: _refuse())
    server = await asyncio.get_running_loop().create_server(refusing, "127.0.0.1", 0)
    with pytest.raises(EndpointUnavailable, match="HTTP 401"):
        await dial_websocket(f"ws://user:secret@127.0.0.1:{server.sockets[0].getsockname()[1]}/mcp")
    server.close()
    await refusing.shutdown(1)


async def _refuse() -> web.StreamResponse:
    return web.Response(status=401)


async def test_a_client_that_leaves_in_the_middle_of_the_pipe() -> None:
    """Its upstream is told of the end; nothing of the connection is left."""
    async with accepted(QUICK) as (near, far):
        ours, server = memory_pair()
        async with asyncio.TaskGroup() as group:
            piping = group.create_task(pipe(near, ours, limits=QUICK))
            await far.send([request(1)])
            await take(server, 1)
            await far.vanish()
            assert await server.receive() == ()
        assert "1006" in str(piping.result().failure)


# -- another third party ----------------------------------------------------------------------------------------------

NODE = """
const socket = new WebSocket(process.argv[1], "mcp");
const frames = [];
socket.onopen = () => {
  for (let id = 0; id < 500; id++)
    socket.send(JSON.stringify({jsonrpc: "2.0", id, method: "x", params: {p: "\u00e9"}}));
};
socket.onmessage = (event) => {
  frames.push(JSON.parse(event.data).id);
  if (frames.length == 500) { console.log(JSON.stringify([socket.protocol, frames])); socket.close(1000); }
};
socket.onerror = (event) => console.log("error", event.message);
"""


def has_websocket(node: str) -> bool:
    """Tell whether this Node has one of its own."""
    words = [node, "--experimental-websocket", "-e", "WebSocket"]
    return subprocess.run(words, check=False, capture_output=True).returncode == 0


async def test_nodes_own_websocket() -> None:
    """As a client, where Node has one: 500 requests and their answers."""
    node = shutil.which("node")
    if node is None or not has_websocket(node):
        pytest.skip("no node with a WebSocket")
    async with accepting(QUICK) as (url, came):
        with start(node, "--experimental-websocket", "-e", NODE, url) as client:
            near = await came.get()
            count = 0
            while frames := await near.receive():
                count += len(frames)
                await near.send([answer(int(frame.head.id or 0)) for frame in frames])
            assert count == 500
            assert client.stdout is not None
            said = json.loads(await asyncio.to_thread(client.stdout.read))
            assert said == ["mcp", list(range(500))]
            await near.aclose()
