"""``mcp-relay install``: put an entry that starts this program into a client's configuration.

The user sees the change first, as a diff with secrets masked. The rest of the file stays as it is.
"""

from __future__ import annotations

import difflib
import json
import logging
import os
import re
import sys
from collections.abc import Sequence

from relay.app.config.jsonc import JsoncError, parse
from relay.app.install.args import Wanted, read_args
from relay.app.install.careful_write import read_if_there, replace_file
from relay.app.install.clients import CLIENTS, Client, Machine
from relay.app.install.json_edit import put_entry
from relay.app.log.stderr import StderrSink, say
from relay.app.secrets.text import mask_secrets
from relay.auth.maskable import maskable
from relay.errors import ConfigError, RelayError

__all__ = ["command"]

logger = logging.getLogger("relay")


def command(args: Sequence[str], sink: StderrSink) -> int:
    """Run the command; return the exit code. Raises ConfigError, RelayError."""
    machine = Machine.ours()
    wanted = read_args(args, sink)
    if wanted is None:
        sys.stdout.write("".join(f"{line}\n" for line in _list(machine)))
        return 0
    client = CLIENTS[wanted.client]
    if wanted.only_print:
        sys.stdout.write(json.dumps({client.key: {wanted.name: wanted.entry}}, indent=2, ensure_ascii=False) + "\n")
        return 0
    path = _path(client, wanted, machine)
    return _install(client, wanted, path, sink)


def _path(client: Client, wanted: Wanted, machine: Machine) -> str:
    if not wanted.is_for_project:
        return str(client.file(machine))
    if client.project_file is None:
        with_one = ", ".join(name for name, other in CLIENTS.items() if other.project_file)
        raise ConfigError(f"--project: {client.title} has no configuration for a project; {with_one} have")
    return os.path.abspath(client.project_file)


def _install(client: Client, wanted: Wanted, path: str, sink: StderrSink) -> int:
    before = read_if_there(path)
    old = _decoded(path, before or b"")
    try:
        new = put_entry(old, client.key, wanted.name, wanted.entry)
        data = new.encode()
    except UnicodeEncodeError as exc:
        raise ConfigError("a word on the command line is not UTF-8, which the file must be") from exc
    except (JsoncError, ConfigError) as exc:
        raise ConfigError(f"{path}: {exc}; mend it first, or see mcp-relay install --print") from exc
    if new == old:
        say(sink, f"{wanted.name!r} is in {path} already, as it should be")
        return 0
    sys.stdout.write(_diff(path, old, new, wanted.secrets))
    sys.stdout.flush()
    if not _is_agreed(path, wanted, sink):
        return 1
    backup = replace_file(path, data, before=before, mode=0o666 if wanted.is_for_project else 0o600)
    kept = f"; as it was before: {backup}" if backup else ""
    say(sink, f"{path} was written{kept}; restart {client.title} to have it read")
    return 0


def _decoded(path: str, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as exc:
        raise ConfigError(
            f"{path} is not UTF-8: {exc.reason} at byte {exc.start}; see mcp-relay install --print"
        ) from exc


def _is_agreed(path: str, wanted: Wanted, sink: StderrSink) -> bool:
    if wanted.is_agreed:
        return True
    if not sys.stdin.isatty():
        raise ConfigError("cannot ask, because stdin is no terminal; nothing was changed; --yes writes it")
    sys.stderr.write(f"Write this to {path}? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    say(sink, "nothing was changed")
    return False


# Output.


def _diff(path: str, old: str, new: str, secrets: Sequence[str]) -> str:
    """Return the change as a unified diff with secrets masked, the file's own among them."""
    lines = difflib.unified_diff(_lines(old), _lines(new), path, path)
    hidden = {*secrets, *_secrets_in(old)}
    masked = mask_secrets("".join(lines), maskable(hidden))
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", lambda found: f"\\x{ord(found[0]):02x}", masked)


def _lines(text: str) -> list[str]:
    """Return the lines of a text, with a note if the last one has no line break."""
    lines = [f"{line}\n" for line in text.replace("\r\n", "\n").split("\n")]
    if not text.endswith("\n") and text:
        lines[-1] += "\\ No newline at end of file\n"
        return lines
    return lines[:-1]


def _secrets_in(text: str) -> list[str]:
    """Return the variables and headers of other entries, as written in the text."""
    if not text.strip("\ufeff \t\r\n"):
        return []
    try:
        found = [value for path, value in parse(text).strings() if {"env", "headers"} & set(path[:-1])]
    except JsoncError:  # only comments
        return []
    return maskable(json.dumps(value, ensure_ascii=False)[1:-1] for value in found)


def _list(machine: Machine) -> list[str]:
    """Return a line for each client: is it there, and where is its file."""
    width = max(map(len, CLIENTS))
    return [f"{name:{width}}  {_state(client, machine):22}  {client.file(machine)}" for name, client in CLIENTS.items()]


def _state(client: Client, machine: Machine) -> str:
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
