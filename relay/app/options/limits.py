"""The options for sizes, counts and times; each sets one of ``Limits``."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from relay.app.options.values import positive, seconds, size
from relay.limits import DEFAULT_LIMITS, Limits

__all__ = ["add_drain_timeout", "add_http_limits", "add_limits", "limits_of"]

_FIELDS = {
    "max_frame_bytes": "max_frame_bytes",
    "max_sessions": "max_sessions",
    "max_sessions_each": "max_sessions_each",
    "session_idle": "session_idle",
    "shared_idle": "shared_idle",
    "keep_alive": "idle_connection",
    "drain_delay": "drain_delay",
    "drain_timeout": "drain",
}
"""The limits, by the options' attributes."""


def add_limits(group: Any) -> None:
    """Add all of them."""
    group.add_argument("--max-frame-bytes", type=size, metavar="SIZE", help="one JSON-RPC message (default 64M)")
    group.add_argument("--max-sessions", type=positive, metavar="N", help="sessions at one time (default 1024)")
    group.add_argument(
        "--max-sessions-each", type=positive, metavar="N",
        help="sessions of one client at one time, where clients log in (default 128)",
    )  # fmt: skip
    group.add_argument(
        "--session-idle",
        type=seconds,
        metavar="S",
        help="end a session that has been idle for this long (default 1800)",
    )
    group.add_argument(
        "--shared-idle", type=seconds, metavar="S",
        help="end a shared server this long after its last client has left (default 10; --session-idle after the last "
        "request of clients without sessions)",
    )  # fmt: skip
    add_http_limits(group)
    add_drain_timeout(group)


def add_http_limits(group: Any) -> None:
    """Add those of an HTTP port."""
    group.add_argument(
        "--keep-alive", type=_above_zero, metavar="S",
        help="close an HTTP connection that has been idle for this long (default 75)",
    )  # fmt: skip
    group.add_argument(
        "--drain-delay", type=seconds, metavar="S",
        help="after SIGTERM, answer /health with 503 and keep serving for this long before the drain (default 0)",
    )  # fmt: skip


def add_drain_timeout(group: Any) -> None:
    """Add how long a shutdown waits for requests in flight."""
    group.add_argument(
        "--drain-timeout", type=seconds, metavar="S",
        help="how long SIGTERM, or the end of stdin, waits for answers (default 20)",
    )  # fmt: skip


def _above_zero(text: str) -> float:
    value = seconds(text)
    if value == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time above 0")
    return value


def limits_of(options: argparse.Namespace) -> Limits:
    """Return the limits that options set; the others have their defaults."""
    given = {name: getattr(options, option, None) for option, name in _FIELDS.items()}
    return dataclasses.replace(DEFAULT_LIMITS, **{name: value for name, value in given.items() if value is not None})
