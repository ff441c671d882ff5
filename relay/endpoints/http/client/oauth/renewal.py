"""Renew a login after a refusal: a refresh, else a login. One renewal at a time serves all who wait.

A renewal runs in a task of its own. A client that cancels its request does not close the window in which a person is
about to log in.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import ssl
import time
from collections.abc import Callable, Mapping
from typing import Protocol

from relay.auth.outbound.credentials import LoginFailed, Refusal
from relay.auth.outbound.oauth.challenge import BearerChallenge, bearer_challenge
from relay.auth.outbound.oauth.options import CLIENT, OAuthOptions
from relay.auth.outbound.oauth.records import Tokens
from relay.auth.outbound.oauth.scopes import missing_from
from relay.auth.outbound.oauth.tokens import TokenDenied
from relay.endpoints.core.tasks import TaskScope
from relay.endpoints.http.client.oauth.account import Account
from relay.endpoints.http.client.oauth.login import Demand, log_in
from relay.endpoints.http.client.oauth.machine import log_in_as_client
from relay.endpoints.http.client.oauth.refresh import RefreshRefused, refresh
from relay.endpoints.http.client.oauth.stores import open_store
from relay.endpoints.http.client.oauth.web import AuthorizationWeb
from relay.errors import RelayError

__all__ = ["Holder", "Renewal"]

logger = logging.getLogger("relay")

_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0  # seconds between two tries of a refresh that could not be asked for
_REMEMBERED = 300.0  # seconds for which the relay does not ask a person again in vain
_MOST_LOGINS = 2  # logins in that time whose token the server has refused
_MOST_STEPS = 2  # requests for more scopes for one operation in that time
_LAST_SECONDS = 5.0  # that the end of the program waits for a refresh


class Holder(Protocol):
    """What holds the login: ``OAuthCredentials``."""

    url: str
    options: OAuthOptions
    tokens: Tokens | None

    def current(self) -> Mapping[str, str] | None:
        """Return the headers to send now."""

    def adopt(self, tokens: Tokens | None) -> None:
        """Use these tokens from now on."""

    def use_until(self, end: float) -> None:
        """Ask for a renewal from this Unix time on."""


class _PersonNeeded(Exception):
    """Only a person can log in, and no request waits that may ask one."""


class _Work:
    """One renewal and its outcome."""

    def __init__(self) -> None:
        self.is_done = asyncio.Event()
        self.has_ended = False
        """Whether it came to its end, and was not cancelled to make room for another."""
        self.failure: LoginFailed | None = None
        self.needs_person = False
        self.asks_person = False
        self.is_given_up = False
        self.task: asyncio.Task[None] | None = None


class Renewal:
    """The renewals of one login."""

    def __init__(self, holder: Holder, ssl_context: ssl.SSLContext | None, tell: Callable[[str], None] | None) -> None:
        """Renew the login that ``holder`` holds."""
        options = holder.options
        self._holder = holder
        store = open_store(options.token_store, options.store_dir)
        web = AuthorizationWeb(ssl_context, server=None if options.allow_private else holder.url)
        shown = {} if tell is None else {"tell": tell}
        self._account = Account(holder.url, options, store, web, **shown)
        self._tasks = TaskScope()
        self._work: _Work | None = None
        self._logins: list[float] = []
        self._steps: dict[tuple[str, str], list[float]] = {}
        self._pause = _FIRST_PAUSE
        self._paused_until = 0.0
        self._pause_fault = ""
        self._is_closed = False

    async def renew(self, refusal: Refusal | None) -> None:
        """Wait until there are other headers than the refused ones. Raises LoginFailed."""
        is_background = refusal is not None and refusal.is_background
        while self._is_needed(refusal):
            work = self._work
            is_new = work is None or work.is_given_up
            if work is None or work.is_given_up:
                work = self._start(refusal)
            if is_background and work.asks_person:
                return
            await self._wait(work)
            if work.failure is not None:
                raise LoginFailed(str(work.failure))
            if work.has_ended and (is_new or not work.needs_person):
                return

    def _is_needed(self, refusal: Refusal | None) -> bool:
        """Tell whether the headers are still those that the server has refused."""
        current = self._holder.current()
        return current is None or (refusal is not None and current == refusal.sent)

    def _start(self, refusal: Refusal | None) -> _Work:
        """Begin a renewal. One that nobody waits for any more, because it took too long, makes room for it."""
        if self._is_closed:
            raise self._account.failed("the relay is shutting down")
        before, work = self._work, _Work()
        self._work = work
        work.task = self._tasks.spawn(self._run(work, before, refusal), name=f"{self._account.name}: login")
        work.task.add_done_callback(lambda _: self._ended(work))
        return work

    def _ended(self, work: _Work) -> None:
        if self._work is work:
            self._work = None
        work.is_done.set()

    async def _run(self, work: _Work, before: _Work | None, refusal: Refusal | None) -> None:
        try:
            if before is not None and before.task is not None:
                before.task.cancel()
                await before.is_done.wait()
            await self._renew(work, refusal, reopens=before is not None)
        except _PersonNeeded:
            work.needs_person = True
        except LoginFailed as exc:
            work.failure = exc
        except RelayError as exc:
            work.failure = self._account.failed(f"cannot log in: {exc}")
        except OSError as exc:  # the store's: what comes from the network is a RelayError
            work.failure = self._account.failed(
                f"the login cannot be kept: {exc}; see --token-store and MCP_RELAY_AUTH_DIR"
            )
        except Exception as exc:  # a bug of ours: those who wait get an answer all the same
            logger.error("%s: unexpected %s", self._account.name, type(exc).__name__, exc_info=exc)
            work.failure = self._account.failed(f"cannot log in: unexpected {type(exc).__name__}; the log has more")
        work.has_ended = True

    async def _wait(self, work: _Work) -> None:
        seconds = self._account.options.auth_timeout
        try:
            async with asyncio.timeout(seconds):
                await work.is_done.wait()
        except TimeoutError:
            if work.is_done.is_set():
                return
            work.is_given_up = True
            raise self._too_late(seconds) from None

    def _too_late(self, seconds: float) -> LoginFailed:
        window = None
        with contextlib.suppress(RelayError, OSError):
            window = self._account.store.window(self._account.url, self._account.options.profile)
        where = "" if window is None else f". Open {window.shown_url} and try again"
        return self._account.failed(f"a login is needed, and nobody has logged in for {seconds:g} s{where}")

    # One renewal.

    async def _renew(self, work: _Work, refusal: Refusal | None, *, reopens: bool) -> None:
        tokens = self._holder.tokens
        if self._account.options.grant == CLIENT:
            self._holder.adopt(await self._as_client(tokens, refusal))
            return
        if await self._refreshed(tokens, refusal):
            return
        if refusal is not None and refusal.is_background:
            raise _PersonNeeded
        work.asks_person = True
        self._holder.adopt(await self._by_person(tokens, refusal, reopens=reopens))

    async def _as_client(self, tokens: Tokens | None, refusal: Refusal | None) -> Tokens:
        challenge = _challenge(refusal)
        if refusal is not None and refusal.status == 403:
            self._check_step(refusal, challenge, tokens)
        before = None if tokens is None else tokens.requested_scope
        return await log_in_as_client(self._account, challenge, before)

    async def _refreshed(self, tokens: Tokens | None, refusal: Refusal | None) -> bool:
        """Refresh the login, or take it over from another process; return whether there is another one now."""
        is_missing_scope = refusal is not None and refusal.status == 403
        kept = self._account.tokens()
        if is_missing_scope or kept is None or not self._account.is_usable(kept):
            return False
        refused = None if tokens is None or refusal is None else tokens.access_token
        is_refreshed_in_vain = (
            refusal is not None and refusal.renewals > 0 and tokens is not None and tokens.is_refreshed
        )
        if is_refreshed_in_vain and kept.access_token == refused:
            return False
        if time.monotonic() < self._paused_until:
            raise self._account.failed(self._pause_fault)
        try:
            self._holder.adopt(await refresh(self._account, refused))
        except RefreshRefused:
            return False
        except TokenDenied as exc:
            self._postpone(str(exc))
            if refused is not None or tokens is None or tokens.expires_at is None or time.time() >= tokens.expires_at:
                raise self._account.failed(self._pause_fault) from exc
            self._holder.use_until(min(tokens.expires_at, time.time() + self._pause))
            return True
        self._pause = _FIRST_PAUSE
        return True

    def _postpone(self, fault: str) -> None:
        """Note that a refresh could not be asked for. The login stays, and so does a token that is still good."""
        self._paused_until = time.monotonic() + self._pause * random.uniform(0.8, 1.2)
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)
        self._pause_fault = f"the login cannot be refreshed now: {fault}; the relay tries again by itself"

    async def _by_person(self, tokens: Tokens | None, refusal: Refusal | None, *, reopens: bool) -> Tokens:
        challenge = _challenge(refusal)
        steps_up = refusal is not None and refusal.status == 403
        now = time.monotonic()
        if steps_up and refusal is not None:
            self._check_step(refusal, challenge, tokens)
        else:
            self._logins = [one for one in self._logins if now - one < _REMEMBERED]
            if len(self._logins) >= _MOST_LOGINS:
                raise self._account.failed(
                    f"the server has refused the tokens of {_MOST_LOGINS} logins; "
                    f"look at it with: mcp-relay auth login {self._account.url}"
                )
        refused = None if tokens is None else tokens.access_token
        demand = Demand(refused=refused, challenge=challenge, steps_up=steps_up, reopens=reopens)
        found = await log_in(self._account, demand)
        if not steps_up:
            self._logins.append(now)
        return found

    def _check_step(self, refusal: Refusal, challenge: BearerChallenge, tokens: Tokens | None) -> None:
        """Refuse a request for scopes that would bring nothing. Raises LoginFailed."""
        now, operation = time.monotonic(), (refusal.method, refusal.name)
        asked = "" if tokens is None else f"{tokens.requested_scope or ''} {tokens.scope or ''}"
        missing = missing_from(asked, challenge.scope)
        if not missing:
            raise self._account.failed(
                f"the server wants the scope {challenge.scope or '(it names none)'!r}, for which the login has asked "
                "already: this account may not have it"
            )
        steps = [one for one in self._steps.get(operation, []) if now - one < _REMEMBERED]
        if len(steps) >= _MOST_STEPS:
            raise self._account.failed(f"the server wants more and more scopes for this request: {' '.join(missing)}")
        if len(self._steps) >= 1024:
            self._steps.clear()
        self._steps[operation] = [*steps, now]

    async def aclose(self) -> None:
        """End a login. A refresh gets a moment to finish: its new token would be lost."""
        self._is_closed = True
        work = self._work
        if work is not None and not work.asks_person:
            await asyncio.wait((work.task,) if work.task is not None else (), timeout=_LAST_SECONDS)
        await self._tasks.aclose()


def _challenge(refusal: Refusal | None) -> BearerChallenge:
    return (bearer_challenge(refusal.challenges) if refusal is not None else None) or BearerChallenge()
