"""Decide how much freed memory the C library keeps for the next large frame, and when it returns all of it.

glibc returns a large block to the kernel when it is freed, and asks for it again for the next frame. The kernel clears
each page that it gives, which took 1.0 of the 1.4 ms for a result of 1 MB. So the relay makes glibc keep some memory.

Many large bodies that grow side by side are different. In kept memory they leave holes: after 12 strangers who together
held 16 MiB, 43 MiB stayed. While there is such a crowd, glibc takes each large block from the kernel separately.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable

__all__ = ["CROWD", "KEPT", "crowd_came", "crowd_left", "give_back", "keep", "stop_growing"]

CROWD = 16 * 2**20
"""Bytes; two or more large bodies that together announce more are a crowd."""

KEPT = 4 * 2**20
"""Bytes of the largest kept block; twice as many may stay free at the end of the heap."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_KEPT_IN_CROWD = 128 * 1024  # bytes; less than one read of a connection, because 20 of them wait side by side

_crowds = 0


def keep() -> None:
    """Keep the memory of frames of up to 4 MiB (with glibc; elsewhere this does nothing).

    glibc keeps blocks up to the size of the largest one that it has returned. This block is never touched, so it takes
    no memory.
    """
    bytes(KEPT)


def stop_growing() -> None:
    """Keep no blocks above that size; by itself glibc raises the size to that of each block, up to 32 MiB."""
    _keep_up_to(KEPT if not _crowds else _KEPT_IN_CROWD)


def crowd_came() -> None:
    """Return each large block when it is freed, until ``crowd_left`` has been called as often."""
    global _crowds
    _crowds += 1
    stop_growing()


def crowd_left() -> None:
    """Return the memory of a crowd to the kernel, and keep memory again."""
    global _crowds
    _crowds -= 1
    stop_growing()
    if not _crowds:
        give_back()


def give_back() -> None:
    """Return all freed memory to the kernel, which takes 0.5 ms."""
    if (libc := _libc()) is not None:
        libc.give_back(0)


def _keep_up_to(size: int) -> None:
    if (libc := _libc()) is not None and libc.size != size:
        libc.size = size
        libc.set_option(_M_MMAP_THRESHOLD, size)
        libc.set_option(_M_TRIM_THRESHOLD, 2 * size)


class _Libc:
    """The glibc functions that set and trim its memory."""

    def __init__(self, set_option: Callable[[int, int], int], give_back: Callable[[int], int]) -> None:
        self.set_option = set_option
        self.give_back = give_back
        self.size = 0
        """Bytes of the largest kept block; 0 until it is set."""


@functools.cache
def _libc() -> _Libc | None:
    """Return glibc's functions, or None for another C library, which has no such options. It takes 3 ms, once."""
    if not sys.platform.startswith("linux"):
        return None
    import ctypes

    library = ctypes.CDLL(None)
    set_option, give_back = getattr(library, "mallopt", None), getattr(library, "malloc_trim", None)
    return None if set_option is None or give_back is None else _Libc(set_option, give_back)
