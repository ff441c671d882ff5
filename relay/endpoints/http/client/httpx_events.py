"""Decode an event stream with httpx-sse, for connections through an httpx client: the extra ``[httpx]``.

httpx-sse (0.4.3) works on text, and bounds neither lines nor events. This module feeds it Latin-1, where every byte is
one character, so that the bytes come back unchanged. It holds back the bytes of an event beyond the limit. It also
holds back every data line after the first: httpx-sse keeps each line as an object, 17 times the size of a short line.
"""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from typing import Any

from httpx_sse import EventSource, ServerSentEvent

from relay.endpoints.http.media import EVENT_STREAM
from relay.frames.lines import KEPT, Oversized
from relay.frames.sse import LARGEST_RETRY, SseEvent, SseLines

__all__ = ["HttpxEvents"]

_LATIN_1 = {"Content-Type": f"{EVENT_STREAM}; charset=latin-1"}


class HttpxEvents:
    """The events of one answer, to be iterated once."""

    def __init__(self, chunks: AsyncIterator[bytes], max_event_bytes: int, library: Any) -> None:
        """Read ``chunks`` with ``library``, which is httpx or httpx2."""
        self._chunks = chunks
        self._max_event_bytes = max_event_bytes
        self._library = library
        self._size = 0  # bytes of the unfinished event's data lines, with line ends
        self._left_out: bytes | None = None  # the end of the unfinished event's bytes beyond the limit
        self._further: io.BytesIO | None = None  # the unfinished event's later data lines, each after a line end
        self._has_data = False
        self._has_id = False

    async def __aiter__(self) -> AsyncIterator[SseEvent]:
        """Yield each event once it is complete. Raises what ``chunks`` raises."""
        response = self._library.Response(200, headers=_LATIN_1, content=self._pieces())
        async for event in EventSource(response).aiter_sse():
            yield self._as_bytes(event)

    async def _pieces(self) -> AsyncIterator[bytes]:
        """Yield whole lines. An event's last line ends a piece, so each piece completes at most one event."""
        lines = SseLines(self._max_event_bytes)
        async for chunk in self._chunks:
            piece = []
            for line in lines.feed(chunk):
                piece.append(self._within_limit(line))
                if not line:
                    yield b"".join(piece)
                    piece.clear()
                    self._size, self._left_out, self._further, self._has_data = 0, None, None, False
            if piece:
                yield b"".join(piece)

    def _within_limit(self, line: bytes | Oversized) -> bytes:
        """Return the part of a line that httpx-sse may see, with a line end; nothing for other lines."""
        if line == b"data":  # a field without a colon has no value
            line = b"data:"
        start, end, size = (line, line, len(line)) if isinstance(line, bytes) else (line.start, line.end, line.size)
        if not start.startswith(b"data:"):
            return line + b"\n" if isinstance(line, bytes) else b""
        name = 5 + start.startswith(b" ", 5)
        self._size += size - name + 1
        value = start[name:]
        if self._size > self._max_event_bytes + 1:
            is_first, self._left_out = self._left_out is None, end[-KEPT:]
            if not is_first:
                return b""
            value = value[:KEPT]
        if not self._has_data:
            self._has_data = True
            return b"data: " + value + b"\n"
        self._further = self._further or io.BytesIO()
        self._further.write(b"\n" + value)
        return b""

    def _as_bytes(self, event: ServerSentEvent) -> SseEvent:
        data = event.data.encode("latin-1")
        if self._further is not None:
            data += self._further.getvalue()
        kept = data or None if self._left_out is None else Oversized(data[:KEPT], self._left_out, self._size - 1)
        self._has_id = self._has_id or bool(event.id)
        retry = event.retry if event.retry is not None and 0 <= event.retry <= LARGEST_RETRY else None
        return SseEvent(_text(event.event), kept, _text(event.id) if self._has_id else None, retry)


def _text(latin_1: str) -> str:
    return latin_1.encode("latin-1").decode("utf-8", "replace")
