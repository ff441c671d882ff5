"""The arguments of ``mcp-remote`` 0.15.1: own stdin and stdout to a URL. Its logins are not supported yet."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from urllib.parse import urlsplit

from relay.addresses import fault_of_url, shown_address
from relay.app.dropins.reader import LOGIN, Native, ToolParser, expand, header
from relay.app.specs import is_url
from relay.auth.origin import is_loopback
from relay.errors import ConfigError

__all__ = ["read"]

_TRANSPORTS = {"http-first": "auto", "sse-first": "auto", "http-only": "streamablehttp", "sse-only": "sse"}
_OF_A_LOGIN = (
    "--host", "--callback-path", "--auth-success-url", "--auth-timeout", "--resource", "--disable-resource-parameter",
    "--authorize-param", "--static-oauth-client-metadata", "--static-oauth-client-info", "--client-metadata-url",
    "--client-credentials", "--token-endpoint", "--device-code", "--use-id-token",
)  # fmt: skip


def read(name: str, args: Sequence[str]) -> Native:
    """Read the arguments. Raises ConfigError."""
    options = _parser(name).read(args)
    if options.callback_port is not None:
        raise ConfigError(
            f"the callback port {options.callback_port!r} is not supported by mcp-relay as {name}: {LOGIN}"
        )
    if not is_url(options.url):
        raise ConfigError(f"{shown_address(options.url)!r} is not a URL that begins with https:// or http://")
    if options.url[:5].lower() == "http:" and not options.allow_http and not is_loopback(_host(options.url)):
        raise ConfigError(
            f"{shown_address(options.url)} is not encrypted: use https, or say --allow-http in a network that you trust"
        )
    if options.protocol == "auto":
        raise ConfigError(
            "--protocol auto is not supported: a client and a server of one revision are joined as they are"
        )
    if options.body_timeout not in (None, "0"):
        raise ConfigError("--body-timeout is supported as 0 only: a stream may be silent for as long as it likes")
    native = Native()
    native.add("--log-level", "CRITICAL" if options.silent else "INFO")
    if options.debug:
        native.add("--debug")
    native.add("--transport", _TRANSPORTS[options.transport])
    pairs = [*(pair for path in options.header_file for pair in _headers_in(path)), *options.header]
    native.headers([(key, expand(value, f"--header {key}")) for key, value in pairs])
    native.to_url(options.url)
    native.takes_proxy = options.enable_proxy
    return native


def _parser(name: str) -> ToolParser:
    parser = ToolParser(name, "Join own stdin and stdout to a server at a URL.", "URL [OPTIONS]")
    parser.add_argument("url", metavar="URL", help="https; http on this machine, or with --allow-http")
    parser.add_argument("callback_port", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument(
        "--header", type=header, action="append", default=[], metavar="'Name: value'",
        help="send this with every request; ${VARIABLE} is put in from the environment (repeatable)",
    )  # fmt: skip
    parser.add_argument(
        "--header-file", action="append", default=[], metavar="FILE", help="the same, a header a line; # is a comment"
    )
    parser.add_argument(
        "--transport", choices=tuple(_TRANSPORTS), default="http-first",
        help="what the server speaks; both …-first find it out, with a POST (default http-first)",
    )  # fmt: skip
    parser.add_argument(
        "--protocol", choices=("legacy", "auto"), default="legacy", help="legacy; auto is not supported"
    )
    parser.add_argument("--allow-http", action="store_true", help="let a URL elsewhere be http")
    parser.add_argument(
        "--enable-proxy", action="store_true", help="go through HTTP_PROXY, HTTPS_PROXY, NO_PROXY; directly by default"
    )
    parser.add_argument(
        "--disable-cookies",
        action="store_true",
        help="taken, and without effect: cookies go back to their server, in their session",
    )
    parser.add_argument("--body-timeout", metavar="0", help="taken if 0: streams may be silent")
    parser.add_argument("--debug", action="store_true", help="log every frame")
    parser.add_argument("--silent", action="store_true", help="log nothing")
    parser.refuse(*_OF_A_LOGIN, why=LOGIN)
    parser.refuse("--ignore-tool", why="messages pass as they are, lists of tools too")
    parser.refuse("--keep-alive", "--ping-interval", why="the relay says nothing to a server of its own accord")
    parser.refuse("--connect-timeout", "--headers-timeout", why="10 s to connect and any time to answer are fixed")
    parser.refuse("--ipv4", why="both kinds of address are tried, the one that answers first is used")
    return parser


def _host(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError as exc:
        raise ConfigError(f"{shown_address(url)!r} is not a URL: {fault_of_url(exc)}") from exc


def _headers_in(path: str) -> list[tuple[str, str]]:
    try:
        with open(path, encoding="utf-8") as file:
            lines = [line.strip() for line in file]
    except (OSError, UnicodeDecodeError) as exc:
        raise ConfigError(f"--header-file: {path!r} cannot be read: {exc}") from exc
    try:
        return [header(line) for line in lines if line and not line.startswith("#")]
    except argparse.ArgumentTypeError as exc:
        raise ConfigError(f"--header-file: {path!r}: {exc}") from exc
