"""One outcome for each request, on an endpoint whose peer is behind a single connection: TCP, Unix socket, WebSocket.

Two tables. *Ours*: requests handed to the peer; once the peer has ended, each that is open gets an error in the place
of its answer. *Theirs*: requests the peer made; when we say that no more will come, each that is open gets an error,
the last thing the peer hears. Nobody gets two answers: one for which nobody waits is dropped and counted.

Without I/O: it says what goes on, what goes back and who is left; the endpoint acts.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from relay.errors import EndpointBroken, RelayError
from relay.frames import replies
from relay.frames.envelope import salvage_head
from relay.frames.frame import Frame
from relay.frames.head import Head, Kind, RequestId
from relay.frames.lines import Oversized
from relay.limits import Limits
from relay.routing.matching import Strays, home_of, only_of

if TYPE_CHECKING:
    from relay.endpoints.core.refusal_log import RefusalLog

__all__ = ["Settlement"]

logger = logging.getLogger("relay")

_CANCELLED = "notifications/cancelled"
_LISTEN = "subscriptions/listen"
_ID_OVERHEAD = 128  # bytes that an open request costs beside the text of its id


class _OpenRequests:
    """Ids that wait for an answer; counted, because a peer may use one twice."""

    def __init__(self) -> None:
        """Start with none."""
        self._counts: dict[RequestId, int] = {}
        self._cancelled: set[RequestId] = set()
        self._subscriptions: set[RequestId] = set()
        self.strays = Strays()
        self.size = 0

    def __len__(self) -> int:
        """Count the ids."""
        return len(self._counts)

    def __contains__(self, request_id: RequestId) -> bool:
        """Tell whether somebody waits for this answer."""
        return request_id in self._counts

    def add(self, request_id: RequestId, method: str | None) -> None:
        """Let somebody wait for this answer."""
        count = self._counts.get(request_id, 0)
        self._counts[request_id] = count + 1
        if not count:
            self.size += _cost(request_id)
        if method == _LISTEN:
            self._subscriptions.add(request_id)

    def settle(self, request_id: RequestId) -> bool:
        """Take an answer; return whether anybody waited for it."""
        count = self._counts.get(request_id, 0)
        if count > 1:
            self._counts[request_id] = count - 1
        elif count:
            del self._counts[request_id]
            self._cancelled.discard(request_id)
            self._subscriptions.discard(request_id)
            self.strays.note(hash(request_id))
            if self.strays.doubts:
                self.strays.doubts.pop(request_id, None)
            self.size -= _cost(request_id)
        return count > 0

    def home_of(self, answer: Frame, name: str) -> Frame | None:
        """Return an answer as it goes to the request that it is for, which is settled; None if it is nobody's."""
        home = home_of(answer, self._counts, name)
        if home is not None and home.head.id is not None:
            self.settle(home.head.id)
        else:
            only = only_of(self._counts.keys() - self._subscriptions if self._subscriptions else self._counts)
            self.strays.take(answer, only, name)
        return home

    def cancel(self, request_id: RequestId | None) -> None:
        """Note that nobody waits for this answer any more, though it may still come."""
        if request_id in self._counts:
            self._cancelled.add(request_id)

    def fail_all(self) -> list[RequestId]:
        """Settle everything; return the ids that somebody still waited for."""
        left = [request_id for request_id in self._counts if request_id not in self._cancelled]
        self._counts.clear()
        self._cancelled.clear()
        self._subscriptions.clear()
        self.strays.doubts.clear()
        self.size = 0
        return left


def _cost(request_id: RequestId) -> int:
    return _ID_OVERHEAD + (len(request_id) if isinstance(request_id, str) else request_id.bit_length() // 8)


class Settlement:
    """What crosses one connection, and who waits for what on it."""

    def __init__(self, name: str, limits: Limits, *, peer_serves: bool, refusals: RefusalLog | None = None) -> None:
        """``peer_serves``: we dialled the peer. Its noise is skipped; a client is told what is wrong with its own.

        ``refusals`` tell the operator of it, once for all clients of a listener.
        """
        self._name = name
        self._limits = limits
        self._peer_serves = peer_serves
        self._refusals = refusals
        self._other = "the client" if peer_serves else "the server"
        self._ours = _OpenRequests()
        self._theirs = _OpenRequests()
        self.dropped = 0
        """Answers nobody waited for."""
        self.noise = 0
        """Lines or messages of the peer that were not JSON-RPC."""

    @property
    def strays_from_peer(self) -> Strays:
        """Answers of the peer that fit nobody."""
        return self._ours.strays

    @property
    def strays_to_peer(self) -> Strays:
        """Answers of the other side that fit nobody."""
        return self._theirs.strays

    @property
    def is_settled(self) -> bool:
        """Whether the peer owes no answer."""
        return not self._ours

    @property
    def in_flight(self) -> int:
        """Requests of the peer that wait for an answer."""
        return len(self._theirs)

    # From the peer.

    def take(self, pieces: Sequence[Frame | Oversized]) -> tuple[list[Frame], list[Frame]]:
        """Return what of the peer's goes on, and what goes back to it at once.

        Raises EndpointBroken if it leaves too many requests open.
        """
        onward: list[Frame] = []
        back: list[Frame] = []
        for piece in pieces:
            if isinstance(piece, Oversized):
                self._take_oversized(piece, onward, back)
            elif piece.head.kind is Kind.INVALID:
                self._take_invalid(piece, onward, back)
            else:
                self._take(piece, onward)
        self._check_size(self._theirs)
        return onward, back

    def _take(self, frame: Frame, onward: list[Frame]) -> None:
        onward += self._note(frame, self._theirs, self._ours, self._name)

    def _take_oversized(self, piece: Oversized, onward: list[Frame], back: list[Frame]) -> None:
        head = salvage_head(piece.start, piece.end)
        message = f"{self._name}: a frame of {piece.size} bytes; --max-frame-bytes is {self._limits.max_frame_bytes}"
        self._warn("too large", f"{message}: dropped")
        if head.kind is Kind.RESPONSE:
            error = replies.error(head.id, replies.TOO_LARGE, message, delivered="unknown")
            self._take(Frame(error.raw), onward)
        elif head.kind is Kind.REQUEST and head.id is not None:
            back.append(replies.error(head.id, replies.TOO_LARGE, message, delivered="no"))

    def _take_invalid(self, frame: Frame, onward: list[Frame], back: list[Frame]) -> None:
        from relay.frames.repair import sift  # 3 ms of start-up, for what few peers write

        sifted = sift(frame, self._name, is_server=self._peer_serves)
        if sifted.is_noise:
            self.noise += 1
            if self.noise == 1:
                fault = frame.head.fault
                self._warn(f"{fault}", f"{self._name}: sent what is not JSON-RPC ({fault}); such lines are dropped")
        onward += self._note_sifted(sifted.onward, self._theirs, self._ours, self._name)
        back += sifted.back

    def _warn(self, what: str, line: str) -> None:
        if self._refusals is None:
            logger.warning("%s", line)
        else:
            self._refusals.note("dropped", what, line)

    # To the peer.

    def hand_over(self, frames: Sequence[Frame]) -> tuple[Sequence[Frame], list[Frame]]:
        """Return what is to be sent to the peer, and what is answered in its place.

        Raises EndpointBroken if the peer has left too many requests open.
        """
        onward: list[Frame] = []
        back: list[Frame] = []
        for frame in frames:
            if frame.head.kind is Kind.INVALID:
                self._hand_over_invalid(frame, onward, back)
            else:
                onward += self._note(frame, self._ours, self._theirs, self._other)
        self._check_size(self._ours)
        return onward, back

    def _hand_over_invalid(self, frame: Frame, onward: list[Frame], back: list[Frame]) -> None:
        """Tell whoever waits for what this was meant to be; its sender only if that was a request."""
        from relay.frames.repair import sift

        sifted = sift(frame, self._other, is_server=not self._peer_serves)
        onward += self._note_sifted(sifted.onward, self._ours, self._theirs, self._other)
        back += sifted.back

    # Either way: ``asked`` are the open requests of the side that a message is from, ``answered`` those of the other.

    def _note(self, frame: Frame, asked: _OpenRequests, answered: _OpenRequests, who: str) -> Sequence[Frame]:
        """Note a message of ``who``; return how it goes on, if it does: an answer under the id of its request."""
        head = frame.head
        kind = head.kind
        if kind is Kind.RESPONSE:
            if head.id is None or not answered.settle(head.id):
                return self._find_home(frame, answered, who)
        elif kind is Kind.BATCH:
            return self._note_batch(frame, asked, answered, who)
        else:
            self._note_head(head, asked)
        return (frame,)

    def _note_sifted(
        self, frames: Sequence[Frame], asked: _OpenRequests, answered: _OpenRequests, who: str
    ) -> list[Frame]:
        """Note what invalid frames were meant to be; an error in place of an answer that nobody waits for is none."""
        noted = [note for frame in frames for note in self._note(frame, asked, answered, who)]
        return [note for note in noted if note.head.kind is not Kind.RESPONSE or note.head.id is not None]

    def _note_head(self, head: Head, asked: _OpenRequests) -> None:
        if head.kind is Kind.REQUEST:
            assert head.id is not None, "a request has an id"
            asked.add(head.id, head.method)
        elif head.method == _CANCELLED:
            asked.cancel(head.target)

    def _note_batch(self, frame: Frame, asked: _OpenRequests, answered: _OpenRequests, who: str) -> Sequence[Frame]:
        """Return the batch as it came, or what is left of it without the answers nobody waits for."""
        answers = [head.id for head in frame.head.members if head.kind is Kind.RESPONSE]
        if len(set(answers)) == len(answers) and all(one is not None and one in answered for one in answers):
            for head in frame.head.members:
                if head.kind is Kind.RESPONSE and head.id is not None:
                    answered.settle(head.id)
                else:
                    self._note_head(head, asked)
            return (frame,)
        return [one for member in frame.split() for one in self._note(member, asked, answered, who)]

    def _find_home(self, frame: Frame, waiting: _OpenRequests, who: str) -> Sequence[Frame]:
        """Return an answer that comes under no open request's id as it goes on, if anybody waits for it."""
        home = waiting.home_of(frame, who)
        if home is not None:
            return (home,)
        if frame.head.id is None and not waiting.strays.doubts:
            return (frame,)  # an error that belongs to no request
        self.dropped += 1
        logger.warning("%s: dropped an answer to %r, for which nobody waits", self._name, frame.head.id)
        return ()

    def _check_size(self, waiting: _OpenRequests) -> None:
        if waiting.size > self._limits.max_open_bytes:
            raise EndpointBroken(f"{self._name}: {len(waiting)} requests are open; see max_open_bytes")

    # Ends.

    def peer_ended(self, reason: RelayError | None) -> list[Frame]:
        """Return the errors for our requests that the peer will not answer any more."""
        said = f"the request was lost: {reason or f'{self._name} has ended'}"
        return replies.errors(self._ours.fail_all(), replies.LOST, said, delivered="unknown")

    def we_end(self, reason: RelayError | None) -> list[Frame]:
        """Return the errors for the peer's requests that cannot be answered once our end has been said."""
        end = replies.end_by(reason, "the other side has ended")
        return [end.answer(request_id) for request_id in self._theirs.fail_all()]
