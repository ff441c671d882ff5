"""The options of each command, from its parser: the same for every shell."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from relay.app.commands import auth, config, gateway, notification_demo, proxy, reset
from relay.app.commands import doctor as entries_doctor
from relay.app.doctor import cli as doctor
from relay.app.dropins import TOOLS
from relay.app.install import uninstall
from relay.app.install.args import build_install_parser
from relay.app.options import relay

__all__ = ["Command", "Flag", "command_of", "commands", "parsers"]

# A command, the function that makes its parser, and what the command is for. The first is the program without one.
_PARSERS: dict[str, tuple[Callable[[], argparse.ArgumentParser], str]] = {
    "": (relay.build_parser, ""),
    "test": (doctor.build_parser, "say what a server speaks and offers, or what is wrong"),
    "notification-demo": (notification_demo.build_parser, "write log notifications on stdout"),
    "proxy": (proxy.build_proxy_parser, "use the first of several servers that can be reached"),
    "load-balance": (proxy.build_load_balance_parser, "spread clients over several servers"),
    "gateway": (gateway.build_parser, "let web pages call servers that they name"),
    "auth": (auth.build_parser, "log in to servers, see logins and end them"),
    "reset": (reset.build_parser, "delete the logins that another bridge keeps"),
    "config": (config.build_parser, "look at a configuration file"),
    "install": (build_install_parser, "put a server into a client's configuration"),
    "uninstall": (uninstall.build_parser, "take a server out of a client's configuration"),
    "doctor": (entries_doctor.build_parser, "test every entry that install wrote"),
}


@dataclass(frozen=True, slots=True)
class Flag:
    """One option."""

    names: tuple[str, ...]
    help: str
    values: int
    """How many values follow it."""
    kind: Literal["any", "file", "directory"]
    choices: tuple[str, ...]
    is_repeatable: bool

    @property
    def takes_value(self) -> bool:
        """Whether a value must follow."""
        return self.values > 0


@dataclass(frozen=True, slots=True)
class Command:
    """One command and what may follow its name; the program itself has an empty one."""

    word: str
    help: str
    flags: tuple[Flag, ...]
    choices: tuple[str, ...]
    """The values of its first positional argument; empty: a file, or a program."""


def commands() -> list[Command]:
    """Return the program itself and each of its commands, but for ``completion``."""
    found = [command_of(word, text, make()) for word, (make, text) in _PARSERS.items()]
    return [*found, Command("as", "read what follows as another bridge does", (), tuple(TOOLS))]


def parsers() -> dict[str, argparse.ArgumentParser]:
    """Return the parser of the program itself, under an empty name, and of each of its commands."""
    return {word: make() for word, (make, _) in _PARSERS.items()}


def command_of(word: str, text: str, parser: argparse.ArgumentParser) -> Command:
    """Return a command as its parser describes it."""
    positional = next((action for action in parser._actions if not action.option_strings), None)
    return Command(
        word,
        text,
        tuple({flag.names: flag for flag in _flags(parser) if flag.help != argparse.SUPPRESS}.values()),
        tuple(map(str, positional.choices)) if positional is not None and positional.choices else (),
    )


def _flags(parser: argparse.ArgumentParser) -> Iterator[Flag]:
    """Yield the options of a parser, and of those that its first word chooses from."""
    for action in parser._actions:
        if action.option_strings:
            yield _flag(parser, action)
        elif isinstance(action, argparse._SubParsersAction):
            for chosen in action.choices.values():
                yield from _flags(chosen)


def _flag(parser: argparse.ArgumentParser, action: argparse.Action) -> Flag:
    text = action.help or ""
    if text != argparse.SUPPRESS:
        text = " ".join(parser._get_formatter()._expand_help(action).split()) if text else ""
    metavar = " ".join(action.metavar) if isinstance(action.metavar, tuple) else action.metavar or ""
    values = action.nargs if isinstance(action.nargs, int) else 1
    return Flag(
        names=tuple(action.option_strings),
        help=text,
        values=values,
        kind="directory" if "DIR" in metavar else "file" if any(w in metavar for w in ("FILE", "PATH")) else "any",
        choices=tuple(map(str, action.choices or ())),
        is_repeatable=action.nargs == "+" or type(action).__name__ in ("_AppendAction", "_ExtendAction"),
    )
