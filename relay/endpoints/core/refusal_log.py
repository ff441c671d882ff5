"""Log clients' faults for the operator: the first of each kind as a warning, the others at INFO.

Often the operator can fix a refusal: ``--allowed-host`` lacks a name, or ``--allow-origin`` a page. But strangers
choose hosts, origins, paths and how they disconnect. So the log warns of a few kinds at once, then of one a minute.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable

__all__ = ["RefusalLog"]

logger = logging.getLogger("relay")

_AT_ONCE = 10  # kinds of one status, before the log warns of one a minute
_PERIOD = 60.0
_REMEMBERED = 256  # kinds of one status
_SHOWN = 300  # characters of a line
_LOGIN = re.compile(r"(//|')[^/\s'\"]*@")


class _Budget:
    """The kinds of one status that the log has named, and how many more it may name now."""

    def __init__(self, now: float) -> None:
        self.named: dict[str, None] = {}
        self.left = float(_AT_ONCE)
        self.since = now
        self.unnamed = 0

    def take(self, now: float) -> bool:
        """Tell whether the log may name one more kind, and count it."""
        self.left = min(_AT_ONCE, self.left + (now - self.since) / _PERIOD)
        self.since = now
        if self.left < 1:
            self.unnamed += 1
            return False
        self.left -= 1
        return True


class RefusalLog:
    """Logs the faults of the clients of one listener or one server."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Take a ``clock`` that returns seconds."""
        self._clock = clock
        self._budgets: dict[str, _Budget] = {}

    def note(self, kind: str, what: str, line: str) -> None:
        """Log ``line``: as a warning if ``what`` is new for ``kind``, else at INFO; only few kinds exist."""
        line = _printable(line)
        if self._is_new(kind, what[:_SHOWN]):
            budget = self._budgets[kind]
            others, budget.unnamed = budget.unnamed, 0
            more = f", {others} others meanwhile" if others else ""
            logger.warning("%s (logged once%s; --log-level INFO logs each)", line, more)
        else:
            logger.info("%s", line)

    def _is_new(self, kind: str, what: str) -> bool:
        now = self._clock()
        budget = self._budgets.get(kind)
        if budget is None:
            budget = self._budgets[kind] = _Budget(now)
        if what in budget.named or not budget.take(now):
            return False
        budget.named[what] = None
        if len(budget.named) > _REMEMBERED:
            del budget.named[next(iter(budget.named))]
        return True


def _printable(line: str) -> str:
    """Return a line without a stranger's line breaks and logins, and not too long."""
    line = _LOGIN.sub(r"\1…@", line[:_SHOWN])
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in line)
