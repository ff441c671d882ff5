"""The table of open requests: each that was opened has exactly one outcome, whatever the peer says and whenever."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from relay.frames import replies
from relay.frames.frame import Frame
from relay.frames.head import Head, Kind, RequestId
from relay.routing.ledger import MOST_LEFT, Ledger
from relay.routing.open_table import LISTEN, IdInUse

GRACE = 10.0
NULL = {"id": None, "error": {"code": -32700, "message": "what?"}}


def frame(message: dict[str, Any], belongs_to: RequestId | None = None) -> Frame:
    return Frame(json.dumps({"jsonrpc": "2.0", **message}).encode(), belongs_to)


def request(request_id: RequestId, token: RequestId | None = None, method: str = "x") -> Head:
    return Head(Kind.REQUEST, request_id, method, token)


def progress(token: RequestId) -> Head:
    return Head(Kind.NOTIFICATION, method="notifications/progress", token=token)


NOTICE = Frame(b'{"method":"notifications/message"}').head
QUESTION = Frame(b'{"id":9,"method":"ping","params":{"_meta":{"progressToken":1}}}').head
IDS = st.sampled_from([0, 1, 2, "0", "1", "a", 2**64, -1])
SPELT = st.sampled_from([0, 1, 2, "0", "1", "2", "a", " 1 ", "1.0", "01", 2**64, str(2**64), -1, "-1", "nobody", None])
TOKENS = st.sampled_from([None, None, 1, "1", "t"])


class Lives(RuleBasedStateMachine):
    """A ledger beside what its caller gave out: every request that was opened has one outcome, under its own id."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger: Ledger[int] = Ledger(stray_grace=GRACE, remembered=8)
        self.now = 0.0
        self.opened = 0
        self.waiting: dict[int, RequestId] = {}
        """Each request by its entry, a number of its own."""
        self.cancelled: dict[int, float] = {}
        self.outcomes: dict[int, str] = {}
        self.asked: list[tuple[float, float]] = []
        self.ledger.on_due = lambda when, seconds: self.asked.append((when, seconds))

    def give(self, entry: int, request_id: RequestId | None, outcome: str) -> None:
        assert entry not in self.outcomes, "one outcome"
        spelt = self.waiting.pop(entry)
        assert (spelt, type(spelt)) == (request_id, type(request_id)), "in the client's own spelling"
        self.outcomes[entry] = outcome
        self.cancelled.pop(entry, None)

    @rule(request_id=IDS, token=TOKENS, method=st.sampled_from(["x", "x", LISTEN]))
    def open(self, request_id: RequestId, token: RequestId | None, method: str) -> None:
        if request_id in self.waiting.values():
            with pytest.raises(IdInUse) as caught:
                self.ledger.open(request_id, -1, method, token)
            assert caught.value.request_id == request_id
            return
        self.opened += 1
        self.ledger.open(request_id, self.opened, method, token)
        self.waiting[self.opened] = request_id

    @rule(asked=st.lists(IDS, max_size=3))
    def open_batch(self, asked: list[RequestId]) -> None:
        head = Head(Kind.BATCH, members=(*map(request, asked), NOTICE))
        entry = self.opened + 1
        if len(set(asked)) < len(asked) or set(asked) & set(self.waiting.values()):
            with pytest.raises(IdInUse):
                self.ledger.open_frame(entry, head)
        elif len(asked) == 1:  # more would share an entry, by which this machine tells requests apart
            self.opened = entry
            assert self.ledger.open_frame(entry, head) == 1
            self.waiting[entry] = asked[0]

    @rule(said=SPELT, belongs_to=st.none() | IDS, is_error=st.booleans(), is_whole=st.booleans())
    def answer(self, said: RequestId | None, belongs_to: RequestId | None, is_error: bool, is_whole: bool) -> None:
        body = {"error": {"code": 1, "message": "mine"}} if is_error else {"result": {}}
        came = frame({"id": said, **body}, belongs_to)
        entry = self.ledger.answer(came.head.id)
        if entry is not None:
            self.give(entry, said, "answered")
            return
        found = self.ledger.answer_oddly(came, self.now, "the server", is_whole=is_whole)
        if found is None:
            return
        entry, home = found
        self.give(entry, home.head.id, "answered")
        assert json.loads(home.raw)["id"] == home.head.id
        assert home.head.id == belongs_to or said is not None or is_whole

    @rule(request_id=IDS)
    def cancel(self, request_id: RequestId) -> None:
        entry = self.ledger.cancel(request_id, self.now, GRACE)
        assert (entry is None) == (request_id not in self.waiting.values())
        if entry is not None:
            assert self.waiting[entry] == request_id
            self.cancelled.setdefault(entry, self.now)

    @rule(request_id=IDS)
    def leave(self, request_id: RequestId) -> None:
        entry = self.ledger.leave(request_id, self.now, GRACE)
        if entry is not None:
            self.give(entry, request_id, "left")
            assert self.ledger.was_left(request_id) and request_id not in self.ledger
            assert self.ledger.is_late(request_id)

    @rule(seconds=st.sampled_from([0.0, 1.0, GRACE / 2, GRACE]))
    def wait(self, seconds: float) -> None:
        self.now += seconds
        for due in self.ledger.due(self.now):
            entry = self.ledger.answer(due.request_id)
            assert entry is not None, "who is due is open"
            assert due.stray is not None or self.cancelled[entry] + GRACE <= self.now
            outcome = due.outcome
            assert outcome.head.id == due.request_id
            self.give(entry, due.request_id, "stray" if due.stray else "cancelled")

    @rule()
    def fail_all(self) -> None:
        for lost in self.ledger.fail_all():
            assert lost.stray is None or lost.stray.head.id == lost.request_id
            self.give(lost.entry, lost.request_id, "failed")
        assert not self.waiting and not self.ledger.is_doubtful and not list(self.ledger.left())
        assert list(self.ledger.due(self.now + 2 * GRACE)) == []

    @precondition(lambda self: self.cancelled)
    @rule()
    def forget_the_cancelled(self) -> None:
        for request_id in self.ledger.cancelled():
            entry = self.ledger.answer(request_id)
            assert entry in self.cancelled
            self.give(entry, request_id, "forgotten")
        assert not self.cancelled

    @invariant()
    def all_agree(self) -> None:
        assert len(self.ledger) == len(self.waiting) == self.opened - len(self.outcomes)
        assert {entry: request_id for request_id, entry in self.ledger.items()} == self.waiting
        assert list(self.ledger.entries()) == sorted(self.waiting), "in the order of opening"
        assert self.ledger.latest() == max(self.waiting, default=None)
        assert set(self.ledger.cancelled()) == {self.waiting[entry] for entry in self.cancelled}
        subscriptions = [one for one in self.waiting.values() if self.ledger.is_subscription(one)]
        assert self.ledger.calls == len(self.waiting) - len(subscriptions)
        strays = [one for one in self.waiting.values() if self.ledger.stray_of(one) is not None]
        assert self.ledger.is_doubtful == bool(strays)
        assert all(seconds == GRACE for _, seconds in self.asked)

    def teardown(self) -> None:
        """Nobody waits for ever: the end of the peer is an outcome for all that are left."""
        self.fail_all()
        assert set(self.outcomes) == set(range(1, self.opened + 1))


TestLives = Lives.TestCase


def opened(*ids: RequestId, entry: str = "waiter") -> Ledger[str]:
    ledger: Ledger[str] = Ledger(stray_grace=GRACE)
    for request_id in ids:
        ledger.open(request_id, entry)
    return ledger


def take(ledger: Ledger[str], message: dict[str, Any], belongs_to: RequestId | None = None) -> RequestId | None:
    """Take an answer; return the id under which it goes home at once."""
    answer = frame(message, belongs_to)
    if ledger.answer(answer.head.id) is not None:
        return answer.head.id
    found = ledger.answer_oddly(answer, 0.0, "the server")
    return None if found is None else found[1].head.id


def doubts(ledger: Ledger[str]) -> dict[RequestId, Any]:
    strays = {one: ledger.stray_of(one) for one, _ in ledger.items()}
    return {one: json.loads(stray.raw) for one, stray in strays.items() if stray is not None}


@pytest.mark.parametrize(
    ("asked", "said"), [(7, "7"), ("7", 7), (7, "07"), (-7, "-7"), (7, " 7 "), (2**70, str(2**70)), ("7", "7.0")]
)
def test_an_id_is_known_by_its_value(asked: RequestId, said: RequestId) -> None:
    """A number and the text of its digits are one, if nobody waits under the other as it is."""
    assert take(opened(asked, "other"), {"id": said, "result": {}}) == asked
    ledger = opened(7, "7")
    assert take(ledger, {"id": "7", "result": {}}) == "7" and take(ledger, {"id": "7", "result": {}}) == 7
    assert take(ledger, {"id": "7", "result": {}}) is None and not doubts(ledger)


def test_a_stray_is_the_only_requests_unless_its_own_answer_comes() -> None:
    """The first stray counts; the answer takes it away, and no other request under the same id inherits it."""
    ledger = opened(1)
    assert take(ledger, {"id": "nobody", "result": {}}) is None
    assert doubts(ledger)[1]["id"] == 1 and doubts(ledger)[1]["error"]["code"] == replies.LOST
    assert take(ledger, NULL) is None
    assert doubts(ledger)[1]["error"]["code"] == replies.LOST
    assert take(ledger, {"id": 1, "result": {}}) == 1 and not doubts(ledger)
    ledger.open(1, "another")
    assert not doubts(ledger) and list(ledger.due(2 * GRACE)) == []


def test_an_error_without_an_id_keeps_its_words() -> None:
    """Unless it is a relay's word on what was no request."""
    ledger = opened(1)
    own = replies.error(None, replies.PARSE_ERROR, "not a JSON-RPC message", delivered="no")
    assert take(ledger, json.loads(own.raw)) is None and not doubts(ledger)
    assert take(ledger, NULL) is None
    assert doubts(ledger)[1] == {"jsonrpc": "2.0", **NULL, "id": 1}


def test_a_stray_is_nobodys_where_it_could_be_several() -> None:
    """A subscription is not meant; nor is anybody by an answer that is late or comes twice, in whatever spelling."""
    ledger = opened(1, 2)
    assert take(ledger, {"id": 9, "result": {}}) is None and not doubts(ledger)
    assert take(ledger, {"id": 1, "result": {}}) == 1
    for late in (1, "1"):
        assert take(ledger, {"id": late, "result": {}}) is None and not doubts(ledger)
    ledger.open("s", "waiter", LISTEN)
    assert take(ledger, {"id": 9, "result": {}}) is None and list(doubts(ledger)) == [2]


def test_a_stray_on_a_requests_own_stream_is_that_requests() -> None:
    """Whatever else is open; and at once, if it is all that will come there."""
    ledger = opened(1, 2)
    assert take(ledger, {"id": 9, "result": {}}, belongs_to=2) is None and list(doubts(ledger)) == [2]
    whole = ledger.answer_oddly(frame(NULL, belongs_to=1), 0.0, "the server", is_whole=True)
    assert whole is not None and json.loads(whole[1].raw) == {"jsonrpc": "2.0", **NULL, "id": 1}


def test_without_a_grace_a_stray_is_nobodys() -> None:
    """Nobody would look whether its request has had another answer."""
    ledger: Ledger[str] = Ledger()
    ledger.open(1, "waiter")
    assert take(ledger, NULL) is None and not ledger.is_doubtful


def test_only_those_among_whom_it_came_are_meant() -> None:
    """A server behind one of several ways answers what went that way."""
    ledger: Ledger[str] = Ledger(stray_grace=GRACE)
    ledger.open(1, "here")
    ledger.open("2", "there")
    assert ledger.home_of(frame({"id": 2, "result": {}}), 0.0, "the server", among=("here",)) is None
    assert list(doubts(ledger)) == [1]
    home = ledger.home_of(frame({"id": "1", "result": {}}), 0.0, "the server", among={"here"})
    assert home is not None and home.head.id == 1 and 1 in ledger, "found, not taken"


def test_an_id_that_is_used_twice_has_two_answers() -> None:
    """Where a peer may do that; a third is nobody's."""
    ledger = opened(1)
    ledger.repeat(1)
    assert take(ledger, NULL) is None and ledger.is_doubtful
    assert ledger.answer(1) == "waiter" and 1 in ledger and not ledger.is_doubtful
    assert ledger.answer(1) == "waiter" and ledger.answer(1) is None
    ledger.open(2, "waiter")
    ledger.repeat(2)
    assert ledger.leave(2, 0.0, GRACE) == "waiter" and 2 in ledger and not ledger.was_left(2)
    ledger.repeat(2)
    assert [lost.request_id for lost in ledger.fail_all()] == [2, 2]


def test_a_late_answer_to_what_was_left_is_known_for_a_while() -> None:
    """In any spelling; once, and not when its id is used again."""
    ledger = opened(1, 2, 3, 4)
    for request_id in (1, 2, 3):
        assert ledger.leave(request_id, 0.0, GRACE) == "waiter"
    assert ledger.leave(9, 0.0, GRACE) is None
    assert ledger.was_left("1") and not ledger.was_left(9) and not ledger.was_left(None)
    assert take(ledger, {"id": "1", "result": {}}) is None and not doubts(ledger) and not ledger.was_left(1)
    ledger.open(2, "again")
    assert not ledger.was_left(2) and ledger.answer(2) == "again"
    assert list(ledger.left()) == ["waiter"]
    assert list(ledger.due(GRACE)) == [] and not ledger.was_left(3)
    assert take(ledger, {"id": 3, "result": {}}) is None and not doubts(ledger), "late all the same"


def test_only_so_many_are_remembered_that_were_left() -> None:
    """The oldest is forgotten first: a client that asks and leaves without end must not fill the memory."""
    ledger: Ledger[str] = Ledger()
    for number in range(MOST_LEFT + 1):
        ledger.open(number, f"{number}")
        ledger.leave(number, 0.0, GRACE)
    assert not ledger.was_left(0) and ledger.was_left(1) and len(list(ledger.left())) == MOST_LEFT


def test_what_another_table_knows_is_late() -> None:
    """One that counts its ids knows them all, however long ago they were."""
    ledger = opened(1)
    ledger.knows_late = lambda request_id: request_id in (5, "5")
    assert ledger.is_late("5") and not ledger.is_late(1) and not ledger.is_late(None)
    assert take(ledger, {"id": 5, "result": {}}) is None and not doubts(ledger)


def test_a_ledger_knows_what_it_has_settled() -> None:
    """Under just this id, and what was noted that was never open."""
    ledger = opened(1, 2)
    assert not ledger.has_settled and ledger.knows(1) and not ledger.knows("1")
    ledger.answer(1)
    ledger.note("n")
    assert ledger.has_settled and ledger.knows(1) and ledger.knows("n") and not ledger.knows(3)


def test_a_batch_is_opened_whole_or_not_at_all() -> None:
    """A refused one leaves no trace, and takes no progress token from another."""
    ledger: Ledger[str] = Ledger()
    assert ledger.open_frame("a", request(1, "t")) == 1
    ledger.open(3, "other")
    with pytest.raises(IdInUse, match="request id 1 is already waiting"):
        ledger.open_frame("b", Head(Kind.BATCH, members=(request(2, "t"), request(1))))
    assert len(ledger) == 2 and ledger.find(2) is None and ledger.find(1) == "a"
    assert ledger.related(progress("t"), None) == "a"
    assert ledger.open_frame("b", Head(Kind.BATCH, members=(request(4, "u"), NOTICE, request(5)))) == 2
    assert ledger.of_token("u") == "b" and ledger.find(5) == "b" and ledger.of_token(None) is None
    assert ledger.open_frame("c", NOTICE) == 0


def test_ids_of_other_types_are_other_ids() -> None:
    """1 and "1" are two requests; each gets its own answer."""
    ledger: Ledger[str] = Ledger()
    ledger.open(1, "number")
    ledger.open("1", "text")
    assert (ledger.answer("1"), ledger.answer(1)) == ("text", "number")


def test_what_is_said_of_a_request_is_for_who_waits_for_it() -> None:
    """By its token; by the request that the transport tied it to; for the only one there is."""
    ledger: Ledger[str] = Ledger()
    assert ledger.related(NOTICE, None) is None
    ledger.open(1, "first", token="t")
    assert ledger.related(NOTICE, None) == ledger.related(QUESTION, None) == "first"
    ledger.open(2, "second", token=1)
    assert ledger.related(NOTICE, None) is None and ledger.related(NOTICE, 2) == "second"
    assert ledger.related(progress("t"), 2) == "first"
    assert ledger.related(QUESTION, None) is None, "a request's own token is none of ours"


def test_a_token_taken_over_stays_with_its_new_owner() -> None:
    """Two requests with one token is a fault of the client's; the later one has it, also when the first ends."""
    ledger: Ledger[str] = Ledger()
    ledger.open(1, "first", token="t")
    ledger.open(2, "second", token="t")
    ledger.open(3, "third")
    assert ledger.related(progress("t"), None) == "second"
    ledger.answer(1)
    assert ledger.related(progress("t"), None) == "second"
    ledger.answer(2)
    ledger.open(4, "fourth")
    assert ledger.related(progress("t"), None) is None
