"""Keep the open requests of one side of a connection, and match the other side's answers to them.

It serves endpoints with one connection to their peer: own stdio and memory keep one such table, sockets two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from relay.endpoints.core.books import Books
from relay.errors import RelayError
from relay.frames import replies
from relay.frames.frame import Frame
from relay.frames.head import Head, Kind, RequestId
from relay.limits import Limits
from relay.routing.matching import meant_or_itself
from relay.routing.open_table import LISTEN, IdInUse

__all__ = ["OpenRequests"]

_OVERHEAD = 128  # bytes of an open request besides its id
_LONG = 2**64  # ids of at least this size, positive or negative, are measured


class OpenRequests(Books[int]):
    """One side's requests without an answer; each entry is the size of a long id in bytes, else 0."""

    def __init__(
        self, name: str, limits: Limits, give: Callable[[Frame], None], *, peer: str = "the server",
        forwards_unknown: bool = False,
    ) -> None:  # fmt: skip
        """Log as ``name``; ``give`` takes the relay's own outcomes as if ``peer``, which answers, had sent them.

        With ``forwards_unknown``, the table forwards an answer while no open request could take it for its own.
        """
        super().__init__(name, limits, lambda due: give(due.outcome), peer=peer)
        self._forwards_unknown = forwards_unknown
        self._names = 0
        """The bytes that long ids hold."""

    def holds_more_than(self, size: int) -> bool:
        """Tell whether the open requests hold more than ``size`` bytes."""
        return len(self._open) * _OVERHEAD + self._names > size

    def note_asked(self, frames: Sequence[Frame]) -> None:
        """Record the requests and cancellations in frames of the side that asks."""
        waiting, subscriber = self._open, self.subscriber
        for frame in frames:
            head = frame.head
            if head.kind is Kind.REQUEST:
                # ``open``, inlined for nearly all requests: 0.15 us a request instead of 0.5.
                request_id = head.id
                is_plain = isinstance(request_id, int) and request_id not in waiting and -_LONG < request_id < _LONG
                if is_plain and head.method != LISTEN and not self._left and subscriber is None:
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
                self._note_end(message.target, self.forget(message.target))

    def _settle(self, request_id: RequestId | None, answer: Frame | None = None) -> bool:
        return self._note_end(request_id, self.answer(request_id, answer))

    def _note_end(self, request_id: RequestId | None, cost: int | None) -> bool:
        if cost is not None and request_id not in self:
            self._names -= cost
        return cost is not None

    def answered(self, frames: Sequence[Frame]) -> Sequence[Frame]:
        """Record the answers in the other side's frames; return the frames, each answer under its request's id.

        Drop an answer that fits no open request.
        """
        take, note = self._open.pop, self._settled.append
        is_plain = not self._special and self.subscriber is None
        for number, frame in enumerate(frames):
            head = frame.head
            kind = head.kind
            if kind is Kind.RESPONSE:
                cost = take(head.id, None) if is_plain else None  # ``answer``, inlined for nearly all answers
                if cost is not None:
                    note(hash(head.id))
                    if cost:
                        self._names -= cost
                elif not self._settle(head.id, frame):
                    return [*frames[:number], *self._find_homes(frames[number:])]
            elif kind is Kind.BATCH or kind is Kind.INVALID:
                return [*frames[:number], *self._find_homes(frames[number:])]
        return frames

    def _find_homes(self, frames: Sequence[Frame]) -> list[Frame]:
        """Do the same for frames that include more than plain answers to open requests."""
        found: list[Frame] = []
        for frame in frames:
            kind = frame.head.kind
            if kind is Kind.RESPONSE:
                found += (frame,) if self._settle(frame.head.id, frame) else self._find_home(frame)
            elif kind is Kind.BATCH and not self._is_batch_of_answers_due(frame.head):
                found += self._find_homes(frame.split())
            elif kind is Kind.INVALID:
                meant = meant_or_itself(frame, self._peer)
                found += meant if meant == [frame] else self._find_homes(meant)
            else:
                found.append(frame)
        return found

    def _find_home(self, frame: Frame) -> Sequence[Frame]:
        """Return an answer without an open id under its request's id; return nothing if it is dropped."""
        said, was_left, was_open = frame.head.id, self.was_left(frame.head.id), len(self) > 0
        found = self.answer_oddly(frame, self.now(), self._peer)
        if found is not None:
            cost, home = found
            if home.head.id not in self:
                self._names -= cost
            return (home,)
        is_unknown = self._forwards_unknown and not was_open and not self.is_late(said)
        if was_left or is_unknown or (said is None and not self.is_doubtful):
            return (frame,)  # a cancelled request's; or none could take it for its own; or an error of no request
        self.drop(frame)
        return ()

    def _is_batch_of_answers_due(self, head: Head) -> bool:
        """Settle a batch whose answers all fit open requests; return whether it is one."""
        answered = [message.id for message in head.members if message.kind is Kind.RESPONSE]
        if len(set(answered)) != len(answered) or not all(one in self for one in answered):
            return False
        for one in answered:
            self._settle(one)
        return True

    def end(self, end: replies.End) -> list[Frame]:
        """Return the errors for all open requests, which are the last frames to their side."""
        self._names = 0
        return [end.answer(one.request_id) for one in self.fail_all()]


def ended_by(reason: RelayError | None) -> replies.End:
    """Return the error for open requests when the other side has ended."""
    return replies.end_by(reason, "the other side has ended")


def _cost(request_id: RequestId) -> int:
    """Return the bytes that an id holds; a number of a few digits counts as 0."""
    if isinstance(request_id, str):
        return len(request_id)
    return request_id.bit_length() // 8 if abs(request_id) >= _LONG else 0
