"""The open requests of one side of a connection, and how the other side's answers go on to it.

For endpoints whose peer is behind one connection: own stdio and memory keep one such table, sockets two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from relay.endpoints.core.books import Books
from relay.errors import RelayError
from relay.frames import replies
from relay.frames.frame import Frame
from relay.frames.head import Head, Kind, RequestId
from relay.limits import Limits
from relay.routing.ledger import LISTEN, IdInUse
from relay.routing.matching import meant_or_itself

__all__ = ["OpenRequests"]

_OVERHEAD = 128  # bytes that an open request costs beside the text of its id
_LONG = 2**64  # an id from here on, or as far below zero, is measured


class OpenRequests(Books[int]):
    """What one side has asked and the other has not answered; the entries are bytes of long ids."""

    def __init__(
        self, name: str, limits: Limits, give: Callable[[Frame], None], *, peer: str = "the server",
        forwards_unknown: bool = False,
    ) -> None:  # fmt: skip
        """Log as ``name``; ``give`` takes an outcome of the relay's own as if ``peer``, who answers, had sent it.

        ``forwards_unknown``: an answer goes on where no request is open that could take it for its own.
        """
        super().__init__(name, limits, lambda due: give(due.outcome), peer=peer)
        self._forwards_unknown = forwards_unknown
        self._names = 0
        """Bytes that long ids hold."""

    def holds_more_than(self, size: int) -> bool:
        """Tell whether the open requests hold more than so many bytes."""
        return len(self._open) * _OVERHEAD + self._names > size

    def note_asked(self, frames: Sequence[Frame]) -> None:
        """Note the requests in what one side sends, and what it cancels."""
        waiting = self._open
        for frame in frames:
            head = frame.head
            if head.kind is Kind.REQUEST:
                # What ``open`` does, here for nearly all: 0.15 us a request instead of 0.5.
                request_id = head.id
                is_plain = isinstance(request_id, int) and request_id not in waiting and -_LONG < request_id < _LONG
                if is_plain and head.method != LISTEN and not self._left:
                    waiting[request_id] = 0
                else:
                    self._note_request(head)
            elif head.kind is not Kind.RESPONSE:
                self._note_batch(head)

    def _note_request(self, head: Head) -> None:
        request_id = head.id
        assert request_id is not None, "a request has an id"
        cost = _cost(request_id)
        try:
            self.open(request_id, cost, head.method)
        except IdInUse:
            self.repeat(request_id)
        else:
            self._names += cost

    def _note_batch(self, head: Head) -> None:
        for message in head.messages:
            if message.kind is Kind.REQUEST:
                self._note_request(message)
            elif message.method == "notifications/cancelled":
                self._settle(message.target, is_cancelled=True)

    def _settle(self, request_id: RequestId | None, *, is_cancelled: bool = False) -> bool:
        cost = self.forget(request_id) if is_cancelled else self.answer(request_id)
        if cost is not None and request_id not in self:
            self._names -= cost
        return cost is not None

    def answered(self, frames: Sequence[Frame]) -> Sequence[Frame]:
        """Note the answers in what the other side sends; return that, each answer under the id of its request.

        An answer for which nobody waits is dropped.
        """
        take, note, special = self._open.pop, self._note, self._special
        for number, frame in enumerate(frames):
            head = frame.head
            kind = head.kind
            if kind is Kind.RESPONSE:
                cost = None if special else take(head.id, None)  # what ``answer`` does for nearly all
                if cost is not None:
                    note(hash(head.id))
                    if cost:
                        self._names -= cost
                elif not self._settle(head.id):
                    return [*frames[:number], *self._find_homes(frames[number:])]
            elif kind is Kind.BATCH or kind is Kind.INVALID:
                return [*frames[:number], *self._find_homes(frames[number:])]
        return frames

    def _find_homes(self, frames: Sequence[Frame]) -> list[Frame]:
        """Do the same for frames one of which is more than an answer to what was asked."""
        found: list[Frame] = []
        for frame in frames:
            kind = frame.head.kind
            if kind is Kind.RESPONSE:
                found += (frame,) if self._settle(frame.head.id) else self._find_home(frame)
            elif kind is Kind.BATCH and not self._is_batch_of_answers_due(frame.head):
                found += self._find_homes(frame.split())
            elif kind is Kind.INVALID:
                meant = meant_or_itself(frame, self._peer)
                found += meant if meant == [frame] else self._find_homes(meant)
            else:
                found.append(frame)
        return found

    def _find_home(self, frame: Frame) -> Sequence[Frame]:
        """Return an answer under no open id as it goes on, if it does."""
        said, was_left, was_open = frame.head.id, self.was_left(frame.head.id), len(self) > 0
        found = self.answer_oddly(frame, self.now(), self._peer)
        if found is not None:
            cost, home = found
            if home.head.id not in self:
                self._names -= cost
            return (home,)
        is_unknown = self._forwards_unknown and not was_open and not self.is_late(said)
        if was_left or is_unknown or (said is None and not self.is_doubtful):
            return (frame,)  # it was cancelled; or nobody could take it for their own; or it belongs to no request
        self.drop(frame)
        return ()

    def _is_batch_of_answers_due(self, head: Head) -> bool:
        """Take a batch whose answers are all waited for, which goes on as it came."""
        answered = [message.id for message in head.members if message.kind is Kind.RESPONSE]
        if len(set(answered)) != len(answered) or not all(one in self for one in answered):
            return False
        for one in answered:
            self._settle(one)
        return True

    def end(self, end: replies.End) -> list[Frame]:
        """Return the errors for those that will not be answered any more, the last thing their side hears."""
        self._names = 0
        return [end.answer(one.request_id) for one in self.fail_all()]


def ended_by(reason: RelayError | None) -> replies.End:
    """Return what open requests are told when the other side has ended."""
    return replies.end_by(reason, "the other side has ended")


def _cost(request_id: RequestId) -> int:
    """Return what the text of an id holds: nothing that counts, for a number of some digits."""
    if isinstance(request_id, str):
        return len(request_id)
    return request_id.bit_length() // 8 if abs(request_id) >= _LONG else 0
