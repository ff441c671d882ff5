"""The number of usable CPUs follows from the CPU set and the quotas of the cgroups and their parents."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from relay import cpus

MANY = 16.0


@pytest.fixture(autouse=True)
def affinity(monkeypatch: pytest.MonkeyPatch) -> None:
    """May run on 16 CPUs, on whatever machine."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(int(MANY)), raising=False)


@pytest.mark.parametrize(
    ("ours", "files", "expected"),
    [
        ("0::/\n", {}, MANY),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 0.5),
        ("0::/\n", {"cpu.max": "max 100000\n"}, MANY),
        ("0::/pods/one/c2\n", {"pods/one/cpu.max": "150000 100000", "pods/one/c2/cpu.max": "max 1"}, 1.5),
        ("0::/../../host/only\n", {"cpu.max": "300000 100000"}, 3.0),
        ("4:cpu,cpuacct:/x\n", {"cpu,cpuacct/cpu.cfs_quota_us": "2", "cpu,cpuacct/cpu.cfs_period_us": "1"}, 2.0),
        ("4:cpu:/x\n", {"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, MANY),
        ("4:cpuset:/\n", {"cpuset/cpu.cfs_quota_us": "1", "cpuset/cpu.cfs_period_us": "100000"}, MANY),
        ("0::/\n", {"cpu.max": "much of it"}, MANY),
        ("0::/\n", {"cpu.max": "100000 0"}, MANY),
        ("nonsense", {"cpu.max": "1 100000"}, MANY),
    ],
)  # fmt: skip
def test_quota(tmp_path: Path, ours: str, files: dict[str, str], expected: float) -> None:
    """The least of all quotas on the way up, in version 2 and 1; what cannot be read limits nothing."""
    named = tmp_path / "ours"
    named.write_text(ours)
    for name, text in files.items():
        file = tmp_path / "cgroup" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    assert cpus.usable_cpus(str(named), str(tmp_path / "cgroup")) == expected


def test_no_cgroups(tmp_path: Path) -> None:
    """Elsewhere than on Linux the CPU set alone counts."""
    assert cpus.usable_cpus(str(tmp_path / "none"), str(tmp_path / "none")) == MANY
