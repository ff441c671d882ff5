"""Ask the kernel to find out that a peer is gone: a half-open connection would keep its session for ever."""

from __future__ import annotations

import contextlib
import socket
from typing import Any

__all__ = ["detect_dead_peer"]

_KEEPALIVE_PROBES = (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))  # seconds, seconds, count


def detect_dead_peer(sock: Any, silence: float) -> None:
    """Probe an idle TCP connection, and end it if what was sent is not taken for ``silence`` seconds."""
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE_PROBES:
            if hasattr(socket, name):
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(silence * 1000))
