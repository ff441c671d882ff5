"""Remember for a moment whose tokens were good, so that none is judged again for each connection. Pure."""

from __future__ import annotations

from hashlib import sha256

from relay.auth.inbound.verdicts import Principal

__all__ = ["Recent"]

_MOST = 1024


class Recent:
    """The principals of tokens that were good a moment ago, by the hash of the token."""

    def __init__(self) -> None:
        """Remember none."""
        self._known: dict[bytes, tuple[Principal, float]] = {}

    def find(self, token: str, now: float) -> Principal | None:
        """Return whose token this is, if it was good a moment ago and has not ended."""
        found = self._known.get(_digest(token))
        if found is None:
            return None
        principal, until = found
        return principal if now < min(until, until if principal.until is None else principal.until) else None

    def keep(self, token: str, principal: Principal, until: float) -> None:
        """Remember a token until then, by the loop's clock, and no longer than it is good."""
        self._known.pop(digest := _digest(token), None)
        self._known[digest] = principal, until
        if len(self._known) > _MOST:
            del self._known[next(iter(self._known))]

    def clear(self) -> None:
        """Remember none."""
        self._known.clear()


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogateescape")).digest()
