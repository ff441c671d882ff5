"""Describe where the figures come from: machine, versions, commit."""

import os
import platform
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bench.places import ROOT

OURS = ("aiohttp", "uvloop", "msgspec", "orjson")


def _read_first(words: list[str]) -> str:
    try:
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    lines = (done.stdout or done.stderr).splitlines()
    return lines[0].strip() if lines and done.returncode == 0 else ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or "unknown"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _memory_gib() -> str:
    try:
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    except (ValueError, OSError, AttributeError):
        return "unknown"


def _libraries() -> Iterator[str]:
    for name in OURS:
        try:
            yield f"{name} {version(name)}"
        except PackageNotFoundError:
            yield f"{name}: none"


def _commit() -> str:
    commit = _read_first(["git", "rev-parse", "--short=12", "HEAD"])
    changed = _read_first(["git", "status", "--porcelain", "--untracked-files=no"])
    return f"{commit or 'none'}{' with changes' if changed else ''}"


def describe_machine() -> dict[str, str]:
    """Return it as label and text, for the head of the report."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "commit": _commit(),
        "processor": f"{_processor()}, {_cores()} cores",
        "memory": _memory_gib(),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "libraries": ", ".join(_libraries()),
        "node": _read_first(["node", "--version"]) or "none",
        "rust": _read_first(["rustc", "--version"]) or "none",
        "go": _read_first(["go", "version"]) or "none",
        "compiler": _read_first(["cc", "--version"]) or "none",
    }
