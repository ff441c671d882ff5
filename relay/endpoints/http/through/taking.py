"""Match answers with the requests of one POST, in plain JSON or on a stream."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from relay.frames.frame import Frame
from relay.frames.head import Head, Kind
from relay.routing.ledger import Ledger
from relay.routing.matching import meant_or_itself

__all__ = ["asked_in", "take_each"]

_MOST_ANSWERS = 1024  # remembered ids of answers to one POST: more than a batch may have requests

Fate = Literal["answers", "again", "nobody's", "no answer"]

_THERE = "the server"


def asked_in(head: Head | None) -> Ledger[bool]:
    """Return a ledger of the requests of a POST, each once; the ledger has no clock, as the stream's reader has one."""
    ledger: Ledger[bool] = Ledger(stray_grace=0.0, remembered=_MOST_ANSWERS)
    for one in head.messages if head is not None else ():
        if one.kind is Kind.REQUEST and one.id is not None and one.id not in ledger:
            ledger.open(one.id, True)
    return ledger


def take_each(frame: Frame, ledger: Ledger[bool], *, is_whole: bool) -> Iterator[tuple[Frame, Fate]]:
    """Yield each message of a frame with its fate; an answer has the id of its request and leaves the ledger.

    ``is_whole``: no other answer will arrive, so an answer without a match belongs to the only open request. Text that
    is neither a message nor an answer passes unchanged.
    """
    if frame.head.kind is Kind.INVALID:
        members = meant_or_itself(frame, _THERE)
    else:
        members = frame.split() if frame.head.kind is Kind.BATCH else [frame]
    for one in members:
        if one.head.kind is not Kind.RESPONSE:
            yield one, "no answer"
        elif ledger.answer(one.head.id, one):
            yield one, "answers"
        elif found := ledger.answer_oddly(one, 0.0, _THERE, is_whole=is_whole):
            yield found[1], "answers"
        else:
            yield one, "again" if ledger.is_late(one.head.id) else "nobody's"
