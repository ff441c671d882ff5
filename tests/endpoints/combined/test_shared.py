"""SharedPool, SharedSessions and Member: one server, many sessions, and nothing of one reaches another."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import Any

import pytest

from relay.endpoints.combined.shared import IDLE, Member, SharedPool, SharedSessions
from relay.errors import EndpointBroken, EndpointClosed
from relay.frames.frame import Frame
from relay.limits import Limits
from tests.e2e.oracle import VERSION, initialize, notification, request
from tests.endpoints.http.house import answer, initialized, message, progress, until

GREETING = initialize(VERSION, "hello")
INITIALIZED = notification("notifications/initialized")


class Office:
    """A pool whose servers are the test."""

    def __init__(self, limits: Limits | None = None, *, idle: float | None = IDLE) -> None:
        self.limits = limits or Limits()
        self.started: list[SharedSessions] = []
        self.pool = SharedPool("server", self.limits, self.started.append, idle=idle)
        self.listening: set[Member] = set()

    def member(self) -> Member:
        member: Member
        member = self.pool.member(lambda: member in self.listening)
        return member

    async def greeted(self, count: int) -> tuple[SharedSessions, list[Member]]:
        """Return sessions that have been initialized, and their server."""
        members = [self.member() for _ in range(count)]
        for member in members:
            await say(member, GREETING)
        (shared,) = self.started
        ((_, greeting),) = await heard(shared)
        await shared.send([initialized(request_id=greeting["id"])])
        for member in members:
            assert await come(member) == [json.loads(initialized(request_id="hello").raw)]
            await say(member, INITIALIZED)
        assert [read for _, read in await heard(shared)] == [json.loads(INITIALIZED)]
        return shared, members


async def say(member: Member, *frames: bytes) -> None:
    await member.send([Frame(frame) for frame in frames])


async def heard(shared: SharedSessions) -> list[tuple[bytes, Any]]:
    """Return what the server has heard, as it came and read."""
    async with asyncio.timeout(20):
        return [(frame.raw, json.loads(frame.raw)) for frame in await shared.receive()]


async def come(member: Member) -> list[Any]:
    """Return what has come for a session; nothing if that is so."""
    if not member.inbox.waiting_bytes and not member.inbox.is_finished:
        return []
    async with asyncio.timeout(20):
        return [json.loads(frame.raw) for frame in await member.receive()]


async def asked(shared: SharedSessions, member: Member, frame: bytes) -> int:
    """Let a session ask; return the server's number for it."""
    await say(member, frame)
    ((_, read),) = await heard(shared)
    sent = json.loads(frame)
    number = read["id"]
    if "progressToken" in read.get("params", {}).get("_meta", {}):
        assert read["params"]["_meta"]["progressToken"] == number
        read["params"]["_meta"]["progressToken"] = sent["params"]["_meta"]["progressToken"]
    assert {**read, "id": sent["id"]} == sent
    assert isinstance(number, int)
    return number


def error_of(frame: Any) -> tuple[Any, int]:
    return frame["id"], frame["error"]["code"]


def updated(uri: str) -> Frame:
    return Frame(notification("notifications/resources/updated", uri=uri))


def subscribe(uri: str, method: str = "resources/subscribe") -> bytes:
    return request("s", method, uri=uri)


# -- the greeting -----------------------------------------------------------------------------------------------------


async def test_the_first_initialize_serves_all_and_the_server_hears_one() -> None:
    """Three at once, with other ids: one question, three answers, each under its own id; later ones too."""
    office = Office()
    members = [office.member() for _ in range(3)]
    for index, member in enumerate(members):
        await say(member, initialize(VERSION, f"id {index}"))
    (shared,) = office.started
    ((raw, read),) = await heard(shared)
    assert raw == initialize(VERSION, "id 0").replace(b'"id 0"', str(read["id"]).encode())
    assert [await come(member) for member in members] == [[], [], []]
    await shared.send([initialized(request_id=read["id"])])
    late = office.member()
    await say(late, initialize(VERSION, 2**70))
    for member, request_id in zip([*members, late], ["id 0", "id 1", "id 2", 2**70], strict=True):
        assert await come(member) == [json.loads(initialized(request_id=request_id).raw)]
    for member in (late, *members):
        await say(member, INITIALIZED)
    assert [raw for raw, _ in await heard(shared)] == [INITIALIZED]
    assert len(office.started) == 1 and shared.dropped == 0


async def test_when_the_first_initialize_fails_the_next_tries() -> None:
    """The error is the first one's; the second's answer serves the rest."""
    office = Office()
    members = [office.member() for _ in range(3)]
    for index, member in enumerate(members):
        await say(member, initialize(VERSION, index))
    (shared,) = office.started
    ((_, first),) = await heard(shared)
    refusal = b'{"jsonrpc":"2.0","id":%d,"error":{"code":-32602,"message":"no"}}' % first["id"]
    await shared.send([Frame(refusal)])
    assert [error_of(frame) for frame in await come(members[0])] == [(0, -32602)]
    ((_, second),) = await heard(shared)
    assert second["id"] != first["id"]
    await shared.send([initialized(request_id=second["id"])])
    assert [await come(member) for member in members[1:]] == [
        [json.loads(initialized(request_id=index).raw)] for index in (1, 2)
    ]


async def test_a_session_that_leaves_during_its_initialize_does_not_take_the_answer_with_it() -> None:
    """The others wait for it; nothing comes for who has left; one that left while it waited is not asked for."""
    office = Office()
    members = [office.member() for _ in range(3)]
    for index, member in enumerate(members):
        await say(member, initialize(VERSION, index))
    (shared,) = office.started
    ((_, greeting),) = await heard(shared)
    await members[0].send_eof()
    await members[1].send_eof()
    assert [error_of(frame) for frame in await come(members[0])] == [(0, -32001)]
    await shared.send([initialized(request_id=greeting["id"])])
    assert await come(members[2]) == [json.loads(initialized(request_id=2).raw)]
    assert await come(members[0]) == [] and await come(members[1]) == []
    assert shared.inbox.waiting_bytes == 0, "and the server hears of none of it"


async def test_each_version_has_a_server_of_its_own() -> None:
    """Two versions, the same ids: two servers; one nobody knows ends with its last session, others stay."""
    office = Office()
    versions = ("2025-06-18", "2025-11-25", "1999-01-01")
    members = [office.member() for _ in versions]
    for member, version in zip(members, versions, strict=True):
        await say(member, initialize(version, 1))
    assert len(office.started) == 3
    for shared, version in zip(office.started, versions, strict=True):
        ((_, read),) = await heard(shared)
        assert read["params"]["protocolVersion"] == version
        await shared.send([initialized(version, read["id"])])
    for member, version in zip(members, versions, strict=True):
        assert (await come(member))[0]["result"]["protocolVersion"] == version
        await member.send_eof()
    assert [shared.inbox.is_finished for shared in office.started] == [False, False, True]


async def test_a_server_ends_some_time_after_its_last_session_has_left() -> None:
    """Not before, and not if another comes in time; who comes after that has a new one."""
    assert IDLE <= 10, "its stop may take as long again"
    office = Office(idle=0.2)
    shared, (one, other) = await office.greeted(2)
    await one.send_eof()
    await other.send_eof()
    third = office.member()
    await say(third, GREETING)
    assert (await come(third))[0]["result"], "from the first one's answer"
    await asyncio.sleep(0.3)
    assert not shared.inbox.is_finished, "one is there"
    assert not shared.inbox.waiting_bytes, "and nobody is greeted anew"
    began = asyncio.get_running_loop().time()
    await third.aclose()
    assert not shared.inbox.is_finished
    async with asyncio.timeout(20):
        assert len(await shared.receive()) == 0
    assert asyncio.get_running_loop().time() - began >= 0.19
    await say(office.member(), GREETING)
    assert len(office.started) == 2


@pytest.mark.parametrize(("idle", "is_finished"), [(0, True), (None, False), (IDLE, False)])
async def test_a_server_may_end_at_once_or_never(idle: float | None, is_finished: bool) -> None:
    """As its pool says."""
    office = Office(idle=idle)
    shared, (one,) = await office.greeted(1)
    await one.send_eof()
    assert shared.inbox.is_finished == is_finished
    assert (shared._ending is None) == (idle in (0, None))
    await office.pool.aclose()
    assert shared._ending is None, "nothing is left behind"


async def test_before_initialize_nothing_passes() -> None:
    """A request gets its error, a notification is dropped, no server is started."""
    office = Office()
    member = office.member()
    await say(member, request(1, "tools/list"), INITIALIZED)
    assert [error_of(frame) for frame in await come(member)] == [(1, -32600)]
    assert not office.started


async def test_what_is_for_all_does_not_come_before_the_answer_to_initialize() -> None:
    """A session that waits for its greeting hears of no change."""
    office = Office()
    shared, (member,) = await office.greeted(1)
    early = SharedSessions("other", office.limits)
    waiting = office.member()
    early.members.append(waiting)
    early.take(waiting, Frame(GREETING))
    await early.send([Frame(notification("notifications/tools/list_changed"))])
    assert await come(waiting) == []
    await shared.send([Frame(notification("notifications/tools/list_changed"))])
    assert len(await come(member)) == 1


# -- requests of the sessions -----------------------------------------------------------------------------------------


async def test_the_same_ids_and_tokens_come_home_each_to_its_own() -> None:
    """Ten sessions, the same id and token, answered in another order: bytes as they were, but for the names."""
    office = Office()
    shared, members = await office.greeted(10)
    frame = request("same", "tools/call", a=0.1, _meta={"progressToken": 1})
    numbers = [await asked(shared, member, frame) for member in members]
    assert len(set(numbers)) == 10
    for index in reversed(range(10)):
        raw = b'{"id":%d,"jsonrpc":"2.0","result":{"id":1,"a":0.10,"n":%d,"n":9007199254740993}}'
        await shared.send([progress(numbers[index], index), Frame(raw % (numbers[index], index))])
    for index, member in enumerate(members):
        frames = [frame.raw for frame in await member.receive()]
        assert frames == [
            progress(1, index).raw,
            b'{"id":"same","jsonrpc":"2.0","result":{"id":1,"a":0.10,"n":%d,"n":9007199254740993}}' % index,
        ]
    assert shared.dropped == 0


async def test_batches_are_taken_apart_both_ways() -> None:
    """Each member of a batch goes its own way."""
    office = Office()
    shared, (one, other) = await office.greeted(2)
    await say(one, b"[" + request(1, "x") + b"," + request(2, "x") + b"]")
    numbers = [read["id"] for _, read in await heard(shared)]
    third = await asked(shared, other, request(1, "x"))
    batch = b",".join(answer(number, {"n": number}).raw for number in (third, *numbers))
    await shared.send([Frame(b"[" + batch + b"]")])
    assert [(frame["id"], frame["result"]["n"]) for frame in await come(one)] == [(1, numbers[0]), (2, numbers[1])]
    assert [(frame["id"], frame["result"]["n"]) for frame in await come(other)] == [(1, third)]


async def test_cancelling_is_of_one_s_own_request_only() -> None:
    """Named by the server's number; an id that is not open, or another session's number, cancels nothing."""
    office = Office()
    shared, (one, other) = await office.greeted(2)
    number = await asked(shared, one, request(7, "x"))
    theirs = await asked(shared, other, request(8, "x"))
    wrong = rb'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"\ud800","requestId":7}}'
    await say(
        one, *(notification("notifications/cancelled", requestId=i) for i in (8, theirs, number, "7", 7.5)), wrong
    )
    assert shared.inbox.waiting_bytes == 0
    await say(one, notification("notifications/cancelled", requestId=7, reason="r"))
    assert [read["params"] for _, read in await heard(shared)] == [{"requestId": number, "reason": "r"}]
    await shared.send([answer(number), answer(theirs)])
    assert [frame["id"] for frame in await come(one)] == [7], "a server may answer all the same"
    assert [frame["id"] for frame in await come(other)] == [8]


async def test_a_cancelled_request_that_is_not_answered_does_not_count_for_ever() -> None:
    """After ``abandoned_memory`` it is over: its session is no longer the busy one, and a late answer is dropped."""
    office = Office(Limits(cancel_grace=0.05, abandoned_memory=0.05))
    shared, (one, other) = await office.greeted(2)
    number = await asked(shared, one, request(1, "x"))
    await say(one, notification("notifications/cancelled", requestId=1))
    await heard(shared)
    await until(lambda: not one.numbers and not shared._busy())
    busy = await asked(shared, other, request(1, "x"))
    await shared.send([message(0), answer(number), answer(busy)])
    assert [frame.get("id") for frame in await come(other)] == [None, 1]
    assert await come(one) == [] and shared.dropped == 1


async def test_an_id_that_is_used_again_does_not_get_the_old_answer() -> None:
    """Cancelled, and its id taken for another request: the answer to the first is nobody's."""
    office = Office(Limits(cancel_grace=0.05, abandoned_memory=0.05))
    shared, (one,) = await office.greeted(1)
    old = await asked(shared, one, request(1, "x"))
    await say(one, notification("notifications/cancelled", requestId=1))
    await heard(shared)
    new = await asked(shared, one, request(1, "y"))
    await shared.send([answer(old, {"for": "old"})])
    await asyncio.sleep(0.1)
    await shared.send([answer(new, {"for": "new"})])
    assert [frame["result"] for frame in await come(one)] == [{"for": "new"}]


async def test_a_session_that_leaves_cancels_what_it_has_open() -> None:
    """Its requests get errors, the server cancellations, what still comes is dropped; the others go on."""
    office = Office(Limits(cancel_grace=0.1, abandoned_memory=0.1))
    shared, (one, other) = await office.greeted(2)
    left = [await asked(shared, one, request(index, "x", _meta={"progressToken": index})) for index in range(3)]
    kept = await asked(shared, other, request(1, "x"))
    await one.send_eof()
    assert [error_of(frame) for frame in await come(one)] == [(index, -32001) for index in range(3)]
    cancelled = [read for _, read in await heard(shared)]
    assert [read["params"]["requestId"] for read in cancelled] == left
    await shared.send([progress(left[0], 1), message(0), answer(left[0])])
    assert await come(other) == [] and shared.dropped == 3
    await until(lambda: shared._busy() == [other])
    await shared.send([message(1), answer(kept)])
    assert [frame.get("id") for frame in await come(other)] == [None, 1]
    assert await one.receive() == ()


async def test_what_cannot_be_named_back_is_refused_in_its_session() -> None:
    """A token that is a float: an error, and the server hears nothing."""
    office = Office()
    shared, (one,) = await office.greeted(1)
    await say(one, request(1, "x", _meta={"progressToken": 1.5}))
    assert [error_of(frame) for frame in await come(one)] == [(1, -32600)]
    assert shared.inbox.waiting_bytes == 0


# -- what the server says unasked -------------------------------------------------------------------------------------


async def test_changes_are_for_all_and_updates_for_who_subscribed() -> None:
    """The end of a subscription reaches the server when no other session has it."""
    office = Office()
    shared, (one, two, three) = await office.greeted(3)
    for member in (one, two):
        number = await asked(shared, member, subscribe("a:b"))
        await shared.send([answer(number)])
        await come(member)
    changed = Frame(notification("notifications/prompts/list_changed"))
    await shared.send([changed, updated("a:b"), updated("c:d")])
    expected = [json.loads(changed.raw), json.loads(updated("a:b").raw)]
    assert [await come(member) for member in (one, two, three)] == [expected, expected, expected[:1]]
    await say(one, subscribe("a:b", "resources/unsubscribe"))
    assert await come(one) == [{"jsonrpc": "2.0", "id": "s", "result": {}}]
    assert shared.inbox.waiting_bytes == 0
    await shared.send([updated("a:b")])
    assert [len(await come(member)) for member in (one, two, three)] == [0, 1, 0]
    number = await asked(shared, two, subscribe("a:b", "resources/unsubscribe"))
    await shared.send([answer(number), updated("a:b")])
    assert [frame["id"] for frame in await come(two)] == ["s"]


async def test_the_last_subscriber_that_leaves_unsubscribes() -> None:
    """The server is asked to end it; its answer is nobody's, and does not count as a request of anybody's."""
    office = Office()
    shared, (one, two, three) = await office.greeted(3)
    for member in (one, two):
        await shared.send([answer(await asked(shared, member, subscribe("a:b")))])
        await come(member)
    await one.send_eof()
    assert shared.inbox.waiting_bytes == 0
    await two.aclose()
    ((_, read),) = await heard(shared)
    assert (read["method"], read["params"]) == ("resources/unsubscribe", {"uri": "a:b"})
    await shared.send([message(0)])
    assert len(await come(three)) == 1
    await shared.send([answer(read["id"])])
    assert await come(three) == []


async def test_what_could_be_any_session_s_is_for_the_only_busy_one_or_nobody() -> None:
    """One with two calls: its own; two with calls: nobody's; none: all; of a request that is over: nobody's."""
    office = Office()
    shared, (one, two) = await office.greeted(2)
    numbers = [await asked(shared, one, request(index, "x", _meta={"progressToken": 1})) for index in range(2)]
    await shared.send([message(0)])
    assert len(await come(one)) == 1 and await come(two) == []
    theirs = await asked(shared, two, request(1, "x"))
    await shared.send([message(1), Frame(message(2).raw, belongs_to=theirs)])
    assert await come(one) == [] and len(await come(two)) == 1 and shared.dropped == 1
    await shared.send([answer(number) for number in (*numbers, theirs)])
    assert [len(await come(member)) for member in (one, two)] == [2, 1]
    over = [
        progress(numbers[0], 1),
        progress(1.5, 1),
        Frame(message(3).raw, belongs_to=theirs),
        Frame(notification("notifications/cancelled", requestId=numbers[0])),
    ]
    await shared.send(over)
    assert [await come(member) for member in (one, two)] == [[], []] and shared.dropped == 1 + len(over)
    await shared.send([message(4)])
    assert [len(await come(member)) for member in (one, two)] == [1, 1]


async def test_a_question_goes_to_the_session_that_is_meant() -> None:
    """With a call in flight, else subscribed, else listening, else nobody: then the server is told."""
    office = Office()
    shared, (one, two, three) = await office.greeted(3)
    question = Frame(request("q", "sampling/createMessage"))

    async def goes_to() -> list[int]:
        await shared.send([question])
        found = [index for index, member in enumerate((one, two, three)) if await come(member)]
        for index in found:
            await say((one, two, three)[index], answer("q", {"by": index}).raw)
            assert [read["result"]["by"] for _, read in await heard(shared)] == [index]
        return found

    async def is_refused() -> bool:
        return [error_of(read) for _, read in await heard(shared)] == [("q", -32000)]

    assert await goes_to() == [] and await is_refused()
    office.listening.add(three)
    assert await goes_to() == [2]
    await shared.send([answer(await asked(shared, two, subscribe("a:b")))])
    await come(two)
    assert await goes_to() == [1]
    first = await asked(shared, one, request(1, "x"))
    assert await goes_to() == [0]
    second = await asked(shared, three, request(1, "x"))
    assert await goes_to() == [] and await is_refused()
    await shared.send([Frame(question.raw, belongs_to=second)])
    assert len(await come(three)) == 1
    await say(three, answer("q").raw)
    assert len(await heard(shared)) == 1
    await shared.send([answer(first), answer(second), Frame(request("p", "ping"))])
    assert [read for _, read in await heard(shared)] == [{"jsonrpc": "2.0", "id": "p", "result": {}}]


async def test_an_answer_from_a_session_that_was_not_asked_is_dropped() -> None:
    """Nor is a second one taken, nor one to what was never asked."""
    office = Office()
    shared, (one, two) = await office.greeted(2)
    await asked(shared, one, request(1, "x"))
    await shared.send([Frame(request(5, "sampling/createMessage"))])
    assert [frame["method"] for frame in await come(one)] == ["sampling/createMessage"]
    await say(two, answer(5, {"by": "two"}).raw, answer(6).raw)
    await say(one, answer("x").raw)
    assert shared.inbox.waiting_bytes == 0 and shared.dropped == 3
    await say(one, answer(5, {"by": "one"}).raw, answer(5, {"by": "one again"}).raw)
    assert [read["result"] for _, read in await heard(shared)] == [{"by": "one"}]
    assert shared.dropped == 4


async def test_a_server_that_takes_its_question_back_tells_whom_it_asked() -> None:
    """Its ids are its own: the same number may be a request of another session, which is not cancelled by it."""
    office = Office()
    shared, (one, two) = await office.greeted(2)
    number = await asked(shared, two, request(1, "x"))
    await shared.send([Frame(request(number, "sampling/createMessage"), belongs_to=number)])
    assert len(await come(two)) == 1
    await shared.send([answer(number)])
    await come(two)
    number = await asked(shared, one, request(1, "x"))
    office.listening.add(two)
    shared._asked.open(number, two)  # the server's own number for what it has asked, equal to ours for one's request
    cancelled = Frame(notification("notifications/cancelled", requestId=number))
    await shared.send([cancelled])
    assert await come(one) == [] and await come(two) == [json.loads(cancelled.raw)]
    await shared.send([cancelled, answer(number)])
    assert [frame["id"] for frame in await come(one)] == [1] and await come(two) == []


async def test_a_session_that_leaves_answers_what_it_was_asked() -> None:
    """With an error, in its place: the server does not wait for ever."""
    office = Office()
    shared, (one, _) = await office.greeted(2)
    number = await asked(shared, one, request(1, "x"))
    await shared.send([Frame(request("q", "sampling/createMessage"))])
    await one.aclose(EndpointBroken("gone"))
    cancelled, refused = [read for _, read in await heard(shared)]
    assert cancelled["params"]["requestId"] == number and error_of(refused) == ("q", -32001)
    await shared.send([Frame(request("q", "sampling/createMessage"))])
    assert [error_of(read) for _, read in await heard(shared)] == [("q", -32000)], "it could be of the one that left"


# -- ends -------------------------------------------------------------------------------------------------------------


async def test_a_session_that_does_not_read_is_cut_alone() -> None:
    """It ends with a reason, its requests with errors; the others have had everything, in order."""
    office = Office(dataclasses.replace(Limits(), replay_bytes=10_000))
    shared, (slow, quick) = await office.greeted(2)
    number = await asked(shared, slow, request(1, "x"))
    changed = [Frame(notification("notifications/tools/list_changed", n=n, fill="x" * 500)) for n in range(50)]
    for frame in changed:
        await shared.send([frame])
        assert await come(quick) == [json.loads(frame.raw)]
    ((_, cancelled),) = await heard(shared)
    assert cancelled["params"]["requestId"] == number
    got = await come(slow)
    assert error_of(got.pop()) == (1, -32001) and got == [json.loads(frame.raw) for frame in changed[: len(got)]]
    assert 15 < len(got) < 25
    try:
        await slow.receive()
    except EndpointBroken as exc:
        assert "too slowly" in str(exc)
    else:
        raise AssertionError("it did not end with a reason")


async def test_the_server_s_end_ends_every_session_and_the_next_has_another() -> None:
    """Each open request gets its error; a new session is greeted by a new server."""
    office = Office()
    shared, members = await office.greeted(3)
    for member in members[:2]:
        await asked(shared, member, request(1, "x"))
    await shared.send_eof()
    for member in members[:2]:
        (error,) = await come(member)
        assert error_of(error) == (1, -32001) and "the server has ended" in error["error"]["message"]
        assert await member.receive() == ()
    assert await members[2].receive() == ()
    for send in (members[0].send([Frame(request(1, "x"))]), shared.send([message(0)])):
        try:
            await send
        except EndpointClosed:
            continue
        raise AssertionError("sent after its end")
    await say(office.member(), GREETING)
    assert len(office.started) == 2 and [read["method"] for _, read in await heard(office.started[1])] == ["initialize"]


async def test_closing_the_pool_ends_servers_that_have_no_session_left() -> None:
    """They are kept for the next session, but not when the relay ends."""
    office = Office()
    shared, (one, two) = await office.greeted(2)
    await one.send_eof()
    await asked(shared, two, request(1, "x"))
    await office.pool.aclose()
    assert await shared.receive() == ()
    (error,) = await come(two)
    assert error_of(error) == (1, -32001) and "shutting down" in error["error"]["message"]


async def test_a_server_that_reads_slowly_holds_its_sessions_back() -> None:
    """``send`` of a session waits above the high mark; ends are told to who asked for that."""
    office = Office(Limits(buffer_high=1000, buffer_low=100))
    shared, (one,) = await office.greeted(1)
    ends: list[str] = []
    one.call_at_end(lambda: ends.append("session"))
    shared.call_at_end(lambda: ends.append("server"))
    async with asyncio.TaskGroup() as group:
        sending = group.create_task(say(one, request(1, "x", fill="x" * 2000)))
        await asyncio.sleep(0.02)
        assert not sending.done()
        assert len(await heard(shared)) == 1
    await one.send_eof()
    await shared.aclose()
    assert ends == ["session", "server"]
