"""A configuration file, whatever its format: its tables, read with mistakes that name file, line and key.

No message shows a value: it may be a secret.
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
from relay.app.jsonc import JsoncError
from relay.errors import ConfigError

__all__ = ["Document", "Table", "hint", "read_document"]

_MAX_BYTES = 4 * 1024 * 1024  # an editor's whole settings are a hundred times smaller


@dataclass(frozen=True, slots=True)
class Document:
    """What a file says, and where."""

    name: str
    """The file, as it was named to us."""
    value: object
    find_line: Callable[[Path], int | None]
    duplicates: Mapping[Path, tuple[int, int]] = field(default_factory=dict)
    is_toml: bool = False

    @property
    def word_for_table(self) -> str:
        """What the format calls a table."""
        return "a table" if self.is_toml else "an object"

    def error(self, path: Path, message: str) -> ConfigError:
        """Return a mistake at a place."""
        return ConfigError(f"{self.where(path)}: {message}")

    def where(self, path: Path) -> str:
        """Return a place as people find it: file, line, key."""
        line = next((line for end in range(len(path), 0, -1) if (line := self.find_line(path[:end])) is not None), None)
        file = self.name if line is None else f"{self.name}, line {line}"
        return f"{file}: {_show(path)}" if path else file

    def kind_of(self, value: object) -> str:
        """Say what a value is, without what it says."""
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

    def root(self) -> Table:
        """Return the file's own table. Raises ConfigError if it is something else."""
        if not isinstance(self.value, dict):
            raise self.error((), f"expected {self.word_for_table}, found {self.kind_of(self.value)}")
        return Table(self, (), self.value)


@dataclass(frozen=True, slots=True)
class Table:
    """Keys and values somewhere in a file."""

    document: Document
    path: Path
    values: Mapping[str, object]

    def error(self, message: str, key: str | int | None = None) -> ConfigError:
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
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.error(f"expected {self.document.word_for_table}, found {self.document.kind_of(value)}", key)
        return Table(self.document, (*self.path, key), value)

    def refuse_duplicates(self) -> None:
        """Raise ConfigError if a key in this table, or below, is there twice, or the table itself."""
        for path, (first, second) in self.document.duplicates.items():
            if path == self.path[: len(path)] or path[: len(self.path)] == self.path:
                raise ConfigError(
                    f"{self.document.name}, line {second}: {_show(path)}: is there twice, first in line {first}; "
                    "leave one out"
                )


def read_document(path: str) -> Document:
    """Read a file: TOML if its name ends in .toml or it does not begin as JSON does. Raises ConfigError."""
    text = _read_text(path)
    if PurePath(path).suffix.lower() == ".toml":
        return _toml(path, text)
    if PurePath(path).suffix.lower() in (".json", ".jsonc") or re.match(r"\s*(?:\{|//|/\*|\Z)", text):
        return _json(path, text)
    return _toml(path, text)


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


# Words.


def hint(name: str, known: Iterable[str]) -> str:
    """Return a question after the known name that is nearest, or nothing."""
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
