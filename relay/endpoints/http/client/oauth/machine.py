"""A login without a person: the client credentials grant (RFC 6749, 4.4), with a secret or a signed assertion."""

from __future__ import annotations

import time

import msgspec

from relay.auth.outbound.oauth.challenge import BearerChallenge
from relay.auth.outbound.oauth.records import Client, OpenWindow, Tokens
from relay.auth.outbound.oauth.registration import known_client
from relay.auth.outbound.oauth.scopes import first_scope, stepped_up
from relay.auth.outbound.oauth.tokens import TokenAnswer, TokenDenied, client_form, new_tokens
from relay.endpoints.http.client.oauth.account import Account
from relay.endpoints.http.client.oauth.search import Found, find_server

__all__ = ["log_in_as_client"]

_OTHER_PLACE = {"client_secret_basic": "client_secret_post", "client_secret_post": "client_secret_basic"}


async def log_in_as_client(account: Account, challenge: BearerChallenge, before: str | None = None) -> Tokens:
    """Get a token for the configured client. ``before``: scopes that it had already. Raises LoginFailed.

    The token stays in memory: the next one costs nobody anything.
    """
    options = account.options
    found = await find_server(account, challenge)
    client = known_client(options, found.metadata, "")
    assert client is not None, "client credentials have a client id"
    scope = first_scope(configured=options.scope, challenged=challenge.scope, supported=found.scopes_supported)
    scope = stepped_up(before, scope)
    try:
        answer, client = await _ask(account, found, client, scope)
    except TokenDenied as exc:
        raise account.failed(f"no token from {found.metadata.token_endpoint}: {exc}") from exc
    window = OpenWindow(
        url=account.url,
        profile=options.profile,
        issuer=found.metadata.issuer,
        resource=found.resource,
        client=client,
        token_endpoint=found.metadata.token_endpoint,
        scope=scope,
        created=0.0,
        shown_url="",
    )
    return msgspec.structs.replace(new_tokens(window, answer, time.time()), refresh_token=None, is_refreshable=False)


async def _ask(account: Account, found: Found, client: Client, scope: str | None) -> tuple[TokenAnswer, Client]:
    """Ask for a token, and once more with the secret in the other place: some servers accept only one."""
    metadata = found.metadata
    form = client_form(found.resource if account.options.sends_resource else None, scope)
    try:
        return await account.ask_for_token(metadata.token_endpoint, form, client, metadata.issuer), client
    except TokenDenied as exc:
        other = _OTHER_PLACE.get(client.auth_method)
        is_said = metadata.token_endpoint_auth_methods_supported is not None
        if not exc.is_client_unknown or other is None or is_said:
            raise
    client = msgspec.structs.replace(client, auth_method=other)
    return await account.ask_for_token(metadata.token_endpoint, form, client, metadata.issuer), client
