"""What the operator says about the way to a server: one value, from the command line to each connection."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from relay.limits import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    import ssl

    import aiohttp

__all__ = ["DEFAULT_DIALLING", "DiallingOptions", "ServerLogin", "Transport"]

Transport = Literal["auto", "sse", "streamablehttp"]
"""What a server at a URL speaks; ``auto``: the relay finds out."""


class ServerLogin(Protocol):
    """Adds credentials to each request to one server; all connections to that server share it."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """What the server could repeat of the credentials: no error may show it."""

    async def __call__(self, request: aiohttp.ClientRequest, send: aiohttp.ClientHandlerType) -> aiohttp.ClientResponse:
        """Send a request with credentials; once more after a 401. Raises EndpointUnavailable if there are none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiallingOptions:
    """How to reach a server; what its transport does not know, it ignores."""

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """For every request by HTTP, and for the handshake of a WebSocket."""
    transport: Transport = "auto"
    tls: ssl.SSLContext | None = None
    """How to speak TLS to the server; None: with the system's authorities."""
    login: ServerLogin | None = field(default=None, repr=False)
    limits: Limits = DEFAULT_LIMITS

    def for_many_clients(self) -> DiallingOptions:
        """Return the options of a connection that many clients share: more of their requests may be open at once."""
        return dataclasses.replace(self, limits=self.limits.for_many_clients())


DEFAULT_DIALLING = DiallingOptions()
