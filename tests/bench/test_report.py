"""Medians, ratios, verdicts and the Markdown, from invented figures."""

from __future__ import annotations

import pytest

from bench.__main__ import select
from bench.bars import BARS, bar_lines, bar_rows
from bench.bridges import BRIDGES
from bench.cells import CELLS
from bench.report import Report
from bench.samples import Results, Sample

CALLS = "serve/calls/100B/32"
FIGURES = ("per_second", "p50_us", "first_answer_ms", "idle_mib", "kib_per_session")


def sample(bridge: str, *rates: float, cell: str = CALLS, failure: str = "") -> list[Sample]:
    return [Sample(bridge, cell, number, {"per_second": rate}, failure) for number, rate in enumerate(rates, 1)]


def report(results: Results) -> str:
    bridges = [bridge for bridge in BRIDGES if bridge.name in ("floor", "mcp-relay", "sparfenyuk")]
    cells = [cell for cell in CELLS if cell.name == CALLS]
    made = Report(bridges, cells, results, {"machine": "two cores"}, "python -m bench", {}, [])
    return "\n".join(made.lines())


def test_a_figure_is_the_median_with_half_its_range_as_spread() -> None:
    spread = Results(sample("mcp-relay", 100, 90, 130)).find_spread("mcp-relay", CALLS, "per_second")
    assert spread is not None
    assert (spread.median, spread.least, spread.most, spread.percent) == (100, 90, 130, 20)


def test_one_wrong_round_fails_the_row() -> None:
    results = Results([*sample("sparfenyuk", 100, 110), *sample("sparfenyuk", 90, failure="a wrong answer")])
    assert results.find_spread("sparfenyuk", CALLS, "per_second") is None
    assert results.find_failure("sparfenyuk", CALLS) == "a wrong answer"
    text = report(results)
    assert "| sparfenyuk | failed |" in text
    assert "- **sparfenyuk**: serve/calls/100B/32: `a wrong answer`" in text


def test_the_table_has_medians_spreads_and_ratios_to_ours() -> None:
    results = Results([*sample("mcp-relay", 30_000, 29_000, 31_000), *sample("sparfenyuk", 1500, 1500, 1500)])
    text = report(results)
    assert "| **mcp-relay** | 30.0k ±3% |" in text
    assert "| sparfenyuk | 1.5k (0.05×) |" in text


@pytest.mark.parametrize(
    ("ours", "verdict"),
    [(19_000, "| 19 | **missed** |"), (20_000, "| 20 | aim |")],
)
def test_a_bar_is_missed_or_reached_by_the_ratio_in_one_run(ours: float, verdict: str) -> None:
    results = Results([*sample("mcp-relay", ours), *sample("sparfenyuk", 1000)])
    (line,) = (one for one in bar_lines(results) if "32 in flight, × sparfenyuk" in one and one.startswith("| serve"))
    assert line.endswith(verdict)


def test_a_bar_without_figures_is_not_claimed() -> None:
    assert [line for line in bar_lines(Results()) if not line.startswith("| what") and "---" not in line] == []


def test_the_bars_say_what_they_are_made_of() -> None:
    """Every row of theirs can be measured, and a run of those alone shows every bar."""
    rows = bar_rows()
    ways = {bridge.name: bridge for bridge in BRIDGES}
    cells = {cell.name: cell for cell in CELLS}
    able = {(name, cell) for name, cell in rows if ways[name].find_way(cells[cell].path)}
    assert ("sparfenyuk", CALLS) in able and ("floor", CALLS) in able and ("mcp-remote", CALLS) not in rows
    assert len(able) < len(BRIDGES) * len(CELLS) / 10
    figures = dict.fromkeys(FIGURES, 1.0)
    shown = list(bar_lines(Results([Sample(name, cell, 1, figures) for name, cell in able])))
    assert len(shown) == len(BARS) + 2


def test_only_names_bridges_and_cells_by_glob() -> None:
    bridges, cells = select(["mcp-relay", "serve/calls/100B/*"], is_quick=False)
    assert [bridge.name for bridge in bridges] == ["mcp-relay"]
    assert [cell.what for cell in cells] == ["100B/1", "100B/8", "100B/32", "100B/128"]
    assert select([], is_quick=False) == (list(BRIDGES), list(CELLS))
    with pytest.raises(SystemExit, match="no bridge and no cell"):
        select(["nothing"], is_quick=False)
