"""Take answers where just the requests of one POST wait, as plain JSON or on its stream."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from relay.frames.frame import Frame
from relay.frames.head import Head, Kind
from relay.routing.ledger import Ledger
from relay.routing.matching import meant_or_itself

__all__ = ["asked_in", "take_each"]

_MOST_ANSWERS = 1024  # whose ids are remembered of one POST: more than a batch may ask for

Fate = Literal["answers", "again", "nobody's", "no answer"]

_THERE = "the server"


def asked_in(head: Head | None) -> Ledger[bool]:
    """Return the requests of a POST, each once, in a ledger without a clock: who reads the answers has one."""
    ledger: Ledger[bool] = Ledger(stray_grace=0.0, remembered=_MOST_ANSWERS)
    for one in head.messages if head is not None else ():
        if one.kind is Kind.REQUEST and one.id is not None and one.id not in ledger:
            ledger.open(one.id, True)
    return ledger


def take_each(frame: Frame, ledger: Ledger[bool], *, is_whole: bool) -> Iterator[tuple[Frame, Fate]]:
    """Yield each message of a frame, and what became of it: an answer is taken, and reads as its request wants it.

    ``is_whole``: nothing else will come, so what fits nobody is for the only one. What is no message, and is no answer
    either, goes on if it can be read as text.
    """
    if frame.head.kind is Kind.INVALID:
        members = meant_or_itself(frame, _THERE)
    else:
        members = frame.split() if frame.head.kind is Kind.BATCH else [frame]
    for one in members:
        if one.head.kind is not Kind.RESPONSE:
            yield one, "no answer"
        elif ledger.answer(one.head.id):
            yield one, "answers"
        elif found := ledger.answer_oddly(one, 0.0, _THERE, is_whole=is_whole):
            yield found[1], "answers"
        else:
            yield one, "again" if ledger.is_late(one.head.id) else "nobody's"
