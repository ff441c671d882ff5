"""Draw plots of the results; only this module needs matplotlib, and a run works without it."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.bridges import BRIDGES, Bridge
from bench.cells import IDLE_SESSIONS, IN_FLIGHT, PATHS
from bench.samples import Results

SIZES_SHOWN = (("100B/8", 100), ("result-10kB/8", 10_000), ("result-100kB/8", 100_000), ("result-1MB/8", 1_000_000))


class NoPlots(Exception):
    """Matplotlib is not installed; the text says what to do."""


def _pyplot() -> Any:
    try:
        importlib.import_module("matplotlib").use("Agg")
        return importlib.import_module("matplotlib.pyplot")
    except ImportError:
        raise NoPlots("no plots: matplotlib is not installed (pip install matplotlib)") from None


def _points(
    results: Results, bridge: str, cells: Sequence[tuple[str, float]], figure: str
) -> list[tuple[float, float]]:
    spreads = [(x, results.find_spread(bridge, cell, figure)) for cell, x in cells]
    return [(x, spread.median) for x, spread in spreads if spread and spread.median > 0]


def _style(bridge: str) -> dict[str, Any]:
    # A bridge keeps its colour through all pictures, whoever else is in them.
    colour = f"C{[entry.name for entry in BRIDGES].index(bridge) % 10}"
    if bridge in ("direct", "floor"):
        return {"color": "grey", "linestyle": "--" if bridge == "floor" else ":", "marker": "."}
    return {"color": colour, "marker": "o", "linewidth": 3 if bridge == "mcp-relay" else 1.2}


def _lines(
    pyplot: Any, folder: Path, name: str, labels: tuple[str, str], series: dict[str, list[tuple[float, float]]]
) -> Path:
    figure, axes = pyplot.subplots(figsize=(7.5, 4.8))
    for bridge, points in series.items():
        axes.plot([x for x, _ in points], [y for _, y in points], label=bridge, **_style(bridge))
    axes.set(xscale="log", yscale="log", xlabel=labels[0], ylabel=labels[1], title=name)
    ticks = sorted({x for points in series.values() for x, _ in points})
    axes.set_xticks(ticks, [f"{x:,.0f}" for x in ticks])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    return _save(pyplot, figure, folder, name)


def _save(pyplot: Any, figure: Any, folder: Path, name: str) -> Path:
    path = folder / f"{name.replace(' ', '-').replace(',', '')}.svg"
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    figure.savefig(path.with_suffix(".png"), dpi=110)
    pyplot.close(figure)
    return path


def _memory(pyplot: Any, folder: Path, bridges: Sequence[Bridge], results: Results) -> Path | None:
    figure, axes = pyplot.subplots(figsize=(7.5, 4.8))
    drawn = 0
    for bridge in bridges:
        idle = results.find_spread(bridge.name, "serve/memory/resident", "idle_mib")
        each = results.find_spread(bridge.name, "serve/idle/session", "kib_per_session")
        if idle and each and bridge.name != "direct":
            full = idle.median + IDLE_SESSIONS * each.median / 1024  # two measured ends; the line between is a guess
            axes.plot([0, IDLE_SESSIONS], [idle.median, full], label=bridge.name, **_style(bridge.name))
            drawn += 1
    axes.set(
        yscale="log", xlabel="idle sessions", ylabel="MiB resident, without the children", title="memory by sessions"
    )
    axes.grid(alpha=0.3)
    if drawn:
        axes.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
        return _save(pyplot, figure, folder, "memory by sessions")
    pyplot.close(figure)
    return None


def draw(folder: Path, bridges: Sequence[Bridge], results: Results) -> list[Path]:
    """Draw what there are figures for into `folder`; raises NoPlots."""
    pyplot, drawn = _pyplot(), []
    for path in PATHS:
        for name, labels, cells, figure in (
            (
                f"{path} throughput by concurrency, 100 B",
                ("calls in flight", "calls a second"),
                [(f"{path}/calls/100B/{n}", float(n)) for n in IN_FLIGHT],
                "per_second",
            ),
            (
                f"{path} latency by size, 8 in flight",
                ("bytes of the result", "p50, microseconds"),
                [(f"{path}/calls/{what}", float(size)) for what, size in SIZES_SHOWN],
                "p50_us",
            ),
        ):
            series = {bridge.name: _points(results, bridge.name, cells, figure) for bridge in bridges}
            series = {bridge: points for bridge, points in series.items() if len(points) > 1}
            if series:
                drawn.append(_lines(pyplot, folder, name, labels, series))
    memory = _memory(pyplot, folder, bridges, results)
    return [*drawn, memory] if memory else drawn
