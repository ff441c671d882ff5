"""Write a large answer to a client piece by piece, so that at most one unread piece exists as a copy."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from relay.limits import Limits

if TYPE_CHECKING:
    from aiohttp import web

__all__ = ["abort", "joined", "pieces_of", "send_whole", "write"]

logger = logging.getLogger("relay")

_PIECE = 256 * 1024


def pieces_of(data: bytes) -> Iterator[memoryview]:
    """Yield data in pieces, without copying."""
    whole = memoryview(data)
    for at in range(0, len(data), _PIECE):
        yield whole[at : at + _PIECE]


def joined(parts: Sequence[bytes]) -> Iterator[bytes | memoryview]:
    """Yield parts as one piece, or in pieces if they are large, without a copy of all of them."""
    if sum(map(len, parts)) <= _PIECE:
        yield b"".join(parts)
        return
    for part in parts:
        yield from pieces_of(part)


async def send_whole(request: web.BaseRequest, whole: web.Response, limits: Limits) -> web.StreamResponse:
    """Send a complete answer; a client that does not read a large answer loses it."""
    body = whole.body
    if not isinstance(body, bytes) or len(body) <= limits.buffer_low:
        return whole
    from aiohttp import web  # here: it takes 15 ms, and a relay that only dials comes by for `pieces_of`

    answer = web.StreamResponse(status=whole.status, headers=whole.headers)
    answer.content_length = len(body)
    try:
        await answer.prepare(request)
        for piece in pieces_of(body):
            await write(request, answer, piece, limits)
        await answer.write_eof()
    except ConnectionError as exc:
        logger.debug("http: a client left before its answer: %s", exc)
    return answer


async def write(request: web.BaseRequest, answer: web.StreamResponse, data: bytes | memoryview, limits: Limits) -> None:
    """Write to the client. Raises ConnectionError if the client has left or does not read."""
    try:
        async with asyncio.timeout(limits.stall):
            await answer.write(data)
    except TimeoutError:
        logger.warning("http: closed a connection: the client left its answer unread for %g s", limits.stall)
        abort(request)
        raise ConnectionResetError("the client does not read") from None


def abort(request: web.BaseRequest) -> None:
    """Close the client's connection at once, in the middle of an answer."""
    if request.transport is not None:
        request.transport.abort()
