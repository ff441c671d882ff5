"""Show the relay at work: `python -m relay.demo`, or `make demo`.

It starts `mcp-relay` in front of the demo server and prints what to paste into a client's configuration. Then it makes
one call through four real processes (stdio client -> relay -> HTTP -> relay -> stdio server).
It stays up until Ctrl-C.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any, TypeVar

Process = asyncio.subprocess.Process
PIPE, DEVNULL = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
Json = dict[str, Any]
T = TypeVar("T")

START_TIMEOUT = 30.0  # a cold start on a slow disk compiles every module
ANSWER_TIMEOUT = 30.0  # the first frame starts the server process
STOP_TIMEOUT = 10.0  # the relay gives its child 4 s before it kills it
LONGEST_LINE = 2**20  # asyncio's own limit of 64 KiB is short for a frame

LISTENING_AT = re.compile(r"http://\S+/mcp\b")


INITIALIZE: Json = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "mcp-relay demo", "version": "1.0.0"},
}


class DemoFailed(Exception):
    """The demo failed; the message is the one line to show."""


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; return its exit code."""
    parser = argparse.ArgumentParser(prog="relay.demo", description="Show mcp-relay at work with a small server.")
    parser.add_argument("--once", action="store_true", help="end after one call instead of staying up until Ctrl-C")
    parser.add_argument("--port", type=int, default=0, help="port of 127.0.0.1 to listen on (default: a free one)")
    options = parser.parse_args(arguments)
    exit_code = 0
    try:
        asyncio.run(run_demo(port=options.port, once=options.once))
    except* DemoFailed as failures:
        print(f"demo: {failures.exceptions[0]}", file=sys.stderr)
        exit_code = 1
    except* (KeyboardInterrupt, asyncio.CancelledError):
        show("\ndemo: stopped")
    return exit_code


async def run_demo(*, port: int, once: bool) -> None:
    """Start the relay, say how to use it, call it once, and stay up unless told otherwise."""
    end_on_signals()
    server = [sys.executable, "-m", "relay.demo.server"]
    async with running([sys.executable, "-m", "relay", "--port", str(port), "--", *server], stderr=PIPE) as relay:
        url = await listening_address(relay)
        async with asyncio.TaskGroup() as tasks:
            echoing_log = tasks.create_task(echo_log(relay), name="relay's log")
            client = [*program(), url]
            show_configuration(url, client)
            await call_once(client)
            if not once:
                show(f"\nListening on {url} until Ctrl-C.")
                code = await relay.wait()
                raise DemoFailed(f"the relay ended by itself with exit code {code}")
            echoing_log.cancel()


def end_on_signals() -> None:
    """Let SIGINT and SIGTERM cancel the demo; on Windows asyncio.run does it for Ctrl-C alone."""
    this = asyncio.current_task()
    assert this is not None, "called from a coroutine"
    if sys.platform != "win32":
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, this.cancel)


def program() -> list[str]:
    """Find the installed program, beside this interpreter first; without one, name the module."""
    beside = Path(sys.executable).parent
    found = shutil.which("mcp-relay", path=str(beside)) or shutil.which("mcp-relay")
    return [found] if found else [sys.executable, "-m", "relay"]


def show_configuration(url: str, client: list[str]) -> None:
    """Print what to paste into a client's configuration."""
    command, *arguments = client
    show("For a client that speaks HTTP:")
    show("  " + json.dumps({"mcpServers": {"demo": {"url": url}}}))
    show("For a client that speaks stdio only:")
    show("  " + json.dumps({"mcpServers": {"demo": {"command": command, "args": arguments}}}))


async def call_once(client: list[str]) -> None:
    """Make one call as a stdio client does, showing every frame."""
    show("\nOne call through it:")
    async with running(client, stdin=PIPE, stdout=PIPE) as process:
        await ask(process, 1, "initialize", INITIALIZE)
        send(process, {"method": "notifications/initialized"})
        text = "hello through two relays"
        answer = await ask(process, 2, "tools/call", {"name": "echo", "arguments": {"text": text}})
        if answer.get("result", {}).get("content") != [{"type": "text", "text": text}]:
            raise DemoFailed(f"echo was answered with {answer}")
        stdin_of(process).close()
        code = await within(STOP_TIMEOUT, process.wait(), "the stdio relay to end after its stdin was closed")
        if code != 0:
            raise DemoFailed(f"the stdio relay ended with exit code {code}")


async def ask(process: Process, request_id: int, method: str, params: Json) -> Json:
    """Send a request and wait for its answer, showing what else arrives on the way."""
    send(process, {"id": request_id, "method": method, "params": params})
    while line := await within(ANSWER_TIMEOUT, lines_of(process.stdout).readline(), f"the answer to {method}"):
        show(f"  <- {line.decode().rstrip()}")
        try:
            frame: Json = json.loads(line)
        except ValueError as exc:
            raise DemoFailed("the stdio relay wrote something else than JSON to its stdout") from exc
        if frame.get("id") == request_id and "method" not in frame:
            return frame
    raise DemoFailed(f"the stdio relay closed its stdout before it answered {method}")


def send(process: Process, message: Json) -> None:
    """Write one frame to a child's stdin."""
    frame = json.dumps({"jsonrpc": "2.0"} | message)
    show(f"  -> {frame}")
    stdin_of(process).write(frame.encode() + b"\n")


# -- child processes --------------------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def running(
    command: list[str], *, stdin: int = DEVNULL, stdout: int | None = None, stderr: int | None = None
) -> AsyncIterator[Process]:
    """Run a child process for the length of the block; end it with SIGTERM, then SIGKILL."""
    # A group of its own: Ctrl-C in the terminal reaches only the demo, which ends the children in order.
    own_group: Json = {} if sys.platform == "win32" else {"process_group": 0}
    process = await asyncio.create_subprocess_exec(
        *command, stdin=stdin, stdout=stdout, stderr=stderr, limit=LONGEST_LINE, **own_group
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.terminate()
            try:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(process.wait(), STOP_TIMEOUT)
            finally:  # also for an operator who presses Ctrl-C twice
                if process.returncode is None:
                    process.kill()


async def listening_address(relay: Process) -> str:
    """Wait until the relay says on stderr where it listens."""
    last_line = ""
    while line := await within(START_TIMEOUT, lines_of(relay.stderr).readline(), "the relay to listen"):
        last_line = line.decode(errors="replace").rstrip()
        print(last_line, file=sys.stderr, flush=True)
        if found := LISTENING_AT.search(last_line):
            return found[0]
    raise DemoFailed(f"the relay ended before it listened; its last words: {last_line!r}")


async def echo_log(relay: Process) -> None:
    """Pass the relay's log on to our stderr until it ends."""
    async for line in lines_of(relay.stderr):
        print(line.decode(errors="replace").rstrip(), file=sys.stderr, flush=True)


async def within(seconds: float, waiting: Awaitable[T], what: str) -> T:
    """Wait for a limited time; fail with a plain sentence that names what did not come."""
    try:
        return await asyncio.wait_for(waiting, seconds)
    except TimeoutError as exc:
        raise DemoFailed(f"waited {seconds:g} s for {what}") from exc


def stdin_of(process: Process) -> asyncio.StreamWriter:
    """Return a child's stdin that we know to be a pipe."""
    assert process.stdin is not None, "started with stdin=PIPE"
    return process.stdin


def lines_of(stream: asyncio.StreamReader | None) -> asyncio.StreamReader:
    """Return a child's output that we know to be a pipe."""
    assert stream is not None, "started with PIPE"
    return stream


def show(text: str) -> None:
    """Print for the person watching, at once even into a pipe."""
    print(text, flush=True)
