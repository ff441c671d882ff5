"""``mcp-relay doctor``, and ``install --list``: the entries of every client that start this program; do they answer?"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from relay.app.doctor.advice import CheckFailed
from relay.app.doctor.output import ChildOutput
from relay.app.doctor.settings import DoctorSettings
from relay.app.doctor.steps import Examination
from relay.app.install.clients import CLIENTS, Machine
from relay.app.install.entries import OwnEntry, own_entries
from relay.app.install.program import PROGRAMS, stranger_on_path
from relay.app.install.state import state_of
from relay.app.log.stderr import StderrSink, say
from relay.app.options.parser import Parser
from relay.app.options.values import seconds
from relay.app.secrets.text import mask_secrets
from relay.endpoints.child.child import child_environment
from relay.errors import ConfigError

__all__ = ["build_parser", "doctor", "list_clients"]

_AT_ONCE = 4  # entries that are tested at the same time: each starts programs
_DESCRIPTION = """\
Start every entry of every client that starts mcp-relay, as the client would, and ask its server what it offers.
The report is on stdout. The exit code is 1 if an entry does not answer.
"""


@dataclass(frozen=True, slots=True)
class _Result:
    entry: OwnEntry
    said: str
    is_good: bool


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of this command's arguments."""
    parser = Parser(
        prog="mcp-relay doctor",
        description=_DESCRIPTION,
        allow_abbrev=False,
    )
    parser.add_argument(
        "--timeout", type=seconds, default=10.0, metavar="S", help="how long a server may take to answer (default 10)"
    )
    return parser


async def doctor(args: Sequence[str], sink: StderrSink) -> int:
    """Run the command; return the exit code. Raises ConfigError."""
    options = build_parser().parse_args(args)
    if (stranger := stranger_on_path()) is not None:
        say(sink, f"{stranger} belongs to another package: use the program {PROGRAMS[1]} instead")
    results = await _look(options.timeout, sink)
    _print([_line(result) for result in results])
    if not results:
        say(sink, "no client has an entry that starts mcp-relay; mcp-relay install writes one")
    return 0 if all(result.is_good for result in results) else 1


async def list_clients(sink: StderrSink) -> int:
    """Print the clients and their entries; return the exit code, which is 0."""
    machine = Machine.ours()
    width = max(map(len, CLIENTS))
    results = await _look(10.0, sink)
    for name, client in CLIENTS.items():
        _print([f"{name:{width}}  {state_of(client, machine):22}  {client.file(machine)}"])
        _print([f"{'':{width}}  {_line(result)}" for result in results if result.entry.client == name])
    return 0


def _line(result: _Result) -> str:
    entry = result.entry
    return f"{'ok' if result.is_good else 'failed':6}  {entry.client}: {entry.name} → {entry.target}: {result.said}"


def _print(lines: Sequence[str]) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


async def _look(patience: float, sink: StderrSink) -> list[_Result]:
    """Test every entry; return the results in the order of the entries."""
    room = asyncio.Semaphore(_AT_ONCE)

    async def look(entry: OwnEntry) -> _Result:
        async with room:
            return await _test(entry, patience, sink)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(look(entry)) for entry in own_entries(Machine.ours())]
    return [task.result() for task in tasks]


async def _test(entry: OwnEntry, patience: float, sink: StderrSink) -> _Result:
    """Start an entry's command with the environment that a client gives it, and test its server."""
    output = ChildOutput(entry.name, sink, entry.secrets)
    settings = DoctorSettings(
        target=entry.command,
        env=child_environment(entry.env),
        timeout=patience,
        secrets=entry.secrets,
    )
    try:
        await output.open()
        examination = Examination(settings, output)
        await examination.run()
    except (CheckFailed, ConfigError) as exc:
        return _Result(entry, mask_secrets(str(exc), entry.secrets), is_good=False)
    finally:
        output.close()
    found = examination.found
    tools = found.lists.get("tools")
    count = f", {len(tools.names)} tool{'s' if len(tools.names) != 1 else ''}" if tools is not None else ""
    return _Result(entry, f"{found.server or 'a server without a name'}{count}", is_good=True)
