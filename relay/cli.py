"""The command line of ``mcp-relay``: words and flags become settings, settings a running relay.

Exit codes: 0 an orderly end, 1 a failure, 2 a mistake of the operator's (one line on stderr), 130 interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import errno
import gc
import io
import logging
import os
import re
import socket
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any

from relay.app.logs import StderrSink, say
from relay.app.options import (
    OF_A_CHILD,
    OF_A_URL,
    Parser,
    add_child_options,
    add_http_options,
    add_log_options,
    begin_log,
    check_names,
    headers_of,
    port,
    positive,
    seconds,
    secrets_of,
    size,
    split_command,
    unused_options,
    warn_of_headers,
)
from relay.app.quick_start import import_aiohttp
from relay.app.settings import BridgeSettings, ServeSettings
from relay.app.specs import ADDRESSES, ListenSpec, is_address, parse_listen
from relay.app.wiring import is_url
from relay.auth.origin import is_host, is_loopback, is_origin
from relay.endpoints.child import child_environment
from relay.errors import ConfigError, RelayError
from relay.limits import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

__all__ = ["main"]

logger = logging.getLogger("relay")

_DESCRIPTORS = 65_536  # more than connections may be; some children close every number up to the limit they inherit

_DESCRIPTION = """\
Relay MCP between transports: a stdio server to HTTP clients, or a remote server to a client that speaks only stdio.

  mcp-relay [OPTIONS] URL                  join this program's stdin and stdout to an MCP server at URL
  mcp-relay [OPTIONS] [--] COMMAND [ARG…]  offer the MCP server COMMAND over HTTP, at /mcp and at /sse
  mcp-relay [OPTIONS] --listen SPEC URL    offer the MCP server at URL over HTTP here
  mcp-relay test [OPTIONS] URL|COMMAND     say what the MCP server there speaks and offers, or what is wrong with it
  mcp-relay notification-demo [--count N]  write log notifications on stdout, as a server does
  mcp-relay proxy --endpoint SERVER …      use the first of several servers that can be reached
  mcp-relay load-balance --endpoints A,B … spread clients over several servers

Each of the last four has a --help of its own; a command of that name goes after --.
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
    mcp-relay --host 0.0.0.0 --port 8080 --insecure-no-auth -- my-server

environment:
  API_ACCESS_TOKEN   sent to the remote server as "Authorization: Bearer …"
  MCP_RELAY_LOOP     asyncio: use Python's own event loop; uvloop: insist on that one, the default where it is installed

exit codes:
  0 an orderly end · 1 a failure, or the server was never reached · 2 a mistake on the command line · 130 interrupted

stdout carries the protocol and nothing else; everything said to people is on stderr.
"""

# Of no use before a URL: said in a warning, as the bridges we replace take them in silence.
_FOR_A_COMMAND = {
    **OF_A_CHILD,
    "host": "--host",
    "port": "--port",
    "allowed_host": "--allowed-host",
    "allow_origin": "--allow-origin",
    "insecure_no_auth": "--insecure-no-auth",
    "max_sessions": "--max-sessions",
    "share": "--share",
}


def _build_parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="mcp-relay",
        usage="mcp-relay [OPTIONS] URL\n       mcp-relay [OPTIONS] [--] COMMAND [ARG…]\n"
        "       mcp-relay [OPTIONS] --listen SPEC URL",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("target", nargs="?", metavar="URL|COMMAND", help="a server's http(s) address, or a program")
    parser.add_argument("args", nargs="*", metavar="ARG", help="the program's arguments; those with a dash after --")
    add_http_options(parser.add_argument_group("to a remote server"))
    add_child_options(parser.add_argument_group("the command"))
    _add_listen_options(parser.add_argument_group("listening"))
    limits = parser.add_argument_group("limits")
    limits.add_argument("--max-frame-bytes", type=size, metavar="SIZE", help="one JSON-RPC message (default 64M)")
    limits.add_argument("--max-sessions", type=positive, metavar="N", help="sessions at one time (default 1024)")
    limits.add_argument(
        "--drain-timeout", type=seconds, metavar="S", help="how long SIGTERM waits for answers (default 20)"
    )
    said = parser.add_argument_group("what is said")
    add_log_options(said)
    said.add_argument("--version", action="store_true", help="print the version and exit")
    return parser


def _add_listen_options(group: Any) -> None:
    group.add_argument(
        "--listen", action="append", default=[], metavar="SPEC",
        help="listen at stdio:, http://HOST:PORT/mcp, tcp://HOST:PORT or unix:/PATH, before a command or an address "
        "(repeatable)",
    )  # fmt: skip
    group.add_argument("--host", default="127.0.0.1", help="the address to listen on (default 127.0.0.1)")
    group.add_argument("--port", type=port, default=0, help="the port; 0, the default, is a free one")
    group.add_argument(
        "--allowed-host", action="append", default=[], metavar="HOST[:PORT]",
        help="a name under which clients reach this server (repeatable)",
    )  # fmt: skip
    group.add_argument(
        "--allow-origin", nargs="+", action="extend", default=[], metavar="ORIGIN",
        help="an origin whose web pages may use this server; '*' for all",
    )  # fmt: skip
    group.add_argument(
        "--share", choices=("session", "shared", "request"),
        help="a server for each session, one for all, or one for each request "
        "(default: session, and shared for clients of 2026-07-28, which have none)",
    )  # fmt: skip
    group.add_argument(
        "--insecure-no-auth", action="store_true", help="listen beyond this machine without authentication"
    )


def _parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return the options and the words of the target: one URL, or a command and its arguments."""
    words, command = split_command(argv)
    parser = _build_parser()
    options = parser.parse_intermixed_args(words)
    if options.target is not None:
        command = [options.target, *options.args, *command]
    for_the_other = OF_A_URL
    if command and is_address(command[0]):
        for_the_other = OF_A_CHILD if options.listen else _FOR_A_COMMAND
    options.unused = unused_options(parser, options, for_the_other)
    return options, command


def _listens(options: argparse.Namespace) -> list[ListenSpec]:
    """Return where to listen: ``--listen``, or ``--host`` and ``--port``. Raises ConfigError."""
    if not options.listen:
        return [ListenSpec("http", _host(options), options.port)]
    specs = [parse_listen(text) for text in options.listen]
    if [spec.kind for spec in specs].count("stdio") > 1:
        raise ConfigError("--listen stdio: can be given once")
    return specs


def _limits(options: argparse.Namespace) -> Limits:
    changed = {
        "max_frame_bytes": options.max_frame_bytes,
        "max_sessions": options.max_sessions,
        "drain": options.drain_timeout,
    }
    return dataclasses.replace(DEFAULT_LIMITS, **{name: value for name, value in changed.items() if value is not None})


def _check_words(options: argparse.Namespace) -> None:
    """Look at what argparse has not: it may have taken the command for a value. Raises ConfigError."""
    check_names(options)
    for origin in options.allow_origin:
        if origin != "*" and not is_origin(origin):
            raise ConfigError(
                f"--allow-origin: {origin!r} is not an origin such as https://app.example.com or "
                "http://localhost:3000, nor '*' for all; if it is the command, put -- before it"
            )
    for host in options.allowed_host:
        if not is_host(host):
            raise ConfigError(
                f"--allowed-host: {host!r} is not a name or an address, with or without :PORT, as it stands in Host"
            )
    host = _host(options)
    if not is_host(host):
        raise ConfigError(f"--host: {host!r} is not an address to listen on, such as 127.0.0.1 or ::1")
    if not is_host(f"{host}:1") and not is_host(f"[{host}]:1"):
        raise ConfigError(f"--host: {host!r} has a port in it, which belongs to --port")


def _host(options: argparse.Namespace) -> str:
    host: str = options.host
    return host[1:-1] if host.startswith("[") and host.endswith("]") else host


def _serve_settings(
    options: argparse.Namespace, command: list[str], secrets: list[str], headers: dict[str, str]
) -> ServeSettings:
    warnings = []
    url = command[0] if is_address(command[0]) else None
    listens = _listens(options)
    for host in {spec.host for spec in listens if spec.kind in ("http", "tcp") and not is_loopback(spec.host)}:
        if not options.insecure_no_auth:
            raise ConfigError(
                f"--host {host} would let everybody who can reach this machine use {command[0]!r} here; "
                "bind 127.0.0.1 behind a proxy that asks for a login, or say --insecure-no-auth"
            )
        warnings.append(f"listening on {host} without authentication: whoever reaches it uses your server")
    if "*" in options.allow_origin:
        warnings.append("--allow-origin '*': any web page that your browser shows can use your server")
    env = child_environment(dict(options.env), pass_all=options.pass_environment)
    return ServeSettings(
        command=() if url else command,
        name=os.path.basename(command[0]),
        env=env,
        url=url,
        headers=headers,
        transport=options.transport.replace("-", ""),
        share=options.share,
        cwd=options.cwd,
        listen=listens,
        allowed_hosts=options.allowed_host,
        allowed_origins=options.allow_origin,
        secrets=secrets,
        warnings=warnings,
        limits=_limits(options),
    )


def _job(options: argparse.Namespace, command: list[str], sink: StderrSink) -> Coroutine[Any, Any, int]:
    """Return what is to run. Raises ConfigError."""
    headers = headers_of(options)
    secrets = secrets_of(options, headers, command[0] if is_address(command[0]) else None)
    begin_log(options, secrets, sink)
    for flag in options.unused:
        logger.warning("%s is of no use before a %s: ignored", flag, "URL" if is_address(command[0]) else "command")
    if is_address(command[0]):
        warn_of_headers(options)
        if is_url(command[0]) or (options.listen and any(spec.kind == "http" for spec in _listens(options))):
            import_aiohttp()
        if len(command) > 1:
            raise ConfigError(f"nothing may follow the URL, but {command[1]!r} does; see mcp-relay --help")
        transport = options.transport.replace("-", "")
        if options.listen and any(spec != ListenSpec("stdio") for spec in _listens(options)):
            from relay.app.serve import serve

            return serve(_serve_settings(options, command, secrets, headers), sink)
        from relay.app.bridge import bridge

        settings = BridgeSettings(
            url=command[0], headers=headers, transport=transport, secrets=secrets, limits=_limits(options)
        )
        return bridge(settings, sink)
    if scheme := re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*://", command[0]):
        raise ConfigError(
            f"{scheme[0]}… is neither a command nor an address of a kind that is known: {', '.join(ADDRESSES)}"
        )
    if any(spec.kind == "http" for spec in _listens(options)):
        import_aiohttp()
    from relay.app.serve import serve

    return serve(_serve_settings(options, command, secrets, headers), sink)


def _test(words: Sequence[str], sink: StderrSink) -> Coroutine[Any, Any, int]:
    from relay.app.check import command

    return command(words, sink)


def _notification_demo(words: Sequence[str], sink: StderrSink) -> Coroutine[Any, Any, int]:
    from relay.app.notification_demo import command

    return command(words, sink)


def _proxy(words: Sequence[str], sink: StderrSink) -> Coroutine[Any, Any, int]:
    from relay.app.proxy_commands import proxy

    return proxy(words, sink)


def _load_balance(words: Sequence[str], sink: StderrSink) -> Coroutine[Any, Any, int]:
    from relay.app.proxy_commands import load_balance

    return load_balance(words, sink)


# The first word, and what reads the others and returns the job. Each imports its own: a relay needs none of it.
_SUBCOMMANDS: dict[str, Callable[[Sequence[str], StderrSink], Coroutine[Any, Any, int]]] = {
    "test": _test,
    "notification-demo": _notification_demo,
    "proxy": _proxy,
    "load-balance": _load_balance,
}


def _loop_factory() -> Callable[[], AbstractEventLoop] | None:
    """Return uvloop's loop where there is one; None is Python's own. Raises ConfigError."""
    wanted = os.environ.get("MCP_RELAY_LOOP", "")
    if wanted not in ("", "asyncio", "uvloop"):
        raise ConfigError(f"MCP_RELAY_LOOP is {wanted!r}; known are asyncio and uvloop")
    if wanted == "asyncio":
        return None
    try:
        import uvloop
    except ImportError as exc:
        if wanted:
            raise ConfigError("MCP_RELAY_LOOP is 'uvloop', which is not installed; leave it out") from exc
        return None
    return uvloop.new_event_loop


def _next_step(exc: ConfigError) -> str:
    """Return what to change on the command line, where the error itself knows only that an address cannot be had."""
    cause = exc.__cause__
    if isinstance(cause, socket.gaierror) or (isinstance(cause, OSError) and cause.errno == errno.EADDRNOTAVAIL):
        return "; --host must be an address of this machine"
    if isinstance(cause, OSError) and cause.errno == errno.EADDRINUSE:
        return "; choose another --port, or leave it out for a free one"
    if isinstance(cause, PermissionError):
        return "; choose a --port above 1023"
    return ""


def _open_standard_descriptors() -> None:
    """Put the null device where stdin, stdout or stderr was closed: the next pipe would get its number, and uvloop
    aborts the process when it closes one of those.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is this one


def _raise_descriptor_limit() -> None:
    """Let as many descriptors be open as connections may be, not the 1,024 that a login gives: as far as allowed."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(ValueError, OSError):  # macOS admits fewer than it says
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _collect_less_often() -> None:
    """Let the cycle collector leave alone what was loaded, and come less often: nearly nothing here is a cycle.

    By default it looks at every 700 new objects, which 128 calls in flight pass with each batch: 29,500 calls a second
    against 35,000 (bench: connect-json/calls/100B/128).
    """
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    _open_standard_descriptors()
    _raise_descriptor_limit()
    sink = StderrSink()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # --help has dots that a plain ASCII terminal has not
    try:
        words = sys.argv[1:] if argv is None else argv
        if words and words[0] in _SUBCOMMANDS:
            job = _SUBCOMMANDS[words[0]](words[1:], sink)
            with asyncio.Runner(loop_factory=_loop_factory()) as runner:
                return runner.run(job)
        options, command = _parse(words)
        if options.version:
            import relay

            sys.stdout.write(f"mcp-relay {relay.__version__}\n")
            return 0
        _check_words(options)
        if not command:
            raise ConfigError("no URL or command given; see mcp-relay --help")
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            job = _job(options, command, sink)
            _collect_less_often()
            return runner.run(job)
    except ConfigError as exc:
        say(sink, str(exc) + _next_step(exc))
        return 2
    except RelayError as exc:
        say(sink, str(exc))
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        sink.flush()
