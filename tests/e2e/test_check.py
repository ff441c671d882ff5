"""``mcp-relay test`` with real servers over every transport: the official SDKs' and the relay itself."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import peers, warm_start
from tests.peers import matrix

PROGRAM = [sys.executable, "-m", "relay"]
DEMO = [sys.executable, "-m", "relay.demo.server"]
HERE = Path(__file__).parent
TOOLS = {"echo", "big", "progress", "log", "sample", "elicit", "roots", "slow", "cancelled_count", "change", "whoami"}
SPOKEN = {"stdio": "stdio", "http": "Streamable HTTP", "sse": "HTTP+SSE"}
MODERN = ["2026-07-28", "2025-11-25"]


@pytest.fixture(scope="module", autouse=True)
def installed() -> None:
    """Install the SDKs, once."""
    peers.install("py1", "py2", "node", "ts2")


def look(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the program."""
    return warm_start.run([*PROGRAM, "test", *words], capture_output=True, text=True, timeout=50)


def found(*words: str) -> Any:
    """Return the report of a server with which nothing is wrong."""
    done = look("--json", *words)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    report = json.loads(done.stdout)
    assert report["ok"] and report["error"] is None
    return report


@contextlib.contextmanager
def running(command: list[str], said: str) -> Iterator[str]:
    """Run a program until the block is left; give what it says on stderr once it listens."""
    with warm_start.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None, "a pipe"
        try:
            line = next(line for line in process.stderr if said in line)
            threading.Thread(target=process.stderr.read, name="what it says after that").start()
            yield line
        finally:
            process.terminate()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("server", peers.SERVERS)
@pytest.mark.parametrize("transport", matrix.TRANSPORTS)
def test_the_servers_of_the_sdks(server: str, transport: str) -> None:
    """What they are, speak and offer."""
    with matrix.serving(server, transport) as target:
        report = found(*target[0 if transport == "stdio" else 1 :])
    assert report["server"] == {"name": f"peer-server-{server}", "version": "3.1.4"}
    assert report["transport"] == SPOKEN[transport]
    assert report["revisions"] == (MODERN if server == "py2" and transport != "sse" else ["2025-11-25"])
    assert set(report["tools"]["names"]) == TOOLS
    assert (report["resources"]["names"], report["prompts"]["names"]) == (["note"], ["greet"])
    assert {"connect", "first_answer", "initialize", "round_trip"} <= set(report["milliseconds"])


def test_a_server_of_both_eras_in_typescript() -> None:
    """What it offers is asked for as 2026-07-28 says."""
    command = [*peers.node_command(), str(HERE / "modern" / "server_ts2.mjs")]
    with running(command, "listening ") as line:
        report = found(line.split()[1])
    assert (report["server"]["name"], report["revisions"]) == ("modern-ts2", MODERN)
    assert {"echo", "grüße"} <= set(report["tools"]["names"])
    assert (report["resources"], report["prompts"]) == (None, None)


@pytest.fixture(scope="module")
def relayed() -> Iterator[str]:
    """Run a relay before the demo server; give its origin."""
    with running([*PROGRAM, "--port", "0", "--", *DEMO], "listening on ") as line:
        match = re.search(r"http://[^/]+", line)
        assert match is not None, line
        yield match[0]


@pytest.mark.parametrize(
    ("path", "transport"), [("/mcp", "Streamable HTTP"), ("/sse", "HTTP+SSE"), ("ws", "WebSocket"), ("", "stdio")]
)
def test_the_demo_server_directly_and_behind_a_relay(relayed: str, path: str, transport: str) -> None:
    """The same names by every transport."""
    target = ["--", *DEMO] if not path else [relayed.replace("http", "ws") + "/mcp" if path == "ws" else relayed + path]
    report = found(*target)
    assert (report["transport"], report["server"]["name"]) == (transport, "mcp-relay-demo")
    assert report["tools"]["names"] == ["echo", "add", "clock", "count", "sleep", "ask"]
    assert (report["resources"]["names"], report["prompts"]["names"]) == (["greeting"], ["haiku"])


def test_sockets(tmp_path: Path) -> None:
    """TCP and Unix sockets carry the same."""
    address = f"unix:{tmp_path}/socket"
    tcp = f"tcp://127.0.0.1:{peers.free_port()}"
    with running([*PROGRAM, "--listen", address, "--listen", tcp, "--", *DEMO], "listening"):
        assert found(address)["transport"] == "Unix socket"
        assert found(tcp)["transport"] == "TCP"


def test_what_people_read(relayed: str) -> None:
    """Eight lines."""
    done = look(f"{relayed}/mcp")
    assert (done.returncode, done.stderr) == (0, "")
    labels = [line.split()[0] for line in done.stdout.splitlines()]
    assert labels == ["ok", "transport", "server", "revisions", "times", "tools", "resources", "prompts"]


@pytest.mark.parametrize("path", ["/", "/sse/mcp", "/MCP"])
def test_a_wrong_path(relayed: str, path: str) -> None:
    """One line that names the right ones."""
    done = look(relayed + path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert done.stderr.startswith(f"mcp-relay: {relayed}{path}: HTTP 404: ")
    assert done.stderr.endswith(f"; try {relayed}/mcp or {relayed}/sse\n")


def test_a_dead_port_a_command_that_exits_and_one_that_is_silent() -> None:
    """Exit code 1, nothing on stdout, and the reason in the last line."""
    dead = f"http://127.0.0.1:{peers.free_port()}/mcp"
    for words, reason in (
        ([dead], f"{dead}: cannot connect: Connection refused; start the server, or check its address"),
        (["false"], "false: exited with status 1 without an answer to initialize; it wrote nothing on stderr"),
        (["--timeout", "1", "sleep", "60"], "sleep: no answer to initialize within 1 s; does it speak MCP on stdio?"),
    ):
        done = look(*words)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"mcp-relay: {reason}")


def test_a_command_called_test_is_reached_after_two_dashes() -> None:
    """The word is a subcommand only where it comes first."""
    process = warm_start.Popen([*PROGRAM, "--", "test"], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None, "a pipe"
    with process:
        assert "listening on http://127.0.0.1:" in process.stderr.readline()
        process.terminate()


def test_notification_demo() -> None:
    """A line each half second, ready for a client."""
    done = subprocess.run([*PROGRAM, "notification-demo", "--count", "2"], capture_output=True, timeout=20, check=True)
    levels = [json.loads(line)["params"]["level"] for line in done.stdout.splitlines()]
    assert (levels, done.stderr) == (["info", "warning"], b"")


def test_notification_demo_ends_with_its_reader() -> None:
    """Quietly, like every program before ``head``."""
    words = [*PROGRAM, "notification-demo", "--count", "1000"]
    process = warm_start.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None and process.stderr is not None, "pipes"
    with process:
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(20) == 0
        assert process.stderr.read() == b""
