"""Ids of the relay's own for requests of many clients on one connection, and whose they are.

Clients choose the same ids. Each request gets another one here, its progress token becomes the same number, and what
the server says of either is named back. Pure: it says where a frame goes and how it reads there.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

from relay.frames.frame import Frame, Kind, RequestId
from relay.frames.rename import subscription_of, with_id, with_number, with_subscription, with_target, with_token

__all__ = ["LISTEN", "Renamed", "Renaming"]

LISTEN = "subscriptions/listen"
"""The request that stays open for as long as a client wants to hear of changes (2026-07-28, "Subscriptions")."""

Owner = TypeVar("Owner")


@dataclass(slots=True, frozen=True, eq=False)
class Renamed(Generic[Owner]):
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
        self._last = 0
        self._subscriptions = 0

    def __len__(self) -> int:
        """Count the requests that wait for an answer, without the subscriptions."""
        return len(self._open) - self._subscriptions

    def __iter__(self) -> Iterator[Renamed[Owner]]:
        """Go over a copy: requests end while one looks."""
        return iter(list(self._open.values()))

    def open(self, owner: Owner, frame: Frame) -> tuple[Renamed[Owner], Frame]:
        """Take a request of ``owner``; return what is known of it, and the frame as the server shall see it.

        Raises Unnameable, and opens nothing, if its progress token is no string or integer.
        """
        head = frame.head
        assert head.id is not None, "a request has an id"
        number = self._last + 1
        outward = with_number(frame, number)
        self._last = number
        renamed = self._open[number] = Renamed(owner, number, head.id, head.token, head.method)
        self._subscriptions += renamed.is_subscription
        return renamed, outward

    def find(self, number: object) -> Renamed[Owner] | None:
        """Return the open request of that number."""
        return self._open.get(number) if isinstance(number, int) else None

    def settle(self, number: object) -> Renamed[Owner] | None:
        """Forget a request: it is answered, or nobody waits for it any more."""
        renamed = self._open.pop(number, None) if isinstance(number, int) else None
        if renamed is not None:
            self._subscriptions -= renamed.is_subscription
        return renamed

    def answered(self, frame: Frame) -> tuple[Renamed[Owner], Frame] | None:
        """Take an answer; return whose it is and how it reads there, or None if nobody waits for it (any more)."""
        renamed = self.settle(frame.head.id)
        if renamed is None:
            return None
        home = with_id(frame, renamed.id)
        return renamed, with_subscription(home, renamed.id) if renamed.is_subscription else home

    def related(self, frame: Frame) -> tuple[Renamed[Owner], Frame] | None:
        """Say which open request a notification is part of, and how it reads there; None if that cannot be told.

        In order: its progress token; its subscription; the subscription it ends; the request the transport tied it
        to; the only request that is open.
        """
        head = frame.head
        if head.token is not None:
            renamed = self.find(head.token)
            # Progress of a request that is over belongs to nobody, least of all to the only one that is open.
            return (
                (renamed, with_token(frame, renamed.token))
                if renamed is not None and renamed.token is not None
                else None
            )
        if (subscription := subscription_of(frame)) is not None:
            renamed = self.find(subscription)
            return (renamed, with_subscription(frame, renamed.id)) if renamed is not None else None
        if head.target is not None:
            renamed = self.find(head.target)
            return (renamed, with_target(frame, renamed.id)) if renamed is not None else None
        renamed = self.find(frame.belongs_to)
        if renamed is None and len(self) == 1:
            renamed = next(one for one in self._open.values() if not one.is_subscription)
        return (renamed, frame) if renamed is not None and head.kind is Kind.NOTIFICATION else None

    def fail_all(self) -> list[Renamed[Owner]]:
        """Settle everything at once; return what is left without an answer."""
        left = list(self._open.values())
        self._open.clear()
        self._subscriptions = 0
        return left
