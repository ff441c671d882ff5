"""``mcp-relay config`` shows what a file would run and what is wrong with it, without secrets."""

from __future__ import annotations

import json
import logging
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay import cli
from relay.app.commands.config import command
from relay.app.log.stderr import StderrSink
from tests.app.config import files
from tests.test_cli import ENVIRONMENT

PYTHON = sys.executable


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Take away what the caller's environment says, and give the root logger back."""
    for name in list(os.environ):
        if name.startswith("MCP_RELAY_"):
            monkeypatch.delenv(name)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def run(*words: str, **environment: str) -> tuple[int, str, str]:
    """Run the program for real; return its exit code, its stdout and its stderr."""
    ended = subprocess.run(
        [PYTHON, "-m", "relay", "config", *words],
        capture_output=True, timeout=20, text=True, env={**ENVIRONMENT, **environment},
    )  # fmt: skip
    return ended.returncode, ended.stdout, ended.stderr


def start(*words: str, **environment: str) -> tuple[int, str]:
    """Start a relay that cannot start; return its exit code and its stderr."""
    ended = subprocess.run(
        [PYTHON, "-m", "relay", *words],
        capture_output=True, timeout=20, text=True, env={**ENVIRONMENT, **environment},
    )  # fmt: skip
    return ended.returncode, ended.stderr


def said(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, list[str]]:
    """Run it here; return its exit code and what is on stdout."""
    code = command(words, StderrSink())
    return code, capsys.readouterr().out.splitlines()


def write(tmp_path: Path, text: str, name: str = "f.json") -> str:
    file = tmp_path / name
    file.write_text(text)
    return str(file)


# -- check ------------------------------------------------------------------------------------------------------------


def test_check_of_an_editors_file(tmp_path: Path) -> None:
    """A line for each server: what would run, or what is wrong; exit code 1 if anything is."""
    entries = {
        "good": {"command": PYTHON, "args": ["a b", "--token", "sk-secret"]},
        "gone": {"command": "no-such-program-x"},
        "words": {"command": "no-such-program-x -y"},
        "split": {"command": f"{PYTHON} 'a b' -c"},
        "nowhere": {"command": PYTHON, "cwd": "/no/such/directory"},
        "unset": {"command": PYTHON, "env": {"KEY": "${NOT_SET_X}"}},
        "off": {"command": "no-such-program-x", "disabled": True},
        "far": {"url": "https://me:sk-secret@host/mcp?api_key=sk-secret"},
        "port": {"url": "https://host:sk-secret/mcp"},
        "odd": {"url": "http://far.example/mcp", "headers": {"A": "b"}, "zzz": 1},
    }
    file = write(tmp_path, json.dumps({"mcpServers": entries}))
    code, stdout, stderr = run("check", file)
    assert (code, stderr) == (1, "")
    assert stdout.splitlines() == [
        f"ok       good     {PYTHON} 'a b' --token ***",
        (
            "wrong    gone     command 'no-such-program-x' was not found or cannot be run; "
            "give its full path, or add it to PATH"
        ),
        (
            "wrong    words    command 'no-such-program-x' was not found or cannot be run; "
            "give its full path, or add it to PATH"
        ),
        f"ok       split    {PYTHON} 'a b' -c",
        "wrong    nowhere  working directory '/no/such/directory' does not exist",
        (
            "wrong    unset    ${NOT_SET_X} is not set; set NOT_SET_X where the relay is started, "
            "or write ${NOT_SET_X:-a default}"
        ),
        "off      off      no-such-program-x",
        "ok       far      https://***@host/mcp?api_key=***",
        "wrong    port     its url is not an address: the port is no number, or a bracket is missing",
        "ok       odd      http://far.example/mcp",
        f"warning  {file}, line 1: mcpServers.odd.zzz: unknown key, ignored",
        (
            f"warning  {file}, line 1: mcpServers.odd: its headers go over the net in the clear; "
            "write https:// if it has that"
        ),
    ]  # fmt: skip


def test_check_and_the_start_name_every_mistake_of_a_file(tmp_path: Path) -> None:
    text = 'prot = 80\nport = "x"\nshare = "foo"\nurl = 5\n[servers.a]\ncommand = 5\n[servers.b]\nurl = "x"\n'
    file = write(tmp_path, text, "f.toml")
    expected = [
        "line 1: prot: unknown key; did you mean 'port'?",
        "line 2: port: 'x' is not a port",
        "line 3: share: 'foo' is not one of",
        "line 4: url: expected a text in quotes, found a number",
        "line 6: servers.a.command: expected a text in quotes, found a number; this server cannot run",
        "line 8: servers.b.url: ",
    ]
    code, stdout, stderr = run("check", file)
    assert (code, stdout) == (1, "")
    for fault in expected:
        assert sum(line.startswith(f"mcp-relay: {file}, {fault}") for line in stderr.splitlines()) == 1, fault
    assert len(stderr.splitlines()) == len(expected)
    assert start("--config", file) == (2, stderr)
    code, stderr = start(MCP_RELAY_PROT="1", MCP_RELAY_PORT="x")
    assert (code, stderr.splitlines()) == (2, [
        "mcp-relay: MCP_RELAY_PORT: 'x' is not a port from 0 to 65535",
        "mcp-relay: MCP_RELAY_PROT is set, but there is no such variable; did you mean 'MCP_RELAY_PORT'?",
    ])  # fmt: skip


def test_check_shows_no_secret_of_a_program(tmp_path: Path) -> None:
    """Not even where one stands in the place of a program."""
    file = write(tmp_path, '{"mcpServers": {"a": {"command": "x-${MY_TOKEN}"}, "b": {"command": "${MY_TOKEN} -y"}}}')
    code, stdout, stderr = run("check", file, MY_TOKEN="sk-secret")
    assert (code, stdout.count("***")) == (1, 2)
    assert "sk-secret" not in stdout + stderr


def test_check_of_a_good_file(tmp_path: Path) -> None:
    """Exit code 0; ``--json`` is one object."""
    file = write(tmp_path, json.dumps({"servers": {"a": {"command": PYTHON}, "b": {"url": "ws://h/mcp"}}}))
    assert run("check", file)[:2] == (0, f"ok       a  {PYTHON}\nok       b  ws://h/mcp\n")
    code, stdout, _ = run("check", "--json", file)
    assert code == 0
    assert json.loads(stdout) == {
        "file": file,
        "ok": True,
        "error": None,
        "servers": [
            {"name": "a", "status": "ok", "runs": PYTHON, "problem": None},
            {"name": "b", "status": "ok", "runs": "ws://h/mcp", "problem": None},
        ],
        "warnings": [],
    }


def test_check_names_all_mistakes(tmp_path: Path) -> None:
    """Of each server every one, with its line and key, also where it is off; the others are looked at as well."""
    entries = [
        f'"good": {{"command": {json.dumps(PYTHON)}}}',
        '"a": {"command": 5,\n"args": ["t0p", {}],\n"env": {"A": []}}',
        '"b": "t0p"',
        '"off": {"command": "x", "cwd": 5, "disabled": true}',
        '"": {"command": "x"}',
    ]
    file = write(tmp_path, f'{{"mcpServers": {{\n{("," + chr(10)).join(entries)}}}}}')
    lines = [
        f"ok       good  {PYTHON}",
        (
            "wrong    a     line 3: mcpServers.a.command: expected a text in quotes, found a number; "
            "line 4: mcpServers.a.args[1]: expected a text in quotes, found an object; "
            "line 5: mcpServers.a.env.A: expected a text in quotes, found a list"
        ),
        "wrong    b     line 6: mcpServers.b: expected an object, found a text",
        "off      off   x",
        (
            'wrong          line 8: mcpServers."": a server\'s name cannot be empty, . or .., '
            "which mean something else in a path"
        ),
        f"warning  {file}, line 7: mcpServers.off.cwd: expected a text in quotes, found a number",
    ]
    code, stdout, stderr = run("check", file)
    assert (code, stdout.splitlines(), stderr) == (1, lines, "")
    found = json.loads(run("check", "--json", file)[1])
    assert [one["status"] for one in found["servers"]] == ["ok", "wrong", "wrong", "off", "wrong"]
    assert lines[1].endswith(found["servers"][1]["problem"])


def test_check_of_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """Exit code 1, and one line that names file and line; in JSON, too."""
    file = write(tmp_path, '{"mcpServers":\n5}')
    message = f"{file}, line 1: mcpServers: expected an object, found a number"
    assert run("check", file) == (1, "", f"mcp-relay: {message}\n")
    code, stdout, _ = run("check", "--json", file)
    assert code == 1
    assert json.loads(stdout) == {"file": file, "ok": False, "error": message, "servers": [], "warnings": []}


@pytest.mark.parametrize(
    ("text", "code", "expected"),
    [
        (f"command = {json.dumps(PYTHON)}\nport = 80", 0, [f"ok         {PYTHON}"]),
        ('command = "no-such-program-x"', 1, ["wrong      command 'no-such-program-x' was not found"]),
        ('url = "https://h:x/"', 1, ["wrong      its url is not an address"]),
        ('url = "https://h/?key=abcdef"\nport = 1', 0, ["ok         https://h/?key=***", "warning  FILE, line 2: p"]),
        ("port = 80", 0, ["warning  FILE: names neither a target nor servers"]),
        (
            f'url = "https://h/"\n[servers.x]\ncommand = {json.dumps(PYTHON)}\n[servers.y]\nurl = "http://${{N_X}}/"',
            1,
            ["ok          https://h/", f"ok       x  {PYTHON}", "wrong    y  ${N_X} is not set"],
        ),
        (
            "port = 80\n[servers.x]\nzzz = 1\ncommand = 5",
            1,
            ["wrong    x  line 3: servers.x.zzz: unknown key; line 4: servers.x.command: expected a text"],
        ),
        ("[proxy]\nendpoint = 'http://a/'\n[load-balance]\nendpoints = ['h:1']\n[test]\njson = true", 0, ["warning"]),
    ],
)  # fmt: skip
def test_check_of_our_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, code: int, expected: list[str]
) -> None:
    """The target, then the servers; options that have no effect."""
    file = write(tmp_path, text, "f.toml")
    found, lines = said(capsys, "check", file)
    assert found == code
    assert len(lines) == len(expected)
    for line, start in zip(lines, expected, strict=True):
        assert line.startswith(start.replace("FILE", file))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prot = 1", "line 1: prot: unknown key; did you mean 'port'?"),
        ('listen = ["tcp://0.0.0.0:0"]', "line 1: listen: --listen at 0.0.0.0 would let everybody"),
        ("[proxy]\nendpoint = 5", "line 2: proxy.endpoint: expected a text; found a number"),
        ("[load-balance]\nstrategy = 'x'", "line 2: load-balance.strategy: 'x' is not one of round-robin, least"),
        ("[test]\ntimeout = 'x'", "line 2: test.timeout: 'x' is not a number of seconds"),
    ],
)
def test_mistakes_in_our_own(tmp_path: Path, capfd: pytest.CaptureFixture[str], text: str, message: str) -> None:
    """All that a run looks at is looked at, sections for subcommands included."""
    file = write(tmp_path, text, "f.toml")
    assert command(["check", file], StderrSink()) == 1
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith(f"mcp-relay: {file}, {message}")
    assert err.count("\n") == 1


# -- show -------------------------------------------------------------------------------------------------------------


def test_show_of_an_editors_file(tmp_path: Path) -> None:
    """What would run, with everything that is set; secrets are masked, what is none is shown."""
    entries = {
        "a": {
            "command": "npx",
            "args": ["-y", "x", "--api-key=sk-secret", "-e", "A_TOKEN=sk-secret", "${MY_SECRET}"],
            "env": {"DEBUG": "1", "MY_KEY": "sk-secret", "COPY": "<${MY_SECRET}>"},
            "cwd": "/tmp",
        },
        "b": {
            "url": "https://sk-secret@h/mcp?sig=sk-secret&q=1",
            "headers": {"Authorization": "Bearer sk-secret", "X-Team": "blue"},
            "type": "sse",
            "timeout": 5,
        },
        "c": {"command": "x", "args": 5, "enabled": False},
    }
    file = write(tmp_path, json.dumps({"mcpServers": entries}))
    code, stdout, stderr = run("show", file, MY_SECRET="sk-secret-2")
    assert (code, stderr) == (0, "")
    assert stdout.splitlines() == [
        "a",
        "  runs     npx -y x --api-key=*** -e A_TOKEN=*** ***",
        "  in       /tmp",
        "  with     DEBUG=1",
        "  with     MY_KEY=***",
        "  with     COPY=***",
        "b",
        "  runs     https://***@h/mcp?sig=***&q=1",
        "  header   Authorization: ***",
        "  header   X-Team: ***",
        "  by       sse",
        "  timeout  5 s",
        "c  (off)",
        "  wrong    args: expected a list of texts, found a number",
        "  runs     x",
    ]


@pytest.mark.parametrize(
    "words",
    [
        ["-H", "Authorization", "Bearer s3cret-value"],
        ["--header", "X-Who: s3cret-value"],
        ["--headers", "X-Who", "s3cret-value"],
        ["--say", "Bearer s3cret-value"],
        ["Basic", "s3cret-value"],
        ["-e", "GH_PAT", "s3cret-value"],
        ["--env", "PLAIN=s3cret-value"],
        ["--dsn", "s3cret-value"],
        ["--db-pass=s3cret-value"],
        ["--session", "s3cret-value"],
        ["--passphrase", "s3cret-value"],
    ],
)
def test_show_and_check_of_secret_words(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    """Wherever tools take what is secret, in a list of words or in one text, it is masked, and only that."""
    entries = {"a": {"command": PYTHON, "args": [*words, "then"]}}
    editors = write(tmp_path, json.dumps({"mcpServers": entries}))
    ours = write(tmp_path, json.dumps({"named-server": {"a": shlex.join(["x", *words, "then"])}, "debug": False}), "o")
    for ask in (("show", editors), ("check", editors), ("check", "--json", editors), ("show", ours)):
        _, lines = said(capsys, *ask)
        text = "\n".join(lines)
        assert "s3cret" not in text and "***" in text and "then" in text, ask


@pytest.mark.parametrize(
    "token",
    [
        "ghp_0a1b2c3d4e5f",
        "gho_0a1b2c3d4e5f",
        "github_pat_11AA_0a1b2c",
        "xoxb-123-456-abc",
        "xoxp-123-456-abc",
        "sk-ant-0a1b2c3d4e5f",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.s-g",
        "secret_0a1b2c3d4e5f",
        "AKIA0A1B2C3D4E5F6G7H",
    ],
)
def test_what_looks_like_a_token(tmp_path: Path, capsys: pytest.CaptureFixture[str], token: str) -> None:
    """It is masked where nothing names it."""
    entries = {"a": {"command": PYTHON, "args": [token, f"--x={token}", "then"]}, "b": {"url": f"http://h/{token}/mcp"}}
    file = write(tmp_path, json.dumps({"mcpServers": entries}))
    for ask in ("show", "check"):
        _, lines = said(capsys, ask, file)
        assert [line.split()[-1] for line in lines if " then" in line] == ["then"]
        assert token not in "\n".join(lines)


def test_values_are_shown_of_harmless_names_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A name that nobody knows may be anything's; so may a value out of the environment."""
    env = {"NODE_ENV": "test", "PLAIN": "a", "MYSQL_PWD": "b", "COPY": "${HOME}"}
    entries = {
        "a": {"command": PYTHON, "env": env},
        "b": {"url": "http://h/", "headers": {"X-A": "b", "User-Agent": "c"}},
    }
    _, lines = said(capsys, "show", write(tmp_path, json.dumps({"mcpServers": entries})))
    assert [line.split()[-1] for line in lines if line.startswith("  with")] == [
        "NODE_ENV=test", "PLAIN=***", "MYSQL_PWD=***", "COPY=***",
    ]  # fmt: skip
    assert [line.split()[1:] for line in lines if line.startswith("  header")] == [
        ["X-A:", "***"],
        ["User-Agent:", "c"],
    ]


def test_show_of_our_own(tmp_path: Path) -> None:
    """Each option that is set and where that is; variables without a file, too."""
    file = write(
        tmp_path,
        'url = "https://h/mcp?token=sk-secret"\nport = 80\nheaders = {A = "b", X-Key = "sk-secret"}\ndebug = true\n'
        '[servers.x]\nurl = "http://x/"\n',
        "f.toml",
    )
    code, stdout, stderr = run("show", MCP_RELAY_CONFIG=file, MCP_RELAY_LISTEN="unix:/a unix:/b", MCP_RELAY_PORT="81")
    assert (code, stderr) == (0, "")
    assert stdout.splitlines() == [
        f"headers  A = ***  ({file}, line 3: headers)",
        f"headers  X-Key = ***  ({file}, line 3: headers)",
        "listen   unix:/a  (MCP_RELAY_LISTEN)",
        "listen   unix:/b  (MCP_RELAY_LISTEN)",
        "port     81  (MCP_RELAY_PORT)",
        f"debug    true  ({file}, line 4: debug)",
        "runs     https://h/mcp?token=***",
        "x",
        "  runs     http://x/",
    ]


def test_show_of_a_command_in_one_text(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As ``--named-server`` has it."""
    file = write(tmp_path, 'named-server = {a = "npx x --token sk-secret --url http://h/?sig=sk-secret y"}', "f.toml")
    code, lines = said(capsys, "show", file)
    assert code == 0
    assert lines == [f"named-server  a = npx x --token *** --url http://h/?sig=*** y  ({file}, line 1: named-server)"]


def test_show_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Said, not left empty."""
    assert said(capsys, "show") == (0, ["nothing is set: no FILE, no MCP_RELAY_CONFIG, no other variables"])
    file = write(tmp_path, "", "g.toml")
    assert said(capsys, "show", file) == (0, [f"{file}: nothing is set"])


def test_nothing_that_a_terminal_obeys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Control characters of a file are shown, not sent."""
    file = write(tmp_path, json.dumps({"mcpServers": {"a": {"command": PYTHON, "args": ["\u001b[31m\r\n"]}}}))
    for word in ("check", "show"):
        _, lines = said(capsys, word, file)
        assert "'\\x1b[31m\\r\\n'" in lines[-1]


@pytest.mark.parametrize("name", files.ALL)
def test_every_editors_file(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    """Each can be checked and shown; no secret of theirs is in it."""
    file = write(tmp_path, files.ALL[name], name)
    for word in ("check", "show"):
        _, lines = said(capsys, word, file)
        assert lines
        for secret in ("ghp_0123456789", "zed-token", "amap-secret-key", "<YOUR_TOKEN>", "me:pw"):
            assert secret not in "\n".join(lines)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "the following arguments are required: check|show|schema; see mcp-relay config --help"),
        (("check",), "the following arguments are required: FILE; see mcp-relay config check --help"),
        (("schema", "x"), "invalid choice: 'x'"),
        (("show", "/nowhere/x"), "/nowhere/x: the file cannot be read: No such file or directory"),
    ],
)
def test_wrong_words(capfd: pytest.CaptureFixture[str], words: tuple[str, ...], message: str) -> None:
    """One line, exit code 2."""
    code = cli.main(["config", *words])
    stdout, stderr = capfd.readouterr()
    assert (code, stdout) == (2, "")
    assert message in stderr
    assert stderr.count("\n") == 1
