"""I-15: no request can name a program to start, its arguments or its variables; a name is looked up, not a path."""

from __future__ import annotations

import json
from pathlib import Path

import psutil
import pytest

from tests.e2e.oracle import initialize, run_words, stdio_server
from tests.e2e.test_named_servers import Named, named

pytestmark = pytest.mark.only_loop("asyncio")


async def test_i15_a_request_names_no_command_no_arguments_and_no_variables(tmp_path: Path) -> None:
    """By query, header, parameter or member of the message: the server of the configuration starts, as configured."""
    mark = tmp_path / "started"
    evil = {"command": "/usr/bin/touch", "args": [str(mark)], "env": {"EVIL": "1"}, "cwd": str(tmp_path)}
    query = f"?command=/usr/bin/touch&args={mark}&env=%7B%22EVIL%22%3A1%7D&cwd={tmp_path}"
    with run_words(*named(good=stdio_server())) as relay:
        frame = json.loads(initialize())
        frame.update(evil)
        frame["params"].update(evil, _meta=evil)
        headers = {f"X-{name.title()}": json.dumps(value) for name, value in evil.items()}
        async with Named(relay, "good") as client:
            answer = await client.request(
                "POST",
                f"/servers/good/mcp{query}",
                {"Content-Type": "application/json", "Accept": "application/json, text/event-stream", **headers},
                json.dumps(frame).encode(),
            )
            assert answer.status == 200
            servers = [one for one in psutil.Process(relay.pid).children() if one.cmdline()[:1] == stdio_server()[:1]]
            started = [one for one in servers if one.cmdline() == stdio_server()]
            assert len(started) == 1 and "EVIL" not in started[0].environ() and started[0].cwd() != str(tmp_path)
    assert not mark.exists()


NAMES = (
    "",
    ".",
    "..",
    "%2e%2e",
    "..%2fgood",
    "good%2f..%2fgood",
    "good%00",
    "/bin/sh",
    "%2fbin%2fsh",
    "b%20ad",
    "x" * 65,
)


async def test_i15_a_name_is_looked_up_and_is_no_path() -> None:
    with run_words(*named(good=stdio_server())) as relay:
        before = {one.pid for one in psutil.Process(relay.pid).children()}
        headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
        for name in NAMES:
            async with Named(relay, "good") as client:
                answer = await client.request("POST", f"/servers/{name}/mcp", headers, initialize())
            assert answer.status in (400, 404), name
            assert {one.pid for one in psutil.Process(relay.pid).children()} == before, name
