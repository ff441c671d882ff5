"""Room for what is still arriving: bodies, first lines and first messages of clients that nobody has vouched for.

A place for each would be held by whoever announces a body and does not send it. So bytes are counted, and only those
that are here. While all of them fit, nobody waits. Beyond that one goes on at a time, the one with the fewest bytes to
come. One that stands still loses its turn at once when others wait, and its place if it goes on so, or holds much. So a
relay holds twice a fixed room and, beyond it, one frame.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic

from relay.large_blocks import give_back_large_blocks
from relay.limits import Limits

__all__ = ["STEP", "Arrival", "Arrivals"]

STEP = 64 * 1024
"""Bytes that one should read at a time while others may wait."""
_LONG_STEP = 256 * 1024
"""The same while nobody need wait: of a large body at 64 KiB, aiohttp pauses 8 times in a megabyte."""
_PERIOD = 0.02  # seconds between two looks while one waits
_MOST_WAITING = 512  # each may have some 100 KiB in the buffers of its connection


class Arrival:
    """One body on its way in, and what of it is here."""

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
        """Bytes that it may have in all."""
        self.held = 0
        self.on_room: Callable[[], None] = lambda: None
        """Called once it may go on, after ``grow`` has said that it may not."""
        self.on_refused: Callable[[], None] = lambda: None
        """Called if it must give way. It has left then."""
        self._seen_at = monotonic()
        self._seen_held = 0
        self._hall = arrivals.hall_of(self)
        self._hall.enter(self)

    @property
    def is_inside(self) -> bool:
        """Whether it has neither ended nor been refused."""
        return self in self._hall.members

    def grow(self, count: int) -> bool:
        """Count bytes that have come; return whether more may be read. If not, ``on_room`` says when they may."""
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
        """Leave: it is whole, or never will be. Twice is no harm."""
        self._hall.leave(self)

    def _note_progress(self) -> None:
        self._seen_at, self._seen_held = monotonic(), self.held

    @property
    def to_come(self) -> int:
        """How many bytes may still come."""
        return max(0, self.most - self.held)

    @property
    def step(self) -> int:
        """How many bytes to read at a time: its connection may hold thrice as many that nobody has counted."""
        return _LONG_STEP if self._hall.has_room_for_all else STEP

    @property
    def is_wanted(self) -> bool:
        """Whether the server that it is for takes more."""
        return self._is_wanted()

    def silence(self, now: float) -> float:
        """How many seconds it has stood still."""
        return now - self._seen_at

    def go_on(self) -> None:
        """Let more be read."""
        self._note_progress()
        self.on_room()


class Arrivals:
    """All bodies that are arriving at one relay, whichever listener they come by."""

    def __init__(self, limits: Limits, *, capacity: int | None = None, patience: float | None = None) -> None:
        """Hold ``capacity`` bytes of small and as many of large bodies, and one of ``limits.max_frame_bytes``.

        One that stands still for ``patience`` seconds loses its turn and may have to give way. By default these are
        ``limits.arrival_bytes``, ``arrival_turn`` and ``arrival_patience``.
        """
        self.max_bytes = limits.max_frame_bytes
        self.capacity = limits.arrival_bytes if capacity is None else capacity
        self.turn = limits.arrival_turn if patience is None else patience
        self.patience = limits.arrival_patience if patience is None else patience
        self.least = self.capacity // 1024
        """Bytes within ``turn`` below which a body stands still: one byte now and then is no sign of life."""
        self._max_small = limits.max_stranger_bytes
        self._small, self._large = _Hall(self), _LargeHall(self)

    def begin(self, size: int | None, is_wanted: Callable[[], bool] = lambda: True) -> Arrival:
        """Let a body in, of ``size`` bytes if that is known, for as long as ``is_wanted`` by its server."""
        return Arrival(self, size, is_wanted)

    def hall_of(self, arrival: Arrival) -> _Hall:
        """Return where a body waits: among small ones, so that no handshake waits for an upload, or among large."""
        return self._small if max(arrival.held, arrival.size or 0) <= self._max_small else self._large

    def look_again(self) -> None:
        """Let go on who may: a server takes more than it did. Without this they wait up to ``_PERIOD``."""
        self._small.look_soon()
        self._large.look_soon()

    @property
    def held(self) -> int:
        """Bytes that are here now."""
        return self._small.held + self._large.held


class _Hall:
    """Those that share one room."""

    def __init__(self, arrivals: Arrivals) -> None:
        self._arrivals = arrivals
        self.held = 0
        self._announced = 0
        self.members: dict[Arrival, None] = {}
        self._waiting: dict[Arrival, None] = {}
        self._first: Arrival | None = None
        """The one that goes on though there is no room."""
        self._is_settling = False
        self._is_looking = False
        self._due = 0.0

    @property
    def has_room_for_all(self) -> bool:
        """Whether all of what may come fits in, or there is but one."""
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
        """Tell whether more of it may be read now; else let it wait."""
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
        """Let go on who may, in the next turn of the loop: there is room, or a server takes more."""
        if self._waiting and not self._is_looking:
            self._is_looking = True
            asyncio.get_running_loop().call_soon(self._look)

    def _look(self) -> None:
        self._is_looking = False
        self._let_go_on(self._silent(min(self._due, monotonic())))

    def _silent(self, heard: float) -> set[Arrival]:
        """Return those that stand still though they may go on."""
        return {one for one in self.members if one not in self._waiting and one.silence(heard) > self._arrivals.turn}

    def _let_go_on(self, silent: set[Arrival]) -> None:
        for one in self._next(silent):
            if one in self._waiting:
                del self._waiting[one]
                one.go_on()

    def _settle(self) -> None:
        """Let go on who may, and refuse who is in the way."""
        self._is_settling = False
        if not self._waiting:
            return
        now = monotonic()
        heard = self._due  # what came while the whole relay stood still was not heard, whatever was sent
        silent = self._silent(heard)
        self._make_room(sorted(silent, key=lambda one: one.held, reverse=True), heard)
        self._let_go_on(silent)
        if self._waiting:
            self._is_settling = True
            self._due = now + _PERIOD
            asyncio.get_running_loop().call_later(_PERIOD, self._settle)

    def _make_room(self, silent: list[Arrival], heard: float) -> None:
        """Refuse of those that stand still, the largest first, as many as it takes; none if that is of no use."""
        capacity = self._arrivals.capacity
        if not any(one.is_wanted for one in self._waiting):
            silent = []  # it is not for room that others wait
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
        """Return those that go on: as many as fit, or the one that will be done first."""
        room = self._arrivals.capacity - self.held
        going = [one for one in (self._waiting if room >= 0 else self.members) if one.is_wanted and one not in silent]
        going.sort(key=lambda one: one.to_come)
        self._first = going[0] if room < 0 and going else None
        return going[: max(1, room // STEP)]

    def _refuse(self, arrival: Arrival) -> None:
        self.leave(arrival)
        arrival.on_refused()


class _LargeHall(_Hall):
    """That of large bodies."""

    def enter(self, arrival: Arrival) -> None:
        give_back_large_blocks()
        super().enter(arrival)
