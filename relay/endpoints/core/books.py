"""A ledger with a clock and a log: what each endpoint keeps of the requests that are open on it.

The ledger says what becomes of a request (``routing/ledger.py``); here is the time, and what the operator hears of
answers for which nobody waits.
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
    """The open requests of one side, whose time is the event loop's."""

    def __init__(
        self, name: str, limits: Limits, end: Callable[[Due], None], *, peer: str = "the server",
        log_level: int = logging.WARNING,
    ) -> None:  # fmt: skip
        """Log as ``name``; ``end`` gives a request whose grace is over its outcome; ``peer`` is who answers.

        ``log_level`` is that of a dropped answer.
        """
        super().__init__(stray_grace=limits.stray_grace)
        self._name = name
        self._end = end
        self._peer = peer
        self._log_level = log_level
        self._limits = limits
        self.dropped = 0
        """Answers for which nobody waited."""
        self.on_due = self._look_later

    def _look_later(self, when: float, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self._look, when)

    def _look(self, when: float) -> None:
        # A timer may be early by the resolution of its clock.
        for due in self.due(max(when, self.now())):
            self._end(due)

    def take_odd(
        self, answer: Frame, *, name: str | None = None, is_whole: bool = False, among: Container[Entry] | None = None
    ) -> tuple[Entry, Frame] | None:
        """Take an answer that is under no open id, as ``Ledger.answer_oddly`` does; count one that is nobody's."""
        was_left = self.was_left(answer.head.id)
        found = self.answer_oddly(answer, self.now(), name or self._peer, is_whole=is_whole, among=among)
        if found is None:
            self.drop(answer, logging.DEBUG if was_left else self._log_level)
        return found

    def drop(self, answer: Frame, level: int | None = None) -> None:
        """Count an answer for which nobody waits, and log it."""
        self.dropped += 1
        level = self._log_level if level is None else level
        logger.log(level, "%s: dropped an answer to %r, for which nobody waits", self._name, answer.head.id)

    def await_cancelled(self, request_id: RequestId | None) -> Entry | None:
        """Give a cancelled request ``Limits.cancel_grace`` for its own answer: its peer need not answer it any more.

        It is ``due`` then. Return its entry, or None if it is not open.
        """
        return self.cancel(request_id, self.now(), self._limits.cancel_grace)

    def forget(self, request_id: RequestId | None, seconds: float | None = None) -> Entry | None:
        """Let nobody wait for a request; a late answer is known for ``seconds``, or for ``Limits.cancel_grace``."""
        return self.leave(request_id, self.now(), self._limits.cancel_grace if seconds is None else seconds)

    def now(self) -> float:
        """Return the time by the running loop's clock."""
        return asyncio.get_running_loop().time()
