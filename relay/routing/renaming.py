"""Ids of the relay's own for requests of many clients on one connection, and whose they are.

Clients choose the same ids. Each request gets another one here, its progress token becomes the same number, and what
the server says of either is named back. Pure: it says where a frame goes and how it reads there.
"""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

import msgspec

from relay.frames import replies
from relay.frames.frame import Frame
from relay.frames.head import Kind, RequestId
from relay.frames.ids import (
    Unnameable,
    subscription_of,
    with_id,
    with_number,
    with_subscription,
    with_target,
    with_token,
)
from relay.frames.strictness import read_id
from relay.routing.ledger import LISTEN, Ledger

__all__ = ["LISTEN", "Renamed", "Renaming"]

_LOG = "notifications/message"
_NEVER_GUESSED = frozenset(
    (
        "notifications/progress",
        "notifications/cancelled",
        "notifications/subscriptions/acknowledged",
        "notifications/tools/list_changed",
        "notifications/prompts/list_changed",
        "notifications/resources/list_changed",
        "notifications/resources/updated",
    )
)
"""What says itself whose it is; where that cannot be read, it is not for the only one who waits."""

Owner = TypeVar("Owner", bound=Hashable)


class Renamed(msgspec.Struct, Generic[Owner], frozen=True, eq=False):
    """One open request: whose it is, and what its own client calls it."""

    owner: Owner
    number: int
    """The id under which the server knows it."""
    id: RequestId
    token: RequestId | None
    method: str | None
    has_log: bool
    """Whether it has asked for log messages; a subscription brings none."""

    @property
    def is_subscription(self) -> bool:
        """Whether it stays open to bring notifications."""
        return self.method == LISTEN


class Renaming(Generic[Owner]):
    """The open requests of all clients of one server: a ledger of their numbers."""

    def __init__(self, ledger: Ledger[Renamed[Owner]] | None = None) -> None:
        """Keep them in ``ledger``, which has none yet."""
        self.ledger: Ledger[Renamed[Owner]] = Ledger() if ledger is None else ledger
        self.ledger.knows_late = self.was_given
        self._logging: dict[int, None] = {}
        """Those, open or abandoned, that have asked for log messages."""
        self._last = 0

    def __len__(self) -> int:
        """Count the requests that wait for an answer, without the subscriptions."""
        return self.ledger.calls

    def __iter__(self) -> Iterator[Renamed[Owner]]:
        """Go over a copy: requests end while one looks."""
        return iter(list(self.ledger.entries()))

    def open(self, owner: Owner, frame: Frame, *, has_log: bool = False) -> tuple[Renamed[Owner], Frame]:
        """Take a request of ``owner``; return what is known of it, and the frame as the server shall see it.

        ``has_log``: it asks for log messages (2026-07-28, "Logging").
        Raises Unnameable, and opens nothing, if its progress token is no string or integer.
        """
        head = frame.head
        assert head.id is not None, "a request has an id"
        number = self._last + 1
        outward = with_number(frame, number)
        self._last = number
        method = head.method
        has_log = has_log and method != LISTEN
        renamed = Renamed(owner, number, head.id, head.token, method, has_log)
        self.ledger.open(number, renamed, method)
        if has_log:
            self._logging[number] = None
        return renamed, outward

    def find(self, number: RequestId | None) -> Renamed[Owner] | None:
        """Return the open request of that number."""
        return self.ledger.find(number)

    def settle(self, number: RequestId | None) -> Renamed[Owner] | None:
        """Forget a request that is answered."""
        renamed = self.ledger.answer(number)
        if renamed is not None and renamed.has_log:
            self._logging.pop(renamed.number, None)
        return renamed

    def abandon(self, number: int, now: float, seconds: float) -> Renamed[Owner] | None:
        """Forget a request for which nobody waits any more. Until it is answered, or for some seconds, its server may
        still speak of it: what does not say whose it is could be its own.
        """
        renamed = self.ledger.find(number)
        if renamed is None or renamed.is_subscription:
            return self.settle(number)
        return self.ledger.leave(number, now, seconds)

    def answered(self, frame: Frame, now: float) -> tuple[Renamed[Owner], Frame] | None:
        """Take an answer; return whose it is and how it reads there, or None if nobody waits for it (any more)."""
        renamed = self.settle(frame.head.id)
        if renamed is None:
            found = self.ledger.answer_oddly(frame, now, "the server")
            if found is None:
                return None
            renamed, frame = found
        try:
            home = with_id(frame, renamed.id)
        except Unnameable as exc:
            fault = f"the answer cannot be named back: {exc}"
            return renamed, replies.error(renamed.id, replies.LOST, fault, delivered="unknown")
        if renamed.is_subscription:
            with contextlib.suppress(Unnameable):  # it is the answer, whatever it says there
                home = with_subscription(home, renamed.id)
        return renamed, home

    def was_given(self, request_id: RequestId) -> bool:
        """Tell whether a number has been given to a request, open or not."""
        number = read_id(request_id.encode()[:128]) if isinstance(request_id, str) else request_id
        return isinstance(number, int) and 0 < number <= self._last

    def related(self, frame: Frame) -> tuple[Renamed[Owner], Frame] | None:
        """Say which open request a notification is part of, and how it reads there; None if that cannot be told.

        In order: its progress token; its subscription; the subscription it ends; the request the transport tied it
        to; of log messages, the only request that has asked for them; the only request that is open, unless it could
        be of one that was abandoned.
        """
        head = frame.head
        try:
            if head.token is not None:
                renamed = self.find(head.token)
                token = None if renamed is None else renamed.token
                # Progress of a request that is over belongs to nobody, least of all to the only one that is open.
                return None if renamed is None or token is None else (renamed, with_token(frame, token))
            if (subscription := subscription_of(frame)) is not None:
                renamed = self.find(subscription)
                return None if renamed is None else (renamed, with_subscription(frame, renamed.id))
            if head.target is not None:
                renamed = self.find(head.target)
                # A server ends subscriptions so, and nothing else (2026-07-28, "Cancellation").
                if renamed is None or not renamed.is_subscription:
                    return None
                return renamed, with_target(frame, renamed.id)
        except Unnameable:
            return None
        if head.kind is not Kind.NOTIFICATION:
            return None
        if frame.belongs_to is not None:
            renamed = self.find(frame.belongs_to)
        elif head.method == _LOG and (asked := self._logging_now()):
            # The server's log is for who has asked; what a client abandoned may still be spoken of.
            renamed = self.find(asked[0]) if len(asked) == 1 else None
        else:
            renamed = None if head.method in _NEVER_GUESSED else self._only()
        return None if renamed is None else (renamed, frame)

    def _logging_now(self) -> list[int]:
        """Return the numbers of requests that have asked for log messages, and may still be spoken of; two will do."""
        found: list[int] = []
        over: list[int] = []
        for number in self._logging:
            is_over = number not in self.ledger and not self.ledger.was_left(number)
            (over if is_over else found).append(number)
            if len(found) > 1:
                break
        for number in over:
            del self._logging[number]
        return found

    def _only(self) -> Renamed[Owner] | None:
        if len(self) != 1 or len(self.owners()) != 1:
            return None
        return next(one for one in self.ledger.entries() if not one.is_subscription)

    def owners(self) -> set[Owner]:
        """Return who has a request open, or has abandoned one that may still be spoken of; of many, two at least."""
        found = {one.owner for one in self.ledger.left()}
        for one in self.ledger.entries():
            if len(found) > 1:
                break
            if not one.is_subscription:
                found.add(one.owner)
        return found

    def fail_all(self) -> list[Renamed[Owner]]:
        """Settle everything at once; return what is left without an answer."""
        self._logging.clear()
        return [lost.entry for lost in self.ledger.fail_all()]
