"""The Python programs of the documents pass `mypy --strict` in an environment with the packages that they need."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import peers
from tests.docs.blocks import BLOCKS, ROOT

PROGRAMS = [block for block in BLOCKS if block.language == "python" and block.why_not is None]


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write each program to a file, under the name that others import it by if it has one."""
    folder = tmp_path_factory.mktemp("programs")
    for number, block in enumerate(PROGRAMS):
        named = re.match(r"# (\w+\.py)\n", block.text)
        (folder / (named[1] if named else f"program_{number}.py")).write_text(block.text, encoding="utf-8")
    return folder


def test_each_program_passes_mypy_strict(programs: Path) -> None:
    """With the official SDK and httpx to look at; the relay's own modules are checked by `make check`."""
    peers.install("py1")
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--config-file="]
    command += ["--python-executable", str(peers.python("py1")), "--cache-dir", str(programs / ".cache")]
    env = {**os.environ, "MYPYPATH": str(ROOT)}
    files = sorted(path.name for path in programs.glob("*.py"))
    done = subprocess.run([*command, *files], cwd=programs, env=env, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    assert f"in {len(PROGRAMS)} source files" in done.stdout


def test_programs_are_as_wide_as_ours() -> None:
    assert [str(block) for block in PROGRAMS if max(map(len, block.text.splitlines())) > 120] == []
