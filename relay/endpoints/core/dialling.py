"""The operator's options for reaching a server, passed as one value from the command line to each connection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal, Protocol

import msgspec

from relay.limits import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    import ssl

    import aiohttp

    from relay.auth.outbound.tries import ServerLogin
    from relay.endpoints.core.egress import EgressGuard

__all__ = ["DEFAULT_DIALLING", "DiallingOptions", "Logins", "RequestLogin", "Transport"]

Transport = Literal["auto", "sse", "streamablehttp"]
"""The transport of a server at a URL; with ``auto`` the relay detects it."""


class RequestLogin(Protocol):
    """A login that answers each request's own challenge, such as Digest; a middleware of aiohttp."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """The parts of the credentials that the server could repeat, and that no error may show."""

    async def __call__(self, request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        """Send a request with credentials, and once more after a 401; raise EndpointUnavailable without any."""


class Logins(Protocol):
    """Logins whose headers can be sent at once; all connections to one server share one of them."""

    def for_url(self, url: str) -> ServerLogin | None:
        """Return the login for the server at ``url``; None if there is none."""


class DiallingOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How to reach a server; a transport ignores the options that it does not know."""

    headers: Mapping[str, str] = {}
    """Headers for every HTTP request, and for the handshake of a WebSocket."""
    transport: Transport = "auto"
    tls: ssl.SSLContext | None = None
    """The TLS context for the server; None trusts the system's authorities."""
    login: Logins | RequestLogin | None = None
    """How the relay logs in. A server that gets an Authorization header of the operator's needs no login."""
    guard: EgressGuard | None = None
    """Judges each URL and each address before the relay dials it, if clients choose the server; else None."""
    ends_with_server: bool = False
    """Whether the endpoint ends once the server of its session is gone, for a client that would not notice."""
    limits: Limits = DEFAULT_LIMITS

    async def end_logins(self) -> None:
        """End logins that are under way: a person may take longer than the relay has left."""
        aclose = getattr(self.login, "aclose", None)
        if aclose is not None:
            await aclose()

    def __repr__(self) -> str:
        """Show neither headers nor the login: they hold secrets."""
        return f"DiallingOptions(transport={self.transport!r}, tls={self.tls!r}, limits={self.limits!r})"

    def logins_for(self, url: str) -> tuple[ServerLogin | None, RequestLogin | None]:
        """Return the login as one whose headers can be sent at once, or as one that answers challenges.

        A login for another origin than that of ``url`` is not used.
        """
        if callable(self.login):
            return None, self.login
        if self.login is None or any(name.lower() == "authorization" for name in self.headers):
            return None, None
        return self.login.for_url(url), None

    @property
    def logs_in_everywhere(self) -> bool:
        """Whether there is a login for any server, and not only for one."""
        return self.login is not None and getattr(self.login, "is_for_all", False)

    def for_many_clients(self) -> DiallingOptions:
        """Return the options of a connection that many clients share, with a higher limit on open requests."""
        return msgspec.structs.replace(self, limits=self.limits.for_many_clients())


DEFAULT_DIALLING = DiallingOptions()
