"""Renaming: each client gets back its own ids and tokens, and no frame that could be another client's."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from relay.frames.frame import Frame
from relay.frames.ids import SUBSCRIPTION_ID, Unnameable
from relay.routing.renaming import LISTEN, Renamed, Renaming


def request(request_id: object, method: str = "x", token: object = None) -> Frame:
    meta = {} if token is None else {"_meta": {"progressToken": token}}
    return frame({"id": request_id, "method": method, "params": meta})


def answer(request_id: object, **result: Any) -> Frame:
    return frame({"id": request_id, "result": result})


def notice(method: str, **params: Any) -> Frame:
    return frame({"method": method, "params": params})


def about(subscription: object, method: str = "notifications/tools/list_changed") -> Frame:
    return notice(method, _meta={SUBSCRIPTION_ID: subscription})


def frame(message: dict[str, Any]) -> Frame:
    return Frame(json.dumps({"jsonrpc": "2.0", **message}).encode())


def answered(table: Renaming[Any], came: Frame) -> tuple[Renamed[Any], Frame] | None:
    """Let the table take an answer."""
    return table.answered(came, 0.0)


def read(found: tuple[Renamed[Any], Frame] | None) -> tuple[Any, Any]:
    """Return whose a frame is, and what it says there."""
    assert found is not None
    return found[0].owner, json.loads(found[1].raw)


LOG = notice("notifications/message", level="info", data="x")


def test_each_request_has_a_number_of_its_own_and_is_named_back() -> None:
    """Two clients, the same id and token: two numbers; answers and progress find their own client by them."""
    table: Renaming[str] = Renaming()
    opened = {owner: table.open(owner, request("same", token=7)) for owner in "ab"}
    assert len(table) == 2 and {renamed.owner for renamed in table} == {"a", "b"}
    for owner, (renamed, outward) in opened.items():
        message = json.loads(outward.raw)
        assert message["id"] == message["params"]["_meta"]["progressToken"] == renamed.number
        assert (renamed.id, renamed.token, renamed.is_subscription) == ("same", 7, False)
        progress = notice("notifications/progress", progressToken=renamed.number, progress=1)
        assert read(table.related(progress)) == (
            owner,
            {**json.loads(progress.raw), "params": {"progressToken": 7, "progress": 1}},
        )
    assert opened["a"][0].number != opened["b"][0].number
    for owner in "ba":
        assert read(answered(table, answer(opened[owner][0].number, x=owner))) == (
            owner,
            json.loads(answer("same", x=owner).raw),
        )
    assert len(table) == 0 and not table.owners()


def test_a_second_answer_is_nobody_s() -> None:
    """Nor is one to a number that was never given, or to a string, or to null."""
    table: Renaming[str] = Renaming()
    table.open("a", request(1))
    assert read(answered(table, answer(1)))[0] == "a"
    for wrong in (1, 2, "1", "x", 0, -1):
        assert answered(table, answer(wrong)) is None
    assert answered(table, frame({"id": None, "error": {"code": 1, "message": ""}})) is None


def test_a_request_that_cannot_be_named_back_opens_nothing() -> None:
    """A token that is a float: refused, and no number is spent."""
    table: Renaming[str] = Renaming()
    with pytest.raises(Unnameable):
        table.open("a", request(1, token=7.5))
    assert len(table) == 0
    assert table.open("a", request(1))[0].number == 1


def test_progress_is_only_for_who_asked_for_it() -> None:
    """Of a request without a token, one that is over, or a token that is no number of ours: nobody's."""
    table: Renaming[str] = Renaming()
    (silent, _), (over, _) = table.open("a", request(1)), table.open("a", request(2, token=2))
    answered(table, answer(over.number))
    for token in (silent.number, over.number, 99, str(silent.number), "x", 1.5, None):
        assert table.related(notice("notifications/progress", progressToken=token)) is None
    twice = Frame(b'{"method":"notifications/progress","params":{"progressToken":[],"progressToken":%d}}' % over.number)
    assert table.related(twice) is None


def test_subscriptions_are_told_apart_by_their_id() -> None:
    """Each with its client's own id; the answer that ends one too. They do not count as requests that wait."""
    table: Renaming[str] = Renaming()
    opened = {owner: table.open(owner, request("sub", LISTEN))[0] for owner in "ab"}
    assert len(table) == 0 and all(renamed.is_subscription for renamed in table)
    for owner, renamed in opened.items():
        assert read(table.related(about(renamed.number))) == (owner, json.loads(about("sub").raw))
        assert table.find(renamed.number) is renamed
    assert table.related(about(99)) is None and table.related(about("sub")) is None
    ended = answer(opened["a"].number, _meta={SUBSCRIPTION_ID: opened["a"].number})
    assert read(answered(table, ended)) == ("a", json.loads(answer("sub", _meta={SUBSCRIPTION_ID: "sub"}).raw))
    assert table.related(about(opened["a"].number)) is None
    refused = frame({"id": opened["b"].number, "error": {"code": -32601, "message": "no"}})
    assert read(answered(table, refused)) == ("b", {**json.loads(refused.raw), "id": "sub"})


def test_an_answer_to_listen_is_delivered_whatever_it_says_of_itself() -> None:
    """A subscription id that is no name stays as it is."""
    table: Renaming[str] = Renaming()
    table.open("a", request("sub", LISTEN))
    assert read(answered(table, answer(1, _meta={SUBSCRIPTION_ID: {}})))[1] == json.loads(
        answer("sub", _meta={SUBSCRIPTION_ID: {}}).raw
    )


def test_a_server_may_end_subscriptions_and_nothing_else() -> None:
    """``notifications/cancelled`` of a subscription is its client's; of a call, or of nothing, it is nobody's."""
    table: Renaming[str] = Renaming()
    listen, call = table.open("a", request("s", LISTEN))[0], table.open("b", request("c"))[0]
    cancelled = notice("notifications/cancelled", requestId=listen.number)
    assert read(table.related(cancelled)) == ("a", json.loads(notice("notifications/cancelled", requestId="s").raw))
    for wrong in (call.number, 99, "1", None, 1.5):
        assert table.related(notice("notifications/cancelled", requestId=wrong)) is None


def test_what_says_nothing_of_itself_is_for_the_only_one_that_waits() -> None:
    """With none or two it is nobody's; subscriptions do not count."""
    table: Renaming[str] = Renaming()
    table.open("s", request(1, LISTEN))
    assert table.related(LOG) is None
    call = table.open("a", request(1))[0]
    assert read(table.related(LOG))[0] == "a"
    other = table.open("b", request(1))[0]
    assert table.related(LOG) is None
    answered(table, answer(call.number))
    assert read(table.related(LOG))[0] == "b"
    answered(table, answer(other.number))
    assert table.related(LOG) is None


def test_log_messages_are_for_the_only_one_that_has_asked() -> None:
    """Whoever else waits; two that have asked, or one that has left meanwhile, may both be meant."""
    table: Renaming[str] = Renaming()
    table.open("silent", request(1))
    asked = table.open("a", request(1), has_log=True)[0]
    assert read(table.related(LOG))[0] == "a"
    assert table.related(notice("notifications/other")) is None, "only log messages can be asked for"
    other = table.open("b", request(1), has_log=True)[0]
    assert table.related(LOG) is None
    table.abandon(other.number, 0.0, 60.0)
    assert table.related(LOG) is None
    assert list(table.ledger.due(60.0)) == []
    assert read(table.related(LOG))[0] == "a"
    table.open("s", request(1, LISTEN), has_log=True)
    assert read(table.related(LOG))[0] == "a", "a subscription brings no log"
    answered(table, answer(asked.number))
    assert read(table.related(LOG))[0] == "silent", "nobody has asked, and one call is open"


@pytest.mark.parametrize(
    "method",
    [
        "notifications/tools/list_changed",
        "notifications/prompts/list_changed",
        "notifications/resources/list_changed",
        "notifications/resources/updated",
        "notifications/subscriptions/acknowledged",
    ],
)
def test_changes_without_a_subscription_are_nobody_s(method: str) -> None:
    """Nor are those whose subscription cannot be read, though one request waits."""
    table: Renaming[str] = Renaming()
    table.open("a", request(1))
    for wrong in (
        notice(method),
        about(None, method),
        about(1.5, method),
        about([1], method),
        notice(method, _meta="x"),
    ):
        assert table.related(wrong) is None
    log = notice("notifications/message", _meta={SUBSCRIPTION_ID: {}})
    assert table.related(log) is None, "it says whose it is, and that is nobody we know"


def test_what_the_transport_tied_to_a_request_is_that_request_s() -> None:
    """And nobody's if that one is over."""
    table: Renaming[str] = Renaming()
    first, second = (table.open(owner, request(1))[0] for owner in "ab")
    assert read(table.related(Frame(LOG.raw, belongs_to=first.number)))[0] == "a"
    answered(table, answer(first.number))
    assert table.related(Frame(LOG.raw, belongs_to=first.number)) is None
    assert read(table.related(Frame(LOG.raw, belongs_to=second.number)))[0] == "b"
    assert table.related(Frame(request("server's").raw, belongs_to=second.number)) is None, (
        "a request is no notification"
    )


def test_after_a_request_was_abandoned_nothing_is_guessed_for_another_owner() -> None:
    """Its server may still speak of it: until it has answered, or for as long as one waits for that."""
    table: Renaming[str] = Renaming()
    left = [table.open("a", request(number))[0] for number in range(2)]
    table.open("b", request(1))
    for renamed in left:
        assert table.abandon(renamed.number, 0.0, 60.0) is renamed
        assert table.abandon(renamed.number, 0.0, 60.0) is None
    assert table.related(LOG) is None and table.owners() == {"a", "b"}
    assert answered(table, answer(left[0].number)) is None
    assert table.related(LOG) is None
    assert list(table.ledger.due(60.0)) == []
    assert read(table.related(LOG))[0] == "b"
    own = table.open("b", request(2))[0]
    table.abandon(own.number, 0.0, 60.0)
    assert read(table.related(LOG))[0] == "b", "it is b's whichever of the two is meant"
    listen = table.open("c", request(2, LISTEN))[0]
    table.abandon(listen.number, 0.0, 60.0)
    assert read(table.related(LOG))[0] == "b", "what a server says of a subscription says so"


def test_fail_all_leaves_nothing() -> None:
    """Each is returned once."""
    table: Renaming[str] = Renaming()
    for owner, method in (("a", "x"), ("b", LISTEN), ("c", "x")):
        table.open(owner, request(1, method))
    table.abandon(3, 0.0, 60.0)
    assert [renamed.owner for renamed in table.fail_all()] == ["a", "b"]
    assert table.fail_all() == [] and len(table) == 0 and not table.owners()


@dataclass(frozen=True)
class Open:
    """What a client knows of its request, and the number the server knows."""

    client: int
    id: Any
    token: Any
    is_listen: bool
    number: int
    tag: int = field(compare=True)


ids = st.one_of(st.integers(0, 2), st.sampled_from(["0", "1", "", "ü"]))


class ManyClients(RuleBasedStateMachine):
    """Clients with the same few ids and tokens; a server that answers, reports and repeats itself in any order."""

    waiting = Bundle("waiting")
    over = Bundle("over")

    @initialize()
    def begin(self) -> None:
        self.table: Renaming[int] = Renaming()
        self.open: dict[int, Open] = {}
        self.tags = 0

    @rule(target=waiting, client=st.integers(0, 3), id=ids, token=st.none() | ids, is_listen=st.booleans())
    def ask(self, client: int, id: Any, token: Any, is_listen: bool) -> Open:
        self.tags += 1
        renamed, outward = self.table.open(client, request(id, LISTEN if is_listen else "x", token))
        message = json.loads(outward.raw)
        assert message["id"] == renamed.number and renamed.number not in self.open
        opened = Open(client, id, token, is_listen, renamed.number, self.tags)
        self.open[renamed.number] = opened
        return opened

    @rule(target=over, opened=consumes(waiting))
    def reply(self, opened: Open) -> Open:
        found = answered(self.table, answer(opened.number, tag=opened.tag))
        assert found is not None and found[0].owner == opened.client
        assert json.loads(found[1].raw) == {"jsonrpc": "2.0", "id": opened.id, "result": {"tag": opened.tag}}
        del self.open[opened.number]
        return opened

    @rule(target=over, opened=consumes(waiting))
    def leave(self, opened: Open) -> Any:
        assert self.table.abandon(opened.number, 0.0, 60.0) is not None
        del self.open[opened.number]
        return multiple(opened)

    @rule(opened=waiting)
    def report(self, opened: Open) -> None:
        found = self.table.related(notice("notifications/progress", progressToken=opened.number, tag=opened.tag))
        if opened.token is None:
            assert found is None
        else:
            assert read(found) == (
                opened.client,
                json.loads(notice("notifications/progress", progressToken=opened.token, tag=opened.tag).raw),
            )
        found = self.table.related(about(opened.number))
        assert read(found) == (opened.client, json.loads(about(opened.id).raw))

    @rule(opened=over)
    def speak_of_what_is_over(self, opened: Open) -> None:
        assert answered(self.table, answer(opened.number)) is None
        for late in (
            notice("notifications/progress", progressToken=opened.number),
            about(opened.number),
            notice("notifications/cancelled", requestId=opened.number),
            Frame(LOG.raw, belongs_to=opened.number),
        ):
            assert self.table.related(late) is None

    @rule()
    def speak_of_nothing(self) -> None:
        found = self.table.related(LOG)
        calls = [opened for opened in self.open.values() if not opened.is_listen]
        assert found is None or [opened.number for opened in calls] == [found[0].number]

    @invariant()
    def counts(self) -> None:
        if hasattr(self, "table"):
            assert len(self.table) == sum(not opened.is_listen for opened in self.open.values())


TestManyClients = ManyClients.TestCase


def test_only_so_many_abandoned_requests_are_remembered() -> None:
    """The oldest is let go: a client that asks and leaves without end must not fill the memory."""
    table: Renaming[str] = Renaming()
    first, _ = table.open("first", Frame(b'{"jsonrpc":"2.0","id":1,"method":"x"}'))
    table.abandon(first.number, 0.0, 60.0)
    assert table.owners() == {"first"}
    for _ in range(16_384):
        other, _ = table.open("other", Frame(b'{"jsonrpc":"2.0","id":1,"method":"x"}'))
        table.abandon(other.number, 0.0, 60.0)
    assert table.owners() == {"other"}
