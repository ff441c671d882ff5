"""Enforce the rules of egress where sockets open: one guard beneath every way that dials for a stranger.

A guard is a value of the dialling options. A dial asks it about the URL, and opens its sockets through it. So the
address that is judged is the address that is dialled, whatever a name resolves to the next time (DNS rebinding).
Behind a guard the relay follows no redirect, and reads no proxy from the environment: both would dial other addresses.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from relay.auth.egress import EgressRules
from relay.endpoints.core.keepalive import open_socket
from relay.errors import ConfigError

if TYPE_CHECKING:
    from yarl import URL

__all__ = ["EgressGuard", "EgressRefused"]


class EgressRefused(OSError):
    """The guard lets no socket open to an address. The message names the address, and is for the operator only."""

    def __init__(self, fault: str) -> None:
        super().__init__(f"refused to dial {fault}")  # without a number, whose text would stand instead


class EgressGuard:
    """The rules for what one listener dials on behalf of its clients."""

    def __init__(self, rules: EgressRules, *, proxy: str | None = None) -> None:
        """Enforce ``rules``. ``proxy`` is the URL of an HTTP proxy that opens the connections instead.

        With a proxy, the rules judge URLs and the addresses written in them; only the proxy knows other addresses.
        """
        self.rules = rules
        self.proxy = proxy
        self.own_ports: Collection[int] = ()
        """The ports on which this process listens; it never dials itself."""

    def check_url(self, url: URL) -> None:
        """Let a dial begin. Raises ConfigError if the rules refuse the URL."""
        if (fault := self.rules.fault_of_url(url)) is not None:
            raise ConfigError(f"refused {fault}")

    def check_text(self, text: str) -> None:
        """Let a client's URL be parsed. Raises ConfigError if the rules refuse its text."""
        if (fault := self.rules.fault_of_text(text)) is not None:
            raise ConfigError(f"refused {fault}")

    def open_socket(self, info: tuple[Any, ...]) -> socket.socket:
        """Return a socket for an entry of ``getaddrinfo``. Raises EgressRefused if the rules refuse its address."""
        if self.proxy is not None:
            return open_socket(info)  # to the proxy, which the operator chose
        host, port = info[4][:2]
        if (fault := self.rules.fault_of_address(host)) is not None:
            raise EgressRefused(fault)
        if port in self.own_ports and _is_of_this_machine(host):
            raise EgressRefused(f"{host} port {port}, where this relay listens")
        return open_socket(info)


def _is_of_this_machine(host: str) -> bool:
    address = ipaddress.ip_address(host.partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    address = address if mapped is None else mapped
    if address.is_loopback or address.is_unspecified:
        return True
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(address), 0))  # succeeds only for an address of this machine; sends nothing
        except OSError:
            return False
    return True
