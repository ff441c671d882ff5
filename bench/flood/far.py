"""A cheap server that sends what a test tells it to: ``python -m bench.flood.far MODE [PORT]``.

``flood/send`` names a file, whose bytes the server sends as one message, or as the whole answer over HTTP. Any other
method gets an empty result. The server does not parse a large message, and looks for its id only at both ends.
"""

import asyncio
import json
import mmap
import re
import sys
from pathlib import Path

VERSIONS = ("2026-07-28",)
ENDS = 4096
Pieces = tuple[bytes | memoryview, ...]
READ_SIZE = 256 * 1024  # bytes; Python reads a pipe in steps of 8 KiB, which makes the relay wait
_ID = re.compile(rb'"id"\s*:\s*("[^"]{0,99}"|\d+)')
_METHOD = re.compile(rb'"method"\s*:\s*"([a-z/A-Z]+)"')


def answer(frame: bytes) -> tuple[bytes | None, Pieces | None]:
    """Return the answer to a message, and what it orders to be sent beside or instead, in pieces."""
    start = frame[:ENDS]
    method, found = _METHOD.search(start), _ID.search(start) or _ID.search(frame[-ENDS:])
    if method is None or found is None:
        return None, None
    result: dict[str, object] = {}
    order = None
    match method.group(1):
        case b"initialize":
            result = {
                "protocolVersion": "2025-03-26",
                "capabilities": {},
                "serverInfo": {"name": "far", "version": "1"},
            }
        case b"server/discover":
            result = {"supportedVersions": VERSIONS, "capabilities": {}, "serverInfo": {"name": "far", "version": "1"}}
        case b"tools/list":
            schema = {"type": "object", "properties": {"a": {"type": "string", "x-mcp-header": "A"}}}
            result = {"tools": [{"name": "x", "inputSchema": schema}]}
    if b'"flood' in start:
        order = _ordered(Path(json.loads(frame)["params"]["path"]), found.group(1))
    body = json.dumps(result).encode()
    return b'{"jsonrpc":"2.0","id":%b,"result":%b}' % (found.group(1), body), order


def _ordered(path: Path, answered: bytes) -> Pieces:
    """Return the message in a file; an answer to request 7 becomes the answer to this one.

    Nothing large is copied: while a server that others share copies 16 MiB, they wait for it and not for the relay.
    """
    with path.open("rb") as file:
        whole = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    start, end = whole[:ENDS], whole[max(ENDS, len(whole) - ENDS) :]
    middle = memoryview(whole)[ENDS : max(ENDS, len(whole) - ENDS)]
    old, new = b'"id":7', b'"id":' + answered
    if old in start:
        return start.replace(old, new, 1), middle, end
    return start, middle, end.replace(old, new, 1)


def lines(frame: bytes) -> list[Pieces]:
    """Return what the server says to a message, each of it in pieces."""
    said, order = answer(frame)
    return [*([] if order is None else [order]), *([] if said is None else [(said,)])]


def _stdio() -> None:
    for line in open(0, "rb", buffering=READ_SIZE):
        for said in lines(line):
            for piece in (*said, b"\n"):
                sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()


async def _tcp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        writer.writelines(b"".join((*said, b"\n")) for said in lines(line))
        await writer.drain()
    writer.close()


async def _serve(mode: str, port: int) -> None:
    if mode == "tcp":
        server = await asyncio.start_server(_tcp, "127.0.0.1", port, limit=2**28)
        await server.serve_forever()
    else:
        from aiohttp import web

        from bench.flood.far_http import HttpFar

        far = HttpFar(mode)
        loop = asyncio.get_running_loop()
        await loop.create_server(web.Server(far.handle), "127.0.0.1", port)
        await asyncio.Event().wait()


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        _stdio()
    else:
        asyncio.run(_serve(sys.argv[1], int(sys.argv[2])))
