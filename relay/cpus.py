"""Count the CPUs that this process may use at one time: those of its CPU set, bounded by its cgroup's quota.

``os.sched_getaffinity`` ignores a quota, and containers more often have a quota than a CPU set. With half a CPU, busy
waiting takes time from the work. See cgroups(7) and "CPU Interface Files" of cgroup v2.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

__all__ = ["usable_cpus"]

_ROOT = "/sys/fs/cgroup"
_OURS = "/proc/self/cgroup"


def usable_cpus(ours: str = _OURS, root: str = _ROOT) -> float:
    """Return the CPUs that this process may use at one time; 0.5 is half the time of one.

    ``ours`` names the file with the process's cgroups, and ``root`` is their mount point. A file that it cannot read
    sets no limit. It never raises.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([float(allowed), *_quotas(ours, root)])


def _quotas(ours: str, root: str) -> Iterator[float]:
    """Yield the quota of each of the process's cgroups and of their parents, in CPUs."""
    for line in _read(ours).splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if number == "0" and not controllers:
            for folder in _upwards(root, path):
                yield from _quota(*_read(f"{folder}/cpu.max").split()[:2])
        elif "cpu" in controllers.split(","):
            for folder in _upwards(f"{root}/{controllers}", path):
                yield from _quota(_read(f"{folder}/cpu.cfs_quota_us"), _read(f"{folder}/cpu.cfs_period_us"))


def _upwards(mount: str, path: str) -> Iterator[str]:
    """Yield the folder of a cgroup and those above it; in a container, the host's path may be missing."""
    names = [name for name in path.split("/") if name]
    for length in range(len(names), -1, -1):
        yield "/".join([mount, *names[:length]])


def _quota(quota: str = "", period: str = "") -> Iterator[float]:
    """Yield the quota in CPUs from two times in microseconds; nothing without a quota (``max``, ``-1``)."""
    try:
        microseconds, each = int(quota), int(period)
    except ValueError:
        return
    if microseconds > 0 and each > 0:
        yield microseconds / each


def _read(name: str) -> str:
    try:
        with open(name, encoding="ascii") as file:
            return file.read()
    except (OSError, ValueError):
        return ""
