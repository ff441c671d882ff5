"""The programs around a bridge: compiled from C where there is a compiler, else plain Python.

The floor exists in C only: written in Python it would be no floor.
"""

import shutil
import subprocess
import sys
from dataclasses import dataclass

from bench.places import BUILD, FALLBACK, NATIVE

COMPILED = ("far_stdio", "far_http", "load_http", "load_stdio", "floor_serve", "floor_connect", "floor_hop")
COMPILE_SECONDS = 60.0  # seven files of two hundred lines; a compiler that needs longer is stuck


@dataclass(frozen=True, slots=True)
class Programs:
    """How each program of ours is started, and what has to be said about it in the report."""

    words: dict[str, tuple[str, ...]]
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
        words = [compiler, "-O2", "-o", str(target), str(NATIVE / f"{name}.c"), "-lm"]
        subprocess.run(words, check=True, capture_output=True, text=True, timeout=COMPILE_SECONDS)


def prepare_programs(*, use_compiler: bool = True) -> Programs:
    """Compile what is out of date, or fall back to Python with a note."""
    compiler = _find_compiler() if use_compiler else None
    reason = "no C compiler was found" if use_compiler else "told not to compile"
    if compiler and not sys.platform.startswith("linux"):
        compiler, reason = None, "the C programs need Linux (epoll)"
    try:
        if compiler:
            _compile(compiler)
            return Programs({name: (str(BUILD / name),) for name in COMPILED}, "load generators and far ends: C, -O2")
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired, OSError) as problem:
        reason = f"compiling failed: {getattr(problem, 'stderr', '') or problem}"
    words: dict[str, tuple[str, ...]] = {
        path.stem: (sys.executable, str(path)) for path in sorted(FALLBACK.glob("[fl]*.py"))
    }
    note = (
        f"**{reason}: load generators and far ends are plain Python, and there is no floor. They cost about as much "
        "as a fast bridge, so whatever is faster than they are cannot be told apart.**"
    )
    return Programs(words, note)
