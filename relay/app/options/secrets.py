"""The secrets among the values of options."""

from __future__ import annotations

import argparse
import os

from relay.app.secrets.values import secrets_in, secrets_named, secrets_of_proxies

__all__ = ["SECRET_OPTIONS", "secrets_of"]

SECRET_OPTIONS = ("password", "client_secret")
"""Options whose values logs mask, by their attribute."""


def secrets_of(options: argparse.Namespace, headers: dict[str, str], url: str | None) -> list[str]:
    """Return the values that logs mask: whole, and without the scheme before them."""
    own = [(name, getattr(options, name, None) or "") for name in SECRET_OPTIONS]
    passed = [(name, os.environ.get(name, "")) for name in options.pass_variable]
    named = secrets_in([*passed, *(tuple(pair) for pair in options.env)], headers, url)
    return [*secrets_named(own), *named, *options.configured.secrets, *secrets_of_proxies()]
