"""Remote obeys the laws of an endpoint as far as HTTP lets it: what comes in, and how it ends.

What goes out has no order beyond that of notifications, and a server that ends a stream has not finished: it is asked
for another. So the laws of `check_endpoint` about those do not apply; tests/e2e/test_connect_*.py say what holds.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Sequence

import pytest

from relay.endpoints.core.dialling import DiallingOptions, Transport
from relay.endpoints.http.client.remote import Remote
from relay.errors import ConfigError, EndpointClosed
from relay.frames.frame import Frame
from relay.limits import Limits
from relay.testing import CHECK_LIMITS, Capabilities, Pair, laws
from tests.e2e.conversation import INITIALIZE, INITIALIZED
from tests.e2e.fault_server import Exchange, FaultServer, Script, SseScript

LAWS = [
    laws.order_is_kept_inwards,
    laws.large_frames_pass_inwards,
    laws.a_frame_beyond_the_limit_ends_only_itself,
    laws.a_second_receiver_is_refused,
    laws.a_slow_receiver_loses_nothing,
    laws.cancelling_receive_loses_nothing,
    laws.closing_ends_it,
    laws.received_frames_survive_the_close,
]


class Listening(Script):
    """Keeps the GET stream."""

    stream_of_session: Exchange | None = None

    async def get(self, exchange: Exchange) -> None:
        await exchange.open_stream()
        self.stream_of_session = exchange
        await exchange.hold()


class ServerSide:
    """The peer in the hands of a law: it speaks over the session's stream."""

    def __init__(self, server: FaultServer, stream: Exchange) -> None:
        self._server = server
        self._stream = stream
        self._seen = len(server.requests)

    async def receive(self) -> Sequence[Frame]:
        await self._server.until(lambda: len(self._server.requests) > self._seen)
        new, self._seen = self._server.requests[self._seen :], len(self._server.requests)
        return [Frame(one.body) for one in new if one.method == "POST"]

    async def send(self, frames: Sequence[Frame]) -> None:
        for frame in frames:
            await self._stream.event(frame.raw)

    async def send_eof(self) -> None:
        await self._stream.end()

    async def vanish(self) -> None:
        self._stream.cut()


@contextlib.asynccontextmanager
async def make_pair(transport: Transport, limits: Limits) -> AsyncIterator[Pair]:
    """Give an initialized session with an open stream."""
    script = SseScript() if transport == "sse" else Listening()
    async with FaultServer.running(script) as server:
        near = Remote(server.url, DiallingOptions(transport=transport, limits=limits))
        try:
            await near.send([Frame(json.dumps(INITIALIZE).encode())])
            await near.receive()
            await near.send([Frame(json.dumps(INITIALIZED).encode())])
            await server.until(lambda: "GET" in server.methods())
            if isinstance(script, SseScript):
                stream = script.streams["session-1"]
            else:
                await server.until(lambda: script.stream_of_session)
                assert script.stream_of_session is not None, "waited for"
                stream = script.stream_of_session
            yield Pair(near, ServerSide(server, stream))
        finally:
            await near.aclose()


@pytest.mark.each_loop
@pytest.mark.parametrize("transport", ["streamablehttp", "sse"])
@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
async def test_laws_of_an_endpoint(law: laws.Law, transport: Transport) -> None:
    """Each law about what comes in, and about closing, over both transports."""
    async with make_pair(transport, CHECK_LIMITS) as pair:
        await law(pair, Capabilities())
        await pair.near.aclose()
        await pair.near.aclose()


@pytest.mark.parametrize("url", ["ftp://host/mcp", "http://", "https:///mcp", "host:80/mcp", "http://[::1/mcp"])
async def test_not_a_url(url: str) -> None:
    """What is no http(s) URL is the operator's mistake, said at once and by name."""
    with pytest.raises(ConfigError, match="URL"):
        Remote(url)


async def test_never_used() -> None:
    """A Remote that nobody used ends without a connection; later use is our mistake."""
    remote = Remote("http://127.0.0.1:9/mcp")
    await remote.send_eof()
    assert await remote.receive() == ()
    await remote.aclose()
    with pytest.raises(EndpointClosed):
        await remote.send([Frame(b"{}")])


async def test_frame_that_is_no_message() -> None:
    """What is not JSON-RPC is answered with -32600 or its like, and the server never sees it."""
    async with FaultServer.running(Script()) as server:
        remote = Remote(server.url, DiallingOptions(transport="streamablehttp"))
        try:
            await remote.send([Frame(b'{"id":7}')])
            (answer,) = await remote.receive()
            assert answer.head.id == 7
            assert json.loads(answer.raw)["error"]["code"] == -32600
            assert server.connections == 0
        finally:
            await remote.aclose()
