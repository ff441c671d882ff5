"""The options of a target: those of a remote server, and those of a command."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Sequence
from typing import Any

from relay.app.header_names import is_header_name
from relay.app.options.oauth import OF_OAUTH
from relay.app.secrets.names import name_part
from relay.errors import ConfigError

__all__ = [
    "OF_A_CHILD",
    "OF_A_URL",
    "add_child_options",
    "add_http_options",
    "check_names",
    "unused_options",
    "variables_of",
]

logger = logging.getLogger("relay")

OF_A_URL = {
    "headers": "-H",
    "transport": "--transport",
    "username": "--username",
    "password": "--password",
    "digest": "--digest",
    **OF_OAUTH,
}
OF_A_CHILD = {
    "env": "-e",
    "pass_variable": "--pass-variable",
    "cwd": "--cwd",
    "pass_environment": "--pass-environment",
}
"""Options without effect on the other kind of target, by their attribute."""


def add_http_options(group: Any, *, transports: Sequence[str] = ()) -> None:
    """Add the options of a remote server; ``transports`` are further values that mean something else."""
    group.add_argument(
        "--transport",
        type=str.lower,
        choices=("auto", "sse", "streamablehttp", "streamable-http", *transports),
        default="auto",
        help="what the server speaks; found out by default",
    )
    group.add_argument(
        "-H", "--headers", nargs=2, action="append", default=[], metavar=("KEY", "VALUE"),
        help="send this header with every request (repeatable)",
    )  # fmt: skip


def add_child_options(group: Any) -> None:
    """Add the options of a command."""
    group.add_argument(
        "-e", "--env", nargs=2, action="append", default=[], metavar=("KEY", "VALUE"),
        help="set a variable for the command (repeatable)",
    )  # fmt: skip
    group.add_argument(
        "--pass-variable", action="append", default=[], metavar="NAME",
        help="pass this variable of the relay on to the command (repeatable)",
    )  # fmt: skip
    group.add_argument("--cwd", metavar="DIR", help="the command's working directory")
    group.add_argument(
        "--pass-environment",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="pass on the whole environment, not only HOME LOGNAME PATH SHELL TERM USER",
    )


def unused_options(
    parser: argparse.ArgumentParser, options: argparse.Namespace, of_the_other: dict[str, str]
) -> list[str]:
    """Return the given options that have no effect on the target, by their flags or their origins."""
    origins = options.configured.origins
    return [
        origins.get(flag, flag)
        for name, flag in of_the_other.items()
        if getattr(options, name) != parser.get_default(name)
    ]


def check_names(options: argparse.Namespace) -> None:
    """Check the names of headers and variables: argparse may have taken other words for them. Raises ConfigError."""
    for name, _ in options.headers:
        if not is_header_name(name):
            raise ConfigError(f"-H: {name_part(name)!r} is not a header name; write two words: -H Name 'value'")
    for name, value in options.env:
        if not name or "=" in name or "\0" in name + value:
            raise ConfigError(f"-e: {name_part(name)!r} is not a variable's name; write two words: -e NAME 'value'")
    for name in options.pass_variable:
        if not name or "=" in name or "\0" in name:
            raise ConfigError(
                f"--pass-variable: {name_part(name)!r} is not a variable's name; -e NAME 'value' sets one"
            )


def variables_of(options: argparse.Namespace) -> dict[str, str]:
    """Return the variables for a command: those of the relay that options name, and those of ``-e``."""
    passed = {}
    for name in options.pass_variable:
        if name in os.environ:
            passed[name] = os.environ[name]
        else:
            logger.warning("--pass-variable %s: no such variable is set, so the command does not get it", name)
    return {**passed, **dict(options.env)}
