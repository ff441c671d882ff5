"""The words of ``mcp-connect``: four subcommands that ``mcp-relay`` has too, and two options that stand anywhere."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from relay.app.dropins.reader import LOGIN, Native, ToolParser
from relay.app.options import seconds
from relay.app.proxy_commands import add_header_options, parse_target, take_headers
from relay.app.specs import is_address
from relay.errors import ConfigError

__all__ = ["read"]

_COMMANDS = ("proxy", "load-balance", "test", "notification-demo")
_TRANSPORTS = ("http", "stdio", "tcp")
_LEVELS = {"trace": "DEBUG", "debug": "DEBUG", "info": "INFO", "warn": "WARNING", "error": "ERROR"}


def read(name: str, words: Sequence[str]) -> Native:
    """Read the words. Raises ConfigError."""
    parser = ToolParser(
        name, "Join own stdin and stdout to the first, or to each in turn, of several servers.", "COMMAND"
    )
    parser.epilog = "The options of each command are those of mcp-relay: see mcp-relay proxy --help, and so on."
    parser.add_argument("command", choices=(*_COMMANDS, "auth-proxy"))
    parser.add_argument("--debug", action="store_true", help="log every frame")
    parser.add_argument("--log-level", type=str.lower, choices=tuple(_LEVELS), default="warn", help="default warn")
    options, rest = parser.parse_known_args(words)
    if options.command == "auth-proxy":
        raise ConfigError(f"auth-proxy is not supported by {parser.prog}: {LOGIN}")
    native = Native([options.command], takes_token=False)
    if options.command != "notification-demo":
        native.add("--log-level", _LEVELS[options.log_level])
        if options.debug:
            native.add("--debug")
    if options.command == "test":
        _test(name, rest, native)
    elif options.command == "proxy":
        _proxy(rest, native)
    else:
        native.words += rest
    if options.command in ("proxy", "load-balance"):
        native.add("--pass-environment")
    return native


def _test(name: str, words: Sequence[str], native: Native) -> None:
    parser = ToolParser(f"{name} test", "Look at a server.", "--endpoint SERVER [OPTIONS]")
    parser.add_argument("--endpoint", required=True, metavar="SERVER")
    parser.add_argument("--transport", type=str.lower, choices=_TRANSPORTS, default="http")
    parser.add_argument("--timeout", type=seconds, default=10.0, metavar="S")
    add_header_options(parser)
    options = parser.parse_args(list(words))
    options.pairs, options.env = [], []
    take_headers(options)
    native.add("--timeout", options.timeout)
    native.headers(options.headers)
    target = parse_target(options.endpoint, "--endpoint", options.transport)
    if not isinstance(target, str):
        native.add("--pass-environment")
    native.target(*([target] if isinstance(target, str) else target))


def _proxy(words: Sequence[str], native: Native) -> None:
    """Leave out fallbacks that could never be used: a URL is no command, and the other way round."""
    known = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    known.add_argument("--endpoint", default="")
    known.add_argument("--fallbacks", default="")
    options, rest = known.parse_known_args(words)
    fallbacks = []
    for fallback in [one.strip() for one in options.fallbacks.split(",") if one.strip()]:
        if fallback.lower() == "stdio" and is_address(options.endpoint):
            native.notes.append(
                f"--fallbacks {fallback}: {options.endpoint} is no command, so it cannot be started: left out"
            )
        else:
            fallbacks.append(fallback)
    if options.endpoint:
        native.add("--endpoint", options.endpoint)
    if fallbacks:
        native.add("--fallbacks", ",".join(fallbacks))
    native.words += rest
