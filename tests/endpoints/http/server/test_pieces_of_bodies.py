"""A request's body is the bytes that came, in whatever pieces they came, and no more copies of them than one."""

from __future__ import annotations

import asyncio
from unittest import mock

import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.streams import StreamReader
from aiohttp.test_utils import make_mocked_request

from relay.endpoints.core.arrivals import Arrivals
from relay.endpoints.http.server import bodies
from relay.frames.growing import Growing
from relay.limits import DEFAULT_LIMITS

MIB = 2**20


class Buffers:
    """Counts the buffers that are made, in place of ``Growing``."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self) -> Growing:
        self.made += 1
        return Growing()


async def read(sizes: list[int], *, has_length: bool = True) -> tuple[bytes, bytes]:
    """Let a body come in pieces of these sizes; return what was sent and what was read."""
    sent = bytes(range(256)) * (sum(sizes) // 256 + 1)
    sent = sent[: sum(sizes)]
    protocol = mock.Mock(spec=BaseProtocol, _reading_paused=False)
    content = StreamReader(protocol, 2**16, loop=asyncio.get_running_loop())
    headers = {"Content-Length": str(len(sent))} if has_length else {"Transfer-Encoding": "chunked"}
    request = make_mocked_request("POST", "/mcp", headers, payload=content)
    one = bodies._Reading(request, DEFAULT_LIMITS, None, 64 * MIB)
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(one.read(2**20))
        at = 0
        for size in sizes:
            await asyncio.sleep(0)
            content.feed_data(sent[at : at + size])
            at += size
            await asyncio.sleep(0)
        content.feed_eof()
    return sent, reading.result()


@pytest.mark.parametrize(
    ("sizes", "has_length", "buffers"),
    [
        ([100], True, 0),
        ([MIB], True, 0),
        ([100_000] * 10 + [95], True, 0),
        ([300, *[100_000] * 10], True, 0),
        ([100_000, 1, 1, 100_000, 7], True, 1),
        ([1] * 500, True, 1),
        ([100_000] * 10, False, 1),
        ([MIB] * 5, True, 1),
    ],
)
async def test_a_body_is_what_came(
    sizes: list[int], has_length: bool, buffers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One of moderate length is joined at its end; a buffer is for what is large, of unknown length, or in crumbs."""
    counted = Buffers()
    monkeypatch.setattr(bodies, "Growing", counted)
    sent, got = await read(sizes, has_length=has_length)
    assert got == sent
    assert counted.made == buffers


async def test_what_waits_unread_in_the_connection_is_counted() -> None:
    """Of many bodies that wait for room, each has a few reads there."""
    arrivals = Arrivals(DEFAULT_LIMITS)
    content = StreamReader(mock.Mock(spec=BaseProtocol, _reading_paused=False), 2**16, loop=asyncio.get_running_loop())
    request = make_mocked_request("POST", "/mcp", {"Content-Length": str(2 * MIB)}, payload=content)
    content.feed_data(bytes(MIB // 2))
    async with asyncio.TaskGroup() as group:
        one = bodies._Reading(request, DEFAULT_LIMITS, arrivals.begin(2 * MIB), 64 * MIB)
        reading = group.create_task(one.read(2**20))
        await asyncio.sleep(0)
        assert arrivals.held == MIB // 2
        content.feed_data(bytes(MIB))
        await asyncio.sleep(0)
        assert arrivals.held == MIB + MIB // 2
        content.feed_data(bytes(MIB // 2))
        content.feed_eof()
    assert len(reading.result()) == arrivals.held == 2 * MIB
