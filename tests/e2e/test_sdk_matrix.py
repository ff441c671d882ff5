"""What passes between two official SDKs directly passes through the relay: every client, every server, every way.

    behind   client by HTTP, HTTP+SSE or WebSocket  ⇄  mcp-relay -- SERVER
    row      client by stdio  ⇄  mcp-relay URL  ⇄  HTTP or HTTP+SSE  ⇄  mcp-relay -- SERVER
    hop      client by HTTP  ⇄  mcp-relay --listen http: URL  ⇄  SERVER by HTTP or HTTP+SSE
    before   client by stdio  ⇄  mcp-relay URL  ⇄  SERVER by HTTP, HTTP+SSE or WebSocket

Each way has every client with every server, by HTTP or by HTTP+SSE in turns, so that each client and each server meets
both: a relay that stands between has two sides, which know nothing of each other. RELAY_TESTS_EVERY_PAIR=1 runs each by
both. Each client runs the whole scenario of tests/peers: 22 checks, of which 2024-11-05 knows 21. Most of its time is
waiting, so several run at once, and one relay in front of each server serves all clients. The first test that needs a
result starts everything that was selected.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests import peers, warm_start
from tests.peers import matrix

AT_ONCE = 4
CHECKS = 22
RELAY = (sys.executable, "-m", "relay")
CLIENT = Path(__file__).with_name("everything_client.mjs")
NO_TERMINATION = {
    "sse": {"termination": "the transport of 2024-11-05 has no session termination"},
    "ws": {"termination": "a WebSocket has no session termination"},
}

pytestmark = pytest.mark.timeout(300)  # the first test waits for its turn among all others


@dataclass(frozen=True, slots=True)
class Combination:
    """One client, one server, and the way between them."""

    client: str
    server: str
    way: str
    transport: str
    clients: int = 1

    def __str__(self) -> str:
        """Name it as a test id."""
        many = f"-x{self.clients}" if self.clients > 1 else ""
        return f"{self.way}-{self.transport}-{self.client}-{self.server}{many}"


WAYS, TRANSPORTS = ("behind", "row", "before"), ("http", "sse")
EACH_BY_BOTH = "RELAY_TESTS_EVERY_PAIR" in os.environ
ALL = [
    *(
        Combination(client, server, way, transport)
        for at_way, way in enumerate(WAYS)
        for at_transport, transport in enumerate(TRANSPORTS)
        for at_server, server in enumerate(peers.SERVERS)
        for at_client, client in enumerate(peers.CLIENTS)
        if EACH_BY_BOTH or (at_way + at_transport + at_server + at_client) % 2 == 0
    ),
    *(Combination("py1", server, "behind", "ws") for server in peers.SERVERS),  # the only SDK that speaks WebSocket
    *(Combination(client, "py1", "before", "ws") for client in peers.CLIENTS),
    *(Combination(client, server, "hop", "http") for server in peers.SERVERS for client in peers.CLIENTS),
    *(Combination(client, server, "hop", "sse") for client, server in (("ts", "py1"), ("py1", "ts"), ("py2", "py2"))),
]
CROWDS = [
    Combination("ts", "py2", "behind", "http", clients=4),
    Combination("py1", "ts", "row", "http", clients=4),
    Combination("py2", "py1", "before", "sse", clients=4),
]


class Runs:
    """The relays and servers that the selected combinations need, and the runs themselves."""

    def __init__(self, selected: list[Combination], things: contextlib.ExitStack) -> None:
        self._things = things
        self._idle: dict[str, list[subprocess.Popen[str]]] = defaultdict(list)
        self._starting = threading.Lock()
        self._pool = things.enter_context(ThreadPoolExecutor(AT_ONCE))
        self._reports = {one: self._pool.submit(self._run, one) for one in selected if one.clients == 1}
        for one in selected:
            if one.clients > 1:
                self._reports[one] = self._pool.submit(self._run_alone, one, tuple(self._reports.values()))

    def report(self, combination: Combination) -> dict[str, Any]:
        """Return what the client found."""
        return self._reports[combination].result()

    def cancel(self) -> None:
        """Start no more."""
        for one in self._reports.values():
            one.cancel()

    def _run(self, one: Combination) -> dict[str, Any]:
        target = self._target(one)
        if one.clients > 1:
            return matrix.run_client(one.client, target, "--clients", str(one.clients))
        how, *words = target
        program = "ws1" if how == "--ws" else one.client
        idle = self._idle[program]
        try:
            client = idle.pop()
        except IndexError:
            client = self._client(one.client, how)
        assert client.stdin is not None and client.stdout is not None, "pipes"
        client.stdin.write(json.dumps({"command": words} if how == "--" else {how.removeprefix("--"): words[0]}) + "\n")
        client.stdin.flush()
        report: dict[str, Any] = json.loads(client.stdout.readline())
        idle.append(client)
        return report

    def _client(self, name: str, how: str) -> subprocess.Popen[str]:
        """Start a client that runs the scenario for each target it is told: an SDK takes 0.7 s of a CPU to start."""
        program = peers.client_command(name, how)[:-1]  # WebSocket has an SDK of its own
        client = warm_start.Popen([*program, "--each"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._things.enter_context(client)  # which closes its stdin, and waits for it
        return client

    def _run_alone(self, one: Combination, before: tuple[Future[dict[str, Any]], ...]) -> dict[str, Any]:
        """Run a crowd when nothing else runs: the scenario has deadlines."""
        wait(before)
        return self._run(one)

    def _target(self, one: Combination) -> list[str]:
        with self._starting:
            if one.way == "before":
                _, url = self.server(one.server, one.transport)
                return ["--", *warm_start.stand_in([*RELAY, url])]
            if one.way == "hop":
                return ["--http", self.hop(one.server, one.transport)["http"]]
            url = self.relay(one.server)[one.transport]
            if one.way == "behind":
                return [f"--{one.transport}", url]
            return ["--", *warm_start.stand_in([*RELAY, url])]

    @functools.cache  # noqa: B019 - it lives as long as the module's tests
    def relay(self, server: str) -> dict[str, str]:
        """Start a relay in front of a server, once; return its two URLs."""
        command = peers.everything_server() if server == "everything" else peers.server_command(server)
        return self._things.enter_context(relaying("--", *warm_start.stand_in(command)))

    @functools.cache  # noqa: B019 - as above
    def hop(self, server: str, transport: str) -> dict[str, str]:
        """Start a relay from HTTP to a server by HTTP, once; return its URLs."""
        _, url = self.server(server, transport)
        return self._things.enter_context(relaying("--listen", "http://127.0.0.1:0/mcp", url))

    @functools.cache  # noqa: B019 - as above
    def server(self, name: str, transport: str) -> list[str]:
        """Start a server by HTTP, once; return the words for a client."""
        return self._things.enter_context(matrix.serving(name, transport))


@contextlib.contextmanager
def relaying(*words: str) -> Iterator[dict[str, str]]:
    """Run `mcp-relay WORDS`; yield its URLs; require that SIGTERM then ends it with 0, and no traceback of its own."""
    process = warm_start.Popen(
        [*RELAY, *words], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    )
    assert process.stderr is not None, "a pipe"
    try:
        for line in process.stderr:
            if listening := re.search(r"(http://\S+)/mcp\b", line):
                break
        else:
            raise AssertionError("the relay ended before it listened")
        said: list[str] = []
        reader = threading.Thread(target=said.extend, args=(process.stderr,), name="relay stderr")
        reader.start()
        base = listening[1]
        yield {"http": f"{base}/mcp", "sse": f"{base}/sse", "ws": f"{base.replace('http', 'ws', 1)}/mcp"}
        process.terminate()
        assert process.wait(30) == 0
        reader.join(10)
        has_child = "--" in words  # whose stderr is in ours, tracebacks of the SDKs too
        assert has_child or not [line for line in said if "Traceback" in line], said
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stderr.close()


@pytest.fixture(scope="module")
def runs(request: pytest.FixtureRequest) -> Iterator[Runs]:
    """Run what was selected, several at once."""
    mine = [item for item in request.session.items if item.path == Path(__file__) and isinstance(item, pytest.Function)]
    selected = [item.callspec.params.get("combination") for item in mine if hasattr(item, "callspec")]
    with contextlib.ExitStack() as things:
        started = Runs([one for one in selected if isinstance(one, Combination)], things)
        try:
            yield started
        finally:
            started.cancel()


@pytest.mark.parametrize("combination", [*ALL, *CROWDS], ids=str)
def test_what_passes_direct_passes_relayed(combination: Combination, runs: Runs) -> None:
    """All checks pass; only 2024-11-05 and WebSocket, spoken by the client itself, cannot say that a session ends."""
    report = runs.report(combination)
    skipped = NO_TERMINATION.get(combination.transport, {}) if combination.way == "behind" else {}
    assert report["failed"] == {}
    assert report["skipped"] == skipped
    assert len(report["passed"]) == CHECKS - len(skipped)
    assert report["clients"] == combination.clients


# -- the reference server and the inspector, as their makers ship them ------------------------------------------------


def run_json(command: list[str]) -> dict[str, Any]:
    """Run a program that prints one JSON document."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, encoding="utf-8")
    assert done.returncode == 0, done.stderr[-2000:]
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def direct() -> dict[str, Any]:
    """What the TypeScript SDK's client sees of the reference server without a relay."""
    return run_json([*peers.node_command(), str(CLIENT), "--", *peers.everything_server()])


@pytest.mark.parametrize("way", ["http", "sse", "stdio"])
def test_everything_server(way: str, runs: Runs, direct: dict[str, Any]) -> None:
    """The reference server answers the TypeScript SDK's client through the relay as it does directly."""
    urls = runs.relay("everything")
    target = ["--", *RELAY, urls["http"]] if way == "stdio" else [f"--{way}", urls[way]]
    relayed = run_json([*peers.node_command(), str(CLIENT), *target])
    for one in (direct, relayed):  # this SDK can lose the progress that comes in one piece with the answer
        assert one["progress"][:3] == [1, 2, 3]
    assert relayed | {"progress": ()} == direct | {"progress": ()}
    assert relayed["echo"] == "Echo: through the relay \u4e2d\U0001f9ea"
    assert relayed["tools"] >= 8


@pytest.mark.parametrize("transport", ["http", "sse"])
def test_inspector(transport: str, runs: Runs) -> None:
    """The inspector's --cli lists and calls tools through the relay."""
    target = [runs.relay("everything")[transport], "--transport", transport]
    listed = run_json([*peers.inspector_cli(), *target, "--method", "tools/list"])
    assert "echo" in {one["name"] for one in listed["tools"]}
    call = ["--method", "tools/call", "--tool-name", "echo", "--tool-arg", "message=hello"]
    called = run_json([*peers.inspector_cli(), *target, *call])
    assert called["content"] == [{"type": "text", "text": "Echo: hello"}]
