"""End the exchanges that wait for a server: all of them when the relay ends, subscriptions when it drains."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from relay.endpoints.http.through.forwarded import SUBSCRIBE
from relay.errors import EndpointBroken
from relay.frames.head import Head

__all__ = ["Life"]


class Life:
    """The life of one server to which the relay forwards requests."""

    def __init__(self) -> None:
        """Start without exchanges."""
        self.is_draining = False
        self.is_closed = False
        self._open: dict[asyncio.Timeout, bool] = {}  # exchanges that wait; True for a subscription

    def end_subscriptions(self) -> None:
        """End subscriptions, which do not end by themselves."""
        self.is_draining = True
        self._end(lambda is_subscription: is_subscription)

    def close(self) -> None:
        """End every exchange that waits now, and every later one at once."""
        self.is_closed = True
        self._end(lambda _: True)

    def _end(self, is_chosen: Callable[[bool], bool]) -> None:
        now = asyncio.get_running_loop().time()
        for scope, is_subscription in self._open.items():
            if is_chosen(is_subscription):
                scope.reschedule(now)

    @contextlib.asynccontextmanager
    async def until_closed(self, head: Head | None = None) -> AsyncIterator[None]:
        """Run the block that waits for the server. Raises EndpointBroken when the relay ends."""
        is_subscription = head is not None and head.method == SUBSCRIBE
        try:
            async with asyncio.timeout(0 if self.is_closed else None) as scope:
                self._open[scope] = is_subscription
                try:
                    yield
                finally:
                    del self._open[scope]
        except TimeoutError:
            raise EndpointBroken("the relay is shutting down") from None
