"""The MCP clients that ``install`` knows: where their configuration is, and the form of an entry."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CLIENTS", "Client", "Machine"]


@dataclass(frozen=True, slots=True)
class Machine:
    """The facts that decide where files are."""

    home: Path
    environment: Mapping[str, str]
    platform: str
    """As ``sys.platform`` says it."""

    @staticmethod
    def ours() -> Machine:
        """Return the machine that this program runs on."""
        return Machine(Path.home(), os.environ, sys.platform)

    def folder(self, variable: str, *otherwise: str) -> Path:
        """Return the directory that a variable names, or one below home."""
        named = self.environment.get(variable, "")
        return Path(named) if os.path.isabs(named) else self.home.joinpath(*otherwise)

    def settings(self) -> Path:
        """Return the directory below which desktop programs keep their configuration."""
        if self.platform == "win32":
            return self.folder("APPDATA", "AppData", "Roaming")
        if self.platform == "darwin":
            return self.home / "Library" / "Application Support"
        return self.folder("XDG_CONFIG_HOME", ".config")


@dataclass(frozen=True, slots=True)
class Client:
    """One program that uses MCP servers."""

    title: str
    key: str
    """Of the object that holds the servers by name."""
    file: Callable[[Machine], Path]
    project_file: str | None = None
    """Relative to a project's directory."""
    type_of_entry: str | None = None
    """The member ``type``, where the client wants to be told."""
    folder: Callable[[Machine], Path] | None = None
    """What exists if the client is installed; None: the directory of its file."""

    def is_found(self, machine: Machine) -> bool:
        """Tell whether the client seems to be installed."""
        file = self.file(machine)
        return file.exists() or (self.folder(machine) if self.folder else file.parent).is_dir()


def _claude_desktop(machine: Machine) -> Path:
    name = "claude_desktop_config.json"
    usual = machine.settings() / "Claude" / name
    if machine.platform == "win32":
        # As an app of the Microsoft store it has its own view of the file system, with its settings there.
        local = machine.folder("LOCALAPPDATA", "AppData", "Local")
        for pattern in ("Claude-Data/[Cc]laude_*", "Packages/Claude_*/LocalCache/Roaming/Claude"):
            for folder in sorted(local.glob(pattern)):
                return folder / name
    return usual


def _claude_code_folder(machine: Machine) -> Path:
    return machine.folder("CLAUDE_CONFIG_DIR", ".claude")


def _claude_code(machine: Machine) -> Path:
    """Return the file of the user's scope; it is in the folder only if that was moved."""
    return machine.folder("CLAUDE_CONFIG_DIR") / ".claude.json"


def _cursor(machine: Machine) -> Path:
    return machine.home / ".cursor" / "mcp.json"


def _vscode(machine: Machine) -> Path:
    return machine.settings() / "Code" / "User" / "mcp.json"


def _zed(machine: Machine) -> Path:
    if machine.platform == "win32":
        return machine.settings() / "Zed" / "settings.json"
    if machine.platform == "darwin":
        return machine.home / ".config" / "zed" / "settings.json"
    variable = "FLATPAK_XDG_CONFIG_HOME" if "FLATPAK_XDG_CONFIG_HOME" in machine.environment else "XDG_CONFIG_HOME"
    return machine.folder(variable, ".config") / "zed" / "settings.json"


def _windsurf(machine: Machine) -> Path:
    return machine.home / ".codeium" / "windsurf" / "mcp_config.json"


CLIENTS: dict[str, Client] = {
    "claude-desktop": Client("Claude Desktop", "mcpServers", _claude_desktop),
    "claude-code": Client("Claude Code", "mcpServers", _claude_code, ".mcp.json", "stdio", _claude_code_folder),
    "cursor": Client("Cursor", "mcpServers", _cursor, ".cursor/mcp.json", "stdio"),
    "vscode": Client("VS Code", "servers", _vscode, ".vscode/mcp.json", "stdio"),
    "zed": Client("Zed", "context_servers", _zed, ".zed/settings.json"),
    "windsurf": Client("Windsurf", "mcpServers", _windsurf),
}
