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

from aiohttp import web

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


def _lines(frame: bytes) -> list[Pieces]:
    said, order = answer(frame)
    return [*([] if order is None else [order]), *([] if said is None else [(said,)])]


def _stdio() -> None:
    for line in open(0, "rb", buffering=READ_SIZE):
        for said in _lines(line):
            for piece in (*said, b"\n"):
                sys.stdout.buffer.write(piece)
        sys.stdout.buffer.flush()


async def _tcp(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        writer.writelines(b"".join((*said, b"\n")) for said in _lines(line))
        await writer.drain()
    writer.close()


class _Http:
    def __init__(self, mode: str) -> None:
        self._mode = mode
        self._streams: list[web.StreamResponse] = []

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._mode == "ws":
            return await self._websocket(request)
        if request.method == "GET":
            return await self._get(request)
        body = await request.content.read()
        said, ordered = answer(body)
        order = None if ordered is None else b"".join(ordered)
        if self._mode == "sse" and "session" not in request.query:
            return web.Response(status=405)
        if self._mode == "sse":
            stream = self._streams[int(request.query["session"])]
            for one in (order, said):
                if one is not None:
                    await stream.write(_event(one))
            return web.Response(status=202)
        said = order or said
        if said is None:
            return web.Response(status=202)
        headers = {"Mcp-Session-Id": "s"} if b'"initialize"' in body[:200] else {}
        if self._mode == "http-sse":
            return web.Response(body=_event(said), content_type="text/event-stream", headers=headers)
        return web.Response(body=said, content_type="application/json", headers=headers)

    async def _get(self, request: web.BaseRequest) -> web.StreamResponse:
        if self._mode != "sse":
            return web.Response(status=405)
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        self._streams.append(stream)
        await stream.write(b"event: endpoint\ndata: /messages?session=%d\n\n" % (len(self._streams) - 1))
        await asyncio.Event().wait()
        return stream

    async def _websocket(self, request: web.BaseRequest) -> web.StreamResponse:
        socket = web.WebSocketResponse(protocols=("mcp",), max_msg_size=0, compress=False)
        await socket.prepare(request)
        async for message in socket:
            for said in _lines(str(message.data).encode()):
                await socket._writer.send_frame(b"".join(said), 1)  # type: ignore[union-attr] # it may be no UTF-8
        return socket


def _event(data: bytes) -> bytes:
    return b"event: message\ndata: " + data.replace(b"\r", b" ").replace(b"\n", b" ") + b"\n\n"


async def _serve(mode: str, port: int) -> None:
    if mode == "tcp":
        server = await asyncio.start_server(_tcp, "127.0.0.1", port, limit=2**28)
        await server.serve_forever()
    else:
        far = _Http(mode)
        loop = asyncio.get_running_loop()
        await loop.create_server(web.Server(far.handle), "127.0.0.1", port)
        await asyncio.Event().wait()


if __name__ == "__main__":
    if sys.argv[1] == "stdio":
        _stdio()
    else:
        asyncio.run(_serve(sys.argv[1], int(sys.argv[2])))
