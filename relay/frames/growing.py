"""Gather a message piece by piece, in memory of its own size."""

from __future__ import annotations

import io

from relay import freed_memory

__all__ = ["Growing"]


class Growing(io.BytesIO):
    """Bytes to which pieces are written. A list of pieces, joined at the end, would take twice the memory."""

    def whole(self) -> bytes:
        """Return all bytes, without a copy. Write nothing after it.

        The copies that a large buffer has left behind while it grew go back to the kernel, before the message itself
        is copied.
        """
        data = self.getvalue()
        if len(data) > freed_memory.KEPT:
            freed_memory.give_back()
        return data
