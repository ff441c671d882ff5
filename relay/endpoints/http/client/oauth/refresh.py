"""Refresh a login, once for all tasks and processes.

A refresh token works once at servers that rotate it, and a second use ends the whole login. So a refresh holds a lock,
looks first whether another process has refreshed already, and ends only when the new tokens are on the disk.
"""

from __future__ import annotations

import time

from relay.auth.outbound.oauth.records import REGISTERED, Tokens
from relay.auth.outbound.oauth.tokens import TokenDenied, refresh_form, refreshed
from relay.endpoints.http.client.oauth.account import Account
from relay.endpoints.http.client.oauth.store import LockBusy

__all__ = ["RefreshRefused", "refresh"]

_LOCK_SECONDS = 60.0  # a refresh of another process takes at most 30
_LOGIN_ENDED = ("invalid_grant", "invalid_client", "unauthorized_client")


class RefreshRefused(Exception):
    """There is no login to refresh, or the authorization server has ended it: a new login is needed."""


async def refresh(account: Account, refused: str | None) -> Tokens:
    """Return tokens other than ``refused``, or than those that expire (None).

    Raises RefreshRefused, and TokenDenied if nothing is wrong with the login but the server cannot be asked now.
    """
    before = account.tokens()
    if before is None:
        raise RefreshRefused
    try:
        async with account.store.lock(before.key, _LOCK_SECONDS):
            return await _refresh(account, refused)
    except LockBusy:
        raise TokenDenied("another process refreshes the login for too long", is_temporary=True) from None


async def _refresh(account: Account, refused: str | None) -> Tokens:
    tokens = await account.store.load_tokens(account.entry)
    if tokens is None or not account.is_usable(tokens):
        raise RefreshRefused
    is_new = time.time() < tokens.use_until if refused is None else tokens.access_token != refused
    if is_new:
        return tokens
    if tokens.refresh_token is None:
        raise RefreshRefused
    try:
        answer = await account.ask_for_token(tokens.token_endpoint, refresh_form(tokens), tokens.client, tokens.issuer)
    except TokenDenied as exc:
        if exc.is_temporary:
            raise
        if exc.error in _LOGIN_ENDED:
            await account.store.delete_tokens(tokens)
        if exc.error == "invalid_client" and tokens.client.source == REGISTERED:
            await account.store.delete_client(tokens.issuer, tokens.client)
        raise RefreshRefused from exc
    new = refreshed(tokens, answer, time.time())
    await account.store.save_tokens(account.url, new)
    return new
