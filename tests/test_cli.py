"""The command line: every option read, every mistake one line on stderr and exit code 2, nothing on stdout."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

import relay
from relay import cli
from relay.app.log.stderr import StderrSink
from relay.app.options.help_text import coloured
from relay.app.run import bridge as bridge_module
from relay.app.run import serve as serve_module
from relay.app.run.process import loop_factory
from relay.app.settings import BridgeSettings, ServeSettings
from relay.app.specs import ListenSpec
from relay.errors import ConfigError, EndpointUnavailable, RelayError
from relay.limits import DEFAULT_LIMITS

PYTHON = sys.executable
UNREACHABLE = "http://127.0.0.1:9/mcp"
ENVIRONMENT = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
ENVIRONMENT |= {
    name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")
}  # `make cover` looks on
Settings = ServeSettings | BridgeSettings


@pytest.fixture(autouse=True)
def logging_as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Give the root logger back, and take away what the caller's environment says to the relay."""
    monkeypatch.delenv("API_ACCESS_TOKEN", raising=False)
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """Collect what would run instead of running it."""
    found: list[Settings] = []

    async def take(settings: Settings, sink: StderrSink) -> int:
        found.append(settings)
        return 0

    monkeypatch.setattr(serve_module, "serve", take)
    monkeypatch.setattr(bridge_module, "bridge", take)
    return found


def serving(jobs: list[Settings], *words: str) -> ServeSettings:
    """Return the settings that these words make to serve a command."""
    assert cli.main(words) == 0
    (settings,) = jobs
    assert isinstance(settings, ServeSettings)
    return settings


def bridging(jobs: list[Settings], *words: str) -> BridgeSettings:
    """Return the settings that these words make to bridge to a URL."""
    assert cli.main(words) == 0
    (settings,) = jobs
    assert isinstance(settings, BridgeSettings)
    return settings


def run(*words: str, env: dict[str, str] | None = None, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run the program for real."""
    return subprocess.run(
        [PYTHON, "-m", "relay", *words],
        input=stdin,
        capture_output=True,
        timeout=20,
        env={**ENVIRONMENT, **(env or {})},
    )


# -- what the words mean ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "command"),
    [
        (["server"], ["server"]),
        (["server", "a", "b"], ["server", "a", "b"]),
        (["--", "server", "--flag", "-x"], ["server", "--flag", "-x"]),
        (["server", "--", "--flag"], ["server", "--flag"]),
        (["server", "a", "--", "--port", "1", "--"], ["server", "a", "--port", "1", "--"]),
        (["--port", "8080", "server"], ["server"]),
        (["server", "--port", "8080"], ["server"]),
        (["--", "--help"], ["--help"]),
        (["--", "server", "http://x/"], ["server", "http://x/"]),
    ],
)
def test_the_command(jobs: list[Settings], words: list[str], command: list[str]) -> None:
    """After ``--`` everything is the command's, options too."""
    assert list(serving(jobs, *words).command) == command


def test_defaults_of_a_listener(jobs: list[Settings]) -> None:
    """127.0.0.1, a free port, the short environment, nobody else."""
    settings = serving(jobs, "a/server")
    assert (*settings.listen, settings.cwd, settings.name) == (ListenSpec("http", "127.0.0.1", 0), None, "server")
    assert (settings.listening.allowed_hosts, settings.listening.allowed_origins) == ([], [])
    assert (settings.secrets, settings.warnings) == ([], [])
    assert set(settings.env) <= {"HOME", "LOGNAME", "PATH", "SHELL", "TERM", "USER"}
    assert settings.limits == DEFAULT_LIMITS


def test_every_option_of_a_listener(jobs: list[Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each arrives where it belongs."""
    monkeypatch.setenv("SOMETHING", "else")
    settings = serving(
        jobs,
        "--host",
        "::1",
        "--port",
        "8080",
        "--allowed-host",
        "a.example",
        "--allowed-host",
        "b.example:1",
        "--allow-origin",
        "https://x",
        "https://y",
        "--allow-origin",
        "https://z",
        "-e",
        "A",
        "1",
        "--env",
        "MY_TOKEN",
        "canary",
        "--cwd",
        "/tmp",
        "--pass-environment",
        "--max-frame-bytes",
        "1M",
        "--max-sessions",
        "7",
        "--drain-timeout",
        "1.5",
        "server",
    )
    assert (*settings.listen, settings.cwd) == (ListenSpec("http", "::1", 8080), "/tmp")
    assert list(settings.listening.allowed_hosts) == ["a.example", "b.example:1"]
    assert list(settings.listening.allowed_origins) == ["https://x", "https://y", "https://z"]
    assert (settings.env["A"], settings.env["MY_TOKEN"], settings.env["SOMETHING"]) == ("1", "canary", "else")
    assert list(settings.secrets) == ["canary"]
    limits = settings.limits
    assert (limits.max_frame_bytes, limits.max_sessions, limits.drain) == (2**20, 7, 1.5)


def test_every_option_of_a_bridge(jobs: list[Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    """Headers in order, the later of two wins; values are secrets, with and without their scheme."""
    settings = bridging(
        jobs, "-H", "X-One", "1", "--headers", "Authorization", "Bearer canary", "--transport", "sse", "https://h/mcp"
    )
    assert settings.url == "https://h/mcp"
    assert settings.dialling.headers == {"X-One": "1", "Authorization": "Bearer canary"}
    assert settings.dialling.transport == "sse"
    assert set(settings.secrets) == {"Bearer canary", "canary"}


@pytest.mark.parametrize(
    ("word", "transport"),
    [("auto", "auto"), ("streamablehttp", "streamablehttp"), ("streamable-http", "streamablehttp")],
)
def test_transports(jobs: list[Settings], word: str, transport: str) -> None:
    """Streamable HTTP has two spellings in the field."""
    assert bridging(jobs, "--transport", word, "HTTPS://h/mcp").dialling.transport == transport


def test_the_access_token_replaces_any_authorization(jobs: list[Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    """API_ACCESS_TOKEN becomes the one Authorization header, whatever its case was on the command line."""
    monkeypatch.setenv("API_ACCESS_TOKEN", "canary")
    settings = bridging(jobs, "-H", "AUTHORIZATION", "Basic x", "-H", "A", "b", "http://h/")
    assert settings.dialling.headers == {"A": "b", "Authorization": "Bearer canary"}
    assert "canary" in settings.secrets


@pytest.mark.parametrize(
    ("text", "size"), [("1", 1), ("65536", 65536), ("512k", 2**19), ("64M", 2**26), ("2g", 2**31), ("1K", 1024)]
)
def test_sizes(jobs: list[Settings], text: str, size: int) -> None:
    """Bytes, or k, M, G of 1024."""
    assert serving(jobs, "--max-frame-bytes", text, "server").limits.max_frame_bytes == size


@pytest.mark.parametrize(
    ("words", "level"),
    [
        ([], logging.WARNING),
        (["--log-level", "info"], logging.INFO),
        (["--log-level", "ERROR"], logging.ERROR),
        (["--debug"], logging.DEBUG),
        (["--debug", "--log-level", "ERROR"], logging.DEBUG),
        (["--no-debug", "--log-level", "CRITICAL"], logging.CRITICAL),
    ],
)
def test_log_levels(jobs: list[Settings], words: list[str], level: int) -> None:
    """--debug wins over --log-level."""
    serving(jobs, *words, "server")
    assert logging.getLogger().level == level


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-H", "A", "b", "--transport", "sse", "server"], ["-H has no effect", "--transport has no effect"]),
        (["-e", "A", "b", "--cwd", "/", "http://h/"], ["-e has no effect", "--cwd has no effect"]),
        (
            ["--port", "80", "--pass-environment", "http://h/"],
            ["--pass-environment", "--port has no effect before a URL"],
        ),
        (["-H", "Accept", "text/plain", "http://h/"], ["-H Accept is set by the transport itself: ignored"]),
        (["-H", "A", "b", "http://h/"], []),
        (["-e", "A", "b", "server"], []),
    ],
)
def test_what_is_of_no_use_is_said_and_ignored(
    jobs: list[Settings], words: list[str], said: list[str], capfd: pytest.CaptureFixture[str]
) -> None:
    """A warning, not a refusal: configurations of the bridges that take such options in silence go on working."""
    assert cli.main(words) == 0
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == len(said)
    assert all("WARNING" in line and part in line for line, part in zip(lines, said, strict=True)), lines
    if words[1] == "Accept":
        assert isinstance(jobs[0], BridgeSettings) and jobs[0].dialling.headers == {}


def test_brackets_around_an_address_to_listen_on(jobs: list[Settings]) -> None:
    """As it stands in a URL."""
    assert serving(jobs, "--host", "[::1]", "server").listen[0].host == "::1"


def test_secrets_in_the_url_are_known(jobs: list[Settings]) -> None:
    """A password and the values of parameters that are named like secrets, as spelt and as meant; not the others."""
    settings = bridging(jobs, "https://me:pass%40word@h/mcp?api_key=canary&page=second&Sig=s%2Fign")
    assert set(settings.secrets) == {"pass@word", "pass%40word", "canary", "s/ign", "s%2Fign"}


@pytest.mark.parametrize("flag", ["--host", "--sse-host"])
def test_a_bind_beyond_loopback_starts_with_a_warning(jobs: list[Settings], flag: str) -> None:
    """As the documents of the bridges that we replace show it; it says what is open and how that ends."""
    settings = serving(jobs, flag, "0.0.0.0", "--allow-origin", "*", "--", "server")
    first, second = settings.warnings
    assert first.startswith(
        "--host 0.0.0.0 without authentication: everybody who can reach this machine can use 'server'"
    )
    assert "--host 127.0.0.1" in first and "--insecure-no-auth" in first
    assert second.startswith("--allow-origin '*'")


def test_a_bind_beyond_loopback_that_is_meant_does_not_warn(jobs: list[Settings]) -> None:
    """The flag says that it is known; loopback has nothing to be known of."""
    assert serving(jobs, "--host", "0.0.0.0", "--insecure-no-auth", "server").warnings == []
    del jobs[:]
    assert serving(jobs, "--host", "::1", "server").warnings == []


# -- mistakes ---------------------------------------------------------------------------------------------------------

MISTAKES: list[tuple[list[str], str]] = [
    ([], "no URL or command given; see mcp-relay --help"),
    (["--"], "no URL or command given"),
    (["--named-server", "a"], "expected 2 arguments, a name and a value, each a word of its own"),
    (["--named-server", "a", "x '"], "--named-server: 'a': the command cannot be read: No closing quotation"),
    (["--named-server", "a", ""], "--named-server: 'a': has no command; write two words"),
    (["--named-server", "..", "x"], "--named-server: '..': a server's name cannot be"),
    (["--named-server", "a", "x", "--named-server", "a", "y"], "--named-server: 'a' is there twice"),
    (["--named-server-config", "/no/such/file"], "/no/such/file"),
    (
        ["--listen", "tcp://127.0.0.1:0", "--named-server", "a", "x"],
        "--listen: only over HTTP can clients name a server",
    ),
    (["--allow-origin", "*", "server"], "'server' is not an origin such as https://app.example.com"),
    (["--allow-origin", "*", "server"], "if it is the command or the URL, put -- before it"),
    (["--allow-origin", "https://h"], "no URL or command given; --allow-origin takes every word up to the next option"),
    (["--allow-origin", "foo", "--", PYTHON], "--allow-origin: 'foo' is not an origin"),
    (["--allow-origin", "https://h/path", "--", PYTHON], "'https://h/path' is not an origin"),
    (["--allowed-host", "http://x", "--", PYTHON], "--allowed-host: 'http://x' is not a name or an address"),
    (["--allowed-host", "*", "--", PYTHON], "--allowed-host: '*' is not a name or an address"),
    (["--allowed-host", "", "--", PYTHON], "--allowed-host: '' is not a name or an address"),
    (
        ["--no-such-option", "server"],
        "unrecognized arguments: --no-such-option; if they are the command's own, put -- before it",
    ),
    (["--deb", "server"], "unrecognized arguments: --deb"),
    (
        ["--prot=80", "server"],
        "unrecognized arguments: --prot=… (did you mean --port?); if they are the command's own",
    ),
    (["server", "--named-sever", "a", "b"], "(did you mean --named-server?)"),
    (["--config", "a", "--config=b", "server"], "argument --config: is there twice; one file holds all options"),
    (["server", "-y"], "unrecognized arguments: -y"),
    (["--port"], "argument --port/--sse-port: expected one argument"),
    (["--port", "65536", "server"], "'65536' is not a port from 0 to 65535"),
    (["--port", "-1", "server"], "argument --port"),
    (["--port", "http", "server"], "'http' is not a port"),
    (["--port", "٣", "server"], "is not a port"),
    (["--max-frame-bytes", "0", "server"], "'0' is not a size such as 65536, 512k or 64M"),
    (["--max-frame-bytes", "1.5M", "server"], "is not a size"),
    (["--max-frame-bytes", "M", "server"], "'M' is not a size"),
    (["--max-frame-bytes", "", "server"], "'' is not a size"),
    (["--max-frame-bytes", "9" * 5000, "server"], "argument --max-frame-bytes"),
    (["--max-sessions", "0", "server"], "'0' is not a number above 0"),
    (["--max-sessions", "-3", "server"], "argument --max-sessions"),
    (["--drain-timeout", "x", "server"], "'x' is not a number of seconds"),
    (["--drain-timeout", "nan", "server"], "'nan' is not a number of seconds"),
    (["--drain-timeout", "inf", "server"], "'inf' is not a number of seconds"),
    (["--log-level", "loud", "server"], "argument --log-level: invalid choice: 'LOUD'"),
    (["--transport", "ws", "http://h/"], "argument --transport: invalid choice: 'ws'"),
    (["-H", "A", "http://h/"], "no URL or command given"),
    (["-H", "A B", "c", "http://h/"], "-H: 'A B' is not a header name; write two words: -H Name 'value'"),
    (["-H", "X: v", "http://h/"], "-H: 'X:' is not a header name; write two words: -H Name 'value'"),
    (["http://h/", "-H", "X: v"], "expected 2 arguments, a name and a value, each a word of its own"),
    (["-H", "Content-Length", "5", "http://h/"], "-H: 'Content-Length' belongs to the transport"),
    (["-H", "host", "x", "http://h/"], "-H: 'host' belongs to the transport"),
    (["-H", "Transfer-Encoding", "chunked", "http://h/"], "belongs to the transport"),
    (["-H", "MCP-SESSION-ID", "1", "http://h/"], "belongs to the transport"),
    (["-e", "", "v", "--", PYTHON], "-e: '' is not a variable's name; write two words: -e NAME 'value'"),
    (["-e", "A=1", "--", PYTHON], "expected 2 arguments, a name and a value, each a word of its own"),
    (["-e", "A=1", "server", PYTHON], "-e: 'A=' is not a variable's name; write two words: -e NAME 'value'"),
    (["-e", "A", "b\0c", PYTHON], "-e: 'A' is not a variable's name"),
    (["-H", "", "c", "http://h/"], "-H: '' is not a header name"),
    (["-H", "A", "b\r\nEvil: 1", "http://h/"], "-H: the value of 'A' has a line break in it"),
    (["http://h/", "more"], "nothing may follow the URL, but 'more' does"),
    (
        ["--listen", "http://0.0.0.0:0/mcp", "server"],
        "listen at 127.0.0.1 behind a proxy that asks for a login, or say --insecure-no-auth",
    ),
    (["--host", "", "server"], "--host: '' is not an address to listen on, such as 127.0.0.1 or ::1"),
    (["--host", "http://localhost", "server"], "--host: 'http://localhost' is not an address"),
    (["--host", "localhost:80", "server"], "--host: 'localhost:80' has a port in it, which belongs to --port"),
    (["--host", "[::1]:80", "server"], "--host: '[::1]:80' has a port in it"),
    (["no-such-program-at-all"], "command 'no-such-program-at-all' was not found"),
    (["npx -y foo"], "command 'npx -y foo' was not found or cannot be run; if it is 3 words, write it without quotes"),
    (
        ["ftp://user:pass@host/"],
        "ftp://… is neither a command nor an address of a kind that is known: http://, https://",
    ),
    (["--cwd", __file__, "--", PYTHON], f"working directory {__file__!r} is not a directory"),
    (["--cwd", "/no/such/dir", "--", PYTHON], "working directory '/no/such/dir' does not exist"),
    (["http://"], "'http://' is not a URL"),
    (["http://[::1/mcp"], "is not a URL"),
    (["http:///mcp?api_key=canary"], "'http:///mcp' is not a URL"),
    (["--host", "192.0.2.1", "--insecure-no-auth", "--", PYTHON], "--host must be an address of this machine"),
    (["--host", "x.invalid", "--insecure-no-auth", "--", PYTHON], "--host must be an address of this machine"),
    (["evil\x1b[31m\nname"], "evil\\x1b[31m"),
]


@pytest.mark.parametrize(("words", "message"), MISTAKES)
def test_mistakes_are_one_line_and_exit_code_2(
    words: list[str], message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """The line names what was seen and, if possible, what to do; no usage text, no traceback, nothing on stdout."""
    assert cli.main(words) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("mcp-relay: ")
    assert message in err
    assert len(err.splitlines()) == 1
    assert "Traceback" not in err


def test_a_token_with_a_line_break_is_refused_unseen(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It would be another header; the message does not show it."""
    monkeypatch.setenv("API_ACCESS_TOKEN", "canary\nX: y")
    assert cli.main(["http://h/"]) == 2
    assert capfd.readouterr().err == "mcp-relay: API_ACCESS_TOKEN has a line break in it\n"


@pytest.mark.parametrize(
    ("failure", "code", "said"),
    [
        (EndpointUnavailable("gone"), 1, "mcp-relay: gone\n"),
        (RelayError("x"), 1, "mcp-relay: x\n"),
        (KeyboardInterrupt(), 130, ""),
    ],
)
def test_failures_and_interrupts(
    failure: BaseException, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """1 with one line, 130 without a word."""

    async def fail(settings: Any, sink: StderrSink) -> int:
        raise failure

    monkeypatch.setattr(serve_module, "serve", fail)
    assert cli.main(["server"]) == code
    assert capfd.readouterr().err == said


# -- the program itself -----------------------------------------------------------------------------------------------


def test_standard_descriptors_that_are_closed() -> None:
    """As a service manager may start it: they become the null device, and no pipe of ours gets their numbers."""
    words = " ".join([PYTHON, "-m", "relay", "--debug", UNREACHABLE, "<&-", ">&-"])
    ended = subprocess.run(["sh", "-c", words], stderr=subprocess.PIPE, timeout=20, env=ENVIRONMENT, check=False)
    assert ended.returncode == 0, ended.stderr
    assert b"Traceback" not in ended.stderr


def test_version() -> None:
    """On stdout, and nothing else anywhere."""
    ended = run("--version")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, f"mcp-relay {relay.__version__}\n".encode(), b"")


@pytest.mark.parametrize("env", [{}, {"PYTHONIOENCODING": "ascii"}], ids=["utf-8", "ascii"])
def test_help(env: dict[str, str]) -> None:
    """Every option, examples, environment and exit codes, on any terminal."""
    ended = run("--help-all", env=env)
    text = ended.stdout.decode()
    assert (ended.returncode, ended.stderr) == (0, b"")
    for word in (
        "--host",
        "--port",
        "--transport",
        "--headers",
        "--env",
        "--cwd",
        "--pass-environment",
        "--allowed-host",
        "--allow-origin",
        "--insecure-no-auth",
        "--max-frame-bytes",
        "--max-sessions",
        "--drain-timeout",
        "--debug",
        "--log-level",
        "--version",
        "examples:",
        "API_ACCESS_TOKEN",
        "exit codes:",
        "mcpServers",
    ):
        assert word in text
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize("command", [[], ["install"], ["proxy"], ["load-balance"]], ids=" ".join)
def test_help_is_one_screen_of_true_words(command: list[str]) -> None:
    """Examples first, within 80 columns; each option in it exists, and each subcommand is in it."""
    text = run(*command, "--help", env={"COLUMNS": "80"}).stdout.decode()
    every = run(*command, "--help-all", env={"COLUMNS": "80"}).stdout.decode()
    lines = text.splitlines()
    assert len(lines) <= 34
    assert max(map(len, [*lines, *every.splitlines()])) <= 80
    assert lines.index("examples:") < lines.index("the usual options:")
    known = {*re.findall(r"--[\w-]+", every)}
    assert {*re.findall(r"--[\w-]+", text.partition("the usual options:")[2])} <= known
    if not command:
        assert all(re.search(rf"\b{word}\b", text) for word in (*cli._SUBCOMMANDS, *cli._WITHOUT_LOOP, "as"))


def test_help_is_bold_on_a_terminal_that_wants_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert coloured("usage: a\n\nexamples:\n  b:\n") == "\033[1musage:\033[0m a\n\n\033[1mexamples:\033[0m\n  b:\n"
    for name, value in (("NO_COLOR", "1"), ("TERM", "dumb")):
        with monkeypatch.context() as other:
            other.setenv(name, value)
            assert coloured("examples:\n") == "examples:\n"


@pytest.mark.parametrize(("words", "code"), [([], 2), (["--bad"], 2), (["no-such-program"], 2), (["http://"], 2)])
def test_mistakes_of_the_real_program(words: list[str], code: int) -> None:
    """Exactly one line on stderr, also from the interpreter's own end."""
    ended = run(*words)
    assert (ended.returncode, ended.stdout) == (code, b"")
    assert ended.stderr.count(b"\n") == 1


def test_the_loop_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    """MCP_RELAY_LOOP=asyncio, and without uvloop Python's own."""
    monkeypatch.setenv("MCP_RELAY_LOOP", "asyncio")
    assert loop_factory() is None
    monkeypatch.delenv("MCP_RELAY_LOOP")
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert loop_factory() is None
    monkeypatch.setenv("MCP_RELAY_LOOP", "uvloop")
    with pytest.raises(ConfigError, match="not installed"):
        loop_factory()


def test_a_loop_that_does_not_exist() -> None:
    """A mistake like any other."""
    ended = run("--", PYTHON, env={"MCP_RELAY_LOOP": "bogus"})
    assert (ended.returncode, ended.stdout) == (2, b"")
    assert ended.stderr == b"mcp-relay: MCP_RELAY_LOOP is 'bogus'; known are asyncio and uvloop\n"


def test_a_port_of_the_administrators(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """What to change is said beside what the system said."""

    async def fail(settings: Any, sink: StderrSink) -> int:
        raise ConfigError("cannot listen on 127.0.0.1:80: denied") from PermissionError(13, "denied")

    monkeypatch.setattr(serve_module, "serve", fail)
    assert cli.main(["server"]) == 2
    assert capfd.readouterr().err == "mcp-relay: cannot listen on 127.0.0.1:80: denied; choose a --port above 1023\n"


CANARY = "canary-5f3a91-do-not-show"
SERVERS_CANARY = "server-77c0de-do-not-show"  # what the bridge is not told it cannot know

LEAKY_SERVER = f"""
import os, sys
sys.stderr.write("started with " + os.environ["MY_SECRET"] + chr(10)); sys.stderr.flush()
print("noise with " + os.environ["MY_SECRET"], flush=True)
for line in sys.stdin:
    print('{{"jsonrpc":"2.0","id":1,"result":{{"protocolVersion":"2025-11-25","capabilities":{{}},"apiKey":"{CANARY}-2",'
          '"text":"' + "x" * 1930 + os.environ["MY_SECRET"] + '"}}}}', flush=True)
"""


def test_secrets_are_never_logged_not_even_in_part() -> None:
    """At --debug, through both programs in a row: header, token, variable, noise, stderr, a frame cut in the middle."""
    serving = subprocess.Popen(
        [PYTHON, "-m", "relay", "--debug", "-e", "MY_SECRET", SERVERS_CANARY, "--", PYTHON, "-S", "-c", LEAKY_SERVER],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with serving:
        assert serving.stderr is not None
        log = ""
        while "listening on " not in log:
            log += serving.stderr.readline()
        url = log.rpartition("listening on ")[2].split()[0]
        request = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "initialize",
            "params": {
                "protocolVersion": "2025-11-25",
                "capabilities": {},
                "clientInfo": {"name": "t", "version": "1"},
                "token": f"{CANARY}-3",
                "_meta": {"authorization": f"{CANARY}-4"},
            },
        }
        bridge = run(
            "--debug",
            "-H",
            "X-Key",
            f"{CANARY}-5",
            url,
            env={"API_ACCESS_TOKEN": f"{CANARY}-6"},
            stdin=json.dumps(request).encode() + b"\n",
        )
        serving.send_signal(signal.SIGTERM)
        out, rest = serving.communicate(timeout=20)
        assert (serving.returncode, out) == (0, "")
    assert bridge.returncode == 0
    assert SERVERS_CANARY in bridge.stdout.decode(), "payloads pass untouched"
    assert f"{CANARY}-2" in bridge.stdout.decode()
    everything = log + rest + bridge.stderr.decode()
    assert everything.count("initialize") >= 2, "frames are shown"
    assert "started with ***" in everything
    assert "noise with ***" in everything
    assert CANARY[:8] not in everything
    assert SERVERS_CANARY[:8] not in log + rest


def asked(*ids: int) -> bytes:
    """Make a request for each id."""
    return b"".join(b'{"jsonrpc":"2.0","id":%d,"method":"initialize","params":{}}\n' % one for one in ids)


@pytest.mark.parametrize("transport", ["auto", "sse", "streamablehttp"])
def test_a_server_that_is_never_reached(transport: str) -> None:
    """Each request gets its error on stdout, the cause is said once on stderr, and the exit code is 1."""
    ended = run("--transport", transport, UNREACHABLE, stdin=asked(7, 8, 9))
    answers = [json.loads(line) for line in ended.stdout.splitlines()]
    assert sorted(one["id"] for one in answers) == [7, 8, 9]
    assert {(one["error"]["code"], one["error"]["data"]["delivered"]) for one in answers} == {(-32006, "no")}
    assert ended.stderr.decode().split(" ", 2)[2] == f"WARNING {UNREACHABLE}: cannot connect: Connection refused\n"
    assert ended.returncode == 1


def test_a_server_that_is_never_asked() -> None:
    """Whether it could be reached is not known: an orderly end, and nothing to say."""
    ended = run(UNREACHABLE)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")
