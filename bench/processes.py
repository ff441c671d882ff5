"""Read the memory and CPU time of a bridge: its whole process tree, without the far end's child.

The figures come from /proc. On systems other than Linux, each is None.
"""

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a tree of processes holds and has used."""

    resident_kib: int
    peak_kib: int
    cpu_seconds: float
    processes: int


def _children_by_parent() -> dict[int, list[int]]:
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    return children


def tree(root: int) -> list[int]:
    """Return `root` and all its living descendants."""
    children, found = _children_by_parent(), [root]
    for pid in found:  # grows while it is walked
        found += children.get(pid, [])
    return found


def _is_far_end(pid: int) -> bool:
    try:
        words = (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")
    except OSError:
        return True  # it is gone, so it counts for nothing
    # A shell that runs the far end names it too, but as part of a line; that shell is the bridge's.
    return Path(os.fsdecode(words[0])).name == "far_stdio" or b"far_stdio" in words[:3]


def _read_one(pid: int) -> Iterator[tuple[int, int, float]]:
    with contextlib.suppress(OSError, IndexError, ValueError):
        status = dict(
            line.split(":", 1) for line in (PROC / str(pid) / "status").read_text().splitlines() if ":" in line
        )
        stat = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        # Fields 14 and 15 of stat (man 5 proc); the first two went with the name.
        ticks = int(stat[11]) + int(stat[12])
        resident, peak = (int(status.get(key, "0 kB").split()[0]) for key in ("VmRSS", "VmHWM"))
        yield resident, peak, ticks / os.sysconf("SC_CLK_TCK")


def read_usage(root: int) -> Usage | None:
    """Add up the tree of `root` without far ends; None where there is no /proc."""
    if not PROC.is_dir():
        return None
    pids = [pid for pid in tree(root) if pid == root or not _is_far_end(pid)]
    figures = [figure for pid in pids for figure in _read_one(pid)]
    return Usage(
        resident_kib=sum(resident for resident, _, _ in figures),
        peak_kib=sum(peak for _, peak, _ in figures),
        cpu_seconds=sum(cpu for _, _, cpu in figures),
        processes=len(figures),
    )


def kill_tree(root: int) -> None:
    """Kill `root` and its descendants at once; a benchmark has nothing to save."""
    for pid in tree(root) if PROC.is_dir() else [root]:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
