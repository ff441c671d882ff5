"""What the commands do with logins: log in, list, log out, import, and describe what a server wants.

``mcp-relay auth login|status|logout|import`` and ``mcp-relay test`` call these functions.
"""

from __future__ import annotations

import dataclasses
import os
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import msgspec

from relay.auth.outbound.oauth.challenge import BearerChallenge, bearer_challenge
from relay.auth.outbound.oauth.options import CLIENT, OAuthOptions
from relay.auth.outbound.oauth.records import REGISTERED, Client, ServerEntry, Tokens
from relay.auth.outbound.oauth.tokens import TokenDenied, revocation_form
from relay.auth.outbound.oauth.urls import canonical_url
from relay.endpoints.http.client.oauth.account import Account
from relay.endpoints.http.client.oauth.login import Demand, log_in
from relay.endpoints.http.client.oauth.machine import log_in_as_client
from relay.endpoints.http.client.oauth.search import find_server
from relay.endpoints.http.client.oauth.store import Store
from relay.endpoints.http.client.oauth.stores import open_store
from relay.endpoints.http.client.oauth.web import AuthorizationWeb, ServerUnreachable
from relay.errors import ConfigError

__all__ = [
    "LoginStatus",
    "LogoutReport",
    "ServerNeeds",
    "describe_needs",
    "import_from_mcp_remote",
    "list_logins",
    "log_in_now",
    "log_out",
    "open_account",
]

_LOCK_SECONDS = 60.0


class LoginStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One login, without secrets."""

    url: str
    profile: str
    """The account; "" for the only one."""
    issuer: str
    client_id: str
    scope: str | None
    expires_at: float | None
    """Unix time at which the access token expires; None: unknown."""
    is_refreshable: bool
    """Whether the relay renews it without a person."""
    kept_in: str
    """``file``, ``keyring`` or ``memory``."""
    directory: str


class LogoutReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a logout did."""

    was_logged_in: bool
    is_revoked: bool = False
    why_not: str = ""
    """Why the authorization server did not revoke the tokens, which are deleted here in any case."""


class ServerNeeds(msgspec.Struct, frozen=True, kw_only=True):
    """What a server that refuses a request says of the login that it wants."""

    issuer: str
    resource: str
    scopes: tuple[str, ...]
    registers_clients: bool
    accepts_documents: bool
    has_device_flow: bool


def open_account(
    url: str,
    options: OAuthOptions,
    *,
    ssl_context: ssl.SSLContext | None = None,
    tell: Callable[[str], None] | None = None,
) -> Account:
    """Return the account of ``options`` at the server of ``url``. Raises UnusableUrl and ConfigError."""
    canonical = canonical_url(url)
    web = AuthorizationWeb(ssl_context, server=None if options.allow_private else canonical)
    store = open_store(options.token_store, options.store_dir)
    return Account(canonical, options, store, web, **({} if tell is None else {"tell": tell}))


async def log_in_now(account: Account, *, paste: Callable[[], Awaitable[str]] | None = None) -> LoginStatus:
    """Let a person log in, also if there is a login already. ``paste`` returns what the person pastes.

    Raises LoginFailed.
    """
    challenge = await _challenge_of(account)
    if account.options.grant == CLIENT:
        return _status(account.store, account.entry, await log_in_as_client(account, challenge))
    before = account.tokens()
    refused = None if before is None else before.access_token
    tokens = await log_in(account, Demand(refused=refused, challenge=challenge, reopens=True, paste=paste))
    return _status(account.store, account.entry, tokens)


async def _challenge_of(account: Account) -> BearerChallenge:
    """Ask the server for its challenge: it names the metadata and the scope."""
    try:
        lines = await account.web.challenges(account.url)
    except ServerUnreachable as exc:
        raise account.failed(f"cannot log in: {exc}") from exc
    return bearer_challenge(lines) or BearerChallenge()


def _status(store: Store, entry: ServerEntry, tokens: Tokens) -> LoginStatus:
    return LoginStatus(
        url=entry.url,
        profile=entry.profile,
        issuer=tokens.issuer,
        client_id=tokens.client.client_id,
        scope=tokens.scope,
        expires_at=tokens.expires_at,
        is_refreshable=tokens.is_refreshable,
        kept_in=entry.kept_in,
        directory=str(store.directory),
    )


def list_logins(store: Store) -> list[LoginStatus]:
    """Return all logins of a store, by server and account. Raises PrivateFileRefused."""
    found = [(entry, store.tokens_of(entry)) for entry in store.entries()]
    logins = [_status(store, entry, tokens) for entry, tokens in found if tokens is not None]
    return sorted(logins, key=lambda one: (one.url, one.profile))


async def log_out(account: Account) -> LogoutReport:
    """Revoke a login at its authorization server (RFC 7009), and delete it here in any case."""
    entry = account.entry
    tokens = await account.store.load_tokens(entry)
    if tokens is None:
        account.store.delete_entry(entry)
        return LogoutReport(was_logged_in=False)
    async with account.store.lock(tokens.key, _LOCK_SECONDS):
        tokens = await account.store.load_tokens(entry) or tokens
        why_not = await _revoke(account, tokens)
        await account.store.delete_tokens(tokens)
        account.store.delete_window(account.url, account.options.profile)
        account.store.delete_entry(entry)
    return LogoutReport(was_logged_in=True, is_revoked=not why_not, why_not=why_not)


async def _revoke(account: Account, tokens: Tokens) -> str:
    """Revoke the refresh token, then the access token; return why that failed, or ""."""
    if tokens.revocation_endpoint is None:
        return f"{tokens.issuer} offers no revocation"
    why_not = ""
    for token, hint in ((tokens.refresh_token, "refresh_token"), (tokens.access_token, "access_token")):
        if token is None:
            continue
        form = revocation_form(token, hint)
        try:
            status, _, _ = await account.post_as(tokens.revocation_endpoint, form, tokens.client, tokens.issuer)
        except TokenDenied as exc:
            why_not = str(exc)
        else:
            why_not = why_not if status == 200 else f"HTTP {status} from {tokens.revocation_endpoint}"
    return why_not


async def describe_needs(account: Account, challenges: Sequence[str]) -> ServerNeeds:
    """Find out which login a server wants that has sent ``challenges`` with a 401. Raises LoginFailed."""
    challenge = bearer_challenge(challenges) or BearerChallenge()
    found = await find_server(account, challenge)
    metadata = found.metadata
    return ServerNeeds(
        issuer=metadata.issuer,
        resource=found.resource,
        scopes=tuple((challenge.scope or "").split()) or found.scopes_supported,
        registers_clients=metadata.registration_endpoint is not None,
        accepts_documents=metadata.client_id_metadata_document_supported,
        has_device_flow=metadata.device_authorization_endpoint is not None,
    )


# Logins of mcp-remote.


class _RemoteTokens(msgspec.Struct):
    access_token: str
    refresh_token: str | None = None
    scope: str | None = None
    requested_scope: str | None = None
    expires_at: float | None = None
    """Milliseconds."""
    issuer: str | None = None


class _RemoteClient(msgspec.Struct):
    client_id: str
    client_secret: str | None = None
    token_endpoint_auth_method: str | None = None
    issuer: str | None = None


async def import_from_mcp_remote(account: Account, url: str, directory: Path | None = None) -> LoginStatus:
    """Take over a login of mcp-remote for the server at ``url``, spelled as mcp-remote was given it.

    Only if mcp-remote has recorded the issuer of both the client and the tokens. The next refresh ends mcp-remote's
    copy at servers that rotate refresh tokens. Raises ConfigError and LoginFailed.
    """
    tokens, client, issuer = _read_remote(url, directory or _remote_directory())
    options = msgspec.structs.replace(account.options, issuer=issuer, assume_pkce=True)
    found = await find_server(dataclasses.replace(account, options=options), BearerChallenge())
    method = client.token_endpoint_auth_method or ("client_secret_basic" if client.client_secret else "none")
    made = Tokens(
        issuer=issuer,
        resource=found.resource,
        profile=account.options.profile,
        client=Client(
            client_id=client.client_id, client_secret=client.client_secret, auth_method=method, source=REGISTERED
        ),
        token_endpoint=found.metadata.token_endpoint,
        revocation_endpoint=found.metadata.revocation_endpoint,
        access_token=tokens.access_token,
        refresh_token=tokens.refresh_token,
        scope=tokens.scope,
        requested_scope=tokens.requested_scope,
        obtained_at=time.time(),
        expires_at=None if tokens.expires_at is None else tokens.expires_at / 1000,
        is_refreshable=tokens.refresh_token is not None,
    )
    async with account.store.lock(made.key, _LOCK_SECONDS):
        await account.store.save_tokens(account.url, made)
    return _status(account.store, account.entry, made)


def _remote_directory() -> Path:
    named = os.environ.get("MCP_REMOTE_CONFIG_DIR")
    return Path(named) if named else Path.home() / ".mcp-auth"


def _read_remote(url: str, directory: Path) -> tuple[_RemoteTokens, _RemoteClient, str]:
    import hashlib

    stem = hashlib.md5(url.encode(), usedforsecurity=False).hexdigest()  # mcp-remote's name for a server
    # Since its version 0.15 the folder no longer has the program's version in its name.
    folders = sorted(directory.glob("mcp-remote-*"), reverse=True)
    for folder in folders:
        tokens_file, client_file = folder / f"{stem}_tokens.json", folder / f"{stem}_client_info.json"
        if not tokens_file.is_file() or not client_file.is_file():
            continue
        try:
            tokens = msgspec.json.decode(tokens_file.read_bytes(), type=_RemoteTokens, strict=False)
            client = msgspec.json.decode(client_file.read_bytes(), type=_RemoteClient, strict=False)
        except (msgspec.MsgspecError, OSError) as exc:
            raise ConfigError(f"{folder}: the login of mcp-remote cannot be read: {exc}") from exc
        if tokens.issuer is None or tokens.issuer != client.issuer:
            raise ConfigError(
                f"{tokens_file}: mcp-remote has not recorded which authorization server issued this login, so the "
                f"relay does not use it; log in with: mcp-relay auth login {url}"
            )
        return tokens, client, tokens.issuer
    raise ConfigError(f"{directory} has no login of mcp-remote for {url}; write the URL as mcp-remote was given it")
