"""Hold the frame of a POST until the relay has sent it, and count its bytes as unsent."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp.abc import AbstractStreamWriter

from relay.endpoints.http.client.piecewise import PiecewiseBody
from relay.frames.frame import Frame

__all__ = ["BodySlot", "LargeBody"]


class BodySlot:
    """The frame of a POST while the relay may need it, with its bytes in the count of unsent bytes."""

    __slots__ = ("_count", "_look_again", "_size", "frame")

    def __init__(self, count: Callable[[int], None], look_again: Callable[[], None]) -> None:
        """Start without a frame. Call ``count`` with a large frame's bytes, and ``look_again`` once they are sent."""
        self.frame: Frame | None = None
        self._size = 0
        self._count, self._look_again = count, look_again

    def hold(self, frame: Frame, *, is_small: bool) -> None:
        """Hold ``frame``, and count its bytes unless ``is_small``."""
        self.frame = frame
        if not is_small:
            self._size = frame.size
            self._count(self._size)

    def end(self) -> None:
        """Release the frame; a second call does nothing."""
        self.frame = None
        size, self._size = self._size, 0
        if size:
            self._count(-size)
            self._look_again()


class LargeBody(PiecewiseBody):
    """A body that the relay drops once it is sent, because it is never sent twice."""

    def __init__(self, body: bytes, on_sent: Callable[[], None]) -> None:
        """Send ``body`` and call ``on_sent``."""
        super().__init__(body)
        self._on_sent = on_sent

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Write the body when aiohttp asks for it."""
        await super().write_with_length(writer, content_length)
        self._value = b""
        self._on_sent()
