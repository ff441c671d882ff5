"""The ids of one peer's requests that wait for an answer, for endpoints that need to know no more of them.

``settlement`` knows more, and takes ten times as long.
"""

from __future__ import annotations

from collections.abc import Sequence

from relay.errors import RelayError
from relay.frames import replies
from relay.frames.frame import Frame, Head, Kind, RequestId

__all__ = ["OpenIds"]


class OpenIds:
    """What the peer has asked and we have not answered."""

    def __init__(self) -> None:
        """Start with none."""
        self._ids: set[RequestId] = set()

    def __len__(self) -> int:
        """Count them."""
        return len(self._ids)

    def note_asked(self, frames: Sequence[Frame]) -> None:
        """Note the requests in what the peer sent; to note them twice changes nothing."""
        for frame in frames:  # kept short: 0.2 us a request, a table that counts and measures takes 2
            head = frame.head
            if head.kind is Kind.REQUEST and head.id is not None:
                self._ids.add(head.id)
            elif head.kind is not Kind.RESPONSE:
                self._note(head)

    def _note(self, head: Head) -> None:
        """Note the requests of a batch, and that nobody waits any more for one that is cancelled."""
        for message in head.messages:
            if message.kind is Kind.REQUEST and message.id is not None:
                self._ids.add(message.id)
            elif message.method == "notifications/cancelled" and message.target is not None:
                self._ids.discard(message.target)

    def note_answered(self, frames: Sequence[Frame]) -> None:
        """Note the answers in what the peer is sent."""
        for frame in frames:
            head = frame.head
            if head.kind is Kind.RESPONSE and head.id is not None:
                self._ids.discard(head.id)
            elif head.kind is Kind.BATCH:
                self._ids.difference_update(message.id for message in head.members if message.id is not None)

    def end(self, reason: RelayError | None) -> list[Frame]:
        """Return the errors for those that will not be answered any more, the last thing the peer hears."""
        end = replies.end_by(reason, "the other side has ended")
        answers = [end.answer(request_id) for request_id in self._ids]
        self._ids.clear()
        return answers
