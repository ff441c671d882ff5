"""The loop stays awake only while frames come right after one another."""

from __future__ import annotations

import asyncio

import pytest

from relay import busy_poll
from relay.busy_poll import BusyPoll
from tests.clock import Clock

MAY_POLL = busy_poll._may_poll


class Turns:
    """Counts the turns of a loop in which nobody else had anything to do."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, poll: BusyPoll) -> None:
        self.count = 0
        turn = BusyPoll._poll

        def counted(which: BusyPoll) -> None:
            self.count += which is poll
            turn(which)

        monkeypatch.setattr(BusyPoll, "_poll", counted)


def clock_of(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Set the clock of busy polling by hand."""
    clock = Clock()
    monkeypatch.setattr(busy_poll, "monotonic", clock)
    return clock


@pytest.fixture(autouse=True)
def cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have more than one CPU, on whatever machine."""
    monkeypatch.setattr(busy_poll, "_may_poll", lambda: True)


async def test_awake_while_frames_come(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the seventeenth on, until nothing has come for a moment; then again after seventeen."""
    clock = clock_of(monkeypatch)
    poll = BusyPoll()
    turns = Turns(monkeypatch, poll)
    for _ in range(2):
        turns.count = 0
        for _ in range(17):
            clock.now += 50e-6
            poll.frames_came()
        await asyncio.sleep(0)
        assert turns.count == 0
        clock.now += 50e-6
        poll.frames_came()
        for _ in range(10):
            await asyncio.sleep(0)
        assert turns.count >= 9
        clock.now += 110e-6
        await asyncio.sleep(0)
        ended = turns.count
        for _ in range(5):
            await asyncio.sleep(0)
        assert turns.count <= ended + 1


async def test_asleep_where_frames_are_rarer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that takes longer is not waited for, however many calls there are; one late answer begins the count."""
    clock = clock_of(monkeypatch)
    poll = BusyPoll()
    turns = Turns(monkeypatch, poll)
    for number in range(200):
        clock.now += 150e-6 if number % 10 == 0 else 20e-6
        poll.frames_came()
        await asyncio.sleep(0)
    assert turns.count == 0


async def test_asleep_on_a_single_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """There the peer could not run meanwhile. 0 in MCP_RELAY_BUSY_POLL, or a quota below two CPUs, is the same."""
    monkeypatch.setattr(busy_poll, "_may_poll", lambda: False)
    clock = clock_of(monkeypatch)
    poll = BusyPoll()
    turns = Turns(monkeypatch, poll)
    for _ in range(100):
        clock.now += 1e-6
        poll.frames_came()
        await asyncio.sleep(0)
    assert turns.count == 0


@pytest.mark.parametrize(("cpus", "switch", "may"), [(1.5, None, False), (2.0, None, True), (8.0, "0", False)])
def test_who_may_poll(monkeypatch: pytest.MonkeyPatch, cpus: float, switch: str | None, may: bool) -> None:
    """With a quota below two CPUs the time is the peer's; and whoever pays for each CPU second may say no."""
    monkeypatch.setattr(busy_poll, "usable_cpus", lambda: cpus)
    if switch is not None:
        monkeypatch.setenv("MCP_RELAY_BUSY_POLL", switch)
    assert MAY_POLL.__wrapped__() is may
