"""Through which relays a client has come, so that a relay which leads to itself is noticed at once.

A relay that was pointed at itself, or two at each other, would open a connection for each that it accepts. Where a
request has headers it says so: each place that passes it on adds its own mark, and refuses what bears that mark
already. A connection over TCP or a Unix socket has no place for a mark: there the process knows its own sockets, and
no server has many connections that it has never answered (see ``AddressTarget``).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar

__all__ = [
    "HOPS",
    "TRAIL",
    "Trail",
    "comes_from_itself",
    "fault_of_hops",
    "following",
    "new_mark",
    "note_dialled",
    "own_headers",
]

HOPS = "MCP-Relay-Hops"
"""How many relays a request has come through."""
TRAIL = "MCP-Relay-Trail"
"""The marks of the places that it has come through."""
_MOST_HOPS = 4
_MOST_MARKS = 16


def new_mark() -> str:
    """Make the mark of one place: it says nothing but whether it is the same."""
    return secrets.token_hex(4)


class Trail:
    """The places that a client has come through, the last of them this relay's own."""

    __slots__ = ("_hops", "_marks")

    def __init__(self, mark: str) -> None:
        """Begin at the place with this mark."""
        self._hops = 1
        self._marks = [mark]

    def lead_here(self, headers: Mapping[str, str], *, may_return: bool = False) -> str | None:
        """Add what a request that has come to this place says; return why it must go no further, if so.

        ``may_return``: it may come back, as often as there may be hops: nothing is kept for it.
        """
        fault = fault_of_hops(headers, self._marks[-1], may_return=may_return)
        if fault is not None or HOPS not in headers:
            return fault
        hops, marks = _read(headers)
        self._hops = max(self._hops, hops + 1)
        self._marks[:0] = [mark for mark in marks if mark and mark not in self._marks]
        del self._marks[:-_MOST_MARKS]
        return None

    @property
    def headers(self) -> dict[str, str]:
        """What is said of it to the next."""
        return {HOPS: str(self._hops), TRAIL: ", ".join(self._marks)}


def fault_of_hops(headers: Mapping[str, str], mark: str, *, may_return: bool = False) -> str | None:
    """Return why a request must go no further than the place with this mark, if so."""
    if HOPS not in headers:
        return None
    hops, marks = _read(headers)
    if hops >= _MOST_HOPS or (mark in marks and not may_return):
        return f"the request has come through {hops} relays: does one of them lead to itself?"
    return None


def _read(headers: Mapping[str, str]) -> tuple[int, list[str]]:
    said = headers[HOPS]
    hops = int(said) if said.isascii() and said.isdigit() and len(said) < 4 else 0
    return hops, [mark.strip() for mark in headers.get(TRAIL, "").split(",")][:_MOST_MARKS]


_current: ContextVar[tuple[object, Trail | None] | None] = ContextVar("relay_hops", default=None)
_dialled: dict[object, list[object]] = {}
"""Local addresses of sockets that this process has dialled, or paths of Unix sockets, and for whom."""


@contextlib.contextmanager
def following(owner: object, trail: Trail | None) -> Iterator[None]:
    """Note for what is begun here, and by whatever task, for whom it is and where its client has come through."""
    token = _current.set((owner, trail))
    try:
        yield
    finally:
        _current.reset(token)


def own_headers() -> dict[str, str]:
    """Return what a connection that is dialled now is to say of its client's way."""
    current = _current.get()
    return current[1].headers if current is not None and current[1] is not None else {}


def note_dialled(name: object) -> Callable[[], None]:
    """Note that what has this local address, or path, was dialled for whom the task works; return what forgets it."""
    current = _current.get()
    if current is None:
        return lambda: None
    owners, owner = _dialled.setdefault(name, []), current[0]
    owners.append(owner)

    def forget() -> None:
        owners.remove(owner)
        if not owners and _dialled.get(name) is owners:
            del _dialled[name]

    return forget


def comes_from_itself(transport: asyncio.BaseTransport, owner: object, path: str = "") -> bool:
    """Tell whether a connection that was accepted, at ``path`` if it is a Unix socket, was dialled for ``owner``."""
    owners = _dialled.get(path or (transport.get_extra_info("peername") or ("",))[:2], ())
    is_own = any(one is owner for one in owners)
    return is_own and (not path or _pid_of(transport.get_extra_info("socket")) == os.getpid())


def _pid_of(peer: socket.socket) -> int | None:
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    pid, _, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(pid)
