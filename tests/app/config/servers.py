"""Helpers for the tests of servers' files."""

from __future__ import annotations

from relay.app.config.servers_file import ServersFile
from relay.app.named_server import NamedServer


def usable(found: ServersFile) -> dict[str, NamedServer]:
    """Return the servers that are to run."""
    return {name: one for name, one in found.servers.items() if one.is_enabled and one.problem is None}
