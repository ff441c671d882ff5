"""Give the memory of large messages back to the system as soon as they are gone.

glibc takes a block above some size from the system by itself and gives it back when it is freed. But it raises that
size to that of each such block, up to 32 MiB, and cuts what comes next out of its heap: bodies that grow there side by
side leave holes when they go. Of 12 strangers who held 16 MiB between them 43 stayed.
"""

from __future__ import annotations

import functools
import sys

__all__ = ["give_back_large_blocks"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_LARGE = 512 * 1024  # bytes; two reads of a connection, which are freed at once, are not as much
_SPARE = 2 * 2**20  # bytes that are free at the end of the heap and may stay


@functools.cache
def give_back_large_blocks() -> bool:
    """See to it for as long as the process lives; return whether that takes anything. 3 ms, once.

    Other libraries than glibc have no such size, or one that stays.
    """
    if not sys.platform.startswith("linux"):
        return False
    import ctypes

    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGE) and mallopt(_M_TRIM_THRESHOLD, _SPARE))
