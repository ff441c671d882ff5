"""Find where the members of a JSON object or the elements of an array stand, without building any of them.

msgspec skips each value whole and builds nothing. That takes 5 to 40 ms for 16 MiB of anything; a walk from token to
token in Python takes seconds. The caller says how many members there may be.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Generator, Iterator

import msgspec

__all__ = [
    "MOST_STEPS",
    "Malformed",
    "Span",
    "Text",
    "TooMany",
    "check_members",
    "elements",
    "find_members",
    "find_values",
]

Text = bytes | bytearray
Span = tuple[int, int]

MOST_STEPS = 6000
"""Members that are looked at one by one, at 6 us each. Members that are skipped in a run count less."""

_RUN = 256 * 1024  # bytes of members that are skipped at once
_STEP = 256  # bytes of them that cost as much as a look at one
_QUICK = 8 * 2**20  # bytes of members for which a decoder takes 40 ms, whatever they are
_SAMPLED = 97  # one byte of so many is looked at to see how full of quotes an object is
_QUOTE, _BRACE = ord('"'), ord("{")
_SHORT = 512  # bytes of a string or a number that is matched here; msgspec skips a longer one
_SCALAR = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[-+.0-9eE]++(?=[\s,\]}])|true|false|null', re.DOTALL)
_SPACE = re.compile(rb"\s*+")
_WHITE = b" \t\r\n"
_TRAILING = re.compile(r"trailing characters \(byte (\d+)\)")
_skip = msgspec.json.Decoder(msgspec.Raw).decode
_decode_key = msgspec.json.Decoder(str).decode


class Malformed(ValueError):
    """The text is no JSON object, or no JSON array."""


class TooMany(ValueError):
    """There are more members than the limit."""


def find_members(text: Text | memoryview, keys: tuple[str, ...], start: int = 0) -> Iterator[tuple[str, Span]]:
    """Yield the members of the object at ``start`` that have one of these keys, with where their values stand.

    A key is found in every spelling, and as often as it is repeated. Raises TooMany, Malformed.
    """
    dull = _dull(keys)
    at = _opened(text, start, b"{")
    steps = MOST_STEPS
    while at >= 0:
        key, value, steps = _read_member(text, at, dull, steps)
        end = _end_of(text, value)
        if key in keys:
            yield key, (value, end)
        at = _next(text, end, b"}")


def check_members(text: Text) -> None:
    """Raise TooMany if a large object seems to have very many members; a decoder takes 25 ns to keep one it looks for.

    Only an object that is as full of quotes as such members are is looked at, and not its last ``_QUICK`` bytes.
    """
    if len(text) <= _QUICK or text[::_SAMPLED].count(b'"') * 8 * _SAMPLED < len(text):
        return
    steps = MOST_STEPS
    beginning = memoryview(text)[:-_QUICK]
    dull = _dull(())
    try:
        at = _opened(beginning, 0, b"{")
        while at >= 0:
            _, value, steps = _read_member(beginning, at, dull, steps)
            at = _next(beginning, _end_of(beginning, value), b"}")
    except Malformed:
        return  # a member goes on beyond the beginning, or a decoder will say what is wrong


def find_values(text: Text, path: tuple[str, ...], start: int = 0) -> Generator[Span, None, int]:
    """Yield where the values at a path of keys stand in the object at ``start``; return where that object ends.

    All objects on the path are scanned in one pass. Keys are found as in ``find_members``. Raises TooMany, Malformed.
    """
    dull = _dull(path[:1])
    at, end = _opened(text, start, b"{"), -1
    steps = MOST_STEPS
    while at >= 0:
        key, value, steps = _read_member(text, at, dull, steps)
        if key == path[0] and len(path) > 1 and text[value] == _BRACE:
            end = yield from find_values(text, path[1:], value)
        else:
            end = _end_of(text, value)
            if key == path[0] and len(path) == 1:
                yield value, end
        at = _next(text, end, b"}")
    return _end_of(text, start) if end < 0 else _past_space(text, end) + 1


def _read_member(text: Text | memoryview, at: int, dull: re.Pattern[bytes], steps: int) -> tuple[str, int, int]:
    """Skip dull members, then return the key of the next, where its value begins, and the steps that are left.

    Raises TooMany, Malformed.
    """
    run = dull.match(text, at, at + _RUN)
    assert run is not None, "it matches nothing, too"
    steps -= 1 + (run.end() - at) // _STEP
    if steps < 0:
        raise TooMany(f"an object has more members than are looked at, some {MOST_STEPS}")
    at = _past_space(text, run.end())
    key_end = _end_of(text, at)
    colon = _past_space(text, key_end)
    if text[at] != _QUOTE or text[colon : colon + 1] != b":":
        raise Malformed("a member without a key, or a key without a value")
    return _read_key(text, at, key_end), _past_space(text, colon + 1), steps


def elements(text: Text, most: int, start: int = 0) -> Iterator[Span]:
    """Yield where the elements of the array at ``start`` stand, up to ``most``. Raises TooMany, Malformed."""
    at = _opened(text, start, b"[")
    for _ in range(most):
        if at < 0:
            return
        end = _end_of(text, at)
        yield at, end
        at = _next(text, end, b"]")
    if at >= 0:
        raise TooMany(f"more than {most} elements in one array")


@functools.lru_cache(64)  # the relay looks for some ten keys
def _dull(keys: tuple[str, ...]) -> re.Pattern[bytes]:
    """Return a pattern for a run of plain members with other keys than these: 0.1 us for each member."""
    other = b'"(?!(?:' + b"|".join(re.escape(key.encode()) for key in keys) + b')")[^"\\\\]{0,200}+"'
    value = rb'(?:"[^"\\]{0,200}+"|[-+.0-9eE]{1,200}+|true|false|null)'
    return re.compile(rb"(?:\s*+" + other + rb"\s*+:\s*+" + value + rb"\s*+,)*+")


def _read_key(text: Text | memoryview, start: int, end: int) -> str:
    """Return the key between two positions; an empty string if it is longer than any key the relay looks for."""
    return str(_decode_key(text[start:end])) if end - start <= _SHORT else ""


def _opened(text: Text | memoryview, start: int, opening: bytes) -> int:
    """Return where the first member begins; -1 if there is none."""
    at = _past_space(text, start)
    if text[at : at + 1] != opening:
        raise Malformed(f"no {opening.decode()}")
    at = _past_space(text, at + 1)
    return -1 if text[at : at + 1] in (b"}", b"]") else at


def _next(text: Text | memoryview, end: int, closing: bytes) -> int:
    """Return where the next member begins after one that ends at ``end``; -1 if there is none."""
    at = _past_space(text, end)
    if text[at : at + 1] == closing:
        return -1
    if text[at : at + 1] != b",":
        raise Malformed(f"neither a comma nor {closing.decode()} after a value")
    return _past_space(text, at + 1)


def _past_space(text: Text | memoryview, at: int) -> int:
    found = _SPACE.match(text, at)
    assert found is not None, "it matches nothing, too"
    return found.end()


def _end_of(text: Text | memoryview, at: int) -> int:
    """Return where the value that begins at ``at`` ends."""
    scalar = _SCALAR.match(text, at, at + _SHORT)
    if scalar is not None:
        return scalar.end()
    try:
        _skip(memoryview(text)[at:])
    except msgspec.DecodeError as exc:
        # msgspec names the first byte behind the value and the white space after it.
        trailing = _TRAILING.search(str(exc))
        if trailing is None:
            raise Malformed(str(exc)) from exc
        return _before_space(text, at + int(trailing.group(1)) - 1)
    except RecursionError as exc:
        raise Malformed(str(exc)) from exc
    return _before_space(text, len(text))


def _before_space(text: Text | memoryview, end: int) -> int:
    """Return where the white space that ends at ``end`` begins."""
    size = 64
    while not (rest := bytes(text[max(end - size, 0) : end]).rstrip(_WHITE)):
        size *= 2
    return max(end - size, 0) + len(rest)
