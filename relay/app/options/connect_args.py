"""The arguments of mcp-connect (SURFACES.md §2.3): how it names a server, and the options for each.

A server is an address of any kind, ``host:port`` or a bare port for TCP, or a command, split as a shell would.
"""

from __future__ import annotations

import argparse
import re
import shlex
from typing import Any
from urllib.parse import urlsplit

from relay.addresses import shown_address
from relay.app.options.targets import check_names
from relay.app.specs import fault_of_scheme, is_address
from relay.errors import ConfigError

__all__ = ["TRANSPORTS", "add_server_options", "add_transport_option", "parse_target", "take_headers", "transport_of"]

TRANSPORTS = ("http", "stdio", "tcp")
_HOST_AND_PORT = re.compile(r"(?:[\w.-]+|\[[0-9a-fA-F:.]+\]):\d+")


def add_transport_option(group: Any) -> None:
    """Add how to reach a server that is not written as an address."""
    group.add_argument(
        "--transport", type=str.lower, metavar="http|stdio|tcp",
        help="how to reach servers that are not addresses; told from how they are written by default",
    )  # fmt: skip


def add_server_options(group: Any) -> None:
    """Add the headers for servers by HTTP."""
    group.add_argument(
        "-H", dest="pairs", nargs=2, action="append", default=[], metavar=("KEY", "VALUE"),
        help="send this header with every request (repeatable)",
    )  # fmt: skip
    group.add_argument("--headers", default="", metavar="K:V,K2:V2", help="send these headers with every request")
    group.add_argument("--auth-token", metavar="TOKEN", help="send Authorization: Bearer TOKEN")
    group.add_argument("--api-key", metavar="KEY", help="send X-API-Key: KEY, unless there is a token")
    group.add_argument("--user-agent", metavar="TEXT", help="send this User-Agent")


def transport_of(options: argparse.Namespace) -> str | None:
    """Return the transport that the option names; None without the option. Raises ConfigError."""
    transport: str | None = options.transport
    if transport is not None and transport not in TRANSPORTS:
        raise ConfigError(f"--transport: {transport!r} is not one of {', '.join(TRANSPORTS)}")
    return transport


def parse_target(text: str, flag: str, transport: str | None = None) -> str | list[str]:
    """Read one server: an address, or the arguments of a command. Raises ConfigError."""
    if transport in (None, "http") and (fault := fault_of_scheme(text)):
        raise ConfigError(f"{flag}: {fault}")
    if transport is None and not is_address(text):
        transport = "tcp" if text.isdecimal() or _HOST_AND_PORT.fullmatch(text) else "stdio"
    if transport is None or (transport == "http" and is_address(text)):
        return text
    if transport == "http":
        return f"http://{text}"
    if transport == "tcp":
        return _as_tcp(text, flag)
    if is_address(text):
        raise ConfigError(f"{flag}: {shown_address(text)!r} is an address, not a command for the transport stdio")
    try:
        command = shlex.split(text)
    except ValueError as exc:
        raise ConfigError(f"{flag}: {text!r} is not a command: {exc}") from exc
    if not command:
        raise ConfigError(f"{flag}: no server is named")
    return command


def _as_tcp(text: str, flag: str) -> str:
    if text.lower().startswith(("tcp://", "tls://", "unix:")):
        return text
    if is_address(text):
        parts = urlsplit(text)
        text = f"{parts.hostname}:{parts.port or 80}"
    if text.isdecimal():
        text = f"127.0.0.1:{text}"
    if not _HOST_AND_PORT.fullmatch(text):
        raise ConfigError(f"{flag}: {shown_address(text)!r} is not HOST:PORT or PORT, as the transport tcp wants")
    return f"tcp://{text}"


def take_headers(options: argparse.Namespace) -> None:
    """Move mcp-connect's options for headers to where the other commands have theirs. Raises ConfigError."""
    pairs = list(options.pairs)
    for one in options.headers.split(",") if options.headers else ():
        name, colon, value = one.partition(":")
        if not colon:
            raise ConfigError("--headers: write Name:value,Name2:value2; a value with a comma in it goes with -H")
        pairs.append([name.strip(), value.strip()])
    if options.user_agent is not None:
        pairs.append(["User-Agent", options.user_agent])
    if options.auth_token is not None:
        pairs.append(["Authorization", f"Bearer {options.auth_token}"])
    elif options.api_key is not None:
        pairs.append(["X-API-Key", options.api_key])
    options.headers = pairs
    check_names(options)
