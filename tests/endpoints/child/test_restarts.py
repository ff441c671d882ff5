"""When a child may start: its own ends count, but not those that the relay caused; the test moves the clock."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from relay.endpoints.child.child import Child
from relay.endpoints.child.restarts import Restarts
from relay.endpoints.core.refusing import Refusing
from relay.errors import ConfigError, EndpointClosed, EndpointUnavailable
from relay.frames.frame import Frame
from relay.limits import Limits
from tests.clock import Clock

LIMITS = Limits(close_grace=0.5)
ECHO = [sys.executable, "-c", "import sys\nfor line in sys.stdin: sys.stdout.write(line); sys.stdout.flush()"]


@asynccontextmanager
async def starts(clock: Clock) -> AsyncIterator[tuple[Restarts, list[Child]]]:
    """Yield restarts without chance, and a list of what was started, which is closed at the end."""
    children: list[Child] = []
    try:
        yield Restarts("server", clock, lambda: 1.0), children
    finally:
        for child in children:
            await child.aclose()


async def begin(restarts: Restarts, children: list[Child], *words: str) -> Child:
    async def make() -> Child:
        children.append(await Child.start(words or ECHO, limits=LIMITS))
        return children[-1]

    return await restarts.start(make)


async def ended(child: Child) -> None:
    """Wait for the end of a child."""
    gone = asyncio.Event()
    child.call_at_end(gone.set)
    await gone.wait()


async def fail(restarts: Restarts, children: list[Child], clock: Clock, code: int = 3) -> None:
    """Have a child end of its own accord, after whatever wait."""
    clock.now = max(clock.now, restarts.circuit.until)
    await ended(await begin(restarts, children, "/bin/sh", "-c", f"exit {code}"))


async def test_five_ends_open_it_and_the_sixth_start_is_refused_at_once() -> None:
    """With what was seen and when it is tried again; exit code 0 counts, nobody had asked for it."""
    clock = Clock()
    async with starts(clock) as (restarts, children):
        for code in (3, 0, 3, 3, 3):
            await fail(restarts, children, clock, code)
        with pytest.raises(EndpointUnavailable) as refused:
            await begin(restarts, children)
        assert "server: not started" in str(refused.value) and "exited with status 3" in str(refused.value)
        assert "tried again in 3.2 s, at 20" in str(refused.value)
        assert len(children) == 5 and restarts.is_shut
        assert restarts.last_error == "exited with status 3"


async def test_half_open_the_probe_decides() -> None:
    """Others are refused until it has answered; then they start, and the error is of the past."""
    clock = Clock()
    async with starts(clock) as (restarts, children):
        for _ in range(5):
            await fail(restarts, children, clock)
        clock.now = restarts.circuit.until
        probe = await begin(restarts, children)
        with pytest.raises(EndpointUnavailable, match="by another request"):
            await begin(restarts, children)
        await probe.send([Frame(b'{"method":"x"}')])
        await probe.receive()
        await begin(restarts, children)
        assert not restarts.circuit.is_open and restarts.circuit.fault is None
        assert restarts.last_error == "exited with status 3"


@pytest.mark.parametrize("answers", [True, False])
async def test_a_probe_that_is_closed_decides_by_whether_it_answered(answers: bool) -> None:
    """Closed by us is no failure; but without an answer the next start is a probe again."""
    clock = Clock()
    async with starts(clock) as (restarts, children):
        for _ in range(5):
            await fail(restarts, children, clock)
        clock.now = restarts.circuit.until
        probe = await begin(restarts, children)
        if answers:
            await probe.send([Frame(b'{"method":"x"}')])
            await probe.receive()
        await probe.aclose()
        assert restarts.circuit.is_open is not answers
        assert not restarts.circuit.has_probe
        await begin(restarts, children)


async def test_a_probe_that_ends_opens_it_for_longer() -> None:
    """Twice as long."""
    clock = Clock()
    async with starts(clock) as (restarts, children):
        for _ in range(6):
            await fail(restarts, children, clock)
        assert restarts.circuit.until == pytest.approx(clock.now + 6.4)
        assert restarts.wait == pytest.approx(6.4)


async def test_a_start_that_is_cancelled_or_broken_is_no_probe_any_more() -> None:
    """Whatever ends it, another may try."""
    clock = Clock()
    async with starts(clock) as (restarts, children):
        for _ in range(5):
            await fail(restarts, children, clock)
        clock.now = restarts.circuit.until

        async def never() -> Child:
            raise asyncio.CancelledError

        with pytest.raises(asyncio.CancelledError):
            await restarts.start(never)
        await begin(restarts, children)


async def test_a_child_that_we_end_has_not_failed() -> None:
    """However often sessions end, whatever the exit code of a child whose stdin was closed."""
    clock = Clock()
    async with starts(clock) as (restarts, children):
        for _ in range(7):
            child = await begin(restarts, children, "/bin/sh", "-c", "cat; exit 3")
            await child.aclose()
            assert child.own_end is None
        assert restarts.circuit.recent_failures == 0 and restarts.last_error is None


@pytest.mark.only_loop("asyncio")  # uvloop tells of it by the exit only
async def test_a_child_found_dead_by_writing_has_failed() -> None:
    """The write may fail before anything tells of the exit."""
    clock = Clock()
    async with starts(clock) as (restarts, children):
        child = await begin(restarts, children, "/bin/sh", "-c", "exec 0<&-; exec sleep 60")
        async with asyncio.timeout(20):
            while not child._takes_no_more():
                await child.send([Frame(b'{"method":"x"}')])
                await asyncio.sleep(0.01)
        await child.aclose()
        assert child.own_end == "closed its stdin" and restarts.circuit.recent_failures == 1


async def test_a_program_that_is_missing_is_said_once_with_its_name(caplog: pytest.LogCaptureFixture) -> None:
    """A failure as any other: it may be installed meanwhile."""
    restarts = Restarts("server", Clock(), lambda: 0.0)

    async def missing() -> Child:
        raise ConfigError("command 'x' was not found")

    with caplog.at_level(logging.WARNING, "relay"), pytest.raises(EndpointUnavailable, match="^server: command 'x'"):
        await restarts.start(missing)
    assert caplog.messages == ["server: command 'x' was not found"]
    assert restarts.circuit.recent_failures == 1


async def test_a_long_run_is_forgiven_by_a_look() -> None:
    """A child that has run for a minute, silent or not, shows that all is well."""
    clock = Clock()
    async with starts(clock) as (restarts, children):
        await fail(restarts, children, clock)
        clock.now = restarts.circuit.until
        await begin(restarts, children)
        restarts.look()
        assert restarts.circuit.recent_failures == 1
        clock.now += 60
        restarts.look()
        assert restarts.circuit.recent_failures == 0


async def test_who_stands_in_refuses_each_request_once() -> None:
    """Each id its error, batches too; notifications nothing; then it has ended."""
    refusing = Refusing("server", "server: is not there")
    gone: list[bool] = []
    refusing.call_at_end(lambda: gone.append(True))
    await refusing.send(
        [Frame(b'{"jsonrpc":"2.0","method":"n"}'), Frame(b'[{"id":"a","method":"x"},{"id":2,"method":"y"}]')]
    )
    errors = [json.loads(frame.raw) for frame in await refusing.receive()]
    assert [error["id"] for error in errors] == ["a", 2]
    assert {error["error"]["message"] for error in errors} == {"server: is not there"}
    assert all(error["error"]["data"] == {"delivered": "no"} for error in errors)
    assert await refusing.receive() == () and gone == [True]
    with pytest.raises(EndpointClosed, match="is not there"):
        await refusing.send([Frame(b'{"id":3,"method":"z"}')])
    await refusing.send_eof()
    await refusing.aclose()
