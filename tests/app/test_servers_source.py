"""Named servers come from options, an editor's file or the relay's own; and how the relay watches the file."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from relay.app.config.servers_source import ServersSource, servers_of
from relay.app.named_server import NamedServer
from relay.app.options.relay import parse
from relay.errors import ConfigError


def source(*words: str) -> ServersSource | None:
    """Return what these words name, read."""
    found = servers_of(parse(words)[0])
    if found is not None:
        found.read()
    return found


def test_words_name_commands_and_addresses() -> None:
    """A command is one word, split as a shell would; what is named like a secret is one."""
    found = source(
        "--named-server", "a", "x --token 'very secret' y", "--named-server", "b", "https://h/mcp?key=hidden"
    )
    assert found is not None and found.path is None
    a, b = found.servers.values()
    assert (a.name, a.command, a.url, a.secrets) == ("a", ["x", "--token", "very secret", "y"], None, ["very secret"])
    assert (b.name, b.command, b.url) == ("b", (), "https://h/mcp?key=hidden") and "hidden" in b.secrets


def test_nothing_named_is_nothing() -> None:
    assert source("server") is None


def test_a_file_comes_in_the_place_of_words(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With a warning; its own warnings are kept."""
    file = tmp_path / "servers.json"
    file.write_text('{"mcpServers": {"a": {"command": "x", "args": "not a list"}, "b": {"command": "y"}}}')
    with caplog.at_level(logging.WARNING, "relay"):
        found = source("--named-server", "c", "z", "--named-server-config", str(file))
    assert found is not None and list(found.servers) == ["a", "b"]
    assert found.servers["a"].problem is not None and len(found.warnings) == 1
    assert caplog.messages == ["--named-server: ignored, because there is --named-server-config"]


def test_our_own_file_and_words_go_together(tmp_path: Path) -> None:
    """A word counts before the file; what the file gains later is read, and options in it are passed over."""
    file = tmp_path / "relay.toml"
    file.write_text('port = 1\n[servers.a]\ncommand = "x"\n[servers.b]\ncommand = "y"\n')
    found = source("--config", str(file), "--named-server", "a", "mine")
    assert found is not None and found.path == str(file)
    assert {name: list(one.command) for name, one in found.servers.items()} == {"a": ["mine"], "b": ["y"]}
    file.write_text('port = 1\n[servers.c]\nurl = "http://h/mcp"\n')
    found.read()
    assert set(found.servers) == {"a", "c"}
    file.write_text("port = 1\n")
    found.read()
    assert set(found.servers) == {"a"}


def test_what_a_file_looks_like_from_outside(tmp_path: Path) -> None:
    """Another content, another file in its place, and none at all are told apart; reading notes which was read."""
    file = tmp_path / "servers.json"
    found = ServersSource(str(file), {"kept": NamedServer(name="kept")})
    assert found.look() is None
    file.write_text('{"mcpServers": {"a": {"command": "x"}}}')
    found.read()
    first = found.seen
    assert first is not None and first == found.look()
    fresh = tmp_path / "new"
    fresh.write_text(file.read_text())
    fresh.rename(file)
    assert found.look() != first


def test_a_mistake_leaves_what_was_read(tmp_path: Path) -> None:
    """The servers are those from before."""
    file = tmp_path / "servers.json"
    file.write_text('{"mcpServers": {"a": {"command": "x"}}}')
    found = ServersSource(str(file), {})
    found.read()
    file.write_text('{"mcpServers": 7}')
    with pytest.raises(ConfigError, match=r"servers\.json.*mcpServers"):
        found.read()
    assert list(found.servers) == ["a"]
