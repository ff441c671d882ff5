"""A configuration file in any format, and its tables; every mistake names file, line and key.

The caller decides how far a mistake reaches: it may disable one server, or reject the file. No message shows a value:
it may be a secret.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath

from relay.app.config.json_lines import Path, read_json
from relay.app.config.jsonc import JsoncError
from relay.errors import ConfigError

__all__ = ["Document", "Mistake", "Table", "hint", "read_document"]

_BEGINS_JSON = re.compile(r"\s*(?:\{|//|/\*|\Z)")
_BEGINS_YAML = re.compile(r"(?:[ \t]*(?:#.*)?\n)*(?:---|[ \t]*(?:- +)?(?:[\w.-]+|\"[^\"\n]*\"|'[^'\n]*'):(?:\s|\Z))")
_MAX_BYTES = 4 * 1024 * 1024  # an editor's whole settings are a hundred times smaller


class Mistake(ConfigError):
    """A wrong value or key: where it stands, and why it is wrong."""

    def __init__(self, document: Document, path: Path, reason: str) -> None:
        super().__init__(f"{document.where(path)}: {reason}")
        self.path = path
        self.reason = reason

    def below(self, path: Path) -> str:
        """Return the mistake with its place inside a table, without file and line."""
        key = _show(self.path[len(path) :])
        return f"{key}: {self.reason}" if key else self.reason


@dataclass(frozen=True, slots=True)
class Document:
    """The value of a file, and the line of each part."""

    name: str
    """The path of the file, as given."""
    value: object
    find_line: Callable[[Path], int | None]
    duplicates: Mapping[Path, tuple[int, int]] = field(default_factory=dict)
    is_toml: bool = False

    @property
    def word_for_table(self) -> str:
        """What the format calls a table."""
        return "a table" if self.is_toml else "an object"

    def error(self, path: Path, message: str) -> Mistake:
        """Return a mistake at a place."""
        return Mistake(self, path, message)

    def where(self, path: Path) -> str:
        """Return a place as people find it: file, line, key."""
        line = next((line for end in range(len(path), 0, -1) if (line := self.find_line(path[:end])) is not None), None)
        file = self.name if line is None else f"{self.name}, line {line}"
        return f"{file}: {_show(path)}" if path else file

    def kind_of(self, value: object) -> str:
        """Name the kind of a value, without the value."""
        if value is None:
            return "null"
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int | float):
            return "a number"
        if isinstance(value, str):
            return "a text"
        if isinstance(value, list):
            return "a list"
        return self.word_for_table if isinstance(value, dict) else "a date or time"

    def word(self, path: Path, value: object) -> str:
        """Return a value as text: numbers and truth values as JavaScript writes them. Raises ConfigError."""
        if isinstance(value, str):
            return value
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, int):
            return str(value)
        if isinstance(value, float) and math.isfinite(value):
            return str(int(value)) if value.is_integer() and abs(value) < 1e21 else repr(value)
        raise self.error(path, f"expected a text in quotes, found {self.kind_of(value)}")

    def table(self, path: Path, value: object) -> Table:
        """Return the table that is at a place. Raises ConfigError."""
        if not isinstance(value, dict):
            raise self.error(path, f"expected {self.word_for_table}, found {self.kind_of(value)}")
        return Table(self, path, value)

    def twice(self, path: Path) -> list[Mistake]:
        """Return a mistake for each duplicate key at a place or below it."""
        return [
            Mistake(self, place, f"is there twice, first in line {first}; leave one out")
            for place, (first, _) in self.duplicates.items()
            if place[: len(path)] == path and not any(place[:end] in self.duplicates for end in range(1, len(place)))
        ]

    def root(self) -> Table:
        """Return the file's own table. Raises ConfigError if it is something else."""
        return self.table((), self.value)


@dataclass(frozen=True, slots=True)
class Table:
    """Keys and values somewhere in a file."""

    document: Document
    path: Path
    values: Mapping[str, object]

    def error(self, message: str, key: str | int | None = None) -> Mistake:
        """Return a mistake in this table, or at one of its keys."""
        return self.document.error(self.path if key is None else (*self.path, key), message)

    def where(self, key: str | None = None) -> str:
        """Return the place of this table, or of one of its keys."""
        return self.document.where(self.path if key is None else (*self.path, key))

    def text(self, key: str) -> str | None:
        """Return a text, or None if the key is not there. Raises ConfigError, as all of these do."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, str):
            raise self.error(f"expected a text in quotes, found {self.document.kind_of(value)}", key)
        return value

    def flag(self, key: str) -> bool | None:
        """Return true or false."""
        value = self.values.get(key)
        if value is not None and not isinstance(value, bool):
            raise self.error(f"expected true or false, found {self.document.kind_of(value)}", key)
        return value

    def number(self, key: str) -> float | None:
        """Return a number of 0 or above."""
        value = self.values.get(key)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.error(f"expected a number, found {self.document.kind_of(value)}", key)
        if not 0 <= value < math.inf:
            raise self.error("expected a number of 0 or above", key)
        return value

    def texts(self, key: str) -> list[str] | None:
        """Return a list of texts."""
        value = self.values.get(key)
        if value is None:
            return None
        if not isinstance(value, list):
            raise self.error(f"expected a list of texts, found {self.document.kind_of(value)}", key)
        for index, item in enumerate(value):
            if not isinstance(item, str):
                raise self.document.error(
                    (*self.path, key, index), f"expected a text in quotes, found {self.document.kind_of(item)}"
                )
        return list(value)

    def table(self, key: str) -> Table | None:
        """Return the table under a key."""
        value = self.values.get(key)
        return None if value is None else self.document.table((*self.path, key), value)

    def refuse_duplicates(self, *, besides: str | None = None) -> None:
        """Raise ConfigError for a duplicate key in this table or below, or if the table itself is one.

        ``besides`` names a table in it whose entries are not checked: each is checked when it is read.
        """
        for mistake in self.document.twice(()):
            path, own = mistake.path, len(self.path)
            is_above, is_below = path == self.path[: len(path)], path[:own] == self.path
            if is_above or (is_below and not (len(path) > own + 1 and path[own] == besides)):
                raise mistake


def read_document(path: str) -> Document:
    """Read a file; its suffix tells the format, or else its first line that is not a comment.

    Raises ConfigError.
    """
    text = _read_text(path)
    suffix = PurePath(path).suffix.lower()
    if suffix in (".json", ".jsonc"):
        return _json(path, text)
    if suffix in (".yaml", ".yml"):
        return _yaml(path, text)
    if suffix == ".toml":
        return _toml(path, text)
    if _BEGINS_JSON.match(text):
        return _json(path, text)
    return _yaml(path, text) if _BEGINS_YAML.match(text) else _toml(path, text)


def _read_text(path: str) -> str:
    try:
        with open(path, "rb") as file:
            data = file.read(_MAX_BYTES + 1)
    except (OSError, ValueError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else exc
        raise ConfigError(f"{path}: the file cannot be read: {reason}") from exc
    if len(data) > _MAX_BYTES:
        raise ConfigError(f"{path}: the file has more than {_MAX_BYTES // 2**20} MiB, which no configuration needs")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        raise ConfigError(f"{path}, line {line}: this is not UTF-8; save the file as UTF-8") from exc


def _json(path: str, text: str) -> Document:
    try:
        parsed = read_json(text)
    except JsoncError as exc:
        raise ConfigError(f"{path}, {exc}") from exc
    return Document(path, parsed.value, parsed.lines.get, parsed.duplicates)


def _toml(path: str, text: str) -> Document:
    from relay.app.config.toml import line_of, parse_toml

    value = parse_toml(path, text)
    return Document(path, value, lambda at: line_of(text, at), is_toml=True)


def _yaml(path: str, text: str) -> Document:
    from relay.app.config.yaml import read_yaml

    parsed = read_yaml(path, text)
    return Document(path, parsed.value, parsed.lines.get, parsed.duplicates)


# Text.


def hint(name: str, known: Iterable[str]) -> str:
    """Return a hint at the most similar known name, or an empty text."""
    by_letters = {one.lower().replace("_", "-"): one for one in known}
    near = difflib.get_close_matches(name.lower().replace("_", "-"), by_letters, n=1, cutoff=0.7)
    return f"; did you mean {by_letters[near[0]]!r}?" if near else ""


def _show(path: Path) -> str:
    shown = ""
    for step in path:
        if isinstance(step, int):
            shown += f"[{step}]"
        else:
            word = step if re.fullmatch(r"[\w@/-]+", step) else json.dumps(step, ensure_ascii=False)
            shown += f".{word[:80]}" if shown else word[:80]
    return shown
