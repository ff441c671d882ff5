"""``--log-to client``: the relay's own warnings as ``notifications/message`` to the client that launched it.

A client shows these to its user; stderr often ends in a file. The specification limits when a server may log. In a
session: only after the handshake, and at or above the level of ``logging/setLevel``. In revision 2026-07-28: only while
a request is open whose ``_meta`` names a log level. The relay writes all other warnings to stderr.
MCP 2025-11-25 and 2026-07-28, "Logging".
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Iterator, Sequence

import msgspec

from relay.app.secrets.text import mask_secrets, start_of
from relay.auth.maskable import maskable
from relay.endpoints.stdio.own_stdio import OwnStdio
from relay.errors import RelayError
from relay.frames import replies
from relay.frames.frame import Frame
from relay.frames.head import Kind, RequestId
from relay.mcp.facts import read_facts
from relay.observe.hub import Named
from relay.routing.matching import alike

__all__ = ["ClientLog"]

_LEVELS = ("debug", "info", "notice", "warning", "error", "critical", "alert", "emergency")
_LEVEL_OF = {logging.WARNING: "warning", logging.ERROR: "error", logging.CRITICAL: "critical"}
_BURST = 20  # messages at once; then one a second: a client must not drown in its operator's warnings
_LONGEST = 4096
_MOST_OPEN = 1024


class _Meta(msgspec.Struct):
    level: str | None = msgspec.field(name="io.modelcontextprotocol/logLevel", default=None)


class _Params(msgspec.Struct):
    level: str | None = None
    meta: _Meta | None = msgspec.field(name="_meta", default=None)


class _Message(msgspec.Struct):
    params: _Params | None = None
    error: msgspec.Raw | None = None


_decode = msgspec.json.Decoder(_Message).decode


def _message(frame: Frame) -> _Message:
    try:
        return _decode(frame.raw)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return _Message()


def _severity(level: str | None) -> int | None:
    return _LEVELS.index(level) if level in _LEVELS else None


class ClientLog:
    """Sends warnings to the client of own stdio when the specification allows; hears the pipe to know when."""

    def __init__(self, client: OwnStdio, secrets: Sequence[str]) -> None:
        """Mask ``secrets``."""
        self._client = client
        self._secrets = maskable(secrets)
        self._thread = threading.get_ident()
        self._handshake: RequestId | None = None
        self._is_answered = False
        self._is_initialized = False
        self._threshold = 0
        self._asking: dict[RequestId, int] = {}
        """Open requests of 2026-07-28 that name a log level."""
        self._is_over = False
        self._budget = float(_BURST)
        self._counted = time.monotonic()

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Take log records first while the block lasts; the former handlers get those that the client may not get."""
        root = logging.getLogger()
        before = list(root.handlers)
        root.handlers[:] = [_ClientFirst(self, before)]
        try:
            yield
        finally:
            root.handlers[:] = before

    def take(self, record: logging.LogRecord) -> bool:
        """Send a record to the client; return whether it was sent."""
        level = _LEVEL_OF.get(record.levelno)
        if level is None or record.name != "relay" or record.exc_info is not None:
            return False  # tracebacks show how the relay is built
        if self._is_over or threading.get_ident() != self._thread or self._client.is_held_back:
            return False
        if not self._wants(_LEVELS.index(level)) or not self._spend():
            return False
        text = mask_secrets(start_of(record.getMessage(), self._secrets, _LONGEST), self._secrets)
        self._client.say(replies.log_message(level, text[:_LONGEST]))
        return True

    def _wants(self, severity: int) -> bool:
        return (self._is_answered and self._is_initialized and severity >= self._threshold) or any(
            severity >= asked for asked in self._asking.values()
        )

    def _spend(self) -> bool:
        now = time.monotonic()
        self._budget = min(_BURST, self._budget + now - self._counted)
        self._counted = now
        if self._budget < 1:
            return False
        self._budget -= 1
        return True

    # As a subscriber of the hub.

    def look(self, source: Named, sink: Named, frames: Sequence[Frame]) -> None:
        """Note how far the handshake is, and which requests ask for which level."""
        look = self._look_at_clients if source is self._client else self._look_at_servers
        for frame in frames:
            for one in frame.split() if frame.head.kind is Kind.BATCH else (frame,):
                look(one)

    def pipe_started(self, a: Named, b: Named) -> None:
        """Wait for the handshake."""

    def side_finished(self, side: Named, reason: RelayError | None) -> None:
        """Send no more to a client that has left: it may have stopped reading."""
        if side is self._client:
            self._is_over = True

    def pipe_ended(self, a: Named, b: Named, report: object) -> None:
        """Send no more."""
        self._is_over = True

    def _look_at_clients(self, frame: Frame) -> None:
        head = frame.head
        if head.method == "notifications/initialized":
            self._is_initialized = True
        elif head.method == "notifications/cancelled" and head.target is not None:
            self._asking.pop(head.target, None)
        elif head.kind is not Kind.REQUEST or head.id is None:
            return
        elif read_facts(frame) is not None:
            self._note_level(head.id, head.method, frame)
        elif head.method == "initialize":
            self._handshake, self._is_answered, self._is_initialized, self._threshold = head.id, False, False, 0
        elif head.method == "logging/setLevel":
            params = _message(frame).params
            asked = _severity(params.level if params is not None else None)
            self._threshold = self._threshold if asked is None else asked

    def _note_level(self, request_id: RequestId, method: str | None, frame: Frame) -> None:
        # MCP 2026-07-28, "Logging": on the stream of the request that asks, never on a subscription's.
        params = _message(frame).params
        asked = _severity(params.meta.level) if params is not None and params.meta is not None else None
        if asked is not None and method != "subscriptions/listen" and len(self._asking) < _MOST_OPEN:
            self._asking[request_id] = asked

    def _look_at_servers(self, frame: Frame) -> None:
        head = frame.head
        if head.kind is not Kind.RESPONSE or head.id is None:
            return
        said = head.id if head.id in self._asking else alike(head.id, self._asking)
        if said is not None:
            del self._asking[said]  # no log message may follow the answer
        is_handshake = self._handshake is not None and self._handshake in (head.id, alike(head.id, (self._handshake,)))
        if is_handshake and not self._is_answered:
            self._is_answered = _message(frame).error is None


class _ClientFirst(logging.Handler):
    def __init__(self, log: ClientLog, otherwise: Sequence[logging.Handler]) -> None:
        super().__init__()
        self._log = log
        self._otherwise = otherwise

    def emit(self, record: logging.LogRecord) -> None:
        try:
            if self._log.take(record):
                return
        except Exception:  # a log line must never break the relay, and stderr still takes it
            pass
        for handler in self._otherwise:
            handler.handle(record)
