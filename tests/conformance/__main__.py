"""Run the conformance suites direct and through the relay: `python -m tests.conformance [--only GLOB] [--era ERA]`.

Exit code 0 if nothing that succeeds direct is lost through the relay, 1 if anything is, 2 for wrong usage.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from pathlib import Path

from tests import peers

from . import inspector, logins, processes, runner, table
from .columns import DIRECT, ERAS, GROUPS, Group
from .table import Results
from .verdicts import Verdict

NOT_RUN = Verdict(trouble="the runner wrote no checks: see its log")
LIMIT_SECONDS = 450.0  # of the whole run; it takes about a third of it on two cores


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument(
        "--only", metavar="GLOB", default="*", help="of role/sdk/way/scenario or login/bridge/scenario, or inspector"
    )
    parser.add_argument("--era", choices=ERAS, help="one era only, and no inspector")
    parser.add_argument("--keep", metavar="DIR", help="keep the runner's results and all logs here")
    parser.add_argument("--beside", action="store_true", help="run mcp-remote's logins, too, beside the relay's")
    parser.add_argument("--jobs", type=int, default=max(2, os.cpu_count() or 2), help="columns at a time")
    options = parser.parse_args()
    try:
        peers.install(*([*peers.PINS] if options.beside else ()))
    except subprocess.CalledProcessError as exc:
        sys.stderr.write(f"conformance: {exc}\n")
        return 1
    folder = Path(options.keep or tempfile.mkdtemp(prefix="conformance-")).resolve()
    began = time.monotonic()
    try:
        is_good = asyncio.run(run(folder, options.only, options.era, options.jobs, is_beside=options.beside))
    except TimeoutError:
        say(f"not finished after {LIMIT_SECONDS:g} s")
        is_good = False
    say(f"{time.monotonic() - began:.0f} s; {'nothing lost' if is_good else 'NOT what it should be'}")
    if options.keep or not is_good:
        say(f"logs: {folder}")
    else:
        shutil.rmtree(folder)
    return 0 if is_good else 1


def say(*lines: str) -> None:
    """Write lines for people."""
    sys.stdout.writelines(f"{line}\n" for line in lines)
    sys.stdout.flush()


async def run(folder: Path, only: str, era: str | None, jobs: int, *, is_beside: bool = False) -> bool:
    """Run every column that is wanted, so many at a time, and print what was found."""
    slots = asyncio.Semaphore(jobs)
    async with asyncio.timeout(LIMIT_SECONDS):
        found = [
            results for group in GROUPS if group.era in (era or ERAS) if (results := await choose(group, only, folder))
        ]
        async with asyncio.TaskGroup() as tasks:
            for results in found:
                for way in results.group.ways:
                    tasks.create_task(run_column(results, way, only, folder, slots), name=f"{results.group.name} {way}")
            inspecting = logging_in = None
            if only == "*" or only.startswith("login"):
                working = logins.test(folder, only, era, slots, is_beside=is_beside)
                logging_in = tasks.create_task(working, name="logins")
            if not found and logging_in is None and only != "inspector":
                raise SystemExit(f"--only {only}: no scenario has such a name")
            if era is None and only in ("*", "inspector"):
                inspecting = tasks.create_task(inspector.compare(folder / "inspector", slots), name="inspector")
    for role, revision in dict.fromkeys((one.group.role, one.group.era) for one in found):
        beside = [one for one in found if (one.group.role, one.group.era) == (role, revision)]
        say(*table.detail(role, revision, beside))
    lines, is_good = table.findings(found)
    if inspecting is not None:
        compared = inspecting.result()
        lines = [*inspector.lines(compared), *lines]
        is_good = is_good and not any(one.lost for one in compared)
    if logging_in is not None:
        of_logins, has_all = logins.lines(logging_in.result())
        lines, is_good = [*of_logins, *lines], is_good and has_all
    say(*lines)
    return is_good


async def choose(group: Group, only: str, folder: Path) -> Results | None:
    """Find the scenarios of a group that are wanted in any way."""
    listed = await runner.list_scenarios(group.role, group.era, folder)
    wanted = [name for name in listed if any(group.wants(way, name, only) for way in group.ways)]
    return Results(group, wanted, is_whole=wanted == listed) if wanted else None


async def run_column(results: Results, way: str, only: str, folder: Path, slots: asyncio.Semaphore) -> None:
    """Run one SDK one way, and note a verdict for each scenario that was wanted."""
    group = results.group
    wanted = [name for name in results.scenarios if group.wants(way, name, only)]
    if not wanted:
        return
    place = folder / group.role / f"{group.sdk}-{group.era}-{way}"
    place.mkdir(parents=True)
    if group.role == "client":
        results.verdicts[way] = {}
        relay = None if way == DIRECT else processes.RELAY
        for name in wanted:
            async with slots:
                command = processes.client_command(group.sdk)
                results.verdicts[way][name] = await runner.test_client(command, relay, group.era, name, place)
        return
    async with slots, AsyncExitStack() as stack:
        url = await open_server(group.sdk, way, place, stack)
        some = None if results.is_whole and wanted == results.scenarios else wanted
        verdicts = await runner.test_server(url, group.era, some, place)
    results.verdicts[way] = {name: verdicts.get(name, NOT_RUN) for name in wanted}


async def open_server(sdk: str, way: str, place: Path, stack: AsyncExitStack) -> str:
    """Start a server, and a relay before it unless the way is direct; return the address for the runner."""
    command = processes.server_command(sdk)
    if way == "stdio":
        # The relay gives its child a short environment; the servers look for their SDKs there.
        told = ["-e", "RELAY_PEERS_ROOT", str(peers.root())]
        relay = [*processes.RELAY, *told, "--port", "0", "--", *command]
        return await stack.enter_async_context(processes.listening(relay, place / "relay.log"))
    option = "--sse" if way == "sse" else "--http"
    url = await stack.enter_async_context(processes.listening([*command, option, "0"], place / "server.log"))
    if way == DIRECT:
        return url
    relay = [*processes.RELAY, "--listen", "http://127.0.0.1:0/mcp", url]
    return await stack.enter_async_context(processes.listening(relay, place / "relay.log"))


if __name__ == "__main__":
    sys.exit(main())
