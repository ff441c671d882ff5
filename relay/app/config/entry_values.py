"""The values of a server's entry, in every form that clients write."""

from __future__ import annotations

import dataclasses
import re
from typing import NamedTuple

from relay.app.config.document import Document, Table
from relay.app.config.json_lines import Path

__all__ = ["Pair", "flat", "is_before_a_script", "milliseconds_are_meant", "pairs", "seconds_of", "truth_of"]

_BEFORE_A_SCRIPT = re.compile(r"-[a-z]*c|/[ck]|-command", re.IGNORECASE)
_TIME = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|s|m)?", re.IGNORECASE)
_UNITS = {"ms": 0.001, "s": 1, "m": 60}
_LONGEST_SECONDS = 3600  # no client that counts in seconds allows more, and no one means 3.6 s or less
_LONGEST_OF_OPENCODE = 1000  # it counts in milliseconds, as do other clients with local and remote


class Pair(NamedTuple):
    """A variable or a header."""

    name: str
    path: Path
    value: object


def flat(table: Table) -> Table:
    """Return an entry with the keys of a nested command, transport or config at its own level.

    Zed once had ``command: {path, args, env}``, Continue ``transport: {type, command, args}``, Goose
    ``config: {type, cmd, args}``.
    """
    values = dict(table.values)
    for key in ("transport", "config"):
        if isinstance(inner := values.get(key), dict):
            values = {**{name: value for name, value in values.items() if name != key}, **inner}
    if isinstance(inner := values.get("command"), dict):
        rest = {key: inner[key] for key in ("args", "env") if key in inner}
        values = {**values, **rest, "command": inner.get("path")}
    return table if values == table.values else dataclasses.replace(table, values=values)


def pairs(document: Document, path: Path, value: object, separator: str) -> list[Pair]:
    """Return the names and values of an object, or of a list of ``NAME=value`` or of ``{name, value}``.

    Raises ConfigError if it is neither.
    """
    if isinstance(value, list):
        return [_pair(document, (*path, index), item, separator) for index, item in enumerate(value)]
    return [Pair(name, (*path, name), one) for name, one in document.table(path, value).values.items()]


def _pair(document: Document, path: Path, item: object, separator: str) -> Pair:
    if isinstance(item, str) and separator in item:
        name, _, text = item.partition(separator)
        return Pair(name.strip(), path, text.strip() if separator == ":" else text)
    if isinstance(item, dict) and isinstance(item.get("name"), str):
        return Pair(item["name"], path, item.get("value"))
    raise document.error(path, f"expected NAME{separator}value, or an object of name and value")


def is_before_a_script(word: str) -> bool:
    """Tell whether the argument after this one is a shell's script, in which ``$VAR`` is the shell's."""
    return _BEFORE_A_SCRIPT.fullmatch(word) is not None


def seconds_of(table: Table, key: str) -> float | None:
    """Return a time in seconds: a number, or one in quotes, with a unit or without. Raises ConfigError."""
    text = table.values.get(key)
    if not isinstance(text, str):
        return table.number(key)
    found = _TIME.fullmatch(text.strip())
    if found is None:
        raise table.error("expected a number of seconds, such as 60 or 500ms", key)
    return float(found[1]) * _UNITS[(found[2] or "s").lower()]


def milliseconds_are_meant(table: Table, key: str, seconds: float) -> bool:
    """Tell whether a time without a unit means milliseconds, as half of the clients count."""
    text = table.values.get(key)
    if key == "tool_timeout_sec" or (isinstance(text, str) and not text.strip()[-1].isdigit()):
        return False
    is_of_opencode = table.values.get("type") in ("local", "remote")
    return seconds > _LONGEST_SECONDS or (is_of_opencode and seconds >= _LONGEST_OF_OPENCODE)


def truth_of(table: Table, key: str) -> bool | None:
    """Return true or false, in quotes or not. Raises ConfigError."""
    value = table.values.get(key)
    if isinstance(value, str) and value.strip().lower() in ("true", "false"):
        return value.strip().lower() == "true"
    return table.flag(key)
