"""Bytecode for the tests, made once and not by every worker."""

from __future__ import annotations

import compileall
import importlib.util
import subprocess
import sys
from pathlib import Path

import relay

__all__ = ["compile_package", "compile_tests"]

TESTS = Path(__file__).parent
FEW = 20
"""So many test files each worker may as well compile for itself."""


def compile_package() -> None:
    """Compile the package as an installer does: hundreds of relays are started, each 60 ms sooner with bytecode."""
    compileall.compile_dir(Path(relay.__file__).parent, quiet=1)


def compile_tests() -> None:
    """Let pytest compile the test files of a fresh clone, half of them in each of two processes.

    To write its assertions anew takes 4 s of CPU; every worker would do it at the same time.
    """
    stale = [str(file) for file in sorted(TESTS.rglob("test_*.py")) if not _has_bytecode(file)]
    if len(stale) <= FEW:
        return
    words = [sys.executable, "-m", "pytest", "-qq", "--collect-only", "-p", "no:cacheprovider", "-p", "no:xdist"]
    halves = [
        subprocess.Popen([*words, *half], stdout=subprocess.DEVNULL, cwd=TESTS.parent)
        for half in (stale[::2], stale[1::2])
    ]
    for half in halves:
        half.wait()  # whatever is wrong, the workers will tell


def _has_bytecode(file: Path) -> bool:
    folder = Path(importlib.util.cache_from_source(str(file))).parent
    written = [one.stat().st_mtime for one in folder.glob(f"{file.stem}.*-pytest-*.pyc")]
    return bool(written) and max(written) >= file.stat().st_mtime
