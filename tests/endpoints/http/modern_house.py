"""Clients of 2026-07-28 before a listener by hand: the test is every client, and the server behind them all."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any, Literal

from relay.endpoints.http.listening import ListeningOptions
from relay.endpoints.http.server.fast_connection import FastConnection
from relay.endpoints.http.server.listener import HttpListener
from relay.endpoints.http.server.modern import ModernClients
from relay.frames.frame import Frame
from relay.frames.head import RequestId
from relay.frames.ids import SUBSCRIPTION_ID
from relay.limits import Limits
from tests.e2e.oracle import ACCEPT_BOTH, Client, Response, notification
from tests.endpoints.http.house import PATIENT, House, answer

MODERN = "2026-07-28"
META = "io.modelcontextprotocol/"
LISTEN = "subscriptions/listen"


def meta(token: object = None, **more: object) -> dict[str, object]:
    """Make the ``_meta`` of a whole request."""
    found: dict[str, object] = {META + "protocolVersion": MODERN, META + "clientCapabilities": {}, **more}
    return found if token is None else {**found, "progressToken": token}


def ask(request_id: object, method: str = "x/echo", *, token: object = None, **params: object) -> bytes:
    """Make a whole request."""
    message = {"jsonrpc": "2.0", "id": request_id, "method": method, "params": {**params, "_meta": meta(token)}}
    return json.dumps(message).encode()


def listen(request_id: object) -> bytes:
    return ask(request_id, LISTEN, notifications={"toolsListChanged": True})


def headers_for(frame: bytes) -> dict[str, str | None]:
    """Mirror a frame as its client would; of what is no message, the version alone."""
    try:
        message = json.loads(frame)
    except ValueError:
        message = None
    message = message if isinstance(message, dict) else {}
    return {
        "content-type": "application/json",
        "accept": ACCEPT_BOTH,
        "mcp-protocol-version": MODERN,
        "mcp-method": message.get("method"),
        "mcp-name": message.get("params", {}).get("name"),
    }


class ModernHouse(House):
    """A listener with one endpoint for all; ``path`` is spelt so that requests go the fast way, or do not."""

    def __init__(self, listener: HttpListener, path: str) -> None:
        super().__init__(listener)
        self.path = path
        self.taken_at_once = 0
        self._offer = FastConnection._offer
        FastConnection._offer = self._counting()  # type: ignore[method-assign,assignment]  # counted, not changed

    def _counting(self) -> Callable[[FastConnection, Any, bytes], bool]:
        def offer(connection: FastConnection, message: Any, body: bytes) -> bool:
            is_taken = self._offer(connection, message, body)
            self.taken_at_once += is_taken
            return is_taken

        return offer

    async def aclose(self) -> None:
        FastConnection._offer = self._offer  # type: ignore[method-assign]
        await super().aclose()

    async def post(self, client: Client, frame: bytes, **changed: str | None) -> Response:
        """POST a frame with its headers; ``changed`` in snake case changes or removes one."""
        headers = headers_for(frame) | {name.replace("_", "-"): value for name, value in changed.items()}
        return await client.request("POST", self.path, headers, frame)

    async def clients_of(self) -> ModernClients:
        """Return the endpoint that the listener yields next."""
        session = await anext(self._sessions)
        assert isinstance(session, ModernClients)
        return session

    async def warm(self) -> tuple[Client, ModernClients]:
        """Have one request answered, so that the endpoint is there and the next one may go the fast way."""
        client = self.client("first")
        posting = asyncio.get_running_loop().create_task(self.post(client, ask("warm")))
        server = await self.clients_of()
        (frame,) = await server.receive()
        await server.send([answer(frame.head.id)])
        response = await posting
        assert response.status == 200
        await client.finished(response)
        return client, server

    async def posted(
        self, client: Client, server: ModernClients, frame: bytes, **changed: str | None
    ) -> tuple[asyncio.Task[Response], RequestId]:
        """POST a request and see it arrive at the server; return the response to come, and the server's id for it."""
        task = asyncio.get_running_loop().create_task(self.post(client, frame, **changed))
        (received,) = await server.receive()
        number = received.head.id
        assert number is not None
        sent, came = json.loads(frame), json.loads(received.raw)
        if "progressToken" in came["params"]["_meta"]:
            assert came["params"]["_meta"]["progressToken"] == number
            came["params"]["_meta"]["progressToken"] = sent["params"]["_meta"]["progressToken"]
        assert {**came, "id": sent["id"]} == sent
        return task, number


@contextlib.asynccontextmanager
async def modern_house(
    path: str = "/mcp", limits: Limits = PATIENT, *, per_request: Literal["no", "legacy", "all"] = "no"
) -> AsyncIterator[ModernHouse]:
    """Listen on a free port until the block is left."""
    listener = HttpListener(options=ListeningOptions(limits=limits), per_request=per_request)
    await listener.start()
    opened = ModernHouse(listener, path)
    try:
        yield opened
    finally:
        await opened.aclose()


def about(subscription: object, method: str = "notifications/tools/list_changed", fill: str = "") -> Frame:
    """Make what a server says on a subscription."""
    return Frame(notification(method, _meta={SUBSCRIPTION_ID: subscription}, fill=fill))


def acknowledged(subscription: object) -> Frame:
    return about(subscription, "notifications/subscriptions/acknowledged")


def completion(request_id: object) -> Any:
    """Return what ends a subscription in good order."""
    result = {"resultType": "complete", "_meta": {SUBSCRIPTION_ID: request_id}}
    return {"jsonrpc": "2.0", "id": request_id, "result": result}


async def frames_from(server: ModernClients, count: int) -> list[Any]:
    """Return what the clients have for the server next, read."""
    found: list[Any] = []
    async with asyncio.timeout(20):
        while len(found) < count:
            found += [json.loads(frame.raw) for frame in await server.receive()]
    assert len(found) == count, found
    return found
