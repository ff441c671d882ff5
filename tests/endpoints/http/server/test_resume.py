"""HttpListener: a client that cut its connection comes back, and finds everything once."""

from __future__ import annotations

import asyncio

import pytest

from relay.endpoints.http.server.session import HttpSession
from relay.limits import Limits
from tests.e2e.oracle import Client, Event, Response, request
from tests.endpoints.http.house import (
    House,
    answer,
    house,
    message,
    posted,
    progress,
    refused,
    until,
    with_token,
)


async def read_in_pieces(client: Client, response: Response, piece: int, count: int = 0) -> list[Event]:
    """Read a stream to its end, or ``count`` events, cutting the connection after every ``piece`` and resuming."""
    seen: list[Event] = []
    while True:
        taken = 0
        while taken < piece:
            event = await response.any_event()
            if event is None:
                return seen
            if event.data:
                seen.append(event)
                taken += 1
                if len(seen) == count:
                    return seen
        response.wire.close()
        response = await client.listen(seen[-1].id)
        assert response.status == 200, await response.body()


@pytest.mark.parametrize("piece", [1, 2, 3, 5])
async def test_a_post_stream_resumes_after_any_event(piece: int) -> None:
    """Cut anywhere, Last-Event-ID brings the rest exactly: nothing lost, nothing twice, ids distinct."""
    async with house() as there:
        client, session = await there.begin()
        posting = await posted(client, session, with_token(1, "t"))
        sent = [progress("t", number) for number in range(11)]
        await session.send(sent[:6])
        response = await posting

        async def the_rest() -> None:
            for frame in [*sent[6:], answer(1)]:
                await session.send([frame])
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            reading = group.create_task(read_in_pieces(client, response, piece))
            group.create_task(the_rest())
        events = reading.result()
        assert [event.data for event in events] == [frame.raw for frame in [*sent, answer(1)]]
        assert len({event.id for event in events}) == 12


@pytest.mark.parametrize("piece", [1, 2, 7])
async def test_a_get_stream_resumes_after_any_event(piece: int) -> None:
    """The same for the GET stream, with events that come while nobody is connected."""
    async with house() as there:
        client, session = await there.begin()
        response = await client.listen()
        sent = [message(number) for number in range(21)]

        async def send_all() -> None:
            for frame in sent:
                await session.send([frame])
                await asyncio.sleep(0)

        async with asyncio.TaskGroup() as group:
            reading = group.create_task(read_in_pieces(client, response, piece, len(sent)))
            await send_all()
        assert [event.data for event in reading.result()] == [frame.raw for frame in sent]


async def _left_amid_a_call(there: House) -> tuple[Client, HttpSession, Event]:
    """Call, and leave after the first event of the answer; return that event, too."""
    client, session = await there.begin()
    posting = await posted(client, session, with_token(1, "t"))
    await session.send([progress("t", 0)])
    response = await posting
    seen = await response.next_event()
    response.wire.close()
    return client, session, seen


async def test_the_empty_event_can_be_resumed_from() -> None:
    """The id of the opening event stands for "nothing seen yet": the whole answer comes."""
    async with house(Limits(answer_wait=0)) as there:
        client, session = await there.begin()
        response = await (await posted(client, session, request(1, "x")))
        opening = await response.any_event()
        assert opening is not None and opening.data == b""
        response.wire.close()
        await session.send([message(0), answer(1)])
        again = await client.listen(opening.id)
        assert await again.frames() == [message(0).raw, answer(1).raw]


async def test_a_finished_call_s_answer_waits_for_its_client() -> None:
    """A client that left in the middle of a call finds the answer when it comes back, once the call is over too."""
    async with house() as there:
        client, session, seen = await _left_amid_a_call(there)
        await session.send([answer(1)])
        for _ in range(2):  # asking twice is the client's right
            assert await (await client.listen(seen.id)).frames() == [answer(1).raw]


@pytest.mark.parametrize("event_id", ["9-9", "0-99", "nonsense", "1-", "-1", "1-1-1", "٣-٣", "9" * 5000])
async def test_an_unknown_event_id_is_refused(event_id: str) -> None:
    """400 with a JSON-RPC error: never another stream's events, never a crash."""
    async with house() as there:
        client, _ = await there.begin()
        await refused(await client.listen(event_id.encode().decode("latin-1")), 400)


async def test_another_session_s_events_are_never_shown() -> None:
    """An event id says nothing in another session: it gets its own events or a refusal, not the other's."""
    async with house() as there:
        alice, alices = await there.begin()
        bob, bobs = await there.begin()
        posting = await posted(alice, alices, with_token(1, "t"))
        await alices.send([progress("t", 0), answer(1)])
        event = await (await posting).next_event()
        await refused(await bob.listen(event.id), 400)
        await bobs.send([message(5)])
        await alices.send([message(6)])
        assert (await (await bob.listen("0-0")).next_event()).data == message(5).raw


async def test_all_that_one_session_keeps_is_bounded() -> None:
    """However many streams a session has had, it keeps ``replay_bytes`` of events, the youngest."""
    limits = Limits(answer_wait=0, replay_bytes=100_000)
    async with house(limits) as there:
        client, session = await there.begin()
        for number in range(20):
            posting = await posted(client, session, request(number, "x"))
            await session.send([message(number, 40_000), answer(number)])
            assert len(await client.finished(await posting)) == 2
        assert session.kept_bytes <= limits.replay_bytes


async def test_a_gap_in_a_call_s_stream_is_refused_not_hidden() -> None:
    """If what came next is no longer kept, a resume says so: skipping an answer would leave its client waiting."""
    async with house(Limits(answer_wait=10, replay_bytes=1000)) as there:
        client, session, seen = await _left_amid_a_call(there)
        await until(lambda: not any(stream.has_reader for stream in session._streams.values()))
        await session.send([progress("t", number, 600) for number in range(1, 4)])
        await session.send([answer(1)])
        await refused(await client.listen(seen.id), 400)
