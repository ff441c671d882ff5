"""The options that say who may use a listener: their values, their mistakes, and the program that wants a login."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from relay import cli
from relay.app.settings import ServeSettings
from relay.auth.inbound.claims import Expected
from relay.auth.inbound.introspection import IntrospectionLogin
from relay.auth.inbound.jwt import JwtLogin
from relay.auth.inbound.login import InboundLogin
from tests import warm_start
from tests.app.test_other_words import Jobs, jobs  # noqa: F401 # a fixture
from tests.e2e.oracle import Client, initialize, request, run_relay

ALICE, BOB = "alice-" + "a" * 40, "bob-" + "b" * 40


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CLIENT_TOKEN", ALICE)
    yield


def login_of(settings: ServeSettings) -> InboundLogin:
    assert settings.listening.login is not None
    return settings.listening.login


def test_i_07_tokens_are_options(jobs: Jobs) -> None:  # noqa: F811
    """Of listeners before a command, an address, or servers with names."""
    settings = jobs.serving("--accept-token", "alice=env:CLIENT_TOKEN", "server")
    assert login_of(settings).tokens.name_of(ALICE) == "alice"
    settings = jobs.serving("--accept-token", "env:CLIENT_TOKEN", "--listen", "http://127.0.0.1:0/mcp", "http://h/mcp")
    assert login_of(settings).tokens.name_of(ALICE) == "CLIENT_TOKEN"
    settings = jobs.serving("--accept-token", "env:CLIENT_TOKEN", "--named-server", "a", "x")
    assert login_of(settings).tokens.name_of(ALICE) == "CLIENT_TOKEN"


@pytest.mark.parametrize("flag", ["--host", "--listen"])
def test_i_02_with_a_login_beyond_loopback(jobs: Jobs, flag: str) -> None:  # noqa: F811
    """Neither a warning nor --insecure-no-auth is needed."""
    where = "0.0.0.0" if flag == "--host" else "http://0.0.0.0:0/mcp"
    assert jobs.serving("--accept-token", "env:CLIENT_TOKEN", flag, where, "server").warnings == []


@pytest.mark.parametrize("listen", ["http://127.0.0.1:0/mcp", "tcp://127.0.0.1:0", "unix:/tmp/x"])
def test_i_18_a_login_that_all_on_this_machine_can_use(jobs: Jobs, listen: str) -> None:  # noqa: F811
    """It is said at each start, unless clients log in, only the operator can connect, or it is meant."""
    words = ["-H", "Authorization", "Bearer x", "--listen", listen, "https://h/mcp"]
    warned = [] if listen.startswith("unix:") else ["everybody on this machine can use https://h/mcp with the login"]
    for more in ([], ["--insecure-no-auth"], ["--accept-token", "env:CLIENT_TOKEN"]):
        if more[:1] == ["--accept-token"] and not listen.startswith("http"):
            continue
        said = jobs.serving(*more, *words).warnings
        assert len(said) == (0 if more else len(warned))
        assert all(line.startswith(start) for line, start in zip(said, warned, strict=False))
    assert jobs.serving("--listen", listen, "https://h/mcp").warnings == []


MISTAKES = {
    "tcp beyond loopback": (
        ["--listen", "http://0.0.0.0:0/mcp", "--listen", "tcp://0.0.0.0:0"],
        "--listen at 0.0.0.0 would let everybody",
    ),
    "no HTTP": (["--listen", "tcp://127.0.0.1:0"], "only HTTP listeners ask for a login"),
    "a token": (["--accept-token", ALICE], "write [NAME=]env:VARIABLE or [NAME=]file:PATH"),
    "no variable": (["--accept-token", "env:NOT_SET_AT_ALL"], "'NOT_SET_AT_ALL' is not set, or is empty"),
}

JWT = ["--auth", "jwt", "--issuer", "https://as.example"]
AUDIENCE = ["--audience", "https://mcp.example/mcp"]
ASKING = ["--auth", "introspection", "--issuer", "https://as.example", *AUDIENCE]
ASKS = ["--introspection-url", "https://as.example/i", "--introspection-client-id", "relay"]
MISTAKES |= {
    "no --auth": (["--issuer", "https://as.example"], "--issuer has no effect without --auth jwt"),
    "no audience": (JWT, "--auth jwt needs --audience (or --public-url), too"),
    "no issuer": (["--auth", "jwt"], "--auth jwt needs --issuer and --audience (or --public-url), too"),
    "nobody to ask": (
        ASKING,
        "needs --introspection-url and --introspection-client-id and --introspection-client-secret, too",
    ),
    "keys for nothing": (
        [*ASKING, *ASKS, "--introspection-client-secret", "env:CLIENT_TOKEN", "--jwks-url", "https://x/"],
        "--jwks-url has no effect with --auth introspection",
    ),
    "an issuer to whom all listen": (
        ["--auth", "jwt", "--issuer", "http://as.example", *AUDIENCE],
        "--issuer: 'http://as.example' would show tokens on their way",
    ),
    "an issuer that is none": (["--auth", "jwt", "--issuer", "as", *AUDIENCE], "--issuer: 'as' is not a URL"),
    "a name in the issuer": (
        ["--auth", "jwt", "--issuer", "https://a:canary@as.example", *AUDIENCE],
        "is not a URL of the form https://host/path",
    ),
    "no secret": (
        [*ASKING, *ASKS, "--introspection-client-secret", "env:NOT_SET_AT_ALL"],
        "--introspection-client-secret: the variable 'NOT_SET_AT_ALL' is not set, or is empty",
    ),
    "no public URL": (
        [*JWT, *AUDIENCE, "--host", "0.0.0.0"],
        "--auth at http://0.0.0.0:0 needs --public-url, by which clients learn where they get tokens",
    ),
    "a query": ([*JWT, "--public-url", "https://h/mcp?x"], "--public-url: 'https://h/mcp' has a query"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_one_line(mistake: str, capfd: pytest.CaptureFixture[str]) -> None:
    """And exit 2, without the token."""
    words, said = MISTAKES[mistake]
    assert cli.main(["--accept-token", "env:CLIENT_TOKEN", *words, "--", "server"]) == 2
    printed = capfd.readouterr().err
    assert printed.count("\n") == 1 and said in printed and ALICE not in printed and "canary" not in printed


@pytest.mark.parametrize("url", ["https://mcp.example/t", "https://mcp.example/t/", "https://mcp.example/t/mcp"])
def test_i_08_an_authorization_server_is_options(jobs: Jobs, url: str) -> None:  # noqa: F811
    """The public URL is that of the relay or of its server, says for what tokens are, and may stand in Host."""
    settings = jobs.serving(*JWT, "--public-url", url, "--required-scope", "a b", "--host", "0.0.0.0", "server")
    login = login_of(settings)
    assert isinstance(login.issued, JwtLogin) and settings.warnings == []
    assert login.issued._expected == Expected("https://as.example", "https://mcp.example/t/mcp", ("a", "b"))
    assert login.metadata is not None and login.metadata.public_url == "https://mcp.example/t"
    assert list(settings.listening.allowed_hosts) == ["mcp.example"]


def test_i_08_introspection_is_options(jobs: Jobs) -> None:  # noqa: F811
    """Beside static tokens; no child gets the secret."""
    words = [*ASKING, *ASKS, "--introspection-client-secret", "env:CLIENT_TOKEN", "--pass-environment"]
    settings = jobs.serving("--accept-token", "bob=env:CLIENT_TOKEN", *words, "server")
    login = login_of(settings)
    assert isinstance(login.issued, IntrospectionLogin) and login.issued._client.client_secret == ALICE
    assert login.tokens.name_of(ALICE) == "bob" and "CLIENT_TOKEN" not in settings.env


def test_what_a_token_does_not_guard_is_said(
    jobs: Jobs,  # noqa: F811
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Other transports beside HTTP; and a token that could be guessed."""
    monkeypatch.setenv("CLIENT_TOKEN", "guessable")
    jobs.serving(
        *("--accept-token", "bob=env:CLIENT_TOKEN", "--listen", "tcp://127.0.0.1:0"),
        *("--listen", "http://127.0.0.1:0/mcp", "server"),
    )
    said = capfd.readouterr().err
    assert "a client of --listen tcp://127.0.0.1:0 needs no token" in said
    assert "the token of bob is short" in said


def test_x_09_no_child_gets_the_token(jobs: Jobs) -> None:  # noqa: F811
    """Not even with the whole environment, unless it is passed by name."""
    words = ["--accept-token", "alice=env:CLIENT_TOKEN", "--pass-environment"]
    settings = jobs.serving(*words, "server")
    assert "CLIENT_TOKEN" not in settings.env and "PATH" in settings.env and settings.withheld == ["CLIENT_TOKEN"]
    assert jobs.serving(*words, "--pass-variable", "CLIENT_TOKEN", "server").env["CLIENT_TOKEN"] == ALICE


@pytest.mark.only_loop("asyncio")
async def test_i_07_sighup_reads_the_tokens_again(tmp_path: Path) -> None:
    """In the program: a new token is good, one that is gone is not, and what cannot be read changes nothing."""
    file = tmp_path / "tokens"
    file.write_text(f"alice {ALICE}\n")
    with run_relay("--accept-token", f"file:{file}", "--host", "0.0.0.0", "--log-level", "DEBUG") as relay:
        assert not any("WARNING" in line for line in relay.said), relay.said

        async def hang_up(said: str) -> None:
            os.kill(relay.pid, signal.SIGHUP)
            async with asyncio.timeout(15):
                while not any(said in line for line in relay.said):
                    await asyncio.sleep(0.01)

        async with Client(relay.base) as client:

            async def status_with(token: str) -> int:
                response = await client.post(request(1, "echo"), authorization=f"Bearer {token}")
                await client.finished(response)
                return response.status

            response = await client.post(initialize(), authorization=f"Bearer {ALICE}")
            client.session = response.headers["mcp-session-id"]
            await client.finished(response)
            assert [await status_with(token) for token in (ALICE, ALICE, BOB)] == [200, 200, 401]
            file.write_text(f"alice {BOB}\n")
            await hang_up("read the tokens of clients again: 1")
            assert [await status_with(token) for token in (ALICE, BOB)] == [401, 200]
            file.unlink()
            await hang_up("cannot be read: No such file or directory; the tokens stay as they are")
            assert await status_with(BOB) == 200
    assert not any(token in line for token in (ALICE, BOB) for line in relay.said)


def test_nothing_is_imported_without_a_login() -> None:
    """A relay that wants no login loads none of it."""
    code = "import sys, relay.endpoints.http.server.listener; print([m for m in sys.modules if '.inbound' in m])"
    done = warm_start.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]"
