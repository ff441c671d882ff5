"""The options of ``mcp-relay`` itself, and its help: arguments become options and a target."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from typing import Any

from relay.app.options.access import OF_ACCESS, add_access_options, add_traffic_options
from relay.app.options.admission import add_admission_options
from relay.app.options.limits import add_limits
from relay.app.options.log import add_log_options, add_log_to
from relay.app.options.login import add_login_options
from relay.app.options.oauth import OF_OAUTH, add_oauth_options
from relay.app.options.parser import Parser, add_config_option, located, parse_args, split_command
from relay.app.options.paths import OF_PATHS, add_path_options
from relay.app.options.targets import OF_A_CHILD, OF_A_URL, add_child_options, add_http_options, unused_options
from relay.app.options.tls import OF_LISTENING, add_dial_tls_options, add_listen_tls_options, with_tls
from relay.app.options.values import port
from relay.app.specs import ListenSpec, is_address, parse_listen
from relay.auth.origin import is_host
from relay.errors import ConfigError

__all__ = ["FOR_A_COMMAND", "build_parser", "parse"]

_STDIO = ListenSpec("stdio")
_LISTENING = ("stdio", "http")
_OF_ONE_URL = {name: flag for name, flag in OF_A_URL.items() if name not in OF_OAUTH}
_OF_ONE_CHILD = {name: flag for name, flag in OF_A_CHILD.items() if name != "pass_environment"}

_SHORT = """\
usage: mcp-relay [OPTIONS] URL | [OPTIONS] [--] COMMAND [ARG…] | SUBCOMMAND …

examples:
  mcp-relay https://host/mcp                        a remote server on stdio
  mcp-relay --port 8080 -- npx -y some-server       a stdio server over HTTP
  mcp-relay --listen tcp://127.0.0.1:9000 wss://host/mcp     any to any other
  mcp-relay install --client cursor NAME https://host/mcp    into a client
  mcp-relay test https://host/mcp                   what is there, or wrong?

subcommands, each with a --help of its own:
  install, uninstall, doctor   entries in clients' configurations
  test, config                 look at a server, or at a configuration file
  auth                         log in to a server, see and end logins
  gateway                      servers of web pages, by URL
  proxy, load-balance          several servers for one
  as NAME                      the command line of another bridge
  completion, reset, notification-demo

the usual options:
  -H KEY VALUE          send this header with every request
  -e KEY VALUE          set a variable for the command
  --listen SPEC         listen at stdio:, http://…, tcp://… or unix:/PATH
  --host, --port        the address to listen on (default 127.0.0.1, any port)
  --allow-origin O      an origin whose web pages may use the server
  --accept-token T      admit only clients with this token
  --share HOW           a server per session (default), shared, or per request
  --named-server-config FILE     offer the servers that an editor's file names
  --config FILE         take options from a file
  --log-level LEVEL, --debug     log more; --debug shows every frame
  --help-all            all options, the environment and the exit codes
"""

_DESCRIPTION = """\
Relay MCP between transports: a stdio server to HTTP clients, or a remote server to a client that speaks only stdio.

  mcp-relay [OPTIONS] URL                  join own stdin and stdout to a server
  mcp-relay [OPTIONS] [--] COMMAND [ARG…]  offer a command over HTTP, at /mcp, /sse
  mcp-relay [OPTIONS] --listen SPEC URL    offer the server at URL over HTTP here

'mcp-relay --help' lists the subcommands. A program of such a name goes after --.
"""

_EPILOG = """\
examples:
  Offer a stdio server to many clients over HTTP, each with a child of its own:
    mcp-relay --port 8080 -- npx -y @modelcontextprotocol/server-everything
  Let a client that launches programs use a remote server; in its configuration:
    {"mcpServers": {"remote": {"command": "mcp-relay", "args": ["https://example.com/mcp"]}}}
  With a token, which is better kept out of the process list:
    API_ACCESS_TOKEN=… mcp-relay https://example.com/mcp
  Offer a server to other machines, with nothing between them and it (a proxy with a login is better):
    mcp-relay --host 0.0.0.0 --port 8080 -- my-server

environment:
  API_ACCESS_TOKEN   sent to the remote server as "Authorization: Bearer …"
  MCP_RELAY_…        every option: MCP_RELAY_PORT=8080; also MCP_RELAY_URL, MCP_RELAY_COMMAND; before --config FILE
  SSE_URL            the URL, or the command, if the command line names none
  MCP_RELAY_LOOP     asyncio: use Python's own event loop; uvloop: insist on that one, the default where it is installed
  MCP_RELAY_AUTH_DIR  where logins are kept (default: below the user's data directory)
  MCP_RELAY_BUSY_POLL  0: never stay awake between frames that come at once, at the price of slower single calls
  MCP_RELAY_FAST     0: do without the fast ways, which rest on details of aiohttp

exit codes:
  0 an orderly end · 1 a failure, or the server was never reached · 2 a mistake on the command line · 130 interrupted
  141 nobody reads what is printed

stdout carries the protocol and nothing else; everything said to people is on stderr.
"""

# Without effect before a URL: the relay warns, and goes on, as the bridges it replaces accept them silently.
FOR_A_COMMAND = {
    **OF_A_CHILD,
    "host": "--host",
    "port": "--port",
    "allowed_host": "--allowed-host",
    "allow_origin": "--allow-origin",
    "expose_header": "--expose-header",
    "insecure_no_auth": "--insecure-no-auth",
    "max_sessions": "--max-sessions",
    "session_idle": "--session-idle",
    "shared_idle": "--shared-idle",
    "keep_alive": "--keep-alive",
    "drain_delay": "--drain-delay",
    "share": "--share",
    "stateless": "--stateless",
    "name": "--name",
    **OF_ACCESS,
    **OF_LISTENING,
    **OF_PATHS,
    "named_server": "--named-server",
    "named_server_config": "--named-server-config",
    "eager": "--eager",
}


class _Version(argparse.Action):
    """Prints the version, and looks it up only then: that takes 20 ms."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        import relay

        sys.stdout.write(f"mcp-relay {relay.__version__}\n")
        parser.exit()


def build_parser() -> Parser:
    """Return the parser of the options, whose positionals are the target and its arguments."""
    parser = Parser(
        prog="mcp-relay",
        usage="mcp-relay [OPTIONS] URL\n       mcp-relay [OPTIONS] [--] COMMAND [ARG…]\n"
        "       mcp-relay [OPTIONS] --listen SPEC URL",
        short_help=_SHORT,
        description=_DESCRIPTION,
        epilog=_EPILOG,
        allow_abbrev=False,
    )
    parser.add_argument("target", nargs="?", metavar="URL|COMMAND", help="a server's http(s) address, or a program")
    parser.add_argument("args", nargs="*", metavar="ARG", help="the program's arguments; those with a dash after --")
    remote = parser.add_argument_group("to a remote server")
    add_http_options(remote, transports=_LISTENING)
    add_dial_tls_options(remote)
    remote.add_argument(
        "--transport-type", type=str.lower, choices=("sse", "http"),
        help="the same in the FastMCP script's words, whose --transport stdio|http|sse says where clients come from",
    )  # fmt: skip
    add_login_options(remote)
    add_oauth_options(parser.add_argument_group("login by OAuth, if the server asks for it"))
    add_child_options(parser.add_argument_group("the command"))
    _add_listen_options(parser.add_argument_group("listening"))
    clients = parser.add_argument_group("clients, over HTTP")
    add_access_options(clients)
    add_traffic_options(clients)
    _add_named_options(parser.add_argument_group("servers with names, at /servers/NAME/mcp and /servers/NAME/sse"))
    add_limits(parser.add_argument_group("limits"))
    logging_group = parser.add_argument_group("log and configuration")
    add_log_options(logging_group)
    add_log_to(logging_group)
    add_config_option(logging_group)
    logging_group.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    return parser


def _add_listen_options(group: Any) -> None:
    group.add_argument(
        "--listen", action="append", default=[], metavar="SPEC",
        help="listen at stdio:, http://HOST:PORT/mcp, tcp://HOST:PORT, unix:/PATH or fd:3, or https:// and tls:// with "
        "--tls-cert, before a command or an address (repeatable)",
    )  # fmt: skip
    group.add_argument(
        "--host", "--sse-host", default="127.0.0.1", metavar="HOST", help="the address to listen on (default 127.0.0.1)"
    )
    group.add_argument(
        "--port", "--sse-port", type=port, default=0, metavar="PORT", help="the port; 0, the default, is a free one"
    )
    add_admission_options(group)
    group.add_argument(
        "--share", choices=("session", "shared", "request", "stateless"),
        help="a server for each session, one for all, or one for each request; stateless: one for all, and no sessions "
        "(default: session, and shared for clients of 2026-07-28, which have none)",
    )  # fmt: skip
    group.add_argument(
        "--stateless", action=argparse.BooleanOptionalAction, default=False, help="the same as --share stateless"
    )
    group.add_argument("--name", metavar="NAME", help="what the log calls the server (default: the command's name)")
    add_listen_tls_options(group)
    add_path_options(group)


# What options mean together.


def _add_named_options(group: Any) -> None:
    group.add_argument(
        "--named-server", nargs=2, action="append", default=[], metavar=("NAME", "COMMAND"),
        help="offer this command, in one word, or this address by a name (repeatable)",
    )  # fmt: skip
    group.add_argument(
        "--named-server-config", metavar="FILE",
        help="offer the servers that an editor's file names, not those of --named-server; read again when it changes",
    )  # fmt: skip
    group.add_argument("--eager", action="store_true", help="start every command now, not when it is first used")


def parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return the options and the target: one URL, or a command and its arguments. Raises ConfigError.

    ``options.listens`` is where to listen, ``options.transport`` how to dial, ``options.unused`` what has no effect.
    """
    args, command = split_command(argv)
    parser = build_parser()
    options = parse_args(parser, args)
    if options.target is not None:
        command = [options.target, *options.args, *command]
    command = command or list(options.configured.target)
    if not command and (url := os.environ.get("SSE_URL")):
        command = [url]
    with located(options):
        _settle(options, parser, is_for_address=bool(command) and is_address(command[0]))
        if not command:
            options.unused = unused_options(parser, options, {**_OF_ONE_URL, **_OF_ONE_CHILD})
    return options, command


def _settle(options: argparse.Namespace, parser: argparse.ArgumentParser, *, is_for_address: bool) -> None:
    """Resolve options that depend on each other. Raises ConfigError."""
    if "LISTEN_PID" in os.environ and not options.listen:
        from relay.app.systemd.sockets import handed_over

        options.listen = handed_over()
    options.listens = with_tls(_listens(options, is_for_address=is_for_address), options)
    for_the_other = OF_A_URL
    if is_for_address:
        for_the_other = OF_A_CHILD if options.listen or options.listens != [_STDIO] else FOR_A_COMMAND
    options.unused = unused_options(parser, options, for_the_other)
    if options.stateless:
        if options.share not in (None, "stateless"):
            raise ConfigError(f"--stateless and --share {options.share} contradict each other; leave one of them out")
        options.share = "stateless"


def _listens(options: argparse.Namespace, *, is_for_address: bool) -> list[ListenSpec]:
    """Return where to listen, and leave in ``transport`` only how to dial. Raises ConfigError."""
    word = _take_listening_transport(options, is_for_address=is_for_address)
    if word is not None and options.listen:
        raise ConfigError(f"--transport {word} says where clients come from, and so does --listen; leave one out")
    if options.listen:
        specs = [parse_listen(text, options.mcp_path) for text in options.listen]
        if [spec.kind for spec in specs].count("stdio") > 1:
            raise ConfigError("--listen stdio: can be given once")
        return specs
    if word == "stdio" or (word is None and is_for_address):
        return [_STDIO]
    if is_for_address and not options.port:
        raise ConfigError(f"--transport {word} before a URL listens for clients: say where with --port, as --port 8080")
    return [ListenSpec("http", _host(options), options.port)]


def _take_listening_transport(options: argparse.Namespace, *, is_for_address: bool) -> str | None:
    """Return the listening side that ``--transport`` names, as in the FastMCP script; None if it names none.

    ``stdio`` and ``http`` always name it; ``sse`` does where a URL comes with ``--port``, or with
    ``--transport-type``, which says how to dial.
    """
    dialled = {"http": "streamablehttp"}.get(options.transport_type, options.transport_type)
    word: str = options.transport.replace("-", "")
    is_of_fastmcp = is_for_address and word == "sse" and (options.port or dialled is not None) and not options.listen
    if word in _LISTENING or is_of_fastmcp:
        options.transport = dialled or "auto"
        return word
    if dialled is not None and word not in ("auto", dialled):
        raise ConfigError(
            f"--transport {word} and --transport-type {options.transport_type} contradict each other; leave one out"
        )
    options.transport = dialled or word
    return None


def _host(options: argparse.Namespace) -> str:
    host: str = options.host
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if not is_host(host):
        raise ConfigError(f"--host: {host!r} is not an address to listen on, such as 127.0.0.1 or ::1")
    if not is_host(f"{host}:1") and not is_host(f"[{host}]:1"):
        raise ConfigError(f"--host: {host!r} has a port in it, which belongs to --port")
    return host
