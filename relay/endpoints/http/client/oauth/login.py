"""A login by a person: one window, however many processes want the login.

The process that holds the lock opens the window and waits for the callback. The others wait for the lock, and then find
the login in the store. State, verifier and port are on the disk before the browser opens. If the process dies, the next
one that gets the lock listens on the same port for the same response.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from socket import socket
from urllib.parse import urlsplit

import msgspec

from relay.auth.origin import is_loopback
from relay.auth.outbound.oauth.authorization import (
    AuthorizationRefused,
    ResponseIgnored,
    authorization_url,
    new_state,
    new_verifier,
    stable_port,
)
from relay.auth.outbound.oauth.challenge import BearerChallenge
from relay.auth.outbound.oauth.options import DEVICE
from relay.auth.outbound.oauth.records import ATTEMPT_SECONDS, REGISTERED, Client, OpenWindow, Tokens
from relay.auth.outbound.oauth.registration import RegistrationRefused, other_loopback
from relay.auth.outbound.oauth.scopes import OFFLINE, first_scope, missing_from, stepped_up, with_offline
from relay.auth.outbound.oauth.tokens import TokenDenied, code_form, new_tokens
from relay.auth.outbound.oauth.urls import UnusableUrl
from relay.endpoints.core.tasks import TaskScope
from relay.endpoints.http.client.oauth.account import Account
from relay.endpoints.http.client.oauth.browser import has_browser, open_browser
from relay.endpoints.http.client.oauth.callback import CallbackListener, PortBusy, bind_callback
from relay.endpoints.http.client.oauth.device import ask_for_code, poll
from relay.endpoints.http.client.oauth.search import Found, client_at, find_server
from relay.endpoints.http.client.oauth.store import LockBusy

__all__ = ["Demand", "log_in"]

_PATH = "/oauth/callback"
_PORTS_TRIED = 8
_QUIET_SECONDS = 2.0  # that a process waits for another's login before it says so


@dataclass(frozen=True, slots=True)
class Demand:
    """What a login must bring."""

    refused: str | None = None
    """The access token that the server refused; a login with another one is already what is wanted."""
    challenge: BearerChallenge = BearerChallenge()
    steps_up: bool = False
    """Whether the challenge's scope is missing in the login of now."""
    reopens: bool = False
    """Whether to show a window that is open already: its person may have closed it."""
    paste: Callable[[], Awaitable[str]] | None = None
    """Returns the URL that a person copied from a browser on another machine; called again if it is a wrong one."""


class _ClientForgotten(Exception):
    """The authorization server no longer knows the relay's registration, which has been deleted."""


async def log_in(account: Account, demand: Demand) -> Tokens:
    """Let a person log in, unless another process has done so meanwhile. Raises LoginFailed."""
    try:
        async with _only_window(account):
            kept = await _login_of_another(account, demand)
            if kept is not None:
                return kept
            try:
                return await _attempt(account, demand)
            except _ClientForgotten:
                return await _attempt(account, demand)
    except LockBusy:
        raise account.failed("another process waits for a login for too long") from None
    except _ClientForgotten:
        raise account.failed("the authorization server does not know the client that it has just registered") from None


@contextlib.asynccontextmanager
async def _only_window(account: Account) -> AsyncIterator[None]:
    """Hold the lock of the window; if another process holds it, show its window's address and wait."""
    async with contextlib.AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(account.store.lock(account.lock_name, _QUIET_SECONDS))
        except LockBusy:
            window = account.store.window(account.url, account.options.profile)
            where = "" if window is None else f": {window.shown_url}"
            account.tell(f"{account.name}: another process waits for the same login{where}")
            await stack.enter_async_context(account.store.lock(account.lock_name, ATTEMPT_SECONDS))
        yield


async def _login_of_another(account: Account, demand: Demand) -> Tokens | None:
    tokens = await account.store.load_tokens(account.entry)
    if tokens is None or tokens.access_token == demand.refused or not account.is_usable(tokens):
        return None
    is_enough = not demand.steps_up or not missing_from(tokens.requested_scope, demand.challenge.scope)
    is_fresh = tokens.expires_at is None or time.time() < tokens.expires_at
    return tokens if is_enough and is_fresh else None


async def _attempt(account: Account, demand: Demand) -> Tokens:
    try:
        window, sockets = _resumed(account, demand) or await _opened(account, demand)
        if window.device_code:
            return await _finish(account, window, await poll(account, window))
        return await _by_browser(account, demand, window, sockets)
    except AuthorizationRefused as exc:
        account.store.delete_window(account.url, account.options.profile)
        raise account.failed(f"the login was refused: {exc}") from exc
    except RegistrationRefused as exc:
        raise account.failed(f"the authorization server does not register the relay: {exc}; see --client-id") from exc
    except TokenDenied as exc:
        account.store.delete_window(account.url, account.options.profile)
        raise account.failed(f"no token: {exc}") from exc
    except UnusableUrl as exc:
        raise account.failed(f"cannot log in: {exc}") from exc


# The window: that of another process, or a new one.


def _resumed(account: Account, demand: Demand) -> tuple[OpenWindow, list[socket]] | None:
    """Return the open window that a process left behind, with its port bound; None if there is none to go on with."""
    options = account.options
    window = account.store.window(account.url, options.profile)
    if window is None:
        return None
    is_ours = options.client_id in (None, window.client.client_id) and options.issuer in (None, window.issuer)
    is_enough = not missing_from(window.scope, demand.challenge.scope) or not demand.steps_up
    if time.time() < window.until and is_ours and is_enough:
        if window.device_code:
            return window, []
        with contextlib.suppress(PortBusy):
            return window, _bind_redirect(window.redirect_uri)
    account.store.delete_window(account.url, options.profile)
    return None


async def _opened(account: Account, demand: Demand) -> tuple[OpenWindow, list[socket]]:
    found = await find_server(account, demand.challenge)
    scope = _scope(account, demand, found)
    if _uses_device(account, found):
        return await ask_for_code(account, found, scope), []
    if found.metadata.authorization_endpoint is None:
        raise account.failed(f"cannot log in: the metadata of {found.metadata.issuer} has no authorization_endpoint")
    client, sockets, is_new = await _client_and_port(account, found)
    try:
        window = _new_window(account, found, client, scope)
        account.store.save_window(msgspec.structs.replace(window, is_new_client=is_new))
    except BaseException:
        _close(sockets)
        raise
    return window, sockets


def _uses_device(account: Account, found: Found) -> bool:
    options = account.options
    has_endpoint = found.metadata.device_authorization_endpoint is not None
    if options.grant == DEVICE:
        if not has_endpoint:
            raise account.failed(f"{found.metadata.issuer} has no device flow; log in without --device-code")
        return True
    return has_endpoint and options.opens_browser and not has_browser()


def _scope(account: Account, demand: Demand, found: Found) -> str | None:
    """Return the scope to ask for: what the challenge wants, and what an earlier login there had asked for."""
    options = account.options
    scope = first_scope(configured=options.scope, challenged=demand.challenge.scope, supported=found.scopes_supported)
    before = account.tokens()
    if before is not None and before.issuer == found.metadata.issuer and (demand.steps_up or options.scope is None):
        scope = stepped_up(before.requested_scope or before.scope, scope)
    if demand.steps_up:
        scope = stepped_up(scope, demand.challenge.scope)
    return with_offline(scope, found.metadata.scopes_supported)


async def _client_and_port(account: Account, found: Found) -> tuple[Client, list[socket], bool]:
    """Return a client whose redirect URI has a port that is ours already: a port that moved is registered first."""
    try:
        return await _client_on(account, found, account.options.callback_host)
    except RegistrationRefused as exc:
        other = other_loopback(account.options.callback_host)
        if not exc.is_about_redirect or other is None or account.options.redirect_uri is not None:
            raise
        return await _client_on(account, found, other)


async def _client_on(account: Account, found: Found, host: str) -> tuple[Client, list[socket], bool]:
    sockets, redirect_uri = _bind(account, host)
    try:
        kept = await account.store.client(found.metadata.issuer, redirect_uri)
        client = await client_at(account, found.metadata, redirect_uri)
    except BaseException:
        _close(sockets)
        raise
    return client, sockets, client.source == REGISTERED and client != kept


def _bind(account: Account, host: str) -> tuple[list[socket], str]:
    options = account.options
    if options.redirect_uri is not None:
        return _bind_pinned(account, options.redirect_uri), options.redirect_uri
    is_known_there = options.client_id is not None or options.client_metadata_url is not None
    pinned = options.callback_port
    if pinned is None and is_known_there:
        pinned = stable_port(account.url, options.profile, 0)
    shown = f"[{host}]" if ":" in host else host
    if pinned is not None:
        redirect_uri = f"http://{shown}:{pinned}{_PATH}"
        return _bind_pinned(account, redirect_uri), redirect_uri
    sockets = _bind_any(account, host)
    return sockets, f"http://{shown}:{sockets[0].getsockname()[1]}{_PATH}"


def _bind_redirect(redirect_uri: str) -> list[socket]:
    """Bind the port of a redirect URI. No port if that is another machine's: then a person pastes the address."""
    redirect = urlsplit(redirect_uri)
    host = redirect.hostname or ""
    return bind_callback(host, redirect.port or 80) if is_loopback(host) else []


def _bind_any(account: Account, host: str) -> list[socket]:
    for attempt in range(_PORTS_TRIED):
        with contextlib.suppress(PortBusy):
            return bind_callback(host, stable_port(account.url, account.options.profile, attempt))
    return bind_callback(host, 0)


def _bind_pinned(account: Account, redirect_uri: str) -> list[socket]:
    try:
        return _bind_redirect(redirect_uri)
    except PortBusy as exc:
        raise account.failed(
            f"cannot log in: {exc}, and the authorization server knows the relay by this port; "
            "end the other program, or register another port and pass it with --callback-port"
        ) from None


def _close(sockets: list[socket]) -> None:
    for sock in sockets:
        sock.close()


def _new_window(account: Account, found: Found, client: Client, scope: str | None) -> OpenWindow:
    options, metadata, now = account.options, found.metadata, time.time()
    state, verifier = new_state(), new_verifier()
    shown_url = authorization_url(
        metadata.authorization_endpoint or "",
        client_id=client.client_id,
        redirect_uri=client.redirect_uri,
        state=state,
        verifier=verifier,
        resource=found.resource if options.sends_resource else None,
        scope=scope,
        # OpenID Connect Core, 11: offline_access is ignored unless the person is asked for consent.
        asks_consent=metadata.is_openid and OFFLINE in (scope or "").split(),
        extra=options.authorize_params,
    )
    return OpenWindow(
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
        shown_url=shown_url,
        redirect_uri=client.redirect_uri,
        state=state,
        verifier=verifier,
        is_iss_required=metadata.authorization_response_iss_parameter_supported,
        until=now + max(ATTEMPT_SECONDS, options.auth_timeout),
    )


# The response.


async def _by_browser(account: Account, demand: Demand, window: OpenWindow, sockets: list[socket]) -> Tokens:
    if not sockets and demand.paste is None:
        raise account.failed(
            f"a login is needed, and it leads to another machine ({window.redirect_uri}); "
            f"log in with: mcp-relay auth login --no-browser {account.url}"
        )
    async with CallbackListener(sockets, window) as listener:
        await _show(account, demand, window)
        try:
            async with asyncio.timeout(max(window.until - time.time(), 1.0)):
                code = await _code(account, demand, listener)
        except TimeoutError:
            await _give_up(account, window)
            raise account.failed("nobody has logged in; the next request opens a new window") from None
        # The code works once. A process that dies from here on leaves no window that could never end.
        account.store.delete_window(account.url, account.options.profile)
        return await _exchange(account, window, code)


async def _show(account: Account, demand: Demand, window: OpenWindow) -> None:
    options = account.options
    opens = options.opens_browser and has_browser() and (demand.reopens or not window.is_shown)
    account.tell(
        f"{account.name}: a login is needed. "
        f"{'If no browser opens, open' if opens else 'Open'} this address: {window.shown_url}"
    )
    if opens:
        with contextlib.suppress(OSError):  # the address has been shown
            await open_browser(window.shown_url, allow_http=options.allow_http)
    if not window.is_shown:
        account.store.save_window(msgspec.structs.replace(window, is_shown=True))


async def _code(account: Account, demand: Demand, listener: CallbackListener) -> str:
    paste = demand.paste
    if paste is None:
        return await listener.code()

    async def take_pasted() -> None:
        while True:
            with contextlib.suppress(ResponseIgnored):
                return listener.deliver(urlsplit((await paste()).strip()).query)
            account.tell("This is not the address to which this login leads; copy the whole address of the last page.")

    reading = TaskScope()
    try:
        reading.spawn(take_pasted(), name=f"{account.name}: pasted address")
        return await listener.code()
    finally:
        await reading.aclose()


async def _give_up(account: Account, window: OpenWindow) -> None:
    """Forget a window that led nowhere, and a registration that the authorization server may have lost."""
    account.store.delete_window(account.url, account.options.profile)
    if window.client.source == REGISTERED and not window.is_new_client:
        await account.store.delete_client(window.issuer, window.client)


async def _exchange(account: Account, window: OpenWindow, code: str) -> Tokens:
    try:
        answer = await account.ask_for_token(
            window.token_endpoint, code_form(window, code), window.client, window.issuer
        )
    except TokenDenied as exc:
        if exc.error in ("invalid_client", "unauthorized_client") and window.client.source == REGISTERED:
            await account.store.delete_client(window.issuer, window.client)
            if not window.is_new_client:
                raise _ClientForgotten from exc
        raise
    return await _finish(account, window, new_tokens(window, answer, time.time()))


async def _finish(account: Account, window: OpenWindow, tokens: Tokens) -> Tokens:
    account.store.delete_window(account.url, account.options.profile)
    async with account.store.lock(tokens.key, ATTEMPT_SECONDS):
        await account.store.save_tokens(account.url, tokens)
    account.tell(f"{account.name}: logged in at {window.issuer}")
    return tokens
