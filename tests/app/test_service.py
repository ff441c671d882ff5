"""The real program as a service: inherited sockets, and notifications to the service manager."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.e2e.oracle import stdio_server

# What systemd does between fork and exec.
HAND_OVER = """
import os, sys
number, command = int(sys.argv[1]), sys.argv[2:]
os.dup2(number, 3)
os.environ["LISTEN_PID"] = os.environ.get("LISTEN_PID") or str(os.getpid())
os.execv(command[0], command)
"""
TELLS = """
import json, os, sys
for line in sys.stdin:
    print(json.dumps({"jsonrpc": "2.0", "id": json.loads(line)["id"], "result": sorted(os.environ)}), flush=True)
"""


@contextlib.contextmanager
def service(
    *words: str, sock: socket.socket | None = None, env: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Run the program as a service manager would, with ``sock`` as descriptor 3."""
    argv = [sys.executable, "-m", "relay", *words]
    if sock is not None:
        argv = [sys.executable, "-c", HAND_OVER, str(sock.fileno()), *argv]
    process = subprocess.Popen(
        argv,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **({"LISTEN_FDS": "1"} if sock else {}), **(env or {})},
        pass_fds=[sock.fileno()] if sock else [],
    )
    assert process.stderr is not None
    try:
        yield process
    finally:
        process.terminate()
        process.wait(15)
        process.stderr.close()


@pytest.fixture
def loopback() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stderr is not None
    return process.stderr.readline()


def post(connection: http.client.HTTPConnection) -> dict[str, object]:
    """Begin a session; return the server's answer."""
    body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": "2025-06-18"}}
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
    connection.request("POST", "/mcp", json.dumps(body), headers)
    answer = connection.getresponse()
    assert answer.status == 200
    text = answer.read().decode()
    if answer.headers["Content-Type"] == "text/event-stream":  # it took a while
        text = text.partition("data: ")[2]
    said: dict[str, object] = json.loads(text)
    return said


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket, as a proxy before us speaks it."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=15)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(15)
        self.sock.connect(self._path)


# Sockets that are handed over.


@pytest.mark.parametrize("words", [(), ("--listen", "fd:3")])
def test_a_socket_that_is_handed_over_is_listened_on(loopback: socket.socket, words: tuple[str, ...]) -> None:
    """Whoever connected before the program was started is answered, too."""
    host, port = loopback.getsockname()
    early = http.client.HTTPConnection(host, port, timeout=15)
    early.connect()
    with service(*words, "--", *stdio_server(), sock=loopback) as process:
        assert f"listening on http://127.0.0.1:{port}/mcp" in first_line(process)
        assert "result" in post(early)
        early.close()
        process.terminate()
        assert process.wait(15) == 0
    # It is still the service manager's: the next client waits for the next start.
    socket.create_connection((host, port)).close()


def test_an_address_is_offered_there_as_well(loopback: socket.socket) -> None:
    with service("tcp://127.0.0.1:9", sock=loopback) as process:
        assert f"http://127.0.0.1:{loopback.getsockname()[1]}/mcp" in first_line(process)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_unix_socket_is_handed_over_and_stays(tmp_path: Path, loop: str) -> None:
    path = str(tmp_path / "mcp.sock")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(path)
        sock.listen()
        with service("--", *stdio_server(), sock=sock, env={"MCP_RELAY_LOOP": loop}) as process:
            assert f"listening on http://unix:{path}:/mcp" in first_line(process)
            connection = UnixConnection(path)
            assert "result" in post(connection)
            connection.close()
            process.terminate()
            assert process.wait(15) == 0
        assert os.path.exists(path)


def test_another_processs_sockets_are_not_ours(loopback: socket.socket) -> None:
    with service("--", *stdio_server(), sock=loopback, env={"LISTEN_PID": "1"}) as process:
        said = first_line(process)
    assert "listening on" in said
    assert f":{loopback.getsockname()[1]}/" not in said


def test_beyond_loopback_it_must_be_wanted() -> None:
    with socket.create_server(("0.0.0.0", 0)) as sock:
        with service("--", *stdio_server(), sock=sock) as process:
            said = first_line(process)
            assert process.wait(15) == 2
        assert "0.0.0.0" in said and "--insecure-no-auth" in said


@pytest.mark.parametrize(
    ("listen", "said"),
    [
        ("fd:", "names no descriptor"),
        ("fd:x", "names no descriptor"),
        ("fd:1", "names no descriptor"),
        ("fd:3", "that is no listening stream socket"),
        ("fd:99", "was started without such a descriptor"),
    ],
)
def test_what_cannot_be_listened_on_is_one_line(listen: str, said: str) -> None:
    with socket.socket() as sock, service("--listen", listen, "--", "true", sock=sock) as process:
        assert process.stderr is not None
        error = process.stderr.read()
        assert process.wait(15) == 2
    assert error.count("\n") == 1
    assert said in error


# What the service manager is told.


@contextlib.contextmanager
def manager(address: str) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + address[1:] if address[0] == "@" else address)
        sock.settimeout(15)
        yield sock


@pytest.mark.parametrize("kind", ["path", "abstract"])
def test_ready_alive_and_stopping_are_said(tmp_path: Path, kind: str) -> None:
    address = str(tmp_path / "notify") if kind == "path" else f"@{tmp_path}/notify"
    with manager(address) as told:
        env = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "100000"}
        with service("--drain-timeout", "7", "--drain-delay", "0.5", "--", *stdio_server(), env=env) as process:
            assert told.recv(999) == b"READY=1"
            assert "listening on" in first_line(process), "it was ready when it said so"
            assert told.recv(999) == b"WATCHDOG=1"
            assert told.recv(999) == b"WATCHDOG=1"
            process.send_signal(signal.SIGTERM)
            while (said := told.recv(999)) == b"WATCHDOG=1":
                pass
            assert said == b"STOPPING=1\nEXTEND_TIMEOUT_USEC=17500000"
            assert process.wait(15) == 0


@pytest.mark.parametrize(("of", "usec"), [("1", "1000"), (None, "0"), (None, "soon")])
def test_no_watchdog_where_none_is_asked_for(tmp_path: Path, of: str | None, usec: str) -> None:
    with manager(str(tmp_path / "notify")) as told:
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": usec, **({"WATCHDOG_PID": of} if of else {})}
        with service("--", *stdio_server(), env=env) as process:
            assert told.recv(999) == b"READY=1"
            first_line(process)
            process.terminate()
            assert told.recv(999).startswith(b"STOPPING=1")


@pytest.mark.parametrize("address", ["/nowhere/notify", "vsock:2:1"])
def test_a_manager_that_cannot_be_told_is_a_warning(address: str) -> None:
    with service("--", *stdio_server(), env={"NOTIFY_SOCKET": address}) as process:
        assert "listening on" in first_line(process)
        said = first_line(process)
    assert "WARNING" in said and "service manager" in said


def test_the_server_sees_none_of_it(loopback: socket.socket, tmp_path: Path) -> None:
    """Not even with the whole environment: it must not speak to the service manager in our name."""
    with manager(str(tmp_path / "notify")) as told:
        env = {
            "NOTIFY_SOCKET": str(tmp_path / "notify"),
            "WATCHDOG_USEC": "99000000",
            "WATCHDOG_PID": "1",
            "ITS": "own",
        }
        command = (sys.executable, "-c", TELLS)
        with service("--pass-environment", "--", *command, sock=loopback, env=env) as process:
            assert told.recv(999) == b"READY=1"
            connection = http.client.HTTPConnection("127.0.0.1", loopback.getsockname()[1], timeout=15)
            names = post(connection)["result"]
            connection.close()
            process.terminate()
    assert isinstance(names, list)
    assert "ITS" in names
    assert [name for name in names if name.startswith(("LISTEN_", "NOTIFY_", "WATCHDOG_"))] == []
