"""Limit the requests of each principal, or of each address where nobody logs in. Pure."""

from __future__ import annotations

import msgspec

__all__ = ["Rate", "Rates"]

_MOST_KEYS = 16_384


class Rate(msgspec.Struct, frozen=True):
    """So many requests within a period: as many at once, and then evenly spread."""

    count: int
    period: float
    """Seconds."""


class Rates:
    """How many requests each principal or address may send now: a token bucket for each."""

    def __init__(self, rate: Rate) -> None:
        """Admit ``rate``."""
        self._most = float(rate.count)
        self._each = rate.count / rate.period
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, key: str, now: float) -> float:
        """Count a request, and return 0; or return the seconds until one may come, and count none."""
        left, since = self._left.pop(key, (self._most, now))
        left = min(self._most, left + (now - since) * self._each)
        wait = 0.0 if left >= 1 else (1 - left) / self._each
        self._left[key] = (left if wait else left - 1), now
        if len(self._left) > _MOST_KEYS:
            del self._left[next(iter(self._left))]
        return wait
