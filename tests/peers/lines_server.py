"""The server transports of the Python SDK 1.x before a program that speaks lines: a process for each session.

`lines_server.py [--http PORT | --sse PORT | --ws PORT] -- COMMAND ARG...`; stdio unless told otherwise. No session of
the SDK is in between, so any message passes, whatever its method; the SDK reads each and writes it anew.
"""

# mypy: disable-error-code="import-not-found"

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from mcp.server.fastmcp.server import StreamableHTTPASGIApp
from mcp.server.sse import SseServerTransport
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.message import ServerMessageMetadata, SessionMessage
from mcp.types import JSONRPCMessage
from starlette.applications import Starlette
from starlette.routing import Route

if TYPE_CHECKING or __package__:
    from . import serving
else:  # run as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from peers import serving

MOST_LINE = 64 * 2**20


class Session:
    """One client's session, and which of its requests are open: what the program says goes out with one of those."""

    def __init__(self, program: asyncio.subprocess.Process) -> None:
        """Belong to a program that has just been started."""
        self._program = program
        self._open: dict[Any, Any] = {}  # the progress token of each request, None if it has none

    async def carry_there(self, reading: Any) -> None:
        """Write what the client says."""
        assert self._program.stdin is not None, "a pipe"
        async for received in reading:
            message = received.message.root
            if hasattr(message, "method") and hasattr(message, "id"):
                self._open[message.id] = ((message.params or {}).get("_meta") or {}).get("progressToken")
            self._program.stdin.write(message.model_dump_json(by_alias=True, exclude_none=True).encode() + b"\n")
            await self._program.stdin.drain()
        self._program.stdin.close()

    async def carry_back(self, writing: Any) -> None:
        """Send what the program says."""
        assert self._program.stdout is not None, "a pipe"
        while line := await self._program.stdout.readline():
            message = JSONRPCMessage.model_validate_json(line)
            await writing.send(SessionMessage(message, self._metadata(message.root)))

    def _metadata(self, message: Any) -> Any:
        if not hasattr(message, "method"):
            self._open.pop(getattr(message, "id", None), None)
            return None
        token = (message.params or {}).get("progressToken")
        owners = [one for one, wanted in self._open.items() if wanted == token] or list(self._open)
        return ServerMessageMetadata(related_request_id=owners[-1]) if owners else None


async def serve_streams(reading: Any, writing: Any) -> None:
    """Carry one session until its client or its program ends."""
    program = await asyncio.create_subprocess_exec(
        *COMMAND, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=MOST_LINE
    )
    session = Session(program)
    try:
        async with anyio.create_task_group() as group, reading, writing:
            group.start_soon(session.carry_there, reading)
            await session.carry_back(writing)
            group.cancel_scope.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            if program.returncode is None:
                program.kill()
            await program.wait()


class Everything:
    """What the session manager takes for the SDK's server."""

    def create_initialization_options(self) -> None:
        """Have none."""

    async def run(self, reading: Any, writing: Any, *_: object, **__: object) -> None:
        """Serve one session."""
        await serve_streams(reading, writing)


def make(background: asyncio.TaskGroup) -> tuple[Any, Any, Any, Any]:
    """Give serving.py this SDK's ways in."""

    def http_app() -> Starlette:
        manager = StreamableHTTPSessionManager(app=Everything())
        endpoint = Route("/mcp", endpoint=StreamableHTTPASGIApp(manager))
        return Starlette(routes=[endpoint], lifespan=lambda _: manager.run())

    return serve_streams, stdio_server, http_app, SseServerTransport


if __name__ == "__main__":
    at = sys.argv.index("--")
    COMMAND = sys.argv[at + 1 :]
    del sys.argv[at:]
    serving.main("lines", make)
