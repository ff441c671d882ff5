"""Decide who a client is. One value serves all HTTP listeners of a relay."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from relay.auth.inbound.certificates import name_in_certificate
from relay.auth.inbound.failures import FailedLogins
from relay.auth.inbound.presented import presented_token
from relay.auth.inbound.token_sources import GivenTokens, TokenSources
from relay.auth.inbound.tokens import StaticTokens
from relay.auth.inbound.verdicts import Challenge, Pending, Principal, Verdict

if TYPE_CHECKING:
    from multidict import MultiMapping

    from relay.auth.inbound.metadata import ResourceMetadata

__all__ = ["InboundLogin", "IssuedTokens"]

logger = logging.getLogger("relay")


class IssuedTokens(Protocol):
    """Judges the tokens of an authorization server."""

    def look(self, token: str, now: float) -> Verdict:
        """Return whose token this is, at ``now`` by the loop's clock; Pending if the server must be asked first."""

    async def verify(self, token: str, now: float) -> Verdict:
        """Ask the server, and return whose token this is."""

    async def aclose(self) -> None:
        """End the questions that are open."""


class InboundLogin:
    """The logins that a relay accepts."""

    def __init__(
        self, sources: TokenSources | GivenTokens | None = None, metadata: ResourceMetadata | None = None
    ) -> None:
        """Accept the static tokens in ``sources``. Raises ConfigError if a source cannot be read.

        ``metadata`` tells clients where they get tokens.
        """
        self._sources = sources
        self.metadata = metadata
        self.issued: IssuedTokens | None = None
        """What judges the tokens of an authorization server."""
        self.tokens = StaticTokens()
        self.secrets: list[str] = []
        """The static tokens: logs mask them."""
        self.by_certificate = False
        """Whether the certificate of a client says who it is, because the listener demands one and no token."""
        self.failures = FailedLogins()
        self._on_change: list[Callable[[], None]] = []
        self.reload()

    @property
    def has_files(self) -> bool:
        """Whether files hold the tokens, so that they may change."""
        return self._sources is not None and self._sources.has_files

    def reload(self) -> None:
        """Read the tokens again; a principal whose token is gone is no longer admitted.

        Raises ConfigError if a source cannot be read; the tokens then stay as they are.
        """
        if self._sources is not None:
            found = self._sources.read()
            self.tokens.replace(found)
            self.secrets = [token for _, token in found]
            self.changed()

    def call_at_change(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` whenever a login that was good may no longer be."""
        self._on_change.append(callback)

    def changed(self) -> None:
        """Tell the listeners that logins have changed."""
        for callback in self._on_change:
            callback()

    def look(
        self,
        headers: MultiMapping[str],
        address: str | None,
        now: float,
        certificate: Callable[[], Mapping[str, Any] | None] = lambda: None,
    ) -> Verdict:
        """Return who sent a request from ``address`` at ``now``, by the loop's clock.

        ``certificate`` returns the certificate of the client's connection. Fails closed: an exception in a verifier is
        a challenge. Its text may contain the token, so the log does not.
        """
        try:
            return self._by_certificate(certificate()) if self.by_certificate else self._look(headers, address, now)
        except Exception as exc:
            return _failed(exc)

    def _by_certificate(self, certificate: Mapping[str, Any] | None) -> Verdict:
        name = name_in_certificate(certificate)
        return Challenge(message="the certificate has no name") if name is None else Principal(f"certificate:{name}")

    def _look(self, headers: MultiMapping[str], address: str | None, now: float) -> Verdict:
        token = presented_token(headers)
        if token is None:
            return Challenge(message="this server wants a login: no token came with the request")
        if isinstance(token, Challenge):
            return token
        if seconds := self.failures.wait_of(address, token, now):
            fault = "too many failed logins from this address"
            return Challenge(status=429, message=f"{fault}; try again in {seconds} s", retry_after=seconds)
        return self._noted(self._verdict(token, now), address, token)

    def _noted(self, verdict: Verdict, address: str | None, token: str) -> Verdict:
        """Remember a good token. One that was good here and has ended is refused, but is no guess of a token."""
        if isinstance(verdict, Principal):
            self.failures.succeeded(address, token)
        elif isinstance(verdict, Challenge) and verdict.is_failed_login and self.failures.is_proven(address, token):
            return msgspec.structs.replace(verdict, is_failed_login=False)
        return verdict

    def _verdict(self, token: str, now: float) -> Verdict:
        name = self.tokens.name_of(token)
        if name is not None:
            return Principal(name)
        return _UNKNOWN if self.issued is None else self.issued.look(token, now)

    async def verify(self, pending: Pending, address: str | None, now: float) -> Verdict:
        """Return whose token this is, after asking the authorization server. Fails closed, as ``look`` does."""
        assert self.issued is not None, "it said that the server must be asked"
        try:
            return self._noted(await self.issued.verify(pending.token, now), address, pending.token)
        except Exception as exc:
            return _failed(exc)

    async def aclose(self) -> None:
        """End the questions that are open."""
        if self.issued is not None:
            await self.issued.aclose()

    def note_failure(self, address: str | None, now: float) -> None:
        """Count a failed login, once for each refused request."""
        self.failures.failed(address, now)


_UNKNOWN = Challenge(error="invalid_token", message="the token is unknown or has ended", is_failed_login=True)


def _failed(exc: Exception) -> Challenge:
    # Not the text of the exception, which may contain the token, nor a traceback, which shows that text.
    logger.error("a login failed unexpectedly (%s), and was refused", type(exc).__name__)
    return _UNKNOWN
