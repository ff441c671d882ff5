"""The arguments of ``mcp-proxy`` 6.7.19 of punkpeye, from npm: a command over HTTP; options as yargs reads them."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence

from relay.app.dropins.reader import EVERYWHERE, Native, ToolParser, milliseconds, with_shell
from relay.app.options.values import port, size
from relay.errors import ConfigError

__all__ = ["OWN_FLAGS", "read"]

OWN_FLAGS = frozenset(
    "--server --endpoint --sseEndpoint --streamEndpoint --modern --no-modern --upstreamProtocol --connectionTimeout "
    "--requestTimeout --keepAliveTimeout --sessionIdleTimeout --eventStore --no-eventStore --eventStoreMaxEvents "
    "--maxBodySize --gracefulShutdownTimeout --shell --apiKey --sslCa --sslCert --sslKey --tunnel --tunnelSubdomain "
    "--corsAddAllowedHeader".split()
)
"""Options that no other ``mcp-proxy`` has."""

_USAGE = "[OPTIONS] -- COMMAND [ARG…]\n       mcp-proxy COMMAND [ARG…]"
_PREFIX = "MCP_PROXY_"


def read(name: str, args: Sequence[str]) -> Native:
    """Read the arguments, and the variables that stand for options. Raises ConfigError."""
    options, command = _parser(name).read_command([*_args_of_environment(), *args])
    if not command:
        raise ConfigError("no command given; put it last, after --")
    if not options.modern:
        raise ConfigError("--no-modern is not supported: clients of 2026-07-28 are always served")
    if not options.eventStore:
        raise ConfigError("--no-eventStore is not supported: what a session missed is always kept, within bounds")
    if options.upstreamProtocol not in (None, "legacy"):
        raise ConfigError("--upstreamProtocol is not supported: clients and the command speak one revision, unchanged")
    native = Native()
    native.add("--log-level", "INFO")
    if options.debug:
        native.add("--debug")
    native.listen(options.host, options.port)
    native.add("--pass-environment")
    native.add("--allow-origin", "*")
    _add_paths(options, native)
    if options.apiKey is not None:
        native.accept_token("api-key", options.apiKey, "--apiKey")
    if options.stateless:
        native.add("--stateless")
    if options.sessionIdleTimeout is not None:
        native.add("--session-idle", options.sessionIdleTimeout)
    if options.gracefulShutdownTimeout is not None:
        native.add("--drain-timeout", options.gracefulShutdownTimeout)
    if options.maxBodySize is not None:
        native.add("--max-frame-bytes", options.maxBodySize)
    if options.sslCert is not None:
        native.add("--tls-cert", options.sslCert)
    if options.sslKey is not None:
        native.add("--tls-key", options.sslKey)
    native.target(*(with_shell(" ".join(command)) if options.shell else command))
    return native


def _add_paths(options: argparse.Namespace, native: Native) -> None:
    """Add the paths; ``--endpoint`` is the path of each transport without one of its own."""
    stream = "" if options.server == "sse" else options.streamEndpoint or options.endpoint or "/mcp"
    sse = "" if options.server == "stream" else options.sseEndpoint or options.endpoint or "/sse"
    if stream == sse:
        sse = ""
        native.notes.append(f"{stream} is that of Streamable HTTP alone; --sseEndpoint names another for HTTP+SSE")
    native.add("--mcp-path", stream)
    native.add("--sse-path", sse)


def _parser(name: str) -> ToolParser:
    parser = ToolParser(name, "Offer a command over HTTP.", _USAGE)
    switch = argparse.BooleanOptionalAction
    parser.add_argument("--server", choices=("sse", "stream"), help="offer only this; both by default")
    parser.add_argument("--endpoint", metavar="PATH", help="the path of what has none of the next two")
    parser.add_argument("--sseEndpoint", metavar="PATH", help="default /sse")
    parser.add_argument("--streamEndpoint", metavar="PATH", help="default /mcp")
    parser.add_argument("--port", type=port, default=8080, help="default 8080")
    parser.add_argument("--host", type=_host, default=EVERYWHERE, help="default :: which is every address")
    parser.add_argument("--stateless", action=switch, default=False, help="no sessions; one process for all")
    parser.add_argument("--modern", action=switch, default=True, help="serve 2026-07-28 too; always so")
    parser.add_argument("--eventStore", action=switch, default=True, help="keep what a session missed; always so")
    parser.add_argument("--upstreamProtocol", choices=("legacy", "auto", "modern"), help="legacy is taken")
    parser.add_argument("--sessionIdleTimeout", type=milliseconds, metavar="MS", help="default 1800000")
    parser.add_argument("--gracefulShutdownTimeout", type=milliseconds, metavar="MS", help="default 20000 here")
    parser.add_argument(
        "--maxBodySize", type=size, metavar="BYTES", help="of a message, either way; default 64 MiB here"
    )
    parser.add_argument("--shell", action=switch, default=False, help="let /bin/sh start the command")
    parser.add_argument("--debug", action=switch, default=False, help="log every frame")
    parser.add_argument("--apiKey", metavar="KEY", help="admit only clients that send this as X-API-Key")
    parser.add_argument("--sslCert", metavar="FILE", help="listen with TLS: the certificate with its chain (PEM)")
    parser.add_argument("--sslKey", metavar="FILE", help="the key of --sslCert")
    parser.refuse("--sslCa", why="clients are not asked for certificates")
    parser.refuse("--tunnel", "--tunnelSubdomain", why="it opens no tunnel through somebody else's machine")
    parser.refuse("--corsAddAllowedHeader", why="pages may send every header already")
    parser.refuse("--connectionTimeout", "--requestTimeout", "--keepAliveTimeout", why="it cannot be changed here")
    parser.refuse("--eventStoreMaxEvents", why="a session keeps up to 1000 events and 4 MiB")
    return parser


def _host(text: str) -> str:
    return EVERYWHERE if text in ("::", "[::]") else text


def _args_of_environment() -> list[str]:
    """Return the options that are set as ``MCP_PROXY_…``: API_KEY for apiKey."""
    args = []
    for name, value in sorted(os.environ.items()):
        if name.startswith(_PREFIX):
            first, *more = [part.lower() for part in re.split("_+", name[len(_PREFIX) :]) if part] or [""]
            flag = "--" + first + "".join(part.capitalize() for part in more)
            if name == "MCP_PROXY_API_KEY":
                args.append(f"{flag}={os.environ.pop(name)}")  # the command gets the environment, and not the key
            elif value in ("true", "false"):
                args.append(flag if value == "true" else f"--no-{flag[2:]}")
            else:
                args.append(f"{flag}={value}")
    return args
