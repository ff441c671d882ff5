"""Reap orphans: in a container without an init, the relay is process 1 and inherits them.

A grandchild whose parent has ended becomes a child of process 1. After its own end it stays a zombie until process 1
waits for it. Children that the relay started are left to the code that waits for their exit status.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator

from relay.endpoints.child.program import running_processes

__all__ = ["reap_orphans"]

_AT_ONCE = 100
_LOOK_AGAIN = 0.1


@contextlib.contextmanager
def reap_orphans(loop: asyncio.AbstractEventLoop) -> Iterator[None]:
    """Reap orphans as they end, while the block runs on ``loop``."""
    if sys.platform != "linux" or threading.current_thread() is not threading.main_thread():
        yield
        return

    def one_ended(*_: object) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has been closed
            loop.call_soon_threadsafe(_reap, loop)

    before = signal.signal(signal.SIGCHLD, one_ended)
    signal.siginterrupt(signal.SIGCHLD, False)
    one_ended()  # for children of the shell that has become the relay
    try:
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)


def _reap(loop: asyncio.AbstractEventLoop) -> None:
    if sys.platform != "linux":
        return
    for _ in range(_AT_ONCE):
        try:
            ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return
        if ended is None:
            return
        look = running_processes.get(ended.si_pid)
        if look is None:
            os.waitpid(ended.si_pid, os.WNOHANG)
            continue
        look()
        if ended.si_pid in running_processes:
            break  # it hides those behind it, until the thread that waits for it has run
    loop.call_later(_LOOK_AGAIN, _reap, loop)
