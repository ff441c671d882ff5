"""What the readers of other tools' arguments share: a parser, and a builder of native arguments."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from relay.app.options.parser import Parser, split_command
from relay.app.secrets.names import name_part
from relay.errors import ConfigError

__all__ = [
    "EVERYWHERE",
    "Native",
    "ToolParser",
    "Version",
    "expand",
    "header",
    "milliseconds",
    "shell_line",
    "with_shell",
]

_SHELL = re.compile(r"[|&;<>()$`*?\[\]#~%!{}\n]|^\w+=")
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_TOKEN = "TOKEN_OF_CLIENTS"
EVERYWHERE = "0.0.0.0"
"""Where a tool listens that binds every address of the machine."""


@dataclass(slots=True)
class Native:
    """Arguments for ``mcp-relay`` itself, as a reader collects them."""

    args: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Differences from the tool, printed for the operator."""
    takes_token: bool = True
    """Whether ``API_ACCESS_TOKEN`` is meant for the server at the URL: few of the tools know it."""
    takes_proxy: bool = True
    """Whether ``HTTP_PROXY`` and its like apply to the server at the URL."""

    def add(self, flag: str, *values: object) -> None:
        """Add an option with its values."""
        self.args += [flag, *(str(value) for value in values)]

    def listen(self, host: str, port: int) -> None:
        """Listen on a host and a port; where others can reach them, the relay warns."""
        self.add("--host", host)
        self.add("--port", port)

    def headers(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Send these headers with every request to the server."""
        for name, value in pairs:
            self.add("-H", name, value)

    def accept_token(self, name: str, token: str, flag: str) -> None:
        """Admit only clients with this token, which ``flag`` names. Raises ConfigError."""
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise ConfigError(f"{flag}: a token is visible ASCII characters without blanks")
        # The native option reads variables and files only, and no child gets the variables that it reads.
        os.environ[_TOKEN] = token
        self.add("--accept-token", f"{name}=env:{_TOKEN}")

    def target(self, *args: str) -> None:
        """Name the URL, or the command, last."""
        self.args += ["--", *args]

    def to_url(self, url: str) -> None:
        """Join own stdin and stdout to a URL."""
        self.target(url)
        self.takes_token = False


class ToolParser(Parser):
    """An argparse parser for another tool: it knows options that are not supported, and names them in errors."""

    def __init__(self, tool: str, description: str, usage: str) -> None:
        """Read words after ``as tool``; ``usage`` is what follows the name."""
        super().__init__(
            prog=f"mcp-relay as {tool}",
            usage=f"{tool} {usage}",
            description=description,
            allow_abbrev=False,
        )
        self.tool = tool
        self._refused: list[str] = []
        self.has_command = self.has_unknown = False
        self.add_argument("--version", action=Version, nargs=0, help="print the version and exit")

    def error(self, message: str) -> NoReturn:
        """Raise ConfigError, without values of unknown options: they may be secrets."""
        if message.startswith("unrecognized arguments"):
            flags = [name_part(word) for word in message.split()[2:] if word.startswith("-")]
            kind = "unrecognized arguments" if self.has_command else "no such option"  # the first may be a command's
            message = f"{kind}: {' '.join(flags) or 'words that belong to none'}"
        super().error(message)

    def refuse(self, *flags: str, why: str) -> None:
        """Know these options of the tool's, and refuse each with the reason."""
        for flag in flags:
            self.add_argument(flag, action=_Refusal, why=why)
        self._refused += flags
        self.epilog = f"known and not supported: {', '.join(self._refused)}"

    def read(self, args: Sequence[str]) -> argparse.Namespace:
        """Return the options, wherever they stand. Raises ConfigError."""
        return self.parse_intermixed_args(list(args))

    def read_command(self, args: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
        """Return the options, and the command and its arguments.

        These are what follows ``--``, or the words that are no options; and from the first word that is an option of
        nobody's on, everything is the command's own. Raises ConfigError.
        """
        own, command = split_command(args)
        self.has_command = True
        self.add_argument("command", nargs="*", metavar="COMMAND", help="the command; or after --, with its options")
        options, unknown = self.parse_known_intermixed_args(own)
        self.has_unknown = bool(unknown)
        if unknown:
            cut = own.index(unknown[0])
            options = self.parse_intermixed_args(own[:cut])
            if not options.command:
                self.error(f"unrecognized arguments: {' '.join(unknown)}")
            command = own[cut:] + command
        return options, [*options.command, *command]


class Version(argparse.Action):
    """Prints the version, with the tool's name and the relay's."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print it and end."""
        import relay  # to find the version takes 20 ms

        assert isinstance(parser, ToolParser), "it is in no other"
        sys.stdout.write(f"{parser.tool} {relay.__version__} (mcp-relay)\n")
        parser.exit()


class _Refusal(argparse.Action):
    """An option that the parser only knows in order to refuse it."""

    def __init__(self, option_strings: Sequence[str], dest: str, why: str) -> None:
        super().__init__(option_strings, dest, nargs="*", help=argparse.SUPPRESS)
        self._why = why

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        raise ConfigError(f"{self.option_strings[0]} is not supported by {parser.prog}: {self._why}")


# Values.


def header(text: str) -> tuple[str, str]:
    """Read ``Name: value``."""
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise argparse.ArgumentTypeError(f"{name_part(text).partition(' ')[0]!r} is not 'Name: value'")  # no secret
    return name.strip(), value.strip()


def milliseconds(text: str) -> float:
    """Read a time in milliseconds; return seconds."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e12:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of milliseconds above 0")
    return value / 1000


def expand(text: str, what: str) -> str:
    """Replace ``${NAME}`` by the environment variable. Raises ConfigError if it is not set."""

    def value_of(match: re.Match[str]) -> str:
        if match[1] not in os.environ:
            raise ConfigError(f"{what}: the environment variable {match[1]} is not set")
        return os.environ[match[1]]

    return _VARIABLE.sub(value_of, text)


def with_shell(text: str) -> list[str]:
    """Return the words that let a shell read a command line."""
    return ["cmd", "/d", "/s", "/c", text] if sys.platform == "win32" else ["/bin/sh", "-c", text]


def shell_line(text: str, flag: str) -> list[str]:
    """Return the words of a command line that the tool hands to a shell: with a shell only where it takes one."""
    if _SHELL.search(text):
        return with_shell(text)
    try:
        args = shlex.split(text)
    except ValueError as exc:
        raise ConfigError(f"{flag}: {text!r} is not a command: {exc}") from exc
    if not args:
        raise ConfigError(f"{flag}: no command is named")
    return args
