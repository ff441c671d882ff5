"""Choose which of several servers gets the next request, and which servers get none for now.

No I/O: callers report the outcomes of requests, and ask where the next one goes. Three failures in a row or one refused
connection *eject* a server; an answer brings it back. If all servers are ejected, the schedule uses all of them.

Only time shows that a server swallows requests. So a server that has not answered yet gets three requests and no more;
a request whose turn comes there waits for the first answer.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import msgspec

__all__ = ["Schedule", "Standing", "Strategy", "wait_before_try"]

Strategy = Literal["in-order", "round-robin", "least-in-flight"]

_MOST_FAILURES = 3  # in a row: one may be the request's own fault, and a slow server is not a dead one
_MOST_UNANSWERED = 3  # requests that an unproven server may lose
_FIRST_WAIT = 0.5
_LONGEST_WAIT = 5.0  # a probe lasts 4 s at most, so a recovered server is back within 10


def wait_before_try(tries: int, jitter: float) -> float:
    """Return how many seconds to wait before an ejected server is probed again; ``jitter`` is from 0 to 1."""
    return float(min(_FIRST_WAIT * 2 ** min(tries, 16), _LONGEST_WAIT) * (0.5 + 0.5 * jitter))


class Standing(msgspec.Struct):
    """The record of one server."""

    name: str
    in_flight: int = 0
    """Requests that the server has, including those that wait for its first answer."""
    unanswered: int = 0
    """Requests that the server got since its last answer."""
    is_proven: bool = False
    """Whether the server has answered since its last failure."""
    is_silent: bool = False
    """Whether requests have waited in vain for the server's first answer, so that no more requests wait."""
    sessions: int = 0
    failures: int = 0
    """The number of consecutive failures."""
    fault: str | None = None
    """The reason why the server is ejected; None if it is not."""


class Schedule:
    """Several servers, each known by its place in a list, and the turn among them."""

    def __init__(self, names: Collection[str], strategy: Strategy) -> None:
        """Begin with the first server; all are in good standing."""
        self.standings = [Standing(name) for name in names]
        self._strategy = strategy
        self._turn = 0

    def choose(self, tried: Collection[int] = (), *, may_wait: bool = False) -> int | None:
        """Return the place of the next server outside ``tried``; None if there is none.

        A request that ``may_wait`` may get a server that ``is_awaited``, and must wait for that server's first answer.
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
            chosen = min(in_turn, key=self._load)  # the first server in turn with the least load
        self._turn = (chosen + 1) % count
        return chosen

    def is_awaited(self, place: int) -> bool:
        """Tell whether an unproven server has as many requests as it may lose, so that more must wait.

        The only server is never awaited, because there is no other choice.
        """
        one = self.standings[place]
        is_new = not one.is_proven and not one.is_silent and one.fault is None
        return is_new and self._is_full(one) and self._strategy != "in-order" and self.has_other(place)

    def _ready(self, places: list[int]) -> list[int]:
        """Return the servers with few unanswered requests, or else the servers that have answered, or else all."""
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
        """Note that a server got a request."""
        self.standings[place].in_flight += 1
        self.standings[place].unanswered += 1

    def settled(self, place: int, *, is_excused: bool = False) -> None:
        """Note that a request of a server is over; ``is_excused``: the server need not have answered it."""
        self.standings[place].in_flight -= 1
        self.standings[place].unanswered -= is_excused and self.standings[place].unanswered > 0

    def answered(self, place: int) -> None:
        """Note that a server has answered, which brings an ejected server back."""
        one = self.standings[place]
        one.unanswered = one.failures = 0
        one.is_proven, one.is_silent = True, False
        one.fault = None

    def kept_silent(self, place: int) -> None:
        """Note that requests have waited for a server's first answer in vain."""
        self.standings[place].is_silent = True

    def failed(self, place: int, fault: str) -> bool:
        """Note that a server has failed to answer properly; return whether the failure ejects it."""
        self.standings[place].failures += 1
        self.standings[place].is_proven = False
        return self.standings[place].failures >= _MOST_FAILURES and self.refused(place, fault)

    def refused(self, place: int, fault: str) -> bool:
        """Note that a server was unreachable; return whether that ejects it now, rather than earlier."""
        was_ejected = self.standings[place].fault is not None
        self.standings[place].fault = fault
        return not was_ejected
