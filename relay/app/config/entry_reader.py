"""Reads the keys of one entry, under any editor's names.

The reader notes a mistake and reads on, so that one run reports all mistakes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import ParamSpec, TypeVar

from relay.app.config.document import Mistake, Table
from relay.app.config.entry_keys import ENTRY_KEYS, OTHER_NAMES
from relay.app.config.entry_values import Pair, flat, pairs
from relay.app.config.expansion import Expander

__all__ = ["EntryReader"]

_P = ParamSpec("_P")
_T = TypeVar("_T")


class EntryReader:
    """One entry of a file, while it is read."""

    def __init__(self, table: Table, environment: Mapping[str, str], warnings: list[str]) -> None:
        """Read ``table`` with the variables of ``environment``."""
        self.table = flat(table)
        self.environment = environment
        self.warnings = warnings
        of_users = self.table.values.get("customUserVars")
        self.expander = Expander(environment, of_users=list(of_users) if isinstance(of_users, dict) else ())
        self.mistakes: list[Mistake] = table.document.twice(table.path)
        self._keys = {meaning: key for meaning in ENTRY_KEYS if (key := self._find(meaning)) is not None}

    def take(self, read: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs) -> _T | None:
        """Return the value, or note the mistake in it and return None."""
        try:
            return read(*args, **kwargs)
        except Mistake as mistake:
            self.mistakes.append(mistake)
            return None

    def refuse(self, reason: str, key: str | None = None) -> None:
        """Note a mistake in the entry, or at one of its keys."""
        self.mistakes.append(self.table.error(reason, key))

    def warn(self, place: str, warning: str) -> None:
        """Add a warning about a place."""
        self.warnings.append(f"{place}: {warning}")

    # Keys.

    def has(self, meaning: str) -> bool:
        """Tell whether the entry has a key of this meaning, under any name."""
        return meaning in self._keys

    def key_of(self, meaning: str) -> str:
        """Return the name that the entry uses for a meaning, or the relay's own."""
        return self._keys.get(meaning, meaning)

    def _find(self, meaning: str) -> str | None:
        """Return the name that the entry uses for a meaning; note a mistake if it uses two."""
        values = self.table.values
        every = (meaning, *(other for other, ours in OTHER_NAMES.items() if ours == meaning))
        names = [name for name in every if values.get(name) is not None and values[name] != ""]
        if len({str(values[name]) for name in names}) > 1:
            self.refuse(f"has both {names[0]} and {names[1]}, which say the same; leave one out")
        return names[0] if names else None

    def pass_over(self, meaning: str, target: str) -> None:
        """Warn that a key has no effect."""
        key = self.key_of(meaning)
        if self.table.values.get(key):
            self.warn(self.table.where(key), f"no effect before {target}: ignored")

    # Values.

    def text(self, meaning: str) -> str | None:
        """Return a text, as it is written."""
        return self.take(self.table.text, self.key_of(meaning))

    def words(self, key: str) -> list[str]:
        """Return a list of texts, unexpanded; numbers and truth values become texts, too."""
        document, path = self.table.document, (*self.table.path, key)
        found = self.table.values.get(key)
        if not isinstance(found, list | None):
            self.refuse(f"expected a list of texts, found {document.kind_of(found)}", key)
        items = found if isinstance(found, list) else []
        words = [self.take(document.word, (*path, index), item) for index, item in enumerate(items)]
        return [word for word in words if word is not None]

    def names(self, key: str) -> list[str]:
        """Return a list of variables' names; each may be an object with a name."""
        found = self.table.values.get(key)
        if isinstance(found, list):
            items = [one.get("name") if isinstance(one, dict) else one for one in found]
            if all(isinstance(one, str) for one in items):
                return [str(one) for one in items]
        if found is not None:
            self.refuse("expected a list of variables' names", key)
        return []

    def pairs(self, table: Table, key: str, separator: str) -> Iterator[Pair]:
        """Yield names and values of an object, or of a list."""
        value = table.values.get(key)
        if value is not None:
            yield from self.take(pairs, table.document, (*table.path, key), value, separator) or ()

    def value(self, pair: Pair) -> str | None:
        """Return a variable's or a header's value, expanded; None if it is not set."""
        document = self.table.document
        written = None if pair.value is None else self.take(document.word, pair.path, pair.value)
        if written is not None and self.expander.is_unset(written):
            self.warn(document.where(pair.path), "the $VARIABLE in it is not set: it stays as it is written")
        return None if written is None else self.expander.expand_as_clients_do(written)
