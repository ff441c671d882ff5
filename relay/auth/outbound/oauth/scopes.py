"""Which scopes to request at first ("Scope Selection Strategy"), and after a 403 ("Step-Up Authorization Flow")."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

__all__ = ["OFFLINE", "first_scope", "granted_scope", "missing_from", "split_scope", "stepped_up", "with_offline"]

OFFLINE = "offline_access"
_SCOPE = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]+")  # RFC 6749, 3.3


def split_scope(scope: str | None) -> tuple[str, ...]:
    """Return the scopes of a list with blanks, each once."""
    return tuple(dict.fromkeys(one for one in (scope or "").split() if _SCOPE.fullmatch(one)))


def _joined(scopes: Iterable[str]) -> str | None:
    return " ".join(dict.fromkeys(scopes)) or None


def first_scope(*, configured: str | None, challenged: str | None, supported: Sequence[str]) -> str | None:
    """Return the scope of a first request: the operator's, else the challenge's, else all that the server names.

    None: the parameter is left out.
    """
    if configured is not None:
        return _joined(split_scope(configured))
    return _joined(split_scope(challenged)) or _joined(supported)


def with_offline(scope: str | None, supported_by_issuer: Sequence[str]) -> str | None:
    """Add ``offline_access`` if the authorization server has it: some issue refresh tokens only then."""
    if OFFLINE not in supported_by_issuer:
        return scope
    return _joined((*split_scope(scope), OFFLINE))


def missing_from(requested: str | None, challenged: str | None) -> tuple[str, ...]:
    """Return the challenged scopes that have not been requested."""
    have = set(split_scope(requested))
    return tuple(one for one in split_scope(challenged) if one not in have)


def stepped_up(requested: str | None, challenged: str | None) -> str | None:
    """Return the scope of a request after a 403: all that was requested before, and what the challenge wants."""
    return _joined((*split_scope(requested), *split_scope(challenged)))


def granted_scope(answered: str | None, requested: str | None) -> str | None:
    """Return what a token is good for: the answer's scope, or as requested if it names none (RFC 6749, 5.1)."""
    return requested if answered is None else _joined(split_scope(answered))
