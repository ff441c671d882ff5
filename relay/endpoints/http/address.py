"""Parse the address of a server, and keep its path and query byte for byte as the operator wrote them.

Some servers distinguish ``%2F`` from ``/``, and a signature covers the bytes that were signed. The relay
percent-encodes, as UTF-8, only what a request line cannot carry: spaces, control characters, and all beyond ASCII.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import quote, unquote

from yarl import URL

from relay.addresses import fault_of_url, shown_address
from relay.auth.outbound.logins import basic_authorization
from relay.errors import ConfigError

__all__ = ["join_url", "parse_url", "read_url"]

_AUTHORITY_ENDS = re.compile(r"[/?#]")
_NOT_SENDABLE = re.compile(r"[^\x21-\x7e]")


def read_url(text: str) -> tuple[URL, str | None]:
    """Return an address without its login, and the login as an HTTP Basic header, if any. Raises ValueError."""
    scheme, mark, rest = text.strip().partition("://")
    if not mark:
        return URL(text), None
    end = _AUTHORITY_ENDS.search(rest)
    authority, tail = (rest, "") if end is None else (rest[: end.start()], rest[end.start() :])
    login, has_login, place = authority.rpartition("@")
    origin = URL(f"{scheme}://{place}")
    url = URL(f"{origin.scheme}://{origin.raw_authority}{_sendable(tail.partition('#')[0])}", encoded=True)
    if not has_login:
        return url, None
    user, _, password = login.partition(":")
    return url, basic_authorization(unquote(user), unquote(password))


def parse_url(
    text: str, headers: Mapping[str, str], schemes: tuple[str, ...] = ("http", "https")
) -> tuple[URL, dict[str, str]]:
    """Return the address of a server, and its request headers.

    The headers include the login in the address, unless ``headers`` has an Authorization. Raises ConfigError if
    ``text`` is not a URL with one of ``schemes``.
    """
    try:
        url, authorization = read_url(text)
    except ValueError as exc:
        raise ConfigError(f"{shown_address(text)!r} is not a URL: {fault_of_url(exc)}") from None
    if url.scheme not in schemes or not url.host:
        expected = " or ".join(f"{scheme}://host/path" for scheme in schemes)
        raise ConfigError(f"{shown_address(text)!r} is not a URL of the form {expected}")
    if authorization is None or any(name.lower() == "authorization" for name in headers):
        return url, dict(headers)
    return url, {"Authorization": authorization, **headers}


def join_url(base: URL, reference: str) -> URL:
    """Resolve a server's reference against ``base``, and drop the login and the fragment. Raises ValueError."""
    return base.join(URL(_sendable(reference.strip()), encoded=True)).with_user(None).with_fragment(None)


def _sendable(text: str) -> str:
    return _NOT_SENDABLE.sub(lambda found: quote(found[0], safe=""), text)
