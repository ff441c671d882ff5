"""What the pages show as the program's words is what it says."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from relay import cli
from tests.docs.blocks import named

PAGE = "docs/configuration.md"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Go to an empty folder, with nothing of ours in the environment."""
    for name in [name for name in os.environ if name.startswith("MCP_RELAY_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_mistakes_in_a_file_and_in_a_variable(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each with its line and the nearest known name."""
    (shown,) = (text for text in named(PAGE, "text") if "MCP_RELAY_PROT" in text)
    (folder / "relay.toml").write_text('port = 8080\nallow-origins = ["https://a"]\nlog-level = "debugx"\n')
    monkeypatch.setenv("MCP_RELAY_PROT", "8080")
    assert cli.main(["--config", "relay.toml", "--", "true"]) == 2
    assert sorted(capfd.readouterr().err.splitlines()) == sorted(shown.splitlines())


def test_a_file_that_is_looked_at(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """One server that can run, one that cannot, one that is disabled."""
    (shown,) = (text for text in named(PAGE, "text") if "config check" in text)
    for program in ("npx", "uvx"):
        (folder / program).touch(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    servers = {
        "memory": {"command": "npx", "args": ["-y", "@modelcontextprotocol/server-memory"]},
        "perplexity": {"command": "npx", "args": ["-y", "server-perplexity"], "env": {"KEY": "${input:key}"}},
        "git": {"command": "uvx", "args": ["mcp-server-git"], "disabled": True},
    }
    (folder / "mcp.json").write_text(json.dumps({"mcpServers": servers}))
    command, *lines = shown.splitlines()
    assert cli.main(command.removeprefix("$ mcp-relay ").split()) == 1
    assert capfd.readouterr().out.splitlines() == lines
