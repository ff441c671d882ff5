"""Lazy makes its endpoint at the first use."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from relay.endpoints.base import Endpoint
from relay.endpoints.core.lazy import Lazy
from relay.endpoints.core.memory import memory_pair
from relay.errors import EndpointClosed, EndpointUnavailable
from relay.frames.frame import Frame
from relay.limits import Limits
from relay.testing import Capabilities, Pair, check_endpoint, far_of, joined


@contextlib.asynccontextmanager
async def make_pair(limits: Limits) -> AsyncIterator[Pair]:
    """Put a Lazy before one end of a pair."""
    near, far = memory_pair(limits=limits)

    async def make() -> Endpoint:
        return near

    lazy = Lazy("lazy", make)
    lazy._inbox = near._inbox  # type: ignore[attr-defined]  # what check_endpoint looks at
    async with joined(lazy, far_of(far)) as pair:
        yield pair


async def test_lazy_endpoint() -> None:
    """Every law of the endpoint it stands for."""
    await check_endpoint(make_pair, Capabilities(bounds_frames=False, most_buffered=(256 + 64) * 1024))


async def test_it_is_made_once() -> None:
    """However many use it first, at once; it takes the name of what it became."""
    made = 0
    near, far = memory_pair()

    async def make() -> Endpoint:
        nonlocal made
        await asyncio.sleep(0.01)
        made += 1
        return near

    lazy = Lazy("lazy", make)
    assert (lazy.name, made) == ("lazy", 0)
    async with asyncio.TaskGroup() as group:
        receiving = group.create_task(lazy.receive())
        group.create_task(lazy.send([Frame(b"1")]))
        group.create_task(far.send([Frame(b"2")]))
    assert (made, lazy.name) == (1, "memory a")
    assert [frame.raw for frame in receiving.result()] == [b"2"]
    await lazy.send_eof()
    assert len(await far.receive()) == 1
    assert len(await far.receive()) == 0
    await lazy.aclose()


async def test_what_making_raises_the_first_use_raises() -> None:
    """And so does every other: there is nothing to use."""

    async def make() -> Endpoint:
        raise EndpointUnavailable("no")

    lazy = Lazy("lazy", make)
    with pytest.raises(EndpointUnavailable):
        await lazy.receive()
    with pytest.raises(EndpointUnavailable):
        await lazy.send([])
    await lazy.aclose()


async def test_closed_before_use_it_is_never_made() -> None:
    """It has received nothing and sends no more."""

    async def make() -> Endpoint:
        raise AssertionError("made after its end")

    lazy = Lazy("lazy", make)
    await lazy.aclose()
    await lazy.aclose()
    assert len(await lazy.receive()) == 0
    with pytest.raises(EndpointClosed, match="lazy: used after its end"):
        await lazy.send([])
