"""How the relay logs in to a server: logins as values, and the messages between the relay and a token endpoint.

Pure. Basic needs one header. Digest answers a challenge of the server (RFC 7616). Client credentials are exchanged for
a token that expires (RFC 6749, 4.4). The operator names the token endpoint; the relay never discovers it, because that
endpoint gets the secret.
"""

from __future__ import annotations

from base64 import b64encode
from urllib.parse import quote_plus, urlencode, urlsplit

import msgspec

from relay.addresses import fault_of_url, shown_address
from relay.auth.origin import is_loopback
from relay.errors import ConfigError
from relay.values import PrivateValue

__all__ = [
    "ClientCredentials",
    "DigestLogin",
    "Login",
    "Token",
    "TokenRefused",
    "basic_authorization",
    "check_token_url",
    "read_token",
    "token_request",
]

_LONGEST_MARGIN = 60.0  # seconds before a token expires in which the relay no longer uses it: clocks differ
_MARGIN = 0.1  # the same as a share of its lifetime, if that is less
_SHOWN_ERROR = 200


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


class Token(PrivateValue, frozen=True):
    """A bearer token, and its lifetime in seconds from now; None: until the server refuses it."""

    value: str
    lifetime: float | None


class TokenRefused(Exception):
    """A token endpoint sent no token. The message says why in one line, without the secret."""

    def __init__(self, said: str, *, is_client_unknown: bool = False) -> None:
        """``is_client_unknown``: the endpoint may want the client's secret in another place."""
        super().__init__(said)
        self.is_client_unknown = is_client_unknown


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


def token_request(credentials: ClientCredentials, *, is_secret_in_form: bool) -> tuple[dict[str, str], bytes]:
    """Return the headers and the form that request a token, with the secret in the form or in a header.

    Every server must accept the header (RFC 6749, 2.3.1), but some do not.
    """
    form = {"grant_type": "client_credentials"}
    headers = {"Accept": "application/json", "Content-Type": "application/x-www-form-urlencoded"}
    if is_secret_in_form:
        form |= {"client_id": credentials.client_id, "client_secret": credentials.client_secret}
    else:
        headers["Authorization"] = basic_authorization(
            quote_plus(credentials.client_id), quote_plus(credentials.client_secret)
        )
    return headers, urlencode(form).encode()


class _Answer(msgspec.Struct):
    access_token: str = ""
    token_type: str = "bearer"
    expires_in: float | str | None = None
    error: str = ""
    error_description: str = ""


_decode = msgspec.json.Decoder(_Answer).decode


def read_token(status: int, body: bytes, *, secrets: tuple[str, ...] = ()) -> Token:
    """Read the answer of a token endpoint. Raises TokenRefused, whose text has ``***`` for ``secrets``."""
    try:
        answer = _decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        answer = None
    if status != 200 or answer is None or answer.error:
        said = ": ".join(part for part in (answer.error, answer.error_description) if part) if answer else ""
        for secret in secrets:
            said = said.replace(secret, "***")
        said = "".join(c if c.isprintable() else " " for c in said)[:_SHOWN_ERROR]
        fault = f"HTTP {status}{': ' if said else ''}{said}" if status != 200 or said else "the answer is not JSON"
        raise TokenRefused(
            fault, is_client_unknown=status == 401 or (answer is not None and answer.error == "invalid_client")
        )
    if answer.token_type.lower() != "bearer":
        raise TokenRefused(f"it gives tokens of the type {answer.token_type[:20]!r}, not Bearer")
    if not answer.access_token or not all(" " < c <= "~" for c in answer.access_token):
        raise TokenRefused("the answer has no access_token that could stand in a header")
    return Token(answer.access_token, _lifetime(answer.expires_in))


def _lifetime(expires_in: float | str | None) -> float | None:
    try:
        seconds = float(expires_in) if expires_in is not None else None
    except ValueError:
        return None
    if seconds is None or not 0 <= seconds < float("inf"):
        return None
    return seconds - min(_LONGEST_MARGIN, seconds * _MARGIN)
