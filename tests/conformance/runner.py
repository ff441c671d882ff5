"""Run the official conformance runner and read what it writes: one folder with a checks.json for each scenario."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

from tests import peers

from . import processes
from .verdicts import Verdict, judge, one_line

SCENARIO_SECONDS = 20.0  # the slowest takes 4 s on two busy cores
COLUMN_SECONDS = 150.0  # forty scenarios in one process; a column that hangs must not hang the rest
LISTED = re.compile(r"^  - (\S+)", re.MULTILINE)
BROKEN = re.compile(r"^Failed to run scenario (\S+): *(.*)$", re.MULTILINE)
STAMP = re.compile(r"-\d{4}-\d\d-\d\dT[\d-]+Z$")  # what the runner adds to the name of a folder


async def list_scenarios(role: str, era: str, folder: Path) -> list[str]:
    """Ask the runner which scenarios an era has, but for those of authorization: ``logins`` runs them."""
    return [name for name in await list_all(role, era, folder) if not name.startswith("auth/")]


async def list_all(role: str, era: str, folder: Path) -> list[str]:
    """Ask the runner which scenarios an era has."""
    argv = [*peers.conformance_runner(), "list", f"--{role}", "--spec-version", era]
    output, _ = await run(argv, folder / f"list-{role}-{era}.log", {}, SCENARIO_SECONDS)
    return LISTED.findall(output)


async def test_server(url: str, era: str, scenarios: list[str] | None, folder: Path) -> dict[str, Verdict]:
    """Let the runner be the client of the server at the URL, for these scenarios or for all."""
    argv = [*peers.conformance_runner(), "server", "--url", url, "--spec-version", era, "-o", str(folder)]
    argv += ["--timeout", str(int(SCENARIO_SECONDS * 1000))]
    if scenarios is None:
        output, _ = await run([*argv, "--suite", "all"], folder / "runner.log", {}, COLUMN_SECONDS)
    else:
        output = ""
        for name in scenarios:
            log = folder / f"{name}.log"
            output += (await run([*argv, "--scenario", name], log, {}, SCENARIO_SECONDS + 10))[0]
    broken = {name: one_line(why) for name, why in BROKEN.findall(output)}
    return {name: judge([], why) for name, why in broken.items()} | {
        name: judge(checks, broken.get(name)) for name, checks in read_checks(folder, "server-").items()
    }


async def test_client(
    command: list[str],
    relay: list[str] | None,
    era: str | None,
    scenario: str,
    folder: Path,
    more: dict[str, str] | None = None,
) -> Verdict:
    """Let the runner start the client and be its server; with a relay, the client starts that and speaks stdio.

    ``more`` is for the client's environment.
    """
    # The runner splits the command at blanks and gives it to a shell: paths go in by the environment.
    environment = {f"CLIENT_{at}": word for at, word in enumerate(command)}
    environment |= {"RELAY_COMMAND": json.dumps(relay), **(more or {})}
    words = " ".join(f'"$CLIENT_{at}"' for at in range(len(command)))
    argv = [*peers.conformance_runner(), "client", "--command", words, "--scenario", scenario, "-o", str(folder)]
    argv += [*(["--spec-version", era] if era else []), "--timeout", str(int(SCENARIO_SECONDS * 1000))]
    output, code = await run(argv, folder / f"{scenario}.log", environment, SCENARIO_SECONDS + 10)
    checks = read_checks(folder, "").get(scenario, [])
    # The runner fails a client that ended with an error, was too slow, or earned a warning.
    return judge(checks, None if code == 0 else why_failed(output, code))


def why_failed(output: str, code: int | None) -> str:
    """Find in the runner's output why it was not content, beyond its checks."""
    if code is None:
        return "the runner did not end in time"
    told = [line for line in output.splitlines() if re.search(r"CLIENT (TIMED|EXITED)|^ +Warning:|Error", line)]
    return one_line(" | ".join(told[-3:]) or f"the runner ended with {code}")


def read_checks(folder: Path, prefix: str) -> dict[str, list[dict[str, Any]]]:
    """Read the checks of every scenario that wrote some."""
    found = sorted(folder.rglob("checks.json"))  # a name with a slash is a folder in a folder
    names = {one: STAMP.sub("", one.parent.relative_to(folder).as_posix()) for one in found}
    return {
        name.removeprefix(prefix): json.loads(one.read_bytes())
        for one, name in names.items()
        if name.startswith(prefix)
    }


async def run(
    argv: list[str], log: Path, environment: dict[str, str], seconds: float, *, only_stdout: bool = False
) -> tuple[str, int | None]:
    """Run a program to its end; return what it said and its exit code, None if its time was over."""
    code: int | None = None
    log.parent.mkdir(parents=True, exist_ok=True)
    async with processes.running(argv, environment=environment, stdout=asyncio.subprocess.PIPE) as process:
        chunks: dict[asyncio.StreamReader, list[bytes]] = {
            stream: [] for stream in (process.stdout, process.stderr) if stream is not None
        }
        try:
            async with asyncio.timeout(seconds):
                async with asyncio.TaskGroup() as group:
                    for stream, kept in chunks.items():
                        group.create_task(drain(stream, kept), name=f"output of {log.stem}")
                code = await process.wait()
        except TimeoutError:
            pass  # the missing exit code says so
        texts = [b"".join(kept) for kept in chunks.values()]
    log.write_bytes(b"".join(texts))
    said = texts[0] if only_stdout else b"\n".join(texts)
    return said.decode(errors="replace"), code


async def drain(stream: asyncio.StreamReader, kept: list[bytes]) -> None:
    """Keep what a stream gives, until it ends."""
    while chunk := await stream.read(2**16):
        kept.append(chunk)
