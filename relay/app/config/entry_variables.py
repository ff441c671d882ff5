"""The variables of a command and the headers of a URL, as every client writes them."""

from __future__ import annotations

from collections.abc import Iterator

from relay.app.config.document import Table
from relay.app.config.entry_reader import EntryReader
from relay.app.config.entry_values import Pair
from relay.app.header_names import HEADERS_IGNORED, HEADERS_REFUSED, is_header_name

__all__ = ["Headers", "variables_of"]


def variables_of(entry: EntryReader) -> Iterator[tuple[str, str]]:
    """Yield the variables that are set, and those of the relay that the command gets (Codex, Goose)."""
    for key in ("env_vars", "env_keys"):
        for name in entry.names(key):
            if name in entry.environment:
                yield name, entry.environment[name]
            else:
                entry.warn(entry.table.where(key), f"{name} is not set where the relay is started: not handed on")
    for pair in entry.pairs(entry.table, entry.key_of("env"), "="):
        if not pair.name or "=" in pair.name or "\0" in pair.name:
            entry.mistakes.append(entry.table.document.error(pair.path, "is not a variable's name"))
        elif (value := entry.value(pair)) is not None:  # VS Code: null is not set
            yield pair.name, value


class Headers:
    """Reads the headers of an entry, among them those that hold a variable of the relay."""

    def __init__(self, entry: EntryReader) -> None:
        """Begin with none."""
        self.problem: str | None = None
        """Why the server cannot run."""
        self._entry = entry
        self._found: dict[str, str] = {}

    def read(self) -> dict[str, str]:
        """Return them all."""
        entry = self._entry
        for pair in entry.pairs(entry.table, entry.key_of("headers"), ":"):
            self._take(pair, entry.value(pair))
        if (of_continue := entry.take(entry.table.table, "requestOptions")) is not None:
            for pair in entry.pairs(of_continue, "headers", ":"):
                self._take(pair, entry.value(pair))
        for pair in entry.pairs(entry.table, "env_http_headers", ":"):
            self._take(pair, self._variable(pair))
        self._take_bearer(entry.table)
        return self._found

    def _take(self, pair: Pair, value: str | None) -> None:
        name, document = pair.name, self._entry.table.document
        if not is_header_name(name):
            reason = "is not a header name"
        elif name.lower() in HEADERS_REFUSED:
            reason = "belongs to the transport, which sets it where it is due; leave it out"
        elif name.lower() in (other.lower() for other in self._found):
            reason = "is there twice; header names do not differ by capitals"
        else:
            self._set(pair, value)
            return
        self._entry.mistakes.append(document.error(pair.path, reason))

    def _set(self, pair: Pair, value: str | None) -> None:
        if value is None:
            return
        if any(c in value for c in "\r\n\0"):
            self.problem = f"the value of the header {pair.name} has a line break in it"
        elif pair.name.lower() in HEADERS_IGNORED:
            self._entry.warn(self._entry.table.document.where(pair.path), "is set by the transport itself: ignored")
        else:
            self._found[pair.name] = value

    def _variable(self, pair: Pair) -> str | None:
        """Return the variable that a header holds; without it Codex leaves the header out."""
        document = self._entry.table.document
        name = self._entry.take(document.word, pair.path, pair.value)
        value = self._entry.environment.get(name or "") or None
        if name and value is None:
            self._entry.warn(document.where(pair.path), f"{name} is not set: the header is left out")
        return value

    def _take_bearer(self, table: Table) -> None:
        name = self._entry.take(table.text, "bearer_token_env_var")
        token = self._entry.take(table.text, "bearer_token")
        if name:
            token = self._entry.environment.get(name)
            if not token:
                self.problem = f"{name} is not set, which bearer_token_env_var names; set it where the relay is started"
        elif token:
            token = self._entry.expander.expand_as_clients_do(token)
        if token:
            key = "bearer_token_env_var" if name else "bearer_token"
            self._take(Pair("Authorization", (*table.path, key), token), f"Bearer {token}")
