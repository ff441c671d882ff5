"""Frames in the debug log, each as an arrow from one endpoint to another."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from relay.app.log.printable import more
from relay.app.secrets.text import start_of
from relay.endpoints.base import Endpoint
from relay.frames.frame import Frame
from relay.pipe import Observer

__all__ = ["FrameLog", "frame_log"]

logger = logging.getLogger("relay")

_SHOWN_FRAME = 2048


class FrameLog(Observer):
    """A pipe's observer: every frame as an arrow in the debug log."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        """Cut no frame in the middle of one of ``secrets``: half of one would not be masked."""
        self._secrets = [secret.encode("utf-8", "surrogateescape") for secret in secrets]

    def frames_forwarded(self, source: Endpoint, sink: Endpoint, frames: Sequence[Frame]) -> None:
        """Log the frames, each cut to 2 KiB."""
        self.show(source.name, sink.name, frames)

    def show(self, source: str, sink: str, frames: Sequence[Frame]) -> None:
        """Log frames that go from one to another."""
        if not logger.isEnabledFor(logging.DEBUG):
            return
        for frame in frames:
            start = start_of(frame.raw, self._secrets, _SHOWN_FRAME)
            text = start.decode("utf-8", "backslashreplace") + more(len(start), len(frame.raw), "bytes")
            logger.debug("%s > %s: %s", source, sink, text)


def frame_log(secrets: Sequence[str]) -> FrameLog | None:
    """Return an observer that logs every frame, if that is wanted."""
    return FrameLog(secrets) if logger.isEnabledFor(logging.DEBUG) else None
