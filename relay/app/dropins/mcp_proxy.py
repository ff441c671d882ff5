"""The arguments of ``mcp-proxy``: sparfenyuk's in Python (0.13.0), and stephenlacy's in Rust, a subset.

    mcp-proxy [OPTIONS] URL                  own stdin and stdout ⇄ URL
    mcp-proxy [OPTIONS] [--] COMMAND [ARG…]  HTTP ⇄ a process

Three more programs have that name; ``which`` tells by the options which of them is meant.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence

from relay.app.dropins import punkpeye, tbxark
from relay.app.dropins.reader import Native, ToolParser
from relay.app.options.parser import split_command
from relay.app.options.values import port
from relay.errors import ConfigError

__all__ = ["python", "rust", "which"]

_USAGE = "[OPTIONS] URL\n       mcp-proxy [OPTIONS] [--] COMMAND [ARG…]"
_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_OF_A_LOGIN = ("client_id", "client_secret", "token_url", "username", "password")


def which(name: str, args: Sequence[str]) -> Native:
    """Read arguments of whichever ``mcp-proxy`` they are written for: sparfenyuk's unless the options tell of another.

    An option of punkpeye's alone means that program. So does an unknown option after the command without ``--``, which
    only that program leaves to the command. ``reset`` alone is stephenlacy's, and deletes logins.
    """
    if list(args) == ["reset"]:
        return rust(name, args)
    own, _ = split_command(args)
    flags = {word.partition("=")[0] for word in own}
    if flags & tbxark.OWN_FLAGS:
        return tbxark.read(name, args)
    if flags & punkpeye.OWN_FLAGS:
        return punkpeye.read(name, args)
    parser = _python_parser(name)
    options, command = parser.read_command(args)
    return punkpeye.read(name, args) if parser.has_unknown else _native(options, command)


def python(name: str, args: Sequence[str]) -> Native:
    """Read the arguments of sparfenyuk's ``mcp-proxy``."""
    return _native(*_python_parser(name).read_command(args))


def _python_parser(name: str) -> ToolParser:
    parser = _parser(name)
    for name_of_option in _OF_A_LOGIN:
        parser.add_argument(f"--{name_of_option.replace('_', '-')}", help="for the URL: client credentials, or a user")
    parser.add_argument("--digest", action="store_true", help="log the user in with Digest, not Basic")
    parser.add_argument("--verify-ssl", nargs="?", const="true", metavar="VALUE", help="true, false or a PEM file")
    parser.add_argument("--no-verify-ssl", dest="verify_ssl", action="store_const", const="false", help="trust anybody")
    parser.add_argument("--named-server", nargs=2, action="append", default=[], metavar=("NAME", "COMMAND"))
    parser.add_argument("--named-server-config", metavar="FILE", help="servers by their names, at /servers/NAME")
    parser.add_argument("--cwd", metavar="DIR", help="the command's working directory")
    parser.add_argument("--log-level", type=str.upper, choices=_LEVELS, default="INFO", help="default INFO")
    parser.add_argument("--debug", action=argparse.BooleanOptionalAction, help="log every frame")
    parser.add_argument(
        "--stateless", action=argparse.BooleanOptionalAction, default=False, help="no sessions; one process for all"
    )
    parser.add_argument("--allow-origin", nargs="+", action="extend", default=[], metavar="ORIGIN", help="'*' for all")
    parser.add_argument("--expose-header", action="append", default=[], metavar="HEADER", help="that pages may read")
    return parser


def rust(name: str, args: Sequence[str]) -> Native:
    """Read the arguments of stephenlacy's ``mcp-proxy``, which its package calls ``rmcp-proxy``."""
    if list(args) == ["reset"]:
        return Native(["reset"])
    parser = _parser(name)
    parser.set_defaults(cwd=None, log_level="INFO", debug=False, stateless=False, allow_origin=[], expose_header=[])
    parser.set_defaults(**dict.fromkeys(_OF_A_LOGIN), digest=False)
    parser.set_defaults(verify_ssl=None, named_server=[], named_server_config=None)
    return _native(*parser.read_command(args))


def _parser(name: str) -> ToolParser:
    parser = ToolParser(name, "Join own stdin and stdout to a URL, or offer a command over HTTP.", _USAGE)
    pair = ("KEY", "VALUE")
    parser.add_argument("-H", "--headers", nargs=2, action="append", default=[], metavar=pair, help="for the URL")
    parser.add_argument(
        "--transport", choices=("auto", "sse", "streamablehttp", "streamable-http"), default="auto",
        help="what the server at the URL speaks; found out by default",
    )  # fmt: skip
    parser.add_argument("-e", "--env", nargs=2, action="append", default=[], metavar=pair, help="for the command")
    parser.add_argument(
        "--pass-environment", action=argparse.BooleanOptionalAction, default=False, help="give the command all of ours"
    )
    parser.add_argument("--port", "--sse-port", type=port, default=0, help="the port to listen on; default a free one")
    parser.add_argument("--host", "--sse-host", default="127.0.0.1", help="the address to listen on")
    return parser


def _native(options: argparse.Namespace, command: list[str]) -> Native:
    target = command or [word for word in [os.environ.get("SSE_URL")] if word]
    is_named = bool(options.named_server) or options.named_server_config is not None
    if not target and not is_named:
        raise ConfigError("no URL or command given, nor one in SSE_URL")
    native = Native()
    native.add("--log-level", options.log_level)
    if options.debug:
        native.add("--debug")
    native.add("--transport", options.transport)
    native.headers(options.headers)
    for name in _OF_A_LOGIN:
        if (value := getattr(options, name)) is not None:
            native.add(f"--{name.replace('_', '-')}", value)
    if options.digest:
        native.add("--digest")
    # The relay itself warns of options without effect on this target.
    native.listen(options.host, options.port)
    for name, value in options.env:
        native.add("-e", name, value)
    if options.cwd is not None:
        native.add("--cwd", options.cwd)
    if options.pass_environment:
        native.add("--pass-environment")
    if options.stateless:
        native.add("--stateless")
    if options.allow_origin:
        native.add("--allow-origin", *options.allow_origin)
    for header in options.expose_header:
        native.add("--expose-header", header)
    if options.verify_ssl is not None:
        native.add("--verify-ssl", options.verify_ssl)
    for one in options.named_server:
        native.add("--named-server", *one)
    if options.named_server_config is not None:
        native.add("--named-server-config", options.named_server_config)
    if target:
        native.target(*target)
    return native
