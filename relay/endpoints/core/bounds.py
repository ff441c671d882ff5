"""What bounds a relay as a whole, whichever listeners its clients come by: sessions, and what is still arriving."""

from __future__ import annotations

import msgspec

from relay.endpoints.core.arrivals import Arrivals
from relay.limits import Limits
from relay.routing.sessions import Places

__all__ = ["Bounds"]


class Bounds(msgspec.Struct, frozen=True, eq=False):
    """One of it for all listeners that belong together."""

    places: Places
    """Of sessions and connections, each of which has a server to itself by default."""
    strangers: Arrivals
    """What arrives from those whom nobody has vouched for."""

    @classmethod
    def of(cls, limits: Limits) -> Bounds:
        """Make those that ``limits`` say."""
        return cls(Places(limits.max_sessions), Arrivals(limits))
