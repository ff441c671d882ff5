"""Frames in the debug log, each as an arrow from one endpoint to another."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from relay.app.log.printable import more
from relay.app.secrets.text import start_of
from relay.frames.frame import Frame
from relay.observe.hub import Hub, Named

__all__ = ["FrameLog", "log_frames_of"]

logger = logging.getLogger("relay")

_SHOWN_FRAME = 2048


class FrameLog:
    """Every frame as an arrow in the debug log."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        """Cut no frame in the middle of one of ``secrets``: half of one would not be masked."""
        self._secrets = [secret.encode("utf-8", "surrogateescape") for secret in secrets]

    def look(self, source: Named, sink: Named, frames: Sequence[Frame]) -> None:
        """Log frames, as a hub's subscriber."""
        self.show(source.name, sink.name, frames)

    def show(self, source: str, sink: str, frames: Sequence[Frame]) -> None:
        """Log frames that go from one to another, each cut to 2 KiB."""
        if not logger.isEnabledFor(logging.DEBUG):
            return
        for frame in frames:
            start = start_of(frame.raw, self._secrets, _SHOWN_FRAME)
            text = start.decode("utf-8", "backslashreplace") + more(len(start), frame.size, "bytes")
            logger.debug("%s > %s: %s", source, sink, text)


def log_frames_of(hub: Hub, secrets: Sequence[str]) -> None:
    """Log every frame that ``hub`` hears, if the log shows frames."""
    if logger.isEnabledFor(logging.DEBUG):
        hub.subscribe("the log of frames", frames=FrameLog(secrets).look)
