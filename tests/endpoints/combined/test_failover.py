"""Failover and Pool: where each request goes, that it has one outcome, and which server is asked again when."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest

import relay.endpoints.combined.pool as pool_module
from relay.endpoints.base import Endpoint
from relay.endpoints.combined.failover import Failover
from relay.endpoints.combined.pool import Pool, Retry, Upstream, only
from relay.endpoints.core.lazy import Lazy
from relay.endpoints.core.memory import MemoryEndpoint, memory_pair
from relay.errors import ConfigError, EndpointBroken, EndpointUnavailable, ServerLeftOut
from relay.frames import replies
from relay.frames.frame import Frame
from relay.frames.head import Kind
from relay.limits import Limits
from relay.pipe import pipe
from relay.routing.schedule import Strategy
from relay.testing import Capabilities, Pair, check_endpoint, far_of, joined
from tests.e2e.oracle import request
from tests.endpoints.http.house import house

LIMITS = Limits(close_grace=0.2, cancel_grace=0.05)
META = '"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}'


def ask(number: int, method: str = "echo", more: str = "") -> Frame:
    """Make a request of a session."""
    params = "{" + more + "}"
    return Frame(f'{{"jsonrpc":"2.0","id":{number},"method":"{method}","params":{params}}}'.encode())


def ask_modern(number: int, method: str = "echo", more: str = META) -> Frame:
    """Make a request without one."""
    return ask(number, method, more)


INITIALIZED = Frame(b'{"jsonrpc":"2.0","method":"notifications/initialized"}')


class House:
    """One server: what it was sent, and what it does with that."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.is_down = False
        self.is_silent = False
        self.is_raising = True
        """How it is not there: as a socket, which raises, or as HTTP, which answers for it."""
        self.dies_of: str | None = None
        self.is_open = asyncio.Event()
        """It hears, and answers nothing before."""
        self.is_open.set()
        self.heard: list[Frame] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.ends: list[MemoryEndpoint] = []

    def make(self, _: bool = False) -> Endpoint:
        near, far = memory_pair(limits=LIMITS)
        if self.is_raising:
            return Lazy(self.name, lambda: self._open(near, far))
        self._serve(far)
        return near

    async def _open(self, near: MemoryEndpoint, far: MemoryEndpoint) -> Endpoint:
        if self.is_down:
            raise EndpointUnavailable(f"{self.name}: cannot connect: Connection refused")
        self._serve(far)
        return near

    def _serve(self, far: MemoryEndpoint) -> None:
        self.ends.append(far)
        self.tasks.add(asyncio.get_running_loop().create_task(self._answer(far)))

    async def _answer(self, far: MemoryEndpoint) -> None:
        with contextlib.suppress(EndpointBroken):
            while frames := await far.receive():
                for frame in frames:
                    if frame.head.id == "mcp-relay":
                        if not self.is_silent and not self.is_down:
                            await far.send((replies.result("mcp-relay"),))
                        continue
                    await self._take(far, frame)
            await far.aclose()

    async def _take(self, far: MemoryEndpoint, frame: Frame) -> None:
        if self.is_down:
            if frame.head.kind is Kind.REQUEST:
                fault = f"{self.name}: cannot connect: Connection refused"
                await far.send((replies.error(frame.head.id, replies.UNAVAILABLE, fault, delivered="no"),))
            return
        self.heard.append(frame)
        await self.is_open.wait()
        if frame.head.method == self.dies_of:
            await far.aclose()
        elif frame.head.kind is Kind.REQUEST and not self.is_silent and frame.head.method != "silent":
            result = json.dumps({"server": self.name})
            await far.send((Frame(f'{{"jsonrpc":"2.0","id":{frame.head.id},"result":{result}}}'.encode()),))

    @property
    def ids(self) -> list[object]:
        return [frame.head.id for frame in self.heard if frame.head.kind is Kind.REQUEST]


class Street:
    """Some houses and a pool before them."""

    def __init__(self, names: str, strategy: Strategy, retry: Retry) -> None:
        self.houses = [House(name) for name in names]
        targets = [Upstream(house.name, house.make, 0.3) for house in self.houses]
        self.pool = Pool(targets, strategy=strategy, retry=retry, limits=LIMITS)
        self.sessions: list[Failover] = []

    def session(self, **how: bool) -> Failover:
        self.sessions.append(Failover(self.pool, **how))
        return self.sessions[-1]


@contextlib.asynccontextmanager
async def street(
    names: str = "abc", strategy: Strategy = "round-robin", *, patience: float | None = 5, attempts: int = 1
) -> AsyncIterator[Street]:
    """Close everything at the end; nothing counts as in flight then."""
    built = Street(names, strategy, Retry(patience, attempts, 0.02))
    try:
        yield built
    finally:
        for session in built.sessions:
            await session.aclose()
        await built.pool.aclose()
        for house in built.houses:
            for task in house.tasks:
                task.cancel()
            if house.tasks:
                await asyncio.wait(house.tasks)
        assert [(one.in_flight, one.sessions) for one in built.pool.schedule.standings] == [(0, 0)] * len(names)


async def answers(session: Failover, count: int) -> dict[Any, Any]:
    """Receive so many answers; return the server's name, or the error, by id."""
    found: dict[Any, Any] = {}
    async with asyncio.timeout(20):
        while len(found) < count:
            for frame in await session.receive():
                read = json.loads(frame.raw)
                assert read["id"] not in found, "answered twice"
                found[read["id"]] = read["result"]["server"] if "result" in read else read["error"]
    return found


async def until(condition: Callable[[], object], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


# The laws of an endpoint.


async def test_every_law_of_an_endpoint() -> None:
    """A session is an endpoint like any other."""

    @contextlib.asynccontextmanager
    async def make_pair(limits: Limits) -> AsyncIterator[Pair]:
        near, far = memory_pair(limits=limits)
        session = Failover(Pool([only(near)], strategy="in-order", limits=limits), owns_pool=True)
        await session.send((INITIALIZED,))
        assert [frame.raw for frame in await far.receive()] == [INITIALIZED.raw]
        async with joined(session, far_of(far)) as pair:
            yield pair

    # Beside the pair's own 320 KiB, the outbox and what is on its way from there.
    await check_endpoint(make_pair, Capabilities(bounds_frames=False, most_buffered=1024 * 1024))


# Where requests go.


async def test_requests_without_a_session_are_spread_one_by_one() -> None:
    """Round robin, over one endpoint for all."""
    async with street() as town:
        session = town.session(is_shared=True)
        await session.send([ask_modern(number) for number in range(9)])
        found = await answers(session, 9)
        assert [found[number] for number in range(9)] == list("abcabcabc")


async def test_a_session_stays_where_it_began() -> None:
    """Sessions are spread, not their requests; what a session says goes where it is."""
    async with street() as town:
        for turn, name in enumerate("abca"):
            session = town.session()
            await session.send([ask(0, "initialize"), INITIALIZED, *(ask(number) for number in range(1, 5))])
            assert set((await answers(session, 5)).values()) == {name}
            assert town.houses[turn % 3].heard[-5].head.method == "notifications/initialized"


async def test_least_in_flight_avoids_who_is_busy() -> None:
    """A request that is open counts."""
    async with street("ab", "least-in-flight") as town:
        session = town.session(is_shared=True)
        await session.send([ask_modern(0, "silent")])
        for number in (1, 2, 3):
            await session.send([ask_modern(number)])
            assert await answers(session, 1) == {number: "b"}
        assert town.houses[0].ids == [0]


@pytest.mark.parametrize("raising", [True, False], ids=["socket", "http"])
async def test_a_fallback_is_used_when_nobody_listens(raising: bool) -> None:
    """In order, each frame of the session, each once."""
    async with street(strategy="in-order") as town:
        for house in town.houses:
            house.is_raising = raising
        town.houses[0].is_down = town.houses[1].is_down = True
        session = town.session()
        await session.send([ask(0, "initialize"), INITIALIZED, ask(1)])
        assert await answers(session, 2) == {0: "c", 1: "c"}
        assert [frame.head.method for frame in town.houses[2].heard] == [
            "initialize",
            "notifications/initialized",
            "echo",
        ]


@pytest.mark.parametrize("raising", [True, False], ids=["socket", "http"])
async def test_if_none_can_be_reached_the_error_says_what_each_answered(raising: bool) -> None:
    """After so many rounds; nothing was delivered."""
    async with street("ab", "in-order", attempts=2) as town:
        for house in town.houses:
            house.is_raising, house.is_down = raising, True
        session = town.session()
        await session.send([ask(7, "initialize")])
        error = (await answers(session, 1))[7]
        assert (error["code"], error["data"]) == (replies.UNAVAILABLE, {"delivered": "no"})
        assert error["message"] == (
            "none of 2 servers could be reached, tried 2 times: a: cannot connect: Connection refused; "
            "b: cannot connect: Connection refused"
        )
        town.houses[1].is_down = False
        await session.send([ask(8, "initialize")])
        assert await answers(session, 1) == {8: "b"}


async def test_what_may_have_been_executed_is_not_sent_again() -> None:
    """A server that dies with a request has had it: an error, and nobody else hears of it."""
    async with street() as town:
        town.houses[0].dies_of = "boom"
        session = town.session(is_shared=True)
        await session.send([ask_modern(1, "boom")])
        error = (await answers(session, 1))[1]
        assert (error["code"], error["data"]) == (replies.LOST, {"delivered": "unknown"})
        assert "has ended" in error["message"]
        assert [len(house.heard) for house in town.houses] == [1, 0, 0]


async def test_a_session_ends_with_its_server() -> None:
    """What is open gets its error, then the end: the session was there and nowhere else."""
    async with street() as town:
        town.houses[0].dies_of = "boom"
        session = town.session()
        await session.send([ask(0, "initialize"), ask(1, "silent")])
        await answers(session, 1)
        await session.send([ask(2, "boom")])
        assert {error["code"] for error in (await answers(session, 2)).values()} == {replies.LOST}
        assert len(await session.receive()) == 0
        assert [len(house.heard) for house in town.houses] == [3, 0, 0]


# Time.


async def test_a_server_that_swallows_gives_errors_not_silence() -> None:
    """With the request's id; a late answer is dropped; the server is told that nobody waits."""
    async with street("a", patience=0.05) as town:
        town.houses[0].is_silent = True
        session = town.session()
        await session.send([ask(3)])
        error = (await answers(session, 1))[3]
        assert (error["code"], error["data"]["delivered"]) == (replies.LOST, "unknown")
        assert error["message"] == "the request was lost: a: no answer within 0.05 s"
        await until(lambda: len(town.houses[0].heard) == 2)
        assert town.houses[0].heard[1].head.target == 3
        await town.houses[0].ends[0].send((Frame(b'{"jsonrpc":"2.0","id":3,"result":{}}'),))
        await until(lambda: session.dropped == 1)


async def test_progress_begins_the_time_anew() -> None:
    """A long call that says that it works is not given up."""
    async with street("a", patience=3) as town:
        session = town.session()
        await session.send([ask(1, "silent", '"_meta":{"progressToken":"t"}')])
        await until(lambda: town.houses[0].heard)
        progress = b'{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t","progress":1}}'
        for _ in range(4):
            await asyncio.sleep(0.8)
            await town.houses[0].ends[0].send((Frame(progress),))
            assert [frame.raw for frame in await session.receive()] == [progress]
        assert session.in_flight == 1


async def test_a_subscription_has_no_timeout() -> None:
    """It is meant to stay open; a cancelled request that is never answered is no failure of its server."""
    async with street("a", patience=0.5) as town:
        town.houses[0].is_silent = True
        session = town.session()
        await session.send([ask_modern(1, "subscriptions/listen"), ask(2)])
        cancel = b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}'
        await session.send([Frame(cancel)])
        assert (await answers(session, 1))[2]["code"] == replies.CANCELLED
        assert session.in_flight == 1
        assert town.pool.schedule.standings[0].failures == 0


# Who is left out, and who comes back.


async def test_a_server_that_swallows_costs_three_requests() -> None:
    """Then it is left out; no request of a client is spent on finding out whether it has recovered."""
    async with street(patience=1.5) as town:
        town.houses[1].is_silent = True
        session = town.session(is_shared=True)
        failed = []
        for number in range(60):
            await session.send([ask_modern(number)])
            found = (await answers(session, 1))[number]
            failed += [found["message"]] if isinstance(found, dict) else []
        assert failed == ["the request was lost: b: no answer within 1.5 s"] * 3
        assert town.pool.status()[1]["ejected"] == "b: no answer within 1.5 s"


async def test_a_burst_before_unknown_servers_costs_three_too() -> None:
    """What has no server yet waits until one of them has answered."""
    async with street(patience=1.5) as town:
        town.houses[1].is_silent = True
        session = town.session(is_shared=True)
        await session.send([ask_modern(number) for number in range(60)])
        found = await answers(session, 60)
        assert len([one for one in found.values() if isinstance(one, dict)]) == 3


@pytest.mark.parametrize("strategy", ["round-robin", "least-in-flight"])
async def test_a_burst_is_spread_though_one_server_answers_first(
    strategy: Strategy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that have waited do not all go to it: the other, a little slower, gets its share."""
    monkeypatch.setattr(pool_module, "_PATIENCE", 60)
    async with street("ab", strategy) as town:
        first, second = town.houses
        second.is_open.clear()
        session = town.session(is_shared=True)
        await session.send([ask_modern(number) for number in range(90)])
        found = await answers(session, 45)
        assert set(found.values()) == {"a"}
        second.is_open.set()
        assert list((await answers(session, 45)).values()) == ["b"] * 45


@pytest.mark.parametrize("raising", [True, False])
async def test_what_waits_for_a_server_that_refuses_goes_elsewhere_at_once(
    raising: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not wait until that server has been silent for long."""
    monkeypatch.setattr(pool_module, "_PATIENCE", 60)
    async with street("ab") as town:
        town.houses[1].is_down, town.houses[1].is_raising = True, raising
        session = town.session(is_shared=True)
        await session.send([ask_modern(number) for number in range(60)])
        assert list((await answers(session, 60)).values()) == ["a"] * 60


async def test_what_has_waited_for_one_server_has_its_full_time_at_another(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was given up as the wait ended, though the server that it then went to was well."""
    monkeypatch.setattr(pool_module, "_PATIENCE", 0.3)
    async with street("ab", patience=0.3) as town:
        town.houses[1].is_silent = True
        session = town.session(is_shared=True)
        await session.send([ask_modern(number) for number in range(40)])
        failed = [one["message"] for one in (await answers(session, 40)).values() if isinstance(one, dict)]
        assert failed == ["the request was lost: b: no answer within 0.3 s"] * 3


async def test_what_waits_for_a_first_answer_can_be_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was not sent, so it surely was not executed; its server is told nothing of it."""
    monkeypatch.setattr(pool_module, "_PATIENCE", 60)
    async with street("ab") as town:
        for one in town.houses:
            one.is_open.clear()
        session = town.session(is_shared=True)
        await session.send([ask_modern(number) for number in range(8)])
        await session.send([Frame(b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":6}}')])
        error = (await answers(session, 1))[6]
        assert (error["code"], error["data"]) == (replies.CANCELLED, {"delivered": "no"})
        for one in town.houses:
            one.is_open.set()
        assert set(await answers(session, 7)) == {0, 1, 2, 3, 4, 5, 7}
        assert 6 not in [*town.houses[0].ids, *town.houses[1].ids]


async def test_who_has_recovered_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """Found out by the relay's own question."""
    monkeypatch.setattr(pool_module, "wait_before_try", lambda tries, jitter: 0.02)
    async with street("ab") as town:
        town.houses[0].is_down = True
        session = town.session(is_shared=True)
        await session.send([ask_modern(number) for number in range(4)])
        assert set((await answers(session, 4)).values()) == {"b"}
        town.houses[0].is_down, town.houses[0].is_silent = False, True
        await asyncio.sleep(0.1)
        assert town.pool.schedule.standings[0].fault, "it accepts and says nothing"
        town.houses[0].is_silent = False
        await until(lambda: not town.pool.schedule.standings[0].fault)
        await session.send([ask_modern(number) for number in range(4)])
        assert sorted((await answers(session, 4)).values()) == ["a", "a", "b", "b"]


async def test_sessions_of_an_ejected_server_begin_anew(caplog: pytest.LogCaptureFixture) -> None:
    """Where a client can: what was refused was not delivered, and its error says that the session is over."""
    async with street("ab") as town:
        for house in town.houses:
            house.is_raising = False
        first, other = town.session(ends_with_home=True), town.session(ends_with_home=True)
        for session in (first, other):
            await session.send([ask(0, "initialize")])
        assert await answers(first, 1) == {0: "a"} and await answers(other, 1) == {0: "b"}
        third = town.session(ends_with_home=True)
        await third.send([ask(0, "initialize")])
        assert await answers(third, 1) == {0: "a"}
        town.houses[0].is_down = True
        await first.send([ask(1)])
        (refused,) = await first.receive()
        error = json.loads(refused.raw)["error"]
        assert isinstance(refused, replies.SessionOver)
        assert (error["code"], error["data"]["delivered"]) == (replies.UNAVAILABLE, "no")
        for session in (first, third):
            with pytest.raises(ServerLeftOut, match="a is not asked any more"):
                await session.receive()
        await other.send([ask(1)])
        assert await answers(other, 1) == {1: "b"}
        (said,) = [record.message for record in caplog.records if record.levelname == "WARNING"]
        assert said == (
            "a: not asked until it has recovered: a: cannot connect: Connection refused; 2 sessions there ended"
        )


async def test_what_a_session_has_open_is_answered_before_it_ends() -> None:
    """Its server may take nothing new and still answer what it has; what comes meanwhile goes to a new session."""
    async with street("ab") as town:
        for house in town.houses:
            house.is_raising = False
        session = town.session(ends_with_home=True)
        await session.send([ask(0, "initialize"), ask(1, "silent")])
        assert await answers(session, 1) == {0: "a"}
        await until(lambda: 1 in town.houses[0].ids)
        town.pool.refused(0, "Connection refused")
        await session.send([ask(2)])
        (refused,) = await session.receive()
        assert isinstance(refused, replies.SessionOver) and refused.head.id == 2
        await town.houses[0].ends[0].send((Frame(b'{"jsonrpc":"2.0","id":1,"result":{"server":"a"}}'),))
        assert await answers(session, 1) == {1: "a"}
        with pytest.raises(EndpointBroken, match="a is not asked any more: Connection refused"):
            await session.receive()
        assert 2 not in town.houses[0].ids


async def test_what_comes_as_a_session_ends_goes_to_a_new_one() -> None:
    """It was taken from the client and handed to nobody: the client hears that, over HTTP as a 404."""
    async with street("ab") as town, house() as opened:
        client, near = await opened.begin()
        session = town.session(ends_with_home=True)
        piping = asyncio.get_running_loop().create_task(pipe(near, session, limits=LIMITS))
        (greeted,) = await client.call(request(1, "echo"))
        assert json.loads(greeted)["result"] == {"server": "a"}
        outcomes: list[object] = []
        town.pool.refused(0, "Connection refused")
        near.accept(ask(2), outcomes.append)
        report = await piping
        assert isinstance(report.failure, ServerLeftOut)
        (outcome,) = outcomes
        assert isinstance(outcome, Frame) and near.status_of(outcome) == 404
        error = json.loads(outcome.raw)
        assert (error["id"], error["error"]["data"]["delivered"]) == (2, "no")
        assert town.houses[0].ids == [1]


async def test_a_burst_of_sessions_before_unknown_servers_costs_three() -> None:
    """A session that begins is a request like others: the rest waits until a server has answered."""
    async with street(patience=1.5) as town:
        town.houses[1].is_silent = True
        sessions = [town.session(ends_with_home=True) for _ in range(30)]
        for session in sessions:
            await session.send([ask(0, "initialize")])
        found = [(await answers(session, 1))[0] for session in sessions]
        assert len([one for one in found if isinstance(one, dict)]) == 3


async def test_a_session_that_cannot_begin_anew_waits_for_its_server() -> None:
    """Its requests are refused while its server is away, and answered when it is back."""
    async with street("ab", attempts=1) as town:
        town.houses[0].is_raising = False
        session = town.session()
        await session.send([ask(0, "initialize")])
        await answers(session, 1)
        town.houses[0].is_down = True
        await session.send([ask(1)])
        assert (await answers(session, 1))[1]["message"] == (
            "the server could not be reached: a: cannot connect: Connection refused"
        )
        town.houses[0].is_down = False
        await session.send([ask(2)])
        assert await answers(session, 1) == {2: "a"}


# Small things.


async def test_an_id_in_use_and_what_is_no_message() -> None:
    """Each gets its error, under an id that nobody takes for another's."""
    async with street("a") as town:
        session = town.session()
        await session.send([ask(1, "silent"), ask(1), Frame(b"[1")])
        await until(lambda: town.houses[0].heard)
        errors = [json.loads(frame.raw) for frame in await session.receive()]
        codes = [(None, replies.INVALID_REQUEST), (None, replies.PARSE_ERROR)]
        assert [(one["id"], one["error"]["code"]) for one in errors] == codes
        assert town.houses[0].ids == [1]


async def test_closing_gives_every_open_request_its_error() -> None:
    """Also those that wait for another round."""
    async with street("ab", attempts=3) as town:
        town.houses[0].is_down = True
        session = town.session()
        await session.send([ask(0, "silent"), ask(1, "silent")])
        await until(lambda: len(town.houses[1].heard) == 2)
        await session.aclose(EndpointBroken("the client has left"))
        found = await answers(session, 2)
        assert {error["message"] for error in found.values()} == {"the request was lost: the client has left"}
        assert len(await session.receive()) == 0


async def test_after_our_end_what_is_owed_still_comes() -> None:
    """Even if it has to be sent elsewhere first."""
    async with street("ab") as town:
        town.houses[0].is_down = True
        session = town.session()
        await session.send([ask(1)])
        await session.send_eof()
        assert await answers(session, 1) == {1: "b"}
        async with asyncio.timeout(20):
            assert len(await session.receive()) == 0


async def test_after_our_end_nobody_waits_for_a_server_that_owes_nothing() -> None:
    """It has been told, and stays; a subscription is no debt, and ends as such."""
    async with street("a", patience=0.1) as town:
        near, _ = memory_pair(limits=LIMITS)
        town.pool.servers = (Upstream("stays", lambda _: near),)
        session = town.session()
        await session.send([ask(1), ask_modern(2, "subscriptions/listen")])
        await session.send_eof()
        assert (await answers(session, 1))[1]["message"].endswith("no answer within 0.1 s")
        async with asyncio.timeout(20):
            (ended,) = await session.receive()
            assert len(await session.receive()) == 0
        assert ended.raw == replies.subscription_ended(2).raw


async def test_what_finds_its_server_after_our_end_shares_one_connection() -> None:
    """Requests that waited are sent on the way that is there."""
    async with street("ab") as town:
        session = town.session(is_shared=True)
        await session.send([ask_modern(number) for number in range(40)])
        await session.send_eof()
        await answers(session, 40)
        assert [len(house.ends) for house in town.houses] == [1, 1]


async def test_endpoints_as_targets() -> None:
    """The first that connects; those never used are closed, too."""
    import relay

    async def refuse() -> Endpoint:
        raise ConfigError("no such program")

    near, far = memory_pair()
    spare, spare_far = memory_pair()
    endpoint = relay.fallback(Lazy("x", refuse), near, spare)
    await endpoint.send((ask(1),))
    frames: Sequence[Frame] = await far.receive()
    assert [frame.head.id for frame in frames] == [1]
    await endpoint.aclose()
    assert len(await spare_far.receive()) == 0
    with pytest.raises(relay.RelayError, match="no target"):
        relay.balance()
