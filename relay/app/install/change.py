"""Change a client's configuration as the user agrees: show a diff with secrets masked, ask, keep a backup, write."""

from __future__ import annotations

import difflib
import json
import os
import re
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from relay.app.config.jsonc import JsoncError, parse
from relay.app.install.careful_write import read_if_there, replace_file
from relay.app.install.clients import CLIENTS, Client, Machine
from relay.app.log.stderr import StderrSink, say
from relay.app.secrets.text import mask_secrets
from relay.auth.maskable import maskable
from relay.errors import ConfigError

__all__ = ["Change", "file_of", "make_change"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A change to one client's file."""

    client: Client
    path: str
    edit: Callable[[str], str]
    """Returns the new text of the file. Raises JsoncError, ConfigError."""
    done_already: str
    """What to say if the file is as it should be."""
    secrets: Sequence[str] = field(default=(), repr=False)
    mode: int = 0o600
    """Of a new file, less the umask."""
    is_agreed: bool = False
    holds_secret: bool = False
    """Whether the new text has a secret in it that the old one may not have had."""


def file_of(client: Client, machine: Machine, *, is_for_project: bool) -> str:
    """Return the path of a client's file. Raises ConfigError if the client has none for a project."""
    if not is_for_project:
        return str(client.file(machine))
    if client.project_file is None:
        with_one = ", ".join(name for name, other in CLIENTS.items() if other.project_file)
        raise ConfigError(f"--project: {client.title} has no configuration for a project; {with_one} have")
    return os.path.abspath(client.project_file)


def make_change(change: Change, sink: StderrSink) -> int:
    """Show a change, ask, and write it; return the exit code. Raises ConfigError, RelayError."""
    path = change.path
    before = read_if_there(path)
    old = _decoded(path, before or b"")
    try:
        new = change.edit(old)
        data = new.encode()
    except UnicodeEncodeError as exc:
        raise ConfigError("a word on the command line is not UTF-8, which the file must be") from exc
    except (JsoncError, ConfigError) as exc:
        raise ConfigError(f"{path}: {exc}; mend it first, or see mcp-relay install --print") from exc
    if new == old:
        say(sink, change.done_already)
        return 0
    sys.stdout.write(_diff(path, old, new, change.secrets))
    sys.stdout.flush()
    if not (change.is_agreed or _agrees(path, sink)):
        return 1
    backup = replace_file(path, data, before=before, mode=change.mode)
    kept = f"; as it was before: {backup}" if backup else ""
    say(sink, f"{path} was written{kept}; restart {change.client.title} to have it read")
    if change.holds_secret and _others_may_read(path):
        say(
            sink,
            f"{path} now holds a secret, and other users may read the file: chmod 600 {shlex.quote(path)}; "
            "or keep the secret out of it: 'mcp-relay auth login' has a store of its own, and clients that replace "
            "${NAME} take it from their environment",
        )
    return 0


def _others_may_read(path: str) -> bool:
    return os.name == "posix" and bool(os.stat(path).st_mode & 0o077)


def _decoded(path: str, data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as exc:
        raise ConfigError(
            f"{path} is not UTF-8: {exc.reason} at byte {exc.start}; see mcp-relay install --print"
        ) from exc


def _agrees(path: str, sink: StderrSink) -> bool:
    if not sys.stdin.isatty():
        raise ConfigError("cannot ask, because stdin is no terminal; nothing was changed; --yes writes it")
    sys.stderr.write(f"Write this to {path}? [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return True
    say(sink, "nothing was changed")
    return False


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
