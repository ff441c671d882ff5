"""The benchmark measures a real relay, and fails the row of a bridge that answers wrongly."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

ROOT = Path(__file__).parents[2]
WRONG_LINES = Path(__file__).with_name("wrong_lines.py")
WRONG = Path(__file__).with_name("wrong_bridge.py")


def run(*words: str, code: str = "import sys; from bench.__main__ import main; sys.exit(main(sys.argv[1:]))") -> object:
    command = [sys.executable, "-c", code, *words, "--json", "-"]
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def run_these(bridges: str, cell: str) -> Any:
    """Run one cell on bridges that Python code makes, with ``b`` for `bench.bridges`; return the samples."""
    code = (
        "import sys, bench.bridges as b, bench.__main__ as m\n"
        f"m.BRIDGES = tuple({bridges})\n"
        "sys.exit(m.main(sys.argv[1:]))"
    )
    said = run("--only", cell, "--seconds", "0.3", "--rounds", "1", code=code)
    assert isinstance(said, dict)
    return said["samples"]


@pytest.mark.timeout(150)
def test_a_relay_is_measured_and_every_answer_is_right() -> None:
    said = run(
        "--only", "mcp-relay", "--only", "direct", "--only", "serve/calls/100B/8", "--only", "hop/calls/100B/8",
        "--only", "tcp/calls/100B/32", "--only", "websocket/calls/100B/32",
        "--seconds", "0.1", "--rounds", "1",
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
    bridges = f"[b.Bridge(name='wrong', title='wrong', serve=b.Way((sys.executable, {str(WRONG)!r}, '{{port}}')))]"
    (row,) = run_these(bridges, "serve/calls/100B/8")
    assert row["failure"]
    assert not row["figures"]


KINDS = ["right", "is an error", "more content", "result and error", "another JSON-RPC", "cut short"]


@pytest.mark.timeout(150)
def test_no_kind_of_wrong_answer_is_counted() -> None:
    """Nor one whose text is right, but not all that is around it."""
    way = f"b.Way((sys.executable, {str(WRONG_LINES)!r}, kind))"
    bridges = f"[b.Bridge(name=kind, title=kind, connect={way}) for kind in {KINDS!r}]"
    failures = {row["bridge"]: row["failure"] for row in run_these(bridges, "connect-json/calls/100B/8")}
    assert list(failures) == KINDS
    assert not failures.pop("right")
    assert all("wrong answer" in failure for failure in failures.values()), failures


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["--seconds", "0"], "--seconds"),
        (["--seconds", "nan"], "--seconds"),
        (["--rounds", "-1"], "--rounds"),
        (["--json", "no/such/folder/x"], "cannot be written"),
        (["--report", __file__], "cannot be written"),
        (["--only", "punkpeye", "--only", "hop/calls/100B/8"], "nothing to measure"),
    ],
)
def test_a_mistake_is_said_before_anything_is_measured(words: list[str], fault: str) -> None:
    command = [sys.executable, "-m", "bench", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert fault in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def _words_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:  # it has ended meanwhile
        return []


@pytest.mark.timeout(100)
@pytest.mark.parametrize("signal_name", ["SIGINT", "SIGTERM"])
def test_an_interrupted_run_leaves_nobody_behind(signal_name: str, tmp_path: Path) -> None:
    """And writes what it has."""
    words = ["--only", "mcp-relay", "--only", "serve/calls/100B/*", "--seconds", "60", "--report", str(tmp_path)]
    with subprocess.Popen(
        [sys.executable, "-m", "bench", *words],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
    ) as bench:  # fmt: skip
        harness = psutil.Process(bench.pid)
        below: list[psutil.Process] = []
        while not any("--in-flight" in _words_of(child) for child in below):
            with contextlib.suppress(subprocess.TimeoutExpired):
                pytest.fail(f"it ended with {bench.wait(0.05)}")
            below = harness.children(recursive=True)
        assert len(below) >= 2
        bench.send_signal(getattr(signal, signal_name))
        assert bench.wait(20) == 130
        psutil.wait_procs(below, timeout=5)
        assert not [one for one in below if one.is_running() and one.status() != psutil.STATUS_ZOMBIE]
        assert (tmp_path / "report.md").is_file()
