"""The login options: their values, their mistakes, and the program with servers that require a login."""

from __future__ import annotations

import asyncio
import json
import os
import sys

import pytest

from relay import cli
from relay.app.settings import BridgeSettings, ServeSettings
from relay.auth.outbound.logins import ClientCredentials, DigestLogin, Login, basic_authorization
from relay.auth.outbound.tries import ServerLogin
from relay.endpoints.http.client.login import ClientCredentialsLogin, HttpDigest
from tests import warm_start
from tests.app.test_other_words import Jobs, as_it_was, jobs  # noqa: F401 # fixtures
from tests.e2e.conversation import INITIALIZE, INITIALIZED
from tests.e2e.oracle import Client, request
from tests.endpoints.http.login_house import CLIENT, PASSWORD, SECRET, USER, Bearer, Digest, Gate, basic, house

PROGRAM = [sys.executable, "-m", "relay"]
URL = "https://h/mcp"
USER_WORDS = ["--username", USER, "--password", PASSWORD]
CLIENT_WORDS = ["--client-id", "me", "--client-secret", "canary", "--token-url", "https://as/token"]


def credentials_of(settings: BridgeSettings | ServeSettings) -> Login:
    """Return what the relay logs in with."""
    login = settings.dialling.login
    if isinstance(login, HttpDigest):
        return login.made
    assert isinstance(login, ServerLogin) and isinstance(login.credentials, ClientCredentialsLogin)
    return login.credentials.made


# -- options ----------------------------------------------------------------------------------------------------------


def test_basic_is_a_header(jobs: Jobs) -> None:  # noqa: F811
    """The only Authorization there is; it and the password are secrets."""
    settings = jobs.bridging("-H", "X-One", "1", "-H", "authorization", "Bearer x", *USER_WORDS, URL)
    header = basic_authorization(USER, PASSWORD)
    assert settings.dialling.headers == {"X-One": "1", "Authorization": header}
    assert settings.dialling.logins_for(URL) == (None, None)
    assert {PASSWORD, header, header.removeprefix("Basic ")} <= set(settings.secrets)


def test_digest_is_a_login(jobs: Jobs) -> None:  # noqa: F811
    """Its password is a secret."""
    settings = jobs.bridging(*USER_WORDS, "--digest", URL)
    assert (settings.dialling.headers, credentials_of(settings)) == ({}, DigestLogin(USER, PASSWORD))
    assert PASSWORD in settings.secrets


def test_client_credentials_are_a_login(jobs: Jobs) -> None:  # noqa: F811
    """Also of what is offered to others."""
    login = ClientCredentials("me", "canary", "https://as/token")
    assert credentials_of(jobs.bridging(*CLIENT_WORDS, URL)) == login
    settings = jobs.serving(*CLIENT_WORDS, "--listen", "http://127.0.0.1:0/mcp", URL)
    assert (credentials_of(settings), "canary" in settings.secrets) == (login, True)
    assert credentials_of(jobs.bridging(*CLIENT_WORDS, "wss://h/mcp")) == login


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            [*USER_WORDS, "-H", "Authorization", "x", URL],
            ["API_ACCESS_TOKEN or -H Authorization is not used: --username"],
        ),
        ([*CLIENT_WORDS, *USER_WORDS, URL], ["--username is not used: --client-id is"]),
        ([*USER_WORDS, URL], []),
        (
            [*USER_WORDS, "--digest", "server"],
            [f"{flag} has no effect" for flag in ("--username", "--password", "--digest")],
        ),
        ([*CLIENT_WORDS[:2], *CLIENT_WORDS[2:], "server"], [f"{flag} has no effect" for flag in CLIENT_WORDS[::2]]),
    ],
)
def test_a_login_that_is_not_used_is_said(
    jobs: Jobs,  # noqa: F811
    capfd: pytest.CaptureFixture[str],
    words: list[str],
    said: list[str],
) -> None:
    """A warning each, as for any option that is in vain."""
    assert cli.main(words) == 0
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) == len(said), lines
    assert all("WARNING" in line and part in line for line, part in zip(lines, said, strict=True)), lines


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--username", "me", URL], "--username has no effect without --password"),
        (["--password", "canary", URL], "--password has no effect without --username"),
        (["--username", "me", "--password", "", URL], "--username and --password are empty"),
        (["--username", "", "--password", "", URL], "--username and --password are empty"),
        (["--digest", URL], "--digest has no effect without --username and --password"),
        (["--username", "a:b", "--password", "canary", URL], "--username: a colon cannot be part of it"),
        (
            ["--client-secret", "canary", "--token-url", "https://as/", URL],
            "a client secret or an assertion key has no effect without --client-id",
        ),
        (
            ["--client-id", "me", "--client-secret", "canary", URL],
            "a client secret needs --oauth-issuer or --token-url",
        ),
        (["--auth-url", "https://as/authorize", URL], "--auth-url and --token-url work only together"),
        (["--client-credentials", URL], "client credentials need --client-id and --client-secret or"),
        (["--client-id", "me", "--client-secret", "env:NO_SUCH_ONE", URL], "the variable NO_SUCH_ONE is not set"),
        (["--client-assertion-key", "/no/such/key", URL], "--client-assertion-key: '/no/such/key' cannot be read"),
        (["--client-metadata", "[]", URL], "--client-metadata: expected a JSON object, or file:PATH"),
        (["--authorize-param", "state=x", URL], "--authorize-param: state is the relay's own"),
        ([*CLIENT_WORDS[:-1], "http://as/token", URL], "--token-url: 'http://as/token' would show the client secret"),
        (["test", "--username", "me", URL], "--username has no effect without --password"),
    ],
)
def test_mistakes(words: list[str], said: str, capfd: pytest.CaptureFixture[str]) -> None:
    """One line that names the option that is missing or wrong, and no secret."""
    assert cli.main(words) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert said in err and "canary" not in err
    assert err.count("\n") == 1


def test_a_password_may_come_from_a_variable(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: F811
    """As every option may; there it is in no process list."""
    monkeypatch.setenv("MCP_RELAY_PASSWORD", PASSWORD)
    assert credentials_of(jobs.bridging("--username", USER, "--digest", URL)) == DigestLogin(USER, PASSWORD)


# -- the program ------------------------------------------------------------------------------------------------------

WAYS: dict[str, tuple[Gate, list[str]]] = {
    "basic": (basic, USER_WORDS),
    "digest": (Digest("SHA-256"), [*USER_WORDS, "--digest"]),
    "client": (Bearer(), ["--client-id", CLIENT, "--client-secret", SECRET, "--token-url"]),
}


def request_arguments(gate: Gate, words: list[str], base: str) -> list[str]:
    """Return the options for a gate; the token endpoint is the server's own."""
    return [*words, f"{base}/token"] if isinstance(gate, Bearer) else words


@pytest.mark.only_loop("asyncio")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("where", ["http:/mcp", "http:/sse", "ws:/ws"])
async def test_the_program_logs_in(way: str, where: str) -> None:
    """Own stdio to a server: its answers come, and not even with --debug does anything show a secret."""
    gate, words = WAYS[way]
    lines = [INITIALIZE | {"id": 0}, INITIALIZED, {"jsonrpc": "2.0", "id": 1, "method": "echo", "params": {"a": 1}}]
    async with house(gate) as there:
        scheme, _, path = where.partition(":")
        url = f"{scheme}://127.0.0.1:{there.port}{path}"
        argv = [*PROGRAM, "--debug", *request_arguments(gate, words, there.base), url]
        environment = {"PATH": os.environ["PATH"]}
        environment |= {name: value for name, value in os.environ.items() if name.startswith("COVERAGE_")}
        done = await asyncio.to_thread(
            warm_start.run,
            argv,
            input="".join(json.dumps(line) + "\n" for line in lines),
            capture_output=True,
            text=True,
            timeout=30,
            env=environment,
        )
        assert done.returncode == 0, done.stderr
        answers = {one["id"]: one["result"] for one in map(json.loads, done.stdout.splitlines())}
        assert answers[1] == {"a": 1} and set(answers) == {0, 1}
        assert there.executed == [0, 1]
        assert "canary" not in done.stderr.replace("canary/", ""), done.stderr
        assert '"method": "echo"' in done.stderr


@pytest.mark.only_loop("asyncio")
@pytest.mark.parametrize("way", WAYS)
async def test_the_program_logs_in_for_others(way: str) -> None:
    """HTTP to HTTP: as the relay, whoever its client says it is."""
    gate, words = WAYS[way]
    async with house(gate) as there:
        argv = [
            *PROGRAM,
            *request_arguments(gate, words, there.base),
            "--insecure-no-auth",
            "--listen",
            "http://127.0.0.1:0/mcp",
            f"{there.base}/mcp",
        ]
        near = await warm_start.Process.start(*argv, stderr=asyncio.subprocess.PIPE)
        assert near.stderr is not None, "a pipe"
        try:
            base = (await near.stderr.readline()).decode().split()[3].removesuffix("/mcp")
            client = Client(base)
            answer = await client.post(request(1, "echo", a=1), authorization="Bearer canary-of-the-client")
            assert json.loads(await answer.body())["result"] == {"a": 1}
            assert not any("of-the-client" in str(one.headers) for one in there.came)
            client.close()
        finally:
            near.terminate()
            await near.wait()


@pytest.mark.only_loop("asyncio")
@pytest.mark.parametrize("way", WAYS)
async def test_mcp_relay_test_logs_in(way: str) -> None:
    """With it the server is well; without it the report says that it wants a token."""
    gate, words = WAYS[way]
    async with house(gate) as there:
        argv = [*PROGRAM, "test", "--json", f"{there.base}/mcp"]
        logged_in = await warm_start.Process.start(
            *argv, *request_arguments(gate, words, there.base), stdout=asyncio.subprocess.PIPE
        )
        report = json.loads((await logged_in.communicate())[0])
        assert (report["ok"], report["transport"], report["server"]["name"]) == (True, "Streamable HTTP", "h"), report
        refused = await warm_start.Process.start(*argv, stdout=asyncio.subprocess.PIPE, stderr=-1)
        out, err = await refused.communicate()
        assert refused.returncode == 1 and b"the server requires a token" in err, err
