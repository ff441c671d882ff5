"""The options of ``mcp-relay proxy`` and ``load-balance``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import pytest

from relay.app.commands import proxy as proxy_commands
from relay.app.commands.proxy import load_balance, proxy
from relay.app.log.stderr import StderrSink
from relay.app.options.connect_args import parse_target
from relay.app.run import bridge
from relay.app.settings import ServeSettings
from relay.cli import main
from relay.errors import ConfigError

Command = Callable[[Sequence[str], StderrSink], Coroutine[Any, Any, int]]


@pytest.fixture
def settings_of(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ServeSettings]:
    """Read words; return what they mean instead of doing it."""
    found: list[ServeSettings] = []

    async def nothing() -> int:
        return 0

    def own_stdio(settings: ServeSettings, _: StderrSink) -> Coroutine[Any, Any, int]:
        found.append(settings)
        return nothing()

    monkeypatch.setattr(bridge, "bridge_own_servers", own_stdio)
    monkeypatch.setattr(proxy_commands, "begin_log", lambda *_: None)
    monkeypatch.delenv("API_ACCESS_TOKEN", raising=False)

    def read(command: Command, *words: str) -> ServeSettings:
        asyncio.run(command(words, StderrSink()))
        return found.pop()

    return read


@pytest.mark.parametrize(
    ("text", "transport", "meant"),
    [
        ("https://h/mcp", None, "https://h/mcp"),
        ("ws://h/mcp", None, "ws://h/mcp"),
        ("unix:/run/s", None, "unix:/run/s"),
        ("https://h/mcp", "http", "https://h/mcp"),
        ("h:80/mcp", "http", "http://h:80/mcp"),
        ("h:9090", None, "tcp://h:9090"),
        ("[::1]:9090", None, "tcp://[::1]:9090"),
        ("9090", None, "tcp://127.0.0.1:9090"),
        ("tcp://h:1", "tcp", "tcp://h:1"),
        ("http://h/mcp", "tcp", "tcp://h:80"),
        ("http://h:9090/mcp", "tcp", "tcp://h:9090"),
        ("npx -y 'a b'", None, ["npx", "-y", "a b"]),
        ("9090", "stdio", ["9090"]),
    ],
)
def test_a_server(text: str, transport: str | None, meant: object) -> None:
    """An address, HOST:PORT, a port, or a command."""
    assert parse_target(text, "--endpoint", transport) == meant


@pytest.mark.parametrize(
    ("text", "transport", "said"),
    [
        ("http://h", "stdio", "is an address, not a command"),
        ("a 'b", None, "is not a command"),
        ("''x y", "tcp", "is not HOST:PORT"),
        ("  ", "stdio", "no server is named"),
    ],
)
def test_what_is_no_server(text: str, transport: str | None, said: str) -> None:
    """One line that says what to write."""
    with pytest.raises(ConfigError, match=said):
        parse_target(text, "--endpoint", transport)


def test_the_words_of_mcp_connect(settings_of: Callable[..., ServeSettings]) -> None:
    """Each means what it does there; a bare transport among the fallbacks is the endpoint by that transport."""
    found = settings_of(
        proxy, "--endpoint", "http://h:1/mcp", "--fallbacks", "tcp, https://i/mcp", "--timeout", "5",
        "--retry-attempts", "2", "--retry-delay", "250", "--headers", "X-A: 1,X-B:2", "--auth-token", "secret",
        "--api-key", "unused", "--user-agent", "me/1",
    )  # fmt: skip
    assert found.pool is not None
    assert found.pool.targets == ["http://h:1/mcp", "tcp://h:1", "https://i/mcp"]
    assert (found.pool.strategy, found.pool.retry.timeout) == ("in-order", 5)
    assert (found.pool.retry.attempts, found.pool.retry.delay) == (2, 0.25)
    assert found.dialling.headers == {"X-A": "1", "X-B": "2", "User-Agent": "me/1", "Authorization": "Bearer secret"}
    assert "secret" in found.secrets


def test_a_program_that_is_missing_is_one_of_several(
    settings_of: Callable[..., ServeSettings], caplog: pytest.LogCaptureFixture
) -> None:
    """It is warned of by its option, and stays among the servers: another may be there."""
    found = settings_of(proxy, "--endpoint", "1", "--fallbacks", "/no/such/program,2")
    assert found.pool is not None
    assert found.pool.targets[1] == ["/no/such/program"]
    (warning,) = caplog.messages
    assert warning.startswith("--fallbacks: command '/no/such/program' was not found")


def test_balancing(settings_of: Callable[..., ServeSettings]) -> None:
    """Several flags are one list; without a token, the key; no timeout is one that never comes."""
    found = settings_of(
        load_balance, "--endpoints", "1,2", "--endpoints", "3", "--transport", "TCP", "--api-key", "the key",
        "--timeout", "0", "--strategy", "least-in-flight",
    )  # fmt: skip
    assert found.pool is not None
    assert found.pool.targets == [f"tcp://127.0.0.1:{port}" for port in (1, 2, 3)]
    assert (found.pool.strategy, found.pool.retry.timeout) == ("least-in-flight", None)
    assert found.dialling.headers == {"X-API-Key": "the key"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["proxy"], "--endpoint"),
        (["load-balance", "--endpoints", ","], "no server is named"),
        (["load-balance", "--endpoints", "1", "--transport", "pigeon"], "http, stdio, tcp"),
        (["load-balance", "--endpoints", "1", "--headers", "nonsense"], "Name:value"),
        (["load-balance", "--endpoints", "1", "--headers", "a b: c"], "not a header name"),
        (["load-balance", "--endpoints", "stdio:"], "cannot be one of several"),
        (["load-balance", "--endpoints", "1", "--listen", "http://0.0.0.0:0/mcp"], "--insecure-no-auth"),
        (["load-balance", "--endpoints", "1", "--allow-origin", "x"], "is not an origin"),
        (["load-balance", "--endpoints", "1", "--allowed-host", "a/b"], "--allowed-host"),
        (["proxy", "--endpoint", "no-such-program"], "was not found"),
        (["proxy", "--endpoint", "1", "--fallbacks", "cat", "--cwd", "/no/such"], "working directory '/no/such'"),
        (["proxy", "--endpoint", "ftp://x/y"], "--endpoint: ftp://… is neither a command nor an address of a kind"),
        (["proxy", "--endpoint", "1", "--listen", "http://127.0.0.1:0/x"], "the path /x is not /mcp; leave it out\n"),
    ],
)
def test_mistakes(words: list[str], said: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Exit code 2, and a line that says what to write instead."""
    assert main(words) == 2
    assert said in capfd.readouterr().err


@pytest.mark.parametrize(("words", "drain"), [([], 20), (["--drain-timeout", "1.5"], 1.5)])
def test_how_long_the_end_waits_for_answers(
    settings_of: Callable[..., ServeSettings], words: list[str], drain: float
) -> None:
    """As in the native command line."""
    assert settings_of(proxy, "--endpoint", "9090", *words).limits.drain == drain
    assert settings_of(load_balance, "--endpoints", "9090,9091", *words).limits.drain == drain
