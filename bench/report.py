"""Write the report in Markdown: a table for each kind of cell, with a row for each bridge.

A figure is the median over the rounds. After it come its ratio to mcp-relay's and, if it varies, the spread as ± per
cent: half the distance from the least to the most.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from bench.bars import OURS, bar_lines
from bench.bridges import Bridge
from bench.cells import Cell
from bench.samples import Results


def _short(value: float) -> str:
    if value >= 100_000:
        return f"{value / 1000:,.0f}k"
    if value >= 1000:
        return f"{value / 1000:,.1f}k"
    return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}" if value >= 10 else f"{value:,.2f}"


def _microseconds(value: float) -> str:
    return f"{value / 1000:,.1f} ms" if value >= 10_000 else f"{value:,.0f} us"


def _times(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:,.1f}" if value >= 10 else f"{value:.2g}"


@dataclass(frozen=True, slots=True)
class Column:
    """One figure of one cell."""

    title: str
    cell: Cell
    figure: str
    form: Callable[[float], str] = _short
    has_ratio: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that the Markdown is made of."""

    bridges: Sequence[Bridge]
    cells: Sequence[Cell]
    results: Results
    machine: dict[str, str]
    command: str
    command_lines: dict[str, str]
    notes: Sequence[str]

    def _entry(self, bridge: Bridge, column: Column) -> str:
        spread = self.results.find_spread(bridge.name, column.cell.name, column.figure)
        if spread is None:
            return self._absence(bridge, column.cell)
        text = column.form(spread.median)
        if spread.percent >= 1:
            text += f" ±{spread.percent:.0f}%"
        ours = self.results.find_spread(OURS, column.cell.name, column.figure)
        if column.has_ratio and ours and ours.median and bridge.name != OURS:
            text += f" ({_times(spread.median / ours.median)}×)"
        return text

    def _absence(self, bridge: Bridge, cell: Cell) -> str:
        rows = [one for one in self.results.samples if (one.bridge, one.cell) == (bridge.name, cell.name)]
        if any(one.failure for one in rows):
            return "absent" if any(not one.round for one in rows) else "failed"
        return "–"

    def _table(self, columns: Sequence[Column]) -> Iterator[str]:
        able = [bridge for bridge in self.bridges if bridge.find_way(columns[0].cell.path)]
        yield f"| bridge | {' | '.join(column.title for column in columns)} |"
        yield f"|---|{'---:|' * len(columns)}"
        for bridge in able:
            name = f"**{bridge.name}**" if bridge.name == OURS else bridge.name
            yield f"| {name} | {' | '.join(self._entry(bridge, column) for column in columns)} |"
        yield ""

    def _load_tables(self, path: str, cells: Sequence[Cell]) -> Iterator[str]:
        for frames, group in groupby(cells, key=lambda cell: cell.what.partition("/")[0]):
            row = list(group)
            yield f"### {path}, {frames}, by calls in flight\n"
            in_flight = [cell.what.partition("/")[2] for cell in row]
            yield "Calls a second (× ours):\n"
            yield from self._table(
                [Column(n, cell, "per_second", has_ratio=True) for n, cell in zip(in_flight, row, strict=True)]
            )
            yield "Latency p50 / p99, and CPU seconds for 10,000 calls:\n"
            yield from self._table(
                [
                    Column(f"{n} {title}", cell, figure, form)
                    for n, cell in zip(in_flight, row, strict=True)
                    for title, figure, form in (
                        ("p50", "p50_us", _microseconds),
                        ("p99", "p99_us", _microseconds),
                        ("CPU s", "cpu_seconds_per_10k", _short),
                    )
                ]
            )

    def _other_tables(self, path: str, cells: Sequence[Cell]) -> Iterator[str]:
        for kind, group in groupby(cells, key=lambda cell: cell.kind):
            title, figures = OTHER_KINDS[kind]
            yield f"### {path}, {title}\n"
            yield from self._table(
                [
                    Column(f"{cell.what.replace('-', ' ')}: {label}", cell, figure, form, has_ratio=True)
                    for cell in group
                    for label, figure, form in figures
                    if self._was_seen(cell, figure)
                ]
                or [Column("", cells[0], "none")]
            )

    def _was_seen(self, cell: Cell, figure: str) -> bool:
        return any(self.results.find_spread(bridge.name, cell.name, figure) for bridge in self.bridges)

    def _failures(self) -> Iterator[str]:
        reasons: dict[tuple[str, str], list[str]] = {}
        for sample in self.results.samples:
            if sample.failure:
                reasons.setdefault((sample.bridge, sample.failure), []).append(sample.cell)
        for (bridge, reason), cells in reasons.items():
            shown = ", ".join(cells[:4]) + (f" and {len(cells) - 4} more" if len(cells) > 4 else "")
            yield f"- **{bridge}**: {shown}: `{reason.replace('`', chr(39))}`"

    def lines(self) -> Iterator[str]:
        """Yield the report."""
        yield "# What an MCP bridge costs\n"
        yield f"Made by `{self.command}`. How to read it: [bench/README.md](../README.md).\n"
        yield from (f"- {label}: {text}" for label, text in self.machine.items())
        yield from (f"- {note}" for note in self.notes)
        yield "\n| bridge | version | what | note |\n|---|---|---|---|"
        for bridge in self.bridges:
            label = bridge.version or "–"
            yield f"| {bridge.name} | {label} | {bridge.title} | {bridge.note} |"
        yield ""
        yield "## The bars of mcp-relay, as far as this run shows them\n"
        yield from bar_lines(self.results)
        yield ""
        for path, path_cells in groupby(self.cells, key=lambda cell: cell.path):
            everything = list(path_cells)
            yield f"## {path}\n"
            yield from self._load_tables(path, [cell for cell in everything if cell.kind == "calls"])
            yield from self._other_tables(path, [cell for cell in everything if cell.kind != "calls"])
        yield "## What failed\n"
        yield from list(self._failures()) or ["nothing"]
        yield "\n## Command lines\n"
        yield (
            "`{port}` is a free port of 127.0.0.1, `{url}` the far end's address, `{command}` the program of a far end "
            "on stdio, `{config}` a file with what is shown.\n"
        )
        yield from (f"- {name}: `{words}`" for name, words in self.command_lines.items())


_LATENCY = (("p50", "p50_us", _microseconds), ("p99", "p99_us", _microseconds))
OTHER_KINDS: dict[str, tuple[str, Sequence[tuple[str, str, Callable[[float], str]]]]] = {
    "start": (
        "start-up, milliseconds",
        (("listening", "listening_ms", _short), ("first answer", "first_answer_ms", _short)),
    ),
    "latency": ("latency at a fixed rate", (*_LATENCY, ("added p50", "added_p50_us", _microseconds))),
    "memory": ("resident memory, MiB", (("idle", "idle_mib", _short), ("peak", "peak_mib", _short))),
    "notify": ("notifications a second, by listeners", (("per second", "notifications_per_second", _short),)),
    "sessions": ("64 clients with a session each", (("calls a second", "per_second", _short), *_LATENCY)),
    "idle": ("KiB for an idle session (of 1,000)", (("KiB", "kib_per_session", _short),)),
    "scale": ("how cost grows, 1 in flight", (("p50", "p50_us", _microseconds),)),
}
