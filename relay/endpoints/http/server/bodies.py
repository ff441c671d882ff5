"""Read the bodies of HTTP requests, within their bounds of size, time and memory.

A body in a session shares the session's room, any other the room of all whom nobody has vouched for (arrivals.py).
"""

from __future__ import annotations

import asyncio
import io

from aiohttp import web

from relay.endpoints.core.arrivals import Arrival
from relay.endpoints.http.gate import Refused
from relay.endpoints.http.server.expect import ask_for_body
from relay.frames import replies
from relay.limits import Limits

__all__ = ["STRANGERS_RATE", "read_body"]

STRANGERS_RATE = 2 * 1024 * 1024
"""Bytes a second that a stranger's body must come with, after its deadline: 64 MiB have a minute."""

_CHUNK = 64 * 1024  # of a body that is being read: a small one
_CLOSE = {"Connection": "close"}


async def read_body(
    request: web.BaseRequest, limits: Limits, arrival: Arrival | None, *, rate: int, most: int | None = None
) -> bytes:
    """Return a body of at most ``most`` bytes, which has a second for each ``rate`` of them beyond its deadline.

    It waits for the room of ``arrival``, which ends here. Raises Refused.
    """
    reading = _Reading(request, limits, arrival, limits.max_frame_bytes if most is None else most)
    try:
        return await reading.read(rate)
    finally:
        if arrival is not None:
            arrival.end()


class _Reading:
    """One body that is being read."""

    def __init__(self, request: web.BaseRequest, limits: Limits, arrival: Arrival | None, most: int) -> None:
        self._request = request
        self._limits = limits
        self._arrival = arrival
        self._most = most
        self._is_waiting = False
        self._first = b""
        self._rest: io.BytesIO | None = None

    async def read(self, rate: int) -> bytes:
        length = self._request.content_length
        if length is not None and length > self._most:
            raise self._too_large(length)
        size = 0
        now = asyncio.get_running_loop().time()
        end = now + self._limits.body_deadline
        try:
            async with asyncio.timeout_at(end) as deadline:
                if self._arrival is not None:
                    self._arrival.on_refused = lambda: deadline.reschedule(now)
                await self._wait_for_room()
                ask_for_body(self._request)
                async for piece in self._request.content.iter_chunked(
                    _CHUNK if self._arrival is None else self._arrival.step
                ):
                    size += len(piece)
                    if size > self._most:
                        raise self._too_large(size)
                    self._keep(piece)
                    await self._wait_for_room(len(piece))
                    deadline.reschedule(end + size / rate)
        except TimeoutError:
            raise self._too_late() from None
        return self._first if self._rest is None else self._rest.getvalue()

    def _keep(self, piece: bytes) -> None:
        """Keep a piece: to join them at the end would take the memory of the body again, ``getvalue`` takes none."""
        if not self._first:
            self._first = piece
            return
        if self._rest is None:
            self._rest = io.BytesIO()
            self._rest.write(self._first)
        self._rest.write(piece)

    async def _wait_for_room(self, count: int = 0) -> None:
        if self._arrival is None or self._arrival.grow(count):
            return
        room: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._arrival.on_room = lambda: None if room.done() else room.set_result(None)
        self._is_waiting = True
        await room
        self._is_waiting = False

    def _too_late(self) -> Refused:
        arrival = self._arrival
        if arrival is not None and (self._is_waiting or not arrival.is_inside):
            said = "there is no room for this body now: others are arriving, or it stood still while they waited"
            return Refused(503, said, headers={**_CLOSE, "Retry-After": "1"}, data={"delivered": "no"})
        return Refused(408, "the body took too long", headers=_CLOSE)

    def _too_large(self, size: int) -> Refused:
        most = f"at most {self._most}, see --max-frame-bytes"
        if self._most < self._limits.max_frame_bytes:
            most = f"before a session at most {self._most}: begin with initialize"
        return Refused(413, f"a body of {size} bytes or more; {most}", code=replies.TOO_LARGE, headers=_CLOSE)
