"""``mcp-relay install``: put an entry that starts this program into a client's configuration.

The user sees the change first, as a diff with secrets masked. The rest of the file stays as it is.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from relay.app.install.args import read_args
from relay.app.install.change import Change, file_of, make_change
from relay.app.install.clients import CLIENTS, Machine
from relay.app.install.json_edit import put_entry
from relay.app.log.stderr import StderrSink

__all__ = ["command"]


def command(args: Sequence[str], sink: StderrSink) -> int:
    """Run the command; return the exit code. Raises ConfigError, RelayError."""
    machine = Machine.ours()
    wanted = read_args(args, sink)
    client = CLIENTS[wanted.client]
    if wanted.only_print:
        sys.stdout.write(json.dumps({client.key: {wanted.name: wanted.entry}}, indent=2, ensure_ascii=False) + "\n")
        return 0
    path = file_of(client, machine, is_for_project=wanted.is_for_project)
    change = Change(
        client=client,
        path=path,
        edit=lambda text: put_entry(text, client.key, wanted.name, wanted.entry),
        done_already=f"{wanted.name!r} is in {path} already, as it should be",
        secrets=wanted.secrets,
        mode=0o666 if wanted.is_for_project else 0o600,
        is_agreed=wanted.is_agreed,
        holds_secret=wanted.holds_secret,
    )
    return make_change(change, sink)
