"""Which client the relay is at an authorization server: configured, a metadata document, or registered (RFC 7591)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from relay.auth.outbound.oauth.discovery import ServerMetadata
from relay.auth.outbound.oauth.options import OAuthOptions
from relay.auth.outbound.oauth.records import CONFIGURED, DOCUMENT, Client
from relay.auth.outbound.oauth.text import shown_text

__all__ = ["RegistrationRefused", "known_client", "other_loopback", "read_registration", "registration_request"]

_NAME = "mcp-relay"
_SOFTWARE_ID = "4d8f0a53-9a3b-5d0c-8f6e-1f1d8f5a2b70"
"""Names the program, whatever its version, to an authorization server (RFC 7591, 2)."""
_PREFERRED = ("none", "client_secret_basic", "client_secret_post")
_DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_OWN = frozenset(("redirect_uris", "grant_types", "response_types", "scope", "resource"))


class RegistrationRefused(Exception):
    """An authorization server did not register the relay. The message says why, in one line."""

    def __init__(self, fault: str, *, is_about_redirect: bool = False) -> None:
        """``is_about_redirect``: another redirect URI may be accepted."""
        super().__init__(fault)
        self.is_about_redirect = is_about_redirect


def known_client(options: OAuthOptions, metadata: ServerMetadata, redirect_uri: str) -> Client | None:
    """Return the client that needs no registration; None: register (MCP, "Client Registration")."""
    if options.client_id is not None:
        return Client(
            client_id=options.client_id,
            auth_method=_configured_method(options, metadata.token_endpoint_auth_methods_supported),
            source=CONFIGURED,
            redirect_uri=redirect_uri,
        )
    if options.client_metadata_url is not None and metadata.client_id_metadata_document_supported:
        return Client(client_id=options.client_metadata_url, source=DOCUMENT, redirect_uri=redirect_uri)
    return None


def _configured_method(options: OAuthOptions, supported: Sequence[str] | None) -> str:
    if options.client_assertion_key is not None:
        return "private_key_jwt"
    return "none" if options.client_secret is None else _secret_method(supported)


def _secret_method(supported: Sequence[str] | None) -> str:
    """Return how to show a secret. RFC 8414, 2: metadata without a list means Basic."""
    is_only_in_form = bool(supported) and "client_secret_basic" not in (supported or ())
    return (
        "client_secret_post"
        if is_only_in_form and "client_secret_post" in (supported or ())
        else ("client_secret_basic")
    )


def registration_request(
    metadata: ServerMetadata, redirect_uri: str, *, version: str, extra: Mapping[str, object], is_device: bool = False
) -> dict[str, Any]:
    """Return the body of a registration. It has neither scope nor resource: requests name those.

    ``extra`` adds fields or replaces the relay's own, but not those that the flow needs.
    """
    supported = metadata.token_endpoint_auth_methods_supported
    method = next((one for one in _PREFERRED if supported is None or one in supported), "none")
    grants = ["authorization_code", "refresh_token", *([_DEVICE_GRANT] if is_device else [])]
    return {
        "client_name": _NAME,
        "application_type": "native",
        "software_id": _SOFTWARE_ID,
        "software_version": version,
        "token_endpoint_auth_method": method,
        **{name: value for name, value in extra.items() if name not in _OWN},
        "redirect_uris": [redirect_uri],
        "grant_types": grants,
        "response_types": ["code"],
    }


class _Registered(msgspec.Struct):
    client_id: str
    client_secret: str | None = None
    client_secret_expires_at: float = 0
    token_endpoint_auth_method: str | None = None


def read_registration(status: int, body: bytes, metadata: ServerMetadata, redirect_uri: str) -> Client:
    """Read the answer to a registration. Raises RegistrationRefused."""
    if status not in (200, 201):
        raise _refusal(status, body)
    try:
        found = msgspec.json.decode(body, type=_Registered, strict=False)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise RegistrationRefused("the answer has no client_id") from None
    if not found.client_id:
        raise RegistrationRefused("the answer has no client_id")
    secret = found.client_secret or None
    method = found.token_endpoint_auth_method
    if method not in _PREFERRED or (secret is None) != (method == "none"):
        method = "none" if secret is None else _secret_method(metadata.token_endpoint_auth_methods_supported)
    return Client(
        client_id=found.client_id,
        client_secret=secret if method != "none" else None,
        auth_method=method,
        redirect_uri=redirect_uri,
        secret_expires_at=max(found.client_secret_expires_at, 0),
    )


def _refusal(status: int, body: bytes) -> RegistrationRefused:
    try:
        document = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        document = None
    fields = document if isinstance(document, dict) else {}
    error = shown_text(fields.get("error"))
    said = ": ".join(one for one in (error, shown_text(fields.get("error_description"))) if one)
    is_about_redirect = error == "invalid_redirect_uri" or "redirect" in said.lower()
    return RegistrationRefused(f"HTTP {status}{': ' if said else ''}{said}", is_about_redirect=is_about_redirect)


def other_loopback(host: str) -> str | None:
    """Return the other name of this machine that a redirect URI may have: some servers accept only one of them."""
    return {"127.0.0.1": "localhost", "localhost": "127.0.0.1"}.get(host)
