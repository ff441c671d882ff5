"""The options of the replaced bridges: two programs mcp-proxy, the FastMCP script, and mcp-connect.

Each means here what its own documents say. That an option works, and not only arrives, is shown with the program.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from relay import cli
from relay.app.log.stderr import StderrSink
from relay.app.run import bridge as bridge_module
from relay.app.run import serve as serve_module
from relay.app.settings import BridgeSettings, ServeSettings
from relay.app.specs import ListenSpec
from tests import peers, warm_start
from tests.e2e.oracle import Client, Oracle, request, run_relay

PROGRAM = [sys.executable, "-m", "relay"]
DEMO = [sys.executable, "-m", "relay.demo.server"]
STDIO = ListenSpec("stdio")
URL = "https://h/mcp"


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take away what the caller's environment says to the relay; give the root logger back."""
    for name in ("SSE_URL", "API_ACCESS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


class Jobs:
    """What would run instead of what runs."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.found: list[ServeSettings | BridgeSettings] = []
        monkeypatch.setattr(serve_module, "serve", self._take)
        monkeypatch.setattr(bridge_module, "bridge", self._take)
        monkeypatch.setattr(bridge_module, "bridge_own_servers", self._take)

    async def _take(self, settings: ServeSettings | BridgeSettings, sink: StderrSink, **_: object) -> int:
        self.found.append(settings)
        return 0

    def serving(self, *words: str) -> ServeSettings:
        assert cli.main(words) == 0
        settings = self.found.pop()
        assert isinstance(settings, ServeSettings)
        return settings

    def bridging(self, *words: str) -> BridgeSettings:
        assert cli.main(words) == 0
        settings = self.found.pop()
        assert isinstance(settings, BridgeSettings)
        return settings


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> Jobs:
    """Run nothing."""
    return Jobs(monkeypatch)


def run(*words: str, program: Sequence[str] = PROGRAM, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the program with nothing on stdin."""
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **env}
    environment |= {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
    done = warm_start.run([*program, *words], input="", capture_output=True, text=True, timeout=30, env=environment)
    assert "Traceback" not in done.stderr
    return done


# -- mcp-proxy --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "listen"),
    [
        (["--sse-port", "8080", "--", "server"], ListenSpec("http", "127.0.0.1", 8080)),
        (["--sse-host", "::1", "--sse-port", "1", "--", "server"], ListenSpec("http", "::1", 1)),
        (["server", "--sse-port", "8080", "-e", "K", "V"], ListenSpec("http", "127.0.0.1", 8080)),
    ],
)
def test_the_deprecated_names_of_port_and_host(jobs: Jobs, words: list[str], listen: ListenSpec) -> None:
    """sparfenyuk's own program takes them in vain."""
    assert list(jobs.serving(*words).listen) == [listen]


def test_the_url_may_come_from_the_environment(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """SSE_URL stands in where the command line names no server, and only there."""
    monkeypatch.setenv("SSE_URL", "https://h/sse")
    assert jobs.bridging().url == "https://h/sse"
    assert jobs.bridging("--transport", "sse").dialling.transport == "sse"
    assert jobs.bridging("http://other/").url == "http://other/"
    assert list(jobs.serving("--", "server").command) == ["server"]


def test_a_command_may_come_from_the_environment_too(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the default of URL|COMMAND."""
    monkeypatch.setenv("SSE_URL", "server")
    assert list(jobs.serving("--port", "8080").command) == ["server"]


def test_stateless_is_a_way_to_share(jobs: Jobs) -> None:
    """Off by default; it can be taken back."""
    assert jobs.serving("server").share is None
    assert jobs.serving("--stateless", "server").share == "stateless"
    assert jobs.serving("--share", "stateless", "server").share == "stateless"
    assert jobs.serving("--stateless", "--no-stateless", "server").share is None
    assert jobs.serving("--no-stateless", "--share", "shared", "server").share == "shared"


def test_headers_that_pages_may_read(jobs: Jobs) -> None:
    """Each time one more."""
    settings = jobs.serving("--expose-header", "X-One", "--expose-header", "x-two", "server")
    assert list(settings.listening.exposed_headers) == ["X-One", "x-two"]


@pytest.mark.parametrize(
    ("words", "is_passed"),
    [([], False), (["--pass-environment"], True), (["--pass-environment", "--no-pass-environment"], False)],
)
def test_the_environment_is_passed_on_or_not(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch, words: list[str], is_passed: bool
) -> None:
    """Not by default."""
    monkeypatch.setenv("SOMETHING", "else")
    assert ("SOMETHING" in jobs.serving(*words, "server").env) == is_passed


def test_one_variable_is_passed_on(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Only what is named; ``-e`` counts before it; what looks like a secret is kept out of the log."""
    monkeypatch.setenv("SOMETHING", "else")
    monkeypatch.setenv("MY_TOKEN", "canary")
    monkeypatch.setenv("ROOT", "/ours")
    monkeypatch.delenv("NOT_SET_X", raising=False)
    names = ("MY_TOKEN", "ROOT", "NOT_SET_X")
    flags = [word for name in names for word in ("--pass-variable", name)]
    settings = jobs.serving(*flags, "-e", "ROOT", "/srv", "server")
    assert (settings.env["MY_TOKEN"], settings.env["ROOT"]) == ("canary", "/srv")
    assert not {"SOMETHING", "NOT_SET_X"} & set(settings.env)
    assert "canary" in settings.secrets


@pytest.mark.parametrize(
    ("level", "is_meant"),
    [("debug", 10), ("Info", 20), ("WARNING", 30), ("warn", 30), ("error", 40), ("CRITICAL", 50), ("trace", 10)],
)
def test_log_levels_of_everybody(jobs: Jobs, level: str, is_meant: int) -> None:
    """Any case, and mcp-connect's names."""
    jobs.serving("--log-level", level, "server")
    assert logging.getLogger().level == is_meant


@pytest.mark.parametrize("word", ["streamablehttp", "streamable-http", "Streamable-HTTP"])
def test_two_spellings_of_streamable_http(jobs: Jobs, word: str) -> None:
    """sparfenyuk's and stephenlacy's."""
    assert jobs.bridging("--transport", word, URL).dialling.transport == "streamablehttp"


@pytest.mark.only_loop("asyncio")
async def test_stateless_answers_without_a_session_from_one_server() -> None:
    """No Mcp-Session-Id is given or wanted, no handshake is needed, and every request meets the same process."""
    with run_relay("--stateless") as relay:
        clients = [Client(relay.base) for _ in range(6)]
        begun = await clients[0].post(
            request(0, "initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo={"name": "t"})
        )
        assert (begun.status, begun.headers.get("mcp-session-id")) == (200, None)
        assert json.loads(await begun.body())["result"]["protocolVersion"] == "2025-06-18"
        answers = await asyncio.gather(
            *(client.post(request(1, "pid"), mcp_protocol_version="2025-06-18") for client in clients)
        )
        read = [json.loads(await answer.body()) for answer in answers]
        assert [one["id"] for one in read] == [1] * 6
        assert len({one["result"]["pid"] for one in read}) == 1
        assert (await clients[0].status())["servers"]["default"]["started"] == 1
        for client in clients:
            client.close()


@pytest.mark.only_loop("asyncio")
async def test_stateless_requests_of_one_server_do_not_meet() -> None:
    """Eight clients, the same ids and tokens, all in flight at once: each hears its own progress, then its answer."""
    oracle, ids = Oracle(), ['"a"', "1", '"1"', "-7", "2"]
    with run_relay("--stateless") as relay:
        clients = [Client(relay.base, f"client-{number}") for number in range(8)]

        async def one(client: Client, name: str) -> None:
            more = f'"of":{8 * len(ids)},"count":2,"_meta":{{"progressToken":{name}}}'
            frame = oracle.ask(client.name, name, "gather", more=more, payload=f'"{client.name}"')
            *progress, answer = await client.call(frame)
            assert [json.loads(one)["params"]["progressToken"] for one in progress] == [json.loads(name)] * 2
            numbers = re.findall(rb'"progressToken":(\d+)', answer)
            oracle.judge(
                client.name, answer.replace(b'"progressToken":' + numbers[0], f'"progressToken":{name}'.encode())
            )

        async with asyncio.TaskGroup() as group:
            for client in clients:
                for name in ids:
                    group.create_task(one(client, name))
        oracle.finish(8 * len(ids))
        for client in clients:
            client.close()


@pytest.mark.only_loop("asyncio")
async def test_pages_may_read_the_exposed_headers() -> None:
    """With those that the protocol needs."""
    with run_relay(
        "--allow-origin", "https://a.example", "https://b.example", "--expose-header", "X-Request-Id"
    ) as relay:
        client = Client(relay.base)
        for origin in ("https://a.example", "https://b.example"):
            answer = await client.post(request(1, "ping"), origin=origin, mcp_session_id="none")
            assert answer.headers["access-control-allow-origin"] == origin
            assert answer.headers["access-control-expose-headers"] == "Mcp-Session-Id, WWW-Authenticate, X-Request-Id"
            await answer.body()
        client.close()


# -- the FastMCP script -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "dialled"),
    [
        (["--transport", "stdio"], "auto"),
        (["--transport", "stdio", "--transport-type", "sse"], "sse"),
        (["--transport-type", "http"], "streamablehttp"),
        (["--transport", "auto", "--transport-type", "http"], "streamablehttp"),
        (["--transport", "sse"], "sse"),
        (["--transport", "streamable-http", "--transport-type", "http"], "streamablehttp"),
    ],
)
def test_own_stdio_to_a_url(jobs: Jobs, words: list[str], dialled: str) -> None:
    """``--transport stdio`` is where the client is; ``sse`` alone is how to dial."""
    assert jobs.bridging(*words, URL).dialling.transport == dialled


@pytest.mark.parametrize(
    ("words", "dialled"),
    [
        (["--transport", "http"], "auto"),
        (["--transport", "sse"], "auto"),
        (["--transport", "http", "--transport-type", "sse"], "sse"),
        (["--transport", "sse", "--transport-type", "http"], "streamablehttp"),
    ],
)
def test_a_url_that_is_offered_by_http(jobs: Jobs, words: list[str], dialled: str) -> None:
    """With a port, ``http`` and ``sse`` are where clients come from; both are at the same address."""
    settings = jobs.serving(URL, "--name", "Mine", "--port", "8080", *words)
    assert (settings.url, list(settings.listen)) == (URL, [ListenSpec("http", "127.0.0.1", 8080)])
    assert (settings.dialling.transport, settings.name) == (dialled, "Mine")


def test_a_command_by_those_words(jobs: Jobs) -> None:
    """``http`` is what a command is offered by anyway; ``stdio`` joins own stdin and stdout to it."""
    assert list(jobs.serving("--transport", "http", "server").listen) == [ListenSpec("http")]
    assert list(jobs.serving("--transport", "stdio", "--", "server").listen) == [STDIO]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--transport", "http", URL], "--transport http before a URL listens for clients: say where with --port"),
        (["--transport", "sse", "--transport-type", "http", URL], "say where with --port"),
        (["--transport", "http", "--listen", "stdio:", URL], "and so does --listen; leave one out"),
        (["--transport", "streamablehttp", "--transport-type", "sse", URL], "contradict each other"),
        (["--stateless", "--share", "shared", "server"], "--stateless and --share shared contradict each other"),
        (["--expose-header", "X Y", "server"], "--expose-header: 'X Y' is not a header name"),
        (["test", "--endpoint", "x", "--transport", "ws"], "--transport: 'ws' is not one of http, stdio, tcp"),
        (["test", "--endpoint", "x", "--", "y"], "--endpoint names the server, and 'y' another"),
        (["reset", "now"], "unrecognized arguments: now"),
        (["--log-level", "loud", "proxy", "--endpoint", "x"], "argument --log-level: invalid choice: 'LOUD'"),
    ],
)
def test_mistakes(words: list[str], said: str, capfd: pytest.CaptureFixture[str]) -> None:
    """One line that says what to do, and exit code 2."""
    assert cli.main(words) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert said in err
    assert err.count("\n") == 1


@pytest.mark.only_loop("asyncio")
async def test_a_url_before_another_relay_is_offered_by_its_words() -> None:
    """``URL --transport http --port N`` listens there and hands on to the server at the URL."""
    with run_relay() as far:
        port = peers.free_port()
        near = await warm_start.Process.start(
            *PROGRAM, far.base + "/mcp", "--name", "Mine", "--transport", "http", "--port", str(port),
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert near.stderr is not None, "a pipe"
        try:
            line = (await near.stderr.readline()).decode()
            assert f"listening on http://127.0.0.1:{port}/mcp" in line
            client = Client(f"http://127.0.0.1:{port}")
            await client.begin("2025-06-18")
            (answer,) = await client.call(request(1, "pid"))
            assert json.loads(answer)["result"]["pid"]
            client.close()
        finally:
            near.terminate()
            await near.wait()


# -- mcp-connect ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("before", [["--debug"], ["--log-level", "debug"], ["--log-level=trace", "--no-debug"]])
def test_the_options_of_the_log_may_stand_before_a_subcommand(before: list[str]) -> None:
    """As after it."""
    for words in ([*before, "notification-demo", "--count", "1"], ["notification-demo", "--count", "1", *before]):
        done = run(*words)
        assert (done.returncode, done.stderr) == (0, "")
        assert json.loads(done.stdout)["params"]["data"] == "Demo info message 1"


def test_debug_before_test_shows_frames() -> None:
    """It reaches the subcommand."""
    done = run("--debug", "test", "--", *DEMO)
    assert done.returncode == 0, done.stderr
    assert '"method":"initialize"' in done.stderr
    assert "server " in done.stdout


def test_a_program_of_that_name_goes_after_dashes(jobs: Jobs) -> None:
    """Whatever stands before."""
    assert list(jobs.serving("--debug", "--", "test").command) == ["test"]


def test_the_endpoint_of_test_may_be_a_command() -> None:
    """Split as a shell would."""
    done = run("test", "--endpoint", " ".join(DEMO), "--transport", "stdio", "--json", "--timeout", "20")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["transport"] == "stdio"


@pytest.mark.only_loop("asyncio")
async def test_the_endpoint_of_test_gets_its_headers() -> None:
    """``--headers K:V,K2:V2``, the token before the key, the name of the agent; a word that is no address is HTTP's."""
    seen: list[str] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):  # a connection that looks whether one can be made
            seen.append((await reader.readuntil(b"\r\n\r\n")).decode())
            writer.write(b"HTTP/1.1 500 Broken\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        words = [
            "--log-level", "error", "test", "--endpoint", f"127.0.0.1:{port}/mcp", "--transport", "HTTP",
            "--headers", "X-One:1, X-Two: 2", "--auth-token", "canary", "--api-key", "key", "--user-agent", "me/1",
        ]  # fmt: skip
        done = await asyncio.to_thread(run, *words)
    assert done.returncode == 1
    lines = seen[0].split("\r\n")
    assert lines[0] == "POST /mcp HTTP/1.1"
    assert {"X-One: 1", "X-Two: 2", "Authorization: Bearer canary", "User-Agent: me/1"} <= set(lines)
    assert "x-api-key" not in seen[0].lower()
    assert "canary" not in done.stdout + done.stderr


# -- reset ------------------------------------------------------------------------------------------------------------


def test_reset_removes_the_logins_and_nothing_else(tmp_path: Path) -> None:
    """The three kinds of files of every version; not what other programs keep there, nor what links lead to."""
    store, outside = tmp_path / "store", tmp_path / "outside"
    ours, older, other = store / "mcp-proxy-rust-0.2.0", store / "mcp-proxy-rust-0.1.1", store / "mcp-remote-v1"
    for folder in (ours, older, other, outside):
        folder.mkdir(parents=True)
    gone = [ours / "auth-1f.json", ours / "auth-1f.lock", ours / "client-registration-a0.json", older / "auth-2.json"]
    kept = [other / "auth-1f.json", older / "notes.txt", store / "auth-1f.json", outside / "auth-1f.json"]
    for file in (*gone, *kept):
        file.write_text("{}")
    (store / "mcp-proxy-rust-9").symlink_to(outside)
    (older / "auth-3.json").symlink_to(kept[3])
    done = run("reset", MCP_REMOTE_CONFIG_DIR=str(store))
    assert (done.returncode, done.stderr) == (0, "")
    assert set(done.stdout.splitlines()) == {f"removed {path}" for path in (*gone, ours)}
    assert not any(path.exists() for path in (*gone, ours))
    assert all(path.exists() for path in (*kept, store / "mcp-proxy-rust-9", older / "auth-3.json"))
    assert run("reset", MCP_REMOTE_CONFIG_DIR=str(store)).stdout == f"no logins in {store}\n"


def test_reset_looks_at_home_by_default(tmp_path: Path) -> None:
    """``~/.mcp-auth``; that there is none is no failure."""
    assert run("reset", HOME=str(tmp_path)).stdout == f"no logins in {tmp_path / '.mcp-auth'}\n"
    folder = tmp_path / ".mcp-auth" / "mcp-proxy-rust-0.1.0"
    folder.mkdir(parents=True)
    (folder / "auth-ab12.json").write_text("{}")
    assert run("reset", HOME=str(tmp_path)).stdout.startswith(f"removed {folder / 'auth-ab12.json'}\n")
    assert not folder.exists()


@pytest.mark.skipif(os.name == "nt", reason="folders have no modes")
def test_what_reset_may_not_delete_is_said(tmp_path: Path) -> None:
    """One line, exit code 1; root, too, is refused if it runs without the capability to overrule modes."""
    program = list(PROGRAM)
    if os.geteuid() == 0:
        if shutil.which("setpriv") is None:
            pytest.skip("no setpriv on this machine")
        program = ["setpriv", *(f"--{which}=-dac_override" for which in ("inh-caps", "bounding-set")), *PROGRAM]
    folder = tmp_path / "mcp-proxy-rust-1"
    folder.mkdir()
    (folder / "auth-1.json").write_text("{}")
    folder.chmod(0o500)
    try:
        done = run("reset", program=program, MCP_REMOTE_CONFIG_DIR=str(tmp_path))
    finally:
        folder.chmod(0o700)
    assert done.returncode == 1
    assert done.stderr == f"mcp-relay: cannot delete {folder / 'auth-1.json'}: Permission denied\n"
