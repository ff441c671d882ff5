"""Which session an ``Mcp-Session-Id`` names, how many there may be, and which have been idle for too long.

Pure: the caller says what time it is. A session takes a place from its first request on, so that the cap holds, and is
found by its id only once ``initialize`` has succeeded.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

__all__ = ["Places", "Sessions", "Tracked", "name_of_session"]


def name_of_session(session_id: str) -> str:
    """Return what logs call a session: by a hash of its id, which is a secret."""
    return f"session {hashlib.sha256(session_id.encode()).hexdigest()[:8]}"


class Tracked(Protocol):
    """What the table asks of a session."""

    id: str

    def idle_since(self) -> float | None:
        """Return when it was last in use (seconds, the caller's clock), or None while it is."""


Session = TypeVar("Session", bound=Tracked)


class Places:
    """How many sessions there may be at one time, in one table or in several together."""

    def __init__(self, most: int) -> None:
        """Have ``most`` places, all free."""
        self.most = most
        self.taken = 0

    @property
    def is_full(self) -> bool:
        """Whether no further session is admitted."""
        return self.taken >= self.most

    @property
    def refusal(self) -> str:
        """What those hear who find no place."""
        return f"{self.most} sessions are open already; --max-sessions admits more"


class Sessions(Generic[Session]):
    """All sessions of one server of one listener."""

    def __init__(self, places: Places) -> None:
        """Take one of ``places`` for each session."""
        self._places = places
        self._members: set[Session] = set()
        self._by_id: dict[str, Session] = {}

    def __len__(self) -> int:
        """Count the sessions that have a place, found or not."""
        return len(self._members)

    def __iter__(self) -> Iterator[Session]:
        """Go over a copy: sessions end while one looks."""
        return iter(list(self._members))

    def add(self, session: Session) -> None:
        """Give the session a place, full or not; nobody finds it yet."""
        if session not in self._members:
            self._members.add(session)
            self._places.taken += 1

    def publish(self, session: Session) -> None:
        """Let the session be found by its id: its ``initialize`` has succeeded."""
        if session in self._members:
            self._by_id[session.id] = session

    def find(self, session_id: str) -> Session | None:
        """Return the session of that id: never one that is unknown, expired or not yet initialized."""
        return self._by_id.get(session_id)

    def remove(self, session: Session) -> None:
        """Forget the session; its place is free. Twice is no harm."""
        if session in self._members:
            self._members.discard(session)
            self._places.taken -= 1
        self._by_id.pop(session.id, None)

    def expired(self, now: float, max_idle: float) -> list[Session]:
        """Return the sessions that nobody has used for ``max_idle`` seconds."""
        return [
            session
            for session in self._members
            if (since := session.idle_since()) is not None and now - since >= max_idle
        ]


def new_session_id() -> str:
    """Make a session id: 256 bits, 43 visible ASCII characters."""
    return secrets.token_urlsafe(32)
