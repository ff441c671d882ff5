"""What a transport holds of a login by OAuth: the headers of now.

A relay that never meets a 401 loads nothing but this: at most two small files are read, and only if the store exists.
``renewal`` and all that it needs are imported with the first refusal.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from relay.addresses import shown_address
from relay.auth.outbound.credentials import Credentials, LoginFailed, Refusal
from relay.auth.outbound.oauth.options import CLIENT, OAuthOptions
from relay.auth.outbound.oauth.records import Tokens, is_wanted
from relay.auth.outbound.oauth.urls import canonical_url, covers
from relay.endpoints.http.client.oauth.files import PrivateFileRefused
from relay.endpoints.http.client.oauth.store import Store, store_directory

if TYPE_CHECKING:
    from relay.endpoints.http.client.oauth.renewal import Renewal

__all__ = ["OAuthCredentials"]

logger = logging.getLogger("relay")

_NONE: Mapping[str, str] = {}


class OAuthCredentials(Credentials):
    """The login to one server, for all connections to it. ``aclose`` ends a login that is under way."""

    def __init__(
        self,
        url: str,
        options: OAuthOptions | None = None,
        *,
        ssl_context: ssl.SSLContext | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        """Log in to the server at ``url``, once it refuses a request.

        ``ssl_context`` is for authorization servers; one that does not verify is not used. ``tell`` shows a person one
        line, such as the address to open; None: the log. Raises UnusableUrl.
        """
        self.url = canonical_url(url)
        self.options = OAuthOptions() if options is None else options
        self.tokens: Tokens | None = None
        self._ssl = ssl_context
        self._tell = tell
        self._headers = _NONE
        self._use_until = float("inf")
        self._renewal: Renewal | None = None
        self._is_closed = False
        if self.options.token_store != "memory" and self.options.grant != CLIENT:
            self._read_kept()

    def _read_kept(self) -> None:
        directory = store_directory(self.options.store_dir)
        if not directory.is_dir():
            return
        store = Store(directory)
        try:
            tokens = store.tokens_of(store.entry(self.url, self.options.profile))
        except (PrivateFileRefused, OSError) as exc:
            logger.warning("%s: the kept login is not used: %s", self.url, exc)
            return
        if tokens is not None and is_wanted(tokens, self.options):
            self.adopt(tokens)

    def adopt(self, tokens: Tokens | None) -> None:
        """Use these tokens from now on."""
        self.tokens = tokens
        self._headers = _NONE if tokens is None else {"Authorization": f"Bearer {tokens.access_token}"}
        self.use_until(float("inf") if tokens is None else self._end_of(tokens))

    def _end_of(self, tokens: Tokens) -> float:
        # Without a way to renew it silently, an old token is still the best to send: the answer says what is needed.
        is_renewed_silently = tokens.is_refreshable or self.options.grant == CLIENT
        return tokens.use_until if is_renewed_silently else float("inf")

    def use_until(self, end: float) -> None:
        """Ask for a renewal from this Unix time on."""
        self._use_until = end

    def current(self) -> Mapping[str, str] | None:
        """Return the headers to send now; None once the token has expired."""
        return self._headers if time.time() < self._use_until else None

    async def renew(self, refusal: Refusal | None) -> None:
        """Refresh the login, or let a person log in. Raises LoginFailed."""
        if self._is_closed:
            raise LoginFailed(f"{shown_address(self.url)}: the relay is shutting down")
        if self._renewal is None:
            from relay.endpoints.http.client.oauth.renewal import Renewal

            self._renewal = Renewal(self, self._ssl, self._tell)
        await self._renewal.renew(refusal)

    @property
    def secrets(self) -> tuple[str, ...]:
        """The tokens and the configured secrets."""
        return (*self.options.secrets, *(() if self.tokens is None else self.tokens.secrets))

    def covers(self, url: str) -> bool:
        """Tell whether the token is for ``url``, too: the resource's path is that of ``url`` or a parent of it."""
        return self.tokens is None or covers(self.tokens.resource, url)

    async def aclose(self) -> None:
        """End a login that is under way, and begin none; the next start of the program can complete it."""
        self._is_closed = True
        if self._renewal is not None:
            await asyncio.shield(self._renewal.aclose())
