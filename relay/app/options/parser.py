"""The parser of every command, and the sources of options: arguments, variables, a file, defaults.

Every mistake is a ConfigError: one line that says what to write instead.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

from relay.app.configured import Configured
from relay.app.secrets.names import name_part
from relay.errors import ConfigError

__all__ = ["Parser", "add_config_option", "located", "parse_args", "split_command"]


class Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are one line that says what to do next.

    ``--help`` prints ``short_help``, if there is one: a screen with examples. ``--help-all`` prints every option.
    """

    def __init__(self, *, short_help: str | None = None, **settings: Any) -> None:
        super().__init__(add_help=False, **settings)
        self.short_help = short_help
        self.set_defaults(configured=Configured())
        text = "show this help" if short_help is None else "show examples and the usual options"
        self.add_argument("-h", "--help", action=_Help, help=text)
        every = argparse.SUPPRESS if short_help is None else "show all options"
        self.add_argument("--help-all", action=_Help, help=every)

    def format_help(self) -> str:
        """Return the help with every option."""
        from relay.app.options.help_text import HelpFormatter

        self.formatter_class = HelpFormatter
        return super().format_help()

    def _print_message(self, message: str, file: Any = None) -> None:
        """Write a text; unlike argparse, let the caller know if that fails."""
        if message:
            (file or sys.stderr).write(message)

    def error(self, message: str) -> NoReturn:
        """Raise ConfigError."""
        if message.startswith("unrecognized arguments"):
            message = re.sub(r"(--?[\w-]+=)\S.*", r"\1…", message, flags=re.DOTALL)  # it may be a secret
            message += f"{self._nearest(message)}; if they are the command's own, put -- before it"
        if message.endswith("expected 2 arguments"):
            message += ", a name and a value, each a word of its own"
        raise ConfigError(f"{message}; see {self.prog} --help")

    def _nearest(self, message: str) -> str:
        """Return a hint at the option that the first unknown one may mean, or an empty text."""
        from relay.app.config.document import hint

        first = next((word for word in message.split() if word.startswith("--")), "")
        # Without the common prefix, which would make any two of them similar.
        near = hint(
            name_part(first).strip("-="), [flag[2:] for flag in self._option_string_actions if flag[:2] == "--"]
        )
        return near.replace("; did you mean '", " (did you mean --").replace("'?", "?)")


class _Help(argparse.Action):
    """Prints help and ends the program."""

    def __init__(self, option_strings: Sequence[str], dest: str, **settings: Any) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, default=argparse.SUPPRESS, help=settings["help"])

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, flag: str | None = None
    ) -> None:
        from relay.app.options.help_text import HelpFormatter, coloured

        short: str | None = getattr(parser, "short_help", None)
        if short is None or flag == "--help-all":
            text = parser.format_help()
        else:
            formatter = HelpFormatter(parser.prog)
            formatter.add_text(short)
            text = formatter.format_help()
        sys.stdout.write(coloured(text))
        parser.exit()


class _Once(argparse.Action):
    """Takes an option that can be given once: argparse would silently drop the first of two files."""

    def __call__(
        self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any, flag: str | None = None
    ) -> None:
        if getattr(namespace, self.dest, None) is not None:
            raise argparse.ArgumentError(self, "is there twice; one file holds all options")
        setattr(namespace, self.dest, values)


def add_config_option(group: Any) -> None:
    """Add the file that holds other options."""
    group.add_argument(
        "--config", action=_Once, metavar="FILE", help="take options from this TOML or JSON file ($MCP_RELAY_CONFIG)"
    )


_CONFIGURED_BY = "MCP_RELAY_"
_NOT_OPTIONS = ("MCP_RELAY_LOOP", "MCP_RELAY_FAST", "MCP_RELAY_BUSY_POLL", "MCP_RELAY_AUTH_DIR")


def parse_args(parser: argparse.ArgumentParser, args: Sequence[str], section: str | None = None) -> argparse.Namespace:
    """Return the options from arguments, variables, a file and defaults; ``configured`` holds the rest.

    A subcommand has a section of the file, and no variables.
    """
    is_configured = any(name.startswith(_CONFIGURED_BY) and name not in _NOT_OPTIONS for name in os.environ)
    if is_configured or any(word.startswith("--config") for word in args):
        from relay.app.config.layers import parse_layered

        return parse_layered(parser, args, os.environ, section)
    return parser.parse_intermixed_args(args)


@contextlib.contextmanager
def located(options: argparse.Namespace) -> Iterator[None]:
    """Add to an error the file or variable that holds the wrong value."""
    try:
        yield
    except ConfigError as exc:
        flag, rest = re.match(r"(-[\w-]+)?(?:: )?(.*)", str(exc), re.DOTALL).groups()  # type: ignore[union-attr] # it matches anything
        origin = options.configured.origins.get(flag)
        if origin is None:
            raise
        raise ConfigError(f"{origin}: {rest if str(exc).startswith(f'{flag}: ') else exc}") from exc.__cause__


def split_command(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the arguments before ``--``, and those after it, which are the command's own."""
    if "--" not in args:
        return list(args), []
    cut = args.index("--")
    return list(args[:cut]), list(args[cut + 1 :])
