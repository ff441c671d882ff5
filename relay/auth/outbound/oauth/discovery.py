"""Find a server's authorization server: where the metadata is, and what makes it unusable.

RFC 9728 describes the protected resource, RFC 8414 and OpenID Connect Discovery the authorization server. The server
chooses its authorization server, so each value here comes from a stranger.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import msgspec

from relay.auth.outbound.oauth.scopes import split_scope
from relay.auth.outbound.oauth.urls import UnusableUrl, canonical_url, check_endpoint, covers, origin_of

__all__ = [
    "MetadataRefused",
    "ResourceMetadata",
    "ServerMetadata",
    "check_pkce",
    "legacy_metadata",
    "read_resource_metadata",
    "read_server_metadata",
    "resource_metadata_urls",
    "server_metadata_urls",
]

MAX_METADATA = 64 * 1024
"""Bytes of a metadata document; the largest seen in the field has 9 KiB."""
_RESOURCE = "/.well-known/oauth-protected-resource"
_SERVER = "/.well-known/oauth-authorization-server"
_OPENID = "/.well-known/openid-configuration"
_ENDPOINTS = (
    "authorization_endpoint", "token_endpoint", "registration_endpoint", "revocation_endpoint",
    "device_authorization_endpoint",
)  # fmt: skip


class MetadataRefused(Exception):
    """A metadata document that the relay does not use. ``is_final``: no other document may replace it."""

    def __init__(self, fault: str, *, is_final: bool = False) -> None:
        """``fault`` says why, in one line."""
        super().__init__(fault)
        self.is_final = is_final


class ResourceMetadata(msgspec.Struct, frozen=True):
    """What a protected resource says of itself (RFC 9728, 2)."""

    resource: str
    """As it came: the relay sends it byte for byte."""
    authorization_servers: tuple[str, ...]
    scopes_supported: tuple[str, ...] = ()


class ServerMetadata(msgspec.Struct, frozen=True, kw_only=True):
    """What an authorization server says of itself (RFC 8414, 2), with what the relay needs."""

    issuer: str
    authorization_endpoint: str | None = None
    token_endpoint: str
    registration_endpoint: str | None = None
    revocation_endpoint: str | None = None
    device_authorization_endpoint: str | None = None
    scopes_supported: tuple[str, ...] = ()
    code_challenge_methods_supported: tuple[str, ...] | None = None
    token_endpoint_auth_methods_supported: tuple[str, ...] | None = None
    token_endpoint_auth_signing_alg_values_supported: tuple[str, ...] = ()
    client_id_metadata_document_supported: bool = False
    authorization_response_iss_parameter_supported: bool = False
    is_openid: bool = False
    """Whether the document came from an address of OpenID Connect, or says that it is one."""


def resource_metadata_urls(url: str, named: str | None) -> list[str]:
    """Return where the metadata of the server at ``url`` may be, in order (RFC 9728, 3.1).

    The address that the challenge names is the only one. Raises UnusableUrl if that one cannot be used.
    """
    if named is not None:
        return [check_endpoint(named, allow_http=urlsplit(url).scheme in ("http", "ws"))]
    canonical = canonical_url(url)
    origin = origin_of(canonical)
    path = urlsplit(canonical).path.rstrip("/")
    return list(dict.fromkeys((f"{origin}{_RESOURCE}{path}", f"{origin}{_RESOURCE}")))


def read_resource_metadata(body: bytes, url: str) -> ResourceMetadata:
    """Read the metadata of the server at ``url``. Raises MetadataRefused."""
    document = _read_object(body)
    resource = document.get("resource")
    servers = document.get("authorization_servers")
    if not isinstance(resource, str) or not resource:
        raise MetadataRefused("it names no resource")
    if not isinstance(servers, list) or not servers or not all(isinstance(one, str) for one in servers):
        raise MetadataRefused("it names no authorization_servers")
    if not covers(resource, url):
        raise MetadataRefused(
            f"its resource is {resource[:200]!r}, which is not the server at {canonical_url(url)!r}", is_final=True
        )
    return ResourceMetadata(resource, tuple(servers), _scopes(document.get("scopes_supported")))


def server_metadata_urls(issuer: str) -> list[str]:
    """Return where an issuer's metadata may be, in order (MCP, "Authorization Server Metadata Discovery")."""
    parts = urlsplit(issuer)
    origin = f"{parts.scheme}://{parts.netloc}"
    path = parts.path.rstrip("/")
    if not path:
        return [f"{origin}{_SERVER}", f"{origin}{_OPENID}"]
    return [f"{origin}{_SERVER}{path}", f"{origin}{_OPENID}{path}", f"{origin}{path}{_OPENID}"]


def read_server_metadata(body: bytes, issuer: str, *, at: str, allow_http: bool = False) -> ServerMetadata:
    """Read an authorization server's metadata, which came from the address ``at``. Raises MetadataRefused.

    The issuer in it must be the one that was asked for, character by character (RFC 8414, 3.3).
    """
    document = _read_object(body)
    if document.get("issuer") != issuer:
        raise MetadataRefused(
            f"its issuer is {str(document.get('issuer'))[:200]!r}, expected {issuer!r}", is_final=True
        )
    if not isinstance(document.get("token_endpoint"), str):
        raise MetadataRefused("it names no token_endpoint")
    found: dict[str, Any] = {}
    for name in _ENDPOINTS:
        value = document.get(name)
        if value is None:
            continue
        try:
            found[name] = check_endpoint(str(value), allow_http=allow_http)
        except UnusableUrl as exc:
            raise MetadataRefused(f"its {name}: {exc}", is_final=True) from None
    return ServerMetadata(
        issuer=issuer,
        scopes_supported=_scopes(document.get("scopes_supported")),
        code_challenge_methods_supported=_strings(document.get("code_challenge_methods_supported")),
        token_endpoint_auth_methods_supported=_strings(document.get("token_endpoint_auth_methods_supported")),
        token_endpoint_auth_signing_alg_values_supported=_strings(
            document.get("token_endpoint_auth_signing_alg_values_supported")
        )
        or (),
        client_id_metadata_document_supported=document.get("client_id_metadata_document_supported") is True,
        authorization_response_iss_parameter_supported=(
            document.get("authorization_response_iss_parameter_supported") is True
        ),
        is_openid=_OPENID in at
        or "userinfo_endpoint" in document
        or "id_token_signing_alg_values_supported" in document,
        **found,
    )


def legacy_metadata(issuer: str) -> ServerMetadata:
    """Return the addresses that revision 2025-03-26 assumes where no metadata exists."""
    return ServerMetadata(
        issuer=issuer,
        authorization_endpoint=f"{issuer}/authorize",
        token_endpoint=f"{issuer}/token",
        registration_endpoint=f"{issuer}/register",
        code_challenge_methods_supported=("S256",),
    )


def check_pkce(metadata: ServerMetadata) -> None:
    """Refuse an authorization server that does not say that it checks PKCE with S256. Raises MetadataRefused."""
    methods = metadata.code_challenge_methods_supported
    if methods is not None and "S256" in methods:
        return
    seen = "no code_challenge_methods_supported" if methods is None else f"only {', '.join(methods)[:100] or 'none'}"
    raise MetadataRefused(
        f"{metadata.issuer}: its metadata has {seen}, expected S256. "
        "If it does check PKCE, as Entra ID and Cognito do, use --oauth-assume-pkce",
        is_final=True,
    )


def _read_object(body: bytes) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise MetadataRefused("it is not JSON") from None
    if not isinstance(document, dict):
        raise MetadataRefused("it is not a JSON object")
    return document


def _strings(value: object) -> tuple[str, ...] | None:
    if not isinstance(value, list):
        return None
    return tuple(one for one in value if isinstance(one, str))


def _scopes(value: object) -> tuple[str, ...]:
    return split_scope(" ".join(_strings(value) or ()))
