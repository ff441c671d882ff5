"""What the relay keeps of its logins, and under which names.

A login is kept under its issuer, client, resource and account, and the issuer stands in it, too. Nothing that one
authorization server issued can reach another one. A small file for each server's URL says which login is its own.
"""

from __future__ import annotations

import math
from typing import TypeVar

import msgspec

from relay.auth.outbound.oauth.options import OAuthOptions
from relay.values import PrivateValue

__all__ = [
    "CONFIGURED",
    "DOCUMENT",
    "REGISTERED",
    "ATTEMPT_SECONDS",
    "Client",
    "OpenWindow",
    "ServerEntry",
    "Tokens",
    "client_key",
    "decode_record",
    "encode_record",
    "is_wanted",
    "seconds_of_use",
    "server_key",
    "token_key",
]

CONFIGURED, DOCUMENT, REGISTERED = "configured", "document", "registered"
"""Where a client id comes from."""
ATTEMPT_SECONDS = 600.0
"""Seconds that a state and a verifier are good for."""
_LONGEST_MARGIN = 60.0  # seconds before a token expires in which the relay no longer uses it: clocks differ
_MARGIN = 0.1  # the same as a share of its lifetime, if that is less
_LEAST_USE = 1.0  # seconds: a token that has expired already may serve the requests for which it was fetched


def seconds_of_use(lifetime: float | None) -> float:
    """Return for how long to use a token that lasts ``lifetime`` seconds; None: until the server refuses it."""
    if lifetime is None:
        return math.inf
    return max(lifetime - min(_LONGEST_MARGIN, lifetime * _MARGIN), _LEAST_USE)


class Client(PrivateValue, frozen=True, kw_only=True):
    """What the relay is at one authorization server. A configured secret is not kept here."""

    client_id: str
    client_secret: str | None = None
    auth_method: str = "none"
    source: str = REGISTERED
    redirect_uri: str = ""
    secret_expires_at: float = 0.0
    """Unix time; 0: never."""


class Tokens(PrivateValue, frozen=True, kw_only=True):
    """A login: what an authorization server issued, and where it is refreshed and revoked."""

    issuer: str
    resource: str
    profile: str
    client: Client
    token_endpoint: str
    revocation_endpoint: str | None = None
    sends_resource: bool = True
    access_token: str
    refresh_token: str | None = None
    scope: str | None = None
    """The granted scope."""
    requested_scope: str | None = None
    obtained_at: float = 0.0
    expires_at: float | None = None
    """Unix time; None: unknown."""
    is_refreshable: bool = False
    """Whether there is a refresh token, here or in a keyring."""
    is_refreshed: bool = False
    """Whether a refresh issued this access token, not a login."""

    @property
    def use_until(self) -> float:
        """Return the Unix time from which a new token is worth a request: clocks differ, and requests take time."""
        lifetime = None if self.expires_at is None else self.expires_at - self.obtained_at
        return self.obtained_at + seconds_of_use(lifetime)

    @property
    def key(self) -> str:
        """The name under which it is kept."""
        return token_key(self.issuer, self.client.client_id, self.resource, self.profile)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no message may show."""
        found = (self.access_token, self.refresh_token, self.client.client_secret)
        return tuple(one for one in found if one)


class ServerEntry(PrivateValue, frozen=True, kw_only=True):
    """Which login a server's URL uses. It holds no secret."""

    url: str
    profile: str
    token_key: str | None = None
    issuer: str | None = None
    kept_in: str = "file"
    pinned_issuer: str | None = None
    """The authorization server to which a configured secret is bound since its first use."""


class OpenWindow(PrivateValue, frozen=True, kw_only=True):
    """A login that waits for a person; a process that is started again goes on with it."""

    url: str
    profile: str
    issuer: str
    resource: str
    sends_resource: bool = True
    client: Client
    token_endpoint: str
    revocation_endpoint: str | None = None
    scope: str | None = None
    created: float
    shown_url: str
    """The address for the person."""
    is_shown: bool = False
    """Whether a browser has been asked to open it."""
    redirect_uri: str = ""
    state: str = ""
    verifier: str = ""
    is_iss_required: bool = False
    device_code: str = ""
    interval: float = 5.0
    """Seconds between two polls of the device flow."""
    until: float = 0.0
    """Unix time at which the attempt is over."""
    is_new_client: bool = False
    """Whether the client was registered for this attempt."""


def is_wanted(tokens: Tokens, options: OAuthOptions) -> bool:
    """Tell whether a kept login is one of those that the operator wants: its issuer, client and resource."""
    wanted = (options.issuer, options.client_id, options.resource)
    found = (tokens.issuer, tokens.client.client_id, tokens.resource)
    return all(want in (None, have) for want, have in zip(wanted, found, strict=True))


def _digest(**parts: str) -> str:
    """Return a file name for a key: the hash of canonical JSON, so that no two keys run together."""
    import hashlib

    return hashlib.sha256(msgspec.json.encode(parts, order="deterministic")).hexdigest()[:40]


def token_key(issuer: str, client_id: str, resource: str, profile: str) -> str:
    """Return the name of a login's file."""
    return "token-" + _digest(issuer=issuer, client_id=client_id, resource=resource, profile=profile)


def client_key(issuer: str, redirect_uri: str) -> str:
    """Return the name of a registration's file: one for each issuer and redirect URI."""
    return "client-" + _digest(issuer=issuer, redirect_uri=redirect_uri)


def server_key(url: str, profile: str) -> str:
    """Return the name of the file that says which login a server's URL uses."""
    return "server-" + _digest(url=url, profile=profile)


_Record = TypeVar("_Record", bound=msgspec.Struct)


def encode_record(record: msgspec.Struct) -> bytes:
    """Return a record as the line that is kept."""
    return msgspec.json.encode(record) + b"\n"


def decode_record(body: bytes, kind: type[_Record]) -> _Record | None:
    """Read a record; return None if it is not one, such as one of a later version."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
