"""Decide which servers a stranger may make the relay dial: the guard against server-side request forgery (SSRF).

Pure. A guard judges twice. ``fault_of_url`` judges what a client wrote, before a name is looked up.
``fault_of_address`` judges the address of each socket that is about to open. So a name that resolves to another
address after the first check gains nothing.

The table of addresses is the relay's own. Python's ``is_global`` differs by version, and takes NAT64, 6to4 and
``::ffff:0:a.b.c.d`` for public addresses.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import msgspec

from relay.errors import ConfigError

if TYPE_CHECKING:
    from yarl import URL

__all__ = ["EgressRules", "HostRule", "Network", "parse_host_rule", "parse_networks"]

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_REFUSED_V4 = tuple(
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8",  # this network
        "10.0.0.0/8",  # private
        "100.64.0.0/10",  # carrier-grade NAT; also the metadata service of one cloud, 100.100.100.200
        "127.0.0.0/8",  # loopback
        "168.63.129.16/32",  # Azure's platform address
        "169.254.0.0/16",  # link-local; the metadata services of most clouds
        "172.16.0.0/12",  # private
        "192.0.0.0/24",  # protocol assignments; another metadata service
        "192.0.2.0/24",  # documentation
        "192.88.99.0/24",  # 6to4 relays
        "192.168.0.0/16",  # private
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",  # documentation
        "203.0.113.0/24",  # documentation
        "224.0.0.0/3",  # multicast, reserved, broadcast
    )
)
_PUBLIC_V6 = ipaddress.IPv6Network("2000::/3")
"""All public IPv6 addresses. What is outside includes loopback, private and link-local addresses, and NAT64."""
_REFUSED_V6 = tuple(
    ipaddress.IPv6Network(network)
    for network in (
        "2001::/23",  # protocol assignments: Teredo, ORCHID
        "2001:db8::/32",  # documentation
        "2002::/16",  # 6to4, which holds an IPv4 address
        "3fff::/20",  # documentation
    )
)
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_ISATAP = (0x00005EFE, 0x02005EFE)
"""The third quarter of an address that holds an IPv4 address (RFC 5214)."""

_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}
_LEAST_FREE_PORT = 1024
_REFUSED_PORTS = frozenset(
    # Services without a login that speak HTTP, or that tolerate it: Docker, etcd, Redis, Kubernetes, Elasticsearch,
    # CouchDB, memcached, MongoDB, Consul, Nomad, SMTP submission in clear, X11, Erlang's port mapper.
    (2375, 2376, 2379, 2380, 4369, 5984, 6000, 6379, 6443, 8500, 9200, 9300, 10250, 10255, 11211, 27017)
)
_LONGEST = 2048  # characters of a URL
_UNSENDABLE = re.compile(r"[\x00-\x20\x7f\\]")
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,254}}$){_LABEL}(?:\.{_LABEL})*\.?")
_NUMERIC_LABEL = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""A last label that makes a name an IPv4 address for some resolver (WHATWG URL, "ends in a number")."""


class HostRule(msgspec.Struct, frozen=True):
    """A host that clients may name, with all names below it."""

    host: str
    """A name in lower case without its last dot, or an address in its shortest form."""
    port: int | None = None
    """The only port; None admits those that any host may have."""

    def covers(self, host: str) -> bool:
        """Tell whether ``host`` is this host, or a name below it."""
        return host == self.host or host.endswith("." + self.host)


class EgressRules(msgspec.Struct, frozen=True, kw_only=True):
    """What a client may make the relay dial. A refusal wins over a permission."""

    hosts: Sequence[HostRule] = ()
    """The only hosts that clients may name; empty for all."""
    allowed: Sequence[Network] = ()
    """Networks that are admitted although they are not public."""
    denied: Sequence[Network] = ()
    """Networks that are refused although they are public."""
    https_only: bool = False
    """Whether every connection must use TLS."""

    def fault_of_text(self, text: str) -> str | None:
        """Return what is wrong with a URL as a client wrote it, before it is parsed; None if it may be parsed."""
        if len(text) > _LONGEST:
            return f"a URL of {len(text)} characters; at most {_LONGEST}"
        if _UNSENDABLE.search(text):
            return "a URL with a space, a control character or a backslash"
        if "#" in text:
            return "a URL with a fragment"
        if "@" in re.split(r"[/?]", text.partition("://")[2], maxsplit=1)[0]:
            return "a URL with a login"
        return None

    def fault_of_url(self, url: URL) -> str | None:
        """Return why this URL must not be dialled; None if its host may be looked up."""
        schemes = ("https", "wss") if self.https_only else tuple(_PORTS)
        if url.scheme not in schemes:
            return f"the scheme {url.scheme!r}; expected {', '.join(schemes)}"
        if url.raw_user is not None or url.raw_password is not None:
            return "a URL with a login"
        host = _host_of(url)
        if host is None:
            return f"the host {url.raw_host!r}, which is neither a name nor an address in its usual form"
        rules = [rule for rule in self.hosts if rule.covers(host)]
        if self.hosts and not rules:
            return f"the host {host!r}, which --proxy-allow does not name"
        port = url.port
        ports = [rule.port for rule in rules]
        is_named = port in ports
        if rules and not is_named and None not in ports:
            return f"port {port} of {host!r}; --proxy-allow names {', '.join(map(str, ports))}"
        if not is_named and not _is_usual(port):
            return f"port {port}, which --proxy-allow does not name"
        return self.fault_of_address(host) if _address_in(host) is not None else None

    def fault_of_address(self, text: str) -> str | None:
        """Return why no socket may open to this IP address; None if one may."""
        address = _address_in(text.partition("%")[0])
        if address is None:
            return f"{text!r}, which is no IP address"
        for one in self._judged(address):
            if _is_in(one, self.denied):
                return f"{text}, which --proxy-deny names"
            if not _is_in(one, self.allowed) and not _is_public(one):
                return f"{text}, which is not a public address; --proxy-allow-net admits a network"
        return None

    def _judged(self, address: _Address) -> list[_Address]:
        """Return the addresses to judge: an IPv6 address may hold the IPv4 address that a packet reaches."""
        if isinstance(address, ipaddress.IPv4Address):
            return [address]
        inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if address in _MAPPED:
            return [inner]
        return [address, inner] if address in _NAT64 else [address]


def _is_public(address: _Address) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return not _is_in(address, _REFUSED_V4)
    is_isatap = (int(address) >> 32) & 0xFFFFFFFF in _ISATAP
    return address in _PUBLIC_V6 and not is_isatap and not _is_in(address, _REFUSED_V6)


def _is_in(address: _Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)  # False if the versions differ


def _is_usual(port: int | None) -> bool:
    return port in (80, 443) or (port is not None and port >= _LEAST_FREE_PORT and port not in _REFUSED_PORTS)


def _address_in(text: str) -> _Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def _host_of(url: URL) -> str | None:
    """Return the host of a URL in the form that is compared; None if resolvers could differ about it."""
    host = (url.raw_host or "").lower()
    if (address := _address_in(host)) is not None:
        # ``ip_address`` accepts a zone.
        return None if "%" in host else str(address)
    if _NAME.fullmatch(host) is None:
        return None
    host = host.removesuffix(".")
    return None if _NUMERIC_LABEL.fullmatch(host.rpartition(".")[2]) else host


def parse_networks(texts: Iterable[str], option: str) -> tuple[Network, ...]:
    """Read networks or addresses as ``option`` takes them. Raises ConfigError."""
    networks: list[Network] = []
    for text in texts:
        try:
            networks.append(ipaddress.ip_network(text))
        except ValueError as exc:
            raise ConfigError(
                f"{option}: {text!r} is not a network: {exc}; expected 10.0.0.0/8, 192.0.2.7 or fd00::/8"
            ) from exc
    return tuple(networks)


def parse_host_rule(text: str, option: str) -> HostRule:
    """Read ``HOST`` or ``HOST:PORT`` as ``option`` takes it. Raises ConfigError."""
    from yarl import URL  # which reads a client's host as well: both must read the same name

    fault = f"{option}: {text!r} is not a host; expected mcp.example, mcp.example:8443, 192.0.2.7 or [2001:db8::1]:80"
    spelled = f"[{text}]" if text.count(":") > 1 and "[" not in text else text
    try:
        url = URL(f"http://{spelled}/")
        host, port = _host_of(url), url.explicit_port
    except ValueError as exc:
        raise ConfigError(fault) from exc
    if host is None or url.raw_user is not None or url.path != "/" or url.raw_query_string or port == 0:
        raise ConfigError(fault)
    return HostRule(host, port)
