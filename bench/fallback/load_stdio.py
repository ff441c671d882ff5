"""The stdio load generator without a compiler; see native/load_stdio.c."""

import asyncio
import json
import os
import socket
import stat
import time

from bench.fallback.plain_client import INITIALIZED, NEEDS_COMPILER, Client, fail


async def _open_pipes(client: Client) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if stat.S_ISSOCK(os.fstat(client.options.read_fd).st_mode):
        return await asyncio.open_connection(sock=socket.socket(fileno=client.options.read_fd), limit=2**26)
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=2**26)
    await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(client.options.read_fd, "rb", 0)
    )
    pipe = os.fdopen(client.options.write_fd, "wb", 0)
    transport, protocol = await loop.connect_write_pipe(lambda: asyncio.streams.FlowControlMixin(), pipe)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


def _framed(frame: bytes, framing: str) -> bytes:
    if framing == "lines":
        return frame + b"\n"
    size = len(frame)
    width = 0 if size < 126 else 2 if size < 65536 else 8
    head = bytes((0x81, 0x80 | (size if not width else 126 if width == 2 else 127)))
    return (
        head + (size.to_bytes(width) if width else b"") + bytes(4) + frame
    )  # a mask of zeros: as in native/websocket.h


async def _read_frame(reader: asyncio.StreamReader, framing: str) -> bytes:
    try:
        if framing == "lines":
            return await reader.readuntil(b"\n")
        opcode, size = 0, 0
        while opcode not in (0x81, 0x82):  # text, binary; what else comes in a short load wants no answer
            opcode, size = await reader.readexactly(2)
            if size > 125:
                size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8))
            message = await reader.readexactly(size)
        return message
    except asyncio.IncompleteReadError:
        fail("the bridge ended its output")


async def _run_calls(client: Client, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    framing = client.options.framing
    until = client.open_window()
    waiting: dict[int, float] = {}
    for _ in range(client.options.in_flight):
        call, frame = client.next_call()
        waiting[call] = time.monotonic()
        writer.write(_framed(frame, framing))
    while waiting:
        line = await _read_frame(reader, framing)
        answer = json.loads(line)
        if "method" in answer:
            continue
        if answer.get("id") not in waiting:
            fail(f"an answer with id {answer.get('id')}, which nobody waits for")
        client.take_answer(answer["id"], line, waiting.pop(answer["id"]))
        is_enough = client.options.limit and client.all_calls >= client.options.limit
        if time.monotonic() < until and not is_enough:
            call, frame = client.next_call()
            waiting[call] = time.monotonic()
            writer.write(_framed(frame, framing))
            await writer.drain()


async def _main() -> None:
    client = Client()
    framing = client.options.framing
    if client.options.rate:
        fail(NEEDS_COMPILER)
    reader, writer = await _open_pipes(client)
    writer.write(_framed(client.initialize(), framing))
    await _read_frame(reader, framing)
    first_answer_at = time.monotonic_ns()
    writer.write(_framed(INITIALIZED, framing))
    if client.options.mode == "calls":
        limit = client.options.warm_up + client.options.seconds + client.options.drain
        try:
            await asyncio.wait_for(_run_calls(client, reader, writer), limit)
        except TimeoutError:
            fail(f"timed out: {client.all_calls} calls were answered")
    client.print_figures(0, first_answer_at)


if __name__ == "__main__":
    asyncio.run(_main())
