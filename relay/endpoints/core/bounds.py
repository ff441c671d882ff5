"""The bounds that all listeners of a relay share: on sessions, and on bodies that are still arriving."""

from __future__ import annotations

import msgspec

from relay.endpoints.core.arrivals import Arrivals
from relay.limits import Limits
from relay.routing.sessions import Places

__all__ = ["Bounds"]


class Bounds(msgspec.Struct, frozen=True, eq=False):
    """The bounds of one relay; all of its listeners get the same value."""

    places: Places
    """The places for sessions and connections, each of which has its own server by default."""
    strangers: Arrivals
    """The memory for bodies from clients that have not proven themselves."""

    @classmethod
    def of(cls, limits: Limits) -> Bounds:
        """Return the bounds that ``limits`` give."""
        return cls(Places(limits.max_sessions, limits.max_sessions_each), Arrivals(limits))
