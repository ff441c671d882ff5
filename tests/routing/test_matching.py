"""Answers that fit nobody: whose they may be, and whose they are not."""

from __future__ import annotations

import json
from typing import Any

import pytest

from relay.frames import replies
from relay.frames.frame import Frame
from relay.frames.head import RequestId
from relay.routing.exchanges import Exchanges

NULL = {"id": None, "error": {"code": -32700, "message": "what?"}}


def frame(message: dict[str, Any], belongs_to: RequestId | None = None) -> Frame:
    return Frame(json.dumps({"jsonrpc": "2.0", **message}).encode(), belongs_to)


def request(request_id: RequestId, method: str = "x") -> Frame:
    return frame({"id": request_id, "method": method})


class Table:
    """Open requests, and the outcomes that are to be given later."""

    def __init__(self, *ids: RequestId) -> None:
        self.exchanges: Exchanges[str] = Exchanges()
        self.later: list[Frame] = []
        self.exchanges.strays.on_doubt = self.later.append
        for request_id in ids:
            self.exchanges.open("waiter", (request(request_id).head,))

    def take(self, message: dict[str, Any], belongs_to: RequestId | None = None) -> RequestId | None:
        """Take an answer; return the id under which it goes home at once."""
        answer = frame(message, belongs_to)
        if self.exchanges.settle(answer.head.id) is not None:
            return answer.head.id
        home = self.exchanges.home_of(answer, "the server")
        if home is None:
            return None
        assert self.exchanges.settle(home.head.id) is not None
        return home.head.id

    @property
    def doubts(self) -> dict[RequestId, Any]:
        return {one: json.loads(outcome.raw) for one, outcome in self.exchanges.strays.doubts.items()}


@pytest.mark.parametrize(
    ("asked", "said"), [(7, "7"), ("7", 7), (7, "07"), (-7, "-7"), (7, " 7 "), (2**70, str(2**70)), ("7", "7.0")]
)
def test_an_id_is_known_by_its_value(asked: RequestId, said: RequestId) -> None:
    """A number and the text of its digits are one, if nobody waits under the other as it is."""
    assert Table(asked, "other").take({"id": said, "result": {}}) == asked
    table = Table(7, "7")
    assert table.take({"id": "7", "result": {}}) == "7" and table.take({"id": "7", "result": {}}) == 7
    assert table.take({"id": "7", "result": {}}) is None and not table.doubts


def test_a_stray_is_the_only_requests_unless_its_own_answer_comes() -> None:
    """The first stray counts; the answer takes it away, and no other request under the same id inherits it."""
    table = Table(1)
    assert table.take({"id": "nobody", "result": {}}) is None
    assert table.doubts[1]["id"] == 1 and table.doubts[1]["error"]["code"] == replies.LOST
    assert table.take(NULL) is None
    assert table.doubts[1]["error"]["code"] == replies.LOST and len(table.later) == 1
    assert table.take({"id": 1, "result": {}}) == 1 and not table.doubts
    table.exchanges.open("waiter", (request(1).head,))
    assert not table.doubts


def test_an_error_without_an_id_keeps_its_words() -> None:
    """Unless it is a relay's word on what was no request."""
    table = Table(1)
    own = replies.error(None, replies.PARSE_ERROR, "not a JSON-RPC message", delivered="no")
    assert table.take(json.loads(own.raw)) is None and not table.doubts
    assert table.take(NULL) is None
    assert table.doubts[1] == {"jsonrpc": "2.0", **NULL, "id": 1}


def test_a_stray_is_nobodys_where_it_could_be_several() -> None:
    """A subscription is not meant; nor is anybody by an answer that is late or comes twice, in whatever spelling."""
    table = Table(1, 2)
    assert table.take({"id": 9, "result": {}}) is None and not table.doubts
    assert table.take({"id": 1, "result": {}}) == 1
    for late in (1, "1"):
        assert table.take({"id": late, "result": {}}) is None and not table.doubts
    table.exchanges.open("waiter", (request("s", "subscriptions/listen").head,))
    assert table.take({"id": 9, "result": {}}) is None and list(table.doubts) == [2]


def test_a_stray_on_a_requests_own_stream_is_that_requests() -> None:
    """Whatever else is open; and at once, if it is all that will come there."""
    table = Table(1, 2)
    assert table.take({"id": 9, "result": {}}, belongs_to=2) is None and list(table.doubts) == [2]
    whole = table.exchanges.home_of(frame(NULL, belongs_to=1), "the server", is_whole=True)
    assert whole is not None and json.loads(whole.raw) == {"jsonrpc": "2.0", **NULL, "id": 1}
