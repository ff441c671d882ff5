"""Every listener before every target, with all that MCP does, under the oracle.

``python -m tests.e2e.pairs --frames 10000`` (``make soak``) prints the matrix; test_pairs.py runs it with fewer frames.
Each pair is a relay of its own kind of target that listens in every way at once; the far end is the test server, behind
another relay where the target is no command. The clients are endpoints of this process, and ``mcp-relay`` itself where
the listener is own stdio.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import re
import sys
import tempfile
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from ssl import SSLContext

import relay
from relay.endpoints.base import Endpoint
from relay.frames.frame import Frame, Kind
from tests.e2e.oracle import Oracle, initialize, notification, request, stdio_server

LISTENERS = ("stdio", "http", "sse", "ws", "tcp", "unix")
TARGETS = ("child", "http", "sse", "ws", "tcp", "unix")
CLIENTS = 8
_SAID = re.compile(r"listening on (\S+)(?: \(Streamable HTTP\) and (\S+))?")
_LARGE = 16 * 2**20


@dataclass(slots=True)
class Row:
    """What became of the frames of one pair."""

    listener: str
    target: str
    sent: int = 0
    answered: int = 0
    faults: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """Return a line of the table."""
        fault = f"  {len(self.faults)} faults: {self.faults[0]}" if self.faults else ""
        return f"{self.listener:>6} -> {self.target:6} {self.sent:7} {self.answered:9}{fault}"


# Processes.


@contextlib.asynccontextmanager
async def relaying(folder: Path, *target: str, options: Sequence[str] = ()) -> AsyncIterator[dict[str, str]]:
    """Run a relay that listens in every way before a target; yield its addresses by kind."""
    socket = folder / f"{len(list(folder.iterdir()))}"
    listens = ("http://127.0.0.1:0/mcp", "tcp://127.0.0.1:0", f"unix:{socket}")
    options = [*options, *(word for spec in listens for word in ("--listen", spec))]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "relay", *options, "--", *target,
        stdin=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None, "a pipe"
    found: dict[str, str] = {}
    try:
        async with asyncio.timeout(20):
            while len(found) < 5:
                line = (await process.stderr.readline()).decode()
                assert line, "the relay ended"
                _note_address(line, found)
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(_show(process.stderr))
            yield found
            process.terminate()
            async with asyncio.timeout(20):
                assert await process.wait() == 0
            reading.cancel()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        process._transport.close()  # type: ignore[attr-defined]  # uvloop keeps the pipes' descriptors until then


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


# Clients.


class PairClient:
    """One client: sends frames of all kinds, several at a time, and sees what comes."""

    def __init__(self, name: str, endpoint: Endpoint, oracle: Oracle, row: Row) -> None:
        self.name = name
        self._endpoint = endpoint
        self._oracle = oracle
        self._row = row
        self._waiting: dict[object, asyncio.Future[bytes]] = {}
        self._progress: dict[object, int] = {}
        self._notices: asyncio.Queue[bytes] = asyncio.Queue()

    async def run(self, frames: int, *, is_large: bool) -> None:
        """Do all that a client does."""
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(self._read(), name=f"{self.name}: reads")
            try:
                await self._call(initialize(request_id="init"), "init")
                await self._send(notification("notifications/initialized"))
                await self._calls(frames)
                await self._cancel()
                await self._hear()
                if is_large:
                    await self._asked("large", "echo", payload='"' + "x" * _LARGE + '"')
            finally:
                await self._endpoint.aclose()
                reading.cancel()

    async def _send(self, line: bytes) -> None:
        self._row.sent += 1
        await self._endpoint.send([Frame(line)])

    async def _read(self) -> None:
        while frames := await self._endpoint.receive():
            for frame in frames:
                await self._take(frame)

    async def _take(self, frame: Frame) -> None:
        head = frame.head
        if head.kind is Kind.REQUEST:  # roots/list: the answer is echoed in the answer to our own call
            await self._send(b'{"jsonrpc":"2.0","id":%b,"result":{"by":"%b"}}' % (
                json.dumps(head.id).encode(), self.name.encode()
            ))  # fmt: skip
        elif head.kind is Kind.RESPONSE:
            waiting = self._waiting.pop(head.id, None)
            if waiting is None:
                self._row.faults.append(f"{self.name}: an answer to {head.id!r} that nobody waits for")
            else:
                self._row.answered += 1
                waiting.set_result(frame.raw)
        elif head.token is not None:
            number = json.loads(frame.raw)["params"]["progress"]
            if number != self._progress.get(head.token, 0):
                self._row.faults.append(f"{self.name}: progress {number} of {head.token!r} out of order")
            self._progress[head.token] = number + 1
        else:
            self._notices.put_nowait(frame.raw)

    async def _call(self, line: bytes, request_id: object) -> bytes:
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[request_id] = answer
        await self._send(line)
        async with asyncio.timeout(60):
            return await answer

    async def _asked(self, request_id: str, method: str, *, more: str = "", payload: str = '"…"') -> None:
        """Make a call of the oracle's and let it judge the answer."""
        line = self._oracle.ask(self.name, json.dumps(request_id), method, more=more, payload=payload)
        answer = await self._call(line, request_id)
        if method == "ask":
            client = re.match(rb'.*?"result":\{"client":\{.*?"by":"([^"]+)"\}\},', answer)
            if client is None or client.group(1).decode() != self.name:
                self._row.faults.append(f"{self.name}: the server's request was answered by another: {answer[:200]!r}")
                return
            answer = answer[: answer.index(b'"client"')] + answer[client.end() :]
        try:
            self._oracle.judge(self.name, answer)
        except AssertionError as wrong:
            self._row.faults.append(str(wrong))

    async def _calls(self, count: int) -> None:
        async def lane(numbers: Iterable[int]) -> None:
            for number in numbers:
                await self._one(number)

        async with asyncio.TaskGroup() as group:
            for first in range(4):
                group.create_task(lane(range(first, count, 4)))

    async def _one(self, number: int) -> None:
        name = str(number)  # the same ids and tokens in every client
        payload = '"' + "é" * (number * 7919 % 60_000 if number % 10 == 0 else number % 100) + '"'
        if number % 25 == 3:
            await self._asked(name, "ask", payload=payload)
        elif number % 9 == 4:
            await self._asked(name, "delay", more='"seconds":0.01', payload=payload)
        elif number % 7 == 5:
            more = f'"count":3,"_meta":{{"progressToken":{number}}}'
            await self._asked(name, "progress", more=more, payload=payload)
            if self._progress.get(number) != 3:
                self._row.faults.append(f"{self.name}: {self._progress.get(number)} of 3 progress notices in time")
        else:
            await self._asked(name, "echo", payload=payload)

    async def _cancel(self) -> None:
        """Cancel a call that its server never answers; the server has heard it."""
        self._waiting["never"] = asyncio.get_running_loop().create_future()  # an error may come, or nothing
        await self._send(request("never", "silent"))
        await self._send(notification("notifications/cancelled", requestId="never"))
        heard = await self._call(request("seen", "seen"), "seen")
        if b"notifications/cancelled" not in heard or b"never" not in heard:
            self._row.faults.append(f"{self.name}: the server has not heard of the cancellation")

    async def _hear(self) -> None:
        """Hear, in order, what the server says while no call is open."""
        await self._call(request("notify", "notify", count=3, after=0.05), "notify")
        async with asyncio.timeout(20):
            for number in range(3):
                notice = await self._notices.get()
                if json.loads(notice)["params"]["data"]["number"] != number:
                    self._row.faults.append(f"{self.name}: notices out of order: {notice[:100]!r}")


async def carry(
    listener: str, target: str, address: str, frames: int, ssl: SSLContext | None = None, *, large: bool = True
) -> Row:
    """Run 8 clients through one pair, ``frames`` calls together; return what became of them."""
    row = Row(listener, target)
    oracle = Oracle()

    def endpoint() -> Endpoint:
        if listener == "stdio":
            return relay.connect([sys.executable, "-m", "relay", *address.split("\0")])
        return relay.connect(address, ssl=ssl)

    clients = [PairClient(f"client{number}", endpoint(), oracle, row) for number in range(CLIENTS)]
    async with asyncio.TaskGroup() as group:
        for number, client in enumerate(clients):
            group.create_task(client.run(frames // CLIENTS, is_large=large and number == 0), name=client.name)
    try:
        oracle.finish()
    except AssertionError as lost:
        row.faults.append(str(lost))
    return row


@contextlib.asynccontextmanager
async def far_end(folder: Path) -> AsyncIterator[dict[str, str]]:
    """Run the far relay; yield the address of each kind of target."""
    async with relaying(folder, *stdio_server()) as addresses:
        yield addresses


async def run_pairs(target: str, folder: Path, far: dict[str, str], frames: int) -> list[Row]:
    """Run every listener before one target."""
    words = stdio_server() if target == "child" else [far[target]]
    rows = []
    async with relaying(folder, *words) as near:
        for listener in LISTENERS:
            address = near.get(listener) or "\0".join(("--listen", "stdio:", "--", *words))
            rows.append(await carry(listener, target, address, frames))
    return rows


async def _matrix(frames: int, targets: Sequence[str]) -> int:
    faults = 0
    sys.stdout.write(f"{'pair':>16} {'sent':>7} {'answered':>9}  lost, doubled, reordered, astray: faults if any\n")
    with tempfile.TemporaryDirectory() as folder:
        async with far_end(Path(folder)) as far:
            for target in targets:
                for row in await run_pairs(target, Path(folder), far, frames):
                    faults += len(row.faults)
                    sys.stdout.write(f"{row}\n")
                    sys.stdout.flush()
    sys.stdout.write(f"{faults} faults\n")
    return 1 if faults else 0


def main() -> int:
    """Print the matrix; 1 if any frame was lost, doubled, reordered or went astray."""
    parser = argparse.ArgumentParser(prog="python -m tests.e2e.pairs", description=main.__doc__)
    parser.add_argument("--frames", type=int, default=1000, help="calls for each pair (default 1000)")
    parser.add_argument("--target", action="append", choices=TARGETS, help="only these (repeatable)")
    options = parser.parse_args()
    return asyncio.run(_matrix(options.frames, options.target or TARGETS))


if __name__ == "__main__":
    sys.exit(main())
