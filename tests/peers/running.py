"""Run the scenario of scenario.py from a command line: once or several at a time, and report as one JSON object."""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import sys
import time
import urllib.parse
import uuid
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from . import quick
from .scenario import CHECKS, STEP_TIMEOUT, TERMINATION, CheckFailed, Inbox, Run, Sdk, Target, expect

RUN_TIMEOUT = 50.0  # the whole run ends within 60 s, clean-up included
CHILD_GRACE = 1.8  # the SDKs kill a child after 2 s; a good child leaves by itself when its stdin ends
NAMES = (*CHECKS, TERMINATION)


@dataclass(slots=True)
class Report:
    """What one run found, by the name of the check."""

    passed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    server: str = "?"
    protocol: str = "?"


def main(sdk: Sdk) -> int:
    """Do what the command line says; 0 if nothing failed."""
    quick.spare()
    options = parse(sdk.name)
    if options.each:
        return max((run_target(sdk, options, **json.loads(line)) for line in sys.stdin), default=0)
    return run_target(sdk, options, http=options.http, sse=options.sse, ws=options.ws, command=options.command)


def run_target(
    sdk: Sdk,
    options: argparse.Namespace,
    http: str | None = None,
    sse: str | None = None,
    ws: str | None = None,
    command: Sequence[str] = (),
) -> int:
    """Run the scenario before one target and report; 0 if nothing failed."""
    target = Target(http=http, sse=sse, ws=ws, command=tuple(command))
    began = time.monotonic()
    reports = asyncio.run(run_all(sdk, target, options.only, options.clients))
    report = merge(reports)
    found = {
        "sdk": sdk.name,
        "version": sdk.version,
        "transport": target.transport,
        "server": report.server,
        "protocol": report.protocol,
        "clients": len(reports),
        "seconds": round(time.monotonic() - began, 2),
        "passed": report.passed,
        "failed": report.failed,
        "skipped": report.skipped,
    }
    sys.stdout.write(json.dumps(found) + "\n")
    sys.stdout.flush()
    return 1 if report.failed else 0


def parse(name: str) -> argparse.Namespace:
    """Read the command line: one target, and which checks how many times at once."""
    parser = argparse.ArgumentParser(prog=f"client_{name}.py", description="MCP test client: one scenario, one report")
    parser.add_argument("--http", metavar="URL", help="Streamable HTTP endpoint")
    parser.add_argument("--sse", metavar="URL", help="HTTP+SSE endpoint (2024-11-05)")
    parser.add_argument("--ws", metavar="URL", help="WebSocket endpoint (SDK 1.x)")
    parser.add_argument("--only", metavar="NAME,NAME", help=f"of: {', '.join(NAMES)}")
    parser.add_argument("--clients", type=int, default=1, metavar="N", help="whole scenarios at the same time")
    parser.add_argument("--each", action="store_true", help="read targets from stdin, one JSON object a line")
    parser.add_argument("command", nargs="*", metavar="-- COMMAND ARG", help="a server to start and speak to on stdio")
    options = parser.parse_args()
    if sum(map(bool, (options.http, options.sse, options.ws, options.command, options.each))) != 1:
        parser.error("give exactly one of --http URL, --sse URL, --ws URL, --each, -- COMMAND ARG...")
    options.only = tuple(options.only.split(",")) if options.only else NAMES
    if unknown := set(options.only) - set(NAMES):
        parser.error(f"unknown checks {sorted(unknown)}; known: {', '.join(NAMES)}")
    return options


async def run_all(sdk: Sdk, target: Target, only: tuple[str, ...], clients: int) -> list[Report]:
    """Run that many scenarios at once; each ends by itself within the limit."""
    async with asyncio.TaskGroup() as group:
        runs = [group.create_task(run_bounded(sdk, target, only), name=f"client {at}") for at in range(clients)]
    return [one.result() for one in runs]


async def run_bounded(sdk: Sdk, target: Target, only: tuple[str, ...]) -> Report:
    """Run one scenario; whatever goes wrong outside the checks becomes a failure with its own name."""
    report = Report()
    try:
        async with asyncio.timeout(RUN_TIMEOUT):
            await run_one(sdk, target, only, report)
    except Exception as exc:  # an SDK's own words, often a group of them; unreported, the other clients would die too
        report.failed["session"] = explain(exc)
    return report


async def run_one(sdk: Sdk, target: Target, only: tuple[str, ...], report: Report) -> None:
    """Connect, check, close, and look whether the session is gone."""
    tag = uuid.uuid4().hex
    async with AsyncExitStack() as stack:
        async with asyncio.timeout(STEP_TIMEOUT):
            connection = await stack.enter_async_context(sdk.connect(target, Inbox(), tag))
        report.server = connection.initialized["serverInfo"]["name"]
        report.protocol = connection.initialized["protocolVersion"]
        run = Run(sdk, target, connection, tag)
        for name in (one for one in CHECKS if one in only):
            await run_check(name, run, report)
        session_id = connection.session_id()
        began = time.monotonic()
    if TERMINATION in only:
        await check_termination(target, session_id, time.monotonic() - began, report)


async def run_check(name: str, run: Run, report: Report) -> None:
    """Run one check within its time; note how it ended."""
    try:
        async with asyncio.timeout(STEP_TIMEOUT):
            await CHECKS[name](run)
    except TimeoutError:
        report.failed[name] = f"not finished after {STEP_TIMEOUT:g} s"
    except Exception as exc:  # an SDK's own words; the next checks would not run
        report.failed[name] = explain(exc)
    else:
        report.passed.append(name)


async def check_termination(target: Target, session_id: str | None, seconds: float, report: Report) -> None:
    """Closing ends the session: an HTTP server forgets its id, a child leaves by itself."""
    try:
        if target.sse or target.ws:
            which = "the transport of 2024-11-05" if target.sse else "a WebSocket"
            report.skipped[TERMINATION] = f"{which} has no session termination"
            return
        if target.http:
            expect(session_id is not None, True, "the server gave a session id")
            status = await asyncio.to_thread(ping_status, target.http, session_id or "")
            expect(status, 404, "status for the closed session")
        else:
            expect(seconds < CHILD_GRACE, True, f"the child left by itself ({seconds:.1f} s)")
        report.passed.append(TERMINATION)
    except (CheckFailed, OSError) as exc:
        report.failed[TERMINATION] = explain(exc)


def ping_status(url: str, session_id: str) -> int:
    """Ping in a session that should be gone, without any SDK; return the HTTP status."""
    parts = urllib.parse.urlsplit(url)
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "Mcp-Session-Id": session_id,
        "MCP-Protocol-Version": "2025-06-18",
    }
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=STEP_TIMEOUT)
    try:
        connection.request("POST", parts.path, json.dumps({"jsonrpc": "2.0", "id": 1, "method": "ping"}), headers)
        return connection.getresponse().status
    finally:
        connection.close()


def merge(reports: list[Report]) -> Report:
    """Make one report of many: passed is what passed everywhere, a failure names the client."""
    if len(reports) == 1:
        return reports[0]
    merged = Report(server=reports[0].server, protocol=reports[0].protocol)
    merged.passed = [name for name in NAMES if all(name in one.passed for one in reports)]
    for at, one in enumerate(reports):
        merged.failed |= {f"{name} [client {at}]": reason for name, reason in one.failed.items()}
        merged.skipped |= one.skipped
    return merged


def explain(exc: BaseException) -> str:
    """Say in one line what happened, down to the leaves of a group."""
    if isinstance(exc, BaseExceptionGroup):
        return "; ".join(explain(one) for one in exc.exceptions)
    return f"{type(exc).__name__}: {exc}" if not isinstance(exc, CheckFailed) else str(exc)
