"""The HTTP load generator without a compiler; see native/load_http.c."""

import asyncio
import time

from bench.fallback.plain_client import INITIALIZED, Client, fail


class Connection:
    """One keep-alive connection, one request at a time."""

    def __init__(self, client: Client, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._client, self._reader, self._writer = client, reader, writer
        self.session = b""

    async def post(self, frame: bytes) -> bytes:
        """Return the frame that answers `frame`, or nothing if that was a notification."""
        options = self._client.options
        head = (
            f"POST {options.path} HTTP/1.1\r\nHost: 127.0.0.1:{options.port}\r\nContent-Type: application/json\r\n"
            f"Accept: application/json, text/event-stream\r\nContent-Length: {len(frame)}\r\n"
        )
        if options.bearer:
            head += f"Authorization: Bearer {options.bearer}\r\n"
        self._writer.write(head.encode() + self.session + b"\r\n" + frame)
        await self._writer.drain()
        head_lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head_lines)
        }
        body = await self._read_body(headers)
        if not 200 <= int(head_lines[0].split()[1]) <= 299:
            fail(f"{head_lines[0]}: {body[:200].decode(errors='replace')}")
        if "mcp-session-id" in headers:
            version = f"MCP-Protocol-Version: {options.protocol}\r\n"
            self.session = f"Mcp-Session-Id: {headers['mcp-session-id']}\r\n{version}".encode()
        if headers.get("content-type", "").startswith("text/event-stream"):
            return self._last_event(body)
        return body

    async def _read_body(self, headers: dict[str, str]) -> bytes:
        if "chunked" not in headers.get("transfer-encoding", ""):
            return await self._reader.readexactly(int(headers.get("content-length", 0)))
        pieces = []
        while size := int(await self._reader.readuntil(b"\r\n"), 16):
            pieces.append((await self._reader.readexactly(size + 2))[:-2])
        await self._reader.readuntil(b"\r\n")
        return b"".join(pieces)

    @staticmethod
    def _last_event(body: bytes) -> bytes:
        data = [line[5:].strip() for line in body.splitlines() if line.startswith(b"data:")]
        return data[-1] if data else b""


async def _connect(client: Client) -> Connection:
    until = time.monotonic() + client.options.drain
    while True:
        try:
            return Connection(client, *await asyncio.open_connection("127.0.0.1", client.options.port, limit=2**26))
        except OSError:
            if client.options.mode != "first" or time.monotonic() > until:
                fail("nothing listened in time")
            await asyncio.sleep(0.001)


async def _open_session(client: Client, connection: Connection) -> bytes:
    connection.session = b""
    await connection.post(client.initialize())
    await connection.post(INITIALIZED)
    return connection.session


async def _call_until(client: Client, connection: Connection, until: float, number: int) -> None:
    rate, in_flight, turn = client.options.rate, client.options.in_flight, 0
    start = time.monotonic()
    while True:
        due = start + (number + turn * in_flight) / rate if rate else time.monotonic()
        if max(due, time.monotonic()) >= until or client.all_calls >= (client.options.limit or float("inf")):
            return
        if rate:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
        turn += 1
        call, frame = client.next_call()
        client.take_answer(call, await connection.post(frame), due)


async def _main() -> None:
    client = Client()
    options = client.options
    first = await _connect(client)
    listening_at = time.monotonic_ns() if options.mode == "first" else 0
    connections = [first, *[await _connect(client) for _ in range(options.in_flight - 1)]]
    sessions = [await _open_session(client, first) for _ in range(options.sessions + options.idle_sessions)]
    first_answer_at = time.monotonic_ns()
    if options.mode == "calls":
        until = client.open_window()
        for number, connection in enumerate(connections):
            connection.session = sessions[number % options.sessions]
        calls = (_call_until(client, connection, until, number) for number, connection in enumerate(connections))
        try:
            await asyncio.wait_for(asyncio.gather(*calls), options.warm_up + options.seconds + options.drain)
        except TimeoutError:
            fail(f"timed out: {client.all_calls} calls were answered")
    client.print_figures(listening_at, first_answer_at)


if __name__ == "__main__":
    try:
        asyncio.run(_main())
    except (ConnectionError, asyncio.IncompleteReadError) as problem:
        fail(f"the connection was closed: {problem}")
