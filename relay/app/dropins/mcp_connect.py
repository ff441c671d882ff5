"""The arguments of ``mcp-connect``: four subcommands that ``mcp-relay`` has, too, and two global options."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from relay.app.dropins.reader import Native, ToolParser
from relay.app.options.parser import Parser
from relay.app.specs import is_address

__all__ = ["read"]

_COMMANDS = ("proxy", "load-balance", "test", "notification-demo")
_LEVELS = ("trace", "debug", "info", "warn", "error")


def read(name: str, args: Sequence[str]) -> Native:
    """Read the arguments. Raises ConfigError."""
    parser = ToolParser(name, "Join own stdin and stdout to one of several servers.", "COMMAND")
    parser.epilog = "The options of each command are those of mcp-relay: see mcp-relay proxy --help, and so on."
    parser.add_argument("command", choices=(*_COMMANDS, "auth-proxy"))
    parser.add_argument("--debug", action="store_true", help="log every frame")
    parser.add_argument("--log-level", type=str.lower, choices=_LEVELS, default="warn", help="default warn")
    options, rest = parser.parse_known_args(args)
    if options.command == "auth-proxy":
        rest = _with_login(rest, parser.prog)
        options.command = "proxy"
    native = Native([options.command], takes_token=False)
    native.add("--log-level", options.log_level)
    if options.debug:
        native.add("--debug")
    if options.command == "proxy":
        rest = _without_useless_fallbacks(rest, native)
    if options.command in ("proxy", "load-balance"):
        native.add("--pass-environment")
    native.args += rest
    return native


def _with_login(args: Sequence[str], prog: str) -> list[str]:
    """Translate the options of ``auth-proxy``, which is ``proxy`` with a login at endpoints that are given."""
    known = Parser(prog=f"{prog} auth-proxy", allow_abbrev=False)
    for flag in ("--client-id", "--client-secret", "--auth-url", "--token-url", "--redirect-url"):
        known.add_argument(flag, required=flag in ("--client-id", "--auth-url", "--token-url"))
    known.add_argument("--scopes", default="", metavar="A,B")
    options, rest = known.parse_known_args(args)
    for name in ("client_id", "client_secret", "auth_url", "token_url", "redirect_url"):
        if (value := getattr(options, name)) is not None:
            rest.append(f"--{name.replace('_', '-')}={value}")
    scopes = [one.strip() for one in options.scopes.split(",") if one.strip()]
    return [*rest, "--scope", " ".join(scopes)] if scopes else rest


def _without_useless_fallbacks(args: Sequence[str], native: Native) -> list[str]:
    """Leave out the fallback ``stdio`` of a URL, which is no command; mcp-connect tries, and fails, each time."""
    known = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    known.add_argument("--endpoint")
    known.add_argument("--fallbacks")
    options, rest = known.parse_known_args(args)
    fallbacks = [one.strip() for one in (options.fallbacks or "").split(",") if one.strip()]
    if options.endpoint is not None:
        rest += ["--endpoint", options.endpoint]
        if is_address(options.endpoint) and "stdio" in map(str.lower, fallbacks):
            fallbacks = [one for one in fallbacks if one.lower() != "stdio"]
            native.notes.append("--fallbacks stdio: a URL cannot be started as a command: left out")
    if fallbacks:
        rest += ["--fallbacks", ",".join(fallbacks)]
    return rest
