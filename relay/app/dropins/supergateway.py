"""The arguments of ``supergateway`` 4.0.0: a command over HTTP, or a URL over own stdio; options as in yargs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from relay.app.dropins.reader import EVERYWHERE, Native, ToolParser, header, milliseconds, shell_line
from relay.app.options.values import port
from relay.errors import ConfigError

__all__ = ["read"]

_USAGE = "--stdio COMMAND | --sse URL | --streamableHttp URL [OPTIONS]"
_LEVELS = {"debug": "DEBUG", "info": "INFO", "none": "CRITICAL"}


def read(name: str, args: Sequence[str]) -> Native:
    """Read the arguments. Raises ConfigError."""
    options = _parser(name).read(args)
    given = [flag for flag in ("stdio", "sse", "streamableHttp") if getattr(options, flag)]
    if len(given) != 1:
        seen = " and ".join(f"--{flag}" for flag in given) or "none"
        raise ConfigError(f"one of --stdio, --sse and --streamableHttp is needed, not {seen}")
    native = Native()
    native.add("--log-level", _LEVELS[options.logLevel])
    if options.logLevel == "debug":
        native.add("--debug")
    output = options.outputTransport or ("sse" if options.stdio else "stdio")
    if (output == "stdio") == bool(options.stdio):
        raise ConfigError(f"--outputTransport {output} does not go with --{given[0]}")
    if options.stdio:
        _serve(options, output, native)
    else:
        native.add("--transport", "sse" if options.sse else "streamablehttp")
        bearer = [("Authorization", f"Bearer {options.oauth2Bearer}")] if options.oauth2Bearer is not None else []
        native.headers([pair for pair in options.header if not bearer or pair[0].lower() != "authorization"] + bearer)
        native.to_url(options.sse or options.streamableHttp)
    return native


def _parser(name: str) -> ToolParser:
    parser = ToolParser(name, "Offer a command over HTTP, or join own stdin and stdout to a URL.", _USAGE)
    parser.add_argument("--stdio", metavar="COMMAND", help="the command to offer")
    parser.add_argument("--sse", metavar="URL", help="a server that speaks HTTP+SSE")
    parser.add_argument("--streamableHttp", "--streamable-http", metavar="URL", help="one of Streamable HTTP")
    parser.add_argument(
        "--outputTransport", "--output-transport", choices=("stdio", "sse", "ws", "streamableHttp"),
        help="what clients speak: sse for --stdio, else stdio; all but stdio are served together",
    )  # fmt: skip
    parser.add_argument("--port", type=port, default=8000, help="default 8000")
    parser.add_argument("--header", nargs="+", type=header, action="extend", default=[], metavar="'Name: value'")
    parser.add_argument("--oauth2Bearer", "--oauth2-bearer", metavar="TOKEN", help="send Authorization: Bearer TOKEN")
    parser.add_argument("--logLevel", "--log-level", choices=tuple(_LEVELS), default="info", help="default info")
    parser.add_argument(
        "--cors", nargs="*", action="extend", metavar="ORIGIN", help="pages that may call us; any if empty"
    )
    parser.add_argument("--stateful", action=argparse.BooleanOptionalAction, default=False, help="keep sessions")
    parser.add_argument("--sessionTimeout", "--session-timeout", type=milliseconds, metavar="MS", help="of --stateful")
    parser.add_argument("--baseUrl", "--base-url", default="", metavar="URL", help="before --messagePath, for clients")
    parser.add_argument("--ssePath", "--sse-path", default="/sse", metavar="PATH", help="default /sse")
    parser.add_argument("--messagePath", "--message-path", default="/message", metavar="PATH", help="default /message")
    parser.add_argument(
        "--streamableHttpPath", "--streamable-http-path", default="/mcp", metavar="PATH", help="default /mcp"
    )
    parser.add_argument("--healthEndpoint", "--health-endpoint", nargs="+", action="extend", default=[], metavar="PATH")
    parser.refuse("--protocolVersion", why="each client's own version is spoken to the server")
    return parser


def _serve(options: argparse.Namespace, output: str, native: Native) -> None:
    if options.header or options.oauth2Bearer is not None:
        flag = "--header" if options.header else "--oauth2Bearer"
        raise ConfigError(f"{flag} is not supported with --stdio, where it would be a header of every answer")
    native.listen(EVERYWHERE, options.port)
    native.add("--pass-environment")
    if output == "ws":
        native.add("--mcp-path", options.messagePath)
        native.add("--sse-path", "")
    else:
        native.add("--mcp-path", options.streamableHttpPath)
        native.add("--sse-path", options.ssePath)
        native.add("--message-path", options.messagePath)
    native.add("--base-url", options.baseUrl)
    for path in options.healthEndpoint:
        native.add("--health-path", path)
    if output == "streamableHttp" and not options.stateful:
        native.add("--share", "request")
    if options.sessionTimeout is not None:
        native.add("--session-idle", options.sessionTimeout)
    if options.cors is not None:
        for origin in options.cors:
            if len(origin) > 1 and origin.startswith("/") and origin.endswith("/"):
                raise ConfigError(f"--cors: {origin!r} is a pattern, which is not supported; list the origins")
        native.add("--allow-origin", *(options.cors or ["*"]))
    native.target(*shell_line(options.stdio, "--stdio"))
