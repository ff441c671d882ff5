"""Other clients run between two steps over a large frame; a small frame delays none."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator
from typing import Any

import pytest

from bench.flood.corpus import make
from relay.endpoints.core import byte_stream
from relay.endpoints.core.byte_stream import FrameReader
from relay.endpoints.core.settlement import Settlement
from relay.endpoints.core.turns import LARGE
from relay.endpoints.http import frame_checks, steps
from relay.endpoints.http.client import streamable
from relay.endpoints.http.client.post import StreamCursor
from relay.endpoints.http.gate import Gate
from relay.endpoints.http.media import EVENT_STREAM, JSON
from relay.endpoints.http.server import carrying, session
from relay.endpoints.http.server.modern import ModernClients
from relay.endpoints.http.through import whole_answers
from relay.endpoints.websocket import websocket
from relay.errors import EndpointBroken
from relay.frames import envelope
from relay.frames import frame as frame_module
from relay.frames.frame import Frame
from relay.limits import DEFAULT_LIMITS, Limits
from relay.testing.pair import take
from tests.e2e.conversation import Direct
from tests.e2e.fault_server import FaultServer
from tests.e2e.oracle import request
from tests.endpoints.http.gate_views import gate_of, post_of
from tests.endpoints.http.house import house
from tests.endpoints.http.modern_house import ask, modern_house
from tests.endpoints.http.through.test_pass_through import Saying, hop_to
from tests.endpoints.socket import test_tcp
from tests.endpoints.websocket import test_websocket

SMALL = 2**16
LIMITS = Limits(answer_wait=30, close_grace=0.5)
NO_MESSAGE = b'{"x":"' + b"x" * (LARGE + SMALL) + b'"}'
ANSWER = b'{"jsonrpc":"2.0","id":7,"result":"' + b"x" * (LARGE + SMALL) + b'"}'


class Turns:
    """Counts turns of the loop, and notes in which one each step was taken."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        self._now = 0
        self.steps: list[tuple[str, int]] = []

    def watch(self, owner: Any, name: str) -> None:
        """Note when this is called; it does what it did."""
        original = getattr(owner, name)

        @functools.wraps(original)
        def noting(*args: Any, **kwargs: Any) -> Any:
            self.steps.append((name, self._now))
            return original(*args, **kwargs)

        self._patch.setattr(owner, name, noting)

    async def _count(self) -> None:
        while True:
            self._now += 1
            await asyncio.sleep(0)

    @contextlib.asynccontextmanager
    async def counted(self) -> AsyncIterator[None]:
        task = asyncio.get_running_loop().create_task(self._count())
        try:
            yield
        finally:
            self.steps.append(("the end", self._now))
            task.cancel()

    def least_between(self, *names: str) -> int:
        """Return how many turns others had at the least between the last call of each of these and the next one's."""
        at = [dict(self.steps)[name] for name in names]
        return min(later - before for before, later in zip(at, at[1:], strict=False))


async def test_others_go_on_between_the_checks_of_a_large_body(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each goes over all of it; together they would take 100 ms."""
    turns = Turns(monkeypatch)
    turns.watch(frame_module, "is_utf8")
    turns.watch(envelope, "_decode_large")
    turns.watch(frame_checks, "repeated_key")
    turns.watch(carrying, "read_facts")
    turns.watch(Frame, "excess")
    body = make("emoji", LARGE + SMALL)
    walk = post_of(body)
    async with turns.counted():
        await carrying.check_in_turns(gate_of(), walk)
    assert walk.frame is not None and walk.frame.raw == body
    assert walk.head is not None and walk.head.id == 1
    order = ("excess", "is_utf8", "_decode_large", "repeated_key", "read_facts", "the end")
    assert turns.least_between(*order) > 1


async def test_others_go_on_between_the_check_of_headers_and_the_renaming(monkeypatch: pytest.MonkeyPatch) -> None:
    """A request of 2026-07-28 is held against its headers, and gets a number: each goes over all of it."""
    async with modern_house() as there:
        client, server = await there.warm()
        turns = Turns(monkeypatch)
        turns.watch(steps, "check_facts")
        turns.watch(ModernClients, "accept")
        async with turns.counted():
            posting, _ = await there.posted(client, server, ask(1, fill="x" * (LARGE + SMALL)))
        posting.cancel()
        assert turns.least_between("check_facts", "accept") > 1


async def test_others_go_on_before_an_answer_is_looked_for_in_what_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The body of a session's POST: its server may wait for what it was meant to be."""
    turns = Turns(monkeypatch)
    turns.watch(Gate, "refusal_of_frame")
    turns.watch(session, "answers_in")
    async with house(LIMITS) as there:
        client, _ = await there.begin("2025-03-26")
        async with turns.counted():
            response = await client.post(NO_MESSAGE)
        assert response.status == 400
    assert turns.least_between("refusal_of_frame", "answers_in") > 1


async def test_others_go_on_between_two_looks_at_the_answer_of_another_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Streamable HTTP to Streamable HTTP."""
    turns = Turns(monkeypatch)
    turns.watch(whole_answers, "once_each")
    turns.watch(whole_answers, "answer_in")
    async with hop_to(Saying(200, ANSWER, JSON), limits=LIMITS) as (opened, _server), turns.counted():
        response = await opened.client("s").post(request(7, "x"))
        assert await response.body() == ANSWER
    assert turns.least_between("once_each", "answer_in") > 1


async def test_others_go_on_before_the_answer_to_a_dialled_request_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also over a connection that is kept, where a small one is taken in the callback that brought it."""
    turns = Turns(monkeypatch)
    turns.watch(streamable, "_frame_in")
    turns.watch(streamable.HttpClient, "_take_body")
    async with FaultServer.running(Saying(200, ANSWER, JSON)) as server, Direct.to(server.url, limits=LIMITS) as client:
        await client.handshake()
        async with turns.counted():
            await client.call(7)
    assert turns.least_between("_frame_in", "_take_body") > 1


async def test_others_go_on_before_an_answer_in_a_dialled_stream_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream of Streamable HTTP."""
    turns = Turns(monkeypatch)
    turns.watch(StreamCursor, "advance")
    turns.watch(streamable.HttpClient, "take")
    said = Saying(200, b"data: " + ANSWER + b"\n\n", EVENT_STREAM)
    async with FaultServer.running(said) as server, Direct.to(server.url, limits=LIMITS) as client:
        await client.handshake()
        async with turns.counted():
            await client.call(7)
    assert turns.least_between("advance", "take") > 1


async def test_others_go_on_before_a_large_websocket_message_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it is text is told in one turn, what it is in another, and it goes on in a third."""
    turns = Turns(monkeypatch)
    turns.watch(websocket, "is_utf8")
    turns.watch(Settlement, "take")
    async with test_websocket.accepted(LIMITS) as (near, far), turns.counted():
        async with asyncio.TaskGroup() as group:
            group.create_task(far.send([Frame(make("image", LARGE + SMALL))]))
            assert await near.receive()
    assert turns.least_between("is_utf8", "take") > 1


# -- lines ------------------------------------------------------------------------------------------------------------


class Pipe(asyncio.ReadTransport):
    """A transport that can be paused."""

    is_paused = False

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def is_closing(self) -> bool:
        return False


LINE = make("image", LARGE + SMALL)
LAST = b'{"jsonrpc":"2.0","method":"last"}'


async def test_a_large_line_is_read_in_one_turn_and_goes_on_in_another() -> None:
    """What comes behind it comes behind it, though the transport had read it before it was paused."""
    reader, pipe = FrameReader("r", DEFAULT_LIMITS), Pipe()
    reader.connection_made(pipe)
    reader.data_received(LINE + b"\n" + LAST + b"\n")
    assert pipe.is_paused
    assert not reader.inbox.waiting_bytes
    reader.data_received(LAST + b"\n")
    assert not reader.inbox.waiting_bytes
    assert [frame.raw for frame in await reader.inbox.receive()] == [LINE, LAST, LAST]
    assert not pipe.is_paused
    reader.data_received(LAST + b"\n")
    assert reader.inbox.waiting_bytes == len(LAST), "at once"


async def test_others_go_on_between_the_steps_over_a_large_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """If each of them takes long: whoever waits behind this line should not wait for pauses."""
    turns = Turns(monkeypatch)
    turns.watch(frame_module, "is_utf8")
    turns.watch(envelope, "_decode_large")
    turns.watch(Frame, "excess")
    turns.watch(envelope, "_request_token")
    now = iter(range(1000))
    monkeypatch.setattr(byte_stream, "monotonic", lambda: next(now))
    reader = FrameReader("r", DEFAULT_LIMITS)
    reader.connection_made(Pipe())
    line = make("escaped-text", 2 * LARGE).replace(b"\\u00e9", "é".encode())
    async with turns.counted():
        reader.data_received(line)
        reader.data_received(b"\n")
        (frame,) = await reader.inbox.receive()
    assert frame.head.id == 1
    assert turns.least_between("is_utf8", "_decode_large", "excess", "_request_token", "the end") >= 1


@pytest.mark.parametrize("failure", [None, OSError("reset")], ids=["closed", "broken"])
@pytest.mark.parametrize("is_half", [True, False], ids=["half closed first", "lost"])
async def test_a_large_line_comes_before_the_end(failure: OSError | None, is_half: bool) -> None:
    """The end does not wait for the next turn."""
    reader = FrameReader("r", DEFAULT_LIMITS)
    reader.connection_made(Pipe())
    reader.data_received(LINE + b"\n")
    if is_half:
        reader.eof_received()
    reader.connection_lost(failure)
    assert [frame.raw for frame in await reader.inbox.receive()] == [LINE]
    if failure is None or is_half:
        assert await reader.inbox.receive() == ()
    else:
        with pytest.raises(EndpointBroken):
            await reader.inbox.receive()


async def test_who_leaves_before_its_large_first_line_is_looked_at_takes_no_place() -> None:
    """It was closed in the turn between."""
    async with test_tcp.listening("tcp", LIMITS) as listener:
        far = await test_tcp.call(listener)
        sending = asyncio.get_running_loop().create_task(far.send_bytes(LINE + b"\n"))
        async with asyncio.timeout(10):
            while not any(one.reader._late for one in listener._connections):
                await asyncio.sleep(0)
            for one in tuple(listener._connections):
                one.refuse("a test")
            while listener.connections:
                await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        assert not listener.places.taken
        assert listener._offered.empty()
        await asyncio.wait((sending,))
        far.sock.close()


async def test_a_large_first_line_is_taken() -> None:
    """And what comes with it."""
    async with test_tcp.listening("tcp", LIMITS) as listener:
        far = await test_tcp.call(listener)
        async with asyncio.TaskGroup() as group:
            group.create_task(far.send_bytes(LINE + b"\n" + LAST + b"\n"))
            endpoint = await test_tcp.first_of(listener)
            frames = [frame.raw for frame in await take(endpoint, 2)]
        assert frames == [LINE, LAST]
        await endpoint.aclose()
        far.sock.close()
