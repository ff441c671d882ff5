"""A file in which an editor, or another bridge, names servers → NamedServers.

Read as they are: Claude Desktop, Cursor, Windsurf, TBXark's and sparfenyuk's mcp-proxy (``mcpServers``), VS Code
(``servers``, also within ``mcp``), Zed (``context_servers``), and our own configuration (``servers``).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from relay.app.config.document import Table, hint, read_document
from relay.app.config.entries import check_name, read_entry
from relay.app.settings import NamedServer

__all__ = ["PLACES", "PROXY_IS_READ", "ServersFile", "read_servers", "read_table", "tables_of"]

PLACES = ("mcpServers", "servers", "mcp.servers", "context_servers")
"""Where a file has its servers, a dot between two keys."""
PROXY_IS_READ: set[str] = set()
"""Files whose ``mcpProxy`` somebody has read who knows it, so that nothing is to be said of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServersFile:
    """The servers of one file, in its order."""

    servers: Mapping[str, NamedServer]
    """All of them, those that are disabled or have a problem included."""
    warnings: Sequence[str] = ()
    """A line each: what is ignored, and why a server cannot run."""

    @property
    def usable(self) -> Mapping[str, NamedServer]:
        """Those that are to run."""
        return {name: one for name, one in self.servers.items() if one.is_enabled and one.problem is None}


def read_servers(path: str, *, environment: Mapping[str, str] | None = None) -> ServersFile:
    """Read a file; ``${VAR}`` comes from ``environment``, which is ours by default. Raises ConfigError."""
    root = read_document(path).root()
    tables = tables_of(root)
    if not tables:
        found = (
            "; ".join(f"found {key!r}{hint(key, PLACES)}" for key in list(root.values)[:5]) or "the file has no keys"
        )
        raise root.error(f"names no servers: expected a key mcpServers, servers or context_servers; {found}")
    warnings = [] if path in PROXY_IS_READ else _of_the_whole(root)
    servers: dict[str, NamedServer] = {}
    for table in tables:
        for name, server in read_table(table, environment=environment, warnings=warnings).items():
            if name in servers:
                raise table.error(f"is there twice, also at {servers[name].where}; leave one out", name)
            servers[name] = server
    if not servers:
        warnings.append(f"{path}: names no server")
    return ServersFile(servers=servers, warnings=warnings)


def tables_of(root: Table) -> list[Table]:
    """Return the tables of servers that a file has. Raises ConfigError if one is no table."""
    tables = []
    for place in PLACES:
        table: Table | None = root
        *outer, last = place.split(".")
        for key in outer:
            table = table.table(key) if table is not None and isinstance(table.values.get(key), dict) else None
        if table is not None and last in table.values:
            if (found := table.table(last)) is None:
                raise table.error("expected an object, found null", last)
            tables.append(found)
    return tables


def read_table(
    table: Table, *, warnings: list[str], environment: Mapping[str, str] | None = None, is_strict: bool = False
) -> dict[str, NamedServer]:
    """Read the servers of one table. Raises ConfigError."""
    table.refuse_duplicates()
    servers = {}
    for name in table.values:
        if reason := check_name(name):
            raise table.error(reason, name)
        entry = table.table(name)
        if entry is None:
            raise table.error("expected an object, found null", name)
        server = read_entry(
            name, entry, os.environ if environment is None else environment, warnings, is_strict=is_strict
        )
        if server.problem and server.is_enabled:
            warnings.append(f"{server.where}: this server cannot run: {server.problem}")
        servers[name] = server
    return servers


def _of_the_whole(root: Table) -> list[str]:
    """Return what is to be said of keys beside the servers."""
    warnings = []
    proxy = root.values.get("mcpProxy")
    if isinstance(proxy, dict) and proxy:
        keys = ", ".join(f"mcpProxy.{key}" for key in proxy)
        warnings.append(
            f"{root.where('mcpProxy')}: read by mcp-relay as tbxark only: {keys}; else say --host and --port"
        )
    return warnings
