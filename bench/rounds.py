"""Run each group of cells on bridges A, B and C in turn, and repeat that in the next round.

So a disturbance of the machine affects all bridges, not one.
"""

import sys
import time
from collections.abc import Container, Iterator, Sequence
from dataclasses import replace
from itertools import groupby

from bench.bridges import Bridge
from bench.cells import Cell
from bench.install import InstallationFailed, install, is_installed
from bench.launch import Launcher
from bench.load import Timing
from bench.measure import measure_group
from bench.places import without_folders
from bench.samples import Results, Sample

SHOWN = {
    "per_second": "{:,.0f}/s",
    "p50_us": "p50 {:,.0f} us",
    "p99_us": "p99 {:,.0f} us",
    "added_p50_us": "added p50 {:,.0f} us",
    "first_answer_ms": "first answer {:,.1f} ms",
    "notifications_per_second": "{:,.0f} notifications/s",
    "idle_mib": "idle {:.1f} MiB",
    "peak_mib": "peak {:.0f} MiB",
    "cpu_seconds_per_10k": "{:.2f} CPU s/10k",
    "kib_per_session": "{:.1f} KiB a session",
}


def say(text: str) -> None:
    """Tell the person who waits."""
    print(text, file=sys.stderr, flush=True)


def _tell(sample: Sample, begun: float) -> None:
    shown = [form.format(sample.figures[name]) for name, form in SHOWN.items() if sample.figures.get(name)]
    result = f"FAILED: {sample.failure}" if sample.failure else "  ".join(shown)
    elapsed = time.monotonic() - begun
    say(f"[{elapsed:5.0f} s] round {sample.round}  {sample.cell:34} {sample.bridge:13} {result}")


def _with_added_latency(sample: Sample, results: Results) -> Sample:
    """Take from a latency at a fixed rate what the client and the far end alone need in the same round."""
    for direct in results.samples if sample.figures and "/latency/" in sample.cell else ():
        if (direct.bridge, direct.cell, direct.round) == ("direct", sample.cell, sample.round) and direct.figures:
            added = {f"added_{name}": sample.figures[name] - direct.figures[name] for name in ("p50_us", "p99_us")}
            return replace(sample, figures={**sample.figures, **added})
    return sample


def find_missing(bridges: Sequence[Bridge], launcher: Launcher, *, may_install: bool) -> dict[str, str]:
    """Install what is wanted; return why which bridges cannot take part."""
    missing = {}
    for bridge in bridges:
        if bridge.name == "floor" and not launcher.programs.has("floor_serve"):
            missing[bridge.name] = "the floor needs a C compiler"
        if bridge.installation is None or is_installed(bridge.name, bridge.installation):
            continue
        if not may_install:
            missing[bridge.name] = "not installed (run with --install)"
            say(f"{bridge.name}: {missing[bridge.name]}")
            continue
        say(f"installing {bridge.installation.label}")
        try:
            install(bridge.name, bridge.installation)
        except (InstallationFailed, OSError) as problem:
            missing[bridge.name] = f"could not be installed: {without_folders(str(problem))}"
            say(f"  {missing[bridge.name]}")
    return missing


def run_rounds(
    launcher: Launcher,
    bridges: Sequence[Bridge],
    cells: Sequence[Cell],
    *,
    rows: Container[tuple[str, str]],
    rounds: int,
    timing: Timing,
    missing: dict[str, str],
) -> Results:
    """Measure each of the `rows`, a bridge and a cell by name, `rounds` times; Ctrl-C ends it with what there is.

    A row that failed once is not tried again.
    """
    results, begun = Results(), time.monotonic()
    for bridge in bridges:
        for cell in cells:
            if bridge.name in missing and (bridge.name, cell.name) in rows:
                results.add(Sample(bridge.name, cell.name, 0, failure=missing[bridge.name]))
    try:
        for round_number in range(1, rounds + 1):
            for sample in _one_round(launcher, bridges, cells, rows, timing, results, round_number):
                results.add(sample)
                _tell(sample, begun)
    except KeyboardInterrupt:
        results.is_interrupted = True
        say("interrupted; the report has what was measured so far")
    return results


def _one_round(
    launcher: Launcher,
    bridges: Sequence[Bridge],
    cells: Sequence[Cell],
    rows: Container[tuple[str, str]],
    timing: Timing,
    results: Results,
    round_number: int,
) -> Iterator[Sample]:
    for _, group in groupby(cells, key=lambda cell: cell.group):
        together = list(group)
        for bridge in bridges:
            if not bridge.find_way(together[0].path):
                continue
            asked = [cell for cell in together if (bridge.name, cell.name) in rows]
            wanted = [cell for cell in asked if not results.find_failure(bridge.name, cell.name)]
            for sample in measure_group(launcher, bridge, wanted, timing, round_number):
                yield _with_added_latency(sample, results)
