"""Which of several servers is next, and which are not asked for now.

Pure: it is told what became of requests and says where the next one goes. A server is *ejected* after three failures
in a row or one refused connection, and comes back when it has answered. If all are ejected, each
is as good as another: they are asked after all.

A server that swallows requests is found out by time alone, so while others can take them, none is given more than three
requests that it has answered nothing after.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import msgspec

__all__ = ["Rota", "Standing", "Strategy", "wait_before_try"]

Strategy = Literal["in-order", "round-robin", "least-in-flight"]

_MOST_FAILURES = 3  # in a row: one may be the request's own fault, and a slow one is no dead server
_FIRST_WAIT = 0.5
_LONGEST_WAIT = 5.0  # and a look lasts at most 4 s: who has recovered is back within 10


def wait_before_try(tries: int, jitter: float) -> float:
    """Return how many seconds to wait before an ejected server is tried again; ``jitter`` is from 0 to 1."""
    return float(min(_FIRST_WAIT * 2 ** min(tries, 16), _LONGEST_WAIT) * (0.5 + 0.5 * jitter))


class Standing(msgspec.Struct):
    """What is known of one server."""

    name: str
    in_flight: int = 0
    unanswered: int = 0
    """Requests since its last answer."""
    is_proven: bool = False
    """Whether it has answered since it last failed."""
    promised: int = 0
    """Requests that wait for its first answer."""
    is_worth_waiting: bool = True
    """Whether requests may wait for its first answer; once they have done so in vain, no more do."""
    sessions: int = 0
    failures: int = 0
    """In a row, up to now."""
    fault: str | None = None
    """Why it is ejected; None if it is not."""


class Rota:
    """Several servers, by their place in a list, and whose turn it is."""

    def __init__(self, names: Collection[str], strategy: Strategy) -> None:
        """Begin with the first; all are in good standing."""
        self.standings = [Standing(name) for name in names]
        self._strategy = strategy
        self._turn = 0

    def choose(self, tried: Collection[int] = (), *, may_wait: bool = False) -> int | None:
        """Return the place of the next server, leaving out those ``tried``; None if there is no other.

        Who ``may_wait`` may get one that is awaited: it must not be asked yet.
        """
        count = len(self.standings)
        start = 0 if self._strategy == "in-order" else self._turn
        in_turn = [(start + step) % count for step in range(count)]
        if any(one.fault is None for one in self.standings):
            in_turn = [place for place in in_turn if self.standings[place].fault is None]
        in_turn = [place for place in in_turn if place not in tried]
        if not in_turn:
            return None
        chosen = in_turn[0]
        if self._strategy != "in-order":
            safest = self._safest(in_turn)
            # Else whoever answers first would get all of a burst.
            waits = may_wait and any(self.standings[place].is_proven for place in safest)
            in_turn = [place for place in in_turn if place in safest or (waits and self.is_awaited(place))]
            chosen = in_turn[0]
        if self._strategy == "least-in-flight":
            chosen = min(in_turn, key=self._load)  # the first of those with the least: whose turn it is
        self._turn = (chosen + 1) % count
        return chosen

    @property
    def is_untried(self) -> bool:
        """Whether every server has as many requests as may be lost, and none has shown that it answers."""
        well = [one for one in self.standings if one.fault is None]
        if self._strategy == "in-order" or len(well) < 2:
            return False
        return not any(one.is_proven or one.unanswered < _MOST_FAILURES or not one.in_flight for one in well)

    def is_awaited(self, place: int) -> bool:
        """Tell whether a server has as many requests as may be lost, and may yet show that it answers."""
        one = self.standings[place]
        is_full = one.unanswered >= _MOST_FAILURES and one.in_flight > 0
        is_new = one.is_worth_waiting and not one.is_proven and one.fault is None
        return is_new and is_full and self._strategy != "in-order"

    def _safest(self, places: list[int]) -> list[int]:
        """Return those that few requests would be lost with, else those that do answer, else all."""
        standings = self.standings
        few = [one for one in places if standings[one].unanswered < _MOST_FAILURES or not standings[one].in_flight]
        return few or [one for one in places if standings[one].is_proven] or places

    def _load(self, place: int) -> tuple[int, int]:
        one = self.standings[place]
        return one.in_flight + one.promised, one.sessions

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
        """Note that a server has answered; an ejected one is taken back by that."""
        self.standings[place].unanswered = 0
        self.standings[place].is_proven = True
        self.standings[place].failures = 0
        self.standings[place].fault = None

    def failed(self, place: int, fault: str) -> bool:
        """Note that a server has not answered, or not well; return whether it is ejected by that."""
        self.standings[place].failures += 1
        self.standings[place].is_proven = False
        return self.standings[place].failures >= _MOST_FAILURES and self.refused(place, fault)

    def refused(self, place: int, fault: str) -> bool:
        """Note that a server could not be reached; return whether it is ejected by that: not if it was already."""
        was_ejected = self.standings[place].fault is not None
        self.standings[place].fault = fault
        return not was_ejected
