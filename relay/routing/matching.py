"""Whose an answer is that comes under no open request's id: the part that every table of open requests shares.

An id comes home in its client's spelling, whatever the server wrote. An answer that fits nobody, and is not late, is a
*stray*. It may be that of the only request that is open: if that has no other a while later, the stray is its outcome,
an error without an id in the server's own words, anything else as an error of the relay's, for it could be another's.
Nobody is left waiting for an answer that has come, and none is lost to a stray before it.

Pure, and never asked about an answer whose id is found as it is.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Container, Iterator

from relay.frames import replies
from relay.frames.frame import Frame
from relay.frames.head import Kind, RequestId
from relay.frames.json_cost import is_utf8
from relay.frames.strictness import read_id

__all__ = [
    "Strays",
    "alike",
    "answers_in",
    "fitting",
    "home_of",
    "is_again",
    "last_resort",
    "meant_or_itself",
    "only_of",
]

_REMEMBERED = 128
_LARGEST = 10**40  # an id beyond is compared as it is: Python's str() of it would take its time


class Strays:
    """What one table knows of answers that fit nobody."""

    __slots__ = ("_hashes", "doubts", "note", "on_doubt")

    def __init__(self) -> None:
        """Know of none."""
        self._hashes: deque[int] = deque(maxlen=_REMEMBERED)
        self.note = self._hashes.append
        """Remember the hash of an id that had its outcome; not the id, which may be long."""
        self.doubts: dict[RequestId, Frame] = {}
        """Requests that may have had their answer, and what it would mean for them; forgotten with the request."""
        self.on_doubt: Callable[[Frame], None] | None = None
        """Told of each outcome that is to be given later, if it is in ``doubts`` still."""

    def __contains__(self, request_id: object) -> bool:
        """Tell whether an id had its outcome a moment ago, in whatever spelling: one more answer is late or twice."""
        if not isinstance(request_id, int | str):
            return False
        return any(hash(spelling) in self._hashes for spelling in (request_id, *_spellings(request_id)))

    def take(
        self, frame: Frame, only: RequestId | None, name: str, *, known: Container[RequestId] | None = None
    ) -> None:
        """Take an answer of ``name`` that fits nobody; the only request that it may be for is to be told later.

        ``known`` are the ids that have been there, if it is not for this to say.
        """
        if only is None or only in self.doubts or self.on_doubt is None:
            return
        if (outcome := last_resort(frame, only, self if known is None else known, name)) is not None:
            self.doubts[only] = outcome
            self.on_doubt(outcome)


def _spellings(request_id: RequestId) -> tuple[RequestId, ...]:
    """Return what else a server may take an id for: a number for its digits, and the other way round."""
    if isinstance(request_id, int):
        return (str(request_id),) if -_LARGEST < request_id < _LARGEST else ()
    number = read_id(request_id.strip().encode()[:128]) if request_id.strip()[-1:].isdigit() else None
    return (number, str(number)) if isinstance(number, int) else ()


def alike(request_id: RequestId | None, waiting: Container[RequestId]) -> RequestId | None:
    """Return the open request that an id means in another spelling, if there is one."""
    if request_id is None:
        return None
    return next((spelling for spelling in _spellings(request_id) if spelling in waiting), None)


def is_again(request_id: RequestId | None, waiting: Container[RequestId], settled: Container[RequestId]) -> bool:
    """Tell whether an answer is one more to a request that had its own, in whatever spelling, and to no open one."""
    if request_id is None or request_id in waiting:
        return False
    return request_id in settled or alike(request_id, settled) is not None


def only_of(waiting: Collection[RequestId]) -> RequestId | None:
    """Return the only request that is open."""
    return next(iter(waiting)) if len(waiting) == 1 else None


def home_of(frame: Frame, waiting: Container[RequestId], name: str) -> Frame | None:
    """Return an answer of ``name`` under the id of its request, which it names in another spelling; None if of none."""
    meant = alike(frame.head.id, waiting)
    if meant is None:
        return None
    from relay.frames.repair import respelled  # 3 ms of start-up, for what few servers write

    return respelled(frame, meant) or _in_place_of(frame, meant, name)


def last_resort(frame: Frame, only: RequestId, settled: Container[RequestId], name: str) -> Frame | None:
    """Return what an answer that fits nobody means for the only request it may be for; None if it is late, or ours."""
    from relay.frames.repair import is_error, respelled

    said = frame.head.id
    if is_again(said, (), settled) if said is not None else replies.is_about_nothing(frame):
        return None
    own_words = respelled(frame, only) if said is None and is_error(frame) else None
    return own_words or _in_place_of(frame, only, name)


def _in_place_of(frame: Frame, request_id: RequestId, name: str) -> Frame:
    from relay.frames.repair import error_under

    said = frame.head.id
    seen = "without an id that can be told" if said is None else f"with the id {said!r:.80}, which no request has"
    why = "came on its stream" if frame.belongs_to == request_id else "was the only request open"
    return error_under(request_id, f"{name} answered {seen}; {request_id!r:.80} {why}", frame.belongs_to)


def answers_in(frame: Frame, name: str = "the server", *, is_server: bool = True) -> list[Frame]:
    """Return what goes on of an invalid frame of ``name``: answers that are mended, errors in place of others."""
    from relay.frames.repair import sift

    return sift(frame, name, is_server=is_server).onward if frame.head.kind is Kind.INVALID else []


def meant_or_itself(frame: Frame, name: str) -> list[Frame]:
    """Return what goes on of an invalid frame: the answers in it; without any the frame, if it can be read as text."""
    return answers_in(frame, name) or ([frame] if is_utf8(frame.raw) else [])


def fitting(
    frame: Frame, waiting: Collection[RequestId], settled: Container[RequestId], name: str, *, is_whole: bool
) -> Iterator[Frame]:
    """Yield what goes on of a frame that came where just these requests wait: answers under their ids, all else as is.

    Whoever settles a request takes it out of ``waiting`` before the next. ``is_whole``: nothing else will come, so what
    fits nobody is for the only one. What is no message, and is no answer either, goes on if it can be read as text.
    """
    if frame.head.kind is Kind.INVALID:
        members = meant_or_itself(frame, name)
    else:
        members = frame.split() if frame.head.kind is Kind.BATCH else [frame]
    for one in members:
        yield _fitting_one(one, waiting, settled, name, is_whole=is_whole)


def _fitting_one(
    frame: Frame, waiting: Collection[RequestId], settled: Container[RequestId], name: str, *, is_whole: bool
) -> Frame:
    if frame.head.kind is not Kind.RESPONSE or frame.head.id in waiting:
        return frame
    only = only_of(waiting)
    home = home_of(frame, waiting, name)
    if home is None and is_whole and only is not None:
        home = last_resort(frame, only, settled, name)
    return home or frame
