"""Where each client's file holds its servers, and under which names.

mcpServers          Claude Desktop, Claude Code, Cursor, Windsurf, Cline, Roo, Gemini CLI, LM Studio, JetBrains,
                    Amazon Q, Warp, LibreChat, and the bridges; in Continue's file it is a list
servers             VS Code, Visual Studio; our own file
mcp.servers         VS Code's settings, opencode
mcp                 opencode, Crush
context_servers     Zed
mcp_servers         Codex
amp.mcpServers      Amp
extensions          Goose
projects            Claude Code: those of one project, which count in its folder only
the file itself     a plugin of Claude Code, Warp
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath

from relay.app.config.document import Document, Table
from relay.app.config.entry_keys import COMMAND_KEYS, URL_KEYS
from relay.app.config.json_lines import Path

__all__ = ["PLACES", "Place", "Written", "named_in", "places_of"]

PLACES = (
    "mcpServers", "servers", "mcp.servers", "context_servers", "mcp_servers", "amp.mcpServers", "mcp", "extensions",
    "projects",
)  # fmt: skip
"""A dot between two keys."""
_ALWAYS = PLACES[:6]  # the other names are common words, so their values must look like servers


@dataclass(frozen=True, slots=True)
class Written:
    """One server as it stands in a file."""

    name: str
    path: Path
    value: object
    fault: str | None = None
    """Why it has no usable name."""


@dataclass(frozen=True, slots=True)
class Place:
    """A group of servers in a file."""

    path: Path
    value: object
    """By name, or a list."""
    counts_more: bool = False
    """Whether a server here replaces one of the same name elsewhere in the file."""
    off: frozenset[str] = field(default_factory=frozenset)
    """Names that another part of the file turns off."""


def named_in(document: Document, place: Place) -> Iterator[Written]:
    """Yield the servers of a place, each with its name."""
    if isinstance(place.value, dict):
        for name, value in place.value.items():
            yield Written(name, (*place.path, name), value)
    elif isinstance(place.value, list):
        seen: set[str] = set()
        for index, value in enumerate(place.value):
            path = (*place.path, index)
            name = value.get("name") if isinstance(value, dict) else None
            if not isinstance(name, str) or name in seen:
                fault = "its name is there twice" if name in seen else "has no name, which each server in a list needs"
                name = document.where(path).rpartition(" ")[2]
                yield Written(name, path, value, fault)
            else:
                seen.add(name)
                yield Written(name, path, value)


def places_of(root: Table, warnings: list[str]) -> list[Place]:
    """Return where a file has servers. Raises ConfigError if one of these places is no table and no list."""
    found = [place for name in _ALWAYS if (place := _at(root, name)) is not None]
    mcp = root.values.get("mcp")
    if isinstance(mcp, dict) and "servers" not in mcp and _has_entries(mcp):
        found.append(Place(("mcp",), mcp))
    elif isinstance(mcp, dict):
        found = [Place(one.path, one.value, off=_excluded(mcp, one.value)) for one in found]  # Gemini CLI
    found += _of_projects(root, warnings)
    if not found and isinstance(extensions := root.values.get("extensions"), dict):
        entries = {name: one for name, one in extensions.items() if isinstance(one, dict)}
        found += [Place(("extensions",), entries)] if any("type" in _inner(one) for one in entries.values()) else []
    if not found and root.values and all(map(_is_entry, root.values.values())):
        found.append(Place((), root.values))
    return found


def _at(root: Table, name: str) -> Place | None:
    """Return the servers at a name that always means servers."""
    table, keys = root, [name]
    if name not in root.values:
        *outer, last = name.split(".")
        for key in outer:
            if not isinstance(table.values.get(key), dict):
                return None
            table = table.document.table((*table.path, key), table.values[key])
        keys = [last]
    if keys[0] not in table.values:
        return None
    path, value = (*table.path, keys[0]), table.values[keys[0]]
    if not isinstance(value, list):
        table.document.table(path, value)
    return Place(path, value)


def _inner(entry: Mapping[str, object]) -> Mapping[str, object]:
    config = entry.get("config")
    return config if isinstance(config, dict) else entry


def _is_entry(value: object) -> bool:
    return isinstance(value, dict) and any(key in value for key in (*COMMAND_KEYS, *URL_KEYS))


def _has_entries(values: Mapping[str, object]) -> bool:
    return any(map(_is_entry, values.values()))


def _excluded(mcp: Mapping[str, object], servers: object) -> frozenset[str]:
    """Return the servers that Gemini CLI's ``mcp.allowed`` and ``mcp.excluded`` keep from running."""
    excluded, allowed = mcp.get("excluded"), mcp.get("allowed")
    off = {one for one in excluded if isinstance(one, str)} if isinstance(excluded, list) else set()
    if isinstance(allowed, list) and allowed and isinstance(servers, dict):
        off |= {name for name in servers if name not in allowed}
    return frozenset(off)


# Claude Code.


def _of_projects(root: Table, warnings: list[str]) -> list[Place]:
    """Return the servers of the project in the working directory; warn of those that are left out."""
    projects = root.values.get("projects")
    if not isinstance(projects, dict):
        return []
    servers = {
        folder: one["mcpServers"]
        for folder, one in projects.items()
        if isinstance(one, dict) and isinstance(one.get("mcpServers"), dict) and one["mcpServers"]
    }
    here = PurePath(os.getcwd())
    around = [folder for folder in servers if here.is_relative_to(folder)]
    ours = max(around, key=len, default=None)
    for folder in servers:
        if folder != ours:
            place = root.document.where(("projects", folder, "mcpServers"))
            warnings.append(f"{place}: left out: servers of a project count where the relay is started in its folder")
    if ours is None:
        return [Place(("projects",), {})] if projects else []
    off = projects[ours].get("disabledMcpServers")
    names = frozenset(one for one in off if isinstance(one, str)) if isinstance(off, list) else frozenset()
    return [Place(("projects", ours, "mcpServers"), servers[ours], counts_more=True, off=names)]
