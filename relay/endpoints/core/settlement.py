"""Keep one outcome per request on an endpoint with one connection to its peer: TCP, Unix socket or WebSocket.

There are two tables. *Ours* has the requests to the peer: once the peer has ended, each open one gets an error instead
of its answer. *Theirs* has the peer's requests: once our side ends, each open one gets an error, as the last frames to
the peer. No request gets two answers: the table drops and counts an answer that fits no open request.

It does no I/O. It returns what to forward, what to send back and which requests are open; the endpoint acts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from relay.endpoints.core.open_requests import OpenRequests, ended_by
from relay.errors import EndpointBroken, RelayError
from relay.frames import replies
from relay.frames.envelope import salvage_head
from relay.frames.faults import message_fault, size_fault
from relay.frames.frame import Frame
from relay.frames.head import Kind
from relay.frames.lines import Oversized
from relay.limits import Limits

if TYPE_CHECKING:
    from relay.endpoints.core.refusal_log import RefusalLog

__all__ = ["Settlement"]

logger = logging.getLogger("relay")


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
        self._ours = OpenRequests(name, limits, lambda outcome: self.give_on(outcome), peer=name)
        self.theirs = OpenRequests(name, limits, lambda outcome: self.give_back(outcome), peer=self._other)
        """The peer's requests."""
        self.give_on: Callable[[Frame], None] = lambda _: None
        """Takes an outcome of the relay's own as if the peer had sent it."""
        self.give_back: Callable[[Frame], None] = lambda _: None
        """Takes an outcome of the relay's own as if the other side had sent it."""
        self.noise = 0
        """The number of the peer's lines or messages that were not JSON-RPC."""

    @property
    def dropped(self) -> int:
        """The number of dropped answers."""
        return self._ours.dropped + self.theirs.dropped

    @property
    def is_settled(self) -> bool:
        """Whether the peer owes no answer."""
        return not self._ours

    # From the peer.

    def take(self, pieces: Sequence[Frame | Oversized]) -> tuple[Sequence[Frame], list[Frame]]:
        """Return the peer's frames to forward, and the errors to send back at once.

        Raises EndpointBroken if the peer opens too many requests.
        """
        frames: list[Frame] = []
        onward: list[Frame] = []
        back: list[Frame] = []
        for piece in pieces:
            if isinstance(piece, Oversized):
                onward += self._take(frames)
                self._take_oversized(piece, onward, back)
                frames = []
            elif piece.head.kind is Kind.INVALID:
                onward += self._take(frames)
                self._take_invalid(piece, onward, back)
                frames = []
            else:
                frames.append(piece)
        taken = self._take(frames)
        self._check_size(self.theirs)
        return [*onward, *taken] if onward else taken, back

    def _take(self, frames: Sequence[Frame]) -> Sequence[Frame]:
        self.theirs.note_asked(frames)
        return self._ours.answered(frames)

    def _take_oversized(self, piece: Oversized, onward: list[Frame], back: list[Frame]) -> None:
        head = salvage_head(piece.start, piece.end)
        fault = f"{self._name}: {size_fault(piece.size, self._limits.max_frame_bytes)}"
        self._warn("too large", f"{fault}: dropped")
        if head.kind is Kind.RESPONSE:
            onward += self._take([Frame(replies.too_large(head, head.id, fault).raw)])
        elif head.kind is Kind.REQUEST:
            back.append(replies.too_large(head, head.id, fault))

    def _take_invalid(self, frame: Frame, onward: list[Frame], back: list[Frame]) -> None:
        from relay.frames.repair import sift  # 3 ms of start-up, which few peers need

        sifted = sift(frame, self._name, is_server=self._peer_serves)
        if sifted.is_noise:
            self.noise += 1
            if self.noise == 1:
                fault = frame.head.fault
                self._warn(fault, f"{self._name}: sent what is {message_fault(fault)}; the relay drops such lines")
        onward += _but_errors_of_nobody(self._take(sifted.onward))
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
        back: list[Frame] = []
        for frame in frames:
            if frame.head.kind is Kind.INVALID:
                frames, back = self._sort_out(frames)
                break
        else:
            frames = self._hand_over(frames)
        self._check_size(self._ours)
        return frames, back

    def _hand_over(self, frames: Sequence[Frame]) -> Sequence[Frame]:
        self._ours.note_asked(frames)
        return self.theirs.answered(frames)

    def _sort_out(self, frames: Sequence[Frame]) -> tuple[list[Frame], list[Frame]]:
        """Replace invalid frames: an error for the peer if one was an answer, for its sender if it was a request."""
        from relay.frames.repair import sift

        onward: list[Frame] = []
        back: list[Frame] = []
        for frame in frames:
            if frame.head.kind is not Kind.INVALID:
                onward += self._hand_over((frame,))
                continue
            sifted = sift(frame, self._other, is_server=not self._peer_serves)
            onward += _but_errors_of_nobody(self._hand_over(sifted.onward))
            back += sifted.back
        return onward, back

    def _check_size(self, waiting: OpenRequests) -> None:
        if waiting.holds_more_than(self._limits.max_open_bytes):
            raise EndpointBroken(f"{self._name}: {len(waiting)} requests are open; see max_open_bytes")

    # Ends.

    def peer_ended(self, reason: RelayError | None) -> list[Frame]:
        """Return the errors for our requests, which the peer will never answer."""
        said = f"the request was lost: {reason or f'{self._name} has ended'}"
        return self._ours.end(replies.End(replies.LOST, said, "unknown"))

    def we_end(self, reason: RelayError | None) -> list[Frame]:
        """Return the errors for the peer's open requests, which get no answer after our end."""
        return self.theirs.end(ended_by(reason))


def _but_errors_of_nobody(frames: Sequence[Frame]) -> list[Frame]:
    """Drop errors in place of answers that fit no request."""
    return [frame for frame in frames if frame.head.kind is not Kind.RESPONSE or frame.head.id is not None]
