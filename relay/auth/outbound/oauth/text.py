"""Texts of strangers, made fit to be shown."""

from __future__ import annotations

from collections.abc import Iterable

from relay.addresses import without_logins
from relay.auth.maskable import maskable

__all__ = ["shown_text"]

_LONGEST = 200


def shown_text(value: object, secrets: Iterable[str] = ()) -> str:
    """Return a server's words in one short line, without control characters, and with ``***`` for ``secrets``."""
    if not isinstance(value, str):
        return ""
    for secret in maskable(secrets):
        value = value.replace(secret, "***")
    line = "".join(character if character.isprintable() else " " for character in value)
    return without_logins(line.strip())[:_LONGEST]
