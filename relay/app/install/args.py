"""The arguments of ``mcp-relay install``: they become the entry that starts this program with its options."""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from relay.addresses import shown_address
from relay.app.install.clients import CLIENTS
from relay.app.install.program import DISTRIBUTION, own_command, uvx_command
from relay.app.install.short_path import is_found_anyway, path_for_script
from relay.app.log.stderr import StderrSink
from relay.app.options.headers import headers_of
from relay.app.options.log import begin_log
from relay.app.options.login import log_in
from relay.app.options.parser import Parser, split_command
from relay.app.options.relay import FOR_A_COMMAND, build_parser
from relay.app.options.secrets import SECRET_OPTIONS, secrets_of
from relay.app.options.targets import OF_A_CHILD, OF_A_URL, check_names
from relay.app.specs import ADDRESSES, is_address
from relay.endpoints.child.child import child_environment, resolve_program
from relay.errors import ConfigError

__all__ = ["Wanted", "build_install_parser", "read_args"]

logger = logging.getLogger("relay")

_DESCRIPTION = """\
Put an MCP server into a client's configuration: an entry that starts this program, by its full path.
The change is shown first, with secrets masked; then it asks. Comments and all else in the file stay as they are.
"""
_EPILOG = """\
examples:
  mcp-relay install --client claude-desktop remote https://example.com/mcp
  mcp-relay install --client cursor files -e ROOT /srv -- npx -y @modelcontextprotocol/server-everything

Variables given with -e are kept in the entry's "env", as is the token of -H Authorization "Bearer …": what is there is
not in the process list.
"""
_USAGE = """\
mcp-relay install --client CLIENT NAME [OPTIONS] URL
       mcp-relay install --client CLIENT NAME [OPTIONS] -- COMMAND [ARG…]
       mcp-relay install --list"""
_SHORT = f"""\
usage: {_USAGE}

{_DESCRIPTION}
{_EPILOG}
the usual options:
  --client CLIENT       claude-desktop, claude-code, cursor, vscode, zed or windsurf
  --project             the project's file in this directory, not the user's
  --list                show the clients, their entries, and whether these answer
  --print               print the entry and change nothing
  --yes                 do not ask
  --uvx                 start mcp-relay by uvx, not by its path
  -H KEY VALUE          send this header with every request
  -e KEY VALUE          set a variable for the command
  --help-all            every option that an entry may have
"""
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
# Options of a relay that listens; an entry speaks on stdio.
_OF_LISTENING = {name: flag for name, flag in FOR_A_COMMAND.items() if name not in OF_A_CHILD}
_OWN = ("client", "project", "yes", "print", "list", "uvx", "target", "args", "help", "version")


@dataclass(frozen=True, slots=True)
class Wanted:
    """The entry to write, and where."""

    client: str
    name: str
    entry: dict[str, Any]
    secrets: Sequence[str] = field(repr=False)
    is_for_project: bool
    is_agreed: bool
    only_print: bool
    holds_secret: bool
    """Whether a secret is in the entry as it is, not as a reference to a variable."""


def build_install_parser() -> Parser:
    """Return the relay's parser with the arguments of ``install`` added."""
    parser = build_parser()
    parser.prog, parser.short_help = "mcp-relay install", _SHORT
    parser.usage = _USAGE
    parser.description, parser.epilog = _DESCRIPTION, _EPILOG
    for action in parser._actions:
        if action.dest == "target":
            action.metavar, action.help = "NAME", "what the client calls the server"
        elif action.dest == "args":
            action.metavar, action.help = "URL", "a server's address; a command goes after --"
    group = parser.add_argument_group("installing")
    group.add_argument("--client", choices=tuple(CLIENTS), help="whose configuration is to be changed")
    group.add_argument("--project", action="store_true", help="that of the project in this directory, not the user's")
    group.add_argument("-y", "--yes", action="store_true", help="do not ask")
    group.add_argument("--print", action="store_true", help="print the entry on stdout and change nothing")
    group.add_argument(
        "--uvx", action="store_true", help=f"start this version by uvx {DISTRIBUTION}@VERSION, not by its path"
    )
    group.add_argument(
        "--list",
        action="store_true",
        help="show the clients, the entries of mcp-relay in them, and whether these answer",
    )
    return parser


def read_args(args: Sequence[str], sink: StderrSink) -> Wanted:
    """Return the entry that the arguments describe; log warnings. Raises ConfigError."""
    own, target = split_command(args)
    parser = build_install_parser()
    options = parser.parse_intermixed_args(own)
    if options.client is None:
        raise ConfigError(f"--client is missing: one of {', '.join(CLIENTS)}")
    if options.target is None or not _NAME.fullmatch(options.target):
        raise ConfigError(
            f"{'a name' if options.target is None else repr(options.target) + ' is no name'} for the server must come "
            "before it: up to 64 letters, digits, dots, dashes and underscores; see mcp-relay install --help"
        )
    target = [*options.args, *target]
    check_names(options)
    _check_target(target)
    headers = headers_of(options)
    log_in(options, headers)  # raises if the login is incomplete
    secrets = secrets_of(options, headers, target[0] if is_address(target[0]) else None)
    begin_log(options, secrets, sink)
    _check_own_variables(dict(options.env))
    entry = _entry(options, _given(own), target)
    written = json.dumps(entry, ensure_ascii=False)
    kind = CLIENTS[options.client].type_of_entry
    return Wanted(
        client=options.client,
        name=options.target,
        entry=entry if kind is None else {"type": kind, **entry},
        secrets=secrets,
        is_for_project=options.project,
        is_agreed=options.yes,
        only_print=options.print,
        holds_secret=any(one and "${" not in one and one in written for one in secrets),
    )


def _check_own_variables(env: Mapping[str, str]) -> None:
    """Check that the relay starts with these variables in its environment. Raises ConfigError."""
    if not any(name.startswith("MCP_RELAY_") for name in env):
        return
    from relay.app.config.layers import parse_layered
    from relay.app.run.process import loop_factory

    try:
        parse_layered(build_parser(), [], env)
        loop_factory(env)
    except ConfigError as exc:
        raise ConfigError(f"-e: the entry would not start: {exc}") from exc


def _check_target(target: Sequence[str]) -> None:
    if not target or not target[0]:
        raise ConfigError("no URL or command given; see mcp-relay install --help")
    if target[0].lower() == "stdio:":
        raise ConfigError(
            "stdio: is where the client speaks to the entry; name the server's URL, or a command after --"
        )
    if is_address(target[0]):
        if len(target) > 1:
            raise ConfigError(
                f"nothing may follow the URL, but {shown_address(target[1])!r} does; see mcp-relay install --help"
            )
    elif "://" in target[0]:
        raise ConfigError(
            f"{shown_address(target[0])!r} is neither a command nor an address: known are {', '.join(ADDRESSES)}"
        )


def _given(args: Sequence[str]) -> dict[argparse.Action, Any]:
    """Return the given options and their values as written."""
    parser = build_install_parser()
    for action in parser._actions:
        action.type, action.choices, action.default = None, None, argparse.SUPPRESS
    values = vars(parser.parse_intermixed_args(args))
    given: dict[argparse.Action, Any] = {}
    for dest in dict.fromkeys(action.dest for action in parser._actions if action.dest in values):
        value, writers = values[dest], [action for action in parser._actions if action.dest == dest]
        takes_value = isinstance(value, (str, list))
        # Several flags may set one option: take the one that takes any value, or the one with this value.
        fitting = (one for one in writers if (one.nargs != 0 if takes_value else one.const == value))
        given[next(fitting, writers[0])] = value
    return given


def _entry(options: argparse.Namespace, given: dict[argparse.Action, Any], target: list[str]) -> dict[str, Any]:
    """Return the entry: the command that the client starts."""
    is_remote = is_address(target[0])
    env = dict(options.env)
    left_out = {**(OF_A_CHILD if is_remote else OF_A_URL), **({} if options.listen else _OF_LISTENING)}
    args: list[str] = []
    for action, value in given.items():
        if action.dest in (*_OWN, "env"):
            continue
        if action.dest in left_out:
            logger.warning("%s has no effect here: left out", left_out[action.dest])
        elif action.dest == "headers":
            args += _header_args(value, env)
        elif action.dest in SECRET_OPTIONS and is_remote:
            env[f"MCP_RELAY_{action.dest.upper()}"] = value  # where the process list does not show it
        else:
            args += _args(action, value)
    if not is_remote or options.listen:
        args += [] if "stdio:" in options.listen else ["--listen", "stdio:"]
    if not is_remote:
        for name in env:  # the client sets them for the relay; the server needs them
            args += [] if name in options.pass_variable else ["--pass-variable", name]
        target = _findable(target, options, env)
    program, *first = uvx_command() if options.uvx else own_command()
    takes_all = any(action.nargs in ("+", "*", "?") for action in given if action.dest not in _OWN)
    dashes = [] if is_remote and not takes_all else ["--"]
    entry: dict[str, Any] = {"command": program, "args": [*first, *args, *dashes, *target]}
    return {**entry, "env": env} if env else entry


def _header_args(headers: Sequence[Sequence[str]], env: dict[str, str]) -> list[str]:
    """Return the words for headers; a bearer's token goes to ``env``, where the process list does not show it."""
    args: list[str] = []
    for name, value in headers:
        if name.lower() == "authorization" and value[:7].lower() == "bearer ":
            env["API_ACCESS_TOKEN"] = value[7:].strip()
        else:
            args += ["-H", name, value]
    return args


def _args(action: argparse.Action, value: Any) -> list[str]:
    """Return an option as it is written."""
    if isinstance(action, argparse.BooleanOptionalAction):
        return [next(name for name in action.option_strings if name.startswith("--no-") is not value)]
    flag = next(name for name in action.option_strings if name.startswith("--"))
    if action.nargs == 0 or (action.nargs == "?" and value == action.const):
        return [flag]
    if action.nargs in ("+", "*"):
        return [flag, *value]
    if not isinstance(value, list):
        value = _wherever_we_are(action, value)
        return [f"{flag}={value}"] if value.startswith("-") or action.nargs == "?" else [flag, value]
    return [word for one in value for word in (flag, *([one] if isinstance(one, str) else one))]


def _wherever_we_are(action: argparse.Action, value: str) -> str:
    """Return a value; if it is a path, as an absolute one."""
    is_path = action.metavar in ("FILE", "DIR") or (action.nargs == "?" and os.path.exists(value))
    return os.path.abspath(value) if is_path else value


def _findable(target: list[str], options: argparse.Namespace, env: dict[str, str]) -> list[str]:
    """Return a command that depends neither on the working directory nor on this PATH; warn if it is not found.

    A PATH that its interpreter needs is added to ``env``.
    """
    program = target[0]
    if os.path.dirname(program) and not os.path.isabs(program):
        program = os.path.abspath(os.path.join(options.cwd or "", program))
    ours = child_environment(dict(options.env))
    try:
        found = resolve_program([program, *target[1:]], ours, options.cwd)[0]
    except ConfigError as exc:
        logger.warning("%s", exc)
        return [program, *target[1:]]
    if "PATH" not in env:  # the user's own PATH stays
        if not os.path.dirname(program) and not is_found_anyway(found):
            logger.warning("%s is written as %s: programs on the desktop have a short PATH", program, found)
            program = found
        if path := path_for_script(found, ours.get("PATH")):
            logger.warning("%s needs what is in %s: PATH in the entry says so", program, path.split(os.pathsep)[0])
            env["PATH"] = path
    return [program, *target[1:]]
