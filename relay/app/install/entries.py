"""The entries in clients' configurations that start this program."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from relay.addresses import shown_address
from relay.app.config.jsonc import JsoncError, parse
from relay.app.install.careful_write import read_if_there
from relay.app.install.clients import CLIENTS, Client, Machine
from relay.app.install.program import DISTRIBUTION, PROGRAMS
from relay.app.secrets.text import mask_secrets
from relay.app.specs import is_address
from relay.auth.maskable import maskable
from relay.errors import RelayError

__all__ = ["OwnEntry", "is_own_entry", "own_entries", "servers_in"]


@dataclass(frozen=True, slots=True)
class OwnEntry:
    """An entry that starts this program."""

    client: str
    """The client's name, as ``--client`` takes it."""
    name: str
    command: Sequence[str] = field(repr=False)
    env: dict[str, str] = field(repr=False)

    @property
    def secrets(self) -> list[str]:
        """The values that no output may show."""
        return maskable(self.env.values())

    @property
    def target(self) -> str:
        """The server behind the entry: its address, or its command with secrets masked."""
        args = list(self.command[1:])
        if "--" in args:
            args = args[args.index("--") + 1 :]
        address = next((word for word in reversed(args) if is_address(word)), None)
        if address is not None and not (args and args[0] != address and "--" in self.command):
            return shown_address(address)
        return mask_secrets(shlex.join(args), self.secrets)


def own_entries(machine: Machine) -> Iterator[OwnEntry]:
    """Yield the entries of every client's own file, and of the projects' files in this directory."""
    for name, client in CLIENTS.items():
        paths = [str(client.file(machine)), *([client.project_file] if client.project_file else [])]
        for path in dict.fromkeys(map(os.path.realpath, paths)):
            for server, entry in servers_in(client, path).items():
                if is_own_entry(entry):
                    command = [entry["command"], *map(str, entry.get("args") or ())]
                    env = {str(key): str(value) for key, value in (entry.get("env") or {}).items()}
                    yield OwnEntry(name, server, command, env)


def servers_in(client: Client, path: str) -> dict[str, Any]:
    """Return the servers in a client's file by name; none if it is not there or cannot be read."""
    try:
        data = read_if_there(path)
        servers = parse(data.decode()).plain().get(client.key) if data and data.strip() else {}
    except (RelayError, JsoncError, UnicodeDecodeError, AttributeError):
        return {}
    return servers if isinstance(servers, dict) else {}


def is_own_entry(entry: Any) -> bool:
    """Tell whether an entry starts this program: by its path, by ``python -m relay`` or by uvx."""
    if not isinstance(entry, dict) or not isinstance(entry.get("command"), str):
        return False
    args = entry.get("args")
    first = [str(word) for word in args[:2]] if isinstance(args, list) else []
    program = os.path.basename(entry["command"].replace("\\", "/")).lower().removesuffix(".exe")
    if program in PROGRAMS:
        return True
    if program == "uvx":
        return bool(first) and first[0].partition("@")[0] == DISTRIBUTION
    return program.startswith("python") and first == ["-m", "relay"]
