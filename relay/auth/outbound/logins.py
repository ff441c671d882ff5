"""How the relay logs in to a server: logins as values.

Pure. Basic needs one header. Digest answers a challenge of the server (RFC 7616). Client credentials are exchanged for
a token that expires (RFC 6749, 4.4; ``oauth/tokens.py`` has the messages). The operator names the token endpoint; the
relay never discovers it, because that endpoint gets the secret.
"""

from __future__ import annotations

from base64 import b64encode
from urllib.parse import urlsplit

from relay.addresses import fault_of_url, shown_address
from relay.auth.origin import is_loopback
from relay.errors import ConfigError
from relay.values import PrivateValue

__all__ = [
    "ClientCredentials",
    "DigestLogin",
    "Login",
    "basic_authorization",
    "check_token_url",
]


class DigestLogin(PrivateValue, frozen=True):
    """A user and a password, with which the relay answers challenges."""

    username: str
    password: str


class ClientCredentials(PrivateValue, frozen=True):
    """A client id and a secret, which the relay exchanges for a token."""

    client_id: str
    client_secret: str
    token_url: str


Login = DigestLogin | ClientCredentials
"""A login that one constant header cannot express."""


def basic_authorization(username: str, password: str) -> str:
    """Return the header of HTTP Basic (RFC 7617)."""
    return "Basic " + b64encode(f"{username}:{password}".encode()).decode()


def check_token_url(url: str) -> None:
    """Refuse a token URL that would expose the secret: only https, or http on this machine. Raises ConfigError."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as exc:
        raise ConfigError(f"--token-url: {shown_address(url)!r} is not a URL: {fault_of_url(exc)}") from exc
    if parts.scheme not in ("http", "https") or not host or parts.username is not None or parts.fragment:
        raise ConfigError(f"--token-url: {shown_address(url)!r} is not a URL of the form https://host/path")
    if parts.scheme == "http" and not is_loopback(host):
        raise ConfigError(
            f"--token-url: {shown_address(url)!r} would show the client secret on its way; it must begin with https://"
        )
