"""The command line of ``mcp-relay``: words and flags become settings, settings a running relay.

Exit codes: 0 an orderly end, 1 a failure, 2 a mistake of the operator's (one line on stderr), 130 interrupted.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import io
import logging
import os
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from relay.app.logs import StderrSink, say, set_up_logging
from relay.app.quick_start import import_aiohttp
from relay.app.settings import BridgeSettings, ServeSettings
from relay.app.wiring import is_url
from relay.auth.origin import is_loopback
from relay.endpoints.child import child_environment
from relay.errors import ConfigError, RelayError
from relay.limits import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

__all__ = ["main"]

_DESCRIPTION = """\
Relay MCP between transports: a stdio server to HTTP clients, or a remote server to a client that speaks only stdio.

  mcp-relay [OPTIONS] URL                  join this program's stdin and stdout to an MCP server at URL
  mcp-relay [OPTIONS] [--] COMMAND [ARG…]  offer the MCP server COMMAND over HTTP, at /mcp and at /sse
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
  MCP_RELAY_LOOP     asyncio: use Python's own event loop instead of uvloop

exit codes:
  0 an orderly end · 1 a failure · 2 a mistake on the command line · 130 interrupted

stdout carries the protocol and nothing else; everything said to people is on stderr.
"""

_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
_SECRET_NAMES = ("TOKEN", "SECRET", "PASSWORD", "PASSWD", "KEY", "CREDENTIAL", "AUTH", "COOKIE")


class _Parser(argparse.ArgumentParser):
    """argparse whose errors are one line that says what to do next."""

    def error(self, message: str) -> NoReturn:
        if message.startswith("unrecognized arguments"):
            message += "; if they are the command's own, put -- before it"
        raise ConfigError(f"{message}; see mcp-relay --help")


def _size(text: str) -> int:
    """Read a number of bytes, with an optional suffix k, M or G (of 1024)."""
    factors = {"k": 1024, "m": 1024**2, "g": 1024**3}
    digits, factor = (text[:-1], factors[text[-1].lower()]) if text[-1:].lower() in factors else (text, 1)
    if not digits.isascii() or not digits.isdigit() or int(digits) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 65536, 512k or 64M")
    return int(digits) * factor


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return int(text)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return value


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 0 to 65535")
    return int(text)


def _build_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="mcp-relay",
        usage="mcp-relay [OPTIONS] URL\n       mcp-relay [OPTIONS] [--] COMMAND [ARG…]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("target", nargs="?", metavar="URL|COMMAND", help="a server's http(s) address, or a program")
    parser.add_argument("args", nargs="*", metavar="ARG", help="the program's arguments; those with a dash after --")
    _add_http_options(parser.add_argument_group("to a remote server"))
    _add_child_options(parser.add_argument_group("the command"))
    _add_listen_options(parser.add_argument_group("listening"))
    limits = parser.add_argument_group("limits")
    limits.add_argument("--max-frame-bytes", type=_size, metavar="SIZE", help="one JSON-RPC message (default 64M)")
    limits.add_argument("--max-sessions", type=_positive, metavar="N", help="sessions at one time (default 1024)")
    limits.add_argument(
        "--drain-timeout", type=_seconds, metavar="S", help="how long SIGTERM waits for answers (default 20)"
    )
    said = parser.add_argument_group("what is said")
    said.add_argument("--log-level", type=str.upper, choices=_LEVELS, default="WARNING", help="default WARNING")
    said.add_argument("--debug", action=argparse.BooleanOptionalAction, help="log every frame; wins over --log-level")
    said.add_argument("--version", action="store_true", help="print the version and exit")
    return parser


def _add_http_options(group: Any) -> None:
    group.add_argument(
        "--transport",
        choices=("auto", "sse", "streamablehttp", "streamable-http"),
        default="auto",
        help="what the server speaks; found out by default",
    )
    group.add_argument(
        "-H", "--headers", nargs=2, action="append", default=[], metavar=("KEY", "VALUE"),
        help="send this header with every request (repeatable)",
    )  # fmt: skip


def _add_child_options(group: Any) -> None:
    group.add_argument(
        "-e", "--env", nargs=2, action="append", default=[], metavar=("KEY", "VALUE"),
        help="set a variable for the command (repeatable)",
    )  # fmt: skip
    group.add_argument("--cwd", metavar="DIR", help="the command's working directory")
    group.add_argument(
        "--pass-environment",
        action=argparse.BooleanOptionalAction,
        default=False,
        help="hand the whole environment on, not only HOME LOGNAME PATH SHELL TERM USER",
    )


def _add_listen_options(group: Any) -> None:
    group.add_argument("--host", default="127.0.0.1", help="the address to listen on (default 127.0.0.1)")
    group.add_argument("--port", type=_port, default=0, help="the port; 0, the default, is a free one")
    group.add_argument(
        "--allowed-host", action="append", default=[], metavar="HOST[:PORT]",
        help="a name under which clients reach this server (repeatable)",
    )  # fmt: skip
    group.add_argument(
        "--allow-origin", nargs="+", action="extend", default=[], metavar="ORIGIN",
        help="an origin whose web pages may use this server; '*' for all",
    )  # fmt: skip
    group.add_argument(
        "--insecure-no-auth", action="store_true", help="listen beyond this machine without authentication"
    )


def _parse(argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return the options and the words of the target: one URL, or a command and its arguments."""
    words = list(argv)
    command: list[str] = []
    if "--" in words:
        cut = words.index("--")
        words, command = words[:cut], words[cut + 1 :]
    options = _build_parser().parse_intermixed_args(words)
    if options.target is not None:
        command = [options.target, *options.args, *command]
    return options, command


def _limits(options: argparse.Namespace) -> Limits:
    changed = {
        "max_frame_bytes": options.max_frame_bytes,
        "max_sessions": options.max_sessions,
        "drain": options.drain_timeout,
    }
    return dataclasses.replace(DEFAULT_LIMITS, **{name: value for name, value in changed.items() if value is not None})


def _headers(options: argparse.Namespace) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in options.headers:
        if not name or not all(c.isascii() and (c.isalnum() or c in "!#$%&'*+-.^_`|~") for c in name):
            raise ConfigError(f"-H: {name!r} is not a header name; write: -H Name 'value'")
        _check_header_value(f"-H: the value of {name!r}", value)
        headers[name] = value
    if token := os.environ.get("API_ACCESS_TOKEN"):
        _check_header_value("API_ACCESS_TOKEN", token)
        headers = {name: value for name, value in headers.items() if name.lower() != "authorization"}
        headers["Authorization"] = f"Bearer {token}"
    return headers


def _check_header_value(what: str, value: str) -> None:
    if any(c in value for c in "\r\n\0"):
        raise ConfigError(f"{what} has a line break in it")


def _secrets(options: argparse.Namespace, headers: dict[str, str]) -> list[str]:
    """Return the values that no log may show: whole, and without the scheme before them."""
    values = list(headers.values())
    values += [value for name, value in options.env if any(word in name.upper() for word in _SECRET_NAMES)]
    values += [value.partition(" ")[2] for value in values]
    return [value for value in values if len(value) >= 4]


def _serve_settings(options: argparse.Namespace, command: list[str], secrets: list[str]) -> ServeSettings:
    warnings = []
    if not is_loopback(options.host):
        if not options.insecure_no_auth:
            raise ConfigError(
                f"--host {options.host} would let everybody who can reach this machine run {command[0]!r} here; "
                "bind 127.0.0.1 behind a proxy that asks for a login, or say --insecure-no-auth"
            )
        warnings.append(f"listening on {options.host} without authentication: whoever reaches it uses your server")
    if "*" in options.allow_origin:
        warnings.append("--allow-origin '*': any web page that your browser shows can use your server")
    env = child_environment(dict(options.env), pass_all=options.pass_environment)
    return ServeSettings(
        command=command,
        name=os.path.basename(command[0]),
        env=env,
        cwd=options.cwd,
        host=options.host,
        port=options.port,
        allowed_hosts=options.allowed_host,
        allowed_origins=options.allow_origin,
        secrets=secrets,
        warnings=warnings,
        limits=_limits(options),
    )


def _job(options: argparse.Namespace, command: list[str], sink: StderrSink) -> Coroutine[Any, Any, int]:
    """Return what is to run. Raises ConfigError."""
    headers = _headers(options)
    secrets = _secrets(options, headers)
    level = logging.DEBUG if options.debug else getattr(logging, options.log_level)
    set_up_logging(level, secrets, sink)
    if is_url(command[0]):
        import_aiohttp()
        from relay.app.serve import bridge

        if len(command) > 1:
            raise ConfigError(f"nothing may follow the URL, but {command[1]!r} does; see mcp-relay --help")
        transport = options.transport.replace("-", "")
        settings = BridgeSettings(
            url=command[0], headers=headers, transport=transport, secrets=secrets, limits=_limits(options)
        )
        return bridge(settings, sink)
    import_aiohttp()
    from relay.app.serve import serve

    return serve(_serve_settings(options, command, secrets), sink)


def _loop_factory() -> Callable[[], AbstractEventLoop] | None:
    """Return uvloop's loop where there is one; None is Python's own."""
    if os.environ.get("MCP_RELAY_LOOP", "uvloop") == "asyncio":
        return None
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


def _open_standard_descriptors() -> None:
    """Put the null device where stdin, stdout or stderr was closed: the next pipe would get its number, and uvloop
    aborts the process when it closes one of those.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free, which is this one


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; return its exit code."""
    _open_standard_descriptors()
    sink = StderrSink()
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # --help has dots that a plain ASCII terminal has not
    try:
        options, command = _parse(sys.argv[1:] if argv is None else argv)
        if options.version:
            import relay

            sys.stdout.write(f"mcp-relay {relay.__version__}\n")
            return 0
        if not command:
            raise ConfigError("no URL or command given; see mcp-relay --help")
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_job(options, command, sink))
    except ConfigError as exc:
        say(sink, str(exc))
        return 2
    except RelayError as exc:
        say(sink, str(exc))
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        sink.flush()
