"""Remember which requests a stream left unanswered when it ended, in case the client resumes with Last-Event-ID.

A forwarded request lives no longer than its connection, and a GET names no request. If the server is gone when the
client resumes, the relay could otherwise name no request in an error, and the client would wait indefinitely.
"""

from __future__ import annotations

from relay.routing.ledger import Ledger

__all__ = ["OwedAnswers"]

_MOST = 4096  # streams that ended early; the relay forgets the oldest, whose client then gets a plain error


class OwedAnswers:
    """The unanswered requests of streams that ended and can be resumed."""

    def __init__(self) -> None:
        """Start empty."""
        self._owed: dict[tuple[str, str | None, str], Ledger[bool]] = {}

    def keep(self, owner: str, session: str | None, last_event_id: str, owed: Ledger[bool]) -> None:
        """Keep the requests of ``owner`` that a stream left unanswered after the last event that the client got."""
        if len(self._owed) >= _MOST:
            del self._owed[next(iter(self._owed))]
        self._owed[owner, session, last_event_id] = owed

    def take(self, owner: str, session: str | None, last_event_id: str | None) -> Ledger[bool] | None:
        """Return the unanswered requests of a client that resumes a stream; None if they are unknown."""
        return None if last_event_id is None else self._owed.pop((owner, session, last_event_id), None)
