"""Tell the operator of what clients do wrong: the first of each kind as a warning, the others at INFO.

A refusal is often the operator's to mend: a name that ``--allowed-host`` lacks, a page that ``--allow-origin`` does.
Strangers choose hosts, origins, paths and how they leave, though: so many kinds are named at once, then one a minute.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable

__all__ = ["RefusalLog"]

logger = logging.getLogger("relay")

_AT_ONCE = 10  # of one status, before they are named one a minute
_PERIOD = 60.0
_REMEMBERED = 256  # kinds of one status
_SHOWN = 300  # characters of a line
_LOGIN = re.compile(r"(//|')[^/\s'\"]*@")


class _Budget:
    """The kinds of one status that were named, and how many more may be now."""

    def __init__(self, now: float) -> None:
        self.named: dict[str, None] = {}
        self.left = float(_AT_ONCE)
        self.since = now
        self.unnamed = 0

    def take(self, now: float) -> bool:
        """Take a place for one more."""
        self.left = min(_AT_ONCE, self.left + (now - self.since) / _PERIOD)
        self.since = now
        if self.left < 1:
            self.unnamed += 1
            return False
        self.left -= 1
        return True


class RefusalLog:
    """What the clients of one listener, or of one server, have done."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """Count minutes by ``clock``, in seconds."""
        self._clock = clock
        self._budgets: dict[str, _Budget] = {}

    def note(self, kind: str, what: str, line: str) -> None:
        """Say ``line``: as a warning if ``what`` is new among what is refused as ``kind``, of which there are few."""
        line = _printable(line)
        if self._is_new(kind, what[:_SHOWN]):
            budget = self._budgets[kind]
            others, budget.unnamed = budget.unnamed, 0
            more = f", {others} others meanwhile" if others else ""
            logger.warning("%s (said once%s; --log-level INFO says each)", line, more)
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
    """Return a line without line breaks and logins that a stranger has put in it, and not too long."""
    line = _LOGIN.sub(r"\1…@", line[:_SHOWN])
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in line)
