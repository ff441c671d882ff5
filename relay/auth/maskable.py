"""Which secrets a message masks: those that are long enough to be told from ordinary text."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["maskable"]

_SHORTEST = 4
"""Characters: to mask a shorter secret would garble the message, and tell the secret by what it garbles."""


def maskable(secrets: Iterable[str]) -> list[str]:
    """Return the secrets that messages mask, each once, the longest first: a short one may be part of a long one."""
    return sorted(dict.fromkeys(one for one in secrets if len(one) >= _SHORTEST), key=len, reverse=True)
