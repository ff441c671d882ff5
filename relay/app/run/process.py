"""The process that the program runs in: its event loop, its descriptors, its garbage."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from relay.errors import ConfigError

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

__all__ = [
    "collect_less_often",
    "flush_stdout",
    "keep_freed_memory",
    "loop_factory",
    "open_standard_descriptors",
    "raise_descriptor_limit",
]

_KEPT = 4 * 1024 * 1024
_DESCRIPTORS = 65_536  # more than connections may be; some children close every number up to the limit they inherit


def loop_factory(environment: Mapping[str, str] = os.environ) -> Callable[[], AbstractEventLoop] | None:
    """Return uvloop's loop where there is one; None is Python's own. Raises ConfigError."""
    wanted = environment.get("MCP_RELAY_LOOP", "")
    if wanted not in ("", "asyncio", "uvloop"):
        raise ConfigError(f"MCP_RELAY_LOOP is {wanted!r}; known are asyncio and uvloop")
    if wanted == "asyncio":
        return None
    try:
        import uvloop
    except ImportError as exc:
        if wanted:
            raise ConfigError("MCP_RELAY_LOOP is 'uvloop', which is not installed; leave it out") from exc
        return None
    return uvloop.new_event_loop


def open_standard_descriptors() -> None:
    """Put the null device where stdin, stdout or stderr was closed: the next pipe would get its number, and uvloop
    aborts the process when it closes one of those.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is this one
    if sys.stdout is None:  # it was closed, and somebody may print
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)


def flush_stdout() -> OSError | None:
    """Write what was printed; return why that cannot be done, and forget it: Python would try again at the exit.

    Nothing is written where nothing was printed: a relay on own stdio does not print.
    """
    try:
        sys.stdout.flush()
    except OSError as exc:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)
        return exc
    return None


def raise_descriptor_limit() -> None:
    """Let as many descriptors be open as connections may be, not the 1,024 that a login gives: as far as allowed."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # macOS admits fewer than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def collect_less_often() -> None:
    """Let the cycle collector leave alone what was loaded, and come less often: nearly nothing here is a cycle.

    By default it looks at every 700 new objects, which 128 calls in flight pass with each batch: 29,500 calls a second
    against 35,000 (bench: connect-json/calls/100B/128).
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def keep_freed_memory() -> None:
    """Let the C library keep some freed memory for the next large frame (glibc; elsewhere this does nothing).

    glibc returns freed memory to the kernel beyond twice the largest block that was freed, at first beyond 128 KiB.
    The kernel clears each page that it gives anew: of the 1.4 ms that a result of 1 MB took, that was 1.0. The block
    here is never touched, so it takes no memory itself.
    """
    bytes(_KEPT)
