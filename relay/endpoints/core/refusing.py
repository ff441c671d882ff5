"""What stands in for a server that cannot be had: it answers the first that comes with errors, then has ended.

So that each client hears with its own ids which server it is and why, and the next one finds a new try.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from relay.endpoints.core.inbox import FrameInbox
from relay.errors import EndpointClosed, RelayError
from relay.frames import replies
from relay.frames.frame import Frame
from relay.frames.head import Kind
from relay.limits import DEFAULT_LIMITS

__all__ = ["Refusing"]


class Refusing:
    """An endpoint that takes no request."""

    def __init__(self, name: str, reason: str) -> None:
        """Say ``reason``, which begins with the name of the server, to each request of the first frames."""
        self.name = name
        self._reason = reason
        self._inbox = FrameInbox(name, DEFAULT_LIMITS)

    async def receive(self) -> Sequence[Frame]:
        """Return the errors; then ``()``."""
        return await self._inbox.receive()

    def call_at_end(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once the first have been refused."""
        self._inbox.call_at_end(callback)

    async def send(self, frames: Sequence[Frame]) -> None:
        """Refuse each request: it surely was not executed. Raises EndpointClosed after that."""
        if self._inbox.is_finished:
            raise EndpointClosed(self._reason)
        asked = [one.id for frame in frames for one in frame.head.messages if one.kind is Kind.REQUEST]
        named = [request_id for request_id in asked if request_id is not None]
        self._inbox.put(replies.errors(named, replies.UNAVAILABLE, self._reason, delivered="no"))
        self._inbox.finish()

    async def send_eof(self) -> None:
        """Take the end of who asks."""
        self._inbox.finish()

    async def aclose(self, reason: RelayError | None = None) -> None:
        """End."""
        self._inbox.finish()
