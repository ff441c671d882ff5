"""``mcp-relay notification-demo``: log notifications on stdout, as an MCP server writes them, to try a client on."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Coroutine, Sequence
from typing import Any

from relay.app.log.stderr import StderrSink
from relay.app.options.log import add_log_options, begin_log
from relay.app.options.parser import Parser
from relay.app.options.values import positive

__all__ = ["build_parser", "command", "demonstrate", "notification"]

# The levels of mcp-connect's notification-demo, whose "warn" is no level of MCP.
_LEVELS = ("info", "warning", "error", "debug")
PAUSE = 0.5  # seconds between two


def command(args: Sequence[str], sink: StderrSink) -> Coroutine[Any, Any, int]:
    """Return the job that these arguments ask for. Raises ConfigError."""
    options = build_parser().parse_args(args)
    begin_log(options, (), sink)
    return demonstrate(options.count)


def build_parser() -> Parser:
    """Return the parser of its arguments."""
    parser = Parser(
        prog="mcp-relay notification-demo",
        description="Write MCP log notifications on stdout, one each half second: info, warning, error, debug, again.",
        allow_abbrev=False,
    )
    parser.add_argument("--count", type=positive, default=3, metavar="N", help="how many (default 3)")
    add_log_options(parser)
    return parser


async def demonstrate(count: int) -> int:
    """Write ``count`` notifications, half a second apart; return the exit code. Ends early if the reader has gone."""
    for number in range(1, count + 1):
        if number > 1:
            await asyncio.sleep(PAUSE)
        try:
            sys.stdout.write(notification(number) + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            # The reader has seen enough; Python must not write the rest of the buffer at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            break
    return 0


def notification(number: int) -> str:
    """Return the notification of this number, from 1."""
    level = _LEVELS[(number - 1) % len(_LEVELS)]
    params = {"level": level, "logger": "mcp-proxy", "data": f"Demo {level} message {number}"}
    message = {"jsonrpc": "2.0", "method": "notifications/message", "params": params}
    return json.dumps(message, separators=(",", ":"))
