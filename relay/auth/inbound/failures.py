"""Count failed logins by the address of the client, so that nobody can try many tokens. Pure."""

from __future__ import annotations

import ipaddress
import math
from collections import deque
from hashlib import sha256

__all__ = ["FailedLogins"]

_MOST = 10
_PERIOD = 60.0
_MOST_ADDRESSES = 4096
_MOST_PROVEN = 8192


class FailedLogins:
    """The failed logins of each address in the last minute.

    Clients behind one proxy or NAT share an address. So a token that was good at this address before stays good while
    the address is blocked: the mistakes of one client do not lock out the others.
    """

    def __init__(self, most: int = _MOST, period: float = _PERIOD) -> None:
        """Block an address after ``most`` failed logins within ``period`` seconds."""
        self._most = most
        self._period = period
        self._failed: dict[str, deque[float]] = {}
        self._proven: dict[tuple[str, bytes], None] = {}

    def wait_of(self, address: str | None, token: str, now: float) -> int:
        """Return the seconds until an address may try this token; 0 if it may now."""
        if not self._failed:
            return 0
        key = _key(address)
        failed = self._failed.get(key)
        if failed is None or len(failed) < self._most:
            return 0
        left = failed[0] + self._period - now
        return math.ceil(left) if left > 0 and not self.is_proven(address, token) else 0

    def is_proven(self, address: str | None, token: str) -> bool:
        """Tell whether a token was good at this address before, so that nobody is guessing it."""
        return (_key(address), _digest(token)) in self._proven

    def failed(self, address: str | None, now: float) -> None:
        """Count a failed login."""
        key = _key(address)
        failed = self._failed.pop(key, None) or deque(maxlen=self._most)
        failed.append(now)
        self._failed[key] = failed
        if len(self._failed) > _MOST_ADDRESSES:
            del self._failed[next(iter(self._failed))]

    def succeeded(self, address: str | None, token: str) -> None:
        """Remember that a token is good at an address."""
        self._proven[_key(address), _digest(token)] = None
        if len(self._proven) > _MOST_PROVEN:
            del self._proven[next(iter(self._proven))]


def _digest(token: str) -> bytes:
    return sha256(token.encode("utf-8", "surrogateescape")).digest()


def _key(address: str | None) -> str:
    """Return the address, or its network if one client may have all of that: /64 of IPv6."""
    if address is None or ":" not in address:
        return address or ""
    try:
        found = ipaddress.IPv6Address(address.partition("%")[0])
    except ValueError:
        return address
    return str(found.ipv4_mapped or ipaddress.IPv6Network((int(found) >> 64 << 64, 64)))
