"""The tutorials, followed: what the reader types, and what the page says that comes."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys

import pytest

from tests import warm_start
from tests.docs.blocks import named
from tests.e2e.oracle import run_words

BRIDGE = "docs/tutorials/first-bridge.md"
PIPE = "docs/tutorials/first-pipe.md"
SERVER = [sys.executable, "-m", "relay.demo.server"]
ECHO = "import sys\nfor line in sys.stdin: print(line, end='', flush=True)"


def run(*words: str, stdin: str = "") -> str:
    done = warm_start.run([sys.executable, "-m", "relay", *words], input=stdin, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def same(said: str) -> list[str]:
    """Return lines without what differs from run to run: times, ports and the program's path."""
    lines = [re.sub(r"\d+(\.\d+)? m?s|:\d+", "…", line) for line in said.splitlines()]
    return [re.sub(r"^(ok +)\S*(python)\S*$", r"\1\2", line) for line in lines]


def test_the_first_bridge() -> None:
    """Each step, in its order."""
    directly, listening, through = named(BRIDGE, "text")
    assert same(run("test", "--", *SERVER)) == same(directly)
    with run_words("--port", "0", "--", *SERVER) as relay:
        assert re.sub(r":\d+/", ":8080/", relay.said[0]) == listening.strip()
        assert same(run("test", f"{relay.base}/mcp"))[:3] == same(through)
        (message,) = named(BRIDGE, "json")
        (answer,) = run(f"{relay.base}/mcp", stdin=message).splitlines()
    assert json.loads(answer)["id"] == 1
    assert json.loads(answer)["result"]["serverInfo"]["name"] == "mcp-relay-demo"


def test_the_first_program() -> None:
    """As it stands, but for the address: a child in the URL's place, which the comment offers."""
    program, _ = named(PIPE, "python")
    url = '"https://example.com/mcp"'
    assert program.count(url) == 1
    command = [sys.executable, "-c", program.replace(url, repr([sys.executable, "-c", ECHO]))]
    done = subprocess.run(command, input='{"method":"x"}\n', capture_output=True, text=True, timeout=50, check=False)
    assert done.stdout == '{"method":"x"}\n'
    assert "frames_a_to_b=1" in done.stderr
    assert "finished_first='a'" in done.stderr


def test_the_second_program(capsys: pytest.CaptureFixture[str]) -> None:
    """In this process; it starts its server itself."""
    _, program = named(PIPE, "python")
    with contextlib.suppress(SystemExit):
        exec(compile(program, "talk.py", "exec"), {"__name__": "__main__"})
    (said,) = named(PIPE, "text")
    assert capsys.readouterr().out == said
