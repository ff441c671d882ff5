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
    "loop_factory",
    "open_standard_descriptors",
    "raise_descriptor_limit",
]

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
    if sys.stdout is None:  # it was closed, and a command may print
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)


def flush_stdout() -> OSError | None:
    """Flush stdout; return why that failed, after dropping the text: Python would try again at exit.

    Without printed text nothing is written: a relay on own stdio does not print.
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
    """Raise the limit of open descriptors above the usual 1,024, as far as the hard limit allows."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # macOS allows fewer than it reports
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def collect_less_often() -> None:
    """Keep loaded objects out of garbage collection, and collect less often: almost no object here is in a cycle.

    By default Python collects after 700 new objects, which a batch of 128 calls makes: 29,500 calls a second against
    35,000 (bench: connect-json/calls/100B/128).
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)
