"""The secrets of one server: in its variables, its headers and its address."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Mapping
from urllib.parse import parse_qsl, unquote, urlsplit

from relay.app.secrets.names import is_secret_name, is_secret_variable
from relay.auth.maskable import maskable

__all__ = ["secrets_in", "secrets_named", "secrets_of_proxies"]


def secrets_in(env: Iterable[tuple[str, str]], headers: Mapping[str, str], url: str | None) -> list[str]:
    """Return the secrets in a server's variables, headers and URL."""
    values = list(headers.values())
    variables = [(name, value) for name, value in env if is_secret_variable(name, value)]
    named = [(name, value) for name, value in variables if is_secret_name(name)]
    if url is not None:
        with contextlib.suppress(ValueError):  # another check reports a text that is no URL
            parts = urlsplit(url)
            # Both as written, which a server sees and may repeat, and decoded.
            spelt = (part.partition("=") for part in parts.query.split("&"))
            named += [*parse_qsl(parts.query), *((unquote(name), value) for name, _, value in spelt)]
            # A user without a password is a token.
            login = [parts.username or ""] if parts.password is None else [parts.password]
            values += [*login, *map(unquote, login)]
    values += [value.partition(" ")[2] for value in values]
    values += [*secrets_named(named), *(value for _, value in variables)]
    return maskable(values)


def secrets_named(named: Iterable[tuple[str, str]]) -> list[str]:
    """Return the values with a secret's name: whole, and without the scheme before them."""
    values = [value for name, value in named if is_secret_name(name)]
    return maskable(one for value in values for one in (value, value.partition(" ")[2]))


def secrets_of_proxies() -> list[str]:
    """Return the passwords in HTTP_PROXY and its like: decoded, and as written."""
    found = []
    for name, value in os.environ.items():
        if name.lower().endswith("_proxy") and "@" in value:
            with contextlib.suppress(ValueError):
                password = urlsplit(value if "://" in value else f"http://{value}").password or ""
                found += maskable((password, unquote(password)))
    return found
