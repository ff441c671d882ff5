"""Read JSON with comments and trailing commas, and note where in the text each value stands.

Pure: text in, nodes out. ``read`` returns the values; ``parse`` returns nodes, for a caller that changes the text.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["JsoncError", "Member", "Node", "parse", "read", "skip_blank"]

_MAX_DEPTH = 200  # no settings file is deeper; the recursion stays far below Python's own bound
_BLANK = re.compile(r"[ \t\r\n\ufeff]*(?://[^\r\n]*[ \t\r\n]*|/\*.*?\*/[ \t\r\n]*)*", re.DOTALL)


class JsoncError(ValueError):
    """The text is not JSON, not even with comments and trailing commas; says the line and the column."""

    def __init__(self, text: str, position: int, problem: str) -> None:
        """Say the problem and where it stands."""
        line = text.count("\n", 0, position) + 1
        column = position - text.rfind("\n", 0, position)
        super().__init__(f"line {line}, column {column}: {problem}")


@dataclass(frozen=True, slots=True)
class Node:
    """One value: ``text[start:end]``."""

    kind: Literal["object", "array", "scalar"]
    start: int
    end: int
    scalar: str | int | float | bool | None = None
    items: tuple[Node, ...] = ()
    """Of an array."""
    members: tuple[Member, ...] = ()
    """Of an object, as they stand."""

    def find(self, name: str) -> Member | None:
        """Return the member of this name that counts: the last."""
        return next((member for member in reversed(self.members) if member.name == name), None)

    def plain(self) -> Any:
        """Return the value as Python's own."""
        if self.kind == "object":
            return {member.name: member.value.plain() for member in self.members}
        if self.kind == "array":
            return [item.plain() for item in self.items]
        return self.scalar

    def strings(self, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
        """Yield each string in here with the names of the members that lead to it."""
        if isinstance(self.scalar, str):
            yield path, self.scalar
        for item in self.items:
            yield from item.strings(path)
        for member in self.members:
            yield from member.value.strings((*path, member.name))


@dataclass(frozen=True, slots=True)
class Member:
    """A name and its value in an object; the name's quote opens at ``start``."""

    name: str
    start: int
    value: Node


def read(text: str) -> Any:
    """Return the value of a text. Raises JsoncError."""
    return parse(text).plain()


def parse(text: str) -> Node:
    """Return the one value of a text. Raises JsoncError."""
    node = _value(text, skip_blank(text, 0), 0)
    rest = skip_blank(text, node.end)
    if rest < len(text):
        raise JsoncError(text, rest, f"nothing may follow the value, but {text[rest]!r} does")
    return node


def skip_blank(text: str, position: int) -> int:
    """Return where the next token begins: after blanks and comments."""
    found = _BLANK.match(text, position)
    assert found is not None, "the pattern takes nothing, too"
    if text.startswith("/*", found.end()):
        raise JsoncError(text, found.end(), "the comment that begins here has no end")
    return found.end()


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


# strict=False accepts control characters in strings, as editors do.
_SCALARS = json.JSONDecoder(strict=False, parse_constant=_no_constant)


def _value(text: str, start: int, depth: int) -> Node:
    if depth > _MAX_DEPTH:
        raise JsoncError(text, start, f"nested deeper than {_MAX_DEPTH}")
    opening = text[start : start + 1]
    if opening == "{":
        return _object(text, start, depth)
    if opening == "[":
        return _array(text, start, depth)
    scalar, end = _scalar(text, start)
    return Node("scalar", start, end, scalar=scalar)


def _scalar(text: str, start: int) -> tuple[Any, int]:
    if start >= len(text):
        raise JsoncError(text, start, "the text ends where a value should be")
    try:
        return _SCALARS.raw_decode(text, start)
    except json.JSONDecodeError as exc:
        problem = f"{text[start]!r} cannot begin a value" if exc.msg == "Expecting value" else exc.msg
        raise JsoncError(text, exc.pos, problem) from None
    except ValueError as exc:  # NaN and the like; an integer of thousands of digits
        raise JsoncError(text, start, str(exc)) from None


def _object(text: str, start: int, depth: int) -> Node:
    members: list[Member] = []
    position = skip_blank(text, start + 1)
    while not text.startswith("}", position):
        if not text.startswith('"', position):
            raise JsoncError(text, position, 'expected a name in double quotes, or "}"')
        name, after = _scalar(text, position)
        colon = skip_blank(text, after)
        if not text.startswith(":", colon):
            raise JsoncError(text, colon, f'expected ":" after the name {name!r}')
        value = _value(text, skip_blank(text, colon + 1), depth + 1)
        members.append(Member(name, position, value))
        position = _next(text, value.end, "}")
    return Node("object", start, position + 1, members=tuple(members))


def _array(text: str, start: int, depth: int) -> Node:
    items: list[Node] = []
    position = skip_blank(text, start + 1)
    while not text.startswith("]", position):
        items.append(_value(text, position, depth + 1))
        position = _next(text, items[-1].end, "]")
    return Node("array", start, position + 1, items=tuple(items))


def _next(text: str, end: int, closing: str) -> int:
    """Return where the next member, or the closing bracket, begins after a value that ended at ``end``."""
    position = skip_blank(text, end)
    if text.startswith(",", position):
        return skip_blank(text, position + 1)
    if not text.startswith(closing, position):
        raise JsoncError(text, position, f'expected "," or "{closing}"')
    return position
