"""How much a pipe holds."""

from __future__ import annotations

import contextlib

__all__ = ["FULL_PIPE", "WIDE_PIPE", "widen_pipe"]

FULL_PIPE = 64 * 1024
"""What one holds by default on Linux: a read of so much has emptied one that was full."""

WIDE_PIPE = 1024 * 1024
"""What Linux lets an ordinary user have."""


def widen_pipe(fd: int, size: int = WIDE_PIPE) -> None:
    """Let a pipe hold a whole large frame (Linux): each 64 KiB it holds by default costs both sides a wake-up.

    A user has 64 MiB for all of them, and then only small ones: not for a thousand children, until they are of use.
    """
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, size)
