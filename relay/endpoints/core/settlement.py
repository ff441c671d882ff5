"""Keep one outcome per request on an endpoint with one connection to its peer: TCP, Unix socket or WebSocket.

There are two tables. *Ours* has the requests to the peer: once the peer has ended, each open one gets an error instead
of its answer. *Theirs* has the peer's requests: once our side ends, each open one gets an error, as the last frames to
the peer. No request gets two answers: the table drops and counts an answer that fits no open request.

It does no I/O. It returns what to forward, what to send back and which requests are open; the endpoint acts.
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
_ID_OVERHEAD = 128  # bytes of an open request besides its id


class _OpenRequests:
    """The ids of open requests, counted, because a peer may use an id twice."""

    def __init__(self) -> None:
        """Start empty."""
        self._counts: dict[RequestId, int] = {}
        self._cancelled: set[RequestId] = set()
        self._subscriptions: set[RequestId] = set()
        self.strays = Strays()
        self.size = 0

    def __len__(self) -> int:
        """Return the number of ids."""
        return len(self._counts)

    def __contains__(self, request_id: RequestId) -> bool:
        """Tell whether a request with this id is open."""
        return request_id in self._counts

    def add(self, request_id: RequestId, method: str | None) -> None:
        """Record an open request."""
        count = self._counts.get(request_id, 0)
        self._counts[request_id] = count + 1
        if not count:
            self.size += _cost(request_id)
        if method == _LISTEN:
            self._subscriptions.add(request_id)

    def settle(self, request_id: RequestId) -> bool:
        """Settle a request by its answer; return whether it was open."""
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
        """Settle the request that an answer belongs to; return the answer under its id, or None if it fits none."""
        home = home_of(answer, self._counts, name)
        if home is not None and home.head.id is not None:
            self.settle(home.head.id)
        else:
            only = only_of(self._counts.keys() - self._subscriptions if self._subscriptions else self._counts)
            self.strays.take(answer, only, name)
        return home

    def cancel(self, request_id: RequestId | None) -> None:
        """Record that the peer has cancelled a request, whose answer may still come."""
        if request_id in self._counts:
            self._cancelled.add(request_id)

    def fail_all(self) -> list[RequestId]:
        """Settle every request; return the ids of those that were not cancelled."""
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
    """The open requests of both sides of one connection."""

    def __init__(self, name: str, limits: Limits, *, peer_serves: bool, refusals: RefusalLog | None = None) -> None:
        """Settle for a server that the relay dialled (``peer_serves``), or for a client.

        The relay skips a server's noise, and answers a client's with errors. ``refusals`` logs it once for all clients
        of a listener.
        """
        self._name = name
        self._limits = limits
        self._peer_serves = peer_serves
        self._refusals = refusals
        self._other = "the client" if peer_serves else "the server"
        self._ours = _OpenRequests()
        self._theirs = _OpenRequests()
        self.dropped = 0
        """The number of dropped answers."""
        self.noise = 0
        """The number of the peer's lines or messages that were not JSON-RPC."""

    @property
    def strays_from_peer(self) -> Strays:
        """The peer's answers that fit no open request."""
        return self._ours.strays

    @property
    def strays_to_peer(self) -> Strays:
        """The other side's answers that fit no open request."""
        return self._theirs.strays

    @property
    def is_settled(self) -> bool:
        """Whether the peer owes no answer."""
        return not self._ours

    @property
    def in_flight(self) -> int:
        """The number of the peer's requests that wait for an answer."""
        return len(self._theirs)

    # From the peer.

    def take(self, pieces: Sequence[Frame | Oversized]) -> tuple[list[Frame], list[Frame]]:
        """Return the peer's frames to forward, and the errors to send back at once.

        Raises EndpointBroken if the peer opens too many requests.
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
        from relay.frames.repair import sift  # 3 ms of start-up, which few peers need

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
        """Return the frames to send to the peer, and the errors that answer the others.

        Raises EndpointBroken if the peer leaves too many requests unanswered.
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
        """Replace an invalid frame: an error for the peer if it was an answer, for its sender if it was a request."""
        from relay.frames.repair import sift

        sifted = sift(frame, self._other, is_server=not self._peer_serves)
        onward += self._note_sifted(sifted.onward, self._ours, self._theirs, self._other)
        back += sifted.back

    # Either way: ``asked`` has the open requests of the side that sent a message, ``answered`` those of the other side.

    def _note(self, frame: Frame, asked: _OpenRequests, answered: _OpenRequests, who: str) -> Sequence[Frame]:
        """Record a message of ``who``; return the frames to forward, an answer under its request's id."""
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
        """Record the repaired frames; drop an error in place of an answer that fits no request."""
        noted = [note for frame in frames for note in self._note(frame, asked, answered, who)]
        return [note for note in noted if note.head.kind is not Kind.RESPONSE or note.head.id is not None]

    def _note_head(self, head: Head, asked: _OpenRequests) -> None:
        if head.kind is Kind.REQUEST:
            assert head.id is not None, "a request has an id"
            asked.add(head.id, head.method)
        elif head.method == _CANCELLED:
            asked.cancel(head.target)

    def _note_batch(self, frame: Frame, asked: _OpenRequests, answered: _OpenRequests, who: str) -> Sequence[Frame]:
        """Return the batch as it came, or its parts without the answers that fit no request."""
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
        """Return an answer without a matching id under the id of its request, or nothing if none waits for it."""
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
        """Return the errors for our requests, which the peer will never answer."""
        said = f"the request was lost: {reason or f'{self._name} has ended'}"
        return replies.errors(self._ours.fail_all(), replies.LOST, said, delivered="unknown")

    def we_end(self, reason: RelayError | None) -> list[Frame]:
        """Return the errors for the peer's open requests, which get no answer after our end."""
        end = replies.end_by(reason, "the other side has ended")
        return [end.answer(request_id) for request_id in self._theirs.fail_all()]
