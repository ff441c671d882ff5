"""Give the requests of many clients on one connection the relay's own ids, and map the ids back.

Clients choose the same ids. So each request gets a new number here, and its progress token becomes the same number. The
relay maps both back in the server's frames. No I/O: the table decides which client gets a frame, and with which ids.
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
from relay.routing.ledger import Ledger
from relay.routing.open_table import LISTEN, Ending

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
"""The notifications that name their request. If the name is unreadable, they do not go to the only open request."""

Owner = TypeVar("Owner", bound=Hashable)


class Renamed(msgspec.Struct, Generic[Owner], frozen=True, eq=False):
    """One open request: its owner, and the id that its client uses."""

    owner: Owner
    number: int
    """The id under which the server knows the request."""
    id: RequestId
    token: RequestId | None
    method: str | None
    has_log: bool
    """Whether the request asks for log messages; a subscription brings none."""

    @property
    def is_subscription(self) -> bool:
        """Whether the request stays open for notifications."""
        return self.method == LISTEN


class Renaming(Generic[Owner]):
    """The open requests of all clients of one server: a ledger of their numbers."""

    def __init__(self, ledger: Ledger[Renamed[Owner]] | None = None) -> None:
        """Keep the requests in ``ledger``, which must be empty."""
        self.ledger: Ledger[Renamed[Owner]] = Ledger() if ledger is None else ledger
        self.ledger.knows_late = self.was_given
        self._logging: dict[int, None] = {}
        """The numbers of requests, open or abandoned, that have asked for log messages."""
        self._last = 0

    def __len__(self) -> int:
        """Count the requests that wait for an answer, without subscriptions."""
        return self.ledger.calls

    def __iter__(self) -> Iterator[Renamed[Owner]]:
        """Iterate over a copy, because requests may end during the iteration."""
        return iter(list(self.ledger.entries()))

    def open(self, owner: Owner, frame: Frame, *, has_log: bool = False) -> tuple[Renamed[Owner], Frame]:
        """Take a request of ``owner``; return its record, and the frame for the server.

        ``has_log``: the request asks for log messages (2026-07-28, "Logging").
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
        """Return the open request with this number; None if there is none."""
        return self.ledger.find(number)

    def settle(
        self, number: RequestId | None, answer: Frame | None = None, ending: Ending = "answered"
    ) -> Renamed[Owner] | None:
        """Forget a request that has its answer, or that ends without one, as ``OpenTable.answer`` does."""
        renamed = self.ledger.answer(number, answer, ending)
        if renamed is not None and renamed.has_log:
            self._logging.pop(renamed.number, None)
        return renamed

    def abandon(self, number: int, now: float, seconds: float) -> Renamed[Owner] | None:
        """Close a request for which no client waits any more.

        Until its answer arrives, or for ``seconds``, the server may still refer to the request. A frame that names no
        request could then belong to it.
        """
        renamed = self.ledger.find(number)
        if renamed is None or renamed.is_subscription:
            return self.settle(number, ending="cancelled")
        return self.ledger.leave(number, now, seconds)

    def answered(self, frame: Frame, now: float) -> tuple[Renamed[Owner], Frame] | None:
        """Take an answer; return its request and the answer for the client, or None if no request waits for it."""
        renamed = self.settle(frame.head.id, frame)
        if renamed is None:
            found = self.ledger.answer_oddly(frame, now, "the server")
            if found is None:
                return None
            renamed, frame = found
        try:
            home = with_id(frame, renamed.id)
        except Unnameable as exc:
            fault = f"the relay cannot restore the id in the answer: {exc}"
            return renamed, replies.error(renamed.id, replies.LOST, fault, delivered="unknown")
        if renamed.is_subscription:
            with contextlib.suppress(Unnameable):  # the frame is the answer, whatever that field holds
                home = with_subscription(home, renamed.id)
        return renamed, home

    def was_given(self, request_id: RequestId) -> bool:
        """Tell whether the relay has given a number to a request, open or not."""
        number = read_id(request_id.encode()[:128]) if isinstance(request_id, str) else request_id
        return isinstance(number, int) and 0 < number <= self._last

    def related(self, frame: Frame) -> tuple[Renamed[Owner], Frame] | None:
        """Return the open request of a notification, and the notification for its client; None if that is unknown.

        The table tries, in this order: the progress token, the subscription, the subscription that the notification
        ends, and the request on whose stream it arrived. A log message goes to the only request that asked for
        log messages. Anything else goes to the only open request, unless it could belong to an abandoned one.
        """
        head = frame.head
        try:
            if head.token is not None:
                renamed = self.find(head.token)
                token = None if renamed is None else renamed.token
                # Progress of a settled request goes to no client, and never to the only open request.
                return None if renamed is None or token is None else (renamed, with_token(frame, token))
            if (subscription := subscription_of(frame)) is not None:
                renamed = self.find(subscription)
                return None if renamed is None else (renamed, with_subscription(frame, renamed.id))
            if head.target is not None:
                renamed = self.find(head.target)
                # A server ends only subscriptions this way (2026-07-28, "Cancellation").
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
            # Log messages go to the request that asked for them; the server may still log for an abandoned request.
            renamed = self.find(asked[0]) if len(asked) == 1 else None
        else:
            renamed = None if head.method in _NEVER_GUESSED else self._only()
        return None if renamed is None else (renamed, frame)

    def _logging_now(self) -> list[int]:
        """Return the numbers of requests for which the server may still log; at most two, which is enough."""
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
        """Return the owners of open requests and of abandoned ones that may still matter; of many, at least two."""
        found = {one.owner for one in self.ledger.left()}
        for one in self.ledger.entries():
            if len(found) > 1:
                break
            if not one.is_subscription:
                found.add(one.owner)
        return found

    def fail_all(self) -> list[Renamed[Owner]]:
        """Settle all requests at once; return the unanswered ones."""
        self._logging.clear()
        return [lost.entry for lost in self.ledger.fail_all()]
