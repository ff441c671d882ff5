"""``mcp-relay proxy`` and ``mcp-relay load-balance``: several servers that stand in for one another.

The arguments are mcp-connect's (SURFACES.md §2.3), so its configurations work once the program's name is changed. A
server is an address of any kind, ``host:port`` or a bare port for TCP, or a command, split as a shell would.
"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Coroutine, Mapping, Sequence
from typing import Any, TypeAlias

from relay.app.log.stderr import StderrSink
from relay.app.options.access import add_access_options, add_traffic_options, withheld_variables
from relay.app.options.admission import ANY_PAGE, add_admission_options, check_admission
from relay.app.options.connect_args import (
    TRANSPORTS,
    add_server_options,
    add_transport_option,
    parse_target,
    take_headers,
    transport_of,
)
from relay.app.options.dialling import dialling_of, ending_logins, listening_of
from relay.app.options.headers import headers_of, warn_of_headers
from relay.app.options.limits import add_drain_timeout, add_http_limits
from relay.app.options.log import add_log_options, add_log_to, begin_log, refuse_log_to_client
from relay.app.options.oauth import add_client_options, add_oauth_options
from relay.app.options.parser import Parser, add_config_option, parse_args
from relay.app.options.secrets import secrets_of
from relay.app.options.targets import add_child_options, variables_of
from relay.app.options.tls import (
    add_dial_tls_options,
    add_listen_tls_options,
    unauthenticated,
    with_tls,
)
from relay.app.options.values import positive, seconds
from relay.app.run.quick_start import import_aiohttp
from relay.app.settings import PoolSettings, ServeSettings
from relay.app.specs import ListenSpec, parse_listen
from relay.endpoints.child.child import child_environment, resolve_program
from relay.endpoints.combined.pool import Retry
from relay.errors import ConfigError
from relay.routing.schedule import Strategy

__all__ = ["load_balance", "proxy"]

logger = logging.getLogger("relay")

_PROXY = """\
Join own stdin and stdout, or clients at --listen, to the first of several servers that can be reached.

A server is an address (http, https, ws, wss, tcp, tls, unix), HOST:PORT or PORT for TCP, or a command in quotes. A
fallback may also be one of the words http, stdio, tcp: the endpoint by that transport.
"""
_BALANCE = """\
Spread clients over several servers: sessions as they begin, requests of 2026-07-28 one by one.

A server is an address (http, https, ws, wss, tcp, tls, unix), HOST:PORT or PORT for TCP, or a command in quotes. One
that refuses a connection, or fails three times in a row, is left out until it answers again.
"""


_USUAL = """\
the usual options:
  -H KEY VALUE          send this header with every request
  --timeout S           how long an answer may take (default 30; 0: for ever)
  --listen SPEC         serve clients here instead of own stdio
  --config FILE         take options from a file
  --log-level LEVEL, --debug     log more; --debug shows every frame
  --help-all            all options
"""
_SHORT_PROXY = f"""\
usage: mcp-relay proxy --endpoint SERVER [--fallbacks SERVER,…] [OPTIONS]

{_PROXY}
examples:
  mcp-relay proxy --endpoint https://a/mcp --fallbacks https://b/mcp
  mcp-relay proxy --endpoint https://a/mcp --fallbacks 'npx -y some-server'

{_USUAL}"""
_SHORT_BALANCE = f"""\
usage: mcp-relay load-balance --endpoints SERVER,… [OPTIONS]

{_BALANCE}
examples:
  mcp-relay load-balance --endpoints https://a/mcp,https://b/mcp
  mcp-relay load-balance --endpoints 9001,9002 --listen tcp://127.0.0.1:9000

{_USUAL}"""

_Server: TypeAlias = tuple[str, str | list[str]]
"""The option that names a server, and the server."""

# The arguments.


def proxy(args: Sequence[str], sink: StderrSink) -> Coroutine[Any, Any, int]:
    """Return the job of ``mcp-relay proxy``. Raises ConfigError."""
    options = parse_args(build_proxy_parser(), args, "proxy")
    transport = transport_of(options)
    targets: list[_Server] = [("--endpoint", parse_target(options.endpoint, "--endpoint", transport))]
    for text in _listed(options.fallbacks):
        if text.lower() in TRANSPORTS:
            targets.append(("--fallbacks", parse_target(options.endpoint, "--fallbacks", text.lower())))
        else:
            targets.append(("--fallbacks", parse_target(text, "--fallbacks")))
    return _job(options, targets, "in-order", sink)


def build_proxy_parser() -> Parser:
    """Return the parser of ``proxy``."""
    parser = _parser("proxy", _PROXY, _SHORT_PROXY)
    parser.add_argument("--endpoint", required=True, metavar="SERVER", help="the server to use while it is there")
    parser.add_argument(
        "--fallbacks", action="append", default=[], metavar="SERVER,…",
        help="those to use when it cannot be reached, in this order (repeatable)",
    )  # fmt: skip
    _add_options(parser)
    return parser


def load_balance(args: Sequence[str], sink: StderrSink) -> Coroutine[Any, Any, int]:
    """Return the job of ``mcp-relay load-balance``. Raises ConfigError."""
    options = parse_args(build_load_balance_parser(), args, "load-balance")
    transport = transport_of(options)
    targets = [("--endpoints", parse_target(text, "--endpoints", transport)) for text in _listed(options.endpoints)]
    return _job(options, targets, options.strategy, sink)


def build_load_balance_parser() -> Parser:
    """Return the parser of ``load-balance``."""
    parser = _parser("load-balance", _BALANCE, _SHORT_BALANCE)
    parser.add_argument(
        "--endpoints", action="append", required=True, metavar="SERVER,…", help="the servers (repeatable)"
    )
    parser.add_argument(
        "--strategy", choices=("round-robin", "least-in-flight"), default="round-robin",
        help="whose turn it is (default round-robin)",
    )  # fmt: skip
    _add_options(parser)
    return parser


def _parser(word: str, description: str, short_help: str) -> Parser:
    return Parser(
        prog=f"mcp-relay {word}",
        usage=short_help.partition("\n")[0].removeprefix("usage: "),
        short_help=short_help,
        description=description,
        allow_abbrev=False,
    )


def _add_options(parser: argparse.ArgumentParser) -> None:
    add_transport_option(parser)
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
    add_drain_timeout(requests)
    http = parser.add_argument_group("to servers by HTTP, each of them")
    add_server_options(http)
    add_dial_tls_options(http)
    oauth = parser.add_argument_group("login by OAuth, at each server that asks for it")
    add_client_options(oauth)
    add_oauth_options(oauth)
    add_child_options(parser.add_argument_group("commands"))
    listening = parser.add_argument_group("listening")
    listening.add_argument(
        "--listen", action="append", default=[], metavar="SPEC",
        help="serve clients at http://HOST:PORT/mcp, tcp://HOST:PORT or unix:/PATH instead of own stdio (repeatable)",
    )  # fmt: skip
    add_admission_options(listening)
    clients = parser.add_argument_group("clients, over HTTP")
    add_access_options(clients)
    add_traffic_options(clients)
    add_http_limits(listening)
    add_listen_tls_options(listening)
    logging_group = parser.add_argument_group("log and configuration")
    add_log_options(logging_group)
    add_log_to(logging_group)
    add_config_option(logging_group)


def _milliseconds(text: str) -> float:
    return seconds(text) / 1000


# What the arguments mean.


def _listed(texts: Sequence[str]) -> list[str]:
    return [one.strip() for text in texts for one in text.split(",") if one.strip()]


def _look_for_programs(servers: Sequence[_Server], env: Mapping[str, str], cwd: str | None) -> None:
    """Warn of programs that are missing. Raises ConfigError if there is no other server."""
    for flag, target in servers:
        if isinstance(target, str):
            continue
        try:
            resolve_program(target, env, cwd)
        except ConfigError as exc:
            if len(servers) == 1 or (cwd is not None and not os.path.isdir(cwd)):
                raise
            logger.warning("%s: %s; until then it counts as a server that cannot be reached", flag, exc)


def _check_listening(options: argparse.Namespace, listens: Sequence[ListenSpec]) -> list[str]:
    """Check who may connect; return the warnings. Raises ConfigError."""
    check_admission(options)
    warnings = [ANY_PAGE] if "*" in options.allow_origin else []
    for host in unauthenticated(listens, options):
        if not options.insecure_no_auth:
            raise ConfigError(
                f"--listen at {host} would let everybody who can reach this machine use the servers; "
                "give out tokens with --accept-token, demand certificates with --tls-client-ca, listen at 127.0.0.1 "
                "behind a proxy that asks for a login, or say --insecure-no-auth"
            )
    return warnings


# The job.


def _job(
    options: argparse.Namespace, servers: Sequence[_Server], strategy: Strategy, sink: StderrSink
) -> Coroutine[Any, Any, int]:
    if not servers:
        raise ConfigError("--endpoints: no server is named")
    targets = [target for _, target in servers]
    take_headers(options)
    headers = headers_of(options)
    addresses = [target for target in targets if isinstance(target, str)]
    secrets = [secret for address in (*addresses, None) for secret in secrets_of(options, headers, address)]
    begin_log(options, secrets, sink)
    warn_of_headers(options)
    env = child_environment(
        variables_of(options), pass_all=options.pass_environment, withheld=withheld_variables(options)
    )
    _look_for_programs(servers, env, options.cwd)
    if "LISTEN_PID" in os.environ and not options.listen:
        from relay.app.systemd.sockets import handed_over

        options.listen = handed_over()
    listens = with_tls([parse_listen(text) for text in options.listen], options)
    warnings = _check_listening(options, listens)
    if any(one.lower().startswith(("http", "ws")) for one in addresses) or any(one.kind == "http" for one in listens):
        import_aiohttp()
    dialling = dialling_of(options, headers, addresses, sink)
    retry = Retry(options.timeout or None, options.retry_attempts, options.retry_delay)
    settings = ServeSettings(
        command=(),
        name="servers",
        log_to=options.log_to,
        pool=PoolSettings(targets, strategy, retry),
        env=env,
        dialling=dialling,
        cwd=options.cwd,
        listen=listens,
        listening=listening_of(options, listens, dialling),
        secrets=secrets,
        warnings=warnings,
    )
    if not listens or listens == [ListenSpec("stdio")]:
        from relay.app.run.bridge import bridge_own_servers

        return ending_logins(lambda: bridge_own_servers(settings, sink), settings.dialling)
    refuse_log_to_client(options)
    from relay.app.run.serve import serve

    return ending_logins(lambda: serve(settings, sink), settings.dialling)
