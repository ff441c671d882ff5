"""An endpoint in place of a server that is unavailable: it answers the first frames with errors, then ends.

So each client gets an error with its own id that names the server and the reason, and the next client tries anew.
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
    """Answers every request of its first frames with an error."""

    def __init__(self, name: str, reason: str) -> None:
        """Answer with ``reason``, which begins with the server's name."""
        self.name = name
        self._reason = reason
        self._inbox = FrameInbox(name, DEFAULT_LIMITS)

    async def receive(self) -> Sequence[Frame]:
        """Return the errors, then ``()``."""
        return await self._inbox.receive()

    def call_at_end(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` once the first frames have their errors."""
        self._inbox.call_at_end(callback)

    async def send(self, frames: Sequence[Frame]) -> None:
        """Answer each request with an error that says "not delivered"; raise EndpointClosed after that."""
        if self._inbox.is_finished:
            raise EndpointClosed(self._reason)
        asked = [one.id for frame in frames for one in frame.head.messages if one.kind is Kind.REQUEST]
        named = [request_id for request_id in asked if request_id is not None]
        self._inbox.put(replies.errors(named, replies.UNAVAILABLE, self._reason, delivered="no"))
        self._inbox.finish()

    async def send_eof(self) -> None:
        """Take the end of the other side."""
        self._inbox.finish()

    async def aclose(self, reason: RelayError | None = None) -> None:
        """End the endpoint."""
        self._inbox.finish()
