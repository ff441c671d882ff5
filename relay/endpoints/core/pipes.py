"""Enlarge a pipe's buffer."""

from __future__ import annotations

import contextlib

__all__ = ["FULL_PIPE", "WIDE_PIPE", "widen_pipe"]

FULL_PIPE = 64 * 1024
"""The default capacity of a pipe on Linux, in bytes; a read of so many has emptied a full pipe."""

WIDE_PIPE = 1024 * 1024
"""The largest capacity that Linux gives to an ordinary user, in bytes."""


def widen_pipe(fd: int, size: int = WIDE_PIPE) -> None:
    """Let a pipe hold a whole large frame (Linux), because each 64 KiB costs both sides a wake-up.

    A user has 64 MiB for all pipes, and then gets only small ones. So a relay with a thousand children widens a pipe
    only when a large frame needs it.
    """
    with contextlib.suppress(ImportError, AttributeError, OSError):
        import fcntl

        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, size)
