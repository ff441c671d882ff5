"""The programs around a bridge: compiled from C if there is a compiler, else plain Python.

The floor exists only in C, because Python would be too slow for a floor.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from bench.places import BUILD, FALLBACK, NATIVE

PLAIN = ("far_stdio", "far_http", "load_http", "load_stdio")
COMPILED = (*PLAIN, "floor_serve", "floor_connect", "floor_hop")
COMPILE_SECONDS = 60.0  # files of two hundred lines; a compiler that needs longer is stuck


@dataclass(frozen=True, slots=True)
class Programs:
    """How each program of ours is started, and what has to be said about it in the report."""

    words: Mapping[str, tuple[str, ...]]
    note: str

    def has(self, name: str) -> bool:
        """Tell whether `name` can be started on this machine."""
        return name in self.words


def _find_compiler() -> str | None:
    return next((found for name in ("cc", "gcc", "clang") if (found := shutil.which(name))), None)


def _compile(compiler: str) -> None:
    BUILD.mkdir(exist_ok=True)
    newest = max(source.stat().st_mtime for source in NATIVE.iterdir())
    for name in COMPILED:
        target = BUILD / name
        if target.exists() and target.stat().st_mtime > newest:
            continue
        made = BUILD / f"{name}.{os.getpid()}"  # another run may be using the one that is there, or making its own
        words = [compiler, "-O2", "-o", str(made), str(NATIVE / f"{name}.c"), "-lm"]
        subprocess.run(words, check=True, capture_output=True, text=True, timeout=COMPILE_SECONDS)
        made.replace(target)


def _plain_programs(reason: str) -> Programs:
    note = (
        f"**{reason}: load generators and far ends are plain Python, and there is no floor. They cost about as much "
        "as a fast bridge, so whatever is faster than they are cannot be told apart.**"
    )
    return Programs({name: (sys.executable, str(FALLBACK / "run.py"), name) for name in PLAIN}, note)


def prepare_programs(*, use_compiler: bool = True) -> Programs:
    """Compile what is out of date, or fall back to Python with a note."""
    if not use_compiler:
        return _plain_programs("told not to compile")
    if not sys.platform.startswith("linux"):
        return _plain_programs("the C programs need Linux (epoll)")
    compiler = _find_compiler()
    if compiler is None:
        return _plain_programs("no C compiler was found")
    try:
        _compile(compiler)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired, OSError) as problem:
        return _plain_programs(f"compiling failed ({getattr(problem, 'stderr', '') or problem})")
    return Programs({name: (str(BUILD / name),) for name in COMPILED}, "load generators and far ends: C, -O2")
