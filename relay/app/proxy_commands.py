"""``mcp-relay proxy`` and ``mcp-relay load-balance``: several servers that stand in for one another.

The words are those of mcp-connect (SURFACES.md §2.3), so its configurations work with the program's name changed. A
server is an address of any kind, ``host:port`` or a bare port for TCP, or a command, split as a shell would.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
from collections.abc import Coroutine, Sequence
from typing import Any
from urllib.parse import urlsplit

from relay.app.logs import StderrSink
from relay.app.options import (
    Parser,
    add_child_options,
    add_config_option,
    add_log_options,
    begin_log,
    check_names,
    headers_of,
    parse_words,
    positive,
    seconds,
    secrets_of,
    warn_of_headers,
)
from relay.app.quick_start import import_aiohttp
from relay.app.settings import ChoiceSettings, ServeSettings
from relay.app.specs import ListenSpec, is_address, parse_listen
from relay.auth.origin import is_host, is_loopback, is_origin
from relay.endpoints.balancer import Retry
from relay.endpoints.child import child_environment
from relay.errors import ConfigError
from relay.limits import DEFAULT_LIMITS
from relay.routing.rota import Strategy

__all__ = ["load_balance", "parse_target", "proxy"]

_TRANSPORTS = ("http", "stdio", "tcp")
_HOST_AND_PORT = re.compile(r"(?:[\w.-]+|\[[0-9a-fA-F:.]+\]):\d+")

_PROXY = """\
Join own stdin and stdout, or clients at --listen, to the first of several servers that can be reached.

A server is an address (http, https, ws, wss, tcp, unix), HOST:PORT or PORT for TCP, or a command in quotes. A fallback
may also be one of the words http, stdio, tcp: the endpoint by that transport.
"""
_BALANCE = """\
Spread clients over several servers: sessions as they begin, requests of 2026-07-28 one by one.

A server is an address (http, https, ws, wss, tcp, unix), HOST:PORT or PORT for TCP, or a command in quotes. One that
refuses a connection, or fails three times in a row, is left out until it answers again.
"""


# The words.


def proxy(words: Sequence[str], sink: StderrSink) -> Coroutine[Any, Any, int]:
    """Return the job of ``mcp-relay proxy``. Raises ConfigError."""
    options = parse_words(build_proxy_parser(), words, "proxy")
    transport = _transport(options)
    targets = [parse_target(options.endpoint, "--endpoint", transport)]
    for text in _listed(options.fallbacks):
        if text.lower() in _TRANSPORTS:
            targets.append(parse_target(options.endpoint, "--fallbacks", text.lower()))
        else:
            targets.append(parse_target(text, "--fallbacks"))
    return _job(options, targets, "in-order", sink)


def build_proxy_parser() -> Parser:
    """Return the parser of the words of ``proxy``."""
    parser = _parser("proxy", _PROXY)
    parser.add_argument("--endpoint", required=True, metavar="SERVER", help="the server to use while it is there")
    parser.add_argument(
        "--fallbacks", action="append", default=[], metavar="SERVER,…",
        help="those to use when it cannot be reached, in this order (repeatable)",
    )  # fmt: skip
    _add_options(parser)
    return parser


def load_balance(words: Sequence[str], sink: StderrSink) -> Coroutine[Any, Any, int]:
    """Return the job of ``mcp-relay load-balance``. Raises ConfigError."""
    options = parse_words(build_load_balance_parser(), words, "load-balance")
    transport = _transport(options)
    targets = [parse_target(text, "--endpoints", transport) for text in _listed(options.endpoints)]
    return _job(options, targets, options.strategy, sink)


def build_load_balance_parser() -> Parser:
    """Return the parser of the words of ``load-balance``."""
    parser = _parser("load-balance", _BALANCE)
    parser.add_argument(
        "--endpoints", action="append", required=True, metavar="SERVER,…", help="the servers (repeatable)"
    )
    parser.add_argument(
        "--strategy", choices=("round-robin", "least-in-flight"), default="round-robin",
        help="whose turn it is (default round-robin)",
    )  # fmt: skip
    _add_options(parser)
    return parser


def _parser(word: str, description: str) -> Parser:
    return Parser(
        prog=f"mcp-relay {word}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--transport", type=str.lower, metavar="http|stdio|tcp",
        help="how to reach servers that are not addresses; told from how they are written by default",
    )  # fmt: skip
    requests = parser.add_argument_group("requests")
    requests.add_argument(
        "--timeout", type=seconds, default=30.0, metavar="S",
        help="how long an answer may take, from the last progress; 0: for ever (default 30)",
    )  # fmt: skip
    requests.add_argument(
        "--retry-attempts", type=positive, default=3, metavar="N",
        help="how often all servers are tried before a request fails that none has got (default 3)",
    )  # fmt: skip
    requests.add_argument(
        "--retry-delay", type=_milliseconds, default=1.0, metavar="MS", help="between two such rounds (default 1000)"
    )
    http = parser.add_argument_group("to servers by HTTP, each of them")
    http.add_argument("-H", dest="pairs", nargs=2, action="append", default=[], metavar=("KEY", "VALUE"))
    http.add_argument("--headers", default="", metavar="K:V,K2:V2", help="send these headers with every request")
    http.add_argument("--auth-token", metavar="TOKEN", help="send Authorization: Bearer TOKEN")
    http.add_argument("--api-key", metavar="KEY", help="send X-API-Key: KEY, unless there is a token")
    http.add_argument("--user-agent", metavar="TEXT", help="send this User-Agent")
    add_child_options(parser.add_argument_group("commands"))
    listening = parser.add_argument_group("listening")
    listening.add_argument(
        "--listen", action="append", default=[], metavar="SPEC",
        help="serve clients at http://HOST:PORT/mcp, tcp://HOST:PORT or unix:/PATH instead of own stdio (repeatable)",
    )  # fmt: skip
    listening.add_argument("--allowed-host", action="append", default=[], metavar="HOST[:PORT]")
    listening.add_argument("--allow-origin", nargs="+", action="extend", default=[], metavar="ORIGIN")
    listening.add_argument("--insecure-no-auth", action="store_true", help="listen beyond this machine without a login")
    said = parser.add_argument_group("what is said")
    add_log_options(said)
    add_config_option(said)


def _milliseconds(text: str) -> float:
    return seconds(text) / 1000


# What they mean.


def _listed(texts: Sequence[str]) -> list[str]:
    return [one.strip() for text in texts for one in text.split(",") if one.strip()]


def _transport(options: argparse.Namespace) -> str | None:
    transport: str | None = options.transport
    if transport is not None and transport not in _TRANSPORTS:
        raise ConfigError(f"--transport: {transport!r} is not one of {', '.join(_TRANSPORTS)}")
    return transport


def parse_target(text: str, flag: str, transport: str | None = None) -> str | list[str]:
    """Read one server: an address, or the words of a command. Raises ConfigError."""
    if transport is None and not is_address(text):
        transport = "tcp" if text.isdecimal() or _HOST_AND_PORT.fullmatch(text) else "stdio"
    if transport is None or (transport == "http" and is_address(text)):
        return text
    if transport == "http":
        return f"http://{text}"
    if transport == "tcp":
        return _as_tcp(text, flag)
    if is_address(text):
        raise ConfigError(f"{flag}: {text!r} is an address, not a command for the transport stdio")
    try:
        command = shlex.split(text)
    except ValueError as exc:
        raise ConfigError(f"{flag}: {text!r} is not a command: {exc}") from exc
    if not command:
        raise ConfigError(f"{flag}: no server is named")
    return command


def _as_tcp(text: str, flag: str) -> str:
    if text.lower().startswith(("tcp://", "unix:")):
        return text
    if is_address(text):
        parts = urlsplit(text)
        text = f"{parts.hostname}:{parts.port or 80}"
    if text.isdecimal():
        text = f"127.0.0.1:{text}"
    if not _HOST_AND_PORT.fullmatch(text):
        raise ConfigError(f"{flag}: {text!r} is not HOST:PORT or PORT, as the transport tcp wants")
    return f"tcp://{text}"


def _take_headers(options: argparse.Namespace) -> None:
    """Put what says headers in mcp-connect's way where the other commands have it. Raises ConfigError."""
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


def _check_listening(options: argparse.Namespace, listens: Sequence[ListenSpec]) -> list[str]:
    """Look at who may come; return what is to be warned of. Raises ConfigError."""
    for origin in options.allow_origin:
        if origin != "*" and not is_origin(origin):
            raise ConfigError(f"--allow-origin: {origin!r} is not an origin such as https://app.example.com, nor '*'")
    for host in options.allowed_host:
        if not is_host(host):
            raise ConfigError(f"--allowed-host: {host!r} is not a name or an address, with or without :PORT")
    warnings = []
    if "*" in options.allow_origin:
        warnings.append("--allow-origin '*': any web page that your browser shows can use your servers")
    for host in {spec.host for spec in listens if spec.kind in ("http", "tcp") and not is_loopback(spec.host)}:
        if not options.insecure_no_auth:
            raise ConfigError(
                f"--listen at {host} would let everybody who can reach this machine use the servers; "
                "listen at 127.0.0.1 behind a proxy that asks for a login, or say --insecure-no-auth"
            )
        warnings.append(f"listening on {host} without authentication: whoever reaches it uses your servers")
    return warnings


# The job.


def _job(
    options: argparse.Namespace, targets: Sequence[str | list[str]], strategy: Strategy, sink: StderrSink
) -> Coroutine[Any, Any, int]:
    if not targets:
        raise ConfigError("--endpoints: no server is named")
    _take_headers(options)
    headers = headers_of(options)
    addresses = [target for target in targets if isinstance(target, str)]
    secrets = [secret for address in (*addresses, None) for secret in secrets_of(options, headers, address)]
    begin_log(options, secrets, sink)
    warn_of_headers(options)
    if "LISTEN_PID" in os.environ and not options.listen:
        from relay.app.inherited import handed_over

        options.listen = handed_over()
    listens = [parse_listen(text) for text in options.listen]
    warnings = _check_listening(options, listens)
    if any(one.lower().startswith(("http", "ws")) for one in addresses) or any(one.kind == "http" for one in listens):
        import_aiohttp()
    retry = Retry(options.timeout or None, options.retry_attempts, options.retry_delay)
    settings = ServeSettings(
        command=(),
        name="servers",
        choice=ChoiceSettings(targets, strategy, retry),
        env=child_environment(dict(options.env), pass_all=options.pass_environment),
        headers=headers,
        cwd=options.cwd,
        listen=listens,
        allowed_hosts=options.allowed_host,
        allowed_origins=options.allow_origin,
        secrets=secrets,
        warnings=warnings,
        limits=DEFAULT_LIMITS,
    )
    if not listens or listens == [ListenSpec("stdio")]:
        from relay.app.bridge import bridge_own_servers

        return bridge_own_servers(settings, sink)
    from relay.app.serve import serve

    return serve(settings, sink)
