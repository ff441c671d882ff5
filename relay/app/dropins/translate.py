"""The arguments of ``mcpgateway.translate`` (ContextForge 1.0.7): a command over HTTP, or a URL over own stdio."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence

from relay.app.dropins.reader import Native, ToolParser
from relay.app.options.values import port
from relay.errors import ConfigError

__all__ = ["read"]

_USAGE = "--stdio COMMAND | --connect-sse URL | --connect-streamable-http URL [OPTIONS]"
_GRPC = ("--grpc", "--connect-grpc", "--grpc-tls", "--grpc-cert", "--grpc-key", "--grpc-metadata")


def read(name: str, args: Sequence[str]) -> Native:
    """Read the arguments. Raises ConfigError."""
    options = _parser(name).read(args)
    given = [flag for flag in ("stdio", "connect_sse", "connect_streamable_http") if getattr(options, flag)]
    if len(given) != 1:
        raise ConfigError("one of --stdio, --connect-sse and --connect-streamable-http is needed")
    native = Native()
    native.add("--log-level", options.logLevel.upper())
    if options.logLevel == "debug":
        native.add("--debug")
    if options.stdio:
        _serve(options, native)
        return native
    native.add("--transport", "sse" if options.connect_sse else "streamablehttp")
    if options.oauth2Bearer is not None:
        native.add("-H", "Authorization", f"Bearer {options.oauth2Bearer}")
    native.to_url(options.connect_sse or options.connect_streamable_http)
    return native


def _parser(name: str) -> ToolParser:
    parser = ToolParser(name, "Offer a command over HTTP, or join own stdin and stdout to a URL.", _USAGE)
    parser.add_argument("--stdio", metavar="COMMAND", help="the command to offer")
    parser.add_argument("--connect-sse", metavar="URL", help="a server that speaks HTTP+SSE")
    parser.add_argument("--connect-streamable-http", metavar="URL", help="one of Streamable HTTP")
    parser.add_argument("--expose-sse", action="store_true", help="at /sse, the default without the next")
    parser.add_argument("--expose-streamable-http", action="store_true", help="at /mcp")
    parser.add_argument("--port", type=port, default=8000, help="default 8000")
    parser.add_argument("--host", default="127.0.0.1", help="default 127.0.0.1")
    parser.add_argument("--logLevel", choices=("debug", "info", "warning", "error", "critical"), default="info")
    parser.add_argument("--cors", nargs="*", metavar="ORIGIN", help="pages that may call us")
    parser.add_argument("--oauth2Bearer", metavar="TOKEN", help="send Authorization: Bearer TOKEN to the URL")
    parser.add_argument("--stateless", action="store_true", help="no sessions; one process for all")
    parser.add_argument("--jsonResponse", action="store_true", help="taken: answers are JSON if nothing comes before")
    parser.add_argument("--ssePath", default="/sse", metavar="PATH", help="default /sse")
    parser.add_argument("--messagePath", default="/message", metavar="PATH", help="default /message")
    parser.refuse("--keepAlive", why="silent streams get a comment every 15 s")
    parser.refuse("--stdioCommand", why="the URL is joined to own stdin and stdout")
    parser.refuse("--enable-dynamic-env", "--header-to-env", why="headers of clients do not reach the command")
    parser.refuse(*_GRPC, why="gRPC is none of the transports of MCP")
    return parser


def _serve(options: argparse.Namespace, native: Native) -> None:
    if options.oauth2Bearer is not None:
        raise ConfigError("--oauth2Bearer has no effect with --stdio: it is for a server at a URL")
    native.listen(options.host, options.port)
    native.add("--pass-environment")
    is_for_all = options.expose_sse == options.expose_streamable_http  # the default is SSE there, and both here
    native.add("--mcp-path", "/mcp" if is_for_all or options.expose_streamable_http else "")
    native.add("--sse-path", options.ssePath if is_for_all or options.expose_sse else "")
    native.add("--message-path", options.messagePath)
    native.add("--health-path", "/healthz")
    if options.stateless:
        native.add("--stateless")
    if options.cors:
        native.add("--allow-origin", *options.cors)
    try:
        command = shlex.split(options.stdio)
    except ValueError as exc:
        raise ConfigError(f"--stdio: {options.stdio!r} is not a command: {exc}") from exc
    native.target(*command)
