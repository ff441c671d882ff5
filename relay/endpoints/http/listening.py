"""Define the operator's options for HTTP listeners: one value, from the command line to every listener."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from relay.endpoints.http.paths import DEFAULT_PATHS, HttpPaths
from relay.limits import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    import ssl

    from relay.auth.inbound.login import InboundLogin
    from relay.auth.inbound.rates import Rates

__all__ = ["DEFAULT_LISTENING", "ListeningOptions"]


class ListeningOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options by which listeners admit clients, and the paths at which they offer servers."""

    allowed_hosts: Sequence[str] = ()
    """Names that clients may send in ``Host``, in addition to the listener's own."""
    allowed_origins: Sequence[str] = ()
    """Origins of web pages that may use a listener; ``*`` allows all."""
    exposed_headers: Sequence[str] = ()
    """Headers of answers that those pages may read, in addition to ``Mcp-Session-Id``."""
    login: InboundLogin | None = None
    """The logins that listeners accept; None for no login."""
    rates: Rates | None = None
    """How many requests each client may send; None for any number."""
    forward_headers: Sequence[str] = ()
    """Headers of clients' requests that go on to a server behind, in addition to those of MCP."""
    tls: ssl.SSLContext | None = None
    """The context with the listener's certificate; None for no TLS."""
    paths: HttpPaths = DEFAULT_PATHS
    limits: Limits = DEFAULT_LIMITS


DEFAULT_LISTENING = ListeningOptions()
