"""A server reads large messages that the relay masks itself as it reads aiohttp's; memory holds them twice."""

from __future__ import annotations

import asyncio
import tracemalloc
import types

import aiohttp
from aiohttp import web

from relay.endpoints.websocket import sending as websocket_sending
from relay.endpoints.websocket.sending import send_masked

LARGE = websocket_sending._LARGE
SIZES = [0, 5, LARGE, LARGE + 1, 2 * LARGE, 9 * LARGE + 3]


async def test_what_is_sent_masked_is_read_as_it_is() -> None:
    """Whatever its size: small ones go aiohttp's way."""
    received: asyncio.Queue[str] = asyncio.Queue()

    async def handle(request: web.BaseRequest) -> web.StreamResponse:
        socket = web.WebSocketResponse(max_msg_size=0)
        await socket.prepare(request)
        async for message in socket:
            received.put_nowait(message.data)
        return socket

    server = await asyncio.get_running_loop().create_server(web.Server(handle), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with aiohttp.ClientSession() as session, session.ws_connect(f"http://127.0.0.1:{port}/") as socket:
        for size in SIZES:
            message = ("abcdefg" * (size // 7 + 1))[:size]
            await send_masked(socket._writer, message.encode())
            assert await received.get() == message
    server.close()


class Transport:
    """Keeps what is written, as a transport does whose peer does not read."""

    def __init__(self) -> None:
        self.written: list[bytes | bytearray] = []

    def write(self, data: bytes | bytearray) -> None:
        self.written.append(data)


class Writer:
    """aiohttp's, as far as it is used."""

    _closing = False
    protocol = types.SimpleNamespace(_paused=False)

    def __init__(self) -> None:
        self.transport = Transport()


async def test_one_copy_is_made() -> None:
    """The masked one."""
    message, writer = b"x" * (16 * LARGE), Writer()
    tracemalloc.start()
    await send_masked(writer, message)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.2 * len(message)
