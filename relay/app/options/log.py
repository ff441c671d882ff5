"""The options of the log, and the set-up of the log."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterable
from typing import Any

from relay.app.log.setup import set_up_logging
from relay.app.log.stderr import StderrSink
from relay.errors import ConfigError

__all__ = ["add_log_options", "add_log_to", "begin_log", "refuse_log_to_client"]

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")


def _level(text: str) -> str:
    """Read a level in any case; mcp-connect's names for two levels are accepted, too."""
    return {"TRACE": "DEBUG", "WARN": "WARNING"}.get(text.upper(), text.upper())


def add_log_options(group: Any) -> None:
    """Add how much the relay logs."""
    group.add_argument("--log-level", type=_level, choices=_LEVELS, default="WARNING", help="default WARNING")
    group.add_argument("--debug", action=argparse.BooleanOptionalAction, help="log every frame; wins over --log-level")


def add_log_to(group: Any) -> None:
    """Add where warnings go if the client is on own stdio."""
    group.add_argument(
        "--log-to", choices=("stderr", "client"), default="stderr",
        help="on own stdio: tell the client of warnings, once its handshake is over, by notifications/message",
    )  # fmt: skip


def refuse_log_to_client(options: argparse.Namespace) -> None:
    """Reject ``--log-to client`` where no client is on own stdio. Raises ConfigError."""
    if options.log_to == "client":
        raise ConfigError(
            "--log-to client is for a client on own stdio: mcp-relay URL, or --listen stdio: and no other; "
            "leave it out, and the relay logs warnings on stderr"
        )


def begin_log(options: argparse.Namespace, secrets: Iterable[str], sink: StderrSink) -> None:
    """Log to ``sink`` at the level of the options."""
    set_up_logging(logging.DEBUG if options.debug else getattr(logging, options.log_level), secrets, sink)
