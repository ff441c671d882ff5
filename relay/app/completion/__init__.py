"""``mcp-relay completion SHELL``: a completion script for a shell, made from the parsers.

    commands.py                 the options of each command, from its parser
    bash.py, zsh.py, fish.py    the same as a script of the shell

The script is complete: the relay does not run when a user presses Tab.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module

from relay.app.completion.commands import Command, command_of, commands
from relay.app.log.stderr import StderrSink
from relay.app.options.parser import Parser

__all__ = ["SHELLS", "command", "script"]

SHELLS = ("bash", "zsh", "fish")

_DESCRIPTION = """\
Print a script that completes the words of mcp-relay in a shell. To have it in every new one:

  bash   mcp-relay completion bash > ~/.local/share/bash-completion/completions/mcp-relay
  zsh    mcp-relay completion zsh > "${fpath[1]}/_mcp-relay"
  fish   mcp-relay completion fish > ~/.config/fish/completions/mcp-relay.fish
"""


def command(args: Sequence[str], sink: StderrSink) -> int:
    """Print the script; return the exit code. Raises ConfigError."""
    sys.stdout.write(script(build_parser().parse_args(args).shell))
    return 0


def build_parser() -> Parser:
    """Return the parser of its arguments."""
    parser = Parser(
        prog="mcp-relay completion",
        description=_DESCRIPTION,
        allow_abbrev=False,
    )
    parser.add_argument("shell", choices=SHELLS, help="for which shell")
    return parser


def script(shell: str) -> str:
    """Return the script for one of ``SHELLS``."""
    own = command_of("completion", "write what completes these words in a shell", build_parser())
    everything: list[Command] = [*commands(), own]
    text: str = import_module(f"relay.app.completion.{shell}").script(everything)
    return text
