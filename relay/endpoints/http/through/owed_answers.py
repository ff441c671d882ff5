"""Which requests a stream still owed its client when it ended, for when the client comes back with Last-Event-ID.

A request that is handed on lives no longer than its connection, and a GET names none. If its server is gone by then,
whoever comes back would hear of no request, and wait for ever.
"""

from __future__ import annotations

from relay.routing.ledger import Ledger

__all__ = ["OwedAnswers"]

_MOST = 4096  # streams that ended early; the oldest is forgotten, which costs its client a plain error


class OwedAnswers:
    """The unanswered requests of streams that ended and can be resumed."""

    def __init__(self) -> None:
        """Know of none."""
        self._owed: dict[tuple[str | None, str], Ledger[bool]] = {}

    def keep(self, session: str | None, last_event_id: str, owed: Ledger[bool]) -> None:
        """Note what a stream owed after the last event that its client has been sent."""
        if len(self._owed) >= _MOST:
            del self._owed[next(iter(self._owed))]
        self._owed[session, last_event_id] = owed

    def take(self, session: str | None, last_event_id: str | None) -> Ledger[bool] | None:
        """Return what is owed to a client that comes back; None if that is unknown."""
        return None if last_event_id is None else self._owed.pop((session, last_event_id), None)
