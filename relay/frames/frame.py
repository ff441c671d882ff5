"""One JSON-RPC message exactly as it arrived.

A frame is its bytes. Its ``head`` (kind, id, method, progress token) is read once, when somebody asks for it; pipes
from bytes to bytes never ask.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from relay.frames.envelope import NOT_UTF8, find_messages, read_head, read_whole_head
from relay.frames.head import BATCH, LARGE, Head, RequestId
from relay.frames.json_cost import excess, is_utf8
from relay.limits import DEFAULT_LIMITS

__all__ = ["Frame", "each_message"]

_NEWLINES = bytes.maketrans(b"\r\n", b"  ")


class Frame:
    """One JSON-RPC message exactly as it arrived, without its line ending."""

    __slots__ = ("_excess", "_head", "belongs_to", "found", "raw", "tokens")
    found: tuple[object]
    """What ``read_facts`` found in a large frame; unset until it has looked."""
    tokens: list[tuple[int, int]]
    """Where ``look_for_token`` found progress tokens; unset until it has looked."""
    _excess: tuple[int, int, str]
    """What ``excess`` has found, and within which bounds; not there before."""

    def __init__(self, raw: bytes, belongs_to: RequestId | None = None, head: Head | None = None) -> None:
        """Hold ``raw``; ``belongs_to`` names the request on whose own response stream the frame arrived, if any.

        ``head`` is what is known of the frame already.
        """
        self.raw = raw
        self.belongs_to = belongs_to
        self._head = head

    @property
    def head(self) -> Head:
        """Kind, id, method and progress token; ``Kind.INVALID``, with the reason, if this is no JSON-RPC message."""
        head = self._head
        if head is None:
            raw = self.raw
            # msgspec does not look at what it skips. 0.03 us for 100 B, 3.5 for 100 kB.
            if not raw.isascii() and not is_utf8(raw):
                head = NOT_UTF8
            else:
                head = read_head(raw, self) if len(raw) > LARGE else read_whole_head(raw, self)
            self._head = head
        return head

    def read_whole(self) -> Head:
        """Return the head, read from the whole frame: a stranger could forge the ends alone."""
        head = self._head = read_whole_head(self.raw, self)
        return head

    @property
    def may_repeat_key(self) -> bool:
        """Whether a key that routing depends on may stand twice: ``repeated_key`` looks closer, if so."""
        raw = self.raw
        return (
            len(raw) > LARGE
            or b"\\u" in raw
            or raw.count(b'"id"') > 1
            or raw.count(b'"method"') > 1
            or raw.count(b'"params"') > 1
        )

    def excess(self, nodes: int = DEFAULT_LIMITS.max_json_nodes, values: int = DEFAULT_LIMITS.max_json_values) -> str:
        """Say what this has too many of, as ``json_cost.excess`` does; counted once, for that may take 80 ms."""
        known = getattr(self, "_excess", None)
        if known is None or known[:2] != (nodes, values):
            known = self._excess = (nodes, values, excess(self.raw, nodes, values))
        return known[2]

    @property
    def line(self) -> bytes:
        """The frame on one line, for transports that frame by newlines.

        A raw CR or LF in JSON can only be white space between tokens, so a space in its place keeps the meaning.
        """
        raw = self.raw
        return raw.translate(_NEWLINES) if b"\n" in raw or b"\r" in raw else raw

    def split(self) -> list[Frame]:
        """Return the members of a batch as frames of their own, their bytes as they are."""
        _, spans = find_messages(self.raw)
        return [Frame(self.raw[start:end], self.belongs_to) for start, end in spans]

    def __repr__(self) -> str:
        """Show the start of the frame."""
        return f"Frame({self.raw[:60]!r}{'…' if len(self.raw) > 60 else ''})"


def each_message(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Yield frames message by message: for a batch, its members."""
    for frame in frames:
        if frame.head.kind is BATCH:
            yield from frame.split()
        else:
            yield frame
