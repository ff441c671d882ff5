"""Text as a terminal may have it: control characters are shown, not sent."""

from __future__ import annotations

import re

__all__ = ["more", "printable", "printable_bytes"]

_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_UNPRINTABLE_BYTES = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\udc80-\udcff]")
_COMMON = 0x3000  # characters below this are remembered as they are: a dictionary finds them faster than it misses


class _Shown(dict[int, int | str]):
    """How each character is shown."""

    def __missing__(self, code: int) -> int:
        if code < _COMMON:
            self[code] = code
        return code


_CONTROLS = [code for code in range(0xA0) if chr(code) not in "\t\n" and not 0x20 <= code < 0x7F]
_SHOWN = _Shown({ord("\n"): "\n  ", **{code: f"\\x{code:02x}" for code in _CONTROLS}})
_SHOWN_BYTES = _Shown({**_SHOWN, **{0xDC00 + byte: f"\\x{byte:02x}" for byte in range(0x80, 0x100)}})


def printable(text: str) -> str:
    """Show control characters instead of sending them to a terminal, or letting them forge a line."""
    return text.replace("\n", "\n  ") if _UNPRINTABLE.search(text) is None else text.translate(_SHOWN)


def printable_bytes(data: bytes) -> str:
    """Show bytes as text, and those that are none as ``\\xff``; control characters as ``printable`` does."""
    text = data.decode("utf-8", "surrogateescape")  # "backslashreplace" calls a function for each
    return text.replace("\n", "\n  ") if _UNPRINTABLE_BYTES.search(text) is None else text.translate(_SHOWN_BYTES)


def more(shown: int, size: int, unit: str) -> str:
    """Return a note on how much of a text is left out; empty if all of it is shown."""
    return f"… ({size} {unit})" if shown < size else ""
