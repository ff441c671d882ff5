"""The secrets among the values of options."""

from __future__ import annotations

import argparse
import logging
import os

from relay.app.secrets.values import secrets_in, secrets_named, secrets_of_proxies
from relay.errors import ConfigError

__all__ = ["SECRET_OPTIONS", "read_secret", "secrets_of"]

logger = logging.getLogger("relay")

SECRET_OPTIONS = ("password", "client_secret", "introspection_client_secret")
"""Options whose values logs mask, by their attribute."""


def secrets_of(options: argparse.Namespace, headers: dict[str, str], url: str | None) -> list[str]:
    """Return the values that logs mask: whole, and without the scheme before them."""
    own = [(name, getattr(options, name, None) or "") for name in SECRET_OPTIONS]
    passed = [(name, os.environ.get(name, "")) for name in options.pass_variable]
    named = secrets_in([*passed, *(tuple(pair) for pair in options.env)], headers, url)
    return [*secrets_named(own), *named, *options.configured.secrets, *secrets_of_proxies()]


def read_secret(text: str, flag: str) -> str:
    """Return the secret that ``env:VARIABLE``, ``file:PATH`` or the text itself holds. Raises ConfigError."""
    kind, _, place = text.partition(":")
    if kind == "env":
        found = os.environ.get(place, "").strip()
        if not found:
            raise ConfigError(f"{flag}: the variable {place!r} is not set, or is empty")
        return found
    if kind == "file":
        try:
            with open(place, encoding="utf-8") as file:
                found = file.read(65_536).strip()
        except (OSError, ValueError) as exc:
            why = exc.strerror if isinstance(exc, OSError) else "it is not a text file in UTF-8"
            raise ConfigError(f"{flag}: {place!r} cannot be read: {why}") from None
        if not found:
            raise ConfigError(f"{flag}: {place!r} is empty")
        return found
    logger.warning("%s: everybody on this machine can see it in the list of processes; env:VARIABLE hides it", flag)
    return text
