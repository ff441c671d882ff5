"""One client of a pair, whose every frame is counted: calls of all kinds, several at a time, judged by the oracle."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from relay.frames.frame import Frame
from relay.frames.head import Kind
from tests.e2e.oracle import Duplicated, Misdelivered, Oracle, initialize, notification, request

__all__ = ["FAULTS", "PairClient", "Row", "Way"]

FAULTS = ("lost", "duplicated", "reordered", "misdelivered", "changed")
"""What may become of a frame."""
_PATIENCE = 60.0  # seconds for one answer


class Way(Protocol):
    """How a client reaches the relay: an endpoint of ours, or somebody else's library."""

    async def send(self, frames: Sequence[Frame]) -> None:
        """Hand frames over."""

    async def receive(self) -> Sequence[Frame]:
        """Return what has come; nothing at the end."""

    async def aclose(self) -> None:
        """Leave."""


@dataclass(slots=True)
class Row:
    """What became of the frames of one pair, and whose parts stood at its ends."""

    listener: str
    target: str
    client: str
    server: str
    sent: int = 0
    came: int = 0
    answered: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)

    def fault(self, kind: str, what: str) -> None:
        """Count one frame that did not arrive as it should."""
        self.counts[kind] += 1
        self.faults.append(f"{kind}: {what}")

    @staticmethod
    def heading() -> str:
        """Return the first line of a table."""
        kinds = " ".join(f"{kind:>12}" for kind in FAULTS)
        return f"{'listener':>8}    {'target':8} {'client':18} {'server':18} {'sent':>8} {'came':>8} {kinds}"

    def __str__(self) -> str:
        """Return a line of the table."""
        kinds = " ".join(f"{self.counts[kind]:12}" for kind in FAULTS)
        pair = f"{self.listener:>8} -> {self.target:8} {self.client:18} {self.server:18}"
        line = f"{pair} {self.sent:8} {self.came:8} {kinds}"
        return f"{line}  {self.faults[0]}" if self.faults else line


class PairClient:
    """Sends frames of all kinds and sees what comes."""

    def __init__(self, name: str, way: Way, oracle: Oracle, row: Row) -> None:
        self.name = name
        self._way = way
        self._oracle = oracle
        self._row = row
        self._waiting: dict[object, asyncio.Future[bytes]] = {}
        self._answered: set[object] = set()
        self._progress: dict[object, int] = {}
        self._notices: asyncio.Queue[bytes] = asyncio.Queue()

    async def run(self, frames: int, *, large: int) -> None:
        """Do all that a client does; ``large`` is the size of one more message, if any."""
        async with asyncio.TaskGroup() as group:
            reading = group.create_task(self._read(), name=f"{self.name}: reads")
            try:
                await self._call(initialize(request_id="init"), "init")
                await self._send(notification("notifications/initialized"))
                await self._calls(frames)
                await self._cancel()
                await self._hear()
                if large:
                    await self._asked("large", "echo", payload='"' + "x" * large + '"')
            finally:
                await self._way.aclose()
                reading.cancel()

    async def _send(self, line: bytes) -> None:
        self._row.sent += 1
        await self._way.send([Frame(line)])

    async def _read(self) -> None:
        while frames := await self._way.receive():
            self._row.came += len(frames)
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
                kind = "duplicated" if head.id in self._answered else "misdelivered"
                self._row.fault(kind, f"{self.name}: an answer to {head.id!r} that nobody waits for")
                return
            self._answered.add(head.id)
            self._row.answered += 1
            waiting.set_result(frame.raw)
        elif head.token is not None:
            number, due = json.loads(frame.raw)["params"]["progress"], self._progress.get(head.token, 0)
            if number != due:
                kind = "duplicated" if number < due else "reordered"
                self._row.fault(kind, f"{self.name}: progress {number} of {head.token!r} where {due} was due")
            self._progress[head.token] = number + 1
        else:
            self._notices.put_nowait(frame.raw)

    async def _call(self, line: bytes, request_id: object) -> bytes | None:
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self._waiting[request_id] = answer
        await self._send(line)
        try:
            async with asyncio.timeout(_PATIENCE):
                return await answer
        except TimeoutError:
            self._row.fault("lost", f"{self.name}: no answer to {request_id!r} within {_PATIENCE:g} s")
            return None

    async def _asked(self, request_id: str, method: str, *, more: str = "", payload: str = '"…"') -> None:
        """Make a call of the oracle's and let it judge the answer."""
        line = self._oracle.ask(self.name, json.dumps(request_id), method, more=more, payload=payload)
        answer = await self._call(line, request_id)
        if answer is None:
            return
        if method == "ask":
            client = re.match(rb'.*?"result":\{"client":\{.*?"by":"([^"]+)"\}\},', answer)
            if client is None or client.group(1).decode() != self.name:
                what = f"{self.name}: the server's request was answered by another: {answer[:200]!r}"
                self._row.fault("misdelivered", what)
                return
            answer = answer[: answer.index(b'"client"')] + answer[client.end() :]
        try:
            self._oracle.judge(self.name, answer)
        except Misdelivered as wrong:
            self._row.fault("misdelivered", str(wrong))
        except Duplicated as wrong:
            self._row.fault("duplicated", str(wrong))
        except AssertionError as wrong:
            self._row.fault("changed", str(wrong))

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
                self._row.fault("lost", f"{self.name}: {self._progress.get(number)} of 3 progress notices in time")
        else:
            await self._asked(name, "echo", payload=payload)

    async def _cancel(self) -> None:
        """Cancel a call that its server never answers; the server has heard it."""
        self._waiting["never"] = asyncio.get_running_loop().create_future()  # an error may come, or nothing
        await self._send(request("never", "silent"))
        await self._send(notification("notifications/cancelled", requestId="never"))
        heard = await self._call(request("seen", "seen"), "seen")
        if heard is None or b"notifications/cancelled" not in heard or b"never" not in heard:
            self._row.fault("lost", f"{self.name}: the server has not heard of the cancellation")

    async def _hear(self) -> None:
        """Hear, in order, what the server says while no call is open."""
        await self._call(request("notify", "notify", count=3, after=0.05), "notify")
        for number in range(3):
            try:
                notice = await asyncio.wait_for(self._notices.get(), 20)
            except TimeoutError:
                self._row.fault("lost", f"{self.name}: notice {number}")
                continue
            if json.loads(notice)["params"]["data"]["number"] != number:
                self._row.fault("reordered", f"{self.name}: notices: {notice[:100]!r}")
