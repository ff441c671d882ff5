"""The guardian ends the processes that a killed relay leaves behind."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from relay.endpoints.child.guardian import Guardian

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")

# A relay in small: holds children that have children, all of which ignore what they can, and tells their ids.
HOLDER = """
import asyncio, json, os, sys
from relay.endpoints.child.child import Child
CHILD = '''
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN); signal.signal(signal.SIGHUP, signal.SIG_IGN)
pid = os.fork()
if pid: os.write(1, b'{"method":"x","params":[%d,%d]}\\\\n' % (os.getpid(), pid))
while True: time.sleep(1)
'''
async def main():
    children = [await Child.start([sys.executable, "-S", "-c", CHILD]) for _ in range(2)]
    gone = await Child.start([sys.executable, "-S", "-c", "pass"])
    await gone.aclose()
    pids = [pid for child in children for frame in await child.receive() for pid in json.loads(frame.raw)["params"]]
    print(json.dumps([pids, children[0]._guardian._process.pid]), flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


def lives(pid: int) -> bool:
    """Tell whether a process lives and is no zombie."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until_gone(pids: list[int], seconds: float) -> list[int]:
    """Return which of these still live after so many seconds."""
    until = time.monotonic() + seconds
    while (left := [pid for pid in pids if lives(pid)]) and time.monotonic() < until:
        threading.Event().wait(0.02)
    return left


def wait_until_trapped(pid: int) -> None:
    """Return once the shell has set all its traps."""
    wanted = sum(1 << (number - 1) for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM))
    until = time.monotonic() + 2
    while time.monotonic() < until:
        (ignored,) = re.findall(r"SigIgn:\s*(\w+)", Path(f"/proc/{pid}/status").read_text())
        if int(ignored, 16) & wanted == wanted:
            return
        threading.Event().wait(0.01)


def test_children_and_grandchildren_of_a_killed_relay_are_gone_in_2_seconds() -> None:
    """kill -9 of the holder (R-08); the guardian ends, too."""
    holder = subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE)
    with holder:
        assert holder.stdout is not None
        pids, guardian = json.loads(holder.stdout.readline())
        assert len(pids) == 4
        assert all(lives(pid) for pid in [*pids, guardian])
        holder.kill()
    assert wait_until_gone([*pids, guardian], 2.0) == []


def test_one_shell_is_shared_and_ends_with_its_last_holder() -> None:
    """Two holders, one process; it ignores a terminal's signals, and ends at once when it is given back."""
    first, second = Guardian.hold(), Guardian.hold()
    assert first is not None
    assert first is second
    process = first._process
    wait_until_trapped(process.pid)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        process.send_signal(number)
    first.watch(2**22 - 1)  # no such group; taken off again before the end
    first.unwatch(2**22 - 1)
    first.release()
    assert process.poll() is None
    second.release()
    assert process.poll() == 0
    assert Guardian._shared is None


def test_only_what_is_watched_is_ended() -> None:
    """Of three groups on the list one is taken off, and lives."""
    processes = [subprocess.Popen(["sleep", "60"], start_new_session=True) for _ in range(3)]
    try:
        guardian = Guardian.hold()
        assert guardian is not None
        for process in processes:
            guardian.watch(process.pid)
        guardian.unwatch(processes[1].pid)
        shell = guardian._process
        assert shell.stdin is not None
        shell.stdin.close()  # as the kernel does when the relay is gone
        assert shell.wait(3) == 0
        assert [process.poll() for process in processes] == [-signal.SIGTERM, None, -signal.SIGTERM]
        guardian.release()
    finally:
        for process in processes:
            process.kill()
            process.wait()


def test_a_guardian_that_has_gone_is_replaced(caplog: pytest.LogCaptureFixture) -> None:
    """Somebody killed it: a warning, no failure; the next child gets a new one."""
    first = Guardian.hold()
    assert first is not None
    first._process.kill()
    first._process.wait()
    first.watch(2**22 - 1)
    assert "the guardian has gone" in caplog.text
    second = Guardian.hold()
    assert second is not None
    assert second is not first
    assert second._process.poll() is None
    first.release()
    second.release()
    assert Guardian._shared is None


def test_without_a_shell_children_live_without_a_guardian(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A warning says what that means; on Windows there is none at all."""

    def fail(*args: object, **kwargs: object) -> None:
        raise FileNotFoundError("no /bin/sh")

    monkeypatch.setattr(subprocess, "Popen", fail)
    assert Guardian.hold() is None
    assert "no guardian: children may outlive a relay that is killed: no /bin/sh" in caplog.text
