"""Clients and servers that the SDKs 2.x make: servers that many tests share, clients that run to their end."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from tests import peers, warm_start
from tests.e2e.conversation import PROXIES

__all__ = ["Servers", "program", "run"]

_HERE = Path(__file__).parent / "modern"


def program(role: str, sdk: str) -> list[str]:
    """Return the argv of a program here."""
    if sdk == "ts2":
        return [*peers.node_command(), str(_HERE / f"{role}_ts2.mjs")]
    return [str(peers.python("py2")), str(_HERE / f"{role}_py2.py")]


class Servers:
    """Each server that a test here wants, started once: an SDK takes a second of a CPU to start."""

    def __init__(self, things: contextlib.ExitStack) -> None:
        self._things = things

    @functools.cache  # noqa: B019 - it lives as long as the module's tests
    def url(self, server: str, transport: str | None) -> str:
        """Return the URL of a server, of both eras unless it says by which transport."""
        if transport is None:
            command = program("server", server)
        else:
            command = peers.server_command(server, **{transport: peers.free_port()})
        process = warm_start.Popen(command, stderr=subprocess.PIPE, text=True)
        self._things.enter_context(process)  # waits for it, once all are told to end
        self._things.callback(process.kill)
        assert process.stderr is not None, "a pipe"
        while not (line := process.stderr.readline()).startswith("listening "):
            assert line, "the server has ended"
        threading.Thread(target=process.stderr.read, name=f"{server}'s stderr", daemon=True).start()
        return str(line.split()[1])


async def run(client: list[str], mode: str, url: str, *loops: str) -> tuple[list[dict[str, Any]], str]:
    """Run a client to its end, before `mcp-relay URL` on each loop; return what it saw, and what was said on stderr."""
    relay = warm_start.stand_in([sys.executable, "-m", "relay", url])
    process = await warm_start.Process.start(
        *client,
        mode,
        ",".join(loops),
        *relay,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={name: value for name, value in os.environ.items() if name not in PROXIES},
    )
    try:
        out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        process.close()
    assert process.returncode == 0, err.decode()
    seen: list[dict[str, Any]] = json.loads(out)
    assert len(seen) == len(loops)
    return seen, err.decode()
