"""Split bytes into lines of bounded length, wherever the transport cut them.

Sans-I/O. Each piece of an unfinished line is searched once and kept in one buffer, which becomes the line: to search
it anew costs 831 ms for a line of 16 MiB in 64 KiB pieces. A list of pieces, joined at the end, would take the memory
of the line twice, and of one that comes byte by byte forty times.
"""

from __future__ import annotations

import re

import msgspec

from relay.frames.growing import Growing
from relay.frames.json_scan import Text

__all__ = ["KEPT", "LineBuffer", "Oversized"]

KEPT = 4096
"""Bytes of a line too long to keep, at either end: enough for every envelope seen."""
_RUN = 4096  # bytes of blank lines that are matched one by one, at 10 ns each
_BLANK_LINES = re.compile(rb"(?:\r?\n)++")
_RUNS = (b"\r\n" * (_RUN // 2), b"\n" * _RUN)


class Oversized(msgspec.Struct, frozen=True, gc=False):
    """What is left of a line that passed the limit: its ends, in which its id may be found, and its length."""

    start: bytes
    end: bytes
    size: int


class LineBuffer:
    """Cut a byte stream at LF; a line longer than ``max_bytes`` becomes an ``Oversized`` and costs no memory."""

    def __init__(self, max_bytes: int, *, keeps_blank: bool = True) -> None:
        """Accept lines of up to ``max_bytes`` bytes, their LF not counted.

        A stranger may send millions of blank lines: with ``keeps_blank=False`` the buffer skips a run in one step.
        """
        self._max_bytes = max_bytes
        self._keeps_blank = keeps_blank
        self._kept = Growing()
        self._size = 0
        self._dropping = False
        self._start = b""
        self._end = b""

    @property
    def pending(self) -> int:
        """Bytes of the unfinished line seen so far, kept or not."""
        return self._size

    def feed(self, data: Text, size: int | None = None) -> list[bytes | Oversized]:
        """Take what the transport read; return the lines it completed, without their LF.

        With ``size``, ``data`` is a buffer that the transport uses again, and its first ``size`` bytes are new.
        """
        # A view has each byte of a line copied once, but costs 0.2 us, as much as all else here for a small one.
        view: Text | memoryview = data if size is None else memoryview(data)
        size = len(data) if size is None else size
        lines: list[bytes | Oversized] = []
        start = 0
        # Not split(), which looks at one byte after the other: 1.4 us for 100 kB where that takes 70.
        while (end := data.find(b"\n", start, size)) >= 0:
            if end - start < 2 and not (self._keeps_blank or self._size):
                blank = _BLANK_LINES.match(data, start, min(size, start + _RUN))
                if blank is not None:
                    start = blank.end()
                    for run in _RUNS:
                        while data.startswith(run, start, size):
                            start += _RUN
                    continue
            piece = view[start:end]
            fits = not self._size and end - start <= self._max_bytes
            lines.append(bytes(piece) if fits else self._finish(piece))
            start = end + 1
        if start < size:
            self._add(view[start:size])
        return lines

    def finish(self) -> bytes | Oversized | None:
        """Return the unfinished line, if any: the stream has ended."""
        return self._finish(b"") if self._size else None

    def forget(self) -> None:
        """Let go of the unfinished line: nobody will ask for it."""
        self._kept = Growing()
        self._size = 0
        self._dropping = False

    def _add(self, piece: Text | memoryview) -> None:
        self._size += len(piece)
        if self._dropping:
            if len(self._start) < KEPT:
                self._start = (self._start + piece)[:KEPT]
            self._end = (self._end + piece)[-KEPT:]
            return
        self._kept.write(piece)
        if self._size > self._max_bytes:
            with self._kept.getbuffer() as line:
                self._start, self._end = bytes(line[:KEPT]), bytes(line[-KEPT:])
            self._kept = Growing()
            self._dropping = True

    def _finish(self, piece: Text | memoryview) -> bytes | Oversized:
        if not self._size:
            return bytes(piece) if len(piece) <= self._max_bytes else _oversized(piece)
        self._add(piece)
        line: bytes | Oversized
        if self._dropping:
            line = Oversized(self._start, self._end, self._size)
            self._dropping = False
            self._start = self._end = b""
        else:
            line = self._kept.whole()
            self._kept = Growing()
        self._size = 0
        return line


def _oversized(line: Text | memoryview) -> Oversized:
    return Oversized(bytes(line[:KEPT]), bytes(line[-KEPT:]), len(line))
