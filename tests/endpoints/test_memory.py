"""memory_pair: what one end sends, the other receives."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest

from relay.endpoints.memory import memory_pair
from relay.errors import EndpointBroken, EndpointClosed
from relay.frames.frame import Frame
from relay.limits import Limits
from relay.testing import Capabilities, Pair, check_endpoint, far_of, joined

FRAME = Frame(b"{}")


@contextlib.asynccontextmanager
async def make_pair(limits: Limits) -> AsyncIterator[Pair]:
    """Join two ends in memory."""
    near, far = memory_pair(limits=limits)
    async with joined(near, far_of(far)) as pair:
        yield pair


async def test_memory_endpoint() -> None:
    """Every law of an endpoint, and 320 KiB are all that waits unread."""
    await check_endpoint(make_pair, Capabilities(bounds_frames=False, most_buffered=(256 + 64) * 1024))


async def test_sending_after_our_end_is_our_mistake() -> None:
    """EndpointClosed says which end it was."""
    a, _ = memory_pair()
    await a.send_eof()
    with pytest.raises(EndpointClosed, match="memory a: send after send_eof"):
        await a.send([FRAME])
    await a.aclose()
    with pytest.raises(EndpointClosed, match="memory a: send after aclose"):
        await a.send([FRAME])


async def test_sending_after_their_end_is_theirs() -> None:
    """EndpointBroken: nobody is there."""
    a, b = memory_pair()
    await b.aclose()
    with pytest.raises(EndpointBroken, match="memory a: the other end has closed"):
        await a.send([FRAME])
    assert len(await a.receive()) == 0
