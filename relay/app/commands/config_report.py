"""What a configuration file would run, and what is wrong with it: the report of ``mcp-relay config check``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

from relay.app.commands import gateway as gateway_command
from relay.app.commands import proxy as proxy_commands
from relay.app.commands import relay as relay_command
from relay.app.config.document import Table, read_document
from relay.app.config.layers import SECTIONS, TARGET_KEYS
from relay.app.config.places import PLACES
from relay.app.config.servers_file import read_servers, reasons_of
from relay.app.config.values import options_of
from relay.app.doctor import cli as doctor
from relay.app.log.stderr import StderrSink
from relay.app.named_server import NamedServer
from relay.app.options import relay as relay_options
from relay.app.secrets.display import masked_args, masked_text, runs
from relay.app.specs import is_address
from relay.auth.origin import is_loopback
from relay.endpoints.child.child import child_environment, resolve_program
from relay.errors import ConfigError

__all__ = ["Report", "Row", "explain", "is_our_own"]


@dataclass(frozen=True, slots=True)
class Row:
    """One server, or the target."""

    name: str
    status: Literal["ok", "wrong", "off"]
    runs: str
    """The command or the address, without secrets."""
    problem: str | None = None


@dataclass(slots=True)
class Report:
    """The report on a file."""

    file: str
    rows: list[Row] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def is_fine(self) -> bool:
        """Whether every server that is on can run."""
        return all(row.status != "wrong" for row in self.rows)


def explain(path: str) -> Report:
    """Check a configuration of the relay's, or an editor's. Raises ConfigError if the file is neither."""
    root = read_document(path).root()
    return _of_ours(path, root) if is_our_own(root) else _of_an_editor(path)


def is_our_own(root: Table) -> bool:
    """Tell whether a file is the relay's own configuration: an editor's names servers differently, or only servers."""
    if any(place.split(".")[0] in root.values for place in PLACES if place != "servers"):
        return False
    own = {*options_of(relay_options.build_parser()), *TARGET_KEYS, *SECTIONS}
    return root.document.is_toml or not own.isdisjoint(root.values)


# An editor's.


def _of_an_editor(path: str) -> Report:
    found = read_servers(path)
    return Report(path, *_rows(found.servers, found.warnings))


def _rows(servers: Mapping[str, NamedServer], warnings: Sequence[str]) -> tuple[list[Row], list[str]]:
    rows = []
    said = {reason for server in servers.values() for reason in reasons_of(server)}
    others = [warning for warning in warnings if warning not in said]
    for name, server in servers.items():
        if not server.is_enabled:
            rows.append(Row(name, "off", runs(server)))
            others += server.mistakes
            continue
        problem = _mistakes_of(server) or server.problem
        problem = problem or (_problem_here(server) if server.url is None else _problem_of_url(server.url))
        rows.append(Row(name, "wrong" if problem else "ok", runs(server), problem))
        if not problem and server.headers and _is_in_the_clear(server.url or ""):
            others.append(f"{server.where}: its headers go over the net in the clear; write https:// if it has that")
    return rows, others


def _mistakes_of(server: NamedServer) -> str:
    """Return every mistake in the description of a server, with lines and keys but without the file."""
    file = server.where.partition(", line ")[0]
    return "; ".join(mistake.removeprefix(file).removeprefix(", ") for mistake in server.mistakes)


def _problem_here(server: NamedServer) -> str | None:
    """Return why the command cannot start on this machine."""
    try:
        resolve_program(server.command, child_environment(server.env), server.cwd)
    except ConfigError as exc:
        return masked_text(str(exc))
    return None


def _problem_of_url(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        if parts.scheme != "unix" and not parts.hostname:
            return "its url names no host"
        if parts.port == 0:
            return "its url has the port 0, which no server has"
    except ValueError:  # its text may hold a secret
        return "its url is not an address: the port is no number, or a bracket is missing"
    return None


def _is_in_the_clear(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme in ("http", "ws") and not is_loopback(parts.hostname or "")


# Our own.


class _Silent(StderrSink):
    """Drops what is logged: the report says it, too."""

    def write(self, data: bytes) -> None:
        """Drop it."""


def _of_ours(path: str, root: Table) -> Report:
    args = ["--config", path]
    options, target = relay_options.parse(args)
    # This makes all checks of a run; the job that it returns is never started.
    relay_command.command([*args, *([] if target else ["--", "no-target"])], _Silent()).close()
    _check_sections(args, root)
    rows, warnings = _rows(options.configured.servers, options.configured.warnings)
    kind = "a URL" if target and is_address(target[0]) else "a command"
    warnings += [f"{place}: no effect before {kind}: ignored" for place in options.unused]
    if target:
        rows.insert(0, _row_of_target(target, options.env, options.cwd))
    elif not rows:
        warnings.append(f"{path}: names neither a target nor servers: they must be on the command line")
    return Report(path, rows, warnings)


def _row_of_target(target: list[str], env: list[tuple[str, str]], cwd: str | None) -> Row:
    if is_address(target[0]):
        problem = _problem_of_url(target[0])
        return Row("", "wrong" if problem else "ok", masked_text(target[0]), problem)
    problem = _problem_here(NamedServer(name="", command=target, env=dict(env), cwd=cwd))
    return Row("", "wrong" if problem else "ok", masked_args(target), problem)


def _check_sections(args: list[str], root: Table) -> None:
    """Let each subcommand read its own section. Raises ConfigError."""
    if "proxy" in root.values:
        proxy_commands.proxy(args, _Silent()).close()
    if "load-balance" in root.values:
        proxy_commands.load_balance(args, _Silent()).close()
    if "gateway" in root.values:
        gateway_command.check(args)
    if "test" in root.values:
        doctor.command([*args, "no-target"], _Silent()).close()
