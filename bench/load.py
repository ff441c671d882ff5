"""Run a load generator on a started bridge and read its line of figures.

The generator checks every answer itself. A fault becomes a CellFailed with the reason.
"""

import json
import select
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from bench.places import without_folders

KILL_AFTER = 20.0  # seconds beyond the load generator's own deadlines, should those fail


class CellFailed(Exception):
    """A cell has no figures; the text is the reason that its row shows."""


@dataclass(frozen=True, slots=True)
class Timing:
    """How long a load lasts."""

    seconds: float = 1.0
    warm_up: float = 0.3
    drain: float = 15.0  # for the answers still due at the end; and for the handshakes at the start

    def options(self) -> list[str]:
        """Return it as the load generator's words."""
        return ["--seconds", str(self.seconds), "--warm-up", str(self.warm_up), "--drain", str(self.drain)]

    @property
    def longest(self) -> float:
        """When to give up on the load generator itself."""
        return self.seconds * 2 + self.warm_up + self.drain * 3 + KILL_AFTER


def _read_figures(line: str) -> dict[str, float]:
    try:
        answer = json.loads(line)
    except ValueError:
        raise CellFailed(f"the load generator ended without figures: {without_folders(line).strip()[:200]}") from None
    if not answer.pop("ok"):
        raise CellFailed(without_folders(answer["reason"]))
    return {name: float(value) for name, value in answer.items()}


def _read_line(process: subprocess.Popen[str], timing: Timing, is_gone: Callable[[], bool]) -> str:
    """Wait for the one line that a load generator prints, but not for a bridge that is gone."""
    assert process.stdout is not None
    until = time.monotonic() + timing.longest
    while not select.select([process.stdout], [], [], 0.25)[0]:
        if is_gone():
            # What the load generator noticed itself says more.
            if not select.select([process.stdout], [], [], 1.0)[0]:
                raise CellFailed("the bridge is gone")
        elif time.monotonic() > until:
            raise CellFailed(f"the load generator did not end within {timing.longest:.0f} s")
    return process.stdout.readline()


def run_load(
    words: list[str],
    timing: Timing,
    *,
    pass_fds: tuple[int, ...] = (),
    is_gone: Callable[[], bool],
    while_held: Callable[[], None] | None = None,
) -> dict[str, float]:
    """Run one load; `while_held` is called when it is done but still keeps its connections."""
    with subprocess.Popen(
        words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, pass_fds=pass_fds
    ) as process:
        try:
            figures = _read_figures(_read_line(process, timing, is_gone))
            if while_held is not None:
                while_held()
            return figures
        finally:
            process.kill()
