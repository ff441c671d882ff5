"""Record the relays that a request has passed, so that a relay detects at once that it leads to itself.

A relay that points at itself, or two that point at each other, would open a connection for each one that they accept.
Where a request has headers, each place that forwards it adds a mark, and rejects requests that already have its mark.
A TCP or Unix socket connection cannot hold a mark. There the process recognizes its own sockets, and limits the
connections to a server that has never answered one (see ``AddressTarget``).
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
"""The header with the number of relays that a request has passed."""
TRAIL = "MCP-Relay-Trail"
"""The header with the marks of the places that a request has passed."""
_MOST_HOPS = 4
_MOST_MARKS = 16


def new_mark() -> str:
    """Return a random mark for one place, which reveals nothing but its identity."""
    return secrets.token_hex(4)


class Trail:
    """The places that a client's requests have passed; the last one is this relay's own."""

    __slots__ = ("_forwarded", "_hops", "_marks")

    def __init__(self, mark: str, forwarded: Mapping[str, str] | None = None) -> None:
        """Start at the place with this mark; ``forwarded`` are headers of the client that go on to the server."""
        self._forwarded = forwarded or {}
        self._hops = 1
        self._marks = [mark]

    def lead_here(self, headers: Mapping[str, str], *, may_return: bool = False) -> str | None:
        """Add the marks of a request at this place; return a reason to reject the request, else None.

        With ``may_return`` the request may pass this place again, up to the limit of hops, because it keeps no state.
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
        """The headers for the next relay, and those of the client that go on."""
        return {**self._forwarded, HOPS: str(self._hops), TRAIL: ", ".join(self._marks)}


def fault_of_hops(headers: Mapping[str, str], mark: str, *, may_return: bool = False) -> str | None:
    """Return a reason to reject a request at the place with this mark, else None."""
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
"""The local addresses, or Unix paths, of sockets that this process has dialled, each with its owners."""


@contextlib.contextmanager
def following(owner: object, trail: Trail | None) -> Iterator[None]:
    """Attach an owner and its client's trail to all connections and tasks that start in this context."""
    token = _current.set((owner, trail))
    try:
        yield
    finally:
        _current.reset(token)


def own_headers() -> dict[str, str]:
    """Return the headers with the client's trail for a connection that is dialled now."""
    current = _current.get()
    return current[1].headers if current is not None and current[1] is not None else {}


def note_dialled(name: object) -> Callable[[], None]:
    """Record a dialled socket's local address, or path, for the task's owner; return a function that forgets it."""
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
    """Tell whether an accepted connection was dialled for ``owner``; ``path`` is that of a Unix socket."""
    owners = _dialled.get(path or (transport.get_extra_info("peername") or ("",))[:2], ())
    is_own = any(one is owner for one in owners)
    return is_own and (not path or _pid_of(transport.get_extra_info("socket")) == os.getpid())


def _pid_of(peer: socket.socket) -> int | None:
    if not hasattr(socket, "SO_PEERCRED"):
        return None
    pid, _, _ = struct.unpack("3i", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return int(pid)
