"""Keep the shared servers of each principal apart: no client shares a server with one of another principal."""

from __future__ import annotations

from collections.abc import Callable

from relay.endpoints.base import ANONYMOUS, Endpoint, HasOwner
from relay.endpoints.combined.shared import SharedPool

__all__ = ["SharedPools"]


class SharedPools:
    """The shared servers of all principals."""

    def __init__(self, make: Callable[[], SharedPool]) -> None:
        """Make the servers of a principal with ``make`` when its first client needs one."""
        self._make = make
        self._pools: dict[str, SharedPool] = {}

    def of(self, client: Endpoint | None) -> SharedPool:
        """Return the shared servers for a client."""
        owner = ANONYMOUS
        if client is not None and isinstance(client, HasOwner):
            owner = client.owner
        pool = self._pools.get(owner)
        if pool is None:
            for other in [name for name, one in self._pools.items() if not one.is_used]:
                del self._pools[other]
            pool = self._pools[owner] = self._make()
        return pool

    async def aclose(self) -> None:
        """End every server and its sessions."""
        for pool in self._pools.values():
            await pool.aclose()
