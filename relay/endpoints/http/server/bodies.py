"""Read the bodies of HTTP requests within bounds of size, time and memory.

A body in a session shares the room of that session. All other bodies share one room for strangers (arrivals.py).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from aiohttp import web

from relay.endpoints.core.arrivals import Arrival
from relay.endpoints.http.decisions import BodyWanted, Refused
from relay.endpoints.http.gate import body_too_large
from relay.endpoints.http.server.expect import ask_for_body
from relay.frames.growing import Growing
from relay.limits import Limits

if TYPE_CHECKING:
    from relay.endpoints.http.server.context import ListenerContext
    from relay.endpoints.http.walk import Walk

__all__ = ["body_of"]

_RATE = 64 * 1024  # least bytes a second of a body in a session, after its deadline
_STRANGERS_RATE = 2 * 1024 * 1024  # least bytes a second of a stranger's body: 64 MiB have a minute

_CHUNK = 64 * 1024  # bytes of a small body's buffer
_JOINED = 4 * 1024 * 1024  # bytes of a body of which two copies may exist for a moment
_WHOLE = 16 * 1024  # bytes of a piece that the reader keeps as it arrived
_CLOSE = {"Connection": "close"}


@contextlib.asynccontextmanager
async def body_of(
    request: web.BaseRequest, walk: Walk, wanted: BodyWanted, context: ListenerContext
) -> AsyncIterator[bytes]:
    """Yield a complete body within the bounds that the gate set. Raises Refused.

    The number of small bodies that wait for a slow server is limited; large bodies stay in the network. Until the block
    exits, a large body counts as waiting for the server of its session.
    """
    body = await _read(request, walk, wanted, context)
    session = walk.session
    if session is None or wanted.is_small:
        yield body
        return
    size = len(body)
    session.body_bytes += size
    try:
        yield body
    finally:
        session.body_bytes -= size
        session.on_bodies_wanted()


async def _read(request: web.BaseRequest, walk: Walk, wanted: BodyWanted, context: ListenerContext) -> bytes:
    length, session = request.content_length, walk.session
    if wanted.room == "session":  # a client that knows the session's id has been admitted
        arrival = None
        if not wanted.is_small:
            session.on_bodies_wanted = session.arrivals.look_again
            arrival = session.arrivals.begin(length, session.wants_bodies)
        return await _read_within(request, context.limits, arrival, wanted.most, _RATE)
    wants = _wants
    if wanted.room == "server" and not wanted.is_small:
        wants = walk.mount.through.wants_bodies
    elif session is not None and not wanted.is_small:
        session.on_bodies_wanted = context.strangers.look_again
        wants = session.wants_bodies
    arrival = context.strangers.begin(length, wants)
    return await _read_within(request, context.limits, arrival, wanted.most, _STRANGERS_RATE)


def _wants() -> bool:
    return True


async def _read_within(
    request: web.BaseRequest, limits: Limits, arrival: Arrival | None, most: int, rate: int
) -> bytes:
    """Return a body of at most ``most`` bytes, which has one more second after its deadline for each ``rate`` bytes.

    The body waits for room in ``arrival``, which ends here. Raises Refused.
    """
    reading = _Reading(request, limits, arrival, most)
    try:
        return await reading.read(rate)
    finally:
        if arrival is not None:
            arrival.end()


class _Reading:
    """One body while the relay reads it."""

    def __init__(self, request: web.BaseRequest, limits: Limits, arrival: Arrival | None, most: int) -> None:
        self._request = request
        self._limits = limits
        self._arrival = arrival
        self._most = most
        self._is_waiting = False
        self._length = request.content_length
        self._is_joined = self._length is not None and self._length <= _JOINED
        self._pieces: list[bytes] = []
        self._rest: Growing | None = None

    async def read(self, rate: int) -> bytes:
        size = 0
        now = asyncio.get_running_loop().time()
        end = now + self._limits.body_deadline
        try:
            async with asyncio.timeout_at(end) as deadline:
                if self._arrival is not None:
                    self._arrival.on_refused = lambda: deadline.reschedule(now)
                content = self._request.content
                await self._wait_for_room(content.total_bytes)
                if "Expect" in self._request.headers:
                    ask_for_body(self._request)
                content.set_read_chunk_size(_CHUNK if self._arrival is None else self._arrival.step)
                while piece := await content.readany():  # as it came: ``iter_chunked`` cuts and joins, a copy more
                    size += len(piece)
                    if size > self._most:
                        raise body_too_large(size, self._most, self._limits)
                    self._keep(piece, size)
                    await self._wait_for_room(content.total_bytes)
                    deadline.reschedule(end + size / rate)
        except TimeoutError:
            raise self._too_late() from None
        return self._whole()

    def _keep(self, piece: bytes, size: int) -> None:
        """Keep a piece, the last of ``size`` bytes so far.

        The reader joins a body of moderate length at its end: a growing buffer moves its bytes repeatedly, which costs
        0.3 ms for 1 MB. A join needs the memory of the body twice, so a larger body is not joined. Small pieces would
        need 40 times the memory of their bytes.
        """
        if self._rest is None:
            if not self._pieces or (self._is_joined and (len(piece) >= _WHOLE or size == self._length)):
                self._pieces.append(piece)
                return
            self._rest = Growing()
            self._rest.writelines(self._pieces)
            self._pieces.clear()
        self._rest.write(piece)

    def _whole(self) -> bytes:
        if self._rest is not None:
            return self._rest.whole()
        return self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)

    async def _wait_for_room(self, arrived: int) -> None:
        """Wait until more than ``arrived`` bytes may come; some of them wait unread in the connection."""
        if self._arrival is None or self._arrival.grow(arrived - self._arrival.held):
            return
        room: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._arrival.on_room = lambda: None if room.done() else room.set_result(None)
        self._is_waiting = True
        await room
        self._is_waiting = False

    def _too_late(self) -> Refused:
        arrival = self._arrival
        if arrival is not None and (self._is_waiting or not arrival.is_inside):
            said = "no room for this body now: other bodies are arriving, or this body stalled while they waited"
            return Refused(503, said, headers={**_CLOSE, "Retry-After": "1"}, data={"delivered": "no"})
        return Refused(408, "the body took too long", headers=_CLOSE)
