"""How many CPUs this process may use at one time: those it may run on, less what its cgroup's quota takes away.

``os.sched_getaffinity`` knows nothing of a quota, and a container has one more often than a CPU set: with half a CPU,
time that is spent on waiting is taken from the work. See cgroups(7) and "CPU Interface Files" of cgroup v2.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

__all__ = ["usable_cpus"]

_ROOT = "/sys/fs/cgroup"
_OURS = "/proc/self/cgroup"


def usable_cpus(ours: str = _OURS, root: str = _ROOT) -> float:
    """Return the CPUs this process may use at one time; 0.5 is half the time of one.

    ``ours`` names the cgroups of the process, and ``root`` is where they are mounted. What cannot be read limits
    nothing: it never raises.
    """
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min([float(allowed), *_quotas(ours, root)])


def _quotas(ours: str, root: str) -> Iterator[float]:
    """Yield the quota of each of our cgroups, and of those around it, in CPUs."""
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
    """Yield the folder of a cgroup and those above it. In a container the path may be one of the host's, not there."""
    names = [name for name in path.split("/") if name]
    for length in range(len(names), -1, -1):
        yield "/".join([mount, *names[:length]])


def _quota(quota: str = "", period: str = "") -> Iterator[float]:
    """Yield the quotient of two times in microseconds; nothing if there is no quota (``max``, ``-1``)."""
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
