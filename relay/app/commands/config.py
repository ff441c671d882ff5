"""``mcp-relay config check|show|schema``: look at configuration files without running anything."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from relay.app.commands import gateway, proxy
from relay.app.commands.config_report import Report, Row, explain, is_our_own
from relay.app.config.document import read_document
from relay.app.config.schema import relay_schema, servers_schema
from relay.app.config.servers_file import read_servers
from relay.app.config.values import is_pairs, options_of
from relay.app.doctor import cli as doctor
from relay.app.log.stderr import StderrSink, say
from relay.app.named_server import NamedServer
from relay.app.options import relay as relay_options
from relay.app.options.parser import Parser
from relay.app.secrets.display import details, masked_args, masked_pairs, masked_text, runs
from relay.app.secrets.names import is_secret_name
from relay.app.specs import is_address
from relay.errors import ConfigError, ConfigErrors

__all__ = ["SCHEMAS", "build_parser", "command"]

_DESCRIPTION = """\
Look at a configuration file: one of ours (--config), or one in which an editor or another bridge names servers
(Claude Desktop, Cursor, VS Code, Codex, Gemini CLI, Zed, Goose and many more). Nothing is run.
"""


def _schema_of_ours() -> dict[str, Any]:
    """Return the schema of our own configuration, with the options of every command that has a table there."""
    sections = {
        "test": doctor.build_parser(),
        "proxy": proxy.build_proxy_parser(),
        "load-balance": proxy.build_load_balance_parser(),
        "gateway": gateway.build_parser(),
    }
    return relay_schema(relay_options.build_parser(), sections)


SCHEMAS: Mapping[str, Callable[[], dict[str, Any]]] = {"servers": servers_schema, "relay": _schema_of_ours}
"""By the argument that names them; ``relay/schemas`` has a copy of each."""


def command(args: Sequence[str], sink: StderrSink) -> int:
    """Run the command; return the exit code. Raises ConfigError."""
    options = build_parser().parse_args(args)
    if options.what == "check":
        return _check(options.file, sink, as_json=options.as_json)
    if options.what == "show":
        _write(_show(options.file))
    else:
        _write([json.dumps(SCHEMAS[options.of](), indent=2, ensure_ascii=False)])
    return 0


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of its arguments."""
    parser = Parser(
        prog="mcp-relay config",
        description=_DESCRIPTION,
        allow_abbrev=False,
    )
    whats = parser.add_subparsers(dest="what", required=True, metavar="check|show|schema")
    check = whats.add_parser("check", help="say of each server what would run, or what is wrong; exit code 1 if it is")
    check.add_argument("file", metavar="FILE", help="the relay's own, or one that names servers")
    check.add_argument("--json", action="store_true", dest="as_json", help="report as one JSON object")
    show = whats.add_parser("show", help="print what would run, secrets masked")
    show.add_argument("file", metavar="FILE", nargs="?", help="default: $MCP_RELAY_CONFIG and the other variables")
    schema = whats.add_parser("schema", help="print a JSON Schema, for editors")
    schema.add_argument("of", choices=tuple(SCHEMAS), nargs="?", default="servers", help="default: servers")
    return parser


def _write(lines: Iterator[str] | Sequence[str]) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


# check


def _check(path: str, sink: StderrSink, *, as_json: bool) -> int:
    try:
        report = explain(path)
    except ConfigError as exc:
        if as_json:
            _write([json.dumps({"file": path, "ok": False, "error": str(exc), "servers": [], "warnings": []})])
        for fault in exc.faults if isinstance(exc, ConfigErrors) else (str(exc),):
            say(sink, fault)
        return 1
    _write([_as_json(report)] if as_json else list(_as_lines(report)))
    return 0 if report.is_fine else 1


def _as_json(report: Report) -> str:
    servers = [
        {"name": row.name or None, "status": row.status, "runs": row.runs, "problem": row.problem}
        for row in report.rows
    ]
    return json.dumps(
        {"file": report.file, "ok": report.is_fine, "error": None, "servers": servers, "warnings": report.warnings},
        ensure_ascii=False,
    )


def _as_lines(report: Report) -> Iterator[str]:
    width = min(max((len(row.name) for row in report.rows), default=0), 40)
    for row in report.rows:
        yield f"{row.status:<7}  {_shown(row.name):<{width}}  {_explained(row)}".rstrip()
    for warning in report.warnings:
        yield f"warning  {_shown(warning)}"
    if not report.rows and not report.warnings:
        yield f"ok       {report.file}: no servers"


def _explained(row: Row) -> str:
    return _shown(row.problem or row.runs)


def _shown(text: str) -> str:
    """Return a text on one line, with control characters escaped."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


# show


def _show(path: str | None) -> Iterator[str]:
    if path is not None and not is_our_own(read_document(path).root()):
        found = read_servers(path)
        yield from _show_servers(found.servers)
        yield from (f"warning  {_shown(warning)}" for warning in found.warnings)
        return
    yield from _show_ours(path)


def _show_servers(servers: Mapping[str, NamedServer]) -> Iterator[str]:
    for name, server in servers.items():
        state = "" if server.is_enabled else "  (off)"
        yield f"{_shown(name)}{state}"
        if server.problem is not None:
            yield f"  wrong    {_shown(server.problem)}"
        if server.command or server.url:
            yield f"  runs     {_shown(runs(server))}"
        for word, text in details(server):
            yield f"  {word:<7}  {_shown(text)}"


def _show_ours(path: str | None) -> Iterator[str]:
    options, target = relay_options.parse([] if path is None else ["--config", path])
    parser = relay_options.build_parser()
    lines = []
    names: dict[argparse.Action, str] = {}
    for key, action in options_of(parser).items():
        names.setdefault(action, key)  # an option of several names is one option
    for action, key in names.items():
        origin = options.configured.origins.get(f"--{key}")
        if origin is None:
            continue
        lines += [(key, _shown(text), origin) for text in _values(key, getattr(options, action.dest), action)]
    if target:
        lines.append(("runs", _shown(masked_text(target[0]) if is_address(target[0]) else masked_args(target)), ""))
    width = max((len(key) for key, _, _ in lines), default=0)
    for key, text, origin in lines:
        yield f"{key:<{width}}  {text}{f'  ({origin})' if origin else ''}"
    yield from _show_servers(options.configured.servers)
    yield from (f"warning  {_shown(warning)}" for warning in options.configured.warnings)
    if not lines and not options.configured.servers:
        file = path or os.environ.get("MCP_RELAY_CONFIG")
        yield f"{file}: nothing is set" if file else "nothing is set: no FILE, no MCP_RELAY_CONFIG, no other variables"


def _values(key: str, value: object, action: argparse.Action) -> Iterator[str]:
    if is_pairs(action) and isinstance(value, list):
        pairs = [(name, text) for name, text in value]
        is_command = action.dest == "named_server"
        yield from (f"{name} = {masked_text(text)}" for name, text in pairs if is_command)
        yield from () if is_command else masked_pairs(pairs, " = ")
    elif isinstance(value, list):
        for one in value:
            yield "***" if is_secret_name(key) else masked_text(str(one))
    elif isinstance(value, bool):
        yield "true" if value else "false"
    else:
        yield "***" if is_secret_name(key) else masked_text(str(value))
