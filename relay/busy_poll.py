"""Stay awake for a moment where frames come one right after the other: busy polling.

To fall asleep and be woken costs a call that is alone 70 of its 150 us, much of it in caches gone cold meanwhile; so
staying awake costs no more CPU than sleeping (bench: serve/calls/100B/1). Kernels do the same for network cards
(SO_BUSY_POLL) and for idle guests (halt polling). Here too it lasts only while what came last came that soon.
"""

from __future__ import annotations

import asyncio
import functools
import os
from time import monotonic

from relay.cpus import usable_cpus

__all__ = ["MOMENT", "BusyPoll"]

MOMENT = 100e-6
"""Seconds: what a quick server takes to answer, and a busy client to ask again."""
_ENOUGH = 16  # frames in a row that must have come that soon
_LEAST_CPUS = 2.0  # below that, the peer needs the time that polling takes
_SWITCH = "MCP_RELAY_BUSY_POLL"


@functools.cache
def _may_poll() -> bool:
    """Tell whether this process may poll: 0 in ``MCP_RELAY_BUSY_POLL`` says no. What it may use is read once."""
    return os.environ.get(_SWITCH) != "0" and usable_cpus() >= _LEAST_CPUS


class BusyPoll:
    """Keeps the running loop from sleeping while frames keep coming.

    Whoever hands on frames that come more than ``MOMENT`` after the last may write that down without a call: ``last``
    is now, and ``in_a_row`` 0.
    """

    __slots__ = ("_is_polling", "_loop", "in_a_row", "last")

    def __init__(self) -> None:
        """Begin with a loop that may sleep."""
        self._loop = asyncio.get_running_loop()
        self.last = 0.0
        self.in_a_row = 0
        self._is_polling = not _may_poll()  # polling already: it never begins

    def frames_came(self) -> None:
        """Note that frames came and were handed on: the next may come at once."""
        now = monotonic()
        if now - self.last > MOMENT:
            self.in_a_row = 0
        elif self.in_a_row < _ENOUGH:
            self.in_a_row += 1
        elif not self._is_polling:
            self._is_polling = True
            self._loop.call_soon(self._poll)
        self.last = now

    def _poll(self) -> None:
        if monotonic() - self.last <= MOMENT:
            self._loop.call_soon(self._poll)
        else:
            self._is_polling = False
            self.in_a_row = 0
