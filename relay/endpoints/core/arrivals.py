"""Bound the memory for bodies, first lines and first messages that arrive from clients without a session.

A reservation for each body would let a client hold memory with a body that it announces and never sends. So the relay
counts bytes, and only those that have arrived. While all of them fit, no client waits. Beyond that, one body at a time
continues: the one with the fewest bytes to come. A body that stalls loses its turn at once when others wait. It loses
its place if it stalls for long or holds much. So a relay holds at most twice a fixed capacity and one frame more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

from relay import freed_memory
from relay.limits import Limits

__all__ = ["STEP", "Arrival", "Arrivals"]

STEP = 64 * 1024
"""Bytes for one read while other clients may wait."""
_LONG_STEP = 256 * 1024
"""Bytes for one read while no client waits; with 64 KiB, aiohttp pauses 8 times in a megabyte."""
_AHEAD = 3 * _LONG_STEP  # bytes that a connection may read before its body is counted again
_PERIOD = 0.02  # seconds between two checks while a body waits
_MOST_WAITING = 512  # each may have some 100 KiB in the buffers of its connection


class Arrival:
    """One body that is arriving, with the count of its bytes so far."""

    __slots__ = (
        "_arrivals",
        "_hall",
        "_is_wanted",
        "_seen_at",
        "_seen_held",
        "held",
        "most",
        "on_refused",
        "on_room",
        "size",
    )

    def __init__(self, arrivals: Arrivals, size: int | None, is_wanted: Callable[[], bool]) -> None:
        """Use ``Arrivals.begin``."""
        self._arrivals = arrivals
        self._is_wanted = is_wanted
        self.size = size
        self.most = arrivals.max_bytes if size is None else size
        """The most bytes that the body may have."""
        self.held = 0
        self.on_room: Callable[[], None] = lambda: None
        """Called once the body may continue, after ``grow`` has returned False."""
        self.on_refused: Callable[[], None] = lambda: None
        """Called after the relay has removed the body to make room."""
        self._seen_at = monotonic()
        self._seen_held = 0
        self._hall = arrivals.hall_of(self)
        self._hall.enter(self)

    @property
    def is_inside(self) -> bool:
        """Whether the body has neither ended nor been rejected."""
        return self in self._hall.members

    def grow(self, count: int) -> bool:
        """Count bytes that have arrived; return whether to read more. If not, wait for ``on_room``."""
        if not self.is_inside:
            return False
        self.held += count
        self._hall.held += count
        if self.held - self._seen_held >= self._arrivals.least:
            self._note_progress()
        hall = self._arrivals.hall_of(self)
        if hall is not self._hall:
            self._hall.leave(self)
            self._hall = hall
            hall.enter(self)
        return hall.admits(self)

    def end(self) -> None:
        """Stop counting the body, because it is complete or has failed; a second call does nothing."""
        self._hall.leave(self)

    def _note_progress(self) -> None:
        self._seen_at, self._seen_held = monotonic(), self.held

    @property
    def to_come(self) -> int:
        """The number of bytes that may still come."""
        return max(0, self.most - self.held)

    @property
    def step(self) -> int:
        """The bytes to read at a time; the connection may hold three times as many before they are counted."""
        return _LONG_STEP if self._hall.has_room_for_all else STEP

    @property
    def is_wanted(self) -> bool:
        """Whether the server behind this body takes more."""
        return self._is_wanted()

    def silence(self, now: float) -> float:
        """Return for how many seconds the body has stalled."""
        return now - self._seen_at

    def go_on(self) -> None:
        """Let the connection read on."""
        self._note_progress()
        self.on_room()


class Arrivals:
    """All bodies that are arriving at one relay, over all of its listeners."""

    def __init__(self, limits: Limits, *, capacity: int | None = None, patience: float | None = None) -> None:
        """Hold ``capacity`` bytes of small bodies, as many of large ones, and one body of ``limits.max_frame_bytes``.

        A body that stalls for ``patience`` seconds loses its turn, and the relay may reject it. The defaults are
        ``limits.arrival_bytes``, ``arrival_turn`` and ``arrival_patience``.
        """
        self.max_bytes = limits.max_frame_bytes
        self.capacity = limits.arrival_bytes if capacity is None else capacity
        self.turn = limits.arrival_turn if patience is None else patience
        self.patience = limits.arrival_patience if patience is None else patience
        self.least = self.capacity // 1024
        """A body with fewer bytes within ``turn`` counts as stalled; single bytes are no sign of life."""
        self._max_small = limits.max_stranger_bytes
        self._small, self._large = _Hall(self), _LargeHall(self)

    def begin(self, size: int | None, is_wanted: Callable[[], bool] = lambda: True) -> Arrival:
        """Admit a body of ``size`` bytes (None: unknown), which reads while ``is_wanted`` returns True."""
        return Arrival(self, size, is_wanted)

    def hall_of(self, arrival: Arrival) -> _Hall:
        """Return the hall of a body; small bodies have their own, so that no handshake waits for an upload.

        A body of unknown size is small at its beginning only, because nobody knows how large it becomes.
        """
        if arrival.size is None:
            return self._small if arrival.held <= STEP else self._large
        return self._small if max(arrival.held, arrival.size) <= self._max_small else self._large

    def look_again(self) -> None:
        """Check the waiting bodies now, because a server takes more; else they wait for up to ``_PERIOD``."""
        self._small.look_soon()
        self._large.look_soon()

    @property
    def held(self) -> int:
        """The number of bytes that are here now."""
        return self._small.held + self._large.held


class _Hall:
    """The bodies that share one capacity."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals
        self.held = 0
        self._announced = 0
        self.members: dict[Arrival, None] = {}
        self._waiting: dict[Arrival, None] = {}
        self._first: Arrival | None = None
        """The body that continues although the capacity is used up."""
        self._is_settling = False
        self._is_looking = False
        self._due = 0.0

    @property
    def has_room_for_all(self) -> bool:
        """Whether every announced byte fits, or only one body is here."""
        return len(self.members) < 2 or self._announced <= self._arrivals.capacity

    def enter(self, arrival: Arrival) -> None:
        self.members[arrival] = None
        self.held += arrival.held
        self._announced += arrival.most

    def leave(self, arrival: Arrival) -> None:
        if arrival in self.members:
            del self.members[arrival]
            self._waiting.pop(arrival, None)
            self.held -= arrival.held
            self._announced -= arrival.most
            if arrival is self._first:
                self._first = None
            self.look_soon()

    def admits(self, arrival: Arrival) -> bool:
        """Return whether a body may continue now; otherwise make it wait."""
        has_room = self.held <= self._arrivals.capacity or arrival is self._first
        if not arrival.to_come or (has_room and arrival.is_wanted):
            return True
        self._waiting[arrival] = None
        if not self._is_settling:
            self._is_settling = True
            self._due = monotonic()
            asyncio.get_running_loop().call_soon(self._settle)
        elif self._first is None or self._first in self._waiting:
            self.look_soon()
        return False

    def look_soon(self) -> None:
        """Check the waiting bodies in the next turn of the loop, because there is room or a server takes more."""
        if self._waiting and not self._is_looking:
            self._is_looking = True
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        self._is_looking = False
        self._let_go_on(self._silent(min(self._due, monotonic())))

    def _silent(self, heard: float) -> set[Arrival]:
        """Return the bodies that have stalled although they may continue."""
        return {one for one in self.members if one not in self._waiting and one.silence(heard) > self._arrivals.turn}

    def _let_go_on(self, silent: set[Arrival]) -> None:
        for one in self._next(silent):
            if one in self._waiting:
                del self._waiting[one]
                one.go_on()

    def _settle(self) -> None:
        """Reject stalled bodies if others need their room, then let bodies continue."""
        self._is_settling = False
        if not self._waiting:
            return
        now = monotonic()
        heard = self._due  # a relay that itself was blocked since then has heard no client
        silent = self._silent(heard)
        self._make_room(sorted(silent, key=lambda one: one.held, reverse=True), heard)
        self._let_go_on(silent)
        if self._waiting:
            self._is_settling = True
            self._due = now + _PERIOD
            asyncio.get_running_loop().call_later(_PERIOD, self._settle)

    def _make_room(self, silent: list[Arrival], heard: float) -> None:
        """Reject as many stalled bodies as necessary, the largest first; none if that makes no difference."""
        capacity = self._arrivals.capacity
        if not any(one.is_wanted for one in self._waiting):
            silent = []  # the others do not wait for room
        if self.held <= 2 * capacity:
            patience = self._arrivals.patience
            silent = [one for one in silent if one.held > capacity or one.silence(heard) > patience]
        standing = sum(one.held for one in silent)
        for one in silent:
            excess = self.held - capacity
            if excess > 0 and (one.held > capacity // 2 or standing > capacity or standing >= excess):
                standing -= one.held
                self._refuse(one)
        while len(self._waiting) > _MOST_WAITING:
            self._refuse(max(self._waiting, key=lambda one: one.to_come))

    def _next(self, silent: set[Arrival]) -> list[Arrival]:
        """Return the bodies that continue: as many as fit, or the one with the fewest bytes to come."""
        room = self._arrivals.capacity - self.held
        going = [one for one in (self._waiting if room >= 0 else self.members) if one.is_wanted and one not in silent]
        going.sort(key=lambda one: one.to_come)
        self._first = going[0] if room < 0 and going else None
        return going[: max(1, room // _AHEAD)]

    def _refuse(self, arrival: Arrival) -> None:
        self.leave(arrival)
        arrival.on_refused()


class _LargeHall(_Hall):
    """The hall of large bodies, which reports when they become a crowd."""

    def __init__(self, arrivals: Arrivals) -> None:
        super().__init__(arrivals)
        self._is_crowd = False

    def enter(self, arrival: Arrival) -> None:
        super().enter(arrival)
        if len(self.members) == 1:
            freed_memory.stop_growing()
        elif not self._is_crowd and self._announced > freed_memory.CROWD:
            self._is_crowd = True
            freed_memory.crowd_came()

    def leave(self, arrival: Arrival) -> None:
        super().leave(arrival)
        if self._is_crowd and not self.members:
            self._is_crowd = False
            freed_memory.crowd_left()
