"""Other tools' options become the relay's, and a mistake is one line that names the option."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from yarl import URL

from relay.app.commands.proxy import build_proxy_parser
from relay.app.config.servers_file import read_servers
from relay.app.dropins import TOOLS, name_of_program, native_args
from relay.app.dropins.reader import expand, shell_line
from relay.app.log.stderr import StderrSink
from relay.app.options.access import withheld_variables
from relay.app.options.oauth import fields_of
from relay.app.options.relay import parse
from relay.cli import main
from relay.endpoints.http.client.proxy import proxy_for
from relay.errors import ConfigError
from tests.app.config.servers import usable


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what stands for options out of the environment."""
    for name in [name for name in os.environ if name.startswith("MCP_PROXY_")] + ["API_ACCESS_TOKEN", "SSE_URL"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "")  # which mcp-remote's words change, for this process


def native(name: str, *words: str) -> list[str]:
    return native_args(name, words, StderrSink())


def value_of(flag: str, words: Sequence[str]) -> str:
    return words[words.index(flag) + 1]


@pytest.mark.parametrize("name", TOOLS)
def test_every_tool_has_help_and_a_version(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """On stdout, exit 0; both call the program by its name."""
    for word, begin in (("--help", f"usage: {name} "), ("--version", f"{name} ")):
        with pytest.raises(SystemExit) as ended:
            main(["as", name, word])
        assert ended.value.code == 0
        assert capsys.readouterr().out.startswith(begin)


@pytest.mark.parametrize(
    ("words", "host", "port"),
    [
        (["supergateway", "--stdio", "uvx a"], "0.0.0.0", "8000"),
        (["mcp-proxy", "uvx", "a"], "127.0.0.1", "0"),
        (["rmcp-proxy", "uvx", "a"], "127.0.0.1", "0"),
        (["punkpeye", "--", "uvx", "a"], "0.0.0.0", "8080"),
        (["translate", "--stdio", "uvx a"], "127.0.0.1", "8000"),
    ],
)
def test_where_they_listen_if_nothing_says_so(words: list[str], host: str, port: str) -> None:
    """On the address and the port of the tool."""
    found = native(*words)
    assert (value_of("--host", found), value_of("--port", found)) == (host, port)
    assert found[found.index("--") + 1 :] == ["uvx", "a"]


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["uvx", "a", "--port", "1"], "sparfenyuk"),
        (["--port", "1", "--debug", "--", "uvx", "--endpoint", "x"], "sparfenyuk"),
        (["--stateless", "uvx", "a"], "sparfenyuk"),
        (["https://h/sse"], "sparfenyuk"),
        (["npx", "-y", "a", "/path"], "punkpeye"),
        (["--shell", "--port", "1", "--", "tsx", "server.js"], "punkpeye"),
        (["--no-eventStore", "--", "tsx"], "punkpeye"),
        (["reset"], "rmcp-proxy"),
        (["--", "reset"], "sparfenyuk"),
        (["reset", "now"], "sparfenyuk"),
        (["-config", "nowhere.json"], "tbxark"),
        (["--config=nowhere.json"], "tbxark"),
    ],
)
def test_which_mcp_proxy_is_meant(words: list[str], meant: str) -> None:
    """The options tell: the result, or the error, is that of the one which is named."""

    def outcome(name: str) -> object:
        try:
            return native(name, *words)
        except ConfigError as exc:
            return str(exc).replace(f"as {name}", "as …")

    assert outcome("mcp-proxy") == outcome(meant)


@pytest.mark.parametrize(
    ("words", "flag", "value"),
    [
        (["supergateway", "--streamable-http=https://h/mcp", "--log-level", "none"], "--log-level", "CRITICAL"),
        (["supergateway", "--stdio", "a", "--sse-path=/e"], "--sse-path", "/e"),
        (["supergateway", "--stdio", "a", "--outputTransport", "streamableHttp"], "--share", "request"),
        (["supergateway", "--stdio", "a", "--sessionTimeout", "60000"], "--session-idle", "60.0"),
        (["supergateway", "--stdio", "a", "--cors", "https://x.example"], "--allow-origin", "https://x.example"),
        (["supergateway", "--stdio", "a", "--cors"], "--allow-origin", "*"),
        (
            ["supergateway", "--stdio", "a", "--cors", "https://x.example", "--cors"],
            "--allow-origin",
            "https://x.example",
        ),
        (["punkpeye", "--no-debug", "--gracefulShutdownTimeout", "1500", "--", "a"], "--drain-timeout", "1.5"),
        (["punkpeye", "--maxBodySize", "1000", "--", "a"], "--max-frame-bytes", "1000"),
        (["punkpeye", "--sslCert", "c.pem", "--", "a"], "--tls-cert", "c.pem"),
        (["punkpeye", "--server", "stream", "--endpoint", "/x", "--", "a"], "--mcp-path", "/x"),
        (["mcp-remote", "https://h/mcp", "--transport", "sse-first"], "--transport", "auto"),
        (["translate", "--stdio", "a"], "--health-path", "/healthz"),
        (["mcp-connect", "--debug", "proxy", "--log-level", "trace", "--endpoint", "a"], "--log-level", "trace"),
    ],
)
def test_options_in_their_ways_of_writing(words: list[str], flag: str, value: str) -> None:
    """In camel case or with dashes, with = or apart, before or behind, milliseconds as seconds."""
    assert value_of(flag, native(*words)) == value


LOGIN = [
    (
        ["mcp-remote", "https://h/mcp", "9696"],
        ["--callback-host", "localhost", "--callback-port", "9696"],
    ),
    (
        ["mcp-remote", "https://h/mcp", "9696", "--host", "127.0.0.1", "--callback-path", "/back"],
        ["--redirect-url", "http://127.0.0.1:9696/back"],
    ),
    (["mcp-remote", "https://h/mcp", "--auth-timeout", "60"], ["--auth-timeout", "60"]),
    (["mcp-remote", "https://h/mcp", "--resource", "https://t/"], ["--resource", "https://t/"]),
    (["mcp-remote", "https://h/mcp", "--authorize-param", "a=b"], ["--authorize-param", "a=b"]),
    (["mcp-remote", "https://h/mcp", "--disable-resource-parameter"], ["--no-resource-parameter"]),
    (["mcp-remote", "https://h/mcp", "--device-code"], ["--device-code"]),
    (
        ["mcp-remote", "https://h/mcp", "--static-oauth-client-metadata", '{"scope": "a b", "client_name": "me"}'],
        ["--scope", "a b", "--client-metadata", '{"client_name": "me"}'],
    ),
    (
        ["mcp-remote", "https://h/mcp", "--static-oauth-client-info", '{"client_id": "i", "client_secret": "${S}"}'],
        ["--client-id=i", "--client-secret=s3cret", "--pin-first-issuer"],
    ),
    (
        [
            "mcp-remote", "https://h/mcp", "--client-credentials", "--token-endpoint", "https://as/token",
            "--static-oauth-client-info", '{"client_id": "i", "client_secret": "s3cret"}',
        ],
        ["--client-credentials", "--token-url", "https://as/token", "--client-id=i", "--client-secret=s3cret"],
    ),
    (["mcp-remote", "https://h/mcp", "--client-metadata-url", "https://c/d"], ["--client-metadata-url", "https://c/d"]),
    (
        ["fastmcp-remote", "https://h/mcp", "9696", "--host", "127.0.0.1", "--resource", "https://t/"],
        ["--callback-host", "127.0.0.1", "--callback-port", "9696", "--resource", "https://t/"],
    ),
    (["fastmcp-remote", "https://h/mcp", "--auth", "none"], ["--no-login"]),
    (
        [
            "mcp-connect", "auth-proxy", "--endpoint", "https://h/mcp", "--fallbacks", "https://i/mcp",
            "--client-id", "i", "--client-secret", "s3cret",
            "--auth-url", "https://as/a", "--token-url", "https://as/t", "--redirect-url",
            "http://localhost:8080/callback", "--scopes", "read,write",
        ],
        [
            "proxy", "--client-id=i", "--client-secret=s3cret", "--auth-url=https://as/a", "--token-url=https://as/t",
            "--redirect-url=http://localhost:8080/callback", "--scope", "read write", "--endpoint", "https://h/mcp",
            "--fallbacks", "https://i/mcp",
        ],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("words", "meant"), LOGIN)
def test_the_words_of_a_login(words: list[str], meant: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has its option, and the relay's own parser takes them."""
    monkeypatch.setenv("S", "s3cret")
    found = native(*words)
    rest = iter(found)
    assert all(word in rest for word in meant), found
    if found[0] == "proxy":
        build_proxy_parser().parse_args(found[1:])
    else:
        options, _ = parse(found)
        fields_of(options)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["supergateway", "--stdio", "a", "--sse", "https://h"], "--stdio and --sse"),
        (["supergateway"], "not none"),
        (["supergateway", "--stdio", "a", "--outputTransport", "stdio"], "--outputTransport stdio does not go with"),
        (["supergateway", "--stdio", "a", "--header", "X: y"], "--header is not supported with --stdio"),
        (
            ["supergateway", "--sse", "https://h", "--header", "Authorization s3cret"],
            "'Authorization' is not 'Name: value'",
        ),
        (["supergateway", "--stdio", "'a"], '--stdio: "\'a" is not a command'),
        (["supergateway", "--stdio", "a", "--port", "x"], "'x' is not a port"),
        (["supergateway", "--stdio", "a", "--protocolVersion", "2024-11-05"], "--protocolVersion is not supported"),
        (["supergateway", "--stdoi", "a"], "no such option: --stdoi;"),
        (["supergateway", "--sse", "https://h", "--oauth2Baerer", "s3cret"], "no such option: --oauth2Baerer;"),
        (["supergateway", "--sse", "https://h", "--token=s3cret"], "no such option: --token=;"),
        (["supergateway", "--sse", "https://h", "s3cret"], "words that belong to none"),
        (["mcp-proxy", "--prot", "1", "uvx"], "unrecognized arguments: --prot (did you mean --port?); if they"),
        (["mcp-proxy"], "no URL or command given, nor one in SSE_URL"),
        (["punkpeye", "--port", "1"], "no command given"),
        (["punkpeye", "--no-modern", "--", "a"], "--no-modern is not supported"),
        (["mcp-remote", "ftp://h"], "'ftp://h' is not a URL"),
        (["mcp-remote", "http://h/mcp"], "--allow-http"),
        (["mcp-remote", "https://h", "--header-file", "/nowhere"], "--header-file: '/nowhere' cannot be read"),
        (["mcp-remote", "https://h", "--header", "A: ${NOT_SET_X}"], "the environment variable NOT_SET_X is not set"),
        (["mcp-remote", "https://h", "--body-timeout", "5"], "--body-timeout is supported as 0 only"),
        (["fastmcp-proxy", "https://h", "--transport", "sse"], "--port is required with --transport sse"),
        (["fastmcp-proxy", "https://h", "--port", "1"], "--port has no effect on stdio"),
        (["fastmcp-remote", "https://h", "--silent", "--debug"], "contradict"),
        (["mcp-connect", "prox"], "'prox'"),
        (["translate", "--grpc", "h:1"], "--grpc is not supported"),
        (["translate", "--stdio", "a", "--oauth2Bearer", "x"], "--oauth2Bearer has no effect with --stdio"),
        (["tbxark", "-config", "/nowhere.json"], "/nowhere.json"),
        (["tbxark", "-expand-env=false"], "-expand-env=false is not supported"),
        (["nobody"], "'nobody' is not a program whose words are known"),
    ],
)
def test_a_mistake_is_one_line(words: list[str], said: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Exit 2; it names the option, and never a secret."""
    assert main(["as", *words]) == 2
    err = capfd.readouterr().err
    assert err.count("\n") == 1 and said in err, err
    assert "s3cret" not in err


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_lists_the_names(flag: str, capfd: pytest.CaptureFixture[str]) -> None:
    """On stdout, exit 0, a line each."""
    with pytest.raises(SystemExit) as ended:
        main(["as", flag])
    shown, said = capfd.readouterr()
    assert (ended.value.code, said) == (0, "")
    assert {line.strip() for line in shown.splitlines()} >= {*TOOLS}


@pytest.mark.parametrize(
    ("words", "stream", "sse"),
    [
        ("", "/mcp", "/sse"),
        ("--endpoint /x", "/x", ""),
        ("--endpoint /x --sseEndpoint /e", "/x", "/e"),
        ("--endpoint /x --streamEndpoint /m", "/m", "/x"),
        ("--endpoint /x --server stream", "/x", ""),
        ("--endpoint /x --server sse", "", "/x"),
        ("--endpoint /x --server sse --sseEndpoint /e", "", "/e"),
    ],
)
def test_where_punkpeyes_paths_are(words: str, stream: str, sse: str, capfd: pytest.CaptureFixture[str]) -> None:
    """``--endpoint`` is for whichever has no path of its own; where both would be, it is said which one is."""
    found = native("punkpeye", *words.split(), "--", "a")
    assert (value_of("--mcp-path", found), value_of("--sse-path", found)) == (stream, sse)
    assert ("--sseEndpoint names another" in capfd.readouterr().err) is (words == "--endpoint /x")


def test_no_name_is_a_mistake(capfd: pytest.CaptureFixture[str]) -> None:
    """The names that are known stand in the error."""
    assert main(["as"]) == 2
    err = capfd.readouterr().err
    assert all(name in err for name in TOOLS), err


def test_the_name_of_the_program() -> None:
    """A link's name counts, in any folder, with .exe too; another program's does not."""
    assert name_of_program("/usr/local/bin/mcp-proxy") == "mcp-proxy"
    assert name_of_program("supergateway.exe") == "supergateway"
    assert name_of_program("/usr/bin/pytest") is None


def test_what_tbxarks_file_says_of_its_proxy(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It is read, so nothing warns that it is not; the two options that have no effect are named with their lines."""
    file, other = tmp_path / "config.json", tmp_path / "other.json"
    file.write_text(
        '{"mcpProxy": {"addr": ":9090",\n"options": {"panicIfInvalid": true,\n"logEnabled": true}},\n'
        '"mcpServers": {"a": {"command": "npx"}}}'
    )
    other.write_text(file.read_text())
    native("tbxark", "-config", str(file))
    said = capfd.readouterr().err.splitlines()
    assert len(said) == 2
    assert f"{file}, line 2: mcpProxy.options.panicIfInvalid: not supported" in said[0]
    assert f"{file}, line 3: mcpProxy.options.logEnabled: not supported" in said[1]
    assert read_servers(str(file)).warnings == []
    assert "read by mcp-relay as tbxark only" in str(read_servers(str(other)).warnings)


@pytest.mark.parametrize(
    "wrong", ["5", '{"command": 5}', '{"command": "npx", "options": 5}', '{"options": {"disabled": 1}}']
)
def test_a_wrong_entry_of_tbxarks_file(tmp_path: Path, wrong: str) -> None:
    """It costs this server and not the others."""
    file = tmp_path / "config.json"
    file.write_text(f'{{"mcpProxy": {{"addr": ":9090"}}, "mcpServers": {{"a": {{"command": "npx"}}, "b": {wrong}}}}}')
    assert value_of("--named-server-config", native("tbxark", "-config", str(file))) == str(file)
    found = read_servers(str(file))
    assert (list(usable(found)), bool(found.servers["b"].mistakes)) == (["a"], True)


def test_variables_stand_for_options_of_punkpeye(monkeypatch: pytest.MonkeyPatch) -> None:
    """MCP_PROXY_PORT is --port, unless a word says otherwise; one that is not supported is refused, not ignored."""
    monkeypatch.setenv("MCP_PROXY_PORT", "9001")
    monkeypatch.setenv("MCP_PROXY_STATELESS", "true")
    found = native("punkpeye", "--", "a")
    assert value_of("--port", found) == "9001" and "--stateless" in found
    assert value_of("--port", native("punkpeye", "--port", "9002", "--", "a")) == "9002"
    monkeypatch.setenv("MCP_PROXY_TUNNEL", "true")
    with pytest.raises(ConfigError, match="--tunnel is not supported"):
        native("punkpeye", "--", "a")


@pytest.mark.parametrize("is_variable", [True, False])
def test_a_key_of_punkpeye_is_a_token(is_variable: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is in no argument, and its command does not get it."""
    monkeypatch.setenv("TOKEN_OF_CLIENTS", "")
    if is_variable:
        monkeypatch.setenv("MCP_PROXY_API_KEY", "true")
    found = native("punkpeye", *([] if is_variable else ["--apiKey", "true"]), "--", "a")
    assert value_of("--accept-token", found) == "api-key=env:TOKEN_OF_CLIENTS" and "true" not in found
    options, _ = parse(found)
    assert os.environ["TOKEN_OF_CLIENTS"] == "true" and withheld_variables(options) == ["TOKEN_OF_CLIENTS"]
    assert "MCP_PROXY_API_KEY" not in os.environ
    with pytest.raises(ConfigError, match="--apiKey: a token is visible ASCII characters"):
        native("punkpeye", "--apiKey", "", "--", "a")


def test_a_token_goes_where_the_tool_sends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """API_ACCESS_TOKEN is sparfenyuk's: others do not send it to their URL, and hand it on to their command."""
    for words, is_kept in (
        (["mcp-proxy", "https://h/sse"], True),
        (["supergateway", "--stdio", "a"], True),
        (["supergateway", "--sse", "https://h"], False),
        (["mcp-remote", "https://h"], False),
    ):
        monkeypatch.setenv("API_ACCESS_TOKEN", "token")
        native(*words)
        assert ("API_ACCESS_TOKEN" in os.environ) is is_kept, words


def test_mcp_remote_goes_through_a_proxy_only_if_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """HTTP_PROXY and its like count with --enable-proxy alone; NO_PROXY counts then, too."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    far = URL("https://far.example/mcp")
    native("mcp-remote", str(far), "--enable-proxy")
    assert str(proxy_for(far)) == "http://proxy.example:3128"
    native("mcp-remote", str(far))
    assert proxy_for(far) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("uvx 'a b' -c", ["uvx", "a b", "-c"]),
        ("cd x && node y", ["/bin/sh", "-c", "cd x && node y"]),
        ("KEY=1 node y", ["/bin/sh", "-c", "KEY=1 node y"]),
        ("node --x=$HOME", ["/bin/sh", "-c", "node --x=$HOME"]),
    ],
)
def test_a_shell_only_where_it_takes_one(text: str, words: list[str]) -> None:
    """Words are split as a shell would; what only a shell can do is left to one."""
    assert shell_line(text, "--stdio") == words


def test_variables_are_put_in_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a variable holds is a value, not another place to look for variables."""
    monkeypatch.setenv("OUTER", "${INNER}")
    assert expand("Bearer ${OUTER}", "--header") == "Bearer ${INNER}"


def test_nothing_of_this_is_loaded_otherwise() -> None:
    """The program under its own name knows nothing of other tools until it is asked."""
    code = (
        "import sys, relay.cli; relay.cli.main(['nowhere-x']); sys.exit(any('dropins' in one for one in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=20, check=False)
    assert done.returncode == 0 and b"nowhere-x" in done.stderr, done.stderr
