"""The relay reads every editor's file as it is, and names each mistake with file, line, key and reason."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from relay.app.config.entries import segment_of
from relay.app.config.servers_file import ServersFile, read_servers
from relay.app.named_server import NamedServer
from relay.errors import ConfigError
from tests.app.config import files
from tests.app.config.servers import usable


def read(tmp_path: Path, text: str, name: str = "f.json", **environment: str) -> ServersFile:
    """Read a text as a file."""
    file = tmp_path / name
    file.write_text(text, encoding="utf-8")
    return read_servers(str(file), environment=environment)


def one(tmp_path: Path, entry: str, **environment: str) -> NamedServer:
    """Read one server."""
    (server,) = read(tmp_path, f'{{"mcpServers": {{"x": {entry}}}}}', **environment).servers.values()
    return server


def warnings_of(found: ServersFile, tmp_path: Path) -> list[str]:
    return [warning.removeprefix(f"{tmp_path}{os.sep}") for warning in found.warnings]


# -- the editors ------------------------------------------------------------------------------------------------------


def test_claude_desktop(tmp_path: Path) -> None:
    """Commands, arguments and variables; the token in a variable is known as a secret."""
    found = read(tmp_path, files.CLAUDE_DESKTOP)
    assert list(found.servers) == ["filesystem", "github"]
    assert found.servers["filesystem"].command == [
        "npx", "-y", "@modelcontextprotocol/server-filesystem", "/home/me/Desktop",
    ]  # fmt: skip
    github = found.servers["github"]
    assert github.env == {"GITHUB_PERSONAL_ACCESS_TOKEN": "ghp_0123456789"}
    assert github.secrets == ["ghp_0123456789"]
    assert github.where == f"{tmp_path}/f.json, line 8: mcpServers.github"
    assert found.warnings == []
    assert usable(found) == found.servers


def test_cursor(tmp_path: Path) -> None:
    """``${env:VAR}`` and ``${userHome}``; a header's value is a secret, with and without its scheme."""
    found = read(tmp_path, files.CURSOR, MY_KEY="k-123", MY_TOKEN="t-456")
    local, remote = found.servers.values()
    assert local.command == ["python", os.path.expanduser("~/server.py")]
    assert (local.env, local.secrets) == ({"API_KEY": "k-123"}, ["k-123"])
    assert (remote.url, remote.transport) == ("https://api.example.com/mcp", "auto")
    assert remote.headers == {"Authorization": "Bearer t-456"}
    assert set(remote.secrets) == {"t-456", "Bearer t-456"}
    assert found.warnings == []


def test_a_variable_that_is_not_set(tmp_path: Path) -> None:
    """That server cannot run, and says why; the others are not affected."""
    found = read(tmp_path, files.CURSOR, MY_KEY="k-123")
    assert list(usable(found)) == ["local"]
    problem = "${MY_TOKEN} is not set; set MY_TOKEN where the relay is started, or write ${MY_TOKEN:-a default}"
    assert found.servers["remote"].problem == problem
    assert warnings_of(found, tmp_path) == [f"f.json, line 9: mcpServers.remote: this server cannot run: {problem}"]


def test_vs_code(tmp_path: Path) -> None:
    """Comments, trailing commas, numbers as variables; ``${input:…}`` is named as what cannot be."""
    found = read(tmp_path, files.VS_CODE)
    assert found.servers["memory"].env == {"COUNT": "3"}
    assert found.servers["io.github.github/github-mcp-server"].url == "https://api.githubcopilot.com/mcp/"
    assert found.servers["old"].transport == "sse"
    assert list(usable(found)) == ["memory", "io.github.github/github-mcp-server", "old"]
    (warning,) = warnings_of(found, tmp_path)
    assert warning == (
        "f.json, line 14: servers.perplexity: this server cannot run: ${input:key} is not supported: "
        "nobody can be asked here; write ${VAR} and set that variable"
    )


def test_vs_code_settings(tmp_path: Path) -> None:
    """``mcp.servers`` in the editor's own settings, whose other parts are of no concern."""
    found = read(tmp_path, files.VS_CODE_SETTINGS)
    assert found.servers["time"].command == ["uvx", "mcp-server-time"]
    assert found.warnings == []


def test_zed(tmp_path: Path) -> None:
    """Both forms of a command; an extension's server is left out, with the reason."""
    found = read(tmp_path, files.ZED)
    nested, flat, far, extension = found.servers.values()
    assert (nested.command, nested.env) == (["node", "server.js", "--stdio"], {"DEBUG": "1"})
    assert (flat.command, flat.is_enabled) == (["uvx", "mcp-server-git"], False)
    assert (far.url, far.headers) == ("https://mcp.example.com/mcp", {"Authorization": "Bearer zed-token"})
    assert (
        extension.problem
        == "it belongs to an extension of Zed, which only Zed can start; give it a command, or leave it out"
    )
    assert list(usable(found)) == ["nested", "far"]
    assert len(found.warnings) == 1


def test_windsurf(tmp_path: Path) -> None:
    """``serverUrl``; a default; what the editor filters and the relay does not is said."""
    found = read(tmp_path, files.WINDSURF)
    assert found.servers["figma"].url == "https://figma.example.com/mcp"
    assert found.servers["figma"].headers == {"API_KEY": "Bearer none"}
    assert list(usable(found)) == ["figma"]
    assert warnings_of(found, tmp_path) == [
        "f.json, line 6: mcpServers.figma.disabledTools: not supported: all of the server's tools are offered"
    ]


def test_tbxark(tmp_path: Path) -> None:
    """``transportType`` and ``options``; each option that is not supported is named."""
    found = read(tmp_path, files.TBXARK)
    assert list(usable(found)) == ["github", "amap", "stream"]
    assert (found.servers["stream"].transport, found.servers["stream"].timeout) == ("streamablehttp", 10)
    assert found.servers["amap"].secrets == ["amap-secret-key"]
    assert warnings_of(found, tmp_path) == [
        (
            "f.json, line 2: mcpProxy: read by mcp-relay as tbxark only: mcpProxy.baseURL, mcpProxy.addr, "
            "mcpProxy.name, mcpProxy.version, mcpProxy.type, mcpProxy.options; else say --host and --port"
        ),
        "f.json, line 15: mcpServers.github.options.toolFilter: not supported: all of the server's tools are offered",
        "f.json, line 15: mcpServers.github.options.authTokens: not supported: clients are not asked for them",
    ]


def test_sparfenyuk(tmp_path: Path) -> None:
    """A server without a command, or whose args are no list, is left out with a warning."""
    found = read(tmp_path, files.SPARFENYUK)
    assert list(usable(found)) == ["fetch"]
    assert found.servers["fetch"].timeout == 60
    assert not found.servers["github"].is_enabled
    assert warnings_of(found, tmp_path) == [
        "f.json, line 7: mcpServers.no-command: this server cannot run: it has neither command nor url; give it one",
        "f.json, line 8: mcpServers.no-list.args: expected a list of texts, found a text; this server cannot run",
    ]


def test_gemini(tmp_path: Path) -> None:
    """``httpUrl`` is Streamable HTTP; milliseconds are told from seconds."""
    found = read(tmp_path, files.GEMINI)
    assert (found.servers["g"].transport, found.servers["g"].timeout) == ("streamablehttp", 600)
    assert warnings_of(found, tmp_path) == [
        "f.json, line 1: mcpServers.g.timeout: read as milliseconds, as some editors count: 600 s"
    ]


def test_our_own(tmp_path: Path) -> None:
    """``[servers.NAME]`` in TOML is read alike."""
    found = read(tmp_path, files.OURS, "relay.toml")
    assert found.servers["time"].command == ["uvx", "mcp-server-time"]
    far = found.servers["far away"]
    assert (far.url, far.headers, far.transport) == ("https://host/mcp", {"X-Team": "blue"}, "streamablehttp")
    assert far.where == f'{tmp_path}/relay.toml, line 7: servers."far away"'


# -- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "environment", "expected"),
    [
        ("${A}", {"A": "1"}, "1"),
        ("${A}${A}-${B}", {"A": "1", "B": ""}, "11-"),
        ("${A:-x y}", {}, "x y"),
        ("${A:-x}", {"A": ""}, "x"),
        ("${A:-}", {}, ""),
        ("${env:A}", {"A": "1"}, "1"),
        ("${env:A:-x}", {}, "x"),
        ("$${A}", {"A": "1"}, "${A}"),
        ("$A ${ ${} ${1} ${x%%.*} $(A)", {}, "$A ${ ${} ${1} ${x%%.*} $(A)"),
        ("$A-$B ${A}$A.b", {"A": "1"}, "1-$B 11.b"),
        ("$$A pa$$word $", {"A": "1"}, "$A pa$$word $"),
        ("{env:A} {A} ${{ secrets.A }}${{inputs.A}}", {"A": "1"}, "1 {A} 11"),
        ("{{A}}", {"A": "1"}, "{{A}}"),
        ("${A}", {"A": "${B}", "B": "no"}, "${B}"),
    ],
)
def test_expansion(tmp_path: Path, written: str, environment: dict[str, str], expected: str) -> None:
    """In commands, arguments, variables and directories alike; what comes out is not expanded again."""
    entry = f'{{"command": "a{written}", "args": ["{written}"], "env": {{"E": "{written}"}}, "cwd": "{written}"}}'
    server = one(tmp_path, entry, **environment)
    assert server.problem is None
    assert (server.command, server.env, server.cwd) == ([f"a{expected}", expected], {"E": expected}, expected)


def test_expansion_of_an_address(tmp_path: Path) -> None:
    """The URL and the headers' values are expanded, too."""
    entry = '{"url": "https://${HOST:-h}/mcp?token=${T_TOKEN}", "headers": {"X-A": "${A}"}}'
    server = one(tmp_path, entry, T_TOKEN="secret-1", A="secret-2")
    assert server.url == "https://h/mcp?token=secret-1"
    assert server.headers == {"X-A": "secret-2"}
    assert set(server.secrets) == {"secret-1", "secret-2"}


@pytest.mark.parametrize(
    ("reference", "problem"),
    [
        ("${workspaceFolder}", "is a variable of editors, which the relay does not know"),
        ("${command:pick}", "${command:pick} is not supported: write the value itself"),
        ("${file:/etc/token}", "${file:/etc/token} is not supported: write the value itself"),
        ("{file:~/token}", "{file:~/token} is not supported: write the value itself"),
        ("{env:MY_TOKEN}", "${MY_TOKEN} is not set"),
        ("${{ secrets.MY_TOKEN }}", "${MY_TOKEN} is not set"),
        ("{{LIBRECHAT_USER_ID}}", "{{LIBRECHAT_USER_ID}} is for each user of LibreChat"),
    ],
)
def test_references_of_editors(tmp_path: Path, reference: str, problem: str) -> None:
    """They make the server unusable, not a value with a reference in it."""
    server = one(tmp_path, f'{{"command": "x", "args": ["{reference}"]}}')
    assert server.problem is not None
    assert problem in server.problem


def test_a_disabled_server_needs_no_variables(tmp_path: Path) -> None:
    """What is off is not warned of."""
    text = '{"mcpServers": {"x": {"command": "${NOT_SET}", "enabled": false}}}'
    assert read(tmp_path, text).warnings == []


@pytest.mark.parametrize(
    ("args", "secrets"),
    [
        ('["--token", "abcd1", "--port", "8080"]', ["abcd1"]),
        ('["--api-key=abcd2"]', ["abcd2"]),
        ('["-e", "MY_SECRET=abcd3"]', ["abcd3"]),
        ('["--header", "Authorization: Bearer abcd4"]', ["Bearer abcd4", "abcd4"]),
        ('["--token", "--verbose", "plain"]', []),
    ],
)
def test_secrets_in_arguments(tmp_path: Path, args: str, secrets: list[str]) -> None:
    """What an option named like a secret is given is one."""
    assert one(tmp_path, f'{{"command": "x", "args": {args}}}').secrets == secrets


@pytest.mark.parametrize(
    ("entry", "warning"),
    [
        ('{"command": "x", "arg": []}', "mcpServers.x.arg: unknown key; did you mean 'args'?"),
        ('{"url": "http://h/", "Headers": {}}', "mcpServers.x.Headers: unknown key; did you mean 'headers'?"),
        ('{"command": "x", "zzz": 1}', "mcpServers.x.zzz: unknown key, ignored"),
        ('{"command": "x", "url": "http://h/", "type": "stdio"}', None),
        ('{"url": "http://h/", "args": ["a"]}', "mcpServers.x.args: no effect before a URL: ignored"),
        ('{"command": "x", "headers": {"A": "b"}}', "mcpServers.x.headers: no effect before a command: ignored"),
        ('{"url": "http://h/", "headers": {"Accept": "b"}}', "headers.Accept: is set by the transport itself: ignored"),
        ('{"command": "x", "envFile": ".env"}', "x.envFile: not supported: put the variables into env"),
        ('{"command": "x", "alwaysAllow": ["a"], "description": "d"}', None),
    ],
)
def test_warnings(tmp_path: Path, entry: str, warning: str | None) -> None:
    """A key that nobody knows is ignored and said, with the nearest one that is known."""
    found = read(tmp_path, f'{{"mcpServers": {{"x": {entry}}}}}')
    assert list(usable(found)) == ["x"]
    assert len(found.warnings) == (warning is not None)
    for text in found.warnings:
        assert str(warning) in text
        assert "f.json, line 1: " in text


@pytest.mark.parametrize(
    ("name", "segment"),
    [
        ("plain-1.2_3~", "plain-1.2_3~"),
        ("@scope/server", "@scope%2Fserver"),
        ("far away", "far%20away"),
        ("grüße", "gr%C3%BC%C3%9Fe"),
        ("a?b#c%d", "a%3Fb%23c%25d"),
        ("...", "..."),
        ("\u00a0\U000b66c7", "%C2%A0%F2%B6%9B%87"),
    ],
)
def test_names(tmp_path: Path, name: str, segment: str) -> None:
    """Any printable name is allowed; what a path cannot hold is percent-encoded."""
    (found,) = read(tmp_path, f'{{"mcpServers": {{"{name}": {{"command": "x"}}}}}}').servers
    assert (found, segment_of(found)) == (name, segment)


QUOTED_COMMAND = '"command": "x",'


# -- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "f.json, line 1, column 1: the text ends where a value should be"),
        ("[]", "f.json: expected an object, found a list"),
        ("{}", "f.json: names no servers: expected a key mcpServers, servers or context_servers; the file has no keys"),
        ('{"mcpserver": {}}', "found 'mcpserver'; did you mean 'mcpServers'?"),
        ('{"mcpServers": null}', "f.json, line 1: mcpServers: expected an object, found null"),
        ('{"mcpServers":\n5}', "f.json, line 1: mcpServers: expected an object, found a number"),
        ('{"mcp": {"servers": "x"}}', "f.json, line 1: mcp.servers: expected an object, found a text"),
        ('{"mcpServers": {},\n"mcpServers": {}}', "line 2: mcpServers: is there twice, first in line 1"),
    ],
)
def test_a_wrong_file(tmp_path: Path, text: str, message: str) -> None:
    """One line with file, line and key."""
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path))
    assert "\n" not in str(caught.value)


GOOD = '"good": {"command": "y"}'


def mistakes_of(tmp_path: Path, servers: str) -> list[str]:
    """Read servers beside a good one, which must run; return what is said, but not of which file."""
    found = read(tmp_path, f'{{"mcpServers": {{{GOOD},\n{servers}}}}}')
    assert list(usable(found)) == ["good"]
    told = [line for line in warnings_of(found, tmp_path) if line.endswith("; this server cannot run")]
    assert {f"{tmp_path}{os.sep}{line}" for line in told} == set(found.warnings)
    return [line.removeprefix("f.json, ").removesuffix("; this server cannot run") for line in told]


@pytest.mark.parametrize(
    ("servers", "message"),
    [
        ('"a": "b"', "line 2: mcpServers.a: expected an object, found a text"),
        ('"a": null', "line 2: mcpServers.a: expected an object, found null"),
        ('"": {}', 'line 2: mcpServers."": a server\'s name cannot be empty'),
        ('"..": {}', "a server's name cannot be empty, . or .."),
        ('"a\\n": {}', "a server's name has no control characters"),
        (f'"{"a" * 129}": {{}}', "at most 128 characters, this one 129"),
        ('"a": {"command": "x"},\n"a": {"command": "x"}', "line 3: mcpServers.a: is there twice, first in line 2"),
        ('"a": {"command": "x", "cwd": "/",\n"cwd": "/"}', "line 3: mcpServers.a.cwd: is there twice, first in line 2"),
        ('"a": {"command": "x", "env": {"A": "",\n"A": ""}}', "line 3: mcpServers.a.env.A: is there twice"),
    ],
)
def test_a_wrong_entry(tmp_path: Path, servers: str, message: str) -> None:
    """It costs this server, which is named with the line, and no other."""
    (mistake,) = mistakes_of(tmp_path, servers)
    assert message in mistake


def test_a_server_in_two_places(tmp_path: Path) -> None:
    """Nobody knows which one is meant: neither runs."""
    found = read(
        tmp_path, f'{{"mcpServers": {{{GOOD}, "a": {{"command": "x"}}}},\n"servers": {{"a": {{"url": "http://h"}}}}}}'
    )
    assert list(usable(found)) == ["good"]
    (warning,) = warnings_of(found, tmp_path)
    assert warning.startswith("f.json, line 2: servers.a: is there twice, also at ")


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("command", "5", "expected a text in quotes, found a number"),
        ("command", '[{}, "a"]', "command[0]: expected a text in quotes, found an object"),
        ("args", '["a",\n{}]', "args[1]: expected a text in quotes, found an object"),
        ("args", '["a",\nnull]', "args[1]: expected a text in quotes, found null"),
        ("args", '"a"', "args: expected a list of texts, found a text"),
        ("env", "5", "env: expected an object, found a number"),
        ("env", '["A"]', "env[0]: expected NAME=value, or an object of name and value"),
        ("env", '{"A": []}', "env.A: expected a text in quotes, found a list"),
        ("env", '{"A": 1e999}', "env.A: expected a text in quotes, found a number"),
        ("env", '{"A=B": "c"}', "is not a variable's name"),
        ("env_vars", "[5]", "env_vars: expected a list of variables' names"),
        ("cwd", "{}", "cwd: expected a text in quotes, found an object"),
        ("url", '"http://h/"', "has both command and url; leave one out, or say which with type"),
        ("type", '"carrier-pigeon"', "'carrier-pigeon' is not one of stdio, http, sse, streamable-http, auto"),
        ("type", "5", "type: expected a text in quotes, found a number"),
        ("timeout", '"soon"', "timeout: expected a number of seconds, such as 60 or 500ms"),
        ("timeout", "true", "timeout: expected a number, found true"),
        ("timeout", "-1", "timeout: expected a number of 0 or above"),
        ("enabled", '"yes"', "enabled: expected true or false, found a text"),
        ("disabled", "1", "disabled: expected true or false, found a number"),
        ("options", "1", "options: expected an object, found a number"),
        ("options", '{"disabled": 1}', "options.disabled: expected true or false, found a number"),
    ],
)
def test_a_wrong_value(tmp_path: Path, key: str, value: str, reason: str) -> None:
    """Named by line and key, with what was seen and expected, but not the value."""
    (mistake,) = mistakes_of(tmp_path, f'"x": {{\n{"" if key == "command" else QUOTED_COMMAND}\n"{key}": {value}}}')
    assert mistake.startswith(f"line {2 if key == 'url' else 4 + value.count(chr(10))}: mcpServers.x")
    assert reason in mistake


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ('{"url": "ftp://h/"}', "url: is not an address of a kind that is known: http://, https://, ws://"),
        ('{"url": "stdio:"}', "url: is not an address of a kind that is known"),
        ('{"url": 5}', "url: expected a text in quotes, found a number"),
        ('{"url": "http://a/", "serverUrl": "http://b/"}', "has both url and serverUrl, which say the same"),
        ('{"url": "http://a/", "headers": {"A B": "c"}}', 'headers."A B": is not a header name'),
        ('{"url": "http://a/", "headers": {"Host": "c"}}', "headers.Host: belongs to the transport"),
        ('{"url": "http://a/", "headers": {"X-A": "1", "x-a": "2"}}', "headers.x-a: is there twice"),
        ('{"url": "http://a/", "headers": {"X-A": []}}', "headers.X-A: expected a text in quotes, found a list"),
        ('{"url": "http://a/", "headers": ["X-A"]}', "headers[0]: expected NAME:value, or an object of name and value"),
        (
            '{"url": "http://a/", "headers": {"Authorization": "a"}, "bearer_token": "b"}',
            "bearer_token: is there twice",
        ),
        ('{"url": "http://a/", "bearer_token_env_var": 5}', "bearer_token_env_var: expected a text in quotes"),
    ],
)
def test_a_wrong_remote(tmp_path: Path, entry: str, reason: str) -> None:
    """What would fail at the first request is said before."""
    (mistake,) = mistakes_of(tmp_path, f'"x": {entry}')
    assert reason in mistake


def test_all_the_mistakes_of_an_entry(tmp_path: Path) -> None:
    """Each is told with its line and key, and none with its value; the client is told which keys, but of no file."""
    entry = '"x": {"command": "x",\n"args": ["t0p", {}, []],\n"env": {"A": {},\n"B": ["t0p"]},\n"timeout": "t0p"}'
    assert [mistake.partition(": expected")[0] for mistake in mistakes_of(tmp_path, entry)] == [
        "line 6: mcpServers.x.timeout",
        "line 3: mcpServers.x.args[1]",
        "line 3: mcpServers.x.args[2]",
        "line 4: mcpServers.x.env.A",
        "line 5: mcpServers.x.env.B",
    ]
    server = one(tmp_path, entry.partition(": ")[2])
    assert "t0p" not in f"{server.mistakes} {server.problem}"
    assert server.problem is not None and server.problem.count("; ") == 4 and "f.json" not in server.problem


@pytest.mark.parametrize(
    ("entry", "problem"),
    [('"x": {"command": "x", "args": 5, "disabled": true}', None), ('"x": {"command": "x", "args": 5}', "args")],
)
def test_mistakes_of_a_server_that_is_off(tmp_path: Path, entry: str, problem: str | None) -> None:
    """Nobody is told of them before it is switched on."""
    found = read(tmp_path, f'{{"mcpServers": {{{GOOD}, {entry}}}}}')
    assert len(found.warnings) == (problem is not None)


# -- values that are no texts, and texts that are no values -----------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "transport"),
    [
        *((word, "stdio") for word in ("stdio", "STDIO", "local", "command")),
        *((word, "auto") for word in ("http", "url", "remote", "auto", "ws", "websocket", "HTTP")),
        *((word, "sse") for word in ("sse", "SSE", "http+sse")),
        *(
            (word, "streamablehttp")
            for word in (
                "streamable-http", "streamableHttp", "streamable_http", "StreamableHTTP", "streamable", "http-stream",
                "httpStream", "shttp",
            )
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("key", ["type", "transport", "transportType", "transport_type"])
def test_types(tmp_path: Path, key: str, type_: str, transport: str) -> None:
    """What clients call a transport, whatever signs and capitals are in it."""
    if transport == "stdio":
        server = one(tmp_path, f'{{"{key}": "{type_}", "command": "x", "url": "http://h/"}}')
        assert (server.problem, server.command, server.url) == (None, ["x"], None)
    else:
        server = one(tmp_path, f'{{"{key}": "{type_}", "url": "http://h/"}}')
        assert (server.problem, server.url, server.transport) == (None, "http://h/", transport)


def test_numbers_and_truth_values(tmp_path: Path) -> None:
    """In arguments, variables and headers they are the texts that JavaScript makes of them."""
    values = "8080, true, false, 1.5, 0.10, 1e3, -2, 12345678901234567890"
    texts = ["8080", "true", "false", "1.5", "0.1", "1000", "-2", "12345678901234567890"]
    named = ", ".join(f'"V{index}": {value}' for index, value in enumerate(values.split(", ")))
    server = one(tmp_path, f'{{"command": "x", "args": [{values}], "env": {{{named}}}}}')
    assert (server.command, list(server.env.values())) == (["x", *texts], texts)
    assert list(one(tmp_path, f'{{"url": "http://h/", "headers": {{{named}}}}}').headers.values()) == texts


@pytest.mark.parametrize(
    ("entry", "command"),
    [
        ('{"command": ["npx", "-y", "x"]}', ["npx", "-y", "x"]),
        ('{"command": ["npx", "-y"], "args": ["x", 5]}', ["npx", "-y", "x", "5"]),
        ('{"type": "local", "command": ["npx", 5]}', ["npx", "5"]),
        ('{"cmd": "npx", "args": ["-y"]}', ["npx", "-y"]),
        ('{"command": {"path": "npx", "args": ["-y", 5]}}', ["npx", "-y", "5"]),
    ],
)
def test_commands(tmp_path: Path, entry: str, command: list[str]) -> None:
    """One text, a list, or an object."""
    server = one(tmp_path, entry)
    assert (server.problem, server.command) == (None, command)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("60", 60),
        ('"60"', 60),
        ('" 1.5 "', 1.5),
        ('"60s"', 60),
        ('"500ms"', 0.5),
        ('"2 m"', 120),
        ("0", None),
        ('"0"', None),
        ("30000", 30),
        ('"30000"', 30),
        ('"7200s"', 7200),
    ],
)
def test_timeouts(tmp_path: Path, written: str, seconds: float | None) -> None:
    """A number in quotes or not, with a unit or without; above an hour a bare number is in milliseconds."""
    server = one(tmp_path, f'{{"command": "x", "timeout": {written}}}')
    assert (server.problem, server.timeout) == (None, seconds)


@pytest.mark.parametrize(("written", "is_enabled"), [("true", True), ('"true"', True), ('"False"', False)])
def test_truth_values_in_quotes(tmp_path: Path, written: str, is_enabled: bool) -> None:
    """``enabled`` and ``disabled``."""
    assert one(tmp_path, f'{{"command": "x", "enabled": {written}}}').is_enabled is is_enabled
    assert one(tmp_path, f'{{"command": "x", "disabled": {written}}}').is_enabled is not is_enabled


def test_lists_of_variables_and_headers(tmp_path: Path) -> None:
    """``NAME=value`` and ``Name: value``, or objects of name and value."""
    entry = '{"command": "x", "env": ["A=b=c", {"name": "D", "value": 5}]}'
    assert one(tmp_path, entry).env == {"A": "b=c", "D": "5"}
    entry = '{"url": "http://h/", "headers": ["X-A: b: c", {"name": "X-D", "value": "$E"}]}'
    assert one(tmp_path, entry, E="f").headers == {"X-A": "b: c", "X-D": "f"}


@pytest.mark.parametrize("shell", [["sh", "-c"], ["bash", "-lc"], ["docker", "run", "x", "sh", "-ec"], ["cmd", "/c"]])
def test_a_shells_own_variables(tmp_path: Path, shell: list[str]) -> None:
    """``$VAR`` in a script is the shell's; ``${VAR}`` is ours there, too."""
    words = [*shell, "echo $A ${A}", "$A"]
    server = one(tmp_path, json.dumps({"command": words[0], "args": words[1:]}), A="1")
    assert server.command == [*shell, "echo $A 1", "1"]


def test_a_variable_without_braces_that_is_not_set(tmp_path: Path) -> None:
    """It stays, since it may be a password; a warning names the place, and not what stands there."""
    found = read(tmp_path, '{"mcpServers": {"x": {"command": "x", "env": {"KEY": "$T0P", "PASS": "pa$word"}}}}')
    assert usable(found)["x"].env == {"KEY": "$T0P", "PASS": "pa$word"}
    (warning,) = warnings_of(found, tmp_path)
    assert warning.startswith("f.json, line 1: mcpServers.x.env.KEY: ") and "T0P" not in warning


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ('{"type": "http", "command": "x"}', "it has no url, which type asks for"),
        ('{"type": "stdio", "url": "http://h/"}', "it has no command; give it one"),
        ('{"url": "http://a/", "headers": {"A": "b\\nc"}}', "the value of the header A has a line break in it"),
        ('{"url": "http://a/\\n"}', "its url has a control character in it"),
        ('{"command": "x", "args": ["\\u0000"]}', "a value has a NUL character in it"),
    ],
)
def test_a_server_that_cannot_run(tmp_path: Path, entry: str, problem: str) -> None:
    """Alone; the file is read."""
    assert one(tmp_path, entry).problem == problem


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    """Missing, a directory, not UTF-8, far too large: one line each."""
    with pytest.raises(ConfigError, match="nowhere: the file cannot be read: No such file or directory"):
        read_servers(str(tmp_path / "nowhere"))
    with pytest.raises(ConfigError, match="the file cannot be read: Is a directory"):
        read_servers(str(tmp_path))
    file = tmp_path / "f"
    file.write_bytes(b'{\n"mcpServers": "\xff"}')
    with pytest.raises(ConfigError, match="f, line 2: this is not UTF-8"):
        read_servers(str(file))
    file.write_bytes(b" " * (4 * 2**20 + 1))
    with pytest.raises(ConfigError, match="more than 4 MiB"):
        read_servers(str(file))


def test_a_byte_order_mark(tmp_path: Path) -> None:
    """Some editors begin a file with one."""
    assert read(tmp_path, '\ufeff{"mcpServers": {"x": {"command": "y"}}}').servers["x"].command == ["y"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[servers.x]\ncommand = \n", "f.toml, line 2: this is not TOML: invalid value"),
        ("[servers.x]\ncommand = 'sk-secret", "f.toml, line 2: this is not TOML: expected "),
    ],
)
def test_what_is_no_toml(tmp_path: Path, text: str, message: str) -> None:
    """The line is told, the text is not."""
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text, "f.toml")
    assert message in str(caught.value)
    assert "sk-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[servers.x]\ncommand = 1\n", "f.toml, line 2: servers.x.command: expected a text in quotes, found a number"),
        ("[servers]\nx = 1\n", "f.toml, line 2: servers.x: expected a table, found a number"),
        (
            "# args\n[servers.x]\ncommand = 'a'\n\nargs = [\n  # args\n  'a',\n  {},\n]\n",
            "f.toml, line 5: servers.x.args[1]: expected a text in quotes, found a table",
        ),
        (
            '[servers.y]\ncommand = """\nenv = 5\n"""\n[servers.x]\ncommand = "a"\nenv = 5\n',
            "f.toml, line 7: servers.x.env: expected a table, found a number",
        ),
        ("[servers.x]\ntimeout = inf\n", "line 2: servers.x.timeout: expected a number of 0 or above"),
        ("[servers.x]\ntimeout = 2026-01-01\n", "expected a number, found a date or time"),
    ],
)
def test_wrong_toml(tmp_path: Path, text: str, message: str) -> None:
    """The line is that of the statement, whatever else looks like it; no value is shown."""
    found = read(tmp_path, f"{text}\n[servers.good]\ncommand = 'y'\n", "f.toml")
    assert "good" in usable(found) and "x" not in usable(found)
    assert message in found.warnings[0]
