"""Find a server's authorization server, and get the relay a client id there."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from relay.auth.outbound.oauth.challenge import BearerChallenge
from relay.auth.outbound.oauth.discovery import (
    MAX_METADATA,
    MetadataRefused,
    ResourceMetadata,
    ServerMetadata,
    check_pkce,
    legacy_metadata,
    read_resource_metadata,
    read_server_metadata,
    resource_metadata_urls,
    server_metadata_urls,
)
from relay.auth.outbound.oauth.options import BROWSER
from relay.auth.outbound.oauth.records import Client
from relay.auth.outbound.oauth.registration import (
    RegistrationRefused,
    known_client,
    read_registration,
    registration_request,
)
from relay.auth.outbound.oauth.urls import UnusableUrl, check_endpoint, origin_of
from relay.endpoints.http.client.oauth.account import Account
from relay.endpoints.http.client.oauth.web import ServerUnreachable

__all__ = ["DEVICE_REDIRECT", "Found", "client_at", "find_server"]

DEVICE_REDIRECT = "http://127.0.0.1/oauth/callback"
"""Registered where no callback is used: registrations must name one."""


@dataclass(frozen=True, slots=True)
class Found:
    """Where to log in to a server."""

    metadata: ServerMetadata
    resource: str
    scopes_supported: tuple[str, ...] = ()


async def find_server(account: Account, challenge: BearerChallenge) -> Found:
    """Find the authorization server that the server names, and check it. Raises LoginFailed."""
    try:
        found = _given(account) or await _discovered(account, challenge)
        if account.options.grant == BROWSER and not account.options.assume_pkce:
            check_pkce(found.metadata)
    except (MetadataRefused, UnusableUrl, ServerUnreachable) as exc:
        raise account.failed(f"cannot log in: {exc}") from exc
    return found


def _given(account: Account) -> Found | None:
    """Return the endpoints that the operator names; then no server is asked for metadata."""
    options = account.options
    if options.token_url is None:
        return None
    metadata = ServerMetadata(
        issuer=options.issuer or origin_of(options.token_url),
        authorization_endpoint=options.authorization_url,
        token_endpoint=options.token_url,
        code_challenge_methods_supported=("S256",),
    )
    return Found(metadata, options.resource or account.url)


async def _discovered(account: Account, challenge: BearerChallenge) -> Found:
    resource = await _resource(account, challenge.resource_metadata)
    if resource is None:
        return Found(await _without_resource_metadata(account), account.options.resource or account.url)
    issuer = _choose(account, resource)
    metadata = await _metadata(account, issuer)
    if metadata is None:
        raise MetadataRefused(f"{issuer} has no metadata at {', '.join(server_metadata_urls(issuer))}")
    return Found(metadata, account.options.resource or resource.resource, resource.scopes_supported)


async def _resource(account: Account, named: str | None) -> ResourceMetadata | None:
    """Return the server's metadata; None if it has none (then it speaks revision 2025-03-26, if any)."""
    urls = resource_metadata_urls(account.url, named)
    is_named = named is not None
    while urls:
        url = urls.pop(0)
        status, body = await account.web.get(url, limit=MAX_METADATA)
        if status >= 500:
            raise MetadataRefused(f"{url}: HTTP {status}")
        if status == 404 and is_named:
            is_named = False
            urls = [one for one in resource_metadata_urls(account.url, None) if one != url]
        if status != 200:
            if is_named:
                raise MetadataRefused(f"{url}: HTTP {status}; the server's challenge names this address")
            continue
        try:
            return read_resource_metadata(body, account.url)
        except MetadataRefused as exc:
            if exc.is_final or is_named or not urls:
                raise MetadataRefused(f"{url}: {exc}") from exc
    return None


def _choose(account: Account, resource: ResourceMetadata) -> str:
    """Return the authorization server to use: the operator's, else one with a login, else the first."""
    options, entry, servers = account.options, account.entry, resource.authorization_servers
    bound = options.issuer or (entry.pinned_issuer if options.pins_first_issuer else None)
    if bound is not None and bound not in servers:
        raise MetadataRefused(
            f"the server names the authorization server {servers[0][:200]!r}, "
            f"expected {bound!r}: the client id and its secret belong to that one"
        )
    chosen = bound or (entry.issuer if entry.issuer in servers and entry.issuer else servers[0])
    if options.pins_first_issuer and entry.pinned_issuer is None:
        account.store.save_entry(msgspec.structs.replace(entry, pinned_issuer=chosen))
    return chosen


async def _metadata(account: Account, issuer: str) -> ServerMetadata | None:
    """Return an issuer's metadata, or None if it has none. Raises MetadataRefused if no document can be used."""
    allow_http = account.options.allow_http
    check_endpoint(issuer, allow_http=allow_http)
    fault: MetadataRefused | None = None
    for url in server_metadata_urls(issuer):
        status, body = await account.web.get(url, limit=MAX_METADATA)
        if status >= 500:
            raise MetadataRefused(f"{url}: HTTP {status}")
        if status != 200:
            continue
        try:
            return read_server_metadata(body, issuer, at=url, allow_http=allow_http)
        except MetadataRefused as exc:
            fault = fault or MetadataRefused(f"{url}: {exc}")
            if exc.is_final:
                break
    if fault is not None:
        raise fault
    return None


async def _without_resource_metadata(account: Account) -> ServerMetadata:
    """Return the metadata at the server's own origin, as revision 2025-03-26 has it.

    A server that hides its metadata must not thereby get secrets that are meant for another (O-09).
    """
    options = account.options
    issuer = options.issuer or origin_of(account.url)
    if options.has_secret and options.issuer is None:
        raise MetadataRefused("the server has no metadata; the client secret needs --oauth-issuer")
    metadata = await _metadata(account, issuer)
    if metadata is None and options.legacy:
        metadata = legacy_metadata(issuer)
    if metadata is None:
        raise MetadataRefused(
            f"the server wants a login and says nowhere which: no metadata at "
            f"{', '.join(resource_metadata_urls(account.url, None))}. "
            "If it uses a fixed token, pass it with -H 'Authorization: Bearer …'"
        )
    return metadata


async def client_at(
    account: Account, metadata: ServerMetadata, redirect_uri: str, *, is_device: bool = False
) -> Client:
    """Return what the relay is at an authorization server; register it if need be (RFC 7591).

    Raises RegistrationRefused, and LoginFailed if there is no way to become a client.
    """
    known = known_client(account.options, metadata, redirect_uri)
    if known is not None:
        return known
    kept = await account.store.client(metadata.issuer, redirect_uri)
    if kept is not None and not _has_expired(kept):
        return kept
    if metadata.registration_endpoint is None:
        raise account.failed(
            f"{metadata.issuer} registers no clients by itself: register one there, with the redirect URI "
            f"{redirect_uri}, and pass --client-id"
        )
    client = await _register(account, metadata, redirect_uri, is_device=is_device)
    await account.store.save_client(metadata.issuer, client)
    return client


def _has_expired(client: Client) -> bool:
    import time

    return 0 < client.secret_expires_at <= time.time()


async def _register(account: Account, metadata: ServerMetadata, redirect_uri: str, *, is_device: bool) -> Client:
    from relay import __version__

    document = registration_request(
        metadata,
        redirect_uri,
        version=__version__,
        extra=account.options.client_metadata,
        is_device=is_device,
    )
    assert metadata.registration_endpoint is not None, "the caller looked"
    try:
        status, body = await account.web.post(
            metadata.registration_endpoint,
            {"Accept": "application/json", "Content-Type": "application/json"},
            msgspec.json.encode(document),
            limit=MAX_METADATA,
        )
    except ServerUnreachable as exc:
        raise RegistrationRefused(str(exc)) from exc
    return read_registration(status, body, metadata, redirect_uri)
