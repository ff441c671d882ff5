"""One JSON-RPC message exactly as it arrived.

A frame is its bytes. Its ``head`` (kind, id, method, progress token) is read once, when somebody asks for it; pipes
from bytes to bytes never ask.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from relay.frames.envelope import NOT_UTF8, Steps, find_messages, last_of, read_head, read_whole_head, steps_of_head
from relay.frames.head import BATCH, LARGE, Head, RequestId
from relay.frames.json_cost import BUILT, excess, is_utf8
from relay.limits import DEFAULT_LIMITS

__all__ = ["Frame", "Spliced", "each_message"]

_NEWLINES = bytes.maketrans(b"\r\n", b"  ")


class Frame:
    """One JSON-RPC message exactly as it arrived, without its line ending."""

    __slots__ = ("_excess", "_head", "_is_whole", "belongs_to", "found", "raw", "size", "tokens")
    raw: bytes
    found: tuple[object]
    """What ``read_facts`` found in a large frame; unset until it has looked."""
    tokens: list[tuple[int, int]]
    """Where ``look_for_token`` found progress tokens; unset until it has looked."""
    _excess: tuple[int, int, str]
    """What ``excess`` has found, and within which bounds; not there before."""
    _is_whole: bool
    """Whether the head was read from the whole of a large frame; unset until it was read."""

    def __init__(self, raw: bytes, belongs_to: RequestId | None = None, head: Head | None = None) -> None:
        """Hold ``raw``; ``belongs_to`` names the request on whose own response stream the frame arrived, if any.

        ``head`` is what is known of the frame already.
        """
        self.raw = raw
        self.size = len(raw)
        self.belongs_to = belongs_to
        self._head = head

    @property
    def head(self) -> Head:
        """Kind, id, method and progress token; ``Kind.INVALID``, with the reason, if this is no JSON-RPC message."""
        head = self._head
        if head is None:
            raw = self.raw
            # msgspec does not look at what it skips. 0.03 us for 100 B, 3.5 for 100 kB.
            if len(raw) > BUILT:
                head = last_of(self.steps())
            elif not raw.isascii() and not is_utf8(raw):
                head = NOT_UTF8
            else:
                head = read_head(raw) if len(raw) > LARGE else read_whole_head(raw)
            self._head = head
        return head

    def read_whole(self) -> Head:
        """Return the head, read from the whole frame: a stranger could forge the ends alone."""
        if self.size > BUILT:
            return last_of(self.steps(is_whole=True))
        raw = self.raw
        head = self._head = read_whole_head(raw) if raw.isascii() or is_utf8(raw) else NOT_UTF8
        return head

    def steps(self, *, is_whole: bool = False, is_server: bool = False) -> Steps:
        """Read the head of a frame of more than ``BUILT`` bytes step by step; see ``steps_of_head``."""
        raw, head = self.raw, self._head
        if head is None or (is_whole and not getattr(self, "_is_whole", False)):
            if not raw.isascii() and not is_utf8(raw):
                head = NOT_UTF8
            else:
                yield
                head = yield from steps_of_head(raw, self, is_whole=is_whole, is_server=is_server)
            self._head, self._is_whole = head, is_whole
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

    @property
    def parts(self) -> Sequence[bytes | memoryview]:
        """The bytes of the frame, in one part or several, for whoever does not need them joined."""
        return (self.raw,)

    def split(self) -> list[Frame]:
        """Return the members of a batch as frames of their own, their bytes as they are."""
        _, spans = find_messages(self.raw)
        return [Frame(self.raw[start:end], self.belongs_to) for start, end in spans]

    def __repr__(self) -> str:
        """Show the start of the frame."""
        return f"Frame({self.raw[:60]!r}{'…' if len(self.raw) > 60 else ''})"


class Spliced(Frame):
    """A large frame made of parts of another; it is joined once somebody asks for ``raw``, which copies it."""

    __slots__ = ("_parts",)

    def __init__(self, parts: Sequence[bytes | memoryview], belongs_to: RequestId | None, head: Head) -> None:
        """Hold ``parts``, whose sizes add up to that of the frame."""
        self._parts = parts
        self.size = sum(map(len, parts))
        self.belongs_to = belongs_to
        self._head = head

    @property
    def parts(self) -> Sequence[bytes | memoryview]:
        """The bytes of the frame, in several parts unless they were joined."""
        return self._parts

    def __getattr__(self, name: str) -> bytes:
        """Join the parts, because ``raw`` was asked for and is not there yet."""
        if name != "raw":
            raise AttributeError(name)
        self.raw = b"".join(self._parts)
        self._parts = (self.raw,)
        return self.raw


def each_message(frames: Iterable[Frame]) -> Iterator[Frame]:
    """Yield frames message by message: for a batch, its members."""
    for frame in frames:
        if frame.head.kind is BATCH:
            yield from frame.split()
        else:
            yield frame
