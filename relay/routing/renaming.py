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
from relay.routing.matching import Strays, home_of, only_of

__all__ = ["LISTEN", "Renamed", "Renaming"]

LISTEN = "subscriptions/listen"
"""The request that stays open for as long as a client wants to hear of changes (2026-07-28, "Subscriptions")."""

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

_MOST_ABANDONED = 16_384  # remembered at one time

Owner = TypeVar("Owner", bound=Hashable)


class Renamed(msgspec.Struct, Generic[Owner], frozen=True, eq=False):
    """One open request: whose it is, and what its own client calls it."""

    owner: Owner
    number: int
    """The id under which the server knows it."""
    id: RequestId
    token: RequestId | None
    method: str | None

    @property
    def is_subscription(self) -> bool:
        """Whether it stays open to bring notifications."""
        return self.method == LISTEN


class Renaming(Generic[Owner]):
    """The open requests of all clients of one server."""

    def __init__(self) -> None:
        """Start with none."""
        self._open: dict[int, Renamed[Owner]] = {}
        self._abandoned: dict[int, Owner] = {}
        self._logging: dict[int, None] = {}
        """Those, open or abandoned, that have asked for log messages."""
        self.strays = Strays()
        self._last = 0
        self._subscriptions = 0

    def __len__(self) -> int:
        """Count the requests that wait for an answer, without the subscriptions."""
        return len(self._open) - self._subscriptions

    def __iter__(self) -> Iterator[Renamed[Owner]]:
        """Go over a copy: requests end while one looks."""
        return iter(list(self._open.values()))

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
        renamed = self._open[number] = Renamed(owner, number, head.id, head.token, head.method)
        self._subscriptions += renamed.is_subscription
        if has_log and not renamed.is_subscription:
            self._logging[number] = None
        return renamed, outward

    def find(self, number: RequestId | None) -> Renamed[Owner] | None:
        """Return the open request of that number."""
        return self._open.get(number) if isinstance(number, int) else None

    def settle(self, number: RequestId | None) -> Renamed[Owner] | None:
        """Forget a request that is answered."""
        renamed = self._open.pop(number, None) if isinstance(number, int) else None
        if renamed is not None:
            self._subscriptions -= renamed.is_subscription
            if self._logging:
                self._logging.pop(renamed.number, None)
            if self.strays.doubts:
                self.strays.doubts.pop(renamed.number, None)
        return renamed

    def abandon(self, number: int) -> Renamed[Owner] | None:
        """Forget a request for which nobody waits any more. Until it is answered, or ``let_go``, its server may still
        speak of it: what does not say whose it is could be its own.
        """
        has_log = number in self._logging
        renamed = self.settle(number)
        if renamed is not None and not renamed.is_subscription:
            self._abandoned[number] = renamed.owner
            if has_log:
                self._logging[number] = None
            if len(self._abandoned) > _MOST_ABANDONED:
                self.let_go(next(iter(self._abandoned)))
        return renamed

    def let_go(self, number: int) -> None:
        """Take it that the server says no more of an abandoned request."""
        self._abandoned.pop(number, None)
        self._logging.pop(number, None)

    def answered(self, frame: Frame) -> tuple[Renamed[Owner], Frame] | None:
        """Take an answer; return whose it is and how it reads there, or None if nobody waits for it (any more)."""
        renamed = self.settle(frame.head.id)
        if renamed is None:
            if isinstance(frame.head.id, int):
                self.let_go(frame.head.id)
            return self._answered_oddly(frame)
        try:
            home = with_id(frame, renamed.id)
        except Unnameable as exc:
            fault = f"the answer cannot be named back: {exc}"
            return renamed, replies.error(renamed.id, replies.LOST, fault, delivered="unknown")
        if renamed.is_subscription:
            with contextlib.suppress(Unnameable):  # it is the answer, whatever it says there
                home = with_subscription(home, renamed.id)
        return renamed, home

    def _answered_oddly(self, frame: Frame) -> tuple[Renamed[Owner], Frame] | None:
        """Do the same for an answer that is under no open request's number as we write it."""
        home = home_of(frame, self._open, "the server")
        if home is not None:
            return self.answered(home)
        calls = [one.number for one in self._open.values() if not one.is_subscription] if len(self) == 1 else []
        only = frame.belongs_to if frame.belongs_to in self._open else only_of(calls)
        self.strays.take(frame, only, "the server", known=self)
        return None

    def __contains__(self, request_id: object) -> bool:
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
        elif head.method == _LOG and self._logging:
            # The server's log is for who has asked; what a client abandoned may still be spoken of.
            renamed = self._open.get(next(iter(self._logging))) if len(self._logging) == 1 else None
        else:
            renamed = None if head.method in _NEVER_GUESSED else self._only()
        return None if renamed is None else (renamed, frame)

    def _only(self) -> Renamed[Owner] | None:
        if len(self) != 1 or len(self.owners()) != 1:
            return None
        return next(one for one in self._open.values() if not one.is_subscription)

    def owners(self) -> set[Owner]:
        """Return who has a request open, or has abandoned one that may still be spoken of; of many, two at least."""
        found = set(self._abandoned.values())
        for one in self._open.values():
            if len(found) > 1:
                break
            if not one.is_subscription:
                found.add(one.owner)
        return found

    def fail_all(self) -> list[Renamed[Owner]]:
        """Settle everything at once; return what is left without an answer."""
        left = list(self._open.values())
        self._open.clear()
        self._abandoned.clear()
        self._logging.clear()
        self.strays.doubts.clear()
        self._subscriptions = 0
        return left
