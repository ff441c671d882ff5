"""The command line: ``python -m bench.flood --door http --kind scalars --size 16M``."""

import argparse
import sys
import tempfile
from fnmatch import fnmatch
from pathlib import Path

from bench.flood.corpus import KINDS, make
from bench.flood.doors import DOORS
from bench.flood.measure import Figures, measure

SIZES = {"K": 2**10, "M": 2**20}


def _size(text: str) -> int:
    return int(text[:-1]) * SIZES[text[-1]] if text[-1:] in SIZES else int(text)


def _parse(words: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.flood", description=sys.modules["bench.flood"].__doc__)
    parser.add_argument("--door", action="append", metavar="GLOB", help="ways in (repeatable; all)")
    parser.add_argument("--kind", action="append", metavar="GLOB", help="messages (repeatable; all)")
    parser.add_argument("--size", action="append", metavar="SIZE", help="of the message (repeatable; 4M and 16M)")
    parser.add_argument("--program", default=f"{sys.executable} -m relay", help="the relay (this one)")
    parser.add_argument("--list", action="store_true", help="list ways in and kinds, and do nothing")
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="keep the best of N: on a busy machine")
    parser.add_argument("--worst", action="store_true", help="print only the worst of each way in, at each size")
    return parser.parse_args(words)


def _chosen(names: dict[str, object], patterns: list[str] | None) -> list[str]:
    return [name for name in names if any(fnmatch(name, pattern) for pattern in patterns or ["*"])]


def main() -> None:
    """Measure what was asked for, and print a line for each."""
    options = _parse()
    doors, kinds = _chosen({**DOORS}, options.door), _chosen({**KINDS}, options.kind)
    if options.list:
        print("doors:", *doors, "\nkinds:", *kinds)
        return
    print(
        f"{'door':20} {'size':>5} {'kind':20} {'wait ms':>8} {'CPU ms':>8} {'beyond MiB':>10}  what came of it",
        flush=True,
    )
    for size in map(_size, options.size or ["4M", "16M"]):
        with tempfile.TemporaryDirectory() as place:
            for door in doors:
                seen: list[tuple[str, Figures]] = []
                for kind in kinds:
                    message, program = make(kind, size), options.program.split()
                    tries = [measure(DOORS[door], message, program, Path(place)) for _ in range(options.repeat)]
                    figures = min(tries, key=lambda one: one.wait_ms)
                    seen.append((kind, figures))
                    if not options.worst:
                        _print(door, size, kind, figures)
                if options.worst:
                    _print(door, size, *max(seen, key=lambda one: one[1].wait_ms))
                    _print(door, size, *max(seen, key=lambda one: one[1].beyond_mib))


def _print(door: str, size: int, kind: str, one: Figures) -> None:
    figures = f"{one.wait_ms:8.1f} {one.cpu_ms:8.1f} {one.beyond_mib:10.1f}"
    print(f"{door:20} {size / 2**20:4.3g}M {kind:20} {figures}  {one.outcome}", flush=True)


if __name__ == "__main__":
    main()
