"""Whether a server can be reached, as its frames show it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from relay.endpoints.base import Endpoint
from relay.frames import replies
from relay.frames.frame import Frame
from relay.pipe import Observer

__all__ = ["ReachLog"]

logger = logging.getLogger("relay")


class ReachLog(Observer):
    """A pipe's observer: says once for each cause that a server cannot be reached, and notes whether it ever was."""

    def __init__(self, server: Endpoint, then: Observer | None = None) -> None:
        """Look at what comes from ``server``; tell ``then`` of every frame, too."""
        self._server = server
        self._then = then
        self._causes: set[str] = set()
        self._was_reached = False

    @property
    def is_unreached(self) -> bool:
        """Whether requests came and the server has answered none of them, because there was no way to it."""
        return bool(self._causes) and not self._was_reached

    def frames_forwarded(self, source: Endpoint, sink: Endpoint, frames: Sequence[Frame]) -> None:
        """Look for the errors that stand in for answers of a server that could not be asked."""
        if self._then is not None:
            self._then.frames_forwarded(source, sink, frames)
        if source is not self._server:
            return
        for frame in frames:
            fault = replies.fault_of(frame)
            if fault is None or not fault.is_undelivered:
                if self._causes or not self._was_reached:  # asked for every frame: no more than this
                    self._was_reached = True
                    self._causes.clear()  # when it is lost again, that is news
            elif fault.message not in self._causes and len(self._causes) < 64:
                self._causes.add(fault.message)
                logger.warning("%s", fault.message)
