"""Remember which principal each session at a server belongs to, where the relay forwards requests without sessions.

No I/O and no clock. The server issues the session ids; the relay learns them from its answers to ``initialize``.
"""

from __future__ import annotations

__all__ = ["Owners"]

_MOST_EACH = 1024  # sessions of one principal; the relay forgets the one that was used least recently
_MOST_OWNERS = 16_384


class Owners:
    """The sessions of each principal."""

    def __init__(self) -> None:
        """Start without sessions."""
        self._of: dict[str, dict[str, None]] = {}

    def add(self, owner: str, session_id: str) -> None:
        """Note that ``owner`` has begun a session."""
        sessions = self._of.pop(owner, None) or {}
        self._of[owner] = sessions
        sessions.pop(session_id, None)
        sessions[session_id] = None
        if len(sessions) > _MOST_EACH:
            del sessions[next(iter(sessions))]
        if len(self._of) > _MOST_OWNERS:
            del self._of[next(iter(self._of))]

    def has(self, owner: str, session_id: str) -> bool:
        """Tell whether a session belongs to ``owner``, who uses it now."""
        sessions = self._of.get(owner)
        if sessions is None or session_id not in sessions:
            return False
        del sessions[session_id]
        sessions[session_id] = None
        return True

    def remove(self, owner: str, session_id: str) -> None:
        """Forget a session that has ended."""
        if (sessions := self._of.get(owner)) is not None:
            sessions.pop(session_id, None)
            if not sessions:
                del self._of[owner]
