"""A login by a person on another device: the relay shows a code, and asks until it was entered (RFC 8628)."""

from __future__ import annotations

import asyncio
import time

import msgspec

from relay.auth.outbound.oauth.records import OpenWindow, Tokens
from relay.auth.outbound.oauth.text import shown_text
from relay.auth.outbound.oauth.tokens import TokenDenied, device_form, new_tokens, read_answer
from relay.auth.outbound.oauth.urls import check_endpoint
from relay.endpoints.http.client.oauth.account import Account
from relay.endpoints.http.client.oauth.search import DEVICE_REDIRECT, Found, client_at

__all__ = ["ask_for_code", "poll"]

_SLOWER = 5.0  # seconds more between two polls after a slow_down (RFC 8628, 3.5)
_LONGEST = 1800.0  # seconds that a code is waited for


class _Answer(msgspec.Struct):
    device_code: str
    user_code: str
    verification_uri: str
    expires_in: float
    verification_uri_complete: str | None = None
    interval: float = 5.0


async def ask_for_code(account: Account, found: Found, scope: str | None) -> OpenWindow:
    """Get a code for the person. Raises TokenDenied, UnusableUrl and LoginFailed."""
    options, metadata = account.options, found.metadata
    client = await client_at(account, metadata, DEVICE_REDIRECT, is_device=True)
    form = {} if scope is None else {"scope": scope}
    if options.sends_resource:
        form["resource"] = found.resource
    endpoint = metadata.device_authorization_endpoint or ""
    form["client_id"] = client.client_id  # RFC 8628, 3.1, however the relay shows who it is
    status, body, secrets = await account.post_as(endpoint, form, client, metadata.issuer)
    try:
        answer = msgspec.json.decode(body, type=_Answer, strict=False)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        answer = None
    if status != 200 or answer is None:
        read_answer(status if status != 200 else 502, body, secrets=secrets)  # raises, with the server's words
        raise TokenDenied(f"HTTP {status}: the answer has no code for a person")
    address = check_endpoint(answer.verification_uri, allow_http=options.allow_http)
    complete = answer.verification_uri_complete
    if complete is not None:
        check_endpoint(complete, allow_http=options.allow_http)
    now = time.time()
    window = OpenWindow(
        url=account.url,
        profile=options.profile,
        issuer=metadata.issuer,
        resource=found.resource,
        sends_resource=options.sends_resource,
        client=client,
        token_endpoint=metadata.token_endpoint,
        revocation_endpoint=metadata.revocation_endpoint,
        scope=scope,
        created=now,
        shown_url=f"{address} (code {shown_text(answer.user_code)})" if complete is None else complete,
        device_code=answer.device_code,
        interval=max(answer.interval, 1.0),
        until=now + min(max(answer.expires_in, 1.0), _LONGEST),
    )
    account.store.save_window(window)
    account.tell(
        f"{account.name}: a login is needed. On any device open {address} and enter the code "
        f"{shown_text(answer.user_code)}"
    )
    return window


async def poll(account: Account, window: OpenWindow) -> Tokens:
    """Ask until the person has agreed. Raises TokenDenied."""
    interval = window.interval
    while time.time() < window.until:
        await asyncio.sleep(interval)
        try:
            answer = await account.ask_for_token(
                window.token_endpoint, device_form(window), window.client, window.issuer
            )
        except TokenDenied as exc:
            if exc.error == "slow_down":
                interval += _SLOWER
            elif exc.is_temporary:
                interval = min(interval * 2, 60.0)  # RFC 8628, 3.5: exponential backoff
            elif exc.error != "authorization_pending":
                raise
            continue
        return new_tokens(window, answer, time.time())
    raise TokenDenied("nobody has entered the code in time")
