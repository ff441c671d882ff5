"""A ledger with a clock and a log: each endpoint keeps its open requests in one.

``routing/ledger.py`` decides what becomes of a request. This module adds the event loop's time, and logs the answers
that fit no open request.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Container
from typing import TypeVar

from relay.frames.frame import Frame
from relay.frames.head import RequestId
from relay.limits import Limits
from relay.routing.ledger import Due, Ledger

__all__ = ["Books"]

logger = logging.getLogger("relay")

Entry = TypeVar("Entry")


class Books(Ledger[Entry]):
    """The open requests of one side, timed by the event loop."""

    def __init__(
        self, name: str, limits: Limits, end: Callable[[Due], None], *, peer: str = "the server",
        log_level: int = logging.WARNING,
    ) -> None:  # fmt: skip
        """Log as ``name``, and call ``end`` for each request whose grace is over.

        ``peer`` is the name of the side that answers, and ``log_level`` the level for a dropped answer.
        """
        super().__init__(stray_grace=limits.stray_grace)
        self._name = name
        self._end = end
        self._peer = peer
        self._log_level = log_level
        self._limits = limits
        self.dropped = 0
        """The number of dropped answers."""
        self.on_due = self._look_later

    def _look_later(self, when: float, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self._look, when)

    def _look(self, when: float) -> None:
        # A timer may fire early, by the resolution of its clock.
        for due in self.due(max(when, self.now())):
            self._end(due)

    def take_odd(
        self, answer: Frame, *, name: str | None = None, is_whole: bool = False, among: Container[Entry] | None = None
    ) -> tuple[Entry, Frame] | None:
        """Settle an answer without an open id, as ``Ledger.answer_oddly`` does; drop one that fits no request."""
        was_left = self.was_left(answer.head.id)
        found = self.answer_oddly(answer, self.now(), name or self._peer, is_whole=is_whole, among=among)
        if found is None:
            self.drop(answer, logging.DEBUG if was_left else self._log_level)
        return found

    def drop(self, answer: Frame, level: int | None = None) -> None:
        """Count and log an answer that fits no open request."""
        self.dropped += 1
        level = self._log_level if level is None else level
        logger.log(level, "%s: dropped an answer to %r, which no request waits for", self._name, answer.head.id)

    def await_cancelled(self, request_id: RequestId | None) -> Entry | None:
        """Give a cancelled request ``Limits.cancel_grace`` for its answer, which is optional; then it is ``due``.

        Return its entry, or None if it is not open.
        """
        return self.cancel(request_id, self.now(), self._limits.cancel_grace)

    def forget(self, request_id: RequestId | None) -> Entry | None:
        """Close a request; a late answer counts as known for ``Limits.abandoned_memory``.

        That is longer than ``Limits.cancel_grace``, after which another endpoint of the pipe answers on its own.
        """
        return self.leave(request_id, self.now(), self._limits.abandoned_memory)

    def now(self) -> float:
        """Return the time by the running loop's clock."""
        return asyncio.get_running_loop().time()
