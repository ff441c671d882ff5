"""Memory of large frames is used again for the next ones; what a crowd of large bodies held is the system's again."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc has such settings")

ARRIVING = """
import io, resource, sys
from pathlib import Path

from relay import freed_memory
from relay.endpoints.core.arrivals import Arrivals
from relay.frames.lines import LineBuffer
from relay.limits import Limits

MIB = 2**20


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / MIB


def faults_of_frames():
    def frames():
        held = [b"x" * 1_000_000 for _ in range(3)]
        held.clear()

    frames()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        frames()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def left_of_a_line():
    lines, held, before = LineBuffer(2**26), [], resident()
    for number in range(64):
        lines.feed(b"x" * 2**18)
        if number % 4 == 0:
            held.append(b"y" * 1000)  # else the line would be the last thing in memory, and grow in place
    line = lines.finish()
    return resident() - before - len(line) / MIB


def left_of_bodies():
    before = resident()
    bodies = [io.BytesIO() for _ in range(8)]
    for _ in range(32):  # side by side
        for body in bodies:
            body.write(b"x" * 2**17)
    assert resident() - before >= 32
    del bodies[:-1]
    return resident() - before


freed_memory.keep()
arrivals = Arrivals(Limits())
arriving = [arrivals.begin(int(size)) for size in sys.argv[2:]]
if sys.argv[1] == "left of a line":
    print(round(left_of_a_line()))
elif sys.argv[1] == "left":
    print(round(left_of_bodies()))
else:
    if sys.argv[1] == "faults after":
        for one in arriving:
            one.end()
    print(faults_of_frames())
"""


def measured(what: str, *sizes: int) -> int:
    """Measure in a process of its own, where bodies of these sizes arrive."""
    words = [sys.executable, "-c", ARRIVING, what, *map(str, sizes)]
    return int(subprocess.run(words, check=True, capture_output=True, text=True).stdout)


@pytest.mark.parametrize("sizes", [(), (2_000_000,), (2_000_000,) * 8])
def test_memory_of_large_frames_is_used_again(sizes: tuple[int, ...]) -> None:
    """Three frames of 1 MB, ten times: the kernel gives 750 pages for the first, and next to none after it."""
    assert measured("faults", *sizes) < 100


def test_what_a_crowd_held_is_given_back_at_once() -> None:
    """Eight bodies grow to 4 MiB each, and all but one go: it alone is held, where else the holes between them are."""
    left = measured("left", 2**24, 2**24)
    assert left <= 8, f"{left} MiB"
    assert measured("left", 2**24) > 16, "nothing of it would be worth the while if glibc did so by itself"


def test_memory_is_kept_again_after_a_crowd() -> None:
    assert measured("faults", 2**24, 2**24) > 1000
    assert measured("faults after", 2**24, 2**24) < 100


def test_what_a_large_line_left_behind_is_given_back() -> None:
    """It moves while it grows, and up to 8 MiB of where it was would stay."""
    assert measured("left of a line") <= 1
