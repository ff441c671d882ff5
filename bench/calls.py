"""Count what one call costs in Python calls: ``python -m bench.calls``.

A relay runs in this process, its far end in another. One ``tools/call`` goes there and back under ``sys.setprofile``,
and what it calls in relay/ is counted: calls, distinct functions, files, and moves from one file to another. Such
counts are the same on every machine, and they say how far a reader must go to follow a request. They say nothing of
time: ``python -m bench`` does.
"""

import argparse
import asyncio
import contextlib
import sys
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import relay
from bench.launch import free_port
from bench.places import FALLBACK
from relay.app.commands import relay as relay_command
from relay.app.log.stderr import StderrSink
from relay.app.run.process import loop_factory

_HOME = str(Path(relay.__file__).parent) + "/"
_RUN = (sys.executable, str(FALLBACK / "run.py"))
_WARM = 40  # calls before one is counted: connections are open, heads are known
_COUNTED = 9  # calls that are counted, each alone; the way that most of them took is shown
_APART = 0.02  # seconds between them: nothing of the one before is left to do
_INITIALIZE = (
    b'{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},'
    b'"clientInfo":{"name":"calls","version":"1"}}}'
)
_INITIALIZED = b'{"jsonrpc":"2.0","method":"notifications/initialized"}'


@dataclass(frozen=True, slots=True)
class Way:
    """The functions of relay/ that one call went through, in their order, each as (file, name)."""

    steps: tuple[tuple[str, str], ...]

    @property
    def functions(self) -> int:
        """How many different ones."""
        return len(set(self.steps))

    @property
    def files(self) -> int:
        """How many different ones."""
        return len({file for file, _ in self.steps})

    @property
    def moves(self) -> int:
        """How often the next function is in another file than the one before."""
        files = [file for file, _ in self.steps]
        return sum(one != other for one, other in zip(files, files[1:], strict=False))


class _Recorder:
    """Notes each call of a function of relay/ while it is on; a coroutine counts each time that it goes on."""

    def __init__(self) -> None:
        self._steps: list[tuple[str, str]] = []

    def begin(self) -> None:
        self._steps.clear()
        sys.setprofile(self._note)

    def end(self) -> Way:
        sys.setprofile(None)
        return Way(tuple(self._steps))

    def _note(self, frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(_HOME):
            self._steps.append((code.co_filename.removeprefix(_HOME), code.co_qualname))


class _Client:
    """A client on one kept connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._session = b""
        self._number = 0

    async def post(self, frame: bytes, *, in_two: bool = False) -> None:
        """POST a frame and read its answer; ``in_two`` parts, the body comes after the head."""
        head = (
            b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Accept: application/json, text/event-stream\r\n%bContent-Length: %d\r\n\r\n" % (self._session, len(frame))
        )
        if in_two:
            self._writer.write(head)
            await asyncio.sleep(_APART)
            self._writer.write(frame)
        else:
            self._writer.write(head + frame)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        length = 0
        for line in answer.split(b"\r\n"):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
            elif name.lower() == b"mcp-session-id":
                self._session = line + b"\r\n"
        chunked = b"chunked" in answer  # a server that had to be started first answers as a stream
        body = await (self._reader.readuntil(b"\r\n0\r\n\r\n") if chunked else self._reader.readexactly(length))
        if b'"error"' in body or not answer.startswith(b"HTTP/1.1 20"):
            raise SystemExit(f"a call failed: {answer!r} {body!r}")

    async def greet(self) -> None:
        """Begin a session."""
        await self.post(_INITIALIZE)
        await self.post(_INITIALIZED)

    async def call(self, *, in_two: bool = False) -> None:
        """Call a tool."""
        self._number += 1
        frame = b'{"jsonrpc":"2.0","id":%d,"method":"tools/call","params":{"name":"echo","arguments":{"text":"hello"}}}'
        await self.post(frame % self._number, in_two=in_two)


@contextlib.asynccontextmanager
async def _relay_before(target: list[str]) -> AsyncIterator[int]:
    """Run a relay in this process; yield its port."""
    port, sink = free_port(), StderrSink()
    words = ["--log-level", "error", "--listen", f"http://127.0.0.1:{port}/mcp", *target]
    running = asyncio.create_task(relay_command.command(words, sink))
    try:
        yield port
    finally:
        running.cancel()
        await asyncio.wait([running])
        sink.flush()


async def _connect(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    for _ in range(500):
        with contextlib.suppress(OSError):
            return await asyncio.open_connection("127.0.0.1", port)
        await asyncio.sleep(0.01)
    raise SystemExit(f"nothing listens on port {port}")


async def _way(target: list[str], *, in_two: bool = False) -> Way:
    recorder, ways = _Recorder(), list[Way]()
    async with _relay_before(target) as port:
        reader, writer = await _connect(port)
        client = _Client(reader, writer)
        await client.greet()
        for _ in range(_WARM):
            await client.call()
        for _ in range(_COUNTED):
            await asyncio.sleep(_APART)
            recorder.begin()
            await client.call(in_two=in_two)
            await asyncio.sleep(0)  # what the answer leaves to do
            ways.append(recorder.end())
        writer.close()
    return Counter(ways).most_common(1)[0][0]


async def count_ways() -> dict[str, Way]:
    """Return the way of a call through a relay, by the name of each way."""
    child = ["--", *_RUN, "far_stdio"]
    port = free_port()
    far = await asyncio.create_subprocess_exec(*_RUN, "far_http", str(port), "json")
    try:
        _, probe = await _connect(port)
        probe.close()
        return {
            "HTTP -> child, in the callback": await _way(child),
            "HTTP -> child, as a task": await _way(child, in_two=True),
            "HTTP -> HTTP": await _way([f"http://127.0.0.1:{port}/mcp"]),
        }
    finally:
        far.kill()
        await far.wait()


def _parse(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.calls", description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", action="store_true", help="print each call in its order")
    return parser.parse_args(words)


def main() -> None:
    """Print the counts, and each step where that is asked for."""
    options = _parse()
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        ways = runner.run(count_ways())
    print(f"{'':32}{'calls':>7}{'functions':>11}{'files':>7}{'moves':>7}")
    for name, way in ways.items():
        print(f"{name:32}{len(way.steps):>7}{way.functions:>11}{way.files:>7}{way.moves:>7}")
    if options.steps:
        for name, way in ways.items():
            print(f"\n{name}")
            for file, function in way.steps:
                print(f"    {file:44}{function}")


if __name__ == "__main__":
    main()
