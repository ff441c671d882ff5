"""One outcome for each request, on an endpoint whose peer is behind a single connection: TCP, Unix socket, WebSocket.

Two tables. *Ours*: requests handed to the peer; once the peer has ended, each that is open gets an error in the place
of its answer. *Theirs*: requests the peer made; when we say that no more will come, each that is open gets an error,
the last thing the peer hears. Nobody gets two answers: one for which nobody waits is dropped and counted.

Without I/O: it says what goes on, what goes back and who is left; the endpoint acts.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from relay.errors import EndpointBroken, RelayError
from relay.frames import replies
from relay.frames.frame import Frame, Head, Kind, RequestId, salvage_head
from relay.frames.lines import KEPT, Oversized
from relay.limits import Limits

__all__ = ["Settlement"]

logger = logging.getLogger("relay")

_CANCELLED = "notifications/cancelled"
_ID_OVERHEAD = 128  # bytes that an open request costs beside the text of its id


class _OpenRequests:
    """Ids that wait for an answer; counted, because a peer may use one twice."""

    def __init__(self) -> None:
        """Start with none."""
        self._counts: dict[RequestId, int] = {}
        self._cancelled: set[RequestId] = set()
        self.size = 0

    def __len__(self) -> int:
        """Count the ids."""
        return len(self._counts)

    def add(self, request_id: RequestId) -> None:
        """Let somebody wait for this answer."""
        count = self._counts.get(request_id, 0)
        self._counts[request_id] = count + 1
        if not count:
            self.size += _cost(request_id)

    def settle(self, request_id: RequestId) -> bool:
        """Take an answer; return whether anybody waited for it."""
        count = self._counts.get(request_id, 0)
        if count > 1:
            self._counts[request_id] = count - 1
        elif count:
            del self._counts[request_id]
            self._cancelled.discard(request_id)
            self.size -= _cost(request_id)
        return count > 0

    def cancel(self, request_id: RequestId | None) -> None:
        """Note that nobody waits for this answer any more, though it may still come."""
        if request_id in self._counts:
            self._cancelled.add(request_id)

    def fail_all(self) -> list[RequestId]:
        """Settle everything; return the ids that somebody still waited for."""
        left = [request_id for request_id in self._counts if request_id not in self._cancelled]
        self._counts.clear()
        self._cancelled.clear()
        self.size = 0
        return left


def _cost(request_id: RequestId) -> int:
    return _ID_OVERHEAD + (len(request_id) if isinstance(request_id, str) else request_id.bit_length() // 8)


class Settlement:
    """What crosses one connection, and who waits for what on it."""

    def __init__(self, name: str, limits: Limits, *, peer_serves: bool) -> None:
        """``peer_serves``: we dialled the peer. Its noise is skipped; a client is told what is wrong with its own."""
        self._name = name
        self._limits = limits
        self._peer_serves = peer_serves
        self._ours = _OpenRequests()
        self._theirs = _OpenRequests()
        self.dropped = 0
        """Answers nobody waited for."""
        self.noise = 0
        """Lines or messages of the peer that were not JSON-RPC."""

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
            elif piece.head.kind is Kind.BATCH:
                onward += self._note_batch(piece, self._theirs, self._ours)
            elif self._note(piece.head, self._theirs, self._ours):
                onward.append(piece)
        self._check_size(self._theirs)
        return onward, back

    def _take_oversized(self, piece: Oversized, onward: list[Frame], back: list[Frame]) -> None:
        head = salvage_head(piece.start, piece.end)
        message = f"{self._name}: a frame of {piece.size} bytes; --max-frame-bytes is {self._limits.max_frame_bytes}"
        logger.warning("%s: dropped", message)
        if head.kind is Kind.RESPONSE and head.id is not None and self._ours.settle(head.id):
            onward.append(replies.error(head.id, replies.TOO_LARGE, message, delivered="unknown"))
        elif head.kind is Kind.REQUEST and head.id is not None:
            back.append(replies.error(head.id, replies.TOO_LARGE, message, delivered="no"))

    def _take_invalid(self, frame: Frame, onward: list[Frame], back: list[Frame]) -> None:
        fault = frame.head.fault
        self.noise += 1
        if self.noise == 1:
            logger.warning("%s: sent what is not JSON-RPC (%s); such lines are dropped", self._name, fault)
        head = salvage_head(frame.raw, frame.raw[-KEPT:])
        if not frame.head.is_json and head.kind is Kind.RESPONSE and head.id is not None and self._ours.settle(head.id):
            # An answer with NaN in it, or cut short: its request must not wait for another.
            said = f"{self._name}: its answer is not valid JSON: {fault}"
            onward.append(replies.error(head.id, replies.LOST, said, delivered="unknown"))
        elif not self._peer_serves:
            back.append(_refusal(frame.head))

    # To the peer.

    def hand_over(self, frames: Sequence[Frame]) -> tuple[Sequence[Frame], list[Frame]]:
        """Return what is to be sent to the peer, and what is answered in its place.

        Raises EndpointBroken if the peer has left too many requests open.
        """
        onward: list[Frame] = []
        back: list[Frame] = []
        for frame in frames:
            kind = frame.head.kind
            if kind is Kind.INVALID:
                back.append(_refusal(frame.head))
            elif kind is Kind.BATCH:
                onward += self._note_batch(frame, self._ours, self._theirs)
            elif self._note(frame.head, self._ours, self._theirs):
                onward.append(frame)
        self._check_size(self._ours)
        return onward, back

    # Either way: ``asked`` are the open requests of the side that a message is from, ``answered`` those of the other.

    def _note(self, head: Head, asked: _OpenRequests, answered: _OpenRequests) -> bool:
        """Note a message; return whether it goes on."""
        if head.kind is Kind.REQUEST:
            assert head.id is not None, "a request has an id"
            asked.add(head.id)
        elif head.kind is Kind.RESPONSE:
            return self._answers(answered, head.id)
        elif head.method == _CANCELLED:
            asked.cancel(head.target)
        return True

    def _note_batch(self, frame: Frame, asked: _OpenRequests, answered: _OpenRequests) -> list[Frame]:
        """Return the batch as it came, or what is left of it without the answers nobody waits for."""
        kept = [self._note(head, asked, answered) for head in frame.head.members]
        if all(kept):
            return [frame]
        return [member for member, goes_on in zip(frame.split(), kept, strict=True) if goes_on]

    def _answers(self, waiting: _OpenRequests, request_id: RequestId | None) -> bool:
        """Tell whether an answer goes on; an error without an id belongs to no request, and does."""
        if request_id is None or waiting.settle(request_id):
            return True
        self.dropped += 1
        logger.warning("%s: dropped an answer to %r, for which nobody waits", self._name, request_id)
        return False

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


def _refusal(head: Head) -> Frame:
    return replies.error(head.id, replies.code_of(head), f"not a JSON-RPC message: {head.fault}", delivered="no")
