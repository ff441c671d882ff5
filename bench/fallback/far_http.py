"""The far end of connect and hop without a compiler: ``far_http.py PORT json|sse``.

It answers only POSTs. A GET gets 405, so there are no notifications. See native/far_http.c.
"""

import asyncio
import sys

from bench.fallback.plain_echo import answer_frame


def _response(mode: str, body: bytes, session: bytes) -> bytes:
    answer = next(answer_frame(body), None)
    if answer is None:
        return b"HTTP/1.1 202 Accepted\r\nContent-Length: 0\r\n\r\n"
    kind = b"application/json"
    if mode == "sse":
        kind, answer = b"text/event-stream", b"event: message\ndata: " + answer + b"\n\n"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\n%sContent-Length: %d\r\n\r\n" % (kind, session, len(answer))
    return head + answer


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].split(b"\r\n", 1)[0] or 0)
            body = await reader.readexactly(length)
            session = b"Mcp-Session-Id: s1\r\n" if b'"initialize"' in body[:200] else b""
            if head.startswith(b"post"):
                writer.write(_response(sys.argv[2], body, session))
            else:
                writer.write(b"HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n")
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


async def _main() -> None:
    server = await asyncio.start_server(_serve, "127.0.0.1", int(sys.argv[1]), limit=2**26)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_main())
