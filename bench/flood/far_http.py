"""The servers of ``bench.flood.far`` that speak HTTP, apart from it because a child starts faster without aiohttp."""

from __future__ import annotations

import asyncio

from aiohttp import web

from bench.flood.far import answer, lines

__all__ = ["HttpFar"]


class HttpFar:
    """Answers by Streamable HTTP with JSON or events, by HTTP+SSE or by WebSocket."""

    def __init__(self, mode: str) -> None:
        """Speak as ``mode`` says: http-json, http-sse, sse or ws."""
        self._mode = mode
        self._streams: list[web.StreamResponse] = []

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
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
            for said in lines(str(message.data).encode()):
                await socket._writer.send_frame(b"".join(said), 1)  # type: ignore[union-attr] # it may be no UTF-8
        return socket


def _event(data: bytes) -> bytes:
    return b"event: message\ndata: " + data.replace(b"\r", b" ").replace(b"\n", b" ") + b"\n\n"
