"""The arguments of two programs on FastMCP: the script ``mcp_proxy_server.py``, here ``fastmcp-proxy``, and
``fastmcp-remote`` 4.1.4.
"""

from __future__ import annotations

from collections.abc import Sequence

from relay.addresses import shown_address
from relay.app.dropins.reader import Native, ToolParser, expand, header
from relay.app.options.values import port
from relay.app.specs import is_url
from relay.errors import ConfigError

__all__ = ["proxy", "remote"]

_TRANSPORTS = {None: "auto", "http": "streamablehttp", "sse": "sse"}


def proxy(name: str, args: Sequence[str]) -> Native:
    """Read the arguments of ``mcp_proxy_server.py``. Raises ConfigError."""
    parser = ToolParser(name, "Offer the server at a URL on own stdio, or over HTTP.", "URL [OPTIONS]")
    parser.add_argument("mcp_url", metavar="URL", help="the server")
    parser.add_argument("--name", help="taken; clients see the server's own name")
    parser.add_argument("--port", type=port, help="the port of 127.0.0.1 to listen on")
    parser.add_argument(
        "--transport", choices=("stdio", "http", "sse"), default="stdio",
        help="what clients speak (default stdio); http and sse are served together, at /mcp and /sse",
    )  # fmt: skip
    parser.add_argument(
        "--transport-type", choices=("sse", "http"), help="what the server speaks; found out by default"
    )
    parser.refuse("--enable-registry", "--server-id", "--api-port", "--db-path", why="there is no registry of servers")
    options = parser.read(args)
    _check_url(options.mcp_url)
    native = Native()
    if options.name is not None:
        native.notes.append(f"--name {options.name}: clients see the server's own name, as its answers pass unchanged")
    native.add("--log-level", "INFO")
    native.add("--transport", _TRANSPORTS[options.transport_type])
    if options.transport != "stdio":
        if options.port is None:
            raise ConfigError(f"--port is required with --transport {options.transport}")
        native.add("--listen", f"http://127.0.0.1:{options.port}/mcp")
    elif options.port is not None:
        raise ConfigError("--port has no effect on stdio; add --transport http, or sse")
    native.to_url(options.mcp_url)
    return native


def remote(name: str, args: Sequence[str]) -> Native:
    """Read the arguments of ``fastmcp-remote``. Raises ConfigError."""
    parser = ToolParser(name, "Join own stdin and stdout to a server at a URL.", "URL [OPTIONS]")
    parser.add_argument("url", metavar="URL", help="the server")
    parser.add_argument("callback_port", nargs="?", metavar="PORT", help="to which the browser returns")
    parser.add_argument("--transport", choices=("http", "sse"), default="http", help="what the server speaks")
    parser.add_argument(
        "--header", type=header, action="append", default=[], metavar="'Name: value'",
        help="send this with every request; ${VARIABLE} is put in from the environment (repeatable)",
    )  # fmt: skip
    parser.add_argument("--auth", choices=("oauth", "none"), help="none: a 401 is an error")
    parser.add_argument("--debug", action="store_true", help="log every frame")
    parser.add_argument("--silent", action="store_true", help="log nothing")
    parser.add_argument("--resource", metavar="URL", help="request tokens for this resource")
    parser.add_argument("--host", default="localhost", help="the host of the callback (default localhost)")
    parser.add_argument("--auth-timeout", metavar="S", help="how long a request waits for a person (default 300)")
    parser.refuse("--ignore-tool", why="messages pass as they are, lists of tools too")
    parser.add_argument("--verify", metavar="VALUE", help="false, or a file of authorities to trust (PEM)")
    options = parser.read(args)
    _check_url(options.url)
    if options.silent and options.debug:
        raise ConfigError("--silent and --debug contradict each other")
    native = Native()
    native.add("--log-level", "CRITICAL" if options.silent else "INFO")
    if options.debug:
        native.add("--debug")
    native.add("--transport", _TRANSPORTS[options.transport])
    if options.verify is not None:
        native.add("--verify-ssl", options.verify)
    native.headers([(key, expand(value, f"--header {key}")) for key, value in options.header])
    native.add("--callback-host", options.host)
    for flag in ("--callback-port", "--resource", "--auth-timeout"):
        if (value := getattr(options, flag[2:].replace("-", "_"))) is not None:
            native.add(flag, value)
    if options.auth == "none":
        native.args.append("--no-login")
    native.to_url(options.url)
    return native


def _check_url(url: str) -> None:
    if not is_url(url):
        raise ConfigError(f"{shown_address(url)!r} is not a URL that begins with http:// or https://")
