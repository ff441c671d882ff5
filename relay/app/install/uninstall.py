"""``mcp-relay uninstall``: take an entry that starts this program out of a client's configuration."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from relay.app.install.change import Change, file_of, make_change
from relay.app.install.clients import CLIENTS, Machine
from relay.app.install.entries import is_own_entry, servers_in
from relay.app.install.json_edit import remove_entry
from relay.app.log.stderr import StderrSink
from relay.app.options.parser import Parser
from relay.errors import ConfigError

__all__ = ["build_parser", "command"]

_DESCRIPTION = """\
Take an entry out of a client's configuration. The change is shown first, with secrets masked; then it asks.
Comments and all else in the file stay as they are. 'mcp-relay install --list' shows the entries.
"""


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this command's arguments."""
    parser = Parser(
        prog="mcp-relay uninstall",
        usage="mcp-relay uninstall --client CLIENT NAME [--project] [--yes]",
        description=_DESCRIPTION,
        allow_abbrev=False,
    )
    parser.add_argument("name", metavar="NAME", help="what the client calls the server")
    parser.add_argument("--client", required=True, choices=tuple(CLIENTS), help="whose configuration is to be changed")
    parser.add_argument("--project", action="store_true", help="that of the project in this directory, not the user's")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    return parser


def command(args: Sequence[str], sink: StderrSink) -> int:
    """Run the command; return the exit code. Raises ConfigError, RelayError."""
    options = build_parser().parse_args(args)
    client = CLIENTS[options.client]
    path = file_of(client, Machine.ours(), is_for_project=options.project)
    servers = servers_in(client, path)
    ours = sorted(name for name, entry in servers.items() if is_own_entry(entry))
    if options.name not in ours:
        seen = "starts another program" if options.name in servers else "is not there"
        known = f"the entries of mcp-relay are {', '.join(ours)}" if ours else "no entry starts mcp-relay"
        raise ConfigError(f"{path}: {options.name!r} {seen}; {known}")
    env = servers[options.name].get("env")
    change = Change(
        client=client,
        path=path,
        edit=lambda text: remove_entry(text, client.key, options.name),
        done_already="",
        secrets=[str(value) for value in env.values()] if isinstance(env, dict) else (),
        is_agreed=options.yes,
    )
    return make_change(change, sink)
