"""``mcp-relay -- COMMAND`` for its operator: addresses, limits on clients, and /status."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from tests import warm_start
from tests.e2e.oracle import Client, Wire, initialize, request, run_relay, run_words, stdio_server

pytestmark = pytest.mark.only_loop("asyncio")


def _fails(*words: str) -> tuple[int, str]:
    argv = [sys.executable, "-m", "relay", *words]
    done = warm_start.run(argv, capture_output=True, timeout=15, text=True, stdin=subprocess.DEVNULL)
    assert done.stdout == ""
    return done.returncode, done.stderr


@pytest.mark.parametrize("host", ["0.0.0.0", "[::]", "192.0.2.1", "example.invalid"])
def test_an_address_beyond_loopback_is_refused_with_the_remedy(host: str) -> None:
    """Exit 2, one line that names --insecure-no-auth, and nothing was started."""
    code, said = _fails("--listen", f"http://{host}:0/mcp", "--", *stdio_server())
    assert code == 2
    assert said.count("\n") == 1 and "--insecure-no-auth" in said and host.strip("[]") in said, said


def test_a_port_in_use_is_one_line_and_exit_2() -> None:
    """It names the address, and the option that chooses another."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = _fails("--port", str(port), "--", *stdio_server())
    assert code == 2
    assert said.count("\n") == 1 and f"127.0.0.1:{port}" in said and "choose another --port" in said, said


@pytest.mark.parametrize("words", [[], ["--insecure-no-auth"]], ids=["documented", "meant"])
async def test_a_host_beyond_loopback_listens_and_warns(words: list[str]) -> None:
    """Everywhere, with a warning that says what is open, unless it is meant; a foreign Origin is still not admitted."""
    with run_relay("--host", "0.0.0.0", *words) as relay:
        async with Client(relay.base) as client:
            for headers, status in (({"host": "my.lan"}, 200), ({"origin": "http://evil.example"}, 403)):
                assert (await client.request("GET", "/health", headers)).status == status
        warned = ["everybody who can reach this machine" in line for line in relay.said]
        assert any(warned) == (not words), relay.said
        (line,) = (line for line in relay.said if "listening on" in line)
        assert line.startswith(f"mcp-relay: listening on {relay.base}/mcp (Streamable HTTP) and {relay.base}/sse")
        assert line.endswith("; also at every other IPv4 address of this machine, bound to 0.0.0.0")


@pytest.mark.skipif(not socket.has_ipv6, reason="no IPv6 here")
@pytest.mark.parametrize(
    ("words", "count"),
    [(["--host", "::"], 1), (["--listen", "http://[::]:0/mcp", "--listen", "tcp://[::]:0"], 2)],
    ids=["host", "listen"],
)
async def test_every_address_is_ipv4_too_and_said_so(words: list[str], count: int) -> None:
    """``::`` is both families, over HTTP and TCP, as the lines that say where it listens do."""
    with run_relay(*words, "--insecure-no-auth") as relay:
        async with Client(relay.base.replace("[::1]", "127.0.0.1")) as four, Client(relay.base) as six:
            for client in (four, six):
                assert (await client.request("GET", "/health", {})).status == 200
        lines = [line for line in relay.said if "listening on" in line]
        assert len(lines) == count
        for line in lines:
            assert line.endswith("; also at every other IPv4 and IPv6 address of this machine, bound to 0.0.0.0 and ::")


async def test_the_printed_address_is_admitted_beside_allowed_hosts() -> None:
    """Bound everywhere and told its name, it still answers this machine; other names, and foreign pages, not."""
    with run_relay("--host", "0.0.0.0", "--insecure-no-auth", "--allowed-host", "a.lan") as relay:
        async with Client(relay.base) as client:
            for headers, status in (
                ({}, 200),
                ({"host": "a.lan"}, 200),
                ({"host": "localhost:1"}, 200),
                ({"host": "b.lan"}, 421),
                ({"origin": "http://localhost:3000"}, 403),
            ):
                assert (await client.request("GET", "/status", headers)).status == status, headers


async def test_hosts_and_origins_from_the_command_line() -> None:
    """--allowed-host and --allow-origin admit what they name, '*' warns, and the rest is refused as before."""
    with run_relay("--allowed-host", "mcp.example", "--allow-origin", "https://a.example", "*") as relay:
        async with Client(relay.base) as client:
            for headers, status in (
                ({"host": "mcp.example", "origin": "https://a.example"}, 200),
                ({"origin": "https://b.example"}, 200),
                ({"host": "other.example"}, 421),
            ):
                assert (await client.request("GET", "/status", headers)).status == status
        assert any("WARNING" in line and "--allow-origin" in line for line in relay.said), relay.said


async def test_keep_alive_from_the_command_line() -> None:
    """A connection that has been idle for so long is closed."""
    with run_relay("--keep-alive", "0.3") as relay:
        wire = await Wire.open(relay.base)
        await wire.send("GET", "/status")
        assert (await (await wire.response()).json())["draining"] is False
        async with asyncio.timeout(20):
            assert await wire.reader.read() == b""
        wire.close()


async def test_a_lame_duck_serves_on_while_health_says_503() -> None:
    """For ``--drain-delay`` after SIGTERM: new connections, new sessions, calls; then the drain, and exit code 0."""
    with run_relay("--drain-delay", "2.5", "--health-path", "/") as relay:
        async with Client(relay.base) as early, Client(relay.base) as late, Client(relay.base) as probe:
            await early.begin()
            assert (await probe.request("GET", "/")).status == 200
            relay.process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(20):
                while (await probe.request("GET", "/")).status == 200:
                    await asyncio.sleep(0.01)
            assert (await probe.request("GET", "/health", {"host": "10.0.0.7"})).status == 503
            assert (await probe.status())["draining"] is True
            await late.begin()
            for client in (early, late):
                assert len(await client.call(request(1, "echo"))) == 1
            assert relay.process.poll() is None
            late_call = await late.post(request(2, "sleep", seconds=0.1))
            assert len(await late.finished(late_call)) == 1
            assert await relay.exit_code(30) == 0


async def test_a_second_signal_ends_a_lame_duck_at_once() -> None:
    """The operator insists."""
    with run_relay("--drain-delay", "60") as relay:
        async with Client(relay.base) as probe:
            relay.process.send_signal(signal.SIGTERM)
            async with asyncio.timeout(20):
                while (await probe.request("GET", "/health")).status == 200:
                    await asyncio.sleep(0.01)
            relay.process.send_signal(signal.SIGTERM)
            assert await relay.exit_code(20) == 130


async def test_max_sessions_and_max_frame_bytes_from_the_command_line() -> None:
    """429 with the id beyond the one, 413 beyond the other; a session that ends makes room."""
    with run_relay("--max-sessions", "2", "--max-frame-bytes", "64k") as relay:
        async with Client(relay.base) as first, Client(relay.base) as second, Client(relay.base) as third:
            await first.begin()
            await second.begin()
            response = await third.post(initialize(request_id="late"))
            assert response.status == 429 and (await response.json())["id"] == "late"
            assert (await first.post(b" " * (64 * 1024 + 1))).status == 413
            await first.end()
            await third.begin()


def _text(message: bytes) -> bytes:
    """Return a WebSocket frame, masked with zeros."""
    return b"\x81\xfe" + len(message).to_bytes(2, "big") + bytes(4) + message


async def _leave_badly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, said: bytes, answer: bytes) -> None:
    writer.write(said)
    await reader.readuntil(answer)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def test_clients_that_leave_badly_do_not_fill_the_log(tmp_path: Path) -> None:
    """By a reset, after what is no message, by each way in: once for each reason, not for each client."""
    where = ("http://127.0.0.1:0/mcp", "tcp://127.0.0.1:0", f"unix:{tmp_path}/s")
    words = [word for spec in where for word in ("--listen", spec)]
    lines = initialize() + b"\n7\n"
    upgrade = b"GET /mcp HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
    upgrade += b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    frames = upgrade + _text(initialize()) + _text(b"7")
    with run_words(*words, "--share", "shared", "--", *stdio_server()) as relay:
        (port,) = (int(line.rpartition(":")[2]) for line in relay.said if "tcp://" in line)
        async with Client(relay.base) as client:
            for _ in range(6):
                await _leave_badly(*await asyncio.open_connection("127.0.0.1", port), lines, b"-32600")
                await _leave_badly(*await asyncio.open_unix_connection(f"{tmp_path}/s"), lines, b"-32600")
                wire = await Wire.open(relay.base)
                await _leave_badly(wire.reader, wire.writer, frames, b"-32600")
            async with asyncio.timeout(20):
                while (await client.status())["sessions"]:
                    await asyncio.sleep(0.01)
                assert (await client.request("GET", "/mcp", {"host": "last.example"})).status == 421
                while not any("last.example" in line for line in relay.said):
                    await asyncio.sleep(0.01)
        ends = [line for line in relay.said if ": ended: " in line]
        noise = [line for line in relay.said if "not a JSON-RPC message" in line]
    assert 1 <= len(ends) <= 4, ends
    doors = sorted(line.split("WARNING ")[1].split(" ")[0].split(":")[0] for line in noise)
    assert doors == ["tcp", "unix", "websocket"], noise


async def test_status_counts_what_there_is() -> None:
    """Sessions, requests in flight, streams, children that live, uptime; never arguments, environment or ids."""
    secret = "hush-0123456789"
    with run_relay(
        "--drain-timeout", "0", "-e", "API_KEY", secret, command=stdio_server("--anything", secret)
    ) as relay:
        async with Client(relay.base) as client, Client(relay.base) as other:
            health = await client.request("GET", "/health")
            assert (health.status, await health.json()) == (200, {"status": "healthy"})
            empty = await client.status()
            assert (empty["sessions"], empty["in_flight"], empty["uptime"] >= 0) == (0, 0, True)
            idle = {
                "state": "idle", "command": "python", "children": 0, "started": 0, "last_error": None, "sessions": 0,
            }  # fmt: skip
            assert empty["servers"] == {"default": idle}
            await client.begin()
            await other.begin()
            await client.post(request(1, "silent"))
            await client.listen()
            status = await client.status()
            assert (status["sessions"], status["in_flight"], status["active_sse_connections"]) == (2, 1, 2)
            busy = {"state": "running", "children": 2, "started": 2, "sessions": 2}
            assert status["servers"]["default"] == {**idle, **busy}
            assert status["draining"] is False and status["server_instances"] == {"default": "configured"}
            assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", status["api_last_activity"])
            text = json.dumps(status)
            assert client.session is not None
            assert secret not in text and client.session not in text
            assert (await client.request("HEAD", "/health")).status == 200
        relay_said = "\n".join(relay.said)
        assert secret not in relay_said


async def test_it_listens_before_it_says_so_and_starts_no_child_by_itself() -> None:
    """The printed address answers at once; the first child comes with the first session."""
    with run_relay() as relay:
        wire = await Wire.open(relay.base)
        await wire.send("GET", "/status")
        body = await (await wire.response()).json()
        assert body["servers"]["default"]["started"] == 0
        wire.close()
        assert [line for line in relay.said if "listening on" in line] == relay.said
        await asyncio.sleep(0)
