"""Bind a listener's sockets: every address of a name, and for ``::`` also every IPv4 address.

``localhost`` means both loopback addresses (RFC 6761), whatever the hosts file says. For ``::`` the relay binds two
sockets, not one for both families. Some systems cannot share one, and it would report IPv4 peers by mapped addresses.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import os
import socket
from collections.abc import Iterable
from typing import Any

__all__ = ["LOOPBACK", "EVERYWHERE", "addresses_of", "bind", "everywhere"]

LOOPBACK = ("127.0.0.1", "::1")
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""The names of every address of this machine, and how a client on this machine reaches each."""

_FAMILIES = {"0.0.0.0": "IPv4", "::": "IPv6"}
_MISSING = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
_TRIES = 20  # to find a port that is free in both families


async def bind(host: str, port: int) -> list[socket.socket]:
    """Return sockets bound to every address of ``host``, all with the same port, also for port 0 (a free one).

    Skips a family that this machine does not have, unless it is the only one. Raises OSError.
    """
    addresses = [found for one in _meant(host) for found in await _resolve(one, port)]
    for left in reversed(range(_TRIES)):
        try:
            return _bind_all(addresses, port)
        except OSError as exc:
            if port or exc.errno != errno.EADDRINUSE or not left:
                raise
    raise AssertionError("the last try returns or raises")


def _meant(host: str) -> tuple[str, ...]:
    if host.rstrip(".").lower() == "localhost":
        return LOOPBACK
    with contextlib.suppress(ValueError):
        address = ipaddress.ip_address(host)
        if address.version == 6 and address.is_unspecified:
            return ("::", "0.0.0.0")
    return (host,)


async def _resolve(host: str, port: int) -> list[tuple[int, tuple[Any, ...]]]:
    infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((info[0], info[4]) for info in infos))


def _bind_all(addresses: Iterable[tuple[int, tuple[Any, ...]]], port: int) -> list[socket.socket]:
    with contextlib.ExitStack() as at_failure:
        bound: list[socket.socket] = []
        for family, address in addresses:
            try:
                sock = _bind_one(family, (address[0], port, *address[2:]))
            except OSError as exc:
                if bound and exc.errno in _MISSING:
                    continue
                raise
            bound.append(at_failure.enter_context(sock))
            port = sock.getsockname()[1]
        at_failure.pop_all()
    return bound


def _bind_one(family: int, address: tuple[Any, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
    except BaseException:
        sock.close()
        raise
    return sock


def addresses_of(sock: socket.socket) -> list[tuple[str, int]]:
    """Return the address and port of a bound socket; both addresses of an inherited socket for both families."""
    name = sock.getsockname()
    if not isinstance(name, tuple):
        return [(f"unix:{name}", 0)]
    host, port = name[:2]
    is_both = host == "::" and not sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    return [(host, port), ("0.0.0.0", port)] if is_both else [(host, port)]


def everywhere(addresses: Iterable[tuple[str, int]]) -> str:
    """Return a note if a listener is bound to every address of this machine, else an empty string."""
    hosts = sorted({host for host, _ in addresses if host in _FAMILIES})
    families = " and ".join(_FAMILIES[host] for host in hosts)
    return f"; also at every other {families} address of this machine, bound to {' and '.join(hosts)}" if hosts else ""
