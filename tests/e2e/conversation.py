"""Speak JSON-RPC as an MCP client that knows nothing of HTTP: to ``mcp-relay URL`` on pipes, or to a ``Remote``.

Both are a ``Conversation``: frames go out, everything that comes back is kept, and waiting is for something to come,
never for time to pass. At its end every request must have had exactly one answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from typing import Any

from relay.endpoints.core.dialling import DiallingOptions, Transport
from relay.endpoints.http.client.remote import Remote
from relay.frames.frame import Frame
from relay.limits import DEFAULT_LIMITS, Limits
from tests import warm_start
from tests.e2e.fault_server import FaultServer

Message = dict[str, Any]

WAIT = 15.0
_LARGEST_LINE = 80 * 2**20
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


def request(request_id: object, method: str = "tools/call", **params: object) -> Message:
    """Make a request."""
    return {"jsonrpc": "2.0", "id": request_id, "method": method, "params": params}


def note(method: str, **params: object) -> Message:
    """Make a notification."""
    return {"jsonrpc": "2.0", "method": method, "params": params}


INITIALIZE = request(
    "init", "initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo={"name": "test", "version": "1"}
)
INITIALIZED = note("notifications/initialized")


class Conversation:
    """What was sent and what came back."""

    def __init__(self) -> None:
        """Have said nothing."""
        self.messages: list[Message] = []
        self.lines: list[bytes] = []
        self.asked: list[object] = []
        self._news = asyncio.Condition()

    async def write(self, lines: Sequence[bytes]) -> None:
        """Send frames as they are."""
        raise NotImplementedError

    async def send(self, *messages: Message) -> None:
        """Send messages, at once."""
        self.asked += [one["id"] for one in messages if "id" in one and "method" in one]
        await self.write([json.dumps(one).encode() for one in messages])

    async def take(self, line: bytes) -> None:
        """Note a line that came."""
        async with self._news:
            self.lines.append(line)
            self.messages.append(json.loads(line))
            self._news.notify_all()

    async def until(self, holds: Callable[[], object], *, seconds: float = WAIT) -> None:
        """Wait until something is true of what came."""
        async with asyncio.timeout(seconds), self._news:
            await self._news.wait_for(lambda: bool(holds()))

    @property
    def answers(self) -> dict[object, Message]:
        """The answers, by id."""
        return {one["id"]: one for one in self.messages if "method" not in one}

    @property
    def others(self) -> list[Message]:
        """Requests and notifications from the server."""
        return [one for one in self.messages if "method" in one]

    async def answer(self, request_id: object, *, seconds: float = WAIT) -> Message:
        """Wait for the answer to one request."""
        await self.until(lambda: request_id in self.answers, seconds=seconds)
        return self.answers[request_id]

    async def all_answers(self, ids: Iterable[object], *, seconds: float = WAIT) -> list[Message]:
        """Wait for the answers to several."""
        wanted = list(ids)
        await self.until(lambda: set(wanted) <= set(self.answers), seconds=seconds)
        return [self.answers[one] for one in wanted]

    async def call(self, request_id: object, method: str = "tools/call", **params: object) -> Message:
        """Ask, and wait for the answer."""
        await self.send(request(request_id, method, **params))
        return await self.answer(request_id)

    async def handshake(self) -> Message:
        """Initialize as a client does; return the server's answer."""
        await self.send(INITIALIZE)
        welcome = await self.answer("init")
        assert "result" in welcome, welcome
        await self.send(INITIALIZED)
        return welcome

    async def warm_up(self, server: FaultServer, *, lines: int = 1) -> None:
        """Ping until the relay keeps connections of its own open, by which calls go another way than the first did."""
        handshake = {one.connection for one in server.requests}
        for at in range(200):
            await asyncio.gather(*(self.call(f"warm-up {at}.{each}", "ping") for each in range(lines)))
            pings = Counter(one.connection for one in server.posted("ping") if one.connection not in handshake)
            if sum(count > 1 for count in pings.values()) >= lines:
                return
        raise AssertionError("no connection was kept")

    def assert_exactly_one_outcome(self) -> None:
        """Require one answer for every request, and none for anything else."""
        came = Counter((type(one["id"]).__name__, one["id"]) for one in self.messages if "method" not in one)
        asked = Counter((type(one).__name__, one) for one in self.asked)
        assert came == asked, f"unanswered: {asked - came}; too many: {came - asked}"


class Program(Conversation):
    """A running ``mcp-relay URL``."""

    def __init__(self, process: warm_start.Process) -> None:
        """Use ``Program.running``."""
        super().__init__()
        self.process = process
        self.stderr = ""
        self._may_read = asyncio.Event()

    @classmethod
    @contextlib.asynccontextmanager
    async def running(
        cls,
        url: str,
        *options: str,
        env: dict[str, str] | None = None,
        loop: str = "uvloop",
        owed: bool = False,
        reads: bool = True,
        exit_code: int = 0,
    ) -> AsyncIterator[Program]:
        """Start the program; at the end of the block its stdin is closed and it must end by itself, with this code.

        Unless ``owed``, every request must then have had its one answer. Unless it ``reads``, its stdout is left alone
        until ``read`` is called.
        """
        inherited = {name: value for name, value in os.environ.items() if name not in (*PROXIES, "API_ACCESS_TOKEN")}
        process = await warm_start.Process.start(
            sys.executable,
            *("-m", "relay", *options, url),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**inherited, "MCP_RELAY_LOOP": loop, **(env or {})},
            limit=_LARGEST_LINE if reads else 2**20,
        )
        self = cls(process)
        if reads:
            self.read()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._read_stdout(), name="its stdout")
                group.create_task(self._read_stderr(), name="its stderr")
                try:
                    yield self
                    self.eof()
                    assert await self.ended() == exit_code, self.stderr
                finally:
                    if process.returncode is None:
                        process.kill()
                    self.read()
                    self.eof()
            if not owed:
                self.assert_exactly_one_outcome()
        finally:
            await process.wait()
            process.close()

    def read(self) -> None:
        """Begin to read its stdout."""
        self._may_read.set()

    async def _read_stdout(self) -> None:
        assert self.process.stdout is not None, "a pipe"
        await self._may_read.wait()
        while line := await self.process.stdout.readline():
            await self.take(line.rstrip(b"\n"))

    async def _read_stderr(self) -> None:
        assert self.process.stderr is not None, "a pipe"
        while line := await self.process.stderr.readline():
            self.stderr += line.decode()

    async def write(self, lines: Sequence[bytes]) -> None:
        """Write lines to its stdin, in one piece."""
        assert self.process.stdin is not None, "a pipe"
        self.process.stdin.write(b"".join(line + b"\n" for line in lines))
        await self.process.stdin.drain()

    def eof(self) -> None:
        """Close its stdin."""
        assert self.process.stdin is not None, "a pipe"
        self.process.stdin.close()

    def terminate(self) -> None:
        """Send it SIGTERM."""
        self.process.send_signal(signal.SIGTERM)

    async def ended(self) -> int:
        """Wait for its end; return the exit code."""
        async with asyncio.timeout(WAIT):
            return await self.process.wait()


class Direct(Conversation):
    """A ``Remote`` in this process: for small limits and for many cases."""

    def __init__(self, remote: Remote) -> None:
        """Use ``Direct.to``."""
        super().__init__()
        self.remote = remote

    @classmethod
    @contextlib.asynccontextmanager
    async def to(
        cls,
        url: str,
        *,
        transport: Transport = "auto",
        headers: dict[str, str] | None = None,
        limits: Limits = DEFAULT_LIMITS,
        owed: bool = False,
    ) -> AsyncIterator[Direct]:
        """Connect while the block lasts; unless ``owed``, every request must have had its one answer."""
        self = cls(Remote(url, DiallingOptions(headers=headers or {}, transport=transport, limits=limits)))
        async with asyncio.TaskGroup() as group:
            group.create_task(self._read(), name="its frames")
            try:
                yield self
            finally:
                await self.remote.aclose()
        if not owed:
            self.assert_exactly_one_outcome()

    async def _read(self) -> None:
        while frames := await self.remote.receive():
            for frame in frames:
                await self.take(frame.raw)

    async def write(self, lines: Sequence[bytes]) -> None:
        """Send frames."""
        await self.remote.send([Frame(line) for line in lines])
