"""Read static tokens from where the operator keeps them: variables and files, never the command line.

A file has one token a line, with the name of its principal before it: ``NAME TOKEN`` or ``NAME=TOKEN``. Empty lines,
and lines that begin with ``#``, do not count.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from relay.errors import ConfigError

__all__ = ["GivenTokens", "TokenSource", "TokenSources", "is_weak", "parse_source"]

_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")
_LINE = re.compile(r"(?:(?P<name>[A-Za-z0-9._@-]{1,64})(?:\s*=\s*(?!=*$)|\s+))?(?P<token>\S+)")
_FEWEST = 32
_MOST = 4096
_MOST_FILE = 4 * 2**20


class TokenSource(msgspec.Struct, frozen=True):
    """One variable or file with tokens, and the name of the principal whose tokens have no name there."""

    kind: Literal["env", "file"]
    place: str
    name: str


def parse_source(text: str, flag: str) -> TokenSource:
    """Read ``[NAME=]env:VARIABLE`` or ``[NAME=]file:PATH``, which ``flag`` names. Raises ConfigError."""
    name, separator, place = text.partition("=")
    if text.startswith(("env:", "file:")) or not separator:
        name, place = "", text
    kind, _, place = place.partition(":")
    if kind not in ("env", "file") or not place:
        # The text itself may be a token.
        raise ConfigError(
            f"{flag}: write [NAME=]env:VARIABLE or [NAME=]file:PATH; a token on the command line would be no secret"
        )
    if separator and name and _NAME.fullmatch(name) is None:
        raise ConfigError(f"{flag}: {name!r} is not a name of up to 64 letters, digits and . _ @ -")
    default = place if kind == "env" else os.path.basename(place)
    return TokenSource("env" if kind == "env" else "file", place, name or default)


def is_weak(token: str) -> bool:
    """Tell whether a token is so short that somebody might guess it."""
    return len(token) < _FEWEST


class GivenTokens:
    """Tokens that a program gives, by the names of their principals."""

    has_files = False

    def __init__(self, tokens: Mapping[str, str]) -> None:
        """Take ``tokens``; they may change until the login reads them again."""
        self._tokens = tokens

    def read(self) -> list[tuple[str, str]]:
        """Return the name and the token of each principal."""
        return list(self._tokens.items())


class TokenSources:
    """All variables and files of a relay that hold tokens."""

    def __init__(self, sources: Sequence[TokenSource], flag: str) -> None:
        """Read ``sources``, which the option ``flag`` names."""
        self._sources = sources
        self._flag = flag

    @property
    def has_files(self) -> bool:
        """Whether the tokens can change while the relay runs."""
        return any(source.kind == "file" for source in self._sources)

    @property
    def variables(self) -> list[str]:
        """The names of the variables that hold tokens."""
        return [source.place for source in self._sources if source.kind == "env"]

    def read(self) -> list[tuple[str, str]]:
        """Return the name and the token of each principal. Raises ConfigError, whose text has no part of a token."""
        found: dict[str, str] = {}
        for source in self._sources:
            for where, name, token in self._tokens(source):
                if not token.isascii() or not token.isprintable() or len(token) > _MOST:
                    raise ConfigError(f"{where}: a token is up to {_MOST} visible ASCII characters without blanks")
                if found.setdefault(token, name) != name:
                    raise ConfigError(f"{where}: {found[token]!r} has this token already")
        return [(name, token) for token, name in found.items()]

    def _tokens(self, source: TokenSource) -> Iterator[tuple[str, str, str]]:
        if source.kind == "env":
            token = os.environ.get(source.place, "").strip()
            where = f"{self._flag}: the variable {source.place!r}"
            if not token:
                raise ConfigError(f"{where} is not set, or is empty")
            yield where, source.name, token
            return
        is_empty = True
        for number, line in enumerate(self._lines(source.place), 1):
            if not (line := line.strip()) or line.startswith("#"):
                continue
            where = f"{source.place}:{number}"
            match = _LINE.fullmatch(line)
            if match is None:
                raise ConfigError(f"{where}: expected NAME TOKEN, or a token alone")
            is_empty = False
            yield where, match["name"] or source.name, match["token"]
        if is_empty:
            raise ConfigError(f"{self._flag}: {source.place!r} has no token in it")

    def _lines(self, path: str) -> list[str]:
        try:
            with open(path, "rb") as file:
                return file.read(_MOST_FILE).decode().splitlines()
        except OSError as exc:
            raise ConfigError(f"{self._flag}: {path!r} cannot be read: {exc.strerror or exc}") from None
        except (UnicodeDecodeError, ValueError):
            raise ConfigError(f"{self._flag}: {path!r} is not a text file in UTF-8") from None
