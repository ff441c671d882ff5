"""Start the servers and relays of one column, wait for the address each prints, and end them; nothing is left."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from tests import peers
from tests.peers import locate

REPOSITORY = Path(__file__).resolve().parents[2]
SERVERS = Path(__file__).resolve().parent / "servers"
CLIENTS = Path(__file__).resolve().parent / "clients"
RELAY = [sys.executable, "-m", "relay"]
ADDRESS = re.compile(rb"listening (?:on )?(http://\S+)")
START_SECONDS = 30.0  # several interpreters start at once on two cores
END_SECONDS = 6.0  # a relay gives its child 2 s after its stdin ends, and 2 s after SIGTERM


def server_command(sdk: str) -> list[str]:
    """Return the argv of our everything-server on this SDK: stdio, or what follows."""
    return _script(SERVERS / f"server_{sdk}", sdk)


def client_command(sdk: str) -> list[str]:
    """Return the argv of our client on this SDK."""
    return _script(CLIENTS / f"client_{sdk}", sdk)


def _script(stem: Path, sdk: str) -> list[str]:
    if sdk.startswith("ts"):
        return [*peers.node_command(), str(stem.with_suffix(".mjs"))]
    return [str(locate.python(sdk)), str(stem.with_suffix(".py"))]


@contextlib.asynccontextmanager
async def listening(argv: Sequence[str], log: Path) -> AsyncIterator[str]:
    """Run a program until the block ends; give the address it says it listens on. Its stderr goes to the log."""
    async with running(argv) as process:
        assert process.stderr is not None, "running() pipes it"
        address: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        async with asyncio.TaskGroup() as group:
            draining = group.create_task(_drain(process.stderr, log, address), name=f"stderr of {log.stem}")
            try:
                async with asyncio.timeout(START_SECONDS):
                    url = await address
                yield url
            finally:
                await end(process)
                draining.cancel()


async def _drain(stderr: asyncio.StreamReader, log: Path, address: asyncio.Future[str]) -> None:
    with log.open("ab") as kept:
        while line := await stderr.readline():
            kept.write(line)
            kept.flush()
            if not address.done() and (found := ADDRESS.search(line)):
                address.set_result(found[1].decode())
    if not address.done():
        address.set_exception(RuntimeError(f"it ended before it listened: {log.read_text(errors='replace')[-500:]}"))


@contextlib.asynccontextmanager
async def running(
    argv: Sequence[str], *, environment: dict[str, str] | None = None, stdout: int = DEVNULL, stderr: int = PIPE
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a program in a process group of its own until the block ends; its stdin is empty."""
    process = await asyncio.create_subprocess_exec(
        *argv,
        cwd=REPOSITORY,
        env=os.environ | (environment or {}),
        stdin=DEVNULL,
        stdout=stdout,
        stderr=stderr,
        limit=2**20,  # one line of a log
        start_new_session=True,
    )
    try:
        yield process
    finally:
        await end(process)


async def end(process: asyncio.subprocess.Process) -> None:
    """End a process group that we started: politely, then surely."""
    for how in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, how)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(END_SECONDS):
                await process.wait()
                return
