"""Open aiohttp's connections to servers with the relay's own address resolution, sockets and TLS."""

from __future__ import annotations

import ipaddress
import socket
import ssl
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import DefaultResolver

from relay.endpoints.core.keepalive import open_socket
from relay.endpoints.core.tls import default_context
from relay.endpoints.http import aiohttp_private
from relay.endpoints.http.client.kept import KEEP_IDLE, KeepingConnector, ServerHint

if TYPE_CHECKING:
    from relay.endpoints.core.egress import EgressGuard

__all__ = ["Resolver", "addresses_of", "new_connector"]

_LOOPBACK = (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6))


class Resolver(AbstractResolver):
    """Resolve localhost to both loopback addresses (RFC 6761), whatever the hosts file says; look up other names."""

    def __init__(self) -> None:
        self._default = DefaultResolver()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Return the addresses of a name."""
        if host.rstrip(".").lower() != "localhost":
            return await self._default.resolve(host, port, family)
        return [
            ResolveResult(hostname=host, host=address, port=port, family=its_family, proto=0, flags=0)
            for address, its_family in _LOOPBACK
            if family in (socket.AF_UNSPEC, its_family)
        ]

    async def close(self) -> None:
        """Close the default resolver."""
        await self._default.close()


async def addresses_of(host: str, port: int) -> list[tuple[Any, ...]]:
    """Return the addresses of a name or an address, as entries of ``getaddrinfo``. Raises OSError."""
    try:
        version = ipaddress.ip_address(host).version
    except ValueError:
        found = await Resolver().resolve(host, port, socket.AF_UNSPEC)
        return [(one["family"], socket.SOCK_STREAM, one["proto"], "", (one["host"], port)) for one in found]
    family = socket.AF_INET if version == 4 else socket.AF_INET6
    return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port))]


def new_connector(
    ssl_context: ssl.SSLContext | None,
    *,
    is_tls: bool,
    hint: ServerHint | None = None,
    guard: EgressGuard | None = None,
) -> aiohttp.TCPConnector:
    """Make the connector of an aiohttp session. Every session that the relay dials with has its own.

    ``guard`` judges the address of each socket.
    """
    options: dict[str, Any] = {
        "limit": 0,
        "resolver": Resolver(),
        "socket_factory": open_socket if guard is None else guard.open_socket,
        # A context of ours, made on first use: quick_start leaves aiohttp's default context without certificates.
        "ssl": (ssl_context or default_context()) if is_tls else True,
    }
    if guard is not None:
        options["use_dns_cache"] = False
    if not aiohttp_private.has("client"):
        return aiohttp.TCPConnector(keepalive_timeout=KEEP_IDLE, **options)
    return KeepingConnector(hint, **options)
