"""Which exchange waits for which answer.

An exchange is whatever waits for the answers to one HTTP request's frames: one id, or several for a batch. The table
is pure: it says where a frame goes and who is left without an answer; the caller acts on it. Every id that was opened
is settled exactly once, by an answer, by ``abandon`` or by ``fail_all``.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable
from typing import Generic, TypeVar

from relay.frames.frame import Frame
from relay.frames.head import REQUEST, Head, Kind, RequestId
from relay.routing.matching import Strays, home_of, last_resort, only_of

__all__ = ["Exchanges", "IdInUse"]

_LISTEN = "subscriptions/listen"

Waiter = TypeVar("Waiter", bound=Hashable)


class IdInUse(Exception):
    """A request came with an id that still waits for an answer: the two could not be told apart."""

    def __init__(self, request_id: RequestId) -> None:
        """Name the id."""
        super().__init__(f"request id {request_id!r} is already waiting for its answer")
        self.request_id = request_id


class Exchanges(Generic[Waiter]):
    """Open request ids of one session, and the progress tokens that came with them."""

    def __init__(self) -> None:
        """Start with no exchange."""
        self._by_id: dict[RequestId, Waiter] = {}
        self.open_ids: Collection[RequestId] = self._by_id.keys()
        """The ids of requests that wait for an answer."""
        self._by_token: dict[RequestId, Waiter] = {}
        self._token_of: dict[RequestId, RequestId] = {}
        self._subscriptions: set[RequestId] = set()
        self.strays = Strays()
        self._note, self._doubts = self.strays.note, self.strays.doubts

    def __len__(self) -> int:
        """Count the requests that wait for an answer."""
        return len(self._by_id)

    def open(self, waiter: Waiter, heads: Iterable[Head]) -> tuple[RequestId, ...]:
        """Let ``waiter`` wait for the answers to the requests among ``heads``; return their ids.

        Raises IdInUse, and opens nothing, if one of the ids waits already.
        """
        ids: list[RequestId] = []
        tokens: list[tuple[RequestId, RequestId]] = []
        by_id = self._by_id
        for head in heads:
            if head.kind is not REQUEST:
                continue
            request_id = head.id
            assert request_id is not None, "a request has an id"
            if request_id in by_id:
                for opened in ids:
                    del by_id[opened]
                raise IdInUse(request_id)
            ids.append(request_id)
            by_id[request_id] = waiter
            if head.method == _LISTEN:
                self._subscriptions.add(request_id)
            if head.token is not None:
                tokens.append((request_id, head.token))
        for request_id, token in tokens:  # only now: a refused batch takes no token from another
            self._by_token[token] = waiter
            self._token_of[request_id] = token
        return tuple(ids)

    def find(self, request_id: RequestId | None) -> Waiter | None:
        """Return who waits for the answer to ``request_id``, if anybody."""
        return None if request_id is None else self._by_id.get(request_id)

    def settle(self, request_id: RequestId | None) -> Waiter | None:
        """Take the answer to ``request_id``: return who waited for it, or None if nobody did (any more)."""
        if request_id is None:
            return None
        waiter = self._by_id.pop(request_id, None)
        if waiter is None:
            return None
        self._note(hash(request_id))
        if self._doubts:
            self._doubts.pop(request_id, None)
        if self._subscriptions:
            self._subscriptions.discard(request_id)
        if self._token_of:
            token = self._token_of.pop(request_id, None)
            if token is not None and self._by_token.get(token) is waiter:
                del self._by_token[token]
        return waiter

    def home_of(self, answer: Frame, name: str, *, is_whole: bool = False) -> Frame | None:
        """Return an answer of ``name`` that comes under no open id as it goes to whom it is for; None if to nobody.

        ``is_whole``: it is all that the request it belongs to will get. Else whoever may wait for it is told later.
        """
        home = home_of(answer, self._by_id, name)
        if home is not None:
            return home
        only = answer.belongs_to  # it came on that request's own stream
        if only is None or only not in self._by_id:
            only = only_of(self._by_id.keys() - self._subscriptions if self._subscriptions else self._by_id)
        if is_whole and only is not None:
            return last_resort(answer, only, self.strays, name)
        self.strays.take(answer, only, name)
        return None

    def related(self, head: Head, belongs_to: RequestId | None) -> Waiter | None:
        """Return the exchange that a request or notification from upstream is part of, if it can be told.

        In order: its progress token; the request the transport tied it to; the only exchange that is open.
        """
        if head.token is not None and head.kind is Kind.NOTIFICATION:
            waiter = self._by_token.get(head.token)
            if waiter is not None:
                return waiter
        waiter = self.find(belongs_to)
        if waiter is None and self._by_id:
            waiters = iter(self._by_id.values())
            waiter = next(waiters)
            if any(other is not waiter for other in waiters):
                return None
        return waiter

    def waiters(self) -> set[Waiter]:
        """Return everybody who waits for an answer."""
        return set(self._by_id.values())

    def latest(self) -> Waiter | None:
        """Return the exchange that was opened last, if any is open."""
        return next(reversed(self._by_id.values()), None)

    def fail_all(self) -> list[tuple[RequestId, Waiter]]:
        """Settle everything at once; return the ids that are left without an answer, and who waited."""
        left = list(self._by_id.items())
        self._by_id.clear()
        self._by_token.clear()
        self._token_of.clear()
        self._subscriptions.clear()
        self.strays.doubts.clear()
        return left
