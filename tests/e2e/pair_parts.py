"""Whose parts stand at the ends of each pair.

    listener   client that is not ours         target   server that is not ours
    stdio      Python SDK 1.x, ``stdio``       child    Python SDK 1.x, ``stdio``
    http       Python SDK 1.x                  http     Python SDK 1.x
    sse        Python SDK 1.x                  sse      Python SDK 1.x
    ws         ``websockets``; Python SDK 1.x  ws       Python SDK 1.x, served by ``websockets``
    tcp        there is none                   tcp      there is none
    unix       there is none                   unix     there is none
                                               stdio    Python SDK 1.x, ``stdio``

Of MCP over TCP and Unix sockets there is no program but ours, so those four pairs have no third party. A client of
theirs takes a second to start, so it is used where the server is ours, and clients of ours where the server is theirs.
Sessions of the SDKs, both kinds of Python and TypeScript, are in test_sdk_matrix.py and test_hop.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from ssl import SSLContext

import websockets.asyncio.client
from websockets.typing import Subprotocol

import relay
from tests import peers, warm_start
from tests.e2e.oracle import stdio_server
from tests.e2e.pair_client import Way
from tests.endpoints.library_far import LibraryFar

__all__ = ["Parts", "ours", "own_parts", "own_stdio", "server_words", "theirs"]

OURS, SDK, LIBRARY = "ours", "Python SDK 1.x", "websockets"
THEIR_TARGETS = ("child", "http", "sse", "ws", "stdio")
THEIR_LISTENERS = ("stdio", "http", "sse")
_PROGRAM = (sys.executable, "-m", "relay")


@dataclass(frozen=True, slots=True)
class Parts:
    """The ends of one pair."""

    client: str
    server: str
    clients: int
    large: int
    """Bytes of the largest message."""
    reach: Callable[[str, str], Awaitable[Way]]
    """Make a client's way to a listener, from its kind and its address."""

    @property
    def is_bytewise(self) -> bool:
        """Whether no part reads a message and writes it anew."""
        return SDK not in (self.client, self.server)


def own_parts(clients: int = 8, *, large: int = 16 * 2**20, ssl: SSLContext | None = None) -> Parts:
    """Return ends that are ours."""
    return Parts(OURS, OURS, clients, large, functools.partial(_reach, ssl=ssl))


def ours(listener: str, target: str) -> Parts | None:
    """Return the ends that are ours, or None where a pair makes no sense: own stdio is there once."""
    if target == "stdio":
        return None if listener == "stdio" else own_parts(1)
    # Each client at own stdio has a relay for itself: what eight would share is at the target, as with two.
    return own_parts(2) if listener == "stdio" else own_parts()


def theirs(listener: str, target: str) -> Parts | None:
    """Return ends of which one at least is not ours, or None where there is no such."""
    if ours(listener, target) is None:
        return None
    if target in THEIR_TARGETS:
        # A process of theirs takes a second to start: few, where each session has one.
        clients = {"child": 2, "stdio": 1}.get(target, 4)
        if listener == "ws":
            return Parts(LIBRARY, SDK, clients, 2**20, _reach_by_library)
        return Parts(OURS, SDK, clients, 2**20, _reach)
    if listener == "ws":
        return Parts(LIBRARY, OURS, 4, 16 * 2**20, _reach_by_library)
    return Parts(SDK, OURS, 2, 2**20, _reach_by_sdk) if listener in THEIR_LISTENERS else None


# Clients. The address of a listener at own stdio is the options of the relay to start, separated by NUL.


async def _reach(listener: str, address: str, *, ssl: SSLContext | None = None) -> Way:
    if listener == "stdio":
        return relay.connect(warm_start.stand_in([*_PROGRAM, *address.split("\0")]))
    return relay.connect(address, ssl=ssl)


async def _reach_by_sdk(listener: str, address: str) -> Way:
    if listener == "stdio":
        target = ["--", *warm_start.stand_in([*_PROGRAM, *address.split("\0")])]
    else:
        target = [f"--{listener}", address]
    return relay.connect(warm_start.stand_in(peers.lines_client(*target)))


async def _reach_by_library(_: str, address: str) -> Way:
    connection = await websockets.asyncio.client.connect(
        address, subprotocols=[Subprotocol("mcp")], max_size=None, proxy=None
    )
    return Library(connection)


class Library(LibraryFar):
    """A client in the hands of the ``websockets`` library."""

    async def aclose(self) -> None:
        """Close the connection."""
        await self.connection.close()


# Servers.


@contextlib.asynccontextmanager
async def server_words(target: str, far: Mapping[str, str], *, is_theirs: bool) -> AsyncIterator[list[str]]:
    """Run what is behind a target while the block lasts; yield how a relay is told of it."""
    if target in ("child", "stdio"):
        yield warm_start.stand_in(peers.lines_server(command=stdio_server())) if is_theirs else stdio_server()
    elif is_theirs and target in THEIR_TARGETS:
        port = peers.free_port()
        command = peers.lines_server(f"--{target}", str(port), command=stdio_server())
        process = await warm_start.Process.start(*command, stderr=asyncio.subprocess.DEVNULL)
        try:
            await asyncio.get_running_loop().run_in_executor(None, peers.wait_for_port, port)
            yield [peers.server_url(**{target: port})]
        finally:
            process.terminate()
            await process.wait()
    else:
        yield [far[target]]


@dataclass(slots=True)
class OwnStdio:
    """What a relay has as stdin and stdout."""

    stdin: int = asyncio.subprocess.DEVNULL
    stdout: int | None = None
    _ends: tuple[int, ...] = ()

    def let_go(self) -> None:
        """Leave the pipes to the two processes."""
        ends, self._ends = self._ends, ()
        for end in ends:
            os.close(end)


@contextlib.asynccontextmanager
async def own_stdio(server: Sequence[str]) -> AsyncIterator[OwnStdio]:
    """Run a server, if one is named, at the other end of what a relay is to have as its stdin and stdout."""
    if not server:
        yield OwnStdio()
        return
    from_server, to_relay = os.pipe()
    from_relay, to_server = os.pipe()
    stdio = OwnStdio(from_server, to_server, (from_server, to_relay, from_relay, to_server))
    try:
        process = await warm_start.Process.start(*server, stdin=from_relay, stdout=to_relay)
        try:
            yield stdio
            async with asyncio.timeout(20):
                await process.wait()  # the relay has ended, and with it what it read
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    finally:
        stdio.let_go()
