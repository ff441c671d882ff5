"""docs/gateway.md: its lines are run as they stand, and print what the page says."""

from __future__ import annotations

import asyncio
import json
import re
import shutil

import pytest

from relay.app.commands.gateway import build_parser
from tests.docs import blocks
from tests.gateway.far import far
from tests.gateway.test_command import running

PAGE = (blocks.ROOT / "docs" / "gateway.md").read_text(encoding="utf-8")
BLOCKS = [(block.language, block.text) for block in blocks.BLOCKS if block.page == "docs/gateway.md"]
SHELL = [text for kind, text in BLOCKS if kind == "sh"]
SHOWN = {
    call: answer
    for (kind, call), (other, answer) in zip(BLOCKS, BLOCKS[1:], strict=False)
    if (kind, other) == ("sh", "json")
}


@pytest.mark.only_loop("uvloop")
@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
async def test_the_calls_of_the_page() -> None:
    """Each line of curl, with the ports of the test in place of the page's."""
    words = re.search(r"^mcp-relay (gateway .*--proxy-allow-net .*)$", SHELL[0], re.MULTILINE)
    token = re.search(r"PROXY_TOKEN=(\S+)", SHELL[0])
    assert words is not None and token is not None and len(SHOWN) == 3
    env = {"PROXY_TOKEN": token[1]}
    async with far() as server, running(*words[1].split(), "--port", "0", env=env) as program:
        assert "WARNING" not in program.said
        for call, answer in SHOWN.items():
            line = call.replace("http://127.0.0.1:8000", program.base).replace(":9000/", f":{server.port}/")
            process = await asyncio.create_subprocess_shell(
                line, stdout=asyncio.subprocess.PIPE, env={**env, "PATH": "/usr/bin:/bin"}
            )
            out, _ = await process.communicate()
            shown, found = json.loads(answer), json.loads(out)
            if "version" in found:
                found["version"] = "…"
            assert found == shown
        await program.end()


def test_the_other_commands_of_the_page() -> None:
    """Their options exist."""
    commands = [line for text in SHELL for line in text.splitlines() if line.startswith("mcp-relay gateway")]
    assert len(commands) == 2
    for line in commands:
        build_parser().parse_args(line.split()[2:])
    for option in set(re.findall(r"`(--[a-z-]+)", PAGE)):
        assert option in build_parser()._option_string_actions, option
