"""The arguments of ``mcp-remote`` 0.15.1: own stdin and stdout to a URL, with a login if the server asks."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from relay.addresses import fault_of_url, shown_address
from relay.app.dropins.reader import Native, ToolParser, expand, header
from relay.app.specs import is_url
from relay.auth.origin import is_loopback
from relay.errors import ConfigError

__all__ = ["read"]

_TRANSPORTS = {"http-first": "auto", "sse-first": "auto", "http-only": "streamablehttp", "sse-only": "sse"}


def read(name: str, args: Sequence[str]) -> Native:
    """Read the arguments. Raises ConfigError."""
    options = _parser(name).read(args)
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
    _log_in(options, native)
    native.to_url(options.url)
    native.takes_proxy = options.enable_proxy
    return native


def _log_in(options: argparse.Namespace, native: Native) -> None:
    """Translate the options of the login. Raises ConfigError."""
    _return_to(options, native)
    for flag in ("--auth-timeout", "--client-metadata-url", "--resource"):
        if (value := getattr(options, flag[2:].replace("-", "_"))) is not None:
            native.add(flag, value)
    for given in options.authorize_param:
        native.add("--authorize-param", given)
    flags = {
        "--oauth-allow-http": options.allow_http,
        "--no-resource-parameter": options.disable_resource_parameter,
        "--client-credentials": options.client_credentials,
        "--device-code": options.device_code,
    }
    native.args += [flag for flag, is_given in flags.items() if is_given]
    if options.token_endpoint is not None:
        native.add("--token-url", options.token_endpoint)
    metadata = _document(options.static_oauth_client_metadata, "--static-oauth-client-metadata")
    if isinstance(scope := metadata.pop("scope", None), str) and scope:
        native.add("--scope", scope)
    if metadata:
        native.add("--client-metadata", json.dumps(metadata))
    client = _document(options.static_oauth_client_info, "--static-oauth-client-info")
    if "client_id" in client:
        native.args.append(f"--client-id={client['client_id']}")
    if client.get("client_secret"):
        native.args.append(f"--client-secret={client['client_secret']}")
        if options.token_endpoint is None:
            native.args.append("--pin-first-issuer")  # mcp-remote has no option for the issuer


def _return_to(options: argparse.Namespace, native: Native) -> None:
    if options.callback_path is not None:
        if options.callback_port is None:
            raise ConfigError("--callback-path needs the callback port: the second word after the URL")
        native.add("--redirect-url", f"http://{options.host}:{options.callback_port}{options.callback_path}")
        return
    native.add("--callback-host", options.host)
    if options.callback_port is not None:
        native.add("--callback-port", options.callback_port)


def _document(text: str | None, flag: str) -> dict[str, Any]:
    """Read JSON, or the JSON in ``@FILE``, and put environment variables in. Raises ConfigError."""
    if text is None:
        return {}
    try:
        if text.startswith("@"):
            with open(text[1:], encoding="utf-8") as file:
                text = file.read()
        found = json.loads(text)
    except (OSError, ValueError) as exc:
        fault = exc.strerror if isinstance(exc, OSError) else "it is not JSON"
        raise ConfigError(f"{flag}: cannot be read: {fault}") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{flag}: expected a JSON object")
    return {name: expand(value, flag) if isinstance(value, str) else value for name, value in found.items()}


def _parser(name: str) -> ToolParser:
    parser = ToolParser(name, "Join own stdin and stdout to a server at a URL.", "URL [OPTIONS]")
    parser.add_argument("url", metavar="URL", help="https; http on this machine, or with --allow-http")
    parser.add_argument(
        "callback_port", nargs="?", metavar="PORT", help="to which the browser returns; by default one for each server"
    )
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
    _add_login(parser)
    parser.refuse("--auth-success-url", why="the relay shows its own page at the end of a login")
    parser.refuse("--use-id-token", why="an ID token is for the client that asked for it, not for a server")
    parser.refuse("--ignore-tool", why="messages pass as they are, lists of tools too")
    parser.refuse("--keep-alive", "--ping-interval", why="the relay says nothing to a server of its own accord")
    parser.refuse("--connect-timeout", "--headers-timeout", why="10 s to connect and any time to answer are fixed")
    parser.refuse("--ipv4", why="both kinds of address are tried, the one that answers first is used")
    return parser


def _add_login(parser: ToolParser) -> None:
    add = parser.add_argument
    add("--host", default="localhost", help="the host of the callback (default localhost)")
    add("--callback-path", metavar="PATH", help="its path, with a PORT (default /oauth/callback)")
    add("--auth-timeout", metavar="S", help="how long a request waits for a person (default 300, not 30)")
    add("--resource", metavar="URL", help="request tokens for this resource")
    add("--disable-resource-parameter", action="store_true", help="name no resource in requests")
    add("--authorize-param", action="append", default=[], metavar="K=V", help="add this to the address of the login")
    add("--static-oauth-client-metadata", metavar="JSON|@FILE", help="fields for the registration as a client")
    add("--static-oauth-client-info", metavar="JSON|@FILE", help="the client that is registered already")
    add("--client-metadata-url", metavar="URL", help="the address of a client's metadata, used as client id")
    add("--client-credentials", action="store_true", help="log in as the client itself, without a person")
    add("--token-endpoint", metavar="URL", help="where to get tokens, with --client-credentials")
    add("--device-code", action="store_true", help="log in on another device, by a code")


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
