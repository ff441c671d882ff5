"""Keep the table of open requests, and give each request one life and one outcome.

A request is *opened*. Then it is *answered*, or it *fails*. A *cancelled* request has a grace period in which its own
answer may still arrive. A caller that needs no answer any more can *leave* the request: the request is then not open,
but the ledger recognizes a late answer to it. The ledger keeps an entry of the caller with each open request.

An answer gets its id back in the client's spelling, whatever the server wrote. An answer that matches no open request
and is not late is a *stray*. It may belong to the only open request. If that request gets no other answer within a
grace period, the stray is its outcome. An error without an id keeps the server's words. Any other stray becomes an
error of the relay, because it could be another request's answer. So no request waits for an answer that has arrived,
and no request loses its answer to an earlier stray.

No I/O and no clock: callers pass the time in seconds of their clock. ``endpoints/core/books.py`` has the clock.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Container, Iterable, Iterator
from itertools import count
from typing import Generic, NamedTuple, TypeVar

from relay.frames import replies
from relay.frames.frame import Frame
from relay.frames.head import RequestId
from relay.routing.matching import alike, error_in_place, last_resort, under_id
from relay.routing.open_table import REMEMBERED, Ending, Left, OpenTable

__all__ = ["Due", "Ledger", "Lost"]

MOST_LEFT = 16_384
"""How many left requests a ledger remembers at one time."""

Entry = TypeVar("Entry")


class Due(NamedTuple):
    """A request whose grace period is over; it is still open and needs an outcome now."""

    request_id: RequestId
    stray: Frame | None
    """The stray, under this request's id; None if the request was cancelled."""

    @property
    def outcome(self) -> Frame:
        """The frame that the request gets."""
        return self.stray or replies.cancelled_unanswered(self.request_id)


class Lost(NamedTuple, Generic[Entry]):
    """A request that gets no answer any more."""

    request_id: RequestId
    entry: Entry
    stray: Frame | None
    """The stray that may have been the request's own answer, and is more specific than an error of the relay."""


class Ledger(OpenTable[Entry]):
    """The open requests of one side of one connection, session or server."""

    def __init__(self, *, stray_grace: float | None = None, remembered: int = REMEMBERED) -> None:
        """Start empty. ``stray_grace``: seconds for which a stray waits for the real answer; None drops strays."""
        super().__init__(remembered=remembered)
        self._stray_grace = stray_grace
        self._times: list[tuple[float, int, RequestId, object]] = []
        self._sequence = count()
        self.on_due: Callable[[float, float], None] | None = None
        """Receives the time at which to call ``due``, and the seconds until then."""

    # Strays.

    @property
    def is_doubtful(self) -> bool:
        """Whether an open request has a stray that may be its own answer."""
        return self._doubtful > 0

    def stray_of(self, request_id: RequestId) -> Frame | None:
        """Return the stray that may be an open request's own answer; None if there is none."""
        special = self._special.get(request_id)
        return None if special is None else special.stray

    def answer_oddly(
        self, answer: Frame, now: float, name: str, *, is_whole: bool = False, among: Container[Entry] | None = None
    ) -> tuple[Entry, Frame] | None:
        """Take an answer without an open id, as ``home_of`` decides; return its entry, and the answer under its id."""
        home = self.home_of(answer, now, name, is_whole=is_whole, among=among)
        if home is None:
            return None
        entry = self.answer(home.head.id, home)
        assert entry is not None, "it was found open"
        return entry, home

    def home_of(
        self, answer: Frame, now: float, name: str, *, is_whole: bool = False, among: Container[Entry] | None = None
    ) -> Frame | None:
        """Return an answer of ``name`` without an open id under the id of the request that it answers.

        None: the answer matches no request, or is in doubt and ``due`` later. ``is_whole``: its request gets no other
        answer, so nothing is in doubt. ``among``: only these entries can be meant.
        """
        waiting = self._open
        if among is not None:
            waiting = {request_id: entry for request_id, entry in waiting.items() if entry in among}
        meant = alike(answer.head.id, waiting)
        if meant is not None:
            return under_id(answer, meant) or error_in_place(answer, meant, name)
        if self.was_left(answer.head.id, is_over=True) or (only := self._only(answer, waiting)) is None:
            return None
        home = last_resort(answer, only, name, is_late=self.is_late)
        if home is None or is_whole:
            return home
        self._doubt(home, only, now)
        return None

    def _only(self, answer: Frame, waiting: dict[RequestId | None, Entry]) -> RequestId | None:
        """Return the only request to which a stray may belong; None if there are several or none."""
        if answer.belongs_to in waiting:
            return answer.belongs_to  # the answer arrived on that request's own stream
        calls: Iterable[RequestId | None] = waiting
        if self._subscriptions:
            calls = [one for one in waiting if one is not None and not self.is_subscription(one)]
        found = iter(calls)
        only = next(found, None)
        return only if next(found, None) is None else None

    def _doubt(self, stray: Frame, only: RequestId, now: float) -> None:
        special = self._special_of(only)
        if self._stray_grace is not None and special.stray is None:
            special.stray = stray
            self._doubtful += 1
            self._call_at(now, self._stray_grace, only, stray)

    # Ends without an answer.

    def cancel(self, request_id: RequestId | None, now: float, grace: float) -> Entry | None:
        """Give a request ``grace`` seconds for its own answer, until it is ``due``. Return its entry if it is open."""
        entry = self._open.get(request_id)
        if entry is not None and request_id is not None:
            special = self._special_of(request_id)
            if not special.is_cancelled:
                special.is_cancelled = True
                if self.subscriber is not None:
                    self.subscriber.cancelled(request_id)
                self._call_at(now, grace, request_id, special)
        return entry

    def cancelled(self) -> list[RequestId]:
        """Return the cancelled requests that are still open in their grace period."""
        return [request_id for request_id, special in self._special.items() if special.is_cancelled]

    def leave(self, request_id: RequestId | None, now: float, grace: float) -> Entry | None:
        """Close a request without an answer; remember for ``grace`` seconds that the peer may still refer to it."""
        entry = self.answer(request_id, ending="cancelled")
        if entry is not None and request_id is not None and request_id not in self._open:
            left = self._left[request_id] = Left(entry)
            self._call_at(now, grace, request_id, left)
            if len(self._left) > MOST_LEFT:
                del self._left[next(iter(self._left))]
        return entry

    def was_left(self, request_id: RequestId | None, *, is_over: bool = False) -> bool:
        """Tell whether a request was recently left; ``is_over``: the request has its answer now, so forget it."""
        if not self._left or request_id is None:
            return False
        left = request_id if request_id in self._left else alike(request_id, self._left)
        if left is not None and is_over:
            del self._left[left]
        return left is not None

    def left(self) -> Iterator[Entry]:
        """Iterate over the entries of left requests."""
        return (left.entry for left in self._left.values())

    def fail_all(self, ending: Ending = "failed") -> list[Lost[Entry]]:
        """Close all open requests and forget the left ones; return the unanswered ones in the order of opening.

        The subscriber hears ``ending``.
        """
        lost = [Lost(request_id, entry, self.stray_of(request_id)) for request_id, entry in self.items()]
        again = [one for one in lost for _ in range(self._repeats_of(one.request_id))]
        self._open.clear()
        self._special.clear()
        self._tokens.clear()
        self._left.clear()
        self._times.clear()
        self._subscriptions = self._doubtful = 0
        self._settled.extend(hash(one.request_id) for one in lost)
        if self.subscriber is not None:
            for one in lost:
                self.subscriber.ended(one.request_id, ending, None)
            for one in again:
                self.subscriber.opened(one.request_id, None)
                self.subscriber.ended(one.request_id, ending, None)
        return lost + again

    def _repeats_of(self, request_id: RequestId) -> int:
        special = self._special.get(request_id)
        return 0 if special is None else special.repeats

    # Time.

    def _call_at(self, now: float, seconds: float, request_id: RequestId, what: object) -> None:
        heapq.heappush(self._times, (now + seconds, next(self._sequence), request_id, what))
        if self.on_due is not None:
            self.on_due(now + seconds, seconds)

    def due(self, now: float) -> Iterator[Due]:
        """Yield the requests whose grace period is over. Settle each one before asking for the next."""
        while self._times and self._times[0][0] <= now:
            _, _, request_id, what = heapq.heappop(self._times)
            if isinstance(what, Left):
                if self._left.get(request_id) is what:
                    del self._left[request_id]
                continue
            special = self._special.get(request_id)
            if special is None:
                continue
            if special.stray is what or (special is what and special.is_cancelled):  # not a later one of the same id
                yield Due(request_id, special.stray if special.stray is what else None)
