"""memory_pair: each end receives what the other sends."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator

import pytest

from relay.app.run.wiring import connect
from relay.endpoints.base import Endpoint
from relay.endpoints.core.memory import MemoryEndpoint, memory_pair
from relay.errors import EndpointBroken, EndpointClosed
from relay.frames import replies
from relay.frames.frame import Frame
from relay.limits import Limits
from relay.pipe import pipe
from relay.testing import Capabilities, Pair, check_endpoint, far_of, joined
from relay.testing.pair import request
from tests.endpoints.http.peers_by_hand import error_of

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


READ_ONE = "import sys; sys.stdin.readline(); sys.exit({})"
CHILD = [sys.executable, "-I", "-S", "-c"]


@pytest.mark.parametrize(
    ("server", "code", "delivered"),
    [
        ("tcp://127.0.0.1:{}", replies.UNAVAILABLE, "no"),
        (["/no/such/program"], replies.UNAVAILABLE, "no"),
        ([*CHILD, READ_ONE.format(3)], replies.LOST, "unknown"),
        ([*CHILD, READ_ONE.format(0)], replies.LOST, "unknown"),
    ],
    ids=["refused", "missing", "failed", "ended"],
)
async def test_what_a_server_leaves_open_is_answered(server: str | list[str], code: int, delivered: str) -> None:
    """Whoever asks by a pair hears what a client on a socket does: one error for each request, then the end."""
    near, far = memory_pair()
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # and does not listen: a port that nobody else can have
        endpoint = connect(server.format(deaf.getsockname()[1]) if isinstance(server, str) else server)
        await _hear_of_the_end(near, far, endpoint, code, delivered)


async def _hear_of_the_end(
    near: MemoryEndpoint, far: MemoryEndpoint, server: Endpoint, code: int, delivered: str
) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(pipe(far, server, limits=Limits(linger=0.2, close_grace=0.5)))
        await near.send([request(7)])
        (answer,) = await near.receive()
        assert (answer.head.id, *error_of(answer)[1:]) == (7, code, {"delivered": delivered})
        assert await near.receive() == ()
    await near.aclose()


async def test_only_open_requests_are_answered_at_the_end() -> None:
    """Of either end, in a batch or alone; not those with an answer, nor those that were cancelled."""
    for close in (True, False):
        near, far = memory_pair()
        batch = b'[{"jsonrpc":"2.0","id":3,"method":"x"},{"jsonrpc":"2.0","id":4,"method":"x"}]'
        cancelled = b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":4}}'
        assert far.send_at_once([request(1), request(2), Frame(batch), Frame(cancelled)])
        await near.send([Frame(b'{"jsonrpc":"2.0","id":1,"result":{}}')])
        await (near.aclose(EndpointBroken("it fell")) if close else near.send_eof())
        _, *errors = await far.receive()
        assert sorted(str(frame.head.id) for frame in errors) == ["2", "3"]
        assert all((b"it fell" in frame.raw) is close for frame in errors)
        assert await far.receive() == ()
        await near.aclose()
        await far.aclose()
