"""Flag, variable, file, default, in this order; every option by each of these ways; mistakes with their place."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from relay.app.commands import proxy as proxy_commands
from relay.app.commands.relay import command
from relay.app.config.layers import variable_of
from relay.app.config.values import is_flag, is_pairs, is_several, options_of
from relay.app.doctor import cli as check
from relay.app.log.stderr import StderrSink
from relay.app.options import relay as relay_options
from relay.app.options.parser import Parser, parse_args
from relay.errors import ConfigError
from tests.test_cli import ENVIRONMENT

PARSERS = {"relay": relay_options.build_parser(), "test": check.build_parser()}
NO_LOG = StderrSink()
OPTIONS = sorted((name, key) for name, parser in PARSERS.items() for key in options_of(parser))


@pytest.fixture(autouse=True)
def nothing_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away what the caller's environment says."""
    for name in list(os.environ):
        if name.startswith("MCP_RELAY_"):
            monkeypatch.delenv(name)


def parse(tmp_path: Path, text: str, *words: str, name: str = "f.toml") -> tuple[argparse.Namespace, list[str]]:
    """Parse words with a file."""
    file = tmp_path / name
    file.write_text(text)
    return relay_options.parse(["--config", str(file), *words])


def values_of(options: argparse.Namespace) -> dict[str, Any]:
    """Return the values of the options themselves."""
    return {name: value for name, value in vars(options).items() if name not in ("config", "configured", "unused")}


# -- every option -----------------------------------------------------------------------------------------------------


def example(parser: argparse.ArgumentParser, key: str) -> tuple[list[str], object, str]:
    """Return an option as words, as a value in a file, and as a variable's text."""
    action = options_of(parser)[key]
    flag = f"--{key}"
    if is_flag(action):
        return [flag], True, "yes"
    if is_pairs(action):
        return [flag, "A", "b c", flag, "D", "e,f"], {"A": "b c", "D": "e,f"}, "A=b c\nD=e,f"
    one = next(
        one for one in (*reversed(tuple(action.choices or ())), "http://h:5/mcp", "h", "5") if accepts(action, one)
    )
    value: object = int(one) if one.isdecimal() else one
    if not is_several(action):
        return [flag, one], value, one
    words = [flag, one, one] if action.nargs else [flag, one, flag, one]
    return words, [value, value], f"{one}, {one}"


def accepts(action: argparse.Action, text: str) -> bool:
    try:
        found = action.type(text) if callable(action.type) else text
    except (argparse.ArgumentTypeError, ValueError):
        return False
    return action.choices is None or found in action.choices


@pytest.mark.parametrize(("name", "key"), OPTIONS)
def test_an_option_by_every_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, key: str) -> None:
    """A file and a variable say what the flag says: of any option, those included that come later."""
    parser = PARSERS[name]
    words, value, text = example(parser, key)
    expected = parser.parse_intermixed_args(words)
    assert values_of(expected) != values_of(parser.parse_intermixed_args([])), "the example changes something"
    file = tmp_path / "f.json"
    file.write_text(json.dumps({key: value} if name == "relay" else {name: {key: value}}))
    section = None if name == "relay" else name
    found = parse_args(parser, ["--config", str(file)], section)
    assert values_of(found) == values_of(expected)
    assert set(found.configured.origins) >= {f"--{key}"}
    if section is None:
        monkeypatch.setenv(variable_of(key), text)
        assert values_of(parse_args(parser, [])) == values_of(expected)


# -- the order --------------------------------------------------------------------------------------------------------


def test_the_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Flag, variable, file, default; lists and tables are not added together."""
    text = 'port = 1\nlisten = ["unix:/a"]\nheaders = {A = "file", B = "file"}\nshare = "session"\ndebug = true\n'
    options, _ = parse(tmp_path, text, "x")
    assert (options.port, options.listen, options.share, options.debug) == (1, ["unix:/a"], "session", True)
    assert options.headers == [["A", "file"], ["B", "file"]]
    assert (options.log_level, options.max_sessions) == ("WARNING", None)
    monkeypatch.setenv("MCP_RELAY_PORT", "2")
    monkeypatch.setenv("MCP_RELAY_LISTEN", "unix:/b unix:/c")
    monkeypatch.setenv("MCP_RELAY_DEBUG", "0")
    monkeypatch.setenv("MCP_RELAY_SHARE", "")
    options, _ = parse(tmp_path, text, "x")
    assert (options.port, options.listen, options.share) == (2, ["unix:/b", "unix:/c"], "session")
    assert options.debug is False
    options, _ = parse(tmp_path, text, "--port", "3", "--listen", "unix:/d", "-H", "C", "flag", "--debug", "x")
    assert (options.port, options.listen, options.headers, options.debug) == (3, ["unix:/d"], [["C", "flag"]], True)


def test_the_file_of_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``MCP_RELAY_CONFIG`` names it; ``--config`` names another."""
    (tmp_path / "a.toml").write_text("port = 1")
    (tmp_path / "b.toml").write_text("port = 2")
    monkeypatch.setenv("MCP_RELAY_CONFIG", str(tmp_path / "a.toml"))
    assert relay_options.parse(["x"])[0].port == 1
    assert relay_options.parse(["--config", str(tmp_path / "b.toml"), "x"])[0].port == 2
    monkeypatch.setenv("MCP_RELAY_CONFIG", "")
    assert relay_options.parse(["x"])[0].port == 0


def test_the_default_is_as_before() -> None:
    """Without a file and variables nothing is loaded that reads them."""
    script = (
        "import sys; from relay.app.options.relay import parse; parse(['x']); "
        "print([name for name in sys.modules if name.split('.')[2:3] == ['config']])"
    )
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, env=ENVIRONMENT, check=True)
    assert found.stdout.strip() == b"[]"


# -- the target -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words", "variables", "target"),
    [
        ('url = "http://h/mcp"', [], {}, ["http://h/mcp"]),
        ('command = "npx"\nargs = ["-y", "a b"]', [], {}, ["npx", "-y", "a b"]),
        ('command = "npx"\nargs = ["-y"]', ["other", "x"], {}, ["other", "x"]),
        ('command = "npx"', ["--", "other", "--flag"], {}, ["other", "--flag"]),
        ('command = "npx"', [], {"MCP_RELAY_URL": "http://v/mcp"}, ["http://v/mcp"]),
        ('url = "http://h/mcp"', [], {"MCP_RELAY_COMMAND": "npx -y 'a b'"}, ["npx", "-y", "a b"]),
        ('url = "http://h/mcp"', ["x"], {"MCP_RELAY_COMMAND": "npx"}, ["x"]),
        ('url = "https://${HOST:-h}/mcp"', [], {"HOST": "far"}, ["https://far/mcp"]),
        ("", [], {}, []),
    ],
)
def test_the_target(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    words: list[str],
    variables: dict[str, str],
    target: list[str],
) -> None:
    """A URL, or a command and its arguments: the first that names one counts, whole."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert parse(tmp_path, text, *words)[1] == target


def test_servers(tmp_path: Path) -> None:
    """``[servers.NAME]`` has what an editor's file has; there a key that nobody knows is a mistake."""
    text = '[servers.time]\ncommand = "uvx"\nargs = ["t"]\nalwaysAllow = ["x"]\n[servers.far]\nurl = "http://${H}/"\n'
    options, _ = parse(tmp_path, text, "x")
    servers = options.configured.servers
    assert servers["time"].command == ["uvx", "t"]
    assert servers["far"].problem.startswith("${H} is not set")
    assert [warning.partition("line ")[2] for warning in options.configured.warnings] == [
        f"5: servers.far: this server cannot run: {servers['far'].problem}"
    ]
    options, _ = parse(tmp_path, text.replace("args =", "comand ="), "x")
    (mistake,) = options.configured.servers["time"].mistakes
    assert mistake.endswith("line 3: servers.time.comand: unknown key; did you mean 'command'?")


def test_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes out of a secret variable, or stands behind an option named like one, is masked in the log."""
    monkeypatch.setenv("MY_TOKEN", "abcd1")
    options, _ = parse(tmp_path, 'command = "x"\nargs = ["${MY_TOKEN}", "--password", "abcd2"]')
    assert set(options.configured.secrets) == {"abcd1", "abcd2"}
    monkeypatch.setenv("MCP_RELAY_URL", "http://me:abcd3@h/?api_key=abcd4")
    assert set(relay_options.parse([])[0].configured.secrets) == {"abcd3", "abcd4"}
    options, _ = parse(tmp_path, 'headers = {X-Key = "K abcd5", X-Team = "abcd6"}\nenv = {A_TOKEN = "abcd7"}')
    assert set(options.configured.secrets) == {"abcd3", "abcd4", "K abcd5", "abcd5", "abcd7"}


# -- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("prot = 1", "line 1: prot: unknown key; did you mean 'port'?"),
        ("\nallow_origin = []", "line 2: allow_origin: unknown key; did you mean 'allow-origin'?"),
        ("version = true", "line 1: version: unknown key"),
        ("help = true", "line 1: help: unknown key"),
        ('config = "x"', "line 1: config: unknown key"),
        ("mcpServers = {}", "line 1: mcpServers: unknown key; this is an editor's file of servers"),
        ('port = "x"', "line 1: port: 'x' is not a port from 0 to 65535"),
        ("port = true", "line 1: port: expected a number, or a text as on the command line; found true"),
        ("port = [1]", "line 1: port: expected a number, or a text as on the command line; found a list"),
        ("port = 8080.5", "line 1: port: '8080.5' is not a port"),
        ("max-frame-bytes = 0", "line 1: max-frame-bytes: '0' is not a size such as 65536, 512k or 64M"),
        ("cwd = 5", "line 1: cwd: expected a text; found a number"),
        ('debug = "yes"', "line 1: debug: expected true or false; found a text"),
        ('share = "all"', "line 1: share: 'all' is not one of session, shared, request"),
        ("allow-origin = [5]", "line 1: allow-origin: expected a list, each a text; found a number"),
        ('headers = ["A: b"]', "line 1: headers: expected a table of names and values"),
        ("headers = {A = 5}", "line 1: headers: A: expected a text in quotes, found a number"),
        ('headers = {"A B" = "sk-secret"}', "line 1: headers: 'A B' is not a header name"),
        ('headers = {A = "sk-secret\\nx"}', "line 1: headers: the value of 'A' has a line break in it"),
        ('env = {"A=B" = "sk-secret"}', "line 1: env: 'A=' is not a variable's name"),
        ('host = "a b"', "line 1: host: 'a b' is not an address to listen on"),
        (
            '\nlisten = ["http://0.0.0.0:0/mcp"]',
            "line 2: listen: --listen at 0.0.0.0 would let everybody who can reach this machine use 'x'",
        ),
        ('listen = ["ftp://x"]', "line 1: listen: 'ftp://x' is not an address to listen on"),
        ('cwd = "${NOT_SET_X}"', "line 1: cwd: ${NOT_SET_X} is not set; set NOT_SET_X where the relay is started"),
        ('url = "http://h/"\ncommand = "x"', "line 1: url: there is a command, too; leave one out"),
        ('url = "npx"', "line 1: url: is not an address of a kind that is known: http://, https://"),
        ('command = "http://h/"', "line 1: command: is an address; write url"),
        ('command = ""', "line 1: command: is empty"),
        ('args = ["x"]', "line 1: args: there is no command that they belong to"),
        ("command = 5", "line 1: command: expected a text in quotes, found a number"),
        ('command = ["x"]', "line 1: command: expected a text in quotes, found a list"),
        ("proxy = 5", "line 1: proxy: expected a table, found a number"),
        ("servers = []", "line 1: servers: expected a table, found a list"),
        ("port = 1\nport = 2", "line 2: this is not TOML: cannot overwrite a value"),
        ("port = 1\n[proxy", "line 2: this is not TOML: "),
        ("port", "line 1: this is not TOML: "),
    ],
)
def test_mistakes(tmp_path: Path, text: str, message: str) -> None:
    """One line with the file, the line, the key, what was seen and what is expected; exit code 2."""
    (tmp_path / "f.toml").write_text(text)
    code, stderr = run_main(
        ["--config", str(tmp_path / "f.toml"), *([] if text.startswith(("url", "args", "comm")) else ["x"])]
    )
    assert code == 2
    assert f"{tmp_path}/f.toml, {message}" in stderr
    assert stderr.count("\n") == 1
    assert "sk-secret" not in stderr


def run_main(words: list[str]) -> tuple[int, str]:
    """Run the program's mistakes within this process; return the exit code and what it says."""
    try:
        command(words, NO_LOG).close()
    except ConfigError as exc:
        return 2, f"mcp-relay: {exc}\n"
    return 0, ""


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("MCP_RELAY_PROT", "1", "MCP_RELAY_PROT is set, but there is no such variable; did you mean 'MCP_RELAY_PORT'?"),
        ("MCP_RELAY_QQQQ", "1", "there is no such variable; see mcp-relay --help"),
        ("MCP_RELAY_PORT", "x", "MCP_RELAY_PORT: 'x' is not a port from 0 to 65535"),
        ("MCP_RELAY_DEBUG", "maybe", "MCP_RELAY_DEBUG: expected 1, true, yes, on or 0, false, no, off"),
        ("MCP_RELAY_HEADERS", "sk-secret", "MCP_RELAY_HEADERS: expected lines of NAME=value, or a JSON object"),
        ("MCP_RELAY_HEADERS", '{"A": 5}', "MCP_RELAY_HEADERS: A: expected a text in quotes, found a number"),
        ("MCP_RELAY_HEADERS", "{", "MCP_RELAY_HEADERS: this is not JSON: line 1, column 2"),
        ("MCP_RELAY_ALLOW_ORIGIN", "h", "MCP_RELAY_ALLOW_ORIGIN: 'h' is not an origin such as https://app.example.com"),
        ("MCP_RELAY_COMMAND", "'x", "MCP_RELAY_COMMAND: the command cannot be read: No closing quotation"),
        ("MCP_RELAY_COMMAND", "http://h/", "MCP_RELAY_COMMAND: is an address; write url"),
        ("MCP_RELAY_URL", "npx", "MCP_RELAY_URL: is not an address of a kind that is known: http://, https://"),
        ("MCP_RELAY_CONFIG", "/nowhere/f", "/nowhere/f: the file cannot be read: No such file or directory"),
    ],
)
def test_wrong_variables(monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str) -> None:
    """Named by the variable."""
    monkeypatch.setenv(name, value)
    code, stderr = run_main(["x"])
    assert code == 2
    assert message in stderr
    assert "sk-secret" not in stderr


def test_json(tmp_path: Path) -> None:
    """The same in JSON with comments; a key that is there twice is a mistake."""
    options, target = parse(tmp_path, '{"$schema": "x", "port": 5, /* c */ "url": "http://h/",}', name="f.json")
    assert (options.port, target) == (5, ["http://h/"])
    with pytest.raises(ConfigError, match=r"line 2: port: is there twice, first in line 1; leave one out"):
        parse(tmp_path, '{"port": 5,\n"port": 6}', name="f.json")
    with pytest.raises(ConfigError, match=r"line 1: servers: expected an object, found a list"):
        parse(tmp_path, '{"servers": []}', name="f")


# -- subcommands ------------------------------------------------------------------------------------------------------


def test_a_subcommand_has_its_section(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``[proxy]`` is for ``mcp-relay proxy``, what it requires included; a relay passes over it."""
    found: list[argparse.Namespace] = []
    monkeypatch.setattr(proxy_commands, "_job", lambda options, *_: found.append(options))
    file = tmp_path / "f.toml"
    file.write_text(
        'port = 1\n[proxy]\nendpoint = "http://a/"\nfallbacks = ["http://b/"]\ntimeout = 5\n[test]\njson = true\n'
    )
    monkeypatch.setenv("MCP_RELAY_PORT", "9")
    _ = proxy_commands.proxy(["--config", str(file), "--timeout", "7"], NO_LOG)
    (options,) = found
    assert (options.endpoint, options.fallbacks, options.timeout) == ("http://a/", ["http://b/"], 7)
    assert options.retry_attempts == 3
    assert relay_options.parse(["--config", str(file)])[0].port == 9
    file.write_text("[proxy]\nendpiont = 'x'")
    with pytest.raises(ConfigError, match=r"line 2: proxy\.endpiont: unknown key; did you mean 'endpoint'\?"):
        _ = proxy_commands.proxy(["--config", str(file)], NO_LOG)
    file.write_text("")
    with pytest.raises(ConfigError, match="the following arguments are required: --endpoint; see mcp-relay proxy"):
        _ = proxy_commands.proxy(["--config", str(file)], NO_LOG)


def test_other_kinds_of_options(tmp_path: Path) -> None:
    """Those that no command has today: a value or none, a fixed number of values, a constant, a typed default."""
    parser = Parser(prog="p")
    parser.add_argument("--config")
    parser.add_argument("--maybe", nargs="?", const="const", default="default")
    parser.add_argument("--two", nargs=2, type=int)
    parser.add_argument("--off", dest="on", action="store_false")
    parser.add_argument("--typed", type=int, default="5")
    parser.add_argument("--api-key", type=int)
    file = tmp_path / "f.toml"

    def found(text: str) -> argparse.Namespace:
        file.write_text(text)
        return parse_args(parser, ["--config", str(file)])

    options = found("maybe = true\ntwo = [1, 2]\noff = true")
    assert (options.maybe, options.two, options.on, options.typed) == ("const", [1, 2], False, 5)
    options = found("maybe = false\noff = false")
    assert (options.maybe, options.on) == ("false", True)
    with pytest.raises(ConfigError, match="two: expected a list of 2, found a list"):
        found("two = [1]")
    with pytest.raises(ConfigError, match="typed: expected a number, or a text as on the command line"):
        found("typed = 'sk-secret'")


# -- the program ------------------------------------------------------------------------------------------------------


def test_the_program(tmp_path: Path) -> None:
    """It listens where the file says, and no value of the file is in its log."""
    file = tmp_path / "f.toml"
    file.write_text(
        f'port = 0\nlog-level = "debug"\ncommand = {json.dumps(sys.executable)}\n'
        'args = ["-c", "import sys; sys.stderr.write(\'ready\')", "--token", "sk-secret-1"]\n'
        'headers = {Authorization = "Bearer sk-secret-2"}\nenv = {MY_KEY = "${TOP_SECRET}"}\n'
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "relay", "--config", str(file)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**ENVIRONMENT, "TOP_SECRET": "sk-secret-3"}, text=True,
    )  # fmt: skip
    try:
        assert process.stderr is not None
        said = ""
        while "listening on" not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
    finally:
        process.terminate()
        rest = process.communicate(timeout=20)[1]
    assert process.returncode == 0
    assert f"{file}, line 5: headers has no effect before a command: ignored" in said
    assert "sk-secret" not in said + rest
