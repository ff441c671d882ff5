"""What the operator says about HTTP listeners: one value, from the command line to each of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

from relay.endpoints.http.paths import DEFAULT_PATHS, HttpPaths
from relay.limits import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    import ssl

__all__ = ["DEFAULT_LISTENING", "ListeningOptions"]


class ListeningOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How listeners admit clients, and where on a port they offer servers."""

    allowed_hosts: Sequence[str] = ()
    """Names in ``Host`` under which clients may reach a listener, besides its own."""
    allowed_origins: Sequence[str] = ()
    """Origins of web pages that may use a listener; ``*``: all."""
    exposed_headers: Sequence[str] = ()
    """Headers of answers that those pages may read, besides ``Mcp-Session-Id``."""
    tls: ssl.SSLContext | None = None
    """The certificate to listen with; None: without TLS."""
    paths: HttpPaths = DEFAULT_PATHS
    limits: Limits = DEFAULT_LIMITS


DEFAULT_LISTENING = ListeningOptions()
