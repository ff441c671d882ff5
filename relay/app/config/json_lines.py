"""A JSON text's value, and the line of every key in it, for messages."""

from __future__ import annotations

import re
from bisect import bisect_left
from dataclasses import dataclass, field

from relay.app.config.jsonc import JsoncError, Node, parse

__all__ = ["Parsed", "Path", "read_json"]

Path = tuple[str | int, ...]
"""The keys and indices that lead to a value."""

_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(slots=True)
class Parsed:
    """A value, and where its parts stand."""

    value: object
    lines: dict[Path, int] = field(default_factory=dict)
    """Of every key and every item of a list."""
    duplicates: dict[Path, tuple[int, int]] = field(default_factory=dict)
    """Duplicate keys, with both lines; the last value counts."""


def read_json(text: str) -> Parsed:
    """Read a text with comments and trailing commas, or without. Raises JsoncError."""
    node = parse(text)
    parsed = Parsed(node.plain())
    _Walk(text, parsed).visit(node, ())
    return parsed


class _Walk:
    def __init__(self, text: str, parsed: Parsed) -> None:
        self._text = text
        self._parsed = parsed
        self._ends = [match.start() for match in re.finditer("\n", text)]

    def visit(self, node: Node, path: Path) -> None:
        if isinstance(node.scalar, str):
            self._check(node.scalar, node.start)
        for member in node.members:
            here = (*path, member.name)
            line = bisect_left(self._ends, member.start) + 1
            self._check(member.name, member.start)
            if here in self._parsed.lines:
                self._parsed.duplicates[here] = (self._parsed.lines[here], line)
            self._parsed.lines[here] = line
            self.visit(member.value, here)
        for index, item in enumerate(node.items):
            self._parsed.lines[*path, index] = bisect_left(self._ends, item.start) + 1
            self.visit(item, (*path, index))

    def _check(self, text: str, position: int) -> None:
        if _SURROGATE.search(text):  # no child and no server could receive it
            raise JsoncError(self._text, position, "half of a pair of surrogates, \\ud800 to \\udfff")
