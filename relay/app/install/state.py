"""Whether a client is installed here, and how many servers its configuration holds."""

from __future__ import annotations

from relay.app.config.jsonc import parse
from relay.app.install.careful_write import read_if_there
from relay.app.install.clients import Client, Machine
from relay.errors import RelayError

__all__ = ["state_of"]


def state_of(client: Client, machine: Machine) -> str:
    """Return in a few words whether a client is there, and how many servers it has."""
    if not client.is_found(machine):
        return "not found"
    try:
        data = read_if_there(str(client.file(machine)))
        if not data or not data.strip():
            return "found, no servers"
        servers = parse(data.decode()).plain().get(client.key, {})
        return f"found, {len(servers) or 'no'} server{'s' if len(servers) != 1 else ''}"
    except (RelayError, ValueError, AttributeError, TypeError):
        return "found, cannot be read"
