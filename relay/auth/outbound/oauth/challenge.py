"""Read ``WWW-Authenticate`` (RFC 9110, 11.6.1), and the Bearer challenge in it (RFC 6750, 3).

Several challenges may stand in one line and in several lines, so a comma ends a parameter or a challenge. A parser by
regular expression alone takes ``x_scope=`` for ``scope=``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import msgspec

__all__ = ["BearerChallenge", "Challenge", "bearer_challenge", "parse_challenges"]

_MAX_LINE = 16 * 1024  # characters; a longer line is no challenge that a person or a program could mean
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_TOKEN68 = re.compile(r"[A-Za-z0-9\-._~+/]+=*(?=[ \t]*(?:,|$))")
_EQUALS = re.compile(r"[ \t]*=[ \t]*")
_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_BARE = re.compile(r'[^\s,"]+')  # wider than a token: servers send bare URLs and scopes
_BLANK = re.compile(r"[ \t]*")
_SEPARATORS = re.compile(r"[ \t,]*")
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)


class Challenge(msgspec.Struct, frozen=True):
    """One challenge: its scheme and the names of its parameters in lower case."""

    scheme: str
    params: Mapping[str, str] = {}


class BearerChallenge(msgspec.Struct, frozen=True):
    """What a Bearer challenge says; None where it says nothing."""

    resource_metadata: str | None = None
    scope: str | None = None
    error: str | None = None
    error_description: str | None = None


def parse_challenges(lines: Iterable[str]) -> list[Challenge]:
    """Return the challenges of the header's lines, in their order. What is no challenge is skipped.

    Of a parameter that comes twice in one challenge the first counts.
    """
    return [challenge for line in lines for challenge in _parse_line(line)]


def bearer_challenge(lines: Iterable[str]) -> BearerChallenge | None:
    """Return the first Bearer challenge that has parameters of ours, else the first, else None."""
    found = [one for one in parse_challenges(lines) if one.scheme == "bearer"]
    if not found:
        return None
    known = BearerChallenge.__struct_fields__
    best = next((one for one in found if any(name in one.params for name in known)), found[0])
    return BearerChallenge(**{name: best.params.get(name) for name in known})


def _parse_line(line: str) -> list[Challenge]:
    found: list[tuple[str, dict[str, str]]] = []
    at, end = 0, len(line)
    while end <= _MAX_LINE:
        at = _after(_SEPARATORS, line, at)
        if at >= end:
            break
        word = _TOKEN.match(line, at)
        if word is None:
            at = _next_comma(line, at)
            continue
        equals = _EQUALS.match(line, word.end())
        if equals is None or not found:
            found.append((word[0].lower(), {}))
            at = _after_token68(line, word.end())
            continue
        value, at = _value(line, equals.end())
        if value is not None:
            found[-1][1].setdefault(word[0].lower(), value)
    return [Challenge(scheme, params) for scheme, params in found]


def _after_token68(line: str, at: int) -> int:
    """Skip the single value that some schemes have in place of parameters, such as ``Negotiate dG9rZW4=``."""
    start = _after(_BLANK, line, at)
    value = _TOKEN68.match(line, start) if start > at else None
    return at if value is None else value.end()


def _value(line: str, at: int) -> tuple[str | None, int]:
    quoted = _QUOTED.match(line, at)
    if quoted is not None:
        return _ESCAPED.sub(r"\1", quoted[1]), quoted.end()
    bare = _BARE.match(line, at)
    if bare is None:
        return None, _next_comma(line, at)
    return bare[0], bare.end()


def _after(pattern: re.Pattern[str], line: str, at: int) -> int:
    found = pattern.match(line, at)
    return at if found is None else found.end()


def _next_comma(line: str, at: int) -> int:
    """Skip what cannot be read. An unclosed quotation takes the rest of the line with it."""
    comma = line.find(",", at)
    return len(line) if comma < 0 or line.startswith('"', at) else comma
