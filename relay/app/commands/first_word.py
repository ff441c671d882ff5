"""Tell a mistyped subcommand from a program that is to be relayed: both may be the first word of the command line."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Sequence

from relay.app.specs import address_meant
from relay.errors import ConfigError

__all__ = ["check_first_word"]

_WORD = re.compile(r"[A-Za-z][A-Za-z-]*")
_SHORTEST = 4  # letters of a word that one wrong letter still leaves recognizable


def check_first_word(args: Sequence[str], subcommands: Collection[str]) -> None:
    """Refuse a first word that is nearly a subcommand, and a request for the help of one that does not exist.

    A word with a dot, a slash or a colon is never a subcommand. Raises ConfigError.
    """
    word = args[0] if args else ""
    if _WORD.fullmatch(word) is None:
        return
    near = next((one for one in subcommands if is_near(word.lower(), one)), None)
    if near is not None:
        raise ConfigError(
            f"{word!r} is no subcommand; did you mean 'mcp-relay {near}'? To relay the program {word}, "
            f"put -- before it: mcp-relay -- {' '.join([word, *(['…'] if args[1:] else [])])}"
        )
    if {"--help", "-h"} & {*args[1:]} and shutil.which(word) is None:
        raise ConfigError(f"{word!r} is neither a subcommand nor a program{other_meaning(word, subcommands)}")


def other_meaning(word: str, subcommands: Collection[str]) -> str:
    """Return what to write if a word, which is no program, was to be an address or a subcommand; "" for others."""
    if (address := address_meant(word)) is not None:
        return f"; if it is an address, write {address}"
    return f"; the subcommands are {', '.join(sorted(subcommands))}" if _WORD.fullmatch(word) else ""


def is_near(word: str, other: str) -> bool:
    """Tell whether two words differ by at most one letter: missing, added, wrong, or swapped with the next."""
    if word == other:
        return True
    if len(other) < _SHORTEST or abs(len(word) - len(other)) > 1:
        return False
    start = 0
    while start < min(len(word), len(other)) and word[start] == other[start]:
        start += 1
    rest, others = word[start:], other[start:]
    if len(word) != len(other):
        return rest[1:] == others or rest == others[1:]
    return rest[1:] == others[1:] or (rest[:2] == others[1::-1] and rest[2:] == others[2:])
