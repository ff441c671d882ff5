"""The relay returns the memory of freed large messages to the system, whatever stays beside them."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

GROWING = """
import io, sys
from pathlib import Path

from relay.endpoints.core.arrivals import Arrivals
from relay.limits import Limits

MIB = 2**20

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / MIB

del bytearray(24 * MIB)[:]  # now glibc would take blocks of this size from its heap
arrival = Arrivals(Limits()).begin(int(sys.argv[1]))
before = resident()
bodies = [io.BytesIO() for _ in range(8)]
for _ in range(32):  # side by side
    for body in bodies:
        body.write(b"x" * 2**17)
held = resident() - before
del bodies[:-1]
print(round(held), round(resident() - before))
"""


def grown(size: int) -> tuple[int, int]:
    """Let eight bodies grow to 4 MiB each beside one of ``size`` that arrives; return MiB held, and left of one."""
    said = subprocess.run([sys.executable, "-c", GROWING, str(size)], check=True, capture_output=True, text=True)
    held, left = said.stdout.split()
    return int(held), int(left)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc raises the size of blocks it keeps")
def test_what_large_bodies_held_is_given_back_at_once() -> None:
    """All but one of eight have gone: it alone is held, where else the holes between them are too."""
    _, kept = grown(1000)
    held, left = grown(2**24)
    assert held >= 32
    assert left <= 8, f"{left} MiB"
    assert kept > 16, "nothing of it would be worth the while if glibc did so by itself"
