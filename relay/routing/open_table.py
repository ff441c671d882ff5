"""Keep the open requests, with an entry of the caller for each, and the ids that have recently settled.

``ledger.py`` builds on this table. It adds what few requests need: cancellation, strays and grace periods.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection
from typing import Generic, Literal, NamedTuple, Protocol, TypeAlias, TypeVar

from relay.frames.frame import Frame
from relay.frames.head import Head, Kind, RequestId
from relay.routing.matching import spellings

__all__ = ["LISTEN", "REMEMBERED", "Ending", "HearsTable", "IdInUse", "Left", "OpenTable", "Special"]

LISTEN = "subscriptions/listen"
"""The method of a request that stays open while a client wants notifications (2026-07-28, "Subscriptions")."""

REMEMBERED = 128
"""How many settled ids a ledger remembers by default."""

Entry = TypeVar("Entry")

Ending: TypeAlias = Literal["answered", "cancelled", "failed"]
"""How a request ends: with an answer, because its client wants none, or because no answer can come any more."""


class HearsTable(Protocol):
    """Hears the life of each request of one table."""

    def opened(self, request_id: RequestId, method: str | None) -> None:
        """Called once a request waits for its answer."""

    def cancelled(self, request_id: RequestId) -> None:
        """Called once the client has cancelled a request that may still get its answer."""

    def ended(self, request_id: RequestId, ending: Ending, answer: Frame | None) -> None:
        """Called once a request is no longer open; ``answer`` is the frame that answers it, if the table has it."""


class IdInUse(Exception):
    """A request has the id of a request that is still open, so that their answers would be indistinguishable."""

    def __init__(self, request_id: RequestId) -> None:
        """Name ``request_id`` in the message."""
        super().__init__(f"request id {request_id!r:.80} is already waiting for its answer")
        self.request_id = request_id


class Special:
    """The state that few requests need, kept apart so that other requests cost one operation on one dict."""

    __slots__ = ("is_cancelled", "is_subscription", "repeats", "stray", "token")

    def __init__(self) -> None:
        """Start with nothing set."""
        self.token: RequestId | None = None
        self.is_subscription = False
        self.is_cancelled = False
        self.repeats = 0
        self.stray: Frame | None = None


class Left(NamedTuple, Generic[Entry]):
    """The entry of a left request."""

    entry: Entry


class OpenTable(Generic[Entry]):
    """The open requests of one side of one connection, session or server."""

    def __init__(self, *, remembered: int = REMEMBERED) -> None:
        """Start empty, and remember the last ``remembered`` settled ids."""
        self._open: dict[RequestId | None, Entry] = {}
        self._special: dict[RequestId, Special] = {}
        self._tokens: dict[RequestId, RequestId] = {}
        self._subscriptions = 0
        self._doubtful = 0
        self._left: dict[RequestId, Left[Entry]] = {}
        self._settled: deque[int] = deque(maxlen=remembered)
        """Hashes of settled ids, because the ids may be long."""
        self.knows_late: Callable[[RequestId], bool] | None = None
        """Tells whether an id was open before, in place of the last ``remembered`` ids."""
        self.subscriber: HearsTable | None = None
        """Hears the life of each request from now on; None if nobody listens."""

    def __len__(self) -> int:
        """Count the open requests, including subscriptions."""
        return len(self._open)

    def __contains__(self, request_id: RequestId | None) -> bool:
        """Tell whether a request is open."""
        return request_id in self._open

    @property
    def open_ids(self) -> Collection[RequestId | None]:
        """A live view of the ids of the open requests, whose count costs no call."""
        return self._open

    @property
    def calls(self) -> int:
        """The number of open requests, without subscriptions, which do not end by themselves."""
        return len(self._open) - self._subscriptions

    @property
    def has_settled(self) -> bool:
        """Whether any request has settled."""
        return bool(self._settled)

    # A life's beginning.

    def open(
        self, request_id: RequestId, entry: Entry, method: str | None = None, token: RequestId | None = None
    ) -> None:
        """Let a request wait for its answer. Raises IdInUse."""
        if request_id in self._open:
            raise IdInUse(request_id)
        self._open[request_id] = entry
        if token is not None or method == LISTEN:
            self._note_special(request_id, token, is_subscription=method == LISTEN)
        if self._left:
            self._left.pop(request_id, None)
        if self.subscriber is not None:
            self.subscriber.opened(request_id, method)

    def _note_special(self, request_id: RequestId, token: RequestId | None, *, is_subscription: bool) -> None:
        special = self._special[request_id] = Special()
        special.is_subscription = is_subscription
        self._subscriptions += is_subscription
        if token is not None:
            special.token = token
            self._tokens[token] = request_id  # a later request with the same token takes the token over

    def open_frame(self, entry: Entry, head: Head) -> int:
        """Open the requests of a frame; return their number. Raises IdInUse, and then opens none."""
        if head.kind is Kind.REQUEST:
            assert head.id is not None, "a request has an id"
            self.open(head.id, entry, head.method, head.token)
            return 1
        asked = [one for one in head.members if one.kind is Kind.REQUEST]
        ids: set[RequestId] = set()
        for one in asked:
            assert one.id is not None, "a request has an id"
            if one.id in self._open or one.id in ids:
                raise IdInUse(one.id)
            ids.add(one.id)
        for one in asked:
            self.open_frame(entry, one)
        return len(asked)

    def repeat(self, request_id: RequestId) -> None:
        """Let one more request wait under an open id, if each of these requests gets its own answer."""
        self._special_of(request_id).repeats += 1

    def _special_of(self, request_id: RequestId) -> Special:
        special = self._special.get(request_id)
        if special is None:
            special = self._special[request_id] = Special()
        return special

    # Look-ups.

    def find(self, request_id: RequestId | None) -> Entry | None:
        """Return the entry of an open request."""
        return self._open.get(request_id)

    def items(self) -> list[tuple[RequestId, Entry]]:
        """Return a copy of all open requests, because requests may end during the iteration."""
        return [(request_id, entry) for request_id, entry in self._open.items() if request_id is not None]

    def entries(self) -> Collection[Entry]:
        """Return a live view of the entries of all open requests, in the order of opening."""
        return self._open.values()

    def latest(self) -> Entry | None:
        """Return the entry of the latest open request."""
        return next(reversed(self._open.values()), None)

    def is_subscription(self, request_id: RequestId) -> bool:
        """Tell whether an open request is a subscription, which stays open for notifications."""
        special = self._special.get(request_id)
        return special is not None and special.is_subscription

    def of_token(self, token: RequestId | None) -> Entry | None:
        """Return the entry of the open request with this progress token."""
        return self._open.get(self._tokens.get(token)) if self._tokens and token is not None else None

    def related(self, head: Head, belongs_to: RequestId | None) -> Entry | None:
        """Return the entry to which a request or notification of the peer belongs; None if that is unknown.

        The ledger tries its progress token, then the request on whose stream it arrived, then the only entry.
        """
        entry = self.of_token(head.token) if head.kind is Kind.NOTIFICATION else None
        if entry is None and belongs_to is not None:
            entry = self._open.get(belongs_to)
        if entry is None and self._open:
            entries = iter(self._open.values())
            entry = next(entries)
            if any(other is not entry for other in entries):
                return None
        return entry

    # A life's end.

    def answer(
        self, request_id: RequestId | None, answer: Frame | None = None, ending: Ending = "answered"
    ) -> Entry | None:
        """Take the answer under exactly this id; return the entry, or None if no request is open under the id.

        ``ending`` says how the request ends if not by an answer.
        """
        entry = self._open.pop(request_id, None)
        if entry is not None:
            self._settled.append(hash(request_id))
            if self._special and request_id in self._special:
                assert request_id is not None, "it was open"
                self._end_special(request_id, entry)
            if self.subscriber is not None:
                self._tell_end(self.subscriber, request_id, ending, answer)
        return entry

    def _tell_end(
        self, subscriber: HearsTable, request_id: RequestId | None, ending: Ending, answer: Frame | None
    ) -> None:
        assert request_id is not None, "it was open"
        subscriber.ended(request_id, ending, answer)
        if request_id in self._open:  # another request waits under the same id
            subscriber.opened(request_id, None)

    def _end_special(self, request_id: RequestId, entry: Entry) -> None:
        special = self._special[request_id]
        self._doubtful -= special.stray is not None
        if special.repeats:
            special.repeats, special.stray, special.is_cancelled = special.repeats - 1, None, False
            self._open[request_id] = entry
            return
        del self._special[request_id]
        self._subscriptions -= special.is_subscription
        if special.token is not None and self._tokens.get(special.token) == request_id:
            del self._tokens[special.token]

    def knows(self, request_id: RequestId | None) -> bool:
        """Tell whether a request is open, or has recently settled under exactly this id."""
        return request_id in self._open or hash(request_id) in self._settled

    def note(self, request_id: RequestId) -> None:
        """Note that an id has settled that was never open in this ledger."""
        self._settled.append(hash(request_id))

    def is_late(self, request_id: RequestId | None) -> bool:
        """Tell whether an id has recently settled, in any spelling, so that one more answer is late or repeated."""
        if request_id is None:
            return False
        if self.knows_late is not None:
            return self.knows_late(request_id)
        return any(hash(spelling) in self._settled for spelling in (request_id, *spellings(request_id)))
