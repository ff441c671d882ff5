"""A client transport of the Python SDK 1.x as a program that speaks lines.

`lines_client.py --http URL | --sse URL | --ws URL | -- COMMAND ARG...`: each line of its stdin is a message for the
server there, each message of the server a line of its stdout. No SDK session is in between; the SDK reads each message
and writes it anew.
"""

# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from mcp.shared.message import SessionMessage
from mcp.types import JSONRPCMessage

if TYPE_CHECKING or __package__:
    from . import client_py1, quick, scenario
else:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from peers import client_py1, quick, scenario

MOST_LINE = 64 * 2**20


def read_target() -> scenario.Target:
    """Read the command line."""
    option, *rest = sys.argv[1:]
    if option == "--":
        return scenario.Target(command=tuple(rest))
    found = {option: rest[0]}
    return scenario.Target(http=found.get("--http"), sse=found.get("--sse"), ws=found.get("--ws"))


async def main() -> None:
    """Carry until stdin or the server ends."""
    quick.spare()
    lines = asyncio.StreamReader(limit=MOST_LINE)
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin.buffer)
    async with client_py1.open_streams(read_target()) as (reading, writing, _):
        async with anyio.create_task_group() as group:
            group.start_soon(carry_back, reading)
            while line := await lines.readline():
                await writing.send(SessionMessage(JSONRPCMessage.model_validate_json(line)))
            group.cancel_scope.cancel()


async def carry_back(reading: Any) -> None:
    """Print what the server says."""
    async for received in reading:
        if isinstance(received, Exception):
            raise received
        print(received.message.model_dump_json(by_alias=True, exclude_none=True), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
