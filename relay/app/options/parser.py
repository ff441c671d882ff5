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
    """An argparse parser whose errors are one line that says what to do next."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.set_defaults(configured=Configured())

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
_NOT_OPTIONS = ("MCP_RELAY_LOOP", "MCP_RELAY_FAST", "MCP_RELAY_BUSY_POLL")


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
