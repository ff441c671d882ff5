"""Measure one group of cells on one bridge.

Every error becomes the sample's failure, so that no bridge can stop the run.
"""

from collections.abc import Iterator, Sequence
from statistics import median

from bench.bridges import Bridge
from bench.cells import IDLE_SESSIONS, Cell
from bench.launch import Launcher, Stage
from bench.load import CellFailed, Timing
from bench.places import without_folders
from bench.samples import Sample

START_TIMING = Timing(seconds=0.1, warm_up=0, drain=30)  # a Node program on a busy machine may take seconds
STARTS = 3  # in each round
MEMORY_LOADS = ({"--in-flight": "32"}, {"--in-flight": "8", "--result-size": "100000"})


class StartFailed(CellFailed):
    """The bridge gave no first answer."""


def _start(stage: Stage) -> dict[str, float]:
    """Await the first answer; the figures are milliseconds since the bridge was started."""
    try:
        figures = stage.load({"--mode": "first"}, START_TIMING)
    except CellFailed as failure:
        raise StartFailed(str(failure)) from None
    times = {"first_answer_ms": figures["first_answer_at_ns"] - stage.started_ns}
    if figures["listening_at_ns"]:
        times["listening_ms"] = figures["listening_at_ns"] - stage.started_ns
    return {name: ns / 1e6 for name, ns in times.items()}


def _under_load(stage: Stage, cell: Cell, timing: Timing) -> dict[str, float]:
    before = stage.usage()
    figures = stage.load(cell.load, timing)
    after = stage.usage()
    if before and after and figures["all_calls"]:
        # The warm-up's calls and the drained ones cost CPU time too, so they are counted here.
        figures["cpu_seconds_per_10k"] = (after.cpu_seconds - before.cpu_seconds) / figures["all_calls"] * 10_000
        figures["peak_mib"] = after.peak_kib / 1024
    return figures


def _notify(stage: Stage, cell: Cell, timing: Timing) -> dict[str, float]:
    figures = stage.load(cell.load, timing)
    if not figures["notification_seconds"]:
        raise CellFailed("too few notifications to time")
    return {**figures, "notifications_per_second": figures["notifications"] / figures["notification_seconds"]}


def _memory(stage: Stage, cell: Cell, timing: Timing) -> dict[str, float]:
    """Resident memory when idle after the first answer, and the most it ever was under two loads."""
    if cell.what == "peak":
        return {"peak_mib": _under_load(stage, cell, timing).get("peak_mib", 0.0)}
    is_stdio = cell.path.startswith("connect")
    if is_stdio:
        stage.load({"--limit": "1"}, Timing(seconds=0.2, warm_up=0, drain=timing.drain))
    idle = stage.usage()
    if not idle:
        raise CellFailed("this system tells nothing about memory (no /proc)")
    figures = {"idle_mib": idle.resident_kib / 1024, "processes": float(idle.processes)}
    if not is_stdio:
        for load in MEMORY_LOADS:
            stage.load(load, timing)
        after = stage.usage()
        figures["peak_mib"] = after.peak_kib / 1024 if after else 0.0
    return figures


def _idle_sessions(stage: Stage, cell: Cell, timing: Timing) -> dict[str, float]:
    """Memory for each of many idle sessions, the far ends' own left out."""
    before = stage.usage()
    held: list[float] = []

    def look() -> None:
        after = stage.usage()
        if before and after:
            held.append((after.resident_kib - before.resident_kib) / IDLE_SESSIONS)

    stage.load(cell.load, Timing(seconds=60, drain=timing.drain), while_held=look)
    if not held:
        raise CellFailed("this system tells nothing about memory (no /proc)")
    return {"kib_per_session": held[0]}


def _measure_one(stage: Stage, cell: Cell, timing: Timing) -> dict[str, float]:
    match cell.kind:
        case "memory":
            return _memory(stage, cell, timing)
        case "idle":
            return _idle_sessions(stage, cell, timing)
        case "notify":
            return _notify(stage, cell, timing)
        case _:
            return _under_load(stage, cell, timing)


def _start_often(launcher: Launcher, bridge: Bridge, cell: Cell) -> dict[str, float]:
    """Start afresh a few times; the figures are the medians."""
    runs = []
    for _ in range(STARTS):
        with launcher.stage(bridge, cell.path) as stage:
            runs.append(_start(stage))
    return {name: median(run[name] for run in runs) for name in runs[0]}


def measure_group(
    launcher: Launcher, bridge: Bridge, cells: Sequence[Cell], timing: Timing, round_number: int
) -> Iterator[Sample]:
    """Yield a sample for each cell; a bridge that failed one is started again for the next."""
    left = list(cells)
    while left:
        try:
            if left[0].kind == "start":
                yield Sample(bridge.name, left[0].name, round_number, _start_often(launcher, bridge, left[0]))
                left.pop(0)
            else:
                yield from _measure_on_one(launcher, bridge, left, timing, round_number)
        except (CellFailed, OSError) as failure:
            # A bridge that did not even start will not for the rest of the group either.
            failed = len(left) if isinstance(failure, StartFailed) else 1
            for cell in left[:failed]:
                yield Sample(bridge.name, cell.name, round_number, failure=without_folders(str(failure)))
            del left[:failed]


def _measure_on_one(
    launcher: Launcher, bridge: Bridge, left: list[Cell], timing: Timing, round_number: int
) -> Iterator[Sample]:
    path = left[0].path
    with launcher.stage(bridge, path) as stage:
        if not left[0].is_one_session:
            _start(stage)
        while left:
            yield Sample(bridge.name, left[0].name, round_number, _measure_one(stage, left[0], timing))
            if left.pop(0).is_one_session:
                return
