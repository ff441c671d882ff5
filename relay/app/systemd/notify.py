"""Report the relay's state to systemd: ready, alive, stopping. See sd_notify(3); loaded only with ``NOTIFY_SOCKET``."""

from __future__ import annotations

import asyncio
import logging
import os
import socket

__all__ = ["wait_watched"]

logger = logging.getLogger("relay")

_BEYOND_DRAIN = 10.0  # seconds to close after the last answer: a child's stop sequence, and some more


async def wait_watched(stopped: asyncio.Event, drain: float) -> None:
    """Report ready, then alive until ``stopped`` is set, then stopping with the longest time that this may take."""
    _say("READY=1")
    interval = _watchdog_interval()
    while not stopped.is_set():
        try:
            async with asyncio.timeout(interval):
                await stopped.wait()
        except TimeoutError:
            _say("WATCHDOG=1")  # sent by the loop: if that is stuck, so is the relay
    _say(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={int((drain + _BEYOND_DRAIN) * 1_000_000)}")


def _watchdog_interval() -> float | None:
    """Return the period of the watchdog's messages, in seconds; None without a watchdog."""
    limit = os.environ.get("WATCHDOG_USEC", "")
    of = os.environ.get("WATCHDOG_PID")
    if not limit.isascii() or not limit.isdigit() or int(limit) == 0 or of not in (None, str(os.getpid())):
        return None
    return int(limit) / 1_000_000 / 2  # twice as often as required


def _say(message: str) -> None:
    """Send a datagram, or warn: a service manager that gets none will end the relay sooner or later."""
    address = os.environ["NOTIFY_SOCKET"]
    if address[:1] not in ("/", "@"):
        logger.warning(
            "NOTIFY_SOCKET: %r is neither a path nor an abstract name: the service manager is not told", address
        )
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.setblocking(False)
            sock.sendto(message.encode(), "\0" + address[1:] if address[0] == "@" else address)
    except OSError as exc:
        logger.warning("the service manager cannot be told %s: %s", message.partition("=")[0], exc.strerror or exc)
