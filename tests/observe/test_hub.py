"""What happens between clients and a server is heard in one place."""

from __future__ import annotations

import logging
import weakref
from collections.abc import MutableSet, Sequence

import pytest

from relay.frames import replies
from relay.frames.frame import Frame
from relay.frames.head import RequestId
from relay.observe.hub import Client, Clients, Hub, Named, Peer
from relay.observe.requests import Request
from relay.routing.ledger import Ledger
from relay.routing.open_table import LISTEN
from tests.e2e.oracle import request

FRAMES = (Frame(b"1"), Frame(b"2"))
ANSWER = Frame(b'{"jsonrpc":"2.0","id":1,"result":{}}')


class Person:
    """A client with a table of its own."""

    def __init__(self, name: str = "client", last_used: float = 0.0) -> None:
        self.name = name
        self.ledger: Ledger[int] = Ledger(stray_grace=1.0)
        self.last_used = last_used


class Lives:
    """Writes down what it hears of requests."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.ended: list[Request] = []

    def request_opened(self, request: Request) -> None:
        self.told.append(f"{request.client} opened {request.method}")

    def request_cancelled(self, request: Request) -> None:
        self.told.append(f"{request.client} cancelled {request.method}")

    def request_ended(self, request: Request) -> None:
        self.told.append(f"{request.client} {request.ending} {request.method}")
        self.ended.append(request)


def test_each_subscriber_hears_each_frame_once_and_in_turn() -> None:
    """While there is none, nothing is there to be called."""
    hub = Hub()
    assert hub.frames is None
    heard: list[tuple[str, Named, Named, Sequence[Frame]]] = []
    leave = [hub.subscribe(name, frames=lambda *told, name=name: heard.append((name, *told))) for name in "abc"]
    assert hub.frames is not None
    client, server = Peer("client"), Peer("server")
    hub.frames(client, server, FRAMES)
    assert heard == [(name, client, server, FRAMES) for name in "abc"]
    for one in leave:
        one()
    assert hub.frames is None


@pytest.mark.parametrize("event", ["frames", "request_opened", "request_ended", "pipe_started"])
def test_a_subscriber_that_raises_is_called_no_more(event: str, caplog: pytest.LogCaptureFixture) -> None:
    """In none of its events; the relay logs it once, and neither the traffic nor the others are harmed."""
    hub, person, lives = Hub(), Person(), Lives()
    Clients(hub, {person})
    calls = 0

    class Broken(Lives):
        def __getattribute__(self, name: str) -> object:
            return fail if name == event else lambda *_: None

    def fail(*_: object) -> None:
        nonlocal calls
        calls += 1
        raise ZeroDivisionError("its own bug")

    broken = Broken()
    hub.subscribe("it", frames=fail if event == "frames" else None, pipes=broken, requests=broken)  # type: ignore[arg-type]
    hub.subscribe("another", requests=lives, frames=lambda *told: lives.told.append("frames"))
    with caplog.at_level(logging.ERROR, "relay"):
        for _ in range(2):
            hub.pipe_started(person, person)
            assert hub.frames is not None
            hub.frames(person, person, FRAMES)
            person.ledger.open(1, 0, "x")
            person.ledger.answer(1, ANSWER)
    assert calls == 1
    assert lives.told == ["frames", "client opened x", "client answered x"] * 2
    assert [record.message for record in caplog.records] == ["it failed; the relay no longer calls it"]


def test_the_life_of_a_request() -> None:
    """Opened with its method, then one end: its server's answer, the relay's, a cancellation, or none."""
    hub, person, lives = Hub(), Person(), Lives()
    Clients(hub, {person})
    hub.subscribe("it", requests=lives)
    table = person.ledger
    for request_id, method in ((1, "a"), (2, "b"), (3, "c"), (4, "d"), ("five", "e"), (6, "f")):
        table.open(request_id, 0, method)
    assert lives.told == [f"client opened {method}" for method in "abcdef"]
    lives.told.clear()
    table.answer(1, ANSWER)
    table.answer(2, replies.error(2, replies.LOST, "gone", delivered="unknown"))
    table.cancel(3, 0.0, 1.0)
    table.cancel(3, 0.0, 1.0)  # a second time says nothing new
    table.answer(3, replies.cancelled_unanswered(3))
    table.leave(4, 0.0, 1.0)
    assert table.answer_oddly(Frame(b'{"jsonrpc":"2.0","id":"6","result":{}}'), 0.0, "server") is not None
    table.fail_all()
    assert lives.told == [
        "client answered a", "client failed b", "client cancelled c", "client cancelled c", "client cancelled d",
        "client answered f", "client failed e",
    ]  # fmt: skip
    ended = {one.method: one for one in lives.ended}
    assert ended["a"].answer is ANSWER and ended["a"].fault is None and ended["a"].opened_at is not None
    assert ended["b"].fault is not None and ended["b"].fault.is_failure
    assert ended["e"].answer is None


def test_who_comes_late_hears_how_open_requests_end() -> None:
    """Their method was not noted, and the time of their opening neither."""
    hub, person, lives = Hub(), Person(), Lives()
    clients = Clients(hub, {person})
    for request_id in (1, 2):
        person.ledger.open(request_id, 0, "early")
    leave = hub.subscribe("it", requests=lives)
    person.ledger.cancel(2, 0.0, 1.0)
    person.ledger.answer(1, ANSWER)
    newcomer = Person("newcomer")
    clients.add(newcomer)
    newcomer.ledger.open(1, 0, "late")
    assert lives.told == ["client cancelled None", "client answered None", "newcomer opened late"]
    assert lives.ended[0].opened_at is None
    leave()
    person.ledger.answer(2, ANSWER)
    assert person.ledger.subscriber is newcomer.ledger.subscriber is None and len(lives.told) == 3


def test_requests_under_one_id_are_heard_one_by_one() -> None:
    """As many ends as beginnings, whether they are answered or fail."""
    hub, person, lives = Hub(), Person(), Lives()
    Clients(hub, {person})
    hub.subscribe("it", requests=lives)
    person.ledger.open(1, 0, "x")
    person.ledger.repeat(1)
    person.ledger.repeat(1)
    person.ledger.answer(1, ANSWER)
    person.ledger.fail_all()
    opened = [told for told in lives.told if "opened" in told]
    assert len(opened) == len(lives.ended) == 3
    assert [one.ending for one in lives.ended] == ["answered", "failed", "failed"]


@pytest.mark.parametrize("members", [set, weakref.WeakSet])
def test_the_counters_of_all_clients(members: type[MutableSet[Person]]) -> None:
    """Subscriptions are not in flight; who has left counts for the last use."""
    hub = Hub()
    assert (hub.in_flight, hub.last_used) == (0, 0.0)
    clients, others = Clients(hub, members()), Clients(hub, members())
    one, two = Person("one", 3.0), Person("two", 7.0)
    clients.add(one)
    others.add(two)
    for request_id, method in ((1, "a"), (2, LISTEN), (3, "b")):
        one.ledger.open(request_id, 0, method)
        two.ledger.open(request_id, 0, method)
    assert (hub.in_flight, clients.in_flight, hub.last_used) == (4, 2, 7.0)
    others.discard(two)
    assert (hub.in_flight, list(others), hub.last_used) == (2, [], 7.0)
    hub.touched = 9.0
    assert hub.last_used == 9.0


def test_a_client_is_anything_with_a_table() -> None:
    """And its requests are told under its name."""
    hub, lives = Hub(), Lives()
    hub.subscribe("it", requests=lives)
    client: Client = Person("mine")
    Clients(hub, {client})
    head = Frame(request(7, "tools/call")).head
    client.ledger.open_frame(0, head)
    assert lives.told == ["mine opened tools/call"]
    identifier: RequestId = 7
    assert client.ledger.answer(identifier) is not None
