"""Write a large request body piece by piece: one large write would take long, and aiohttp copies what it reads."""

from __future__ import annotations

from aiohttp import BytesPayload
from aiohttp.abc import AbstractStreamWriter

from relay.endpoints.http.media import JSON
from relay.endpoints.http.pieces import pieces_of

__all__ = ["PiecewiseBody"]


class PiecewiseBody(BytesPayload):
    """A large body of JSON, which may be sent again."""

    def __init__(self, body: bytes) -> None:
        """Send ``body``."""
        super().__init__(b"", content_type=JSON)  # it warns of large bodies
        self._value, self._size = body, len(body)

    async def write_with_length(self, writer: AbstractStreamWriter, content_length: int | None) -> None:
        """Write the body when aiohttp asks for it."""
        for piece in pieces_of(self._value):
            await writer.write(piece)
