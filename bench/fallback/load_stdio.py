"""The stdio load generator without a compiler; see native/load_stdio.c."""

import asyncio
import json
import os
import time

from bench.fallback.plain_client import INITIALIZED, NEEDS_COMPILER, Client, fail


async def _open_pipes(client: Client) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=2**26)
    await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(client.options.read_fd, "rb", 0)
    )
    pipe = os.fdopen(client.options.write_fd, "wb", 0)
    transport, protocol = await loop.connect_write_pipe(lambda: asyncio.streams.FlowControlMixin(), pipe)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


async def _read_line(reader: asyncio.StreamReader) -> bytes:
    line = await reader.readline()
    if not line:
        fail("the bridge ended its output")
    return line


async def _run_calls(client: Client, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    until = client.open_window()
    waiting: dict[int, float] = {}
    for _ in range(client.options.in_flight):
        call, frame = client.next_call()
        waiting[call] = time.monotonic()
        writer.write(frame + b"\n")
    while waiting:
        line = await _read_line(reader)
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
            writer.write(frame + b"\n")
            await writer.drain()


async def _main() -> None:
    client = Client()
    if client.options.rate:
        fail(NEEDS_COMPILER)
    reader, writer = await _open_pipes(client)
    writer.write(client.initialize() + b"\n")
    await _read_line(reader)
    first_answer_at = time.monotonic_ns()
    writer.write(INITIALIZED + b"\n")
    if client.options.mode == "calls":
        limit = client.options.warm_up + client.options.seconds + client.options.drain
        try:
            await asyncio.wait_for(_run_calls(client, reader, writer), limit)
        except TimeoutError:
            fail(f"timed out: {client.all_calls} calls were answered")
    client.print_figures(0, first_answer_at)


if __name__ == "__main__":
    asyncio.run(_main())
