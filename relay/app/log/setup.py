"""Send the program's log to stderr, with secrets masked."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from relay.app.log.printable import more, printable
from relay.app.log.stderr import StderrSink
from relay.app.secrets.text import mask_secrets, start_of
from relay.auth.maskable import maskable

__all__ = ["mask_also", "set_up_logging"]

_LONGEST_RECORD = 32 * 1024  # characters: a peer's text may be in it


class _Handler(logging.Handler):
    def __init__(self, sink: StderrSink) -> None:
        super().__init__()
        self._sink = sink

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._sink.write(printable(self.format(record)).encode("utf-8", "backslashreplace") + b"\n")
        except Exception:
            self.handleError(record)


class _Masking(logging.Formatter):
    def __init__(self, secrets: Iterable[str]) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S")
        self._secrets = maskable(secrets)

    def add(self, secrets: Iterable[str]) -> None:
        self._secrets = maskable((*self._secrets, *secrets))

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        start = start_of(text, self._secrets, _LONGEST_RECORD)
        return mask_secrets(start, self._secrets) + more(len(start), len(text), "characters")


def set_up_logging(level: int, secrets: Iterable[str], sink: StderrSink) -> None:
    """Send the program's log to ``sink``, at ``level`` and above, with these secrets masked."""
    handler = _Handler(sink)
    handler.setFormatter(_Masking(secrets))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    # asyncio's debug lines would bury the relay's.
    logging.getLogger("asyncio").setLevel(max(level, logging.WARNING))


def mask_also(secrets: Sequence[str]) -> None:
    """Mask these secrets, too: a file that the relay reads again may hold new ones."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, _Masking):
            handler.formatter.add(secrets)
