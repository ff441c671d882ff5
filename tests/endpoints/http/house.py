"""A listener by hand: the test is the client, on real sockets, and the upstream, by ``receive`` and ``send``.

Nothing stands between, so each law is seen at its moment: what a POST becomes when this comes before that, what a
client that cut the connection here gets when it comes back, what a limit of this size lets through.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from relay.endpoints.http.listening import ListeningOptions
from relay.endpoints.http.server.listener import HttpListener
from relay.endpoints.http.server.session import HttpSession
from relay.endpoints.http.server.sse_session import SseSession
from relay.frames.frame import Frame
from relay.limits import Limits
from tests.e2e.oracle import VERSION, Client, Response, initialize, notification, request

PATIENT = Limits(answer_wait=10, keep_alive=60)  # nothing becomes a stream unless something related comes


class House:
    """A listener, and the sessions it has yielded."""

    def __init__(self, listener: HttpListener) -> None:
        self.listener = listener
        self.base = listener.base_url
        self._sessions = aiter(listener)
        self._clients: list[Client] = []

    def client(self, name: str = "client") -> Client:
        client = Client(self.base, name)
        self._clients.append(client)
        return client

    async def session(self) -> HttpSession | SseSession:
        session = await anext(self._sessions)
        assert isinstance(session, HttpSession | SseSession), session
        return session

    async def begin(self, version: str = VERSION) -> tuple[Client, HttpSession]:
        """Open a session; return both of its ends."""
        client = self.client()
        async with asyncio.TaskGroup() as group:
            posting = group.create_task(client.post(initialize(version)))
            session = await self.session()
            assert isinstance(session, HttpSession)
            assert [frame.head.method for frame in await session.receive()] == ["initialize"]
            await session.send([initialized(version)])
        response = posting.result()
        assert response.status == 200
        client.session = response.headers["mcp-session-id"]
        await client.finished(response)
        return client, session

    async def aclose(self) -> None:
        for client in self._clients:
            client.close()
        await self.listener.aclose()


@contextlib.asynccontextmanager
async def house(options: ListeningOptions | Limits = PATIENT) -> AsyncIterator[House]:
    """Listen on a free port until the block is left."""
    if isinstance(options, Limits):
        options = ListeningOptions(limits=options)
    listener = HttpListener(options=options)
    await listener.start()
    opened = House(listener)
    try:
        yield opened
    finally:
        await opened.aclose()


def initialized(version: str = VERSION, request_id: object = 0) -> Frame:
    """Make the answer to ``initialize``."""
    result = {"protocolVersion": version, "capabilities": {}, "serverInfo": {"name": "test", "version": "1"}}
    return answer(request_id, result)


def answer(request_id: object, result: object = None) -> Frame:
    """Make an answer."""
    return Frame(json.dumps({"jsonrpc": "2.0", "id": request_id, "result": result or {}}).encode())


def message(number: int, size: int = 0) -> Frame:
    """Make a notification that belongs to no call."""
    return Frame(notification("notifications/message", level="info", data={"number": number, "fill": "x" * size}))


def progress(token: object, number: int, size: int = 0) -> Frame:
    """Make a progress notification."""
    return Frame(notification("notifications/progress", progressToken=token, progress=number, message="x" * size))


def with_token(request_id: object, token: object) -> bytes:
    """Make a request with a progress token."""
    return request(request_id, "tools/call", _meta={"progressToken": token})


async def posted(client: Client, session: HttpSession, frame: bytes) -> asyncio.Task[Response]:
    """POST a frame and see it arrive upstream; the response is still to come."""
    task = asyncio.get_running_loop().create_task(client.post(frame))
    assert [received.raw for received in await session.receive()] == [frame]
    return task


async def refused(response: Response, status: int) -> dict[str, Any]:
    """See a refusal: this status, and a JSON-RPC error as its body; return the body."""
    body = await response.body()
    assert response.status == status, (response.status, body)
    assert response.headers["content-type"] == "application/json", (response.headers, body)
    error = json.loads(body)
    assert error["jsonrpc"] == "2.0" and "id" in error and -32768 <= error["error"]["code"] <= -32000, error
    assert isinstance(error, dict)
    return error


async def until(holds: Any, seconds: float = 20) -> None:
    """Wait until something nobody announces is so."""
    async with asyncio.timeout(seconds):
        while not holds():
            await asyncio.sleep(0.005)
