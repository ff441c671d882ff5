"""JSON as editors write it: comments and trailing commas are allowed, and the line of every key is known.

Sans-I/O. A mistake is told by its place and never by its text, which may be a secret.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NoReturn

__all__ = ["JsoncError", "Parsed", "Path", "parse_jsonc"]

Path = tuple[str | int, ...]
"""The keys and indices that lead to a value."""

_MAX_DEPTH = 100  # no configuration is deeper, and Python's stack is not asked to be
_TOKEN = re.compile(
    r"""(?P<blank>[ \t\r\n]+|//[^\n]*|/\*(?s:.*?)\*/)
    |(?P<text>"[^"\\\x00-\x1f]*(?:\\.[^"\\\x00-\x1f]*)*")
    |(?P<mark>[{}\[\],:])
    |(?P<word>[A-Za-z0-9+.-]+)""",
    re.VERBOSE,
)


class JsoncError(ValueError):
    """Text that is not JSON, and the line where that shows."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


@dataclass(slots=True)
class Parsed:
    """A value, and where its parts stand."""

    value: object = None
    lines: dict[Path, int] = field(default_factory=dict)
    """Of every key and every item of a list."""
    duplicates: dict[Path, tuple[int, int]] = field(default_factory=dict)
    """Keys that are there twice, with both lines; the value is the last one."""


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    line: int


def parse_jsonc(text: str) -> Parsed:
    """Read a text. Raises JsoncError."""
    return _Parser(text).parse()


def _tokens(text: str) -> Iterator[_Token]:
    at, line = 0, 1
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise JsoncError(line, _what_is_wrong(text, at))
        found = match.group()
        if match.lastgroup != "blank":
            yield _Token(str(match.lastgroup), found, line)
        line += found.count("\n")
        at = match.end()
    yield _Token("end", "", line)


def _what_is_wrong(text: str, at: int) -> str:
    if text[at] == '"':
        return "a text in quotes does not end in its line, or holds a control character"
    if text.startswith("/*", at):
        return "a comment /* is not ended by */"
    if text[at] == "'":
        return "a text stands in single quotes; write double ones"
    return f"the character {text[at]!r} cannot stand here"


class _Parser:
    def __init__(self, text: str) -> None:
        self._tokens = _tokens(text)
        self._token = next(self._tokens)
        self._parsed = Parsed()

    def parse(self) -> Parsed:
        self._parsed.value = self._value(())
        if self._token.kind != "end":
            self._fail("something follows after the end of the value")
        return self._parsed

    def _next(self) -> _Token:
        token = self._token
        if token.kind != "end":
            self._token = next(self._tokens)
        return token

    def _fail(self, message: str) -> NoReturn:
        raise JsoncError(self._token.line, message)

    def _value(self, path: Path) -> object:
        token = self._token
        if token.kind == "text":
            return self._text()
        if token.kind == "word":
            return self._word()
        if token.text not in ("{", "["):
            self._fail("the file is empty" if token.kind == "end" and not path else "a value is missing")
        if len(path) >= _MAX_DEPTH:
            self._fail(f"objects and lists are nested more than {_MAX_DEPTH} deep")
        return self._object(path) if token.text == "{" else self._list(path)

    def _object(self, path: Path) -> dict[str, object]:
        opened = self._next()
        members: dict[str, object] = {}
        while self._token.text != "}":
            if self._token.kind == "end":
                self._fail(f"the {{ of line {opened.line} is not closed")
            if self._token.kind != "text":
                self._fail("a key in double quotes is missing")
            line = self._token.line
            key = self._text()
            here = (*path, key)
            if key in members:
                self._parsed.duplicates[here] = (self._parsed.lines[here], line)
            self._parsed.lines[here] = line
            if self._next().text != ":":
                self._fail(f"a colon is missing after the key {json.dumps(key[:80], ensure_ascii=False)}")
            members[key] = self._value(here)
            self._separate(opened, "}")
        self._next()
        return members

    def _list(self, path: Path) -> list[object]:
        opened = self._next()
        items: list[object] = []
        while self._token.text != "]":
            if self._token.kind == "end":
                self._fail(f"the [ of line {opened.line} is not closed")
            here = (*path, len(items))
            self._parsed.lines[here] = self._token.line
            items.append(self._value(here))
            self._separate(opened, "]")
        self._next()
        return items

    def _separate(self, opened: _Token, closing: str) -> None:
        if self._token.text == ",":
            self._next()
        elif self._token.kind == "end":
            self._fail(f"the {opened.text} of line {opened.line} is not closed")
        elif self._token.text != closing:
            self._fail(f"a comma or {closing} is missing before this line's next value")

    def _text(self) -> str:
        try:
            value: str = json.loads(self._token.text)
            value.encode()
        except UnicodeEncodeError:
            self._fail("a text holds half of a pair of surrogates, \\ud800 to \\udfff")
        except ValueError:
            self._fail("a text has a \\ in it that begins no escape; write \\\\ for the character itself")
        self._next()
        return value

    def _word(self) -> object:
        try:
            value: object = json.loads(self._token.text, parse_constant=_refuse)
        except ValueError:
            self._fail("a value is neither true, false, null nor a number; a text stands in double quotes")
        self._next()
        return value


def _refuse(_: str) -> NoReturn:
    raise ValueError
