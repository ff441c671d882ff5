"""Keep the ids of one peer's open requests, for endpoints that need nothing more.

``settlement`` keeps more, and takes ten times as long.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from relay.errors import RelayError
from relay.frames import replies
from relay.frames.frame import Frame
from relay.frames.head import NOTIFICATION, REQUEST, RESPONSE, Head, Kind, RequestId
from relay.routing.matching import Strays, alike, home_of, meant_or_itself, only_of

__all__ = ["OpenIds"]

logger = logging.getLogger("relay")

_LISTEN = "subscriptions/listen"
_MOST_CANCELLED = 128


class OpenIds:
    """The peer's requests that have no answer yet."""

    def __init__(self, name: str) -> None:
        """Start empty; ``name`` is the peer's name in the log."""
        self._name = name
        self._ids: set[RequestId] = set()
        self._subscriptions: set[RequestId] = set()
        """Requests that stay open on purpose; a stray answer never belongs to them."""
        self._cancelled: dict[RequestId, None] = {}
        """Cancelled requests, which may still get an answer."""
        self.strays = Strays()
        self._note_hash, self._doubts = self.strays.note, self.strays.doubts
        self.dropped = 0
        """The number of dropped answers."""

    def __len__(self) -> int:
        """Return the number of open requests."""
        return len(self._ids)

    def note_asked(self, frames: Sequence[Frame]) -> bool:
        """Record the peer's requests (twice is harmless); return False if a frame is not a message."""
        is_sound = True
        for frame in frames:  # kept short: 0.2 us a request, where a table that counts and measures takes 2
            head = frame.head
            kind = head.kind
            if kind is REQUEST and head.id is not None:
                self._ids.add(head.id)
                if head.method == _LISTEN:
                    self._subscriptions.add(head.id)
            elif kind is not RESPONSE:
                self._note(head)
                is_sound = is_sound and kind is not Kind.INVALID
        return is_sound

    def _note(self, head: Head) -> None:
        """Record the requests of a batch, and cancellations."""
        for message in head.messages:
            if message.kind is Kind.REQUEST and message.id is not None:
                self._ids.add(message.id)
            elif message.method == "notifications/cancelled" and message.target is not None:
                self._ids.discard(message.target)
                self._subscriptions.discard(message.target)
                self._cancelled[message.target] = None
                if len(self._cancelled) > _MOST_CANCELLED:
                    del self._cancelled[next(iter(self._cancelled))]

    def _settle(self, request_id: RequestId) -> None:
        self._ids.discard(request_id)
        self._subscriptions.discard(request_id)
        self.strays.note(hash(request_id))
        if self.strays.doubts:
            self.strays.doubts.pop(request_id, None)

    def answered(self, frames: Sequence[Frame]) -> Sequence[Frame]:
        """Record the answers in frames for the peer; return the frames, each answer under its request's id.

        Drop an answer that fits no open request.
        """
        for number, frame in enumerate(frames):
            head = frame.head
            kind, said = head.kind, head.id
            if kind is RESPONSE and said is not None:
                try:
                    self._ids.remove(said)
                except KeyError:
                    return [*frames[:number], *self._find_homes(frames[number:])]
                self._note_hash(hash(said))
                if self._doubts or self._subscriptions:
                    self._doubts.pop(said, None)
                    self._subscriptions.discard(said)
            elif kind is not NOTIFICATION and kind is not REQUEST:
                return [*frames[:number], *self._find_homes(frames[number:])]
        return frames

    def _find_homes(self, frames: Sequence[Frame]) -> list[Frame]:
        """Do the same for frames that include more than plain answers to open requests."""
        found: list[Frame] = []
        for frame in frames:
            kind = frame.head.kind
            if kind is Kind.RESPONSE:
                found += self._find_home(frame)
            elif kind is Kind.BATCH and not self._is_batch_of_answers_due(frame.head):
                found += self._find_homes(frame.split())
            elif kind is Kind.INVALID:
                meant = meant_or_itself(frame, "the server")
                found += meant if meant == [frame] else self._find_homes(meant)
            else:
                found.append(frame)
        return found

    def _find_home(self, frame: Frame) -> list[Frame]:
        said = frame.head.id
        if said is None or said not in self._ids:
            if self._was_cancelled(said):
                return [frame]
            home = home_of(frame, self._ids, "the server")
            if home is None:
                if not self._ids and said not in self.strays:
                    return [frame]  # no request is open that it could belong to, so forward the bytes
                only = only_of(self._ids - self._subscriptions if self._subscriptions else self._ids)
                self.strays.take(frame, only, "the server")
                if said is None and not self.strays.doubts:
                    return [frame]  # an error that belongs to no request
                self.dropped += 1
                logger.warning("%s: dropped an answer to %r, for which nobody waits", self._name, said)
                return []
            frame = home
        assert frame.head.id is not None, "found by it"
        self._settle(frame.head.id)
        return [frame]

    def _was_cancelled(self, said: RequestId | None) -> bool:
        cancelled = said if said in self._cancelled else alike(said, self._cancelled)
        if cancelled is None or alike(said, self._ids) is not None:
            return False
        del self._cancelled[cancelled]
        self.strays.note(hash(cancelled))
        return True

    def _is_batch_of_answers_due(self, head: Head) -> bool:
        """Settle a batch whose answers all fit open requests; return whether it is one."""
        answered = [message.id for message in head.members if message.kind is Kind.RESPONSE]
        if len(set(answered)) != len(answered) or not all(one in self._ids for one in answered):
            return False
        for one in answered:
            assert one is not None, "an id is in the set"
            self._settle(one)
        return True

    def end(self, reason: RelayError | None) -> list[Frame]:
        """Return the errors for all open requests, which are the last frames to the peer."""
        end = replies.end_by(reason, "the other side has ended")
        answers = [end.answer(request_id) for request_id in self._ids]
        self._ids.clear()
        self._subscriptions.clear()
        self.strays.doubts.clear()
        return answers
