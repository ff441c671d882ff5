"""Tell systemd how we are: ready, alive, stopping. See sd_notify(3); not loaded unless ``NOTIFY_SOCKET`` is set."""

from __future__ import annotations

import asyncio
import logging
import os
import socket

__all__ = ["wait_watched"]

logger = logging.getLogger("relay")

_BEYOND_DRAIN = 10.0  # what closing takes after the last answer: a child's ladder, and some


async def wait_watched(stopped: asyncio.Event, drain: float) -> None:
    """Say that we are ready, and that we live until ``stopped`` is set, and then for how long we shall take at most."""
    _say("READY=1")
    interval = _watchdog_interval()
    while not stopped.is_set():
        try:
            async with asyncio.timeout(interval):
                await stopped.wait()
        except TimeoutError:
            _say("WATCHDOG=1")  # from the loop: if that is stuck, so are we
    _say(f"STOPPING=1\nEXTEND_TIMEOUT_USEC={int((drain + _BEYOND_DRAIN) * 1_000_000)}")


def _watchdog_interval() -> float | None:
    """Return how often we must be heard, in seconds; None if nobody listens for that."""
    limit = os.environ.get("WATCHDOG_USEC", "")
    of = os.environ.get("WATCHDOG_PID")
    if not limit.isascii() or not limit.isdigit() or int(limit) == 0 or of not in (None, str(os.getpid())):
        return None
    return int(limit) / 1_000_000 / 2  # twice as often as it must be


def _say(message: str) -> None:
    """Send a datagram, or warn: a service manager that does not hear us will end us sooner or later."""
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
