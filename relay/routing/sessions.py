"""Map each ``Mcp-Session-Id`` to its session, cap the number of sessions, and find those that are idle for too long.

No I/O and no clock: the caller passes the time. A session takes a place from its first request on, so that the cap
holds. ``find`` returns the session only once ``initialize`` has succeeded.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

__all__ = ["Places", "Sessions", "Tracked", "name_of_session"]


def name_of_session(session_id: str) -> str:
    """Return the name of a session in logs, with a hash of its id, because the id is a secret."""
    return f"session {hashlib.sha256(session_id.encode()).hexdigest()[:8]}"


class Tracked(Protocol):
    """The part of a session that the table needs."""

    id: str
    owner: str
    """The principal that began it."""

    def idle_since(self) -> float | None:
        """Return when the session was last in use (seconds of the caller's clock), or None while it is in use."""


Session = TypeVar("Session", bound=Tracked)


class Places:
    """The places for sessions, in one table or in several together."""

    def __init__(self, most: int, most_each: int | None = None) -> None:
        """Start with ``most`` free places, of which one principal may take ``most_each``."""
        self.most = most
        self.most_each = most_each
        self.taken = 0
        self._taken_by: dict[str, int] = {}

    def take(self, owner: str) -> None:
        """Take a place for ``owner``, even beyond the cap."""
        self.taken += 1
        self._taken_by[owner] = self._taken_by.get(owner, 0) + 1

    def free(self, owner: str) -> None:
        """Give a place of ``owner`` back."""
        self.taken -= 1
        self._taken_by[owner] -= 1
        if not self._taken_by[owner]:
            del self._taken_by[owner]

    def is_full_for(self, owner: str) -> bool:
        """Whether ``owner`` may take no further place, while others may."""
        return self.most_each is not None and self._taken_by.get(owner, 0) >= self.most_each

    @property
    def is_full(self) -> bool:
        """Whether there is no place for a further session."""
        return self.taken >= self.most

    @property
    def refusal(self) -> str:
        """The message to a client that finds no place."""
        return f"{self.most} sessions are open already; --max-sessions admits more"

    @property
    def refusal_of_one(self) -> str:
        """The message to a client whose principal finds no further place."""
        return f"{self.most_each} sessions of this client are open already; --max-sessions-each admits more"


class Sessions(Generic[Session]):
    """All sessions of one server of one listener."""

    def __init__(self, places: Places) -> None:
        """Take one of ``places`` for each session."""
        self._places = places
        self._members: set[Session] = set()
        self._by_id: dict[str, Session] = {}

    def __len__(self) -> int:
        """Count the sessions that have a place, published or not."""
        return len(self._members)

    def __iter__(self) -> Iterator[Session]:
        """Iterate over a copy, because sessions may end during the iteration."""
        return iter(list(self._members))

    def add(self, session: Session) -> None:
        """Give the session a place, even beyond the cap; ``find`` does not return it yet."""
        if session not in self._members:
            self._members.add(session)
            self._places.take(session.owner)

    def publish(self, session: Session) -> None:
        """Make the session available to ``find``, because its ``initialize`` has succeeded."""
        if session in self._members:
            self._by_id[session.id] = session

    def find(self, session_id: str) -> Session | None:
        """Return the session with this id; None if it is unknown, expired or not yet initialized."""
        return self._by_id.get(session_id)

    def remove(self, session: Session) -> None:
        """Forget the session and free its place; a second call does nothing."""
        if session in self._members:
            self._members.discard(session)
            self._places.free(session.owner)
        self._by_id.pop(session.id, None)

    def expired(self, now: float, max_idle: float) -> list[Session]:
        """Return the sessions that have been idle for ``max_idle`` seconds."""
        return [
            session
            for session in self._members
            if (since := session.idle_since()) is not None and now - since >= max_idle
        ]


def new_session_id() -> str:
    """Make a session id: 256 bits, 43 visible ASCII characters."""
    return secrets.token_urlsafe(32)
