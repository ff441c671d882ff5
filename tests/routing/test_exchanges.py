"""Exchanges against a simple model: every id that was opened is settled exactly once."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from relay.frames.frame import Frame
from relay.frames.head import Head, Kind, RequestId
from relay.routing.exchanges import Exchanges, IdInUse

IDS = st.sampled_from([0, 1, 2, "0", "1", "", 2**64, -1])
TOKENS = st.sampled_from([None, None, 1, "1", "t"])


def request(request_id: RequestId, token: RequestId | None = None) -> Head:
    """Make the head of a request."""
    return Head(Kind.REQUEST, request_id, "x", token)


def progress(token: RequestId) -> Head:
    """Make the head of a progress notification."""
    return Head(Kind.NOTIFICATION, method="notifications/progress", token=token)


NOTICE = Frame(b'{"method":"notifications/message"}').head
QUESTION = Frame(b'{"id":9,"method":"ping","params":{"_meta":{"progressToken":1}}}').head


class ExchangesMachine(RuleBasedStateMachine):
    """The table beside a plain dict of who waits for what."""

    def __init__(self) -> None:
        super().__init__()
        self.exchanges: Exchanges[str] = Exchanges()
        self.waiting: dict[RequestId, tuple[str, RequestId | None]] = {}
        self.token_owner: dict[RequestId, tuple[RequestId, str]] = {}
        self.opened = self.settled = self.names = 0

    @rule(heads=st.lists(st.tuples(IDS, TOKENS), max_size=3), notices=st.integers(0, 1))
    def open(self, heads: list[tuple[RequestId, RequestId | None]], notices: int) -> None:
        self.names += 1
        waiter = f"waiter {self.names}"
        ids = [request_id for request_id, _ in heads]
        wanted = [request(*head) for head in heads] + [NOTICE] * notices
        if len(set(ids)) < len(ids) or any(request_id in self.waiting for request_id in ids):
            with pytest.raises(IdInUse) as caught:
                self.exchanges.open(waiter, wanted)
            assert caught.value.request_id in ids
            return
        assert self.exchanges.open(waiter, wanted) == tuple(ids)
        self.opened += len(ids)
        for request_id, token in heads:
            self.waiting[request_id] = (waiter, token)
            if token is not None:
                self.token_owner[token] = (request_id, waiter)

    @rule(request_id=IDS | st.none())
    def settle(self, request_id: RequestId | None) -> None:
        waiter, token = self.waiting.pop(request_id, (None, None)) if request_id is not None else (None, None)
        self.settled += waiter is not None
        if token is not None and self.token_owner.get(token, (None, None))[1] == waiter:
            del self.token_owner[token]
        assert self.exchanges.settle(request_id) == waiter
        assert self.exchanges.settle(request_id) is None
        assert self.exchanges.find(request_id) is None

    @rule()
    def fail_all(self) -> None:
        left = [(request_id, waiter) for request_id, (waiter, _) in self.waiting.items()]
        assert self.exchanges.fail_all() == left
        self.settled += len(left)
        self.waiting.clear()
        self.token_owner.clear()

    @rule(token=TOKENS.filter(lambda token: token is not None), belongs_to=IDS | st.none())
    def related(self, token: RequestId, belongs_to: RequestId | None) -> None:
        waiters = {waiter for waiter, _ in self.waiting.values()}
        only = waiters.pop() if len(waiters) == 1 else None
        tied = self.waiting.get(belongs_to, (None, None))[0] if belongs_to is not None else None
        by_token = self.token_owner.get(token, (None, None))[1]
        assert self.exchanges.related(progress(token), belongs_to) == (by_token or tied or only)
        assert self.exchanges.related(NOTICE, belongs_to) == (tied or only)
        assert self.exchanges.related(QUESTION, belongs_to) == (tied or only)

    @invariant()
    def counts_agree(self) -> None:
        assert len(self.exchanges) == len(self.waiting) == self.opened - self.settled
        assert all(self.exchanges.find(request_id) == waiter for request_id, (waiter, _) in self.waiting.items())
        last = list(self.waiting.values())[-1][0] if self.waiting else None
        assert self.exchanges.latest() == last


TestExchanges = ExchangesMachine.TestCase


def test_an_id_in_use_opens_nothing_of_its_batch() -> None:
    """All of a batch or none: a refused one leaves no trace."""
    exchanges: Exchanges[str] = Exchanges()
    exchanges.open("a", [request(1)])
    with pytest.raises(IdInUse, match="request id 1 is already waiting"):
        exchanges.open("b", [request(2), request(1)])
    assert (len(exchanges), exchanges.find(2), exchanges.find(1)) == (1, None, "a")


def test_a_refused_batch_takes_no_token() -> None:
    """Progress still goes to the request that brought the token first."""
    exchanges: Exchanges[str] = Exchanges()
    exchanges.open("a", [request(1, "t")])
    exchanges.open("other", [request(3)])
    with pytest.raises(IdInUse):
        exchanges.open("b", [request(2, "t"), request(1)])
    assert exchanges.related(progress("t"), None) == "a"


def test_ids_of_other_types_are_other_ids() -> None:
    """1 and "1" are two requests; each gets its own answer."""
    exchanges: Exchanges[str] = Exchanges()
    exchanges.open("number", [request(1)])
    exchanges.open("text", [request("1")])
    assert (exchanges.settle("1"), exchanges.settle(1)) == ("text", "number")


def test_a_token_taken_over_stays_with_its_new_owner() -> None:
    """Two requests with one token is a fault of the client's; the later one has it, also when the first ends."""
    exchanges: Exchanges[str] = Exchanges()
    exchanges.open("first", [request(1, "t")])
    exchanges.open("second", [request(2, "t")])
    exchanges.open("third", [request(3)])
    assert exchanges.related(progress("t"), None) == "second"
    exchanges.settle(1)
    assert exchanges.related(progress("t"), None) == "second"
    exchanges.settle(2)
    exchanges.open("fourth", [request(4)])
    assert exchanges.related(progress("t"), None) is None
    exchanges.open("fifth", [request(5, "u")])
    exchanges.open("sixth", [request(6, "u")])
    exchanges.settle(5)
    exchanges.settle(6)
    exchanges.settle(3)
    assert exchanges.related(progress("u"), None) == "fourth"
