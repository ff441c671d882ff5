"""As process 1 of a container, the relay reaps orphaned processes."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys

import psutil
import pytest

from relay.app.run.orphans import reap_orphans
from relay.endpoints.child.child import Child
from relay.limits import Limits
from tests.e2e.oracle import Client, Relay, request, run_relay

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="process 1 of a container is Linux'")

# What process 1 is by itself: whoever execs after this gets the orphans below it (prctl(2), PR_SET_CHILD_SUBREAPER).
SUBREAPER = """
import ctypes, os, sys
assert ctypes.CDLL(None).prctl(36, 1, 0, 0, 0) == 0
os.execv(sys.argv[1], sys.argv[1:])
"""

# Leaves an orphan for each call but ``exit``, which ends it with that status.
SERVER = """
import json, os, sys
for line in sys.stdin:
    message = json.loads(line)
    if message.get("method") == "exit":
        os._exit(message["params"]["status"])
    if message.get("id") is None:
        continue
    reading, writing = os.pipe()
    if os.fork() == 0:
        orphan = os.fork()
        if orphan:
            os.write(writing, b"%d" % orphan)
        os._exit(0)
    pid = int(os.read(reading, 20))
    os.wait()
    os.close(reading); os.close(writing)
    result = {"protocolVersion": "2025-06-18", "capabilities": {}, "orphan": pid}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"""


async def gone(relay: Relay, pids: list[int]) -> None:
    """Wait until there is nothing left of these, not even a zombie, and no other zombie of the relay's."""
    async with asyncio.timeout(20):
        while any(map(psutil.pid_exists, pids)) or any(
            child.is_running() and child.status() == psutil.STATUS_ZOMBIE
            for child in psutil.Process(relay.process.pid).children()
        ):
            await asyncio.sleep(0.02)


@pytest.mark.only_loop("asyncio")
@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
async def test_orphans_are_reaped_and_exits_of_our_own_are_not_lost(loop: str) -> None:
    """Of ten servers at once: no zombie stays, and each one's exit status is told to its own client."""
    via = [sys.executable, "-c", SUBREAPER]
    command = [sys.executable, "-I", "-S", "-c", SERVER]
    with run_relay(via=via, env={"MCP_RELAY_LOOP": loop}, command=command) as relay:

        async def one(status: int) -> list[int]:
            async with Client(relay.base) as client:
                await client.begin()
                answers = [json.loads((await client.call(request(number, "any")))[0]) for number in range(5)]
                (end,) = await client.call(request("end", "exit", status=status))
                assert f"exited with status {status}" in json.loads(end)["error"]["message"]
                return [answer["result"]["orphan"] for answer in answers]

        async with asyncio.TaskGroup() as group:
            clients = [group.create_task(one(status)) for status in range(1, 11)]
        await gone(relay, [pid for client in clients for pid in client.result()])


def start_shells() -> tuple[int, int]:
    """Start what nobody here waits for: one shell that has ended, and one that is about to."""
    ended = os.posix_spawn("/bin/sh", ["sh", "-c", "exit 3"], {})
    os.waitid(os.P_PID, ended, os.WEXITED | os.WNOWAIT)
    return ended, os.posix_spawn("/bin/sh", ["sh", "-c", "exit 4"], {})


async def test_a_process_that_was_there_before_is_reaped_too() -> None:
    """A shell that started a helper and became us: its end may have come before we looked."""
    pids = start_shells()
    with reap_orphans(asyncio.get_running_loop()):
        ours = await Child.start(["/bin/sh", "-c", "exit 5"], limits=Limits(close_grace=0.2))
        async with asyncio.timeout(20):
            while any(map(psutil.pid_exists, pids)) or ours.is_alive:
                await asyncio.sleep(0.01)
        await ours.aclose()
        assert ours.own_end == "exited with status 5"
    assert signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL
