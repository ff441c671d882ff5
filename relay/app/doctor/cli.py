"""``mcp-relay test TARGET``: look at a server as a client would, and report what is there.

stdout carries the report here, not the protocol; stderr carries the reason of a failure.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Coroutine, Sequence
from typing import Any

from relay.addresses import shown_address
from relay.app.doctor.advice import SEE_STDERR, CheckFailed
from relay.app.doctor.output import ChildOutput
from relay.app.doctor.report import as_json, as_lines
from relay.app.doctor.settings import DoctorSettings
from relay.app.doctor.steps import Examination
from relay.app.log.stderr import StderrSink, say
from relay.app.options.connect_args import (
    add_server_options,
    add_transport_option,
    parse_target,
    take_headers,
    transport_of,
)
from relay.app.options.dialling import dialling_of, ending_logins
from relay.app.options.headers import headers_of, warn_of_headers
from relay.app.options.log import add_log_options, begin_log
from relay.app.options.login import add_login_options, hidden_by_login, log_in
from relay.app.options.oauth import add_oauth_options
from relay.app.options.parser import Parser, add_config_option, parse_args, split_command
from relay.app.options.secrets import secrets_of
from relay.app.options.targets import (
    OF_A_CHILD,
    OF_A_URL,
    add_child_options,
    add_http_options,
    check_names,
    unused_options,
    variables_of,
)
from relay.app.options.tls import add_dial_tls_options
from relay.app.options.values import seconds
from relay.app.run.quick_start import import_aiohttp
from relay.app.secrets.text import mask_secrets
from relay.app.specs import fault_of_scheme, is_address
from relay.endpoints.child.child import child_environment
from relay.errors import ConfigError

__all__ = ["build_parser", "check", "command"]

logger = logging.getLogger("relay")

_DESCRIPTION = """\
Look at an MCP server: can it be reached, what does it speak, what does it offer, how fast does it answer.
The report is on stdout. If something is wrong: exit code 1, and one line on stderr that says what, and what to try.
"""


# The arguments.


def build_parser(*, is_of_connect: bool = False) -> argparse.ArgumentParser:
    """Return the parser of this command's arguments, or of mcp-connect's arguments for it."""
    parser = Parser(
        prog="mcp-relay test",
        usage="mcp-relay test [OPTIONS] URL\n       mcp-relay test [OPTIONS] [--] COMMAND [ARG…]\n"
        "       mcp-relay test --endpoint SERVER [--transport http|stdio|tcp] [OPTIONS]",
        description=_DESCRIPTION,
        allow_abbrev=False,
    )
    remote = parser.add_argument_group("to a remote server")
    if is_of_connect:
        parser.add_argument("--endpoint", required=True, metavar="SERVER", help="the server, in mcp-connect's words")
        add_transport_option(remote)
        add_server_options(remote)
    else:
        parser.add_argument("target", nargs="?", metavar="URL|COMMAND", help="a server's address, or a program")
        parser.add_argument("args", nargs="*", metavar="ARG", help="the program's arguments; with a dash after --")
        add_http_options(remote)
    add_login_options(remote)
    add_oauth_options(parser.add_argument_group("login by OAuth, if the server asks for it"))
    add_dial_tls_options(remote)
    parser.add_argument(
        "--json", action="store_true", dest="as_json", help="report as one JSON object, every name in it"
    )
    parser.add_argument(
        "--timeout", type=seconds, default=10.0, metavar="S", help="how long the server may take to answer (default 10)"
    )
    add_child_options(parser.add_argument_group("the command"))
    logging_group = parser.add_argument_group("log and configuration")
    add_log_options(logging_group)
    add_config_option(logging_group)
    return parser


def _parse(args: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return the options and the target. Raises ConfigError."""
    own_args, rest = split_command(args)
    is_of_connect = any(word == "--endpoint" or word.startswith("--endpoint=") for word in own_args)
    parser = build_parser(is_of_connect=is_of_connect)
    if is_of_connect:
        options = parse_args(parser, own_args, "test")
        if rest:
            raise ConfigError(f"--endpoint names the server, and {rest[0]!r} another; leave one of them out")
        take_headers(options)
        server = parse_target(options.endpoint, "--endpoint", transport_of(options))
        target = [server] if isinstance(server, str) else server
        options.transport = "auto"
        parser.set_defaults(transport="auto", headers=[])
    else:
        options = parse_args(parser, own_args, "test")
        target = ([options.target, *options.args] if options.target is not None else []) + rest
    is_for_command = bool(target) and not is_address(target[0])
    options.unused = unused_options(parser, options, OF_A_URL if is_for_command else OF_A_CHILD)
    return options, target


def command(args: Sequence[str], sink: StderrSink) -> Coroutine[Any, Any, int]:
    """Return the job that these arguments ask for. Raises ConfigError."""
    options, target = _parse(args)
    check_names(options)
    if not target:
        raise ConfigError("no URL or command to test; see mcp-relay test --help")
    if not options.timeout:
        raise ConfigError("--timeout: nothing answers within 0 seconds")
    if fault := fault_of_scheme(target[0]):
        raise ConfigError(fault)
    address = target[0] if is_address(target[0]) else None
    if address is not None and address.lower() == "stdio:":
        raise ConfigError("stdio: is our own stdin and stdout; name the command that is to be tested")
    if address is not None and len(target) > 1:
        raise ConfigError(
            f"nothing may follow the URL, but {shown_address(target[1])!r} does; see mcp-relay test --help"
        )
    given = headers_of(options)
    headers, login = log_in(options, given)
    secrets = secrets_of(options, headers, address)
    begin_log(options, secrets, sink)
    logging.getLogger().handlers[0].addFilter(_Once())
    for flag in options.unused:
        logger.warning("%s has no effect before a %s: ignored", flag, "command" if address is None else "URL")
    if address is not None:
        warn_of_headers(options)
        for warning in hidden_by_login(options, given):
            logger.warning("%s", warning)
        import_aiohttp()
    settings = DoctorSettings(
        target=address or target,
        dialling=dialling_of(
            options,
            headers,
            [] if address is None else [address],
            sink,
            login=login,
            url=address,
            transport=options.transport.replace("-", ""),
            may_ask=False,
        ),
        env=child_environment(variables_of(options), pass_all=options.pass_environment),
        cwd=options.cwd,
        timeout=options.timeout,
        secrets=secrets,
    )
    return ending_logins(lambda: check(settings, sink, wants_json=options.as_json), settings.dialling)


# The job.


async def check(settings: DoctorSettings, sink: StderrSink, *, wants_json: bool = False) -> int:
    """Test the server, print the report, and return the exit code. Raises ConfigError if the target is no address."""
    output = ChildOutput(os.path.basename(settings.target[0]), sink, settings.secrets)
    examination = Examination(settings, output)
    failure: CheckFailed | None = None
    try:
        if not isinstance(settings.target, str):
            await output.open()
        await examination.run()
    except CheckFailed as exc:
        failure = exc
        failure.reason = mask_secrets(failure.reason, settings.secrets)
        if not await output.show_last_output() and failure.advice == SEE_STDERR:
            failure.advice = "it wrote nothing on stderr"
    finally:
        output.close()
    output.show_noise()
    found = examination.found
    found.target = mask_secrets(found.target, settings.secrets)
    found.noise = output.noise
    lines = [as_json(found, failure)] if wants_json else as_lines(found, failure)
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()
    if failure is not None:
        say(sink, str(failure))
    return 0 if failure is None else 1


class _Once(logging.Filter):
    """Lets each warning through once: the test may connect twice, once for each era."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether a record is new, or below a warning."""
        text = record.getMessage()
        is_new = record.levelno < logging.WARNING or text not in self._seen
        self._seen.add(text)
        return is_new
