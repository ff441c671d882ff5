"""How long a WebSocket client may wait before its first message, and how long that message may take."""

import asyncio
from dataclasses import replace

import pytest

from relay.limits import Limits
from tests.e2e.oracle import initialize
from tests.endpoints.test_bounds import UPGRADE, Guest, relay

LIMITS = Limits(close_grace=0.2, handshake=0.2, idle_connection=10, keep_alive=0.1)
MESSAGE = initialize()


def masked(text: bytes) -> bytes:
    """Write a text message with a mask of zeros."""
    return b"\x81\xfe" + len(text).to_bytes(2, "big") + bytes(4) + text.ljust(126)


async def said_after(guest: Guest) -> bytes:
    """Return what comes until the connection ends."""
    async with asyncio.timeout(20):
        return await guest.reader.read()


@pytest.mark.parametrize("pause", [0.0, 0.5], ids=["at once", "after twice a handshake"])
async def test_a_client_may_think_before_its_first_message(pause: float) -> None:
    """It is as an HTTP connection that is kept: open, and idle."""
    async with relay(LIMITS) as there:
        guest = await there.open("http")
        guest.writer.write(UPGRADE)
        await guest.reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(pause)
        guest.writer.write(masked(MESSAGE))
        async with asyncio.timeout(20):
            endpoint = await anext(aiter(there.http))
            frames = await endpoint.receive()
        assert [frame.raw.strip() for frame in frames] == [MESSAGE.strip()]
        await endpoint.aclose()


async def test_a_client_that_never_speaks_is_let_go() -> None:
    """Though it lives: only an idle connection's time."""
    async with relay(replace(LIMITS, idle_connection=0.6)) as there:
        guest = await there.open("http")
        began = asyncio.get_running_loop().time()
        guest.writer.write(UPGRADE)
        await said_after(guest)
        assert asyncio.get_running_loop().time() - began > 0.55


@pytest.mark.parametrize("pause", [0.0, 0.3], ids=["at once", "after a pause"])
async def test_a_first_message_has_the_time_of_a_handshake(pause: float) -> None:
    """From its first byte: neither for ever, nor less because the client has thought before."""
    async with relay(LIMITS) as there:
        guest = await there.open("http")
        guest.writer.write(UPGRADE)
        await guest.reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(pause)
        began = asyncio.get_running_loop().time()
        guest.writer.write(masked(MESSAGE)[:20])
        await said_after(guest)
        assert 0.15 < asyncio.get_running_loop().time() - began < LIMITS.idle_connection - pause
