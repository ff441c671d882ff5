"""Put one entry into a JSON text, or take one out, and leave every other byte as it is.

Comments, trailing commas, indentation and line endings stay: the editor inserts text or replaces one value, and never
rewrites the rest. Pure: text in, text out.
"""

from __future__ import annotations

import json
import re
from typing import Any

from relay.app.config.jsonc import Node, parse, skip_blank
from relay.errors import ConfigError

__all__ = ["put_entry", "remove_entry"]


def put_entry(text: str, key: str, name: str, entry: dict[str, Any]) -> str:
    """Return the text with ``{key: {name: entry}}`` in it; an entry of that name is replaced.

    Raises JsoncError if the text cannot be read, ConfigError if it is of another shape.
    """
    newline = "\r\n" if "\r\n" in text else "\n"
    if skip_blank(text, 0) == len(text):  # empty, but perhaps for comments
        gap = newline if text.strip("\ufeff \t\r\n") and not text.endswith("\n") else ""
        return text + gap + _written({key: {name: entry}}, "", "  ", newline) + newline
    root = parse(text)
    if root.kind != "object":
        raise ConfigError("the outermost value is not an object")
    unit = _indent_of_members(text, root) or "  "
    servers = root.find(key)
    if servers is None:
        return _insert(text, root, key, {name: entry}, unit, newline)
    if servers.value.kind != "object":
        raise ConfigError(f"{key!r} in it is not an object")
    there = servers.value.find(name)
    if there is None:
        return _insert(text, servers.value, name, entry, unit, newline)
    value = _written(entry, _line_indent(text, there.start), unit, newline)
    return text[: there.value.start] + value + text[there.value.end :]


def remove_entry(text: str, key: str, name: str) -> str:
    """Return the text without the member ``name`` of the object ``key``, its comma and its line. Comments stay.

    Raises JsoncError if the text cannot be read, ConfigError if there is no such member.
    """
    servers = parse(text).find(key)
    there = servers.value.find(name) if servers is not None else None
    if servers is None or there is None:
        raise ConfigError(f"there is no {name!r} in {key!r}")
    members = servers.value.members
    place = members.index(there)
    start, end = there.start, there.value.end
    comma = skip_blank(text, end)
    if text.startswith(",", comma):
        end = comma + 1 if not text[end:comma].strip() else end
        lone = comma if end <= comma else None  # behind a comment, which stays
    else:
        lone = skip_blank(text, members[place - 1].value.end) if place else None
    line = text.rfind("\n", 0, start) + 1
    rest = re.compile(r"[ \t]*(\r?\n)?").match(text, end)
    assert rest is not None, "the pattern takes nothing, too"
    if not text[line:start].strip(" \t") and rest[1]:
        start, end = line, rest.end()  # the member has lines of its own
    elif place and text[end - 1] != ",":
        start = len(text[:start].rstrip(" \t"))
    else:
        end = rest.end() - len(rest[1] or "")
    if lone is None:
        return text[:start] + text[end:]
    if lone < start:
        return text[:lone] + text[lone + 1 : start] + text[end:]
    return text[:start] + text[end:lone] + text[lone + 1 :]


def _insert(text: str, into: Node, name: str, value: Any, unit: str, newline: str) -> str:
    """Return the text with a new last member in an object."""
    end = into.end - 1  # of the last thing before the closing brace: a value, a comma, or a comment
    while text[end - 1] in " \t\r\n":
        end -= 1
    indent = _indent_of_members(text, into)
    member = json.dumps(name, ensure_ascii=False) + ": "
    if into.members:
        last = into.members[-1].value.end
        comma = "" if text.startswith(",", skip_blank(text, last)) else ","
        if indent is None and not re.search(r"[\r\n]", text[last : into.end]):
            return f"{text[:last]}{comma}{text[last:end]} {member}{json.dumps(value, ensure_ascii=False)}{text[end:]}"
        indent = _line_indent(text, into.start) + unit if indent is None else indent
        new = newline + indent + member + _written(value, indent, unit, newline)
        return text[:last] + comma + text[last:end] + new + text[end:]
    outer = _line_indent(text, into.start)
    new = newline + outer + unit + member + _written(value, outer + unit, unit, newline)
    closing = "" if "\n" in text[end : into.end] else newline + outer
    return text[:end] + new + closing + text[end:]


def _written(value: Any, indent: str, unit: str, newline: str) -> str:
    """Return a value as text whose first line stands after ``indent`` already."""
    lines = json.dumps(value, indent=unit, ensure_ascii=False).split("\n")
    return (newline + indent).join(lines)


def _line_indent(text: str, position: int) -> str:
    """Return the blanks that the line of a position begins with."""
    line = text.rfind("\n", 0, position) + 1
    found = re.compile(r"\ufeff?([ \t]*)").match(text, line)
    assert found is not None, "the pattern takes nothing, too"
    return found[1]


def _indent_of_members(text: str, node: Node) -> str | None:
    """Return what a member of an object is indented by, as one that begins its line shows; None if none does."""
    for member in reversed(node.members):
        before = text[text.rfind("\n", 0, member.start) + 1 : member.start]
        if text.rfind("\n", 0, member.start) > node.start and not before.strip(" \t"):
            return before
    return None
