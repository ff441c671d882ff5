"""The harness runs: a real relay is measured, and a bridge that answers wrongly fails its row."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WRONG = Path(__file__).with_name("wrong_bridge.py")


def run(*words: str, code: str = "import sys; from bench.__main__ import main; sys.exit(main(sys.argv[1:]))") -> object:
    command = [sys.executable, "-c", code, *words, "--json", "-"]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


@pytest.mark.timeout(150)
def test_a_relay_is_measured_and_every_answer_is_right() -> None:
    said = run(
        "--only", "mcp-relay", "--only", "direct", "--only", "serve/calls/100B/8", "--only", "hop/calls/100B/8",
        "--only", "tcp/calls/100B/32", "--only", "websocket/calls/100B/32",
        "--seconds", "0.3", "--rounds", "1",
    )  # fmt: skip
    assert isinstance(said, dict)
    rows = {(one["bridge"], one["cell"]): one for one in said["samples"]}
    cells = {"serve/calls/100B/8", "hop/calls/100B/8", "tcp/calls/100B/32", "websocket/calls/100B/32"}
    assert set(rows) == {(who, cell) for who in ("mcp-relay", "direct") for cell in cells} - {
        ("direct", "websocket/calls/100B/32")
    }
    for row in rows.values():
        assert not row["failure"], row
        assert row["figures"]["per_second"] > 0


@pytest.mark.timeout(150)
def test_a_bridge_that_answers_wrongly_fails_its_row() -> None:
    code = (
        "import sys, bench.bridges as b, bench.__main__ as m\n"
        f"way = b.Way((sys.executable, {str(WRONG)!r}, '{{port}}'))\n"
        "m.BRIDGES = (*b.BRIDGES, b.Bridge(name='wrong', title='wrong', serve=way))\n"
        "sys.exit(m.main(sys.argv[1:]))"
    )
    said = run("--only", "wrong", "--only", "serve/calls/100B/8", "--seconds", "0.3", "--rounds", "1", code=code)
    assert isinstance(said, dict)
    (row,) = said["samples"]
    assert row["failure"]
    assert not row["figures"]
