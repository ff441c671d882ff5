"""Decide how much freed memory the C library keeps for the next large frame, and when it gives all of it back.

glibc gives a freed block back at once if it is large, and takes it from the kernel again for the next frame. The
kernel clears each page that it gives: of the 1.4 ms that a result of 1 MB took, that was 1.0. So some memory is kept.

Many large bodies that grow side by side are another matter. In memory that is kept they leave holes when they go: of
12 strangers who held 16 MiB between them, 43 stayed. While there is such a crowd, each large block is the kernel's own.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable

__all__ = ["CROWD", "crowd_came", "crowd_left", "keep", "stop_growing"]

CROWD = 16 * 2**20
"""Bytes that two or more large bodies have announced together, beyond which they are a crowd."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h
_KEPT = 4 * 2**20  # bytes of a block that is kept; twice as many may be free at the end of the heap
_KEPT_IN_CROWD = 512 * 1024  # two reads of a connection, which are freed at once, are not as much

_crowds = 0


def keep() -> None:
    """Keep what frames of up to 4 MiB took (glibc; elsewhere this does nothing).

    glibc then keeps blocks as large as the largest that it gave back. This one is never touched, so it takes no memory.
    """
    bytes(_KEPT)


def stop_growing() -> None:
    """Keep no larger blocks than that, however large those are that come: by itself glibc goes up to 32 MiB."""
    _keep_up_to(_KEPT if not _crowds else _KEPT_IN_CROWD)


def crowd_came() -> None:
    """Give each large block back as soon as it is freed, until ``crowd_left`` has been called as often."""
    global _crowds
    _crowds += 1
    stop_growing()


def crowd_left() -> None:
    """Give back what a crowd left, and keep memory again."""
    global _crowds
    _crowds -= 1
    stop_growing()
    if not _crowds and (libc := _libc()) is not None:
        libc.give_back(0)  # 0.5 ms


def _keep_up_to(size: int) -> None:
    if (libc := _libc()) is not None and libc.size != size:
        libc.size = size
        libc.set_option(_M_MMAP_THRESHOLD, size)
        libc.set_option(_M_TRIM_THRESHOLD, 2 * size)


class _Libc:
    """What glibc lets one say of its memory."""

    def __init__(self, set_option: Callable[[int, int], int], give_back: Callable[[int], int]) -> None:
        self.set_option = set_option
        self.give_back = give_back
        self.size = 0
        """Bytes of the largest block that is kept; 0 if nobody has said."""


@functools.cache
def _libc() -> _Libc | None:
    """Return the C library; None if it is another than glibc, which has nothing to be set. 3 ms, once."""
    if not sys.platform.startswith("linux"):
        return None
    import ctypes

    library = ctypes.CDLL(None)
    set_option, give_back = getattr(library, "mallopt", None), getattr(library, "malloc_trim", None)
    return None if set_option is None or give_back is None else _Libc(set_option, give_back)
