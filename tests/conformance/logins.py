"""The scenarios of authorization: `mcp-relay`, `mcp-relay as mcp-remote`, and on demand mcp-remote itself beside them.

The runner is the server and the authorization server. One client (`clients/client_login.py`) starts a bridge on stdio
and demands an answer for each request; the bridge logs in. The person is a program that opens the address and agrees.
"""

from __future__ import annotations

import asyncio
import fnmatch
import json
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests import peers

from . import processes, runner
from .columns import ERAS
from .verdicts import Verdict

EXTENSION = "extension"
# Not in the runner's lists of a revision: it names them only without one.
OF_EXTENSION = ("auth/client-credentials-basic", "auth/client-credentials-jwt")
BESIDE = "mcp-remote"
CLIENT = processes.CLIENTS / "client_login.py"
BROWSER = processes.CLIENTS / "browser.py"
# What a bridge has no option for, and so cannot be asked to do.
CANNOT = {("as mcp-remote", "auth/client-credentials-jwt"), (BESIDE, "auth/client-credentials-jwt")}


def bridges(*, is_beside: bool) -> dict[str, list[str]]:
    """Return the bridges by name, each as an argv."""
    found = {"mcp-relay": processes.RELAY, "as mcp-remote": [*processes.RELAY, "as", "mcp-remote"]}
    return {**found, **({BESIDE: peers.mcp_remote()} if is_beside else {})}


@dataclass(slots=True)
class Logins:
    """The verdicts of one revision, by bridge and scenario."""

    era: str
    scenarios: list[str]
    verdicts: dict[str, dict[str, Verdict]] = field(default_factory=dict)


async def test(folder: Path, only: str, era: str | None, slots: asyncio.Semaphore, *, is_beside: bool) -> list[Logins]:
    """Run the scenarios that match ``login/BRIDGE/SCENARIO``."""
    found = []
    for revision in (era,) if era else (*ERAS, EXTENSION):
        listed = list(OF_EXTENSION) if revision == EXTENSION else await _listed(revision, folder)
        found.append(Logins(revision, listed))
    async with asyncio.TaskGroup() as tasks:
        for logins in found:
            for name, argv in bridges(is_beside=is_beside).items():
                wanted = [
                    one for one in logins.scenarios
                    if (name, one) not in CANNOT and fnmatch.fnmatchcase(f"login/{name}/{one}", only)
                ]  # fmt: skip
                if wanted:
                    place = folder / "login" / f"{name.replace(' ', '-')}-{logins.era}"
                    tasks.create_task(_column(logins, name, argv, wanted, place, slots), name=f"login {name}")
    return [logins for logins in found if logins.verdicts]


async def _listed(era: str, folder: Path) -> list[str]:
    listed = await runner.list_all("client", era, folder)
    return [name for name in listed if name.startswith("auth/")]


async def _column(
    logins: Logins, name: str, argv: list[str], wanted: list[str], place: Path, slots: asyncio.Semaphore
) -> None:
    environment = {
        "BRIDGE": json.dumps(argv),
        "BRIDGE_WORDS": "mcp-relay" if name == "mcp-relay" else "mcp-remote",
        "BRIDGE_SPEAKS": "legacy" if name == BESIDE else "both",
        "CONFORMANCE_BROWSER": f"{sys.executable} {BROWSER} %s",
    }
    place.mkdir(parents=True)
    logins.verdicts[name] = {}
    for scenario in wanted:
        async with slots:
            era = None if logins.era == EXTENSION else logins.era
            command = [sys.executable, str(CLIENT)]
            verdict = await runner.test_client(command, None, era, scenario, place, environment)
        logins.verdicts[name][scenario] = verdict


def lines(found: list[Logins]) -> tuple[list[str], bool]:
    """Make a table for each revision, and name what the relay fails; the second value says whether that is nothing."""
    made, is_good = [], True
    for logins in found:
        width = max(map(len, logins.scenarios))
        made += [f"login, {logins.era}", "  " + " " * width + "".join(f"{name:>15}" for name in logins.verdicts)]
        for scenario in logins.scenarios:
            cells = [_cell(one.get(scenario)) for one in logins.verdicts.values()]
            made.append(f"  {scenario:<{width}}" + "".join(f"{cell:>15}" for cell in cells))
        passed = [f"{sum(one.passed for one in column.values())}/{len(column)}" for column in logins.verdicts.values()]
        made += [f"  {'passed':<{width}}" + "".join(f"{one:>15}" for one in passed), ""]
        for name, column in logins.verdicts.items():
            failed = {scenario: verdict.reason for scenario, verdict in column.items() if not verdict.passed}
            made += [f"FAILS: login {logins.era} {name} {scenario}: {why}" for scenario, why in failed.items()]
            is_good = is_good and (not failed or name == BESIDE)
    return made, is_good


def _cell(verdict: Verdict | None) -> str:
    return "-" if verdict is None else str(len(verdict.succeeded)) if verdict.passed else "FAIL"
