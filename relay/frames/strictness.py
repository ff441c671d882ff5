"""Where parsers differ about the same JSON, and what the relay does about it.

A key that stands twice, half a surrogate pair, an id written as a fraction, a name of megabytes: the relay and the
peer could read such a frame differently. Each function here reads one of them safely or says that it cannot.
"""

from __future__ import annotations

import contextlib
import re

import msgspec

from relay.frames.head import ENDS, LARGE, Kind, RequestId, Whole
from relay.frames.json_cost import BUILT, MOST_NAME
from relay.frames.json_scan import Malformed, Text, find_members

__all__ = [
    "MOST_MENDED",
    "UNREADABLE",
    "blunt",
    "has_too_many_escapes",
    "mend",
    "read_id",
    "read_name",
    "read_str",
    "read_text",
    "repeated_key",
]

_decode_id = msgspec.json.Decoder(int | str | None).decode
_decode_str = msgspec.json.Decoder(str).decode
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, Malformed)
"""What decoders raise for bytes that are not the expected JSON; RecursionError for 1,000 nested arrays."""
_ESCAPE = re.compile(
    rb"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(u[dD][89a-fA-F][0-9a-fA-F]{2})|.)", re.DOTALL
)
MOST_MENDED = 500_000  # escapes of a message with half a surrogate pair: 3 MB of them
_ENVELOPE_KEY = re.compile(rb'"(jsonrpc|id|method|params|result|error)"\s*:')
_ENVELOPE_MEMBER = rb'"(?:jsonrpc|id|method)"\s*:\s*(?:"[^"\\]*"|-?\d+)\s*'
_BEFORE_PAYLOAD = re.compile(rb"\s*\{\s*(?:" + _ENVELOPE_MEMBER + rb',\s*)*"(?:params|result|error)"\s*:\s*')
_AFTER_PAYLOAD = re.compile(rb"\s*(?:,\s*" + _ENVELOPE_MEMBER + rb")*\}\s*")
_ROUTED_KEYS = ("id", "method", "jsonrpc", "params", "result", "error")


def read_name(name: msgspec.Raw) -> RequestId | None:
    """Return a string or an integer, None for null. Raises UNREADABLE if the value is another, or too large."""
    message_id: RequestId | None = _decode_id(_bounded(name))
    return message_id


def read_str(value: bytes | msgspec.Raw) -> str:
    """Return a string. Raises UNREADABLE if the value is another, or too large for a name."""
    text: str = _decode_str(_bounded(value))
    return text


def read_text(value: bytes | msgspec.Raw | msgspec.UnsetType) -> str | None:
    """Return a string; None if the value is another, or too large for a name."""
    with contextlib.suppress(*UNREADABLE):
        return None if isinstance(value, msgspec.UnsetType) else read_str(value)
    return None


def _bounded(name: bytes | msgspec.Raw) -> bytes | msgspec.Raw:
    """Return the value if it is no larger than a name may be. Raises ValidationError."""
    if (size := memoryview(name).nbytes) > MOST_NAME:
        raise msgspec.ValidationError(f"an id or a method of {size} bytes; at most {MOST_NAME}")
    return name


def mend(raw: Text) -> Text:
    """Replace half surrogate pairs, which msgspec rejects, by an escape of the same length.

    They are legal JSON: JavaScript writes one for a string cut in the middle of an emoji. In a large message it also
    replaces the escapes of whole pairs, because telling the two apart takes 0.3 us for each.
    """
    if len(raw) > BUILT:
        return raw if has_too_many_escapes(raw) else blunt(raw)
    if b"\\u" not in raw:
        return raw
    mended = _ESCAPE.sub(_mend_escape, raw)
    return raw if mended == raw else mended


def has_too_many_escapes(raw: Text) -> bool:
    """Tell whether mending a message would take too long."""
    if len(raw) <= 6 * MOST_MENDED or raw.count(b"u") <= MOST_MENDED:
        return False  # one byte first: to look for two among 16 MiB of backslashes takes 42 ms
    # A quarter often has too many already.
    return raw.count(b"\\u", 0, len(raw) // 4) > MOST_MENDED or raw.count(b"\\u") > MOST_MENDED


def _mend_escape(escape: re.Match[bytes]) -> bytes:
    return b"\\ufffd" if escape.group(1) else escape.group()


def blunt(raw: Text) -> Text:
    """Write ``\\uf…`` for each ``\\ud…``, piece by piece, to save two more copies of the whole."""
    if b"\\" not in raw:
        return raw
    blunted = None
    for start in range(0, len(raw), BUILT):
        # An escape may begin in one piece and go on in the next.
        piece = raw[start : start + BUILT + 2] if blunted is None else blunted[start : start + BUILT + 2]
        written = piece
        for letter in (b"d", b"D"):
            if letter in piece:  # which is found, or not, 20 times faster than the whole escape
                written = written.replace(b"\\u" + letter, b"\\uf")
        if written is not piece and written != piece:
            blunted = blunted or bytearray(raw)
            blunted[start : start + len(piece)] = written
    return blunted or raw


def repeated_key(frame: Whole) -> str | None:
    """Return a repeated top-level key that routing depends on, if there is one.

    Parsers differ in which of the two values they believe, so the relay and the server could read such a frame
    differently. An ordinary frame costs 0.6 us; its members are scanned only if a key could repeat. Raises TooMany.
    """
    raw = frame.raw
    if not frame.may_repeat_key or (len(raw) > LARGE and _is_plain(raw, frame.head.payload_size)):
        return None
    return None if frame.head.kind is Kind.BATCH else _look_for_repeated_key(raw)


def _is_plain(raw: bytes, payload_size: int) -> bool:
    """Tell whether a large message has each envelope key once around its payload, without a scan of the payload."""
    before = _BEFORE_PAYLOAD.match(raw, 0, ENDS)
    if before is None or not payload_size:
        return False
    end = before.end() + payload_size
    after = _AFTER_PAYLOAD.fullmatch(raw, end) if len(raw) - end <= ENDS else None
    if after is None:
        return False
    keys = _ENVELOPE_KEY.findall(before.group()) + _ENVELOPE_KEY.findall(after.group())
    return len(keys) == len(set(keys))


def _look_for_repeated_key(raw: bytes) -> str | None:
    try:
        return _repeated_key_in(raw)
    except UNREADABLE:
        return _repeated_key_in(mend(raw))


def _repeated_key_in(text: Text) -> str | None:
    seen: set[str] = set()
    for key, _ in find_members(text, _ROUTED_KEYS):
        if key in seen:
            return key
        seen.add(key)
    return None


_FRACTION = re.compile(rb"(-?)(\d{1,40})(?:\.(\d{1,40}))?(?:[eE]([+-]?\d{1,3}))?")


def read_id(token: bytes) -> RequestId | None:
    """Return the id that a JSON value means: a string or an integer, even if written as a fraction (``7.0``)."""
    if len(token) > MOST_NAME:
        return None
    with contextlib.suppress(*UNREADABLE):
        named: RequestId | None = _decode_id(token)
        return named
    found = _FRACTION.fullmatch(token.strip())
    if found is None:
        return None
    sign, whole, fraction, exponent = found.groups()
    digits, shift = whole + (fraction or b""), int(exponent or 0) - len(fraction or b"")
    if not digits.strip(b"0"):
        return 0
    if shift > 40 or (shift < 0 and digits[shift:].strip(b"0")):
        return None
    return int(sign + (digits + b"0" * shift if shift >= 0 else digits[:shift] or b"0"))
