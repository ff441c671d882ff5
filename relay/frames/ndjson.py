"""Split a byte stream into JSON-RPC frames, one per line.

Sans-I/O: feed it whatever the transport read; it never waits and never looks at the JSON.
MCP, Transports, "stdio": messages are delimited by newlines and must not contain any.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from relay.frames.frame import Frame
from relay.frames.json_scan import Text
from relay.frames.lines import LineBuffer, Oversized

__all__ = ["LineSplitter", "encode_lines", "pieces_of_lines"]

_BOM = b"\xef\xbb\xbf"
_PIECE = 256 * 1024


class LineSplitter:
    """Turn bytes into frames. Empty lines are skipped; CRLF ends a line as LF does."""

    def __init__(self, max_frame_bytes: int) -> None:
        """Frames of up to ``max_frame_bytes`` bytes; a longer line comes out as an ``Oversized``."""
        self._lines = LineBuffer(max_frame_bytes, keeps_blank=False)

    @property
    def pending(self) -> int:
        """Bytes of the unfinished line."""
        return self._lines.pending

    def feed(self, data: Text, size: int | None = None) -> list[Frame | Oversized]:
        """Take what the transport read; return the frames it completed.

        With ``size``, ``data`` is a buffer that the transport uses again, and its first ``size`` bytes are new.
        """
        frames: list[Frame | Oversized] = []
        for line in self._lines.feed(data, size):
            if isinstance(line, Oversized):
                frames.append(line)
                continue
            # Some Windows programs write a byte order mark before each line; JSON has none.
            start, end = len(_BOM) if line.startswith(_BOM) else 0, -1 if line[-1:] == b"\r" else None
            if start or end:
                line = line[start:end]  # in one step, because it copies
            if line:
                frames.append(Frame(line))
        return frames

    def forget(self) -> None:
        """Drop the unfinished line: no one will ask for it."""
        self._lines.forget()

    def finish(self) -> list[Frame | Oversized]:
        """Return the last line if the stream ended without a newline after it."""
        return self.feed(b"\n") if self._lines.pending else []


def pieces_of_lines(frames: Iterable[Frame]) -> Iterator[bytes]:
    """Yield what ``encode_lines`` returns piece by piece, so that nobody needs a copy of a large frame."""
    for frame in frames:
        for part in frame.parts:
            whole = memoryview(part)
            for at in range(0, len(whole), _PIECE):
                yield Frame(bytes(whole[at : at + _PIECE])).line
        yield b"\n"


def encode_lines(frames: Iterable[Frame]) -> bytes:
    """Write frames as lines, ready for one write to the transport."""
    parts: list[bytes] = []
    for frame in frames:
        parts.append(frame.line)
        parts.append(b"\n")
    return b"".join(parts)
