"""Where the servers with names come from: words of the command line, or a file that may be read again.

A file of ``--named-server-config`` is any editor's or bridge's; the table ``servers`` of ``--config`` is our own.
"""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Mapping, Sequence

from relay.app.named_server import NamedServer
from relay.app.specs import is_address, words_of_command
from relay.auth.maskable import maskable
from relay.errors import ConfigError

__all__ = ["ServersSource", "servers_of"]

logger = logging.getLogger("relay")

Signature = tuple[int, int, int, int]


class ServersSource:
    """The servers with names, as they were read last."""

    def __init__(self, path: str | None, fixed: Mapping[str, NamedServer], *, is_ours: bool = False) -> None:
        """Have the ``fixed`` ones, and those of the file at ``path``, which ``is_ours`` or any editor's."""
        self.path = path
        self.warnings: Sequence[str] = ()
        self.servers: Mapping[str, NamedServer] = fixed
        self._fixed = fixed
        self._is_ours = is_ours
        self.seen: Signature | None = None
        """What the file looked like from outside when it was read."""
        self.waiting: Sequence[str] = ()
        """What else the file says in another way than at the start, which counts from the next start on."""
        self._at_start: Mapping[str, object] | None = None

    def look(self) -> Signature | None:
        """Return what tells one state of the file from another; None if there is no file, or none that can be read."""
        try:
            found = os.stat(self.path or "")
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size

    def read(self) -> None:
        """Read the file, if there is one. Raises ConfigError; the servers are those from before then."""
        if self.path is None:
            return
        self.seen = self.look()
        if not self._is_ours:
            from relay.app.config.servers_file import read_servers

            found = read_servers(self.path)
            self.warnings, self.servers = found.warnings, found.servers
            return
        from relay.app.config.document import read_document
        from relay.app.config.layers import SECTIONS
        from relay.app.config.servers_file import read_table

        root = read_document(self.path).root()
        root.refuse_duplicates(besides="servers")
        table, warnings = root.table("servers"), list[str]()
        servers = read_table(table, warnings=warnings) if table is not None else {}
        self.warnings, self.servers = warnings, {**servers, **self._fixed}
        others = {key: value for key, value in root.values.items() if key not in ("servers", "$schema", *SECTIONS)}
        if self._at_start is None:
            self._at_start = others
        before = self._at_start
        self.waiting = [key for key in {**before, **others} if before.get(key) != others.get(key)]


def servers_of(options: argparse.Namespace) -> ServersSource | None:
    """Return where the servers come from that options name; None if they name none. Raises ConfigError."""
    configured = options.configured
    if options.named_server_config is not None:
        for flag, others in (("--named-server", options.named_server), ("servers of --config", configured.servers)):
            if others:
                logger.warning("%s: ignored, because there is --named-server-config", flag)
        return ServersSource(options.named_server_config, {})
    fixed: dict[str, NamedServer] = {}
    for name, command in options.named_server:
        if name in fixed:
            raise ConfigError(f"--named-server: {name!r} is there twice; each server has a name of its own")
        fixed[name] = _from_args(name, command)
    if configured.servers:
        return ServersSource(configured.file, fixed, is_ours=True)
    return ServersSource(None, fixed) if fixed else None


def _from_args(name: str, command: str) -> NamedServer:
    from relay.app.config.entries import check_name
    from relay.app.secrets.arguments import secret_args
    from relay.app.secrets.values import secrets_in

    if fault := check_name(name):
        raise ConfigError(f"--named-server: {name!r}: {fault}")
    if is_address(command) and not command.lower().startswith("stdio:"):
        return NamedServer(name=name, url=command, secrets=secrets_in((), {}, command))
    try:
        words = words_of_command(command)
    except ConfigError as exc:
        raise ConfigError(f"--named-server: {name!r}: {exc}") from exc
    if not words:
        raise ConfigError(f"--named-server: {name!r}: has no command; write two words: --named-server NAME 'COMMAND …'")
    return NamedServer(name=name, command=words, secrets=maskable(secret_args(words)))
