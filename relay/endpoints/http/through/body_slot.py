"""The frame of a POST on its way to the server, and its bytes among those that wait to be sent."""

from __future__ import annotations

from collections.abc import Callable

from aiohttp import BytesPayload
from aiohttp.abc import AbstractStreamWriter

from relay.endpoints.http.media import JSON
from relay.endpoints.http.pieces import pieces_of
from relay.frames.frame import Frame

__all__ = ["BodySlot", "LargeBody"]


class BodySlot:
    """The frame of a POST for as long as it may be needed, and its bytes among those that wait for the server."""

    __slots__ = ("_count", "_look_again", "_size", "frame")

    def __init__(self, count: Callable[[int], None], look_again: Callable[[], None]) -> None:
        """Have no frame yet; ``count`` a large one, and ``look_again`` once others may come in its place."""
        self.frame: Frame | None = None
        self._size = 0
        self._count, self._look_again = count, look_again

    def hold(self, frame: Frame, *, is_small: bool) -> None:
        """Have this frame."""
        self.frame = frame
        if not is_small:
            self._size = len(frame.raw)
            self._count(self._size)

    def end(self) -> None:
        """Let go of the frame. Twice is no harm."""
        self.frame = None
        size, self._size = self._size, 0
        if size:
            self._count(-size)
            self._look_again()


class LargeBody(BytesPayload):
    """A body that is dropped once it is on its way: it is never sent twice."""

    def __init__(self, body: bytes, on_sent: Callable[[], None]) -> None:
        """Send ``body`` and call ``on_sent``."""
        super().__init__(b"", content_type=JSON)
        self._value, self._size = body, len(body)
        self._on_sent = on_sent

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Write it piece by piece, as aiohttp asks for it."""
        body, self._value = self._value, b""
        for piece in pieces_of(body):
            await writer.write(piece)
        del body, piece
        self._on_sent()
