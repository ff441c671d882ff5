"""Decide whether a server that keeps ending may start again: with growing waits, and a circuit that opens.

No I/O and no clock: the caller passes the time (seconds of any clock) and the random chance (0 to 1).

After an unexpected end, the next start waits: up to 0.2 s after the first end, twice as long after each further one, at
most 30 s. Five such ends within 60 s open the circuit. An open circuit rejects every start at once. After a time it is
half-open, and admits one start, the probe. The circuit closes if the probe answers. A run of 60 s, or 60 s without an
unexpected end, resets the circuit.
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
"""The seconds within which too many failures open the circuit."""
HEALTHY = 60.0
"""The seconds of a run that show that the server is healthy."""


class Circuit:
    """The record of the starts of one server."""

    def __init__(self) -> None:
        """Start with a closed circuit, without failures."""
        self.fault: str | None = None
        """The last fault; None if nothing has failed, or the server has been healthy since."""
        self.is_open = False
        self.until = 0.0
        """The time before which no start is admitted."""
        self.has_probe = False
        """Whether a start of an open circuit is under way."""
        self._failures: deque[float] = deque()
        self._streak = 0
        self._is_on_probation = False

    def ask(self, now: float) -> Verdict:
        """Tell whether a server may start; ``wait`` means to ask again at ``until``.

        Once the time of an open circuit is over, it admits one start, the probe.
        """
        if not self.is_open:
            return "start" if now >= self.until else "wait"
        if self.has_probe or now < self.until:
            return "refuse"
        self.has_probe = True
        return "start"

    def failed(self, now: float, fault: str, *, ran: float = 0.0, chance: float = 1.0, is_probe: bool = False) -> bool:
        """Note that a start failed, or a server ended after ``ran`` seconds; return whether the circuit opens now."""
        if self.is_open and not is_probe:
            self.fault = fault
            return False  # the start preceded the opening, so it adds nothing new
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
        # An open circuit stays open for at least half its time: a client that retries when told must not fail again.
        self.until = now + longest * (0.5 + 0.5 * chance if self.is_open else chance)
        return self.is_open and not was_open

    def answered(self) -> None:
        """Note that the server has answered since its last failure. The next failure opens the circuit at once."""
        self.fault = None
        if self.is_open:
            self.is_open = self.has_probe = False
            self._is_on_probation = True

    def probe_ended(self) -> None:
        """Note that the probe ended without a result, so that the next start is the probe."""
        self.has_probe = False

    def ran(self, seconds: float) -> None:
        """Note that a server has run for ``seconds`` without a failure."""
        if seconds >= HEALTHY and not self.is_open:
            self._forget()

    @property
    def recent_failures(self) -> int:
        """The number of recent unexpected ends."""
        return len(self._failures)

    def _forget(self) -> None:
        self.fault = None
        self.is_open = self.has_probe = self._is_on_probation = False
        self.until = 0.0
        self._failures.clear()
        self._streak = 0
