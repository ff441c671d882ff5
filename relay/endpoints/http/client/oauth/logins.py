"""One login by OAuth for each server that the relay dials, loaded when a server first asks for it.

A relay whose servers ask for no login, on a machine that keeps none, imports nothing of OAuth but this.
"""

from __future__ import annotations

import contextlib
import ssl
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from relay.auth.outbound.credentials import Credentials, LoginFailed, Refusal
from relay.auth.outbound.oauth.urls import UnusableUrl
from relay.auth.outbound.tries import ServerLogin
from relay.endpoints.http.client.oauth.directory import store_directory
from relay.limits import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from relay.endpoints.http.client.oauth.accounts import ServerNeeds
    from relay.endpoints.http.client.oauth.credentials import OAuthCredentials

__all__ = ["OAuthLogins"]

_NONE: Mapping[str, str] = {}
_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}


class OAuthLogins:
    """The logins of all servers, with the operator's options for them."""

    is_for_all = True

    def __init__(
        self,
        given: Mapping[str, Any],
        *,
        ssl_context: ssl.SSLContext | None = None,
        limits: Limits = DEFAULT_LIMITS,
        may_ask: bool = True,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        """Log in with the fields ``given`` of ``OAuthOptions``. The other parameters are those of ``OAuthCredentials``.

        ``may_ask``: whether a person may be asked. Raises ConfigError.
        """
        self._given = given
        self._ssl = ssl_context
        self._limits = limits
        self._may_ask = may_ask
        self._tell = tell
        self._logins: dict[tuple[str, str | None, int | None, str], tuple[ServerLogin, _Dormant]] = {}
        if given:
            from relay.auth.outbound.oauth.options import OAuthOptions, check_options

            check_options(OAuthOptions(**given))

    def for_url(self, url: str) -> ServerLogin | None:
        """Return the login for the server at ``url``, the same one for every connection; None for user:password@."""
        parts = urlsplit(url)
        if parts.username is not None:
            return None
        scheme = parts.scheme.lower()
        key = scheme, parts.hostname, parts.port or _PORTS.get(scheme), f"{parts.path}?{parts.query}"
        if key not in self._logins:
            credentials = _Dormant(url, self._given, self._ssl, self._tell)
            login = ServerLogin(credentials, url, limits=self._limits, may_ask=self._may_ask)
            self._logins[key] = login, credentials
        return self._logins[key][0]

    async def needs_of(self, url: str) -> ServerNeeds | None:
        """Return which login the server at ``url`` wants; None if it cannot be asked. Raises LoginFailed, UnusableUrl.

        The relay asks the server for its challenge, and then for the metadata that the challenge names.
        """
        from relay.auth.outbound.oauth.options import OAuthOptions
        from relay.endpoints.http.client.oauth.accounts import describe_needs, open_account
        from relay.endpoints.http.client.oauth.web import ServerUnreachable

        account = open_account(url, OAuthOptions(**self._given), ssl_context=self._ssl)
        try:
            return await describe_needs(account, await account.web.challenges(account.url))
        except ServerUnreachable:
            return None

    async def aclose(self) -> None:
        """End logins that are under way."""
        for _, credentials in self._logins.values():
            await credentials.aclose()


class _Dormant(Credentials):
    """Credentials that are made when the server refuses a request, or at once if the machine keeps logins."""

    def __init__(
        self,
        url: str,
        given: Mapping[str, Any],
        ssl_context: ssl.SSLContext | None,
        tell: Callable[[str], None] | None,
    ) -> None:
        self._url = url
        self._given = given
        self._ssl = ssl_context
        self._tell = tell
        self._made: OAuthCredentials | None = None
        if given or store_directory(given.get("store_dir")).is_dir():
            with contextlib.suppress(UnusableUrl):  # a login says so, if one is needed
                self._wake()

    def _wake(self) -> OAuthCredentials:
        if self._made is None:
            from relay.auth.outbound.oauth.options import OAuthOptions
            from relay.endpoints.http.client.oauth.credentials import OAuthCredentials

            options = OAuthOptions(**self._given)
            self._made = OAuthCredentials(self._url, options, ssl_context=self._ssl, tell=self._tell)
        return self._made

    def current(self) -> Mapping[str, str] | None:
        return _NONE if self._made is None else self._made.current()

    async def renew(self, refusal: Refusal | None) -> None:
        try:
            made = self._wake()
        except UnusableUrl as exc:
            raise LoginFailed(f"cannot log in: {exc}") from exc
        await made.renew(refusal)

    @property
    def secrets(self) -> tuple[str, ...]:
        return () if self._made is None else self._made.secrets

    def covers(self, url: str) -> bool:
        return self._made is None or self._made.covers(url)

    async def aclose(self) -> None:
        if self._made is not None:
            await self._made.aclose()
