"""A file in which an editor, or another bridge, names servers → NamedServers.

A mistake affects one server only: that server cannot run, a warning names each of its mistakes with line and key, and
the others run. Only a mistake that hides where the servers are rejects the whole file.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from relay.app.config.document import Document, Mistake, Table, hint, read_document
from relay.app.config.entries import check_name, read_entry
from relay.app.config.places import PLACES, Place, Written, named_in, places_of
from relay.app.named_server import NamedServer

__all__ = ["PROXY_IS_READ", "ServersFile", "read_servers", "read_table", "reasons_of"]

PROXY_IS_READ: set[str] = set()
"""Files whose ``mcpProxy`` another reader has taken, so that no warning is due."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServersFile:
    """The servers of one file, in its order."""

    servers: Mapping[str, NamedServer]
    """All servers, including those that are disabled or have a problem."""
    warnings: Sequence[str] = ()
    """One line each: ignored keys, and why a server cannot run."""


def read_servers(path: str, *, environment: Mapping[str, str] | None = None) -> ServersFile:
    """Read a file; ``${VAR}`` comes from ``environment``, by default the relay's. Raises ConfigError."""
    root = read_document(path).root()
    warnings = [] if path in PROXY_IS_READ else _of_the_whole(root)
    places = places_of(root, warnings)
    if not places:
        found = (
            "; ".join(f"found {key!r}{hint(key, PLACES)}" for key in list(root.values)[:5]) or "the file has no keys"
        )
        raise root.error(f"names no servers: expected a key mcpServers, servers or context_servers; {found}")
    variables = os.environ if environment is None else environment
    servers: dict[str, NamedServer] = {}
    for place in places:
        for server in _read_place(root.document, place, variables, warnings):
            before = None if place.counts_more else servers.get(server.name)
            servers[server.name] = server if before is None else _there_twice(server, before)
    warnings += [reason for server in servers.values() if server.is_enabled for reason in reasons_of(server)]
    if not servers:
        warnings.append(f"{path}: names no server")
    return ServersFile(servers=servers, warnings=warnings)


def read_table(
    table: Table, *, warnings: list[str], environment: Mapping[str, str] | None = None
) -> dict[str, NamedServer]:
    """Read the servers of the relay's own file, where an unknown key is a mistake. Raises ConfigError."""
    variables = os.environ if environment is None else environment
    place = Place(table.path, table.values)
    servers = {one.name: one for one in _read_place(table.document, place, variables, warnings, is_strict=True)}
    warnings += [reason for server in servers.values() if server.is_enabled for reason in reasons_of(server)]
    return servers


def reasons_of(server: NamedServer) -> list[str]:
    """Return a line for each reason why a server cannot run: all of its mistakes, or its one problem."""
    if server.mistakes:
        return [f"{mistake}; this server cannot run" for mistake in server.mistakes]
    return [f"{server.where}: this server cannot run: {server.problem}"] if server.problem else []


def _read_place(
    document: Document,
    place: Place,
    environment: Mapping[str, str],
    warnings: list[str],
    *,
    is_strict: bool = False,
) -> Iterator[NamedServer]:
    """Yield the servers of a place. Raises ConfigError if the place itself is there twice."""
    for end in range(1, len(place.path) + 1):
        for mistake in document.twice(place.path[:end]):
            if mistake.path == place.path[:end]:
                raise mistake
    for written in named_in(document, place):
        said: list[str] = []
        try:
            server = _read(document, written, environment, said, is_strict=is_strict)
        except Mistake as mistake:
            server = _mistaken(NamedServer(name=written.name, where=document.where(written.path)), mistake)
        if written.name in place.off:
            server = dataclasses.replace(server, is_enabled=False)
        warnings += said if server.is_enabled else []
        yield server


def _read(
    document: Document, written: Written, environment: Mapping[str, str], warnings: list[str], *, is_strict: bool
) -> NamedServer:
    """Read one server. Raises Mistake if it has no name, or is no table."""
    if fault := written.fault or check_name(written.name):
        raise document.error(written.path, fault)
    table = document.table(written.path, written.value)
    return read_entry(written.name, table, environment, warnings, is_strict=is_strict)


def _mistaken(server: NamedServer, mistake: Mistake) -> NamedServer:
    return dataclasses.replace(server, problem=mistake.reason, mistakes=[*server.mistakes, str(mistake)])


def _there_twice(server: NamedServer, before: NamedServer) -> NamedServer:
    """Return a server of which nobody knows which of two it is."""
    problem = f"is there twice, also at {before.where}; leave one out"
    return dataclasses.replace(
        server, is_enabled=True, problem="is there twice", mistakes=[*server.mistakes, f"{server.where}: {problem}"]
    )


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
