"""A forked program finds what an executed one finds, and ends as it does; what starts it sees the same child."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests import warm_start

PROBE = [sys.executable, str(Path(__file__).with_name("probe.py"))]
ENDS = ["0", "3", "words", "raise", "interrupt", "kill", "thread"]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="programs are forked on Linux only")


def outcome(done: subprocess.CompletedProcess[str]) -> tuple[Any, int, list[str]]:
    """Return what a probe found, its exit code, and what it said but for the places in a traceback."""
    found, _, _ = json.loads(done.stdout)
    return found, done.returncode, [line for line in done.stderr.splitlines() if not line.startswith("  ")]


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("session", [False, True])
def test_a_fork_is_like_a_start(end: str, session: bool, tmp_path: Path) -> None:
    """Words, variables, folder, descriptors, streams, parent, session, signals; exit code, and what is said last."""
    env = {**os.environ, "MCP_RELAY_LOOP": "asyncio", "UNUSUAL": "a=ü\udcff\n"}
    how: dict[str, Any] = {"cwd": tmp_path, "env": env, "start_new_session": session}
    words = [*PROBE, end, "né", ""]
    started = subprocess.run(words, input="said", capture_output=True, text=True, timeout=20, **how)
    forked = warm_start.run(words, input="said", capture_output=True, text=True, timeout=20, **how)
    assert outcome(forked) == outcome(started)
    assert outcome(forked)[0]["parent"] == os.getpid()


@pytest.mark.parametrize("end", ENDS)
def test_a_stand_in_ends_as_its_program(end: str, tmp_path: Path) -> None:
    """The program has the stand-in's descriptors, variables and folder; all but its parent is as usual."""
    words = [*PROBE, end]
    started, forked = (
        outcome(subprocess.run(one, input="said", capture_output=True, text=True, timeout=20, cwd=tmp_path))
        for one in (words, warm_start.stand_in(words))
    )
    del forked[0]["parent"], started[0]["parent"]
    assert forked == started


def test_programs_are_apart() -> None:
    """Each is a process of its own, and draws random numbers of its own."""
    runs = [json.loads(warm_start.run(PROBE, input="", capture_output=True, text=True).stdout) for _ in range(3)]
    assert len({process for _, process, _ in runs}) == 3
    assert len({drawn for _, _, drawn in runs}) == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_signals_reach_a_program_behind_a_stand_in(number: int) -> None:
    """Its pipes close when it has ended, however its stand-in was told."""
    relay = [sys.executable, "-m", "relay", "--listen", "stdio:", "--", "sh", "-c", "read line; echo ready >&2; cat"]
    codes = []
    for words in (relay, warm_start.stand_in(relay)):
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdin is not None and process.stderr is not None, "pipes"
            process.stdin.write(b'{"jsonrpc":"2.0","id":1,"method":"ping"}\n')
            process.stdin.flush()
            assert b"ready" in process.stderr.readline()
            process.send_signal(number)
            process.communicate(timeout=20)
        codes.append(process.returncode)
    assert codes[0] == codes[1]


async def test_streams_of_a_process() -> None:
    """Lines in and out on any loop; the end is noticed without asking."""
    process = await warm_start.Process.start(*PROBE, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=-1)
    assert process.stdin and process.stdout and process.stderr, "pipes"
    process.stdin.write(b"some ")
    await process.stdin.drain()
    process.stdin.write(b"words")
    process.stdin.close()
    found, number, _ = json.loads(await process.stdout.read())
    assert (found["said"], number) == ("some words", process.pid)
    assert await process.stderr.read() == "é\nthe end\n".encode()
    assert await process.wait() == 0 == process.returncode
    process.close()


async def test_a_killed_process() -> None:
    """It has ended when `wait` says so, by the signal."""
    process = await warm_start.Process.start(*PROBE, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.returncode is None
    process.kill()
    async with asyncio.timeout(10):
        assert await process.wait() == -signal.SIGKILL
    process.close()


@pytest.mark.parametrize("name", ["PYTHONDEVMODE", "LC_ALL"])
def test_variables_that_an_interpreter_reads_are_heeded(name: str) -> None:
    """It is another interpreter that forks then."""
    env = {**os.environ, name: "1" if name == "PYTHONDEVMODE" else "C"}
    code = Path(__file__).with_name("probe.py")
    started, forked = (
        outcome(one([sys.executable, str(code)], input="", capture_output=True, text=True, env=env))
        for one in (subprocess.run, warm_start.run)
    )
    assert forked == started
