"""The program's settings of its own process."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

ROUNDS = """
import resource
from relay.app.run.process import keep_freed_memory

keep_freed_memory()


def frames():
    held = [b"x" * 1_000_000 for _ in range(3)]
    held.clear()


frames()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    frames()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc is what gives memory back at once")
def test_memory_of_large_frames_is_used_again() -> None:
    """Three frames of 1 MB, ten times: the kernel gives 750 pages for the first, and next to none after it."""
    done = subprocess.run([sys.executable, "-c", ROUNDS], check=True, capture_output=True, text=True)
    assert int(done.stdout) < 100
