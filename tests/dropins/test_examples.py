"""Every example line of the tools that we stand in for, given to ``mcp-relay as NAME``, does what its README says."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests import peers, warm_start
from tests.dropins import talk
from tests.dropins.examples import EXAMPLES, REFUSED, Example, Refused
from tests.dropins.machine import SERVER, Program, Tap, install_launchers, office, running, write_files
from tests.e2e.authority import Authority
from tests.peers import matrix

AS = (sys.executable, "-m", "relay", "as")
TALK = {"http": talk.streamable, "sse": talk.sse, "ws": talk.websocket}
PATHS = {"http": "/mcp", "sse": "/sse", "ws": "/mcp"}


@pytest.fixture(scope="module")
def launchers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Install what examples start; return the environment in which it is found."""
    peers.install("py1", "node")
    folder = tmp_path_factory.mktemp("bin")
    install_launchers(folder)
    return {"PATH": f"{folder}:/usr/bin:/bin", "API_ACCESS_TOKEN": "", "SSE_URL": ""}


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, int]]:
    """Run the SDK's servers that examples find at their URLs; return their ports."""
    peers.install("py1")
    with contextlib.ExitStack() as things, ThreadPoolExecutor() as pool:
        both = {kind: matrix.serving("py1", kind) for kind in ("http", "sse")}
        started = {kind: pool.submit(things.enter_context, one) for kind, one in both.items()}
        on_tcp = peers.free_port()
        demo = [sys.executable, "-m", "relay.demo.server"]
        words = [sys.executable, "-m", "relay", "--listen", f"tcp://127.0.0.1:{on_tcp}", "--", *demo]
        things.enter_context(running(words, {}))
        peers.wait_for_port(on_tcp)
        found = {kind: int(re.findall(r":(\d+)/", one.result()[1])[0]) for kind, one in started.items()}
        yield {**found, "tcp": on_tcp}


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Run a server with TLS, and one that issues tokens; return their addresses, and the file with the authority."""
    authority = Authority.made(tmp_path_factory.mktemp("certificates"))
    port = peers.free_port()
    words = [sys.executable, "-m", "relay", "--tls-cert", authority["server"], "--port", str(port), "--"]
    with running([*words, sys.executable, str(SERVER)], {}) as program, office() as base:
        program.wait_until_listening()
        yield {"https": f"https://127.0.0.1:{port}", "ca": authority["ca"], "office": base}


def port_is_free(example: Example) -> bool:
    """Tell whether the relay chooses where to listen."""
    return example.default_port is None and not re.search(r"{port}|{config}", example.line)


@pytest.mark.parametrize("example", EXAMPLES, ids=str)
def test_an_example_does_what_its_readme_says(
    example: Example, launchers: dict[str, str], servers: dict[str, int], far: dict[str, str], tmp_path: Path
) -> None:
    """A handshake and a call by each transport it offers; its command got its words, its server its headers."""
    taps = {kind: Tap(servers[kind]) for kind in ("http", "sse")}
    port = peers.free_port()
    urls = {kind: f"http://127.0.0.1:{tap.port}/{'mcp' if kind == 'http' else 'sse'}" for kind, tap in taps.items()}
    tcp = f"localhost:{servers['tcp']}"
    places = {**urls, **write_files(tmp_path, port), "port": port, "tcp": tcp, **far}
    name, *words = shlex.split(example.line.format(**places))
    env = {**launchers, **{variable: value.format(**places) for variable, value in example.env.items()}}
    if example.default_port is not None:
        words = ["--port", str(port), *words]
    try:
        with running([*AS, name, *words], env) as program:
            if example.ways == ("stdio",):
                _speak_on_stdio(program)
            elif example.ways == ("report",):
                _read_report(program)
            else:
                _speak_to_port(program, example, None if port_is_free(example) else port)
        assert example.says in "\n".join(program.said), program.said
        sent = b"".join(tap.sent for tap in taps.values()).lower()
        for line in example.sends:
            assert line.lower().encode() in sent, sent
    finally:
        for tap in taps.values():
            tap.close()


def _speak_on_stdio(program: Program) -> None:
    result = talk.stdio(program.process, talk.call())
    assert talk.TEXT in str(result), result
    assert program.process.stdin is not None, "a pipe"
    program.process.stdin.close()
    assert program.process.wait(15) == 0, program.said


def _read_report(program: Program) -> None:
    assert program.process.stdout is not None, "a pipe"
    program.said += program.process.stdout.read().decode().splitlines()
    assert program.process.wait(15) == 0, program.said


def _speak_to_port(program: Program, example: Example, port: int | None) -> None:
    base = program.wait_until_listening()
    assert port is None or base.endswith(f":{port}"), (base, port)
    _check_paths(base, example)
    for way in example.ways:
        url = base + example.paths.get(way, PATHS[way])
        result = TALK[way](url, talk.call())
        assert talk.TEXT in str(result), result
        if way == "sse":
            assert result["_endpoint"].startswith(example.told.format(port=port)), result
        if example.argv is None:
            continue
        started = TALK[way](url, talk.call("started"))
        assert started["argv"] == list(example.argv), started
        _check_variables(example, started["environ"])


def _check_paths(base: str, example: Example) -> None:
    if "health" in example.paths:
        assert talk.get(base + example.paths["health"])[:2] == (200, "ok")
    if "nothing" in example.paths:
        assert talk.get(base + example.paths["nothing"])[0] == 404


def _check_variables(example: Example, environ: dict[str, Any]) -> None:
    for name, value in re.findall(r"-e (\w+) (\w+)", example.line):
        assert environ[name] == value, environ


@pytest.mark.parametrize("example", REFUSED, ids=str)
def test_what_is_not_supported_is_named(example: Refused, launchers: dict[str, str], tmp_path: Path) -> None:
    """One line on stderr that names the option, exit 2, nothing on stdout, nothing started."""
    line = re.sub(r"{(tokens|filter)}", lambda match: write_files(tmp_path, 0)[match[1]], example.line)
    words = [*AS, *shlex.split(line)]
    done = warm_start.run(words, capture_output=True, text=True, timeout=20, env=launchers)
    assert (done.returncode, done.stdout) == (2, ""), done.stderr
    assert done.stderr.count("\n") == 1 and example.names in done.stderr, done.stderr


@pytest.mark.parametrize("name", ["mcp-remote", "fastmcp-remote", "mcp-proxy"])
def test_a_server_that_wants_a_login_is_said_to(name: str, launchers: dict[str, str], far: dict[str, str]) -> None:
    """This one names no authorization server: stderr says so, and the request is answered with an error."""
    words = [*AS, name, f"{far['office']}/mcp"]
    said = json.dumps(talk.INITIALIZE) + "\n"
    done = warm_start.run(words, input=said, capture_output=True, text=True, timeout=20, env=launchers)
    answer = json.loads(done.stdout)
    assert done.returncode == 0, "the server was reached"
    assert answer["id"] == 1 and answer["error"]["data"]["status"] == 401, answer
    assert "cannot log in" in answer["error"]["message"], answer
    warnings = [line for line in done.stderr.splitlines() if "WARNING" in line or line.startswith("[W")]
    assert len(warnings) == 1 and "cannot log in" in warnings[0], done.stderr


def test_reset_under_the_name_that_four_programs_have(tmp_path: Path) -> None:
    """After ``as``, and by a link: stephenlacy's logins are deleted; nothing listens for ever."""
    link = tmp_path / "mcp-proxy"
    link.symlink_to(Path(sys.executable).with_name("mcp-relay"))
    store = tmp_path / "logins"
    for words in ([*AS, "mcp-proxy", "reset"], [str(link), "reset"]):
        file = store / "mcp-proxy-rust-0.1.3" / "auth-1f.json"
        file.parent.mkdir(parents=True)
        file.write_text("{}")
        env = {**os.environ, "MCP_REMOTE_CONFIG_DIR": str(store)}
        done = warm_start.run(words, capture_output=True, text=True, timeout=20, env=env)
        assert (done.returncode, done.stderr) == (0, "")
        assert f"removed {file}\n" in done.stdout and not file.exists()


def test_a_link_of_that_name_is_that_program(tmp_path: Path) -> None:
    """Started as ``supergateway``, words are supergateway's; --version says both names, --help its options."""
    link = tmp_path / "supergateway"
    link.symlink_to(Path(sys.executable).with_name("mcp-relay"))
    version = subprocess.run([link, "--version"], capture_output=True, text=True, timeout=20, check=True)
    assert re.fullmatch(r"supergateway \d+\.\d+\S* \(mcp-relay\)\n", version.stdout), version.stdout
    told = subprocess.run([link, "--help"], capture_output=True, text=True, timeout=20, check=True).stdout
    assert "--outputTransport" in told and "known and not supported: --protocolVersion" in told, told
