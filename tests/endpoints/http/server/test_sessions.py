"""The sessions of the HTTP listener pass the suite of every endpoint, as far as their transport can show it."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Sequence

import pytest

from relay.endpoints.http.listening import ListeningOptions
from relay.endpoints.http.server.listener import HttpListener
from relay.endpoints.http.server.session import HttpSession
from relay.endpoints.http.server.sse_session import SseSession
from relay.frames.frame import Frame
from relay.limits import Limits
from relay.testing import CHECK_LIMITS, Capabilities, Pair, check_endpoint
from relay.testing import laws as suite
from tests.e2e.oracle import Client, Response, initialize
from tests.endpoints.http.house import initialized

# The kernel's two socket buffers and the test's reader hold some; the relay its high mark.
UNREAD = 16 * 2**20


class _Browser:
    """An HTTP client as the far side: POSTs one after the other, and reads one stream when asked."""

    def __init__(self, client: Client, stream: Response, address: str) -> None:
        self._client = client
        self._stream = stream
        self._address = address

    async def receive(self) -> Sequence[Frame]:
        event = await self._stream.any_event()
        while event is not None and not event.data:
            event = await self._stream.any_event()
        return (Frame(event.data),) if event is not None else ()

    async def send(self, frames: Sequence[Frame]) -> None:
        headers = {"content-type": "application/json", "mcp-session-id": self._client.session}
        for frame in frames:
            response = await self._client.request("POST", self._address, headers, frame.raw)
            if response.is_stream:
                response.wire.close()  # its answer is not what is looked at, and a thousand connections are many
            else:
                await self._client.finished(response)

    async def send_eof(self) -> None:
        if self._client.session is None:
            self._client.close()
        else:
            await self._client.end()

    async def vanish(self) -> None:
        self._client.close()


@contextlib.asynccontextmanager
async def _listening(limits: Limits) -> AsyncIterator[tuple[HttpListener, Client]]:
    limits = dataclasses.replace(limits, answer_wait=0, max_in_flight=10_000)
    listener = HttpListener(options=ListeningOptions(limits=limits))
    await listener.start()
    try:
        async with Client(listener.base_url) as client:
            yield listener, client
    finally:
        await listener.aclose()


@contextlib.asynccontextmanager
async def sse_pair(limits: Limits) -> AsyncIterator[Pair]:
    """A 2024-11-05 session and its client."""
    async with _listening(limits) as (listener, client):
        stream = await client.request("GET", "/sse", {"accept": "text/event-stream"})
        endpoint = await stream.any_event()
        assert endpoint is not None
        far = _Browser(client, stream, endpoint.data.decode())
        await far.send([Frame(initialize(request_id="first"))])
        session = await anext(aiter(listener))
        assert isinstance(session, SseSession)
        assert len(await session.receive()) == 1
        await session.send([initialized("2024-11-05", "first")])
        assert len(await far.receive()) == 1
        yield Pair(session, far)
        await session.aclose()


@contextlib.asynccontextmanager
async def streamable_pair(limits: Limits) -> AsyncIterator[Pair]:
    """A Streamable HTTP session and its client, which listens on the GET stream."""
    async with _listening(limits) as (listener, client):
        posting = asyncio.get_running_loop().create_task(client.post(initialize(request_id="first")))
        session = await anext(aiter(listener))
        assert isinstance(session, HttpSession)
        assert len(await session.receive()) == 1
        await session.send([initialized(request_id="first")])
        response = await posting
        client.session = response.headers["mcp-session-id"]
        await client.finished(response)
        yield Pair(session, _Browser(client, await client.listen(), "/mcp"))
        await session.aclose()


@pytest.mark.async_timeout(60)
async def test_an_http_sse_session_is_an_endpoint() -> None:
    """All laws but half-close: a client that has closed its stream can hear nothing more."""
    await check_endpoint(sse_pair, Capabilities(half_close=False, most_buffered=UNREAD))


@pytest.mark.each_loop
@pytest.mark.parametrize(
    "law",
    [
        suite.order_is_kept_inwards,
        suite.order_is_kept_outwards,
        suite.large_frames_pass_inwards,
        suite.large_frames_pass_outwards,
        suite.a_frame_beyond_the_limit_ends_only_itself,
        suite.the_end_has_no_frames,
        suite.a_second_receiver_is_refused,
        suite.an_unread_sink_blocks_the_sender,
        suite.a_slow_receiver_loses_nothing,
        suite.cancelling_receive_loses_nothing,
        suite.cancelling_send_leaves_it_closeable,
        suite.closing_ends_it,
        suite.received_frames_survive_the_close,
    ],
    ids=lambda law: law.__name__,
)
async def test_a_streamable_http_session_is_an_endpoint(law: suite.Law) -> None:
    """All laws but those of a vanished client: the session outlives its connections, that is what it is for."""
    async with streamable_pair(CHECK_LIMITS) as pair:
        await law(pair, Capabilities(half_close=False, most_buffered=UNREAD))


async def test_an_answer_to_initialize_that_is_nested_too_deep_begins_no_session() -> None:
    """Its frame may pass; what the relay itself reads of it goes only so deep."""
    ready: list[HttpSession] = []
    session = HttpSession(Limits(), ready.append, lambda _: None)
    session._take_initialize_answer(Frame(b'{"id":1,"result":' + b'{"x":' * 9000 + b"1" + b"}" * 9001))
    assert not ready
    await session.aclose()
