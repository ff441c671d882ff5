"""Keep the event loop awake for a moment while frames come right after one another: busy polling.

To sleep and wake up costs a single call 70 of its 150 us, partly because caches go cold. So staying awake costs no more
CPU than sleeping (bench: serve/calls/100B/1). Kernels do the same for network cards (SO_BUSY_POLL) and for idle guests
(halt polling). The relay polls only while each frame comes that soon after the last.
"""

from __future__ import annotations

import asyncio
import functools
import os
from time import monotonic

from relay.cpus import usable_cpus

__all__ = ["MOMENT", "BusyPoll"]

MOMENT = 100e-6
"""Seconds within which a quick server answers, and a busy client asks again."""
_ENOUGH = 16  # frames in a row that must come that soon before the relay polls
_LEAST_CPUS = 2.0  # below that, the peer needs the time that polling takes
_SWITCH = "MCP_RELAY_BUSY_POLL"


@functools.cache
def _may_poll() -> bool:
    """Tell whether this process may poll: ``MCP_RELAY_BUSY_POLL=0`` forbids it. The CPUs are counted once."""
    return os.environ.get(_SWITCH) != "0" and usable_cpus() >= _LEAST_CPUS


class BusyPoll:
    """Keeps the running loop from sleeping while frames keep coming.

    For frames that come more than ``MOMENT`` after the last, a caller may set ``last`` to now and ``in_a_row`` to 0
    itself, to save a call.
    """

    __slots__ = ("_is_polling", "_loop", "in_a_row", "last")

    def __init__(self) -> None:
        """Start with a loop that may sleep."""
        self._loop = asyncio.get_running_loop()
        self.last = 0.0
        self.in_a_row = 0
        self._is_polling = not _may_poll()  # if polling is forbidden, it counts as begun and never starts

    def frames_came(self) -> None:
        """Note that frames have been forwarded, so that the next may come at once."""
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
