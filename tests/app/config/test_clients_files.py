"""The relay reads each client's file as it is, and says what runs, what is off and what cannot run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from relay.app.config.servers_file import ServersFile, read_servers
from relay.errors import ConfigError
from tests.app.config import files
from tests.app.config.servers import usable


def read(tmp_path: Path, name: str, **environment: str) -> ServersFile:
    file = tmp_path / name
    file.write_text(files.ALL[name], encoding="utf-8")
    return read_servers(str(file), environment=environment)


def told(found: ServersFile) -> list[str]:
    """Return the warnings from the line on."""
    return [warning.partition(", line ")[2] for warning in found.warnings]


def test_gemini_cli(tmp_path: Path) -> None:
    """``$VAR`` wherever a value stands; ``mcp.allowed`` and ``mcp.excluded``; milliseconds."""
    environment = {"PORT": "80", "HOME": "/h", "DB_CONNECTION_STRING": "db://s3cret", "EXTERNAL_API_KEY": "k-123"}
    found = read(tmp_path, "gemini-settings.json", **environment, G_TOKEN="t-456")
    python, far, _ = found.servers.values()
    assert python.command == ["python", "-m", "my_mcp_server", "--port", "80", "--home=/h/x"]
    assert python.env == {"DATABASE_URL": "db://s3cret", "API_KEY": "k-123"}
    assert {"db://s3cret", "k-123"} <= set(python.secrets)
    assert (python.cwd, python.timeout) == ("./mcp-servers/python", 15)
    assert (far.transport, far.headers) == ("streamablehttp", {"Authorization": "Bearer t-456"})
    assert "t-456" in far.secrets
    assert list(usable(found)) == ["python"]
    assert told(found) == ["10: mcpServers.python.timeout: read as milliseconds, as some editors count: 15 s"]


@pytest.mark.parametrize("folder", ["/home/me/one", "/home/me/one/sub", "/home/me/oneself"])
def test_claude_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    """A project's servers count in its folder, before those of the user; elsewhere they are named as left out."""
    monkeypatch.setattr("os.getcwd", lambda: folder)
    found = read(tmp_path, "claude-code.json")
    left_out = "left out: servers of a project count where the relay is started in its folder"
    assert list(usable(found)) == ["sentry", "shared"]
    if folder == "/home/me/oneself":
        assert usable(found)["shared"].command == ["npx", "-y", "for-all"]
        assert told(found) == [
            f"10: projects./home/me/one.mcpServers: {left_out}",
            f"16: projects./home/me/two.mcpServers: {left_out}",
        ]
    else:
        assert usable(found)["shared"].command == ["npx", "-y", "for-one"]
        assert usable(found)["shared"].env == {"K": "none"}
        assert not found.servers["off"].is_enabled
        assert len(found.warnings) == 1


def test_a_plugin_of_claude_code(tmp_path: Path) -> None:
    """The file itself has the servers."""
    found = read(tmp_path, "plugin.json")
    assert [one.url or one.command for one in usable(found).values()] == [
        ["db-server", "--config", "config.json"],
        "https://mcp.example.com/mcp",
    ]
    assert found.warnings == []


def test_cline(tmp_path: Path) -> None:
    """``streamableHttp``, and the older ``transportType``; seconds."""
    found = read(tmp_path, "cline.json")
    assert [(one.transport, one.is_enabled, one.timeout) for one in found.servers.values()] == [
        ("auto", True, 60), ("streamablehttp", False, None), ("sse", True, None),
    ]  # fmt: skip
    assert (list(usable(found)), found.warnings) == (["local", "old"], [])


def test_roo(tmp_path: Path) -> None:
    """``streamable-http``; lists that exclude nothing are not spoken of."""
    found = read(tmp_path, "roo.json")
    assert (list(usable(found)), found.warnings) == (["far", "local"], [])
    assert (found.servers["far"].transport, found.servers["local"].cwd) == ("streamablehttp", "/src")


def test_continue(tmp_path: Path) -> None:
    """A list of servers with names, in YAML; ``${{ secrets.VAR }}`` is our variable VAR."""
    found = read(tmp_path, "continue.yaml", SQLITE_TOKEN="t-456")
    local, far = usable(found).values()
    assert (local.name, local.command) == ("SQLite MCP", ["npx", "-y", "mcp-sqlite", "--token", "t-456"])
    assert (local.env, local.secrets) == ({"SUPABASE_TOKEN": "t-456"}, ["t-456"])
    assert local.where == f"{tmp_path}/continue.yaml, line 5: mcpServers[0]"
    assert (far.transport, far.headers) == ("streamablehttp", {"Authorization": "Bearer t-456"})
    assert found.warnings == []
    assert usable(read(tmp_path, "continue.yaml")) == {}


def test_codex(tmp_path: Path) -> None:
    """``[mcp_servers.NAME]``: variables that are handed on, a bearer, headers out of variables, seconds for a tool."""
    variables = {"LOCAL_TOKEN": "t-123", "FIGMA_OAUTH_TOKEN": "t-456", "FIGMA_KEY": "k-789"}
    found = read(tmp_path, "codex.toml", **variables)
    assert list(usable(found)) == ["context7", "figma"]
    local, far, off = found.servers.values()
    assert (local.command, local.cwd) == (["npx", "-y", "@upstash/context7-mcp"], "/srv")
    assert (local.env, local.timeout) == ({"LOCAL_TOKEN": "t-123", "MY_ENV_VAR": "MY_ENV_VALUE"}, 45)
    assert far.headers == {"X-Figma-Region": "us-east-1", "X-Key": "k-789", "Authorization": "Bearer t-456"}
    assert "t-123" in local.secrets and {"t-456", "k-789"} <= set(far.secrets)
    assert not off.is_enabled
    assert told(found) == [
        "8: mcp_servers.context7.env_vars: OTHER is not set where the relay is started: not handed on",
        "26: mcp_servers.figma.env_http_headers.X-None: NOT_SET is not set: the header is left out",
    ]
    without = read(tmp_path, "codex.toml").servers["figma"]
    assert without.problem is not None and without.problem.startswith("FIGMA_OAUTH_TOKEN is not set")


def test_goose(tmp_path: Path) -> None:
    """``extensions`` in YAML; numbers stay as they are written; what is built in cannot run, and says so."""
    found = read(tmp_path, "goose.yaml", GITHUB_TOKEN="t-123")
    developer, github, far, older = found.servers.values()
    assert developer.problem == "it is a part of the program whose file this is, which alone can start it"
    assert github.command == ["npx", "-y", "@modelcontextprotocol/server-github"]
    assert github.env == {"GITHUB_TOKEN": "t-123", "PORT": "8080", "VERSION": "1.10", "DEBUG": "yes", "ON": "true"}
    assert github.timeout == 300
    assert (far.url, far.transport, far.headers) == ("https://h.example.com/mcp", "streamablehttp", {"X-A": "b"})
    assert (older.command, older.is_enabled) == (["npx"], False)
    assert list(usable(found)) == ["github", "far"]
    assert told(found) == [f"4: extensions.developer: this server cannot run: {developer.problem}"]


def test_opencode(tmp_path: Path) -> None:
    """``mcp``, a command that is a list, ``environment``, ``{env:VAR}``, milliseconds."""
    found = read(tmp_path, "opencode.json", MY_VALUE="v", MY_API_KEY="k-123")
    local, far = usable(found).values()
    assert (local.command, local.env, local.timeout) == (["bun", "x", "my-mcp-command"], {"MY_ENV_VAR": "v"}, 3)
    assert (far.url, far.headers) == ("https://h.example.com/mcp", {"Authorization": "Bearer k-123"})
    assert "k-123" in far.secrets
    assert told(found) == ["6: mcp.local.timeout: read as milliseconds, as some editors count: 3 s"]


def test_librechat(tmp_path: Path) -> None:
    """YAML with an alias; what each user of LibreChat fills in cannot be filled in here."""
    found = read(tmp_path, "librechat.yaml")
    assert list(usable(found)) == ["everything", "fs", "fs2"]
    assert (found.servers["fs"].command, found.servers["fs"].timeout) == (["npx", "-y", "fs"], 60)
    assert found.servers["fs2"].command == ["npx", "-y", "fs2"]
    assert "{{LIBRECHAT_USER_ID}} is for each user" in str(found.servers["sheets"].problem)
    assert "{{MY_KEY}} is for each user" in str(found.servers["mine"].problem)


def test_copilot(tmp_path: Path) -> None:
    """``local``; ``tools`` that exclude nothing are not spoken of; ``$VAR`` in variables and headers."""
    found = read(tmp_path, "copilot.json", COPILOT_MCP_KEY="k-123")
    local, far = usable(found).values()
    assert (local.env, far.headers) == ({"KEY": "k-123"}, {"A": "k-123"})
    assert told(found) == ["7: mcpServers.far.tools: not supported: all of the server's tools are offered"]


def test_cherry_studio(tmp_path: Path) -> None:
    """A command that is empty is none; ``inMemory``; ``isActive``."""
    found = read(tmp_path, "cherry-studio.json")
    assert list(usable(found)) == ["a1"]
    assert (found.servers["a1"].url, found.servers["a1"].transport) == ("https://h.example.com/mcp", "streamablehttp")
    assert str(found.servers["a2"].problem).startswith("it is a part of the program")
    assert not found.servers["a3"].is_enabled


@pytest.mark.parametrize(
    ("name", "runs"),
    [
        ("lm-studio.json", ["https://huggingface.co/mcp"]),
        ("jetbrains.json", [["npx", "-y", "memory"]]),
        ("amazon-q.json", [["uvx", "mcp-server-fetch"], "https://api.findadomain.dev/mcp"]),
        ("warp.json", [["npx", "-y", "fs"], "https://h.example.com/sse"]),
        ("crush.json", [["node", "x.js"], "https://h.example.com/mcp/"]),
        ("amp.json", [["npx", "-y", "@playwright/mcp@latest", "--headless"]]),
    ],
)
def test_others(tmp_path: Path, name: str, runs: list[str | list[str]]) -> None:
    """All of their servers run, and no key of theirs is unknown."""
    found = read(tmp_path, name)
    assert [one.url or one.command for one in usable(found).values()] == runs
    assert [line for line in found.warnings if "milliseconds" not in line] == []


# -- lists and YAML ---------------------------------------------------------------------------------------------------


def wrong(tmp_path: Path, text: str, name: str) -> ServersFile:
    (tmp_path / name).write_text(text)
    found = read_servers(str(tmp_path / name), environment={})
    assert list(usable(found)) == ["good"]
    return found


def test_mistakes_in_a_list(tmp_path: Path) -> None:
    """One that has no name, or another's, costs no other."""
    listed = '[{"command": "x"},\n{"name": "good", "command": "y"},\n"z",\n{"name": "good", "command": "x"}]'
    found = wrong(tmp_path, f'{{"mcpServers": {listed}}}', "f.json")
    assert told(found) == [
        "1: mcpServers[0]: has no name, which each server in a list needs; this server cannot run",
        "3: mcpServers[2]: has no name, which each server in a list needs; this server cannot run",
        "4: mcpServers[3]: its name is there twice; this server cannot run",
    ]


def test_mistakes_in_yaml(tmp_path: Path) -> None:
    """With lines and keys, as in JSON."""
    lines = [
        "mcpServers:",
        "  good: {command: y}",
        "  a:",
        "    command: x",
        "    args:",
        "      - t0p",
        "      - {a: 1}",
    ]
    text = "\n".join([*lines, "  b:", "    command: x", "    command: x"])
    assert told(wrong(tmp_path, text, "f.yml")) == [
        "7: mcpServers.a.args[1]: expected a text in quotes, found an object; this server cannot run",
        "10: mcpServers.b.command: is there twice, first in line 9; leave one out; this server cannot run",
    ]


BILLIONS = "a0: &a0 x\n" + "".join(f"a{i + 1}: &a{i + 1} [*a{i}, *a{i}]\n" for i in range(40))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mcpServers:\n  a: [", "line 3: this is not YAML: "),
        ("mcpServers:\n\tx: y", "line 2: this is not YAML: "),
        ("mcpServers: *x", "line 1: this is not YAML: found undefined alias"),
        ("a: 1\n---\nb: 2", "this is not YAML: but found another document"),
        ("- a", "expected an object, found a list"),
        ("", "expected an object, found null"),
        (BILLIONS, "too deep"),
        ("mcpServers: &a\n  a: *a", "too deep"),
        ("mcpServers: " + "[" * 20000, ": "),
    ],
)
def test_what_is_no_yaml(tmp_path: Path, text: str, message: str) -> None:
    """One line with the file and the line; aliases that stand for billions are not followed."""
    (tmp_path / "f.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_servers(str(tmp_path / "f.yaml"))
    assert message in str(caught.value) and "\n" not in str(caught.value)


def test_yaml_is_told_by_what_it_looks_like(tmp_path: Path) -> None:
    """Where the name does not say what a file is."""
    for text in (
        "# mine\n\nmcpServers:\n  a: {command: x}\n",
        '---\n"mcpServers": {a: {command: x}}',
        "mcpServers: {a: {command: x}}",
    ):
        (tmp_path / "servers").write_text(text)
        assert list(usable(read_servers(str(tmp_path / "servers")))) == ["a"]
    for text in ("# a: b\n[servers.a]\ncommand = 'x'", "servers.a.command = 'x: y'"):
        (tmp_path / "servers").write_text(text)
        assert list(usable(read_servers(str(tmp_path / "servers")))) == ["a"]


def test_yaml_without_pyyaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One line that names two remedies."""
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises(ConfigError, match=r"f\.yaml: this is YAML, which only PyYAML reads: pip install .*yq -o=json"):
        wrong(tmp_path, "mcpServers: {good: {command: y}}", "f.yaml")
