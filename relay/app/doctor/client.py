"""A client that sends one request at a time over any endpoint.

Only ``mcp-relay test`` uses it; relayed frames never pass here.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from relay.app.log.frames import FrameLog
from relay.endpoints.base import Endpoint
from relay.errors import EndpointBroken, RelayError
from relay.frames import replies
from relay.frames.frame import Frame, each_message
from relay.frames.head import Kind
from relay.routing.matching import alike

__all__ = ["Response", "Client"]

Json = dict[str, Any]

_LAST_WORDS = 1.0  # seconds that the server may still send after a failed send


class Echoed(EndpointBroken):
    """A peer sent the relay's own request back."""


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to a request: a result, or else an error."""

    result: Json | None
    error: Json
    seconds: float
    """From the request to its answer."""


class Client:
    """Sends a request and reads until its answer comes; answers pings and refuses other requests meanwhile."""

    def __init__(self, endpoint: Endpoint, frame_log: FrameLog) -> None:
        """Talk over ``endpoint``, which the caller closes."""
        self._endpoint = endpoint
        self._frame_log = frame_log
        self._numbers = itertools.count(1)
        self._sent: dict[int, float] = {}
        self._requests: set[bytes] = set()
        self._answers: dict[int, Response] = {}

    async def ask(self, method: str, params: Mapping[str, object], within: float) -> Response:
        """Send a request and return its answer. Raises TimeoutError, and RelayError if the server has gone."""
        number = next(self._numbers)
        self._sent[number] = time.monotonic()
        request = replies.request(number, method, params)
        self._requests.add(request.raw)
        async with asyncio.timeout(within):
            await self._send(request)
            while number not in self._answers:
                await self._receive()
        return self._answers[number]

    async def tell(self, frame: Frame, within: float) -> None:
        """Send a notification. Raises as ``ask``."""
        async with asyncio.timeout(within):
            await self._send(frame)

    def first_answer(self) -> Response | None:
        """Return the answer to the first request, which may have come after its timeout."""
        return self._answers.get(1)

    async def _send(self, frame: Frame) -> None:
        self._frame_log.show("mcp-relay test", self._endpoint.name, (frame,))
        try:
            await self._endpoint.send((frame,))
        except RelayError:
            # The reason of its end says more than the failed send.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAST_WORDS):
                    while True:
                        await self._receive()
            raise

    async def _receive(self) -> None:
        frames = await self._endpoint.receive()
        self._frame_log.show(self._endpoint.name, "mcp-relay test", frames)
        if not frames:
            raise EndpointBroken(f"{self._endpoint.name}: ended")
        for message in each_message(frames):
            await self._take(message)

    async def _take(self, message: Frame) -> None:
        head = message.head
        if message.raw.strip() in self._requests:
            raise Echoed(f"{self._endpoint.name}: it sends back what it gets")
        if head.kind is Kind.REQUEST:
            is_ping = head.method == "ping"
            refusal = replies.error(head.id, replies.METHOD_NOT_FOUND, "mcp-relay test has nothing to offer")
            await self._send(replies.result(head.id) if is_ping else refusal)
        elif head.kind is Kind.RESPONSE:
            number = head.id if head.id in self._sent else alike(head.id, self._sent)
            if isinstance(number, int):
                result, error = _read(message.raw)
                self._answers[number] = Response(result, error, time.monotonic() - self._sent[number])


def _read(raw: bytes) -> tuple[Json | None, Json]:
    try:
        # Not msgspec: names may hold halves of surrogate pairs, which it rejects.
        body = json.loads(raw)
    except (ValueError, RecursionError) as exc:
        return None, {"message": f"an answer that cannot be read: {exc}"}
    result, error = body.get("result"), body.get("error")
    if isinstance(error, dict):
        return None, error
    return (result, {}) if isinstance(result, dict) else (None, {"message": "an answer without a result"})
