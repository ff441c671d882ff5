"""Rewrite an answer for its request if the server wrote the id differently from the client.

No I/O. These functions are for answers without an open request's id; ``ledger`` decides which request each answers.
"""

from __future__ import annotations

from collections.abc import Callable, Container

from relay.frames import replies
from relay.frames.frame import Frame
from relay.frames.head import Kind, RequestId
from relay.frames.json_cost import is_utf8
from relay.frames.strictness import read_id

__all__ = ["alike", "answers_in", "error_in_place", "last_resort", "meant_or_itself", "spellings", "under_id"]

_LARGEST = 10**40  # a larger id has no other spelling here, because Python's str() of it would be slow


def spellings(request_id: RequestId) -> tuple[RequestId, ...]:
    """Return the other spellings that a server may use for an id: digits for a number, and the reverse."""
    if isinstance(request_id, int):
        return (str(request_id),) if -_LARGEST < request_id < _LARGEST else ()
    number = read_id(request_id.strip().encode()[:128]) if request_id.strip()[-1:].isdigit() else None
    return (number, str(number)) if isinstance(number, int) else ()


def alike(request_id: RequestId | None, waiting: Container[RequestId | None]) -> RequestId | None:
    """Return the open request whose id is ``request_id`` in another spelling; None if there is none."""
    if request_id is None:
        return None
    return next((spelling for spelling in spellings(request_id) if spelling in waiting), None)


def under_id(frame: Frame, request_id: RequestId) -> Frame | None:
    """Return an answer under another id, with all other bytes unchanged; None if its own id cannot be found."""
    from relay.frames.repair import respelled  # 3 ms of start-up, needed for few servers

    return respelled(frame, request_id)


def error_in_place(frame: Frame, request_id: RequestId, name: str) -> Frame:
    """Return the error that replaces an answer of ``name`` which may belong to another request."""
    from relay.frames.repair import error_under

    said = frame.head.id
    seen = "without a readable id" if said is None else f"with the id {said!r:.80}, which no request has"
    why = "came on its stream" if frame.belongs_to == request_id else "was the only request open"
    return error_under(request_id, f"{name} answered {seen}; {request_id!r:.80} {why}", frame.belongs_to)


def last_resort(frame: Frame, only: RequestId, name: str, *, is_late: Callable[[RequestId], bool]) -> Frame | None:
    """Return a stray as the outcome of the only request that it may answer; None if it is late or the relay's own."""
    from relay.frames.repair import is_error

    said = frame.head.id
    if replies.is_about_nothing(frame) if said is None else is_late(said):
        return None
    own_words = under_id(frame, only) if said is None and is_error(frame) else None
    return own_words or error_in_place(frame, only, name)


def answers_in(frame: Frame, name: str = "the server", *, is_server: bool = True) -> list[Frame]:
    """Return the answers in an invalid frame of ``name``: repaired ones, and errors in place of the rest."""
    from relay.frames.repair import sift

    return sift(frame, name, is_server=is_server).onward if frame.head.kind is Kind.INVALID else []


def meant_or_itself(frame: Frame, name: str) -> list[Frame]:
    """Return the answers in an invalid frame; if there are none, the frame itself if it is readable text."""
    return answers_in(frame, name) or ([frame] if is_utf8(frame.raw) else [])
