"""docs/access.md: its lines are run as they stand, and do what the page says."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest

from relay.app.options.dialling import dialling_of, listening_of
from relay.app.options.relay import parse
from relay.auth.inbound.token_sources import TokenSources, parse_source
from tests.docs.blocks import BLOCKS, ROOT, command_lines, named
from tests.e2e.oracle import run_relay

PAGE = "docs/access.md"
TEXT = (ROOT / PAGE).read_text(encoding="utf-8")
LINES = [words for block in BLOCKS if block.page == PAGE and block.language == "sh" for words in command_lines(block)]
EXPORTS = dict(word.split("=", 1) for words in LINES if words[0] == "export" for word in words[1:])


@pytest.mark.only_loop("uvloop")
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_the_calls_of_the_page() -> None:
    """The first relay of the page admits the first two, and answers the third as the page says."""
    start = next(words for words in LINES if words[0] == "mcp-relay")
    options = start[3 : start.index("--")]  # without the port, which others may use
    calls = [line for text in named(PAGE, "sh") for line in text.splitlines() if line.startswith("curl")]
    assert len(calls) == 3
    with run_relay(*options, env=EXPORTS) as relay:
        said = []
        for call in calls:
            process = await asyncio.create_subprocess_shell(
                call.replace("http://127.0.0.1:8080", relay.base),
                stdout=asyncio.subprocess.PIPE,
                env={**EXPORTS, "PATH": "/usr/bin:/bin"},
            )
            said.append(json.loads((await process.communicate())[0]))
    assert "servers" in said[0] and "servers" in said[1]
    shown, entry = (json.loads(text) for text in named(PAGE, "json"))
    assert said[2] == shown
    assert entry["mcpServers"]["mine"]["headers"] == {"Authorization": f"Bearer {EXPORTS['ALICE']}"}


@pytest.mark.parametrize("words", [words for words in LINES if words[0] == "mcp-relay"], ids=shlex.join)
def test_each_relay_of_the_page_wants_a_login(
    words: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its options are those of a listener that asks its clients, and the file of tokens is read as it stands."""
    (tmp_path / "tokens").write_text(named(PAGE, "text")[0])
    for name, value in EXPORTS.items():
        monkeypatch.setenv(name, value)
    options, _ = parse([word.replace("/etc/mcp-relay", str(tmp_path)) for word in words[1:]])
    listening = listening_of(options, options.listens, dialling_of(options, {}, [], print))  # type: ignore[arg-type]
    assert listening.login is not None


def test_the_file_of_the_page(tmp_path: Path) -> None:
    (tmp_path / "tokens").write_text(named(PAGE, "text")[0])
    found = TokenSources([parse_source(f"file:{tmp_path}/tokens", "-")], "-").read()
    assert [name for name, _ in found] == ["alice", "bob", "bob"]


def test_the_options_of_the_page() -> None:
    """Each exists."""
    from relay.app.options.relay import build_parser

    known = build_parser()._option_string_actions
    for option in set(re.findall(r"`(--[a-z-]+)", TEXT)):
        assert option in known, option
