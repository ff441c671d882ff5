"""Every listener before every target, with all that MCP does, under the oracle.

``python -m tests.e2e.pairs --frames 10000`` (``make soak``) prints the matrix; test_pairs.py runs it with fewer frames.
Each pair is a relay of its own kind of target that listens in every way at once. Whose parts stand at the ends:

    --parts ours     clients are endpoints of this process, and ``mcp-relay`` itself where the listener is own stdio;
                     the server is the test server, behind another relay where the target is no command
    --parts theirs   wherever there are such, one end at least is not ours (pair_parts.py)
    --parts both     one after the other
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import re
import sys
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from pathlib import Path

from tests import peers, warm_start
from tests.e2e.oracle import Oracle, stdio_server
from tests.e2e.pair_client import FAULTS, PairClient, Row
from tests.e2e.pair_parts import Parts, ours, own_stdio, server_words, theirs

__all__ = ["LISTENERS", "TARGETS", "carry", "far_end", "relaying", "run_pairs"]

LISTENERS = ("stdio", "http", "sse", "ws", "tcp", "unix")
TARGETS = ("child", "http", "sse", "ws", "tcp", "unix", "stdio")
_SAID = re.compile(r"listening on (\S+)(?: \(Streamable HTTP\) and (\S+))?")


# Processes.


@contextlib.asynccontextmanager
async def relaying(
    folder: Path, *target: str, options: Sequence[str] = (), server: Sequence[str] = ()
) -> AsyncIterator[dict[str, str]]:
    """Run a relay that listens in every way before a target; yield its addresses by kind.

    ``server`` is what stands at its own stdin and stdout, where those are the target.
    """
    socket = folder / f"{len(list(folder.iterdir()))}"
    listens = ("http://127.0.0.1:0/mcp", "tcp://127.0.0.1:0", f"unix:{socket}")
    options = [*options, *(word for spec in listens for word in ("--listen", spec))]
    words = (sys.executable, "-m", "relay", *options, "--", *target)
    async with own_stdio(server) as stdio:
        process = await warm_start.Process.start(
            *words, stdin=stdio.stdin, stdout=stdio.stdout, stderr=asyncio.subprocess.PIPE
        )
        stdio.let_go()
        try:
            async with _listening(process) as found:
                yield found
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
            process.close()


@contextlib.asynccontextmanager
async def _listening(process: warm_start.Process) -> AsyncIterator[dict[str, str]]:
    assert process.stderr is not None, "a pipe"
    found: dict[str, str] = {}
    async with asyncio.timeout(20):
        while len(found) < 5:
            line = (await process.stderr.readline()).decode()
            assert line, "the relay ended"
            _note_address(line, found)
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(_show(process.stderr))
        yield found
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(20):
            assert await process.wait() == 0
        reading.cancel()


def _note_address(line: str, found: dict[str, str]) -> None:
    said = _SAID.search(line)
    if said is None:
        return
    address, sse = said.groups()
    scheme = address.partition(":")[0]
    kind = {"https": "http", "tls": "tcp"}.get(scheme, scheme)
    found[kind] = address
    if kind == "http":
        found["sse"] = sse
        found["ws"] = address.replace("http", "ws", 1)


async def _show(stderr: asyncio.StreamReader) -> None:
    while line := await stderr.readline():
        sys.stderr.write(f"  relay: {line.decode(errors='replace')}")


# Pairs.


async def carry(parts: Parts, listener: str, target: str, address: str, frames: int) -> Row:
    """Run the clients through one pair, ``frames`` calls together; return what became of them."""
    row = Row(listener, target, parts.client, parts.server)
    oracle = Oracle(is_bytewise=parts.is_bytewise)
    clients = [
        PairClient(f"client{number}", await parts.reach(listener, address), oracle, row)
        for number in range(parts.clients)
    ]
    async with asyncio.TaskGroup() as group:
        for number, client in enumerate(clients):
            large = parts.large if number == 0 else 0
            group.create_task(client.run(frames // parts.clients, large=large), name=client.name)
    for tag in oracle.unanswered():
        row.fault("lost", tag)
    return row


@contextlib.asynccontextmanager
async def far_end(folder: Path) -> AsyncIterator[dict[str, str]]:
    """Run the far relay; yield the address of each kind of target."""
    async with relaying(folder, *stdio_server()) as addresses:
        yield addresses


async def run_pairs(
    target: str,
    folder: Path,
    far: dict[str, str],
    frames: int,
    *,
    is_theirs: bool = False,
    largest: int = 16 * 2**20,
) -> AsyncGenerator[Row]:
    """Run every listener before one target; yield a row for each that makes sense. ``largest`` is in bytes."""
    async with contextlib.AsyncExitStack() as stack:
        words = await stack.enter_async_context(server_words(target, far, is_theirs=is_theirs))
        near: dict[str, str] | None = None
        for listener in LISTENERS:
            parts = (theirs if is_theirs else ours)(listener, target)
            if parts is None:
                continue
            parts = dataclasses.replace(parts, large=min(parts.large, largest))
            if near is None or target == "stdio":  # whose one server is gone with its one client
                server = words if target == "stdio" else ()
                relay = relaying(folder, *(("stdio:",) if target == "stdio" else words), server=server)
                near = await stack.enter_async_context(relay)
            address = near.get(listener) or "\0".join(("--listen", "stdio:", "--", *words))
            yield await carry(parts, listener, target, address, frames)


async def _matrix(frames: int, targets: Sequence[str], whose: Sequence[bool]) -> int:
    faults = 0
    sys.stdout.write(f"{Row.heading()}\n")
    with tempfile.TemporaryDirectory() as folder:
        async with far_end(Path(folder)) as far:
            for is_theirs in whose:
                for target in targets:
                    async with contextlib.aclosing(
                        run_pairs(target, Path(folder), far, frames, is_theirs=is_theirs)
                    ) as rows:
                        async for row in rows:
                            faults += len(row.faults)
                            sys.stdout.write(f"{row}\n")
                            sys.stdout.flush()
    sys.stdout.write(f"{faults} frames {', '.join(FAULTS[:-1])} or {FAULTS[-1]}\n")
    return 1 if faults else 0


def main() -> int:
    """Print the matrix; 1 if any frame was lost, duplicated, reordered, misdelivered or changed."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.pairs", description=main.__doc__)
    parser.add_argument("--frames", type=int, default=1000, help="calls for each pair (default 1000)")
    parser.add_argument("--target", action="append", choices=TARGETS, help="only these (repeatable)")
    parser.add_argument("--parts", choices=("ours", "theirs", "both"), default="both", help="whose ends (default both)")
    options = parser.parse_args()
    whose = {"ours": (False,), "theirs": (True,), "both": (True, False)}[options.parts]
    if True in whose:
        peers.install("ws1")
    return asyncio.run(_matrix(options.frames, options.target or TARGETS, whose))


if __name__ == "__main__":
    sys.exit(main())
