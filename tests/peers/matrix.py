"""Run every client against every server, directly, and print the table that a relay must equal.

By hand: `python tests/peers/matrix.py [--clients N] [client/server/transport ...]`, e.g. `py1/ts/http`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING or __package__:
    from tests.warm_start import Popen, run

    from . import locate
else:  # run as a script
    from subprocess import Popen, run

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from peers import locate

TRANSPORTS = ("stdio", "http", "sse")
ALL = tuple(f"{client}/{server}/{how}" for server in locate.SERVERS for how in TRANSPORTS for client in locate.CLIENTS)
CLIENT_TIMEOUT = 90.0  # a client ends by itself within 60 s


@contextlib.contextmanager
def serving(server: str, transport: str) -> Iterator[list[str]]:
    """Run a server while the block lasts; yields the target as a client wants it on its command line."""
    if transport == "stdio":
        yield ["--", *locate.server_command(server)]
        return
    port = locate.free_port()
    where = {transport: port}
    process = Popen(locate.server_command(server, **where), stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None, "a pipe"
    threading.Thread(target=_pass_complaints_on, args=(process.stderr,), name=f"{server}'s stderr").start()
    try:
        locate.wait_for_port(port)
        yield [f"--{transport}", locate.server_url(**where)]
    finally:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _pass_complaints_on(lines: IO[str]) -> None:
    """Show what a server says on stderr, but for the line that it listens."""
    with lines:
        for line in lines:
            if not line.startswith("listening "):
                sys.stderr.write(line)


def run_client(client: str, target: list[str], *options: str) -> dict[str, Any]:
    """Run one client against a target and return its report; no report at all is a failure too."""
    command = locate.client_command(client, *options, *target)
    done = run(command, stdout=subprocess.PIPE, text=True, timeout=CLIENT_TIMEOUT)
    try:
        report: dict[str, Any] = json.loads(done.stdout)
    except ValueError:
        return {"passed": [], "failed": {"report": f"exit {done.returncode}: {done.stdout!r:.200}"}, "skipped": {}}
    return report


def main() -> int:
    """Print one line per combination; 0 if nothing failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=1, metavar="N", help="whole scenarios at the same time")
    parser.add_argument("what", nargs="*", metavar="client/server/transport", default=ALL)
    options = parser.parse_args()
    failures = 0
    for name in options.what:
        client, server, transport = name.split("/")
        with serving(server, transport) as target:
            report = run_client(client, target, "--clients", str(options.clients))
        failures += len(report["failed"])
        counts = f"{len(report['passed'])} passed, {len(report['failed'])} failed, {len(report['skipped'])} skipped"
        details = json.dumps({**report["failed"], **report["skipped"]}) if report["failed"] or report["skipped"] else ""
        sys.stdout.write(f"{name:16} {report.get('seconds', '?'):>6} s  {counts}  {details}\n")
        sys.stdout.flush()
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
