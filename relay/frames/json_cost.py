"""What a frame may cost to read: looked at before anything of it is built, in one place for every way in.

A frame is anybody's bytes. Whatever Python does for each of its tokens holds the loop for seconds where they are those
of 16 MiB, and whatever is built of each takes many times their size. So a frame is read by what builds nothing and goes
over its bytes as fast as memory does, once; who must go over them again asks ``excess`` before.
"""

from __future__ import annotations

import codecs

from relay.frames.json_scan import Text
from relay.limits import DEFAULT_LIMITS

__all__ = ["BUILT", "MOST_ESCAPES", "MOST_MESSAGES", "MOST_NAME", "excess", "is_utf8", "may_hold"]

MOST_MESSAGES = 1000
"""Messages in a batch, by whatever way it comes; over HTTP ``Limits.max_batch`` allows fewer."""
MOST_NAME = 256 * 1024
"""Bytes of an id, a method, a progress token or another name that is read: as text it may be 4 times as large."""
BUILT = 64 * 1024
"""Bytes of a frame of which anything is built, or looked at one by one, before it is known how much that will be."""

MOST_ESCAPES = 100_000
"""Escapes that are looked through for some: to find two bytes among such as are like them takes 4 ns for each."""

_FEW = 100  # of what is counted: so many are looked for one by one
_MOST_STRINGS = 250_000  # told from what is outside them: 0.1 us each
_WINDOW = 64 * 1024  # bytes looked at together: what is made of them is no more


def excess(raw: Text, nodes: int = DEFAULT_LIMITS.max_json_nodes, values: int = DEFAULT_LIMITS.max_json_values) -> str:
    """Say what a frame has too many of: arrays and objects, or values; nothing if it may be read.

    16 MiB of anything take 15 ms; text within strings that looks like JSON, up to 80.
    """
    if len(raw) <= min(nodes, values):
        return ""
    opened, commas = _count(raw, b"{") + _count(raw, b"["), _count(raw, b",")
    if opened > nodes or commas > values:
        opened, commas = _count_outside(raw, nodes, values)
    if opened > nodes:
        return f"more than {nodes} JSON arrays and objects"
    return f"more than {values} JSON values" if commas > values else ""


def _count(raw: Text, what: bytes) -> int:
    """Count a byte, in strings too: base64 has none, which 0.02 ms for 1 MB show where to count takes 0.5."""
    found, at = 0, raw.find(what)
    while at >= 0 and found < _FEW:
        found, at = found + 1, raw.find(what, at + 1)
    return found if at < 0 else raw.count(what)


def _count_outside(raw: Text, nodes: int, values: int) -> tuple[int, int]:
    """Count what opens arrays and objects, and commas, outside of strings; no further than to the bounds."""
    strings = (raw.count(b'"') - raw.count(b'\\"')) // 2  # half of them at least
    if strings > _MOST_STRINGS:
        return nodes, values + 1
    opened = commas = start = 0
    is_inside = is_escaped = False
    while start < len(raw) and opened <= nodes and commas <= values:
        outside = text = raw[start + is_escaped : start + _WINDOW]
        start += _WINDOW
        is_escaped = False
        if b"\\" in text:
            text = text.replace(b"\\\\", b"")
            is_escaped = text.endswith(b"\\")  # the first byte of the next window is, that is
            text = text.replace(b'\\"', b"")
        if is_inside or b'"' in text:
            pieces = text.split(b'"')
            outside = b"".join(pieces[is_inside::2])
            is_inside ^= len(pieces) % 2 == 0
        opened += outside.count(b"{") + outside.count(b"[")
        commas += outside.count(b",")
    return opened, commas


def may_hold(raw: Text, *escapes: bytes) -> bool:
    """Tell whether one of these escapes may be in a frame: a key can be spelt with them. Of very many, one may be."""
    if b"\\" not in raw:  # one byte first: it is found 40 times faster
        return False
    if len(raw) > BUILT and raw.count(b"\\") > MOST_ESCAPES:
        return True
    return any(escape in raw for escape in escapes)


def is_utf8(raw: bytes) -> bool:
    """Tell whether all of a frame is UTF-8, without the whole as text: that may be four times as large."""
    if raw.isascii():
        return True
    whole = memoryview(raw)
    try:
        if len(raw) <= _WINDOW:
            raw.decode()  # 0.2 us for a small frame, piece by piece 2
            return True
        decode = codecs.getincrementaldecoder("utf-8")().decode
        for start in range(0, len(raw), _WINDOW):
            decode(whole[start : start + _WINDOW])
        decode(b"", final=True)
    except UnicodeDecodeError:
        return False
    return True
