"""Return the memory of large messages to the system as soon as the relay frees them.

glibc maps a block above a threshold separately, and returns it to the system when it is freed. But glibc raises the
threshold to the size of each such block, up to 32 MiB, and takes later blocks from its heap. Bodies that grow there
side by side leave holes. After 12 strangers who together held 16 MiB, 43 MiB stayed.
"""

from __future__ import annotations

import functools
import sys

__all__ = ["give_back_large_blocks"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGE = 512 * 1024  # bytes; more than two reads of a connection, which are freed at once
_SPARE = 2 * 2**20  # bytes that may stay free at the end of the heap


@functools.cache
def give_back_large_blocks() -> bool:
    """Fix glibc's thresholds for the life of the process; return whether that succeeded. It takes 3 ms, once.

    Other C libraries have no such threshold, or a constant one.
    """
    if not sys.platform.startswith("linux"):
        return False
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGE) and mallopt(_M_TRIM_THRESHOLD, _SPARE))
