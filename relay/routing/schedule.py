"""Which of several servers gets the next request, and which servers get none for now.

Pure: callers report what became of requests, and ask where the next one goes. Three failures in a row or one refused
connection *eject* a server; an answer brings it back. If all servers are ejected, all of them are asked after all.

Only time shows that a server swallows requests. So a server that has not answered yet gets three requests and no more;
a request whose turn comes there waits for the first answer.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import msgspec

__all__ = ["Schedule", "Standing", "Strategy", "wait_before_try"]

Strategy = Literal["in-order", "round-robin", "least-in-flight"]

_MOST_FAILURES = 3  # in a row: one may be the request's own fault, and a slow server is no dead one
_MOST_UNANSWERED = 3  # requests that a server may cost before it has shown that it answers
_FIRST_WAIT = 0.5
_LONGEST_WAIT = 5.0  # and a probe lasts 4 s at most: a server that has recovered is back within 10


def wait_before_try(tries: int, jitter: float) -> float:
    """Return how many seconds to wait before an ejected server is probed again; ``jitter`` is from 0 to 1."""
    return float(min(_FIRST_WAIT * 2 ** min(tries, 16), _LONGEST_WAIT) * (0.5 + 0.5 * jitter))


class Standing(msgspec.Struct):
    """What is known of one server."""

    name: str
    in_flight: int = 0
    """Requests it was given, those that wait for its first answer included."""
    unanswered: int = 0
    """Requests it was given since its last answer."""
    is_proven: bool = False
    """Whether it has answered since it last failed."""
    is_silent: bool = False
    """Whether requests have waited for its first answer in vain: no more do."""
    sessions: int = 0
    failures: int = 0
    """In a row, up to now."""
    fault: str | None = None
    """Why it is ejected; None if it is not."""


class Schedule:
    """Several servers, each known by its place in a list, and whose turn it is."""

    def __init__(self, names: Collection[str], strategy: Strategy) -> None:
        """Begin with the first server; all are in good standing."""
        self.standings = [Standing(name) for name in names]
        self._strategy = strategy
        self._turn = 0

    def choose(self, tried: Collection[int] = (), *, may_wait: bool = False) -> int | None:
        """Return the place of the next server that is not among those ``tried``; None if there is none.

        A request that ``may_wait`` may get a server that ``is_awaited``: it must wait for that one's first answer.
        """
        count = len(self.standings)
        start = 0 if self._strategy == "in-order" else self._turn
        in_turn = [(start + step) % count for step in range(count)]
        if any(one.fault is None for one in self.standings):
            in_turn = [place for place in in_turn if self.standings[place].fault is None]
        in_turn = [place for place in in_turn if place not in tried]
        if not in_turn:
            return None
        if self._strategy != "in-order":
            ready = self._ready(in_turn)
            in_turn = [place for place in in_turn if place in ready or (may_wait and self.is_awaited(place))]
        chosen = in_turn[0]
        if self._strategy == "least-in-flight":
            chosen = min(in_turn, key=self._load)  # the first of those with the least: whose turn it is
        self._turn = (chosen + 1) % count
        return chosen

    def is_awaited(self, place: int) -> bool:
        """Tell whether a server has as many requests as it may cost, and may yet show that it answers.

        A server that is the only one is not awaited: there is nothing to lose by asking it.
        """
        one = self.standings[place]
        is_new = not one.is_proven and not one.is_silent and one.fault is None
        return is_new and self._is_full(one) and self._strategy != "in-order" and self.has_other(place)

    def _ready(self, places: list[int]) -> list[int]:
        """Return the servers that few requests would be lost with, else those that do answer, else all."""
        standings = self.standings
        few = [place for place in places if not self._is_full(standings[place])]
        return few or [place for place in places if standings[place].is_proven] or places

    def _is_full(self, one: Standing) -> bool:
        return one.unanswered >= _MOST_UNANSWERED and one.in_flight > 0

    def _load(self, place: int) -> tuple[int, int]:
        one = self.standings[place]
        return one.in_flight, one.sessions

    def has_other(self, place: int) -> bool:
        """Tell whether a server other than this one is in good standing."""
        return any(one.fault is None for number, one in enumerate(self.standings) if number != place)

    def took(self, place: int) -> None:
        """Note that a server was given a request."""
        self.standings[place].in_flight += 1
        self.standings[place].unanswered += 1

    def settled(self, place: int, *, is_excused: bool = False) -> None:
        """Note that a request of a server is over; ``is_excused``: it need not have answered that one."""
        self.standings[place].in_flight -= 1
        self.standings[place].unanswered -= is_excused and self.standings[place].unanswered > 0

    def answered(self, place: int) -> None:
        """Note that a server has answered; an ejected one is back by that."""
        one = self.standings[place]
        one.unanswered = one.failures = 0
        one.is_proven, one.is_silent = True, False
        one.fault = None

    def kept_silent(self, place: int) -> None:
        """Note that requests have waited for a server's first answer in vain."""
        self.standings[place].is_silent = True

    def failed(self, place: int, fault: str) -> bool:
        """Note that a server has not answered, or not well; return whether that ejects it."""
        self.standings[place].failures += 1
        self.standings[place].is_proven = False
        return self.standings[place].failures >= _MOST_FAILURES and self.refused(place, fault)

    def refused(self, place: int, fault: str) -> bool:
        """Note that a server could not be reached; return whether that ejects it: not if it was ejected already."""
        was_ejected = self.standings[place].fault is not None
        self.standings[place].fault = fault
        return not was_ejected
