"""Whether a server can be reached, as its frames show it."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from relay.endpoints.base import Endpoint
from relay.frames import replies
from relay.frames.frame import Frame
from relay.observe.hub import Named

__all__ = ["ReachLog"]

logger = logging.getLogger("relay")


class ReachLog:
    """A hub's subscriber: logs each cause once why a server cannot be reached, and notes whether it ever was."""

    def __init__(self, server: Endpoint) -> None:
        """Observe the frames of ``server``."""
        self._server = server
        self._causes: set[str] = set()
        self._was_reached = False

    @property
    def is_unreached(self) -> bool:
        """Whether requests came and none was answered, because the server could not be reached."""
        return bool(self._causes) and not self._was_reached

    def look(self, source: Named, sink: Named, frames: Sequence[Frame]) -> None:
        """Look for errors that the relay made because it could not reach the server."""
        if source is not self._server:
            return
        for frame in frames:
            fault = replies.fault_of(frame)
            if fault is None or not fault.is_undelivered:
                if self._causes or not self._was_reached:  # runs for every frame: kept cheap
                    self._was_reached = True
                    self._causes.clear()  # a new loss is logged again
            elif fault.message not in self._causes and len(self._causes) < 64:
                self._causes.add(fault.message)
                logger.warning("%s", fault.message)
