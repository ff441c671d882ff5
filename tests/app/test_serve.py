"""Signals end a relay, also where its loop cannot catch them."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from relay.app.log.stderr import StderrSink
from relay.app.run.signals import StopSignals

NUMBERS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@pytest.mark.only_loop("asyncio")
@pytest.mark.parametrize("number", NUMBERS)
async def test_signals_where_the_loop_catches_none(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows: Python's own handlers do it, and the loop wakes up."""

    def refuse(*_: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(asyncio.get_running_loop(), "add_signal_handler", refuse)
    kept = {one: signal.getsignal(one) for one in NUMBERS}
    try:
        stop = StopSignals(StderrSink())
        stop.install()
        os.kill(os.getpid(), number)
        async with asyncio.timeout(10):
            await stop.stopped.wait()
    finally:
        for one, handler in kept.items():
            signal.signal(one, handler)


@pytest.mark.only_loop("asyncio")
@pytest.mark.parametrize("first", NUMBERS)
async def test_a_second_sighup_hurries_nothing(first: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Any other second signal ends the process: an operator insists."""
    codes: list[int] = []
    monkeypatch.setattr(os, "_exit", codes.append)
    silent = os.open(os.devnull, os.O_WRONLY)
    sink = StderrSink(silent)
    stop = StopSignals(sink)
    stop._caught(first)
    stop._caught(signal.SIGHUP)
    assert stop.stopped.is_set() and codes == []
    stop._caught(signal.SIGTERM)
    assert codes == [130]
    sink.flush()
    os.close(silent)


@pytest.mark.only_loop("asyncio")
async def test_sighup_reads_again_where_there_is_something_to_read() -> None:
    """It ends nothing then; while the relay ends, it is passed over as any second one."""
    told: list[bool] = []
    silent = os.open(os.devnull, os.O_WRONLY)
    stop = StopSignals(StderrSink(silent), lambda: told.append(True))
    stop._caught(signal.SIGHUP)
    stop._caught(signal.SIGHUP)
    assert (told, stop.stopped.is_set()) == ([True, True], False)
    stop._caught(signal.SIGTERM)
    stop._caught(signal.SIGHUP)
    assert len(told) == 2 and stop.stopped.is_set()
    os.close(silent)
