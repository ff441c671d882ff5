"""Whether a server that keeps ending may be started again now: waits that grow, and a circuit that opens.

Pure: the caller says what time it is (seconds of any clock) and brings the chance (0 to 1).

After an end that nobody asked for the next start waits: up to 0.2 s after the first, twice as long after each further
one, at most 30 s. Five such ends within 60 s open the circuit: while it is open, nobody waits and nothing is started.
Then it is half-open: one start is admitted, the probe, and decides by whether it answers. A run of 60 s, or 60 s
without such an end, and all is forgotten.
"""

from __future__ import annotations

from collections import deque
from typing import Literal

__all__ = ["Circuit", "Verdict"]

Verdict = Literal["start", "wait", "refuse"]

FIRST_WAIT = 0.2
LONGEST_WAIT = 30.0
MOST_FAILURES = 5
WINDOW = 60.0
"""Within so many seconds, that many failures are too many."""
HEALTHY = 60.0
"""A run of so many seconds shows that the server is well."""


class Circuit:
    """What is known of the starts of one server."""

    def __init__(self) -> None:
        """Be closed: nothing has failed."""
        self.fault: str | None = None
        """What was seen last; None if nothing has failed, or it has been well since."""
        self.is_open = False
        self.until = 0.0
        """Nothing is started before."""
        self.has_probe = False
        """Whether a start of an open circuit is under way."""
        self._failures: deque[float] = deque()
        self._streak = 0
        self._is_on_probation = False

    def ask(self, now: float) -> Verdict:
        """Tell whether one may start; ``wait``: ask again at ``until``. Of an open circuit one may, the probe."""
        if not self.is_open:
            return "start" if now >= self.until else "wait"
        if self.has_probe or now < self.until:
            return "refuse"
        self.has_probe = True
        return "start"

    def failed(self, now: float, fault: str, *, ran: float = 0.0, chance: float = 1.0, is_probe: bool = False) -> bool:
        """Note that a start has failed, or a server has ended after ``ran`` seconds; return whether this opens it."""
        if self.is_open and not is_probe:
            self.fault = fault
            return False  # started before it opened: nothing new
        if ran >= HEALTHY or (self._failures and now - self._failures[-1] >= HEALTHY and not self.is_open):
            self._forget()
        self.fault = fault
        self._streak += 1
        self._failures.append(now)
        while now - self._failures[0] >= WINDOW:
            self._failures.popleft()
        longest = min(FIRST_WAIT * 2 ** min(self._streak - 1, 16), LONGEST_WAIT)
        was_open, self.has_probe = self.is_open, False
        self.is_open = was_open or self._is_on_probation or len(self._failures) >= MOST_FAILURES
        # An open circuit stays so for half its time at least: who is told when to come again must not come in vain.
        self.until = now + longest * (0.5 + 0.5 * chance if self.is_open else chance)
        return self.is_open and not was_open

    def answered(self) -> None:
        """Note that the server is well: it has answered since it last failed. The next failure opens at once."""
        self.fault = None
        if self.is_open:
            self.is_open = self.has_probe = False
            self._is_on_probation = True

    def probe_ended(self) -> None:
        """Note that the probe ended before it could decide: the next start is one again."""
        self.has_probe = False

    def ran(self, seconds: float) -> None:
        """Note how long a server has run that has not failed."""
        if seconds >= HEALTHY and not self.is_open:
            self._forget()

    @property
    def recent_failures(self) -> int:
        """How many ends, one soon after the other, led to where it is."""
        return len(self._failures)

    def _forget(self) -> None:
        self.fault = None
        self.is_open = self.has_probe = self._is_on_probation = False
        self.until = 0.0
        self._failures.clear()
        self._streak = 0
