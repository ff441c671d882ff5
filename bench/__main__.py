"""The command line: select, install, measure, report."""

import argparse
import compileall
import contextlib
import signal
import sys
import tempfile
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path

import relay
from bench.bars import bar_rows
from bench.bridges import BRIDGES, Bridge
from bench.cells import CELLS, Cell
from bench.launch import Launcher, check_ways
from bench.load import Timing
from bench.output import Writer
from bench.places import RESULTS
from bench.programs import prepare_programs
from bench.rounds import find_missing, run_rounds, say

OVERHEAD = 1.2  # seconds around each load: warm-up, drain, and its share of a start
INTERRUPTED = 130  # as a shell says of a program that Ctrl-C has ended
QUICK_BRIDGES = ("direct", "floor", "mcp-relay", "sparfenyuk")


def _parse(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure what an MCP bridge costs: ours, its peers, no bridge, and the least possible.",
        epilog="examples: --quick | --install | --bars | --only mcp-relay --only 'serve/calls/100B/*' --seconds 3",
    )
    parser.add_argument(
        "--only", action="append", default=[], metavar="GLOB", help="bridges or cells by name (repeatable)"
    )
    parser.add_argument("--quick", action="store_true", help="a few cells, four bridges, one round: about a minute")
    parser.add_argument("--bars", action="store_true", help="only what the table of bars compares")
    parser.add_argument("--seconds", type=_seconds, help="length of each load (default 2; quick 1)")
    parser.add_argument("--rounds", type=_rounds, help="how often all of it is done (default 3; quick 1)")
    parser.add_argument("--install", action="store_true", help="install the selected peers that are not installed")
    parser.add_argument("--no-compiler", action="store_true", help="use the plain-Python programs")
    parser.add_argument("--json", metavar="FILE", help="write every sample to FILE (- is stdout)")
    parser.add_argument(
        "--report", metavar="DIR", nargs="?", const=str(RESULTS), help="write the report (default bench/results)"
    )
    parser.add_argument("--list", action="store_true", help="list bridges and cells, and do nothing")
    options = parser.parse_args(words)
    for option, problem in (("--json", _find_fault(options.json)), ("--report", _find_fault_of_folder(options.report))):
        if problem:
            parser.error(f"argument {option}: {problem}")
    return options


def _seconds(text: str) -> float:
    with contextlib.suppress(ValueError):
        if 0.05 <= float(text) <= 3600:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text}: not a number from 0.05 to 3600")


def _rounds(text: str) -> int:
    with contextlib.suppress(ValueError):
        if 1 <= int(text) <= 1000:
            return int(text)
    raise argparse.ArgumentTypeError(f"{text}: not a whole number from 1 to 1000")


def _find_fault(file: str | None) -> str:
    """Say why a file cannot be written: before hours of measuring, not after."""
    if file in (None, "-"):
        return ""
    try:
        open(str(file), "a").close()
    except OSError as problem:
        return f"{file} cannot be written: {problem.strerror}"
    return ""


def _find_fault_of_folder(folder: str | None) -> str:
    if folder is None:
        return ""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return ""
    except OSError as problem:
        return f"{folder} cannot be written to: {problem.strerror}"


def select(patterns: Sequence[str], *, is_quick: bool) -> tuple[list[Bridge], list[Cell]]:
    """Return the bridges and cells that `patterns` name; a kind that no pattern names stays whole."""
    named = [bridge for bridge in BRIDGES if any(fnmatch(bridge.name, pattern) for pattern in patterns)]
    cells = [cell for cell in CELLS if any(fnmatch(cell.name, pattern) for pattern in patterns)]
    for pattern in patterns:
        if not any(fnmatch(name, pattern) for name in [*(b.name for b in BRIDGES), *(c.name for c in CELLS)]):
            raise SystemExit(f"--only {pattern}: no bridge and no cell has such a name (see --list)")
    default_bridges = [bridge for bridge in BRIDGES if not is_quick or bridge.name in QUICK_BRIDGES]
    default_cells = [cell for cell in CELLS if not is_quick or cell.is_quick]
    return named or default_bridges, cells or default_cells


def main(words: Sequence[str]) -> int:
    """Run the harness; 0 also when a bridge failed, because that is a result; 130 if it was interrupted."""
    for name in ("SIGTERM", "SIGHUP"):  # as Ctrl-C: what was started is ended, what was measured is written
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.default_int_handler)
    try:
        return _measure(words)
    except KeyboardInterrupt:
        say("interrupted")
        return INTERRUPTED


def _measure(words: Sequence[str]) -> int:
    options = _parse(words)
    bridges, cells = select(options.only, is_quick=options.quick)
    rows = {(bridge.name, cell.name) for bridge in bridges for cell in cells if bridge.find_way(cell.path)}
    if options.bars:
        rows &= bar_rows()
        bridges = [bridge for bridge in bridges if any(bridge.name == name for name, _ in rows)]
        cells = [cell for cell in cells if any(cell.name == name for _, name in rows)]
    if options.list:
        print(
            "\n".join([*(f"{bridge.name:14} {bridge.title}" for bridge in bridges), "", *(cell.name for cell in cells)])
        )
        return 0
    if not rows:
        raise SystemExit("nothing to measure: none of these bridges has a way for these cells (see --list)")
    check_ways(bridges)
    # An installer leaves bytecode beside each peer; a checkout may have none, which costs 60 ms at every start.
    compileall.compile_dir(Path(relay.__file__).parent, quiet=1)
    programs = prepare_programs(use_compiler=not options.no_compiler)
    say(programs.note)
    launcher = Launcher(programs)
    missing = find_missing(bridges, launcher, may_install=options.install)
    rounds = options.rounds if options.rounds is not None else 1 if options.quick else 3
    timing = Timing(seconds=options.seconds or (1.0 if options.quick else 2.0))
    loads = rounds * len(rows)
    say(f"{loads} measurements, about {loads * (timing.seconds + OVERHEAD) / 60:.0f} minutes")
    results = run_rounds(launcher, bridges, cells, rows=rows, rounds=rounds, timing=timing, missing=missing)
    notes = [programs.note, f"{timing.seconds:g} s each load, {rounds} round(s), interleaved by bridge"]
    writer = Writer(bridges, cells, results, rows=rows, words=words, notes=notes)
    if options.json:
        writer.write_json(options.json)
    if options.report:
        say(writer.write_report(Path(options.report)) or f"report: {options.report}")
    if options.json != "-":
        print(writer.markdown())
    return INTERRUPTED if results.is_interrupted else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
