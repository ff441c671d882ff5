"""Let the kernel detect that a peer is gone, because a half-open connection would keep its session for ever.

Keep-alive probes watch only an idle connection. While bytes are unacknowledged the kernel sends no probe, and repeats
those bytes for a quarter of an hour. The user timeout bounds both states.
"""

from __future__ import annotations

import contextlib
import socket
import sys
from typing import Any

__all__ = ["SERVER_SILENCE", "detect_dead_peer", "open_socket"]

SERVER_SILENCE = 60.0
"""Seconds without an acknowledgement after which a dialled connection fails."""

# Seconds idle, seconds between probes, number of probes; TCP_KEEPALIVE is macOS's name for TCP_KEEPIDLE.
_KEEPALIVE_PROBES = (("TCP_KEEPIDLE", 30), ("TCP_KEEPALIVE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
# How long sent bytes may stay unacknowledged: the option, and its units per second. Python names only Linux's option.
# The numbers come from XNU's netinet/tcp.h (TCP_RXT_CONNDROPTIME) and from ws2ipdef.h (TCP_MAXRT).
_USER_TIMEOUT: dict[str, tuple[int, int]] = {
    "linux": (getattr(socket, "TCP_USER_TIMEOUT", 18), 1000),
    "darwin": (0x80, 1),
    "win32": (5, 1),
}


def detect_dead_peer(sock: Any, silence: float) -> None:
    """Probe an idle TCP connection, and end it if sent bytes stay unacknowledged for ``silence`` seconds."""
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    _set(sock, socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE_PROBES:
        if hasattr(socket, name):
            _set(sock, socket.IPPROTO_TCP, getattr(socket, name), value)
    if sys.platform in _USER_TIMEOUT:
        option, units = _USER_TIMEOUT[sys.platform]
        _set(sock, socket.IPPROTO_TCP, option, max(int(silence * units), 1))


def _set(sock: Any, level: int, option: int, value: int) -> None:
    with contextlib.suppress(OSError):  # a system that lacks one option still gets the others
        sock.setsockopt(level, option, value)


def open_socket(address: tuple[Any, ...]) -> socket.socket:
    """Return a socket to dial ``address`` with, which is an entry of ``getaddrinfo``."""
    family, kind, protocol = address[:3]
    sock = socket.socket(family=family, type=kind, proto=protocol)
    detect_dead_peer(sock, SERVER_SILENCE)
    return sock
