"""How signals end a relay: the first in order, the second at once."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable

from relay.app.log.stderr import StderrSink, say

__all__ = ["StopSignals"]

logger = logging.getLogger("relay")

_INTERRUPTED = 130


class StopSignals:
    """The first SIGTERM, SIGINT or SIGHUP asks for an orderly end, a second SIGTERM or SIGINT ends the process at once.

    A second SIGHUP does nothing: a closing terminal may send two, and systemd can send one right after SIGTERM. With
    files to read again, of servers or of tokens, SIGHUP asks for that and ends nothing.
    """

    def __init__(self, sink: StderrSink, *on_hangup: Callable[[], None]) -> None:
        """Catch them once installed, inside the event loop; SIGHUP calls ``on_hangup`` instead of ending the relay."""
        self._sink = sink
        self._on_hangup = on_hangup
        self.stopped = asyncio.Event()

    def install(self) -> None:
        """Catch the signals."""
        loop = asyncio.get_running_loop()
        numbers = [signal.SIGTERM, signal.SIGINT]
        if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup ignores it
            numbers.append(signal.SIGHUP)
        for number in numbers:
            try:
                loop.add_signal_handler(number, self._caught, number)
            except NotImplementedError:  # Windows
                signal.signal(number, lambda caught, _: loop.call_soon_threadsafe(self._caught, caught))

    def _caught(self, number: int) -> None:
        name = signal.Signals(number).name
        if self.stopped.is_set():
            if name == "SIGHUP":
                return
            # The guardian ends the children: an orderly stop could take seconds, and the operator insists.
            say(self._sink, f"{name} again: ending at once")
            os._exit(_INTERRUPTED)
        if name == "SIGHUP" and self._on_hangup:
            for reload in self._on_hangup:
                reload()
            return
        logger.info("%s: finishing what is in flight", name)
        self.stopped.set()
