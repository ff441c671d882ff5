"""Measure what a login at a server costs the relay: ``python -m bench.outbound_login``.

One server has an open address and one that wants a bearer token. The relay calls both: over its own stdin and stdout,
and from HTTP to HTTP. The token is in the relay's store, as after a login. Start-up is the time to the first answer.
All figures are medians; the last column is the ratio.
"""

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

from aiohttp import web

TOKEN = "bench-token-" + "x" * 900  # the length of a signed token
CALL = b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"echo","arguments":{"text":"hello"}}}'
INITIALIZE = (
    b'{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},'
    b'"clientInfo":{"name":"bench","version":"1"}}}\n'
)
IN_FLIGHT = 32
RELAY = (sys.executable, "-m", "relay", "--no-browser")


async def serve() -> None:
    """Serve both addresses, and print the port."""

    async def answer(request: web.Request) -> web.Response:
        if request.path.startswith("/locked") and request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return web.Response(status=401)
        if request.method != "POST":
            return web.Response(status=405)
        message = json.loads(await request.read())
        if "id" not in message:
            return web.Response(status=202)
        result: dict[str, object] = {"content": []}
        if message["method"] == "initialize":
            result = {"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {"name": "b", "version": "1"}}
        return web.json_response({"jsonrpc": "2.0", "id": message["id"], "result": result})

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


async def keep_login(folder: Path, url: str) -> None:
    """Put a login for ``url`` into a store."""
    from relay.auth.outbound.oauth.records import Client, Tokens
    from relay.endpoints.http.client.oauth.store import Store

    tokens = Tokens(
        issuer="https://as.example", resource=url, profile="", client=Client(client_id="bench"),
        token_endpoint="https://as.example/token", access_token=TOKEN, refresh_token="r",
        obtained_at=time.time(), expires_at=time.time() + 86_400,
    )  # fmt: skip
    await Store(folder).save_tokens(url, tokens)


@contextlib.asynccontextmanager
async def process(*words: str, store: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program while the block lasts."""
    pipe = asyncio.subprocess.PIPE
    environment = os.environ | {"MCP_RELAY_AUTH_DIR": str(store)}
    found = await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe, stderr=pipe, env=environment)
    try:
        yield found
    finally:
        found.terminate()
        await found.communicate()


async def start_up(url: str, store: Path) -> float:
    """Return the milliseconds to the first answer of a relay on stdio."""
    began = time.perf_counter()
    async with process(*RELAY, url, store=store) as relay:
        assert relay.stdin is not None and relay.stdout is not None
        relay.stdin.write(INITIALIZE)
        assert b'"result"' in await relay.stdout.readline()
        return (time.perf_counter() - began) * 1000


async def by_stdio(url: str, store: Path, calls: int) -> float:
    """Return the calls a second over stdin and stdout, so many in flight."""
    async with process(*RELAY, url, store=store) as relay:
        assert relay.stdin is not None and relay.stdout is not None
        relay.stdin.write(INITIALIZE)
        await relay.stdout.readline()
        relay.stdin.write(b'{"jsonrpc":"2.0","method":"notifications/initialized"}\n')
        for count in (300, calls):  # the first ones warm it
            began = time.perf_counter()
            for number in range(1, count + 1):
                relay.stdin.write(CALL % number + b"\n")
                if number >= IN_FLIGHT:
                    assert b'"result"' in await relay.stdout.readline()
            for _ in range(IN_FLIGHT - 1):
                await relay.stdout.readline()
            took = time.perf_counter() - began
        return calls / took


async def by_http(url: str, store: Path, calls: int) -> float:
    """Return the calls a second from HTTP to HTTP, over so many connections."""
    async with process(*RELAY, "--listen", "http://127.0.0.1:0/mcp", url, store=store) as relay:
        assert relay.stderr is not None
        line = await relay.stderr.readline()
        port = int(line.split(b"127.0.0.1:")[1].split(b"/")[0])

        async def connection(count: int) -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            for number in range(count):
                body = CALL % number
                head = (
                    b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: application/json\r\n"
                    b"Accept: application/json, text/event-stream\r\nContent-Length: %d\r\n\r\n" % (port, len(body))
                )
                writer.write(head + body)
                answer = await reader.readuntil(b"\r\n\r\n")
                assert answer.startswith(b"HTTP/1.1 200"), answer
                size = int(answer.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                await reader.readexactly(size)
            writer.close()

        for count in (300, calls):
            began = time.perf_counter()
            async with asyncio.TaskGroup() as group:
                for _ in range(IN_FLIGHT):
                    group.create_task(connection(count // IN_FLIGHT))
            took = time.perf_counter() - began
        return calls / took


async def measure(rounds: int, calls: int) -> None:
    """Print the table."""
    with tempfile.TemporaryDirectory(prefix="bench-login-") as name:
        folder = Path(name)
        nothing, store = folder / "none", folder / "store"
        async with process(sys.executable, "-m", "bench.outbound_login", "--serve", store=nothing) as server:
            assert server.stdout is not None
            base = f"http://127.0.0.1:{int(await server.stdout.readline())}"
            await keep_login(store, f"{base}/locked/mcp")
            columns: dict[str, tuple[str, Path]] = {
                "no login": (f"{base}/open/mcp", nothing),
                "with a login": (f"{base}/locked/mcp", store),
            }
            ways: dict[str, Callable[[str, Path], Awaitable[float]]] = {
                "start-up, ms": start_up,
                "stdio to HTTP, calls/s": lambda url, kept: by_stdio(url, kept, calls),
                "HTTP to HTTP, calls/s": lambda url, kept: by_http(url, kept, calls),
            }
            print(f"{'':<26}{'no login':>14}{'with a login':>14}{'ratio':>8}")
            for way, run in ways.items():
                found: dict[str, list[float]] = {name: [] for name in columns}
                for _ in range(rounds if run is not start_up else rounds * 3):
                    for column, (url, kept) in columns.items():
                        found[column].append(await run(url, kept))
                without, logged_in = (statistics.median(found[column]) for column in columns)
                print(f"{way:<26}{without:>14,.1f}{logged_in:>14,.1f}{logged_in / without:>8.2f}")


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--calls", type=int, default=6400, help="in each round; a multiple of 32")
    options = parser.parse_args()
    asyncio.run(serve() if options.serve else measure(options.rounds, options.calls))


if __name__ == "__main__":
    main()
