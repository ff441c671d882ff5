"""What a frame may cost to read, counted before any object is built from it.

A stranger may have written the frame. A step of Python for each token of 16 MiB holds the loop for seconds, and an
object for each token takes many times the memory of the frame. So the relay reads a frame once, with code that builds
nothing and is as fast as memory. Code that must go over the bytes again asks ``excess`` first.
"""

from __future__ import annotations

import codecs

from relay.frames.json_scan import Text
from relay.limits import DEFAULT_LIMITS

__all__ = ["BUILT", "MOST_ESCAPES", "MOST_MESSAGES", "MOST_NAME", "excess", "is_utf8", "may_hold", "may_hold_key"]

MOST_MESSAGES = 1000
"""Messages in a batch, over any transport; over HTTP ``Limits.max_batch`` allows fewer."""
MOST_NAME = 256 * 1024
"""Bytes of an id, a method, a progress token or another name. As text it may be 4 times as large."""
BUILT = 64 * 1024
"""Bytes up to which a frame is read without a count of its values first."""

MOST_ESCAPES = 100_000
"""Escapes that are searched for a certain one: each takes 4 ns."""

_FEW = 100  # occurrences that are searched one by one before all are counted
_QUOTES, _PER_QUOTE = 64, 2048  # so many quotes, and one more for so many bytes, are gone through
_MOST_STRINGS = 250_000  # separated from the text outside: 0.1 us each
_WINDOW = 64 * 1024  # bytes processed together: a copy is no larger


def excess(raw: Text, nodes: int = DEFAULT_LIMITS.max_json_nodes, values: int = DEFAULT_LIMITS.max_json_values) -> str:
    """Name what a frame has too many of, arrays and objects or values; an empty string if it may be read.

    16 MiB take 15 ms, or up to 80 ms if strings hold text that looks like JSON.
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
    """Count a byte, in strings too. A search that finds none in 1 MB of base64 takes 0.02 ms, a count 0.5."""
    found, at = 0, raw.find(what)
    while at >= 0 and found < _FEW:
        found, at = found + 1, raw.find(what, at + 1)
    return found if at < 0 else raw.count(what)


def _count_outside(raw: Text, nodes: int, values: int) -> tuple[int, int]:
    """Count opening brackets and commas outside of strings; stop once one bound is passed."""
    strings = (raw.count(b'"') - raw.count(b'\\"')) // 2  # at least half of the strings
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
    """Tell whether a frame may hold one of these escapes, with which a key can be spelt; True if it has very many."""
    if b"\\" not in raw:  # a search for one byte is 40 times faster
        return False
    if len(raw) > BUILT and raw.count(b"\\") > MOST_ESCAPES:
        return True
    return any(escape in raw for escape in escapes)


def may_hold_key(raw: Text, key: bytes) -> bool:
    """Tell whether a key may be in a large frame; of one with escapes, with which it may be spelt, it may.

    Quotes are found ten times faster than a key among what stands between them: the file or picture that makes most
    frames large is one string. So the beginnings of strings are looked at, unless they are many. To look through the
    escapes of 1 MB of text takes 1.4 ms, to read it 0.3.
    """
    if b"\\" in raw:
        return True
    quoted = b'"%b"' % key
    at, seen = raw.find(b'"'), 0
    while at >= 0:
        if raw.startswith(quoted, at):
            return True
        seen += 1
        if seen > _QUOTES + at // _PER_QUOTE:
            return raw.find(key, at) >= 0
        at = raw.find(b'"', at + 1)
    return False


def is_utf8(raw: bytes) -> bool:
    """Tell whether a frame is UTF-8, without a copy of it as text, which may be four times as large."""
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
