"""The schemas agree with the readers, and the package's copies with what the program prints."""

from __future__ import annotations

import json
import tempfile
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from relay.app.commands.config import SCHEMAS, command
from relay.app.config import jsonc
from relay.app.config.servers_file import read_servers
from relay.app.log.stderr import StderrSink
from relay.app.options import relay as relay_options
from relay.app.options.parser import parse_args
from relay.app.specs import is_address
from relay.errors import ConfigError
from tests.app.config import files
from tests.app.config.servers import usable
from tests.app.config.test_layers import OPTIONS, PARSERS, example

VALIDATORS = {name: jsonschema.Draft202012Validator(schema()) for name, schema in SCHEMAS.items()}


@pytest.fixture(autouse=True)
def nothing_is_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MCP_RELAY_CONFIG", raising=False)


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_copy_in_the_package(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """If this fails, an option has changed: run `make schemas`."""
    schema = SCHEMAS[name]()
    jsonschema.Draft202012Validator.check_schema(schema)
    assert command(["schema", name], StderrSink()) == 0
    printed = capsys.readouterr().out
    assert json.loads(printed) == schema
    assert resources.files("relay").joinpath("schemas", f"{name}.json").read_text("utf-8") == printed


@pytest.mark.parametrize("name", [name for name in files.ALL if name.endswith(".json")])
def test_every_editors_file(tmp_path: Path, name: str) -> None:
    """What is read without a complaint about its form validates; args that are no list do not."""
    errors = list(VALIDATORS["servers"].iter_errors(jsonc.read(files.ALL[name])))
    if name == "sparfenyuk.json":
        assert ["/".join(map(str, error.absolute_path)) for error in errors] == ["mcpServers/no-list/args"]
    else:
        assert errors == []


def test_our_own_file() -> None:
    """In TOML: editors validate it alike."""
    VALIDATORS["relay"].validate(tomllib.loads(files.OURS))


GOOD = [
    {"command": "x"},
    {"command": "x", "args": ["a"], "env": {"A": "b", "C": 5, "D": None}, "cwd": "/", "timeout": 1.5, "enabled": True},
    {"command": {"path": "x", "args": ["a"], "env": {"A": "b"}}, "settings": {}},
    {"url": "HTTPS://h/", "headers": {"X-A": "b", "Hosts": "c"}, "transport": "streamable-http"},
    {"serverUrl": "${URL}", "disabled": True},
    {"command": "x", "url": "unix:/a", "type": "stdio"},
    {"command": "x", "options": {"disabled": True, "logEnabled": False}},
    {"command": "x", "description": "d", "autoApprove": ["a"], "toolFilter": {}},
    {"command": ["x", 5], "args": [5, True, 0.1], "env": {"A": True, "B": 0.1}, "timeout": "60", "enabled": "true"},
    {"command": "x", "env": ["A=b", {"name": "C", "value": 5}], "env_vars": ["D"], "type": "local"},
    {"url": "http://h/", "headers": {"A": 1}, "type": "http-stream", "bearer_token_env_var": "URL"},
    {"url": "http://h/", "headers": ["A: b"], "env_http_headers": {"B": "URL"}, "tool_timeout_sec": 5, "type": "url"},
    {"command": "", "url": "http://h/"},
]
BAD: list[Any] = [
    5,
    {"command": 5},
    {"command": [{}]},
    {"command": "x", "args": [{}]},
    {"command": "x", "env": ["A"]},
    {"command": "x", "env": {"A": []}},
    {"command": "x", "env": {"A=B": "c"}},
    {"command": "x", "cwd": {}},
    {"command": "x", "url": "http://h/"},
    {"command": "x", "type": "carrier-pigeon"},
    {"command": "x", "timeout": "soon"},
    {"command": "x", "timeout": -1},
    {"command": "x", "enabled": "yes"},
    {"command": "x", "disabled": 1},
    {"command": "x", "options": 1},
    {"url": "ftp://h/"},
    {"url": "stdio:"},
    {"url": 5},
    {"url": "http://h/", "headers": {"A B": "c"}},
    {"url": "http://h/", "headers": {"hOsT": "c"}},
    {"url": "http://h/", "headers": {"A": []}},
    {"url": "http://h/", "headers": ["A"]},
]


@pytest.mark.parametrize("entry", GOOD)
def test_entries_that_are_read(tmp_path: Path, entry: dict[str, Any]) -> None:
    """The reader takes it, and both schemas do."""
    for place in ("mcpServers", "servers", "context_servers"):
        file = tmp_path / "f.json"
        file.write_text(json.dumps({place: {"x": entry}}))
        assert list(read_servers(str(file), environment={"URL": "http://h/"}).servers) == ["x"]
        VALIDATORS["servers"].validate({place: {"x": entry}})
    VALIDATORS["servers"].validate({"mcp": {"servers": {"x": entry}}})
    VALIDATORS["relay"].validate({"servers": {"x": entry}})


@pytest.mark.parametrize("entry", BAD)
def test_entries_that_are_refused(tmp_path: Path, entry: Any) -> None:
    """The reader refuses it, and both schemas do."""
    file = tmp_path / "f.json"
    file.write_text(json.dumps({"mcpServers": {"x": entry}}))
    assert read_servers(str(file)).servers["x"].mistakes
    assert not VALIDATORS["servers"].is_valid({"mcpServers": {"x": entry}})
    assert not VALIDATORS["relay"].is_valid({"servers": {"x": entry}})


WORDS = st.sampled_from(
    [
        "x",
        "",
        "a b",
        "http://h/",
        "ftp://",
        "${A}",
        "${input:x}",
        "\0",
        "\n",
        "sse",
        "unix:/a",
        "wss://[::1",
        "..",
        "x" * 129,
    ]
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5000) | st.floats(allow_nan=False, allow_infinity=False) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=4,
)
ENTRIES = st.fixed_dictionaries(
    {},
    optional={
        "command": WORDS | ANYTHING,
        "args": st.lists(WORDS, max_size=2) | ANYTHING,
        "env": st.dictionaries(WORDS, WORDS, max_size=2) | ANYTHING,
        "url": WORDS | ANYTHING,
        "headers": st.dictionaries(WORDS, WORDS, max_size=2) | ANYTHING,
        "type": WORDS | ANYTHING,
        "timeout": ANYTHING,
        "disabled": ANYTHING,
        "zzz": ANYTHING,
    },
)


@given(servers=st.dictionaries(WORDS, ENTRIES | ANYTHING, max_size=2))
def test_whatever_a_file_says(servers: Any) -> None:
    """It is read, or refused with one ConfigError; what is refused does not validate; what is read can run, or not."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump({"mcpServers": servers}, file)
        file.flush()
        try:
            found = read_servers(file.name, environment={"A": "http://a/"})
        except ConfigError:
            assert not VALIDATORS["servers"].is_valid({"mcpServers": servers})
            return
    if any(server.mistakes for server in found.servers.values()):
        assert not VALIDATORS["servers"].is_valid({"mcpServers": servers})
    for server in usable(found).values():
        assert bool(server.command) != bool(server.url)
        assert not server.url or is_address(server.url)
        for text in (*server.command, *server.env.values(), *server.headers.values(), server.url or ""):
            assert "\0" not in text and "${" not in text


@pytest.mark.parametrize("whole", [[], {}, {"mcpServers": 5}, {"servers": "x"}, {"mcp": {"servers": 5}}])
def test_files_that_are_refused(tmp_path: Path, whole: Any) -> None:
    """Alike."""
    file = tmp_path / "f.json"
    file.write_text(json.dumps(whole))
    with pytest.raises(ConfigError):
        read_servers(str(file))
    assert not VALIDATORS["servers"].is_valid(whole)


@pytest.mark.parametrize(("name", "key"), OPTIONS)
def test_every_option(name: str, key: str) -> None:
    """The value that the reader takes validates; none takes what no option is."""
    _, value, _ = example(PARSERS[name], key)
    for one in [value, *(value[:1] if isinstance(value, list) else ())]:
        VALIDATORS["relay"].validate({key: one} if name == "relay" else {name: {key: one}})
    assert not VALIDATORS["relay"].is_valid({key: None} if name == "relay" else {name: {key: None}})


@pytest.mark.parametrize("entry", [{"command": "y", "zzz": 1}, {"command": 5}, 5])
def test_servers_of_ours_that_are_refused(tmp_path: Path, entry: Any) -> None:
    """A server that is wrong costs no other and not the file, but it does not validate."""
    file = tmp_path / "f.json"
    file.write_text(json.dumps({"servers": {"x": entry, "good": {"command": "y"}}}))
    options = parse_args(relay_options.build_parser(), ["--config", str(file)])
    assert [name for name, one in options.configured.servers.items() if one.mistakes] == ["x"]
    assert not VALIDATORS["relay"].is_valid({"servers": {"x": entry}})


@pytest.mark.parametrize(
    "whole",
    [
        {"prot": 1},
        {"port": True},
        {"debug": "yes"},
        {"cwd": 5},
        {"share": "all"},
        {"allow-origin": [5]},
        {"headers": ["A: b"]},
        {"headers": {"A": 5}},
        {"url": "http://h/", "command": "x"},
        {"args": ["x"]},
        {"command": ["x"]},
        {"servers": []},
        {"mcpServers": {}},
    ],
)
def test_configurations_that_are_refused(tmp_path: Path, whole: dict[str, Any]) -> None:
    """The reader and the schema refuse them."""
    file = tmp_path / "f.json"
    file.write_text(json.dumps(whole))
    with pytest.raises(ConfigError):
        parse_args(relay_options.build_parser(), ["--config", str(file)])
    assert not VALIDATORS["relay"].is_valid(whole)
