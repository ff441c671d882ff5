"""The bars that mcp-relay must pass, as ratios within one run.

Each bar is a function of the results. A bar without figures reports that, and does not pass.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.samples import Results, Spread

OURS = "mcp-relay"
NATIVE = ("rmcp-proxy", "tbxark", "tower")

Measure = Callable[[Results], float | None]


@dataclass(frozen=True, slots=True)
class Bar:
    """One promise: what is compared, and how much must and shall be reached."""

    title: str
    measure: Measure
    bar: float
    aim: float
    is_at_least: bool = True

    def reaches(self, value: float, wanted: float) -> bool:
        """Tell whether `value` is as good as `wanted`."""
        return value >= wanted if self.is_at_least else value <= wanted


def _median(results: Results, bridge: str, cell: str, figure: str) -> float | None:
    spread = results.find_spread(bridge, cell, figure)
    return spread.median if spread and spread.median else None


def _ratio(over: float | None, under: float | None) -> float | None:
    return over / under if over is not None and under else None


def _against(cell: str, figure: str, *others: str) -> Measure:
    """Ours divided by the best of the others: the most of a rate, the least of anything else."""

    def measure(results: Results) -> float | None:
        values = [value for name in others if (value := _median(results, name, cell, figure)) is not None]
        best = max if figure.endswith("per_second") else min
        return _ratio(_median(results, OURS, cell, figure), best(values)) if values else None

    return measure


def _own(cell: str, figure: str) -> Measure:
    return lambda results: _median(results, OURS, cell, figure)


def _between(over: str, under: str, figure: str, *, relative_to: str | None = None) -> Measure:
    """One of our cells divided by another; with `relative_to`, in units of that bridge's own ratio."""

    def measure(results: Results) -> float | None:
        def growth(name: str) -> float | None:
            return _ratio(_median(results, name, over, figure), _median(results, name, under, figure))

        return _ratio(growth(OURS), growth(relative_to)) if relative_to else growth(OURS)

    return measure


def _with_login(bridge: str) -> Measure:
    """Ours with a login divided by ours without one."""
    cell = "serve/calls/100B/32"
    return lambda results: _ratio(
        _median(results, bridge, cell, "per_second"), _median(results, OURS, cell, "per_second")
    )


def _bars_for_each_path() -> Iterator[Bar]:
    for path in ("serve", "connect-json"):
        start, memory = f"{path}/start/first-answer", f"{path}/memory/resident"
        yield Bar(f"{path}: start-up, × sparfenyuk", _against(start, "first_answer_ms", "sparfenyuk"), 0.6, 0.35, False)
        yield Bar(f"{path}: idle relay, MiB", _own(memory, "idle_mib"), 45, 30, False)
        calls, alone = f"{path}/calls/100B/32", f"{path}/calls/100B/1"
        yield Bar(f"{path}: 32 in flight, × the best native peer", _against(calls, "per_second", *NATIVE), 1, 2)
        yield Bar(f"{path}: p50 alone, × the best native peer", _against(alone, "p50_us", *NATIVE), 1, 0.5, False)
        for side in ("result", "request"):
            cells = (f"{path}/scale/{side}-16MiB", f"{path}/scale/{side}-1MB")
            growth = _between(*cells, "p50_us", relative_to="floor")
            yield Bar(f"{path}: {side} 1 MB to 16 MiB, × the floor's growth", growth, 1.25, 1, False)
    for path in ("serve", "connect-json", "connect-sse"):
        flat = _between(f"{path}/calls/100B/128", f"{path}/calls/100B/32", "per_second")
        yield Bar(f"{path}: 128 in flight, × 32 in flight", flat, 0.9, 1)


_SERVE, _ALONE, _BIG = "serve/calls/100B/32", "serve/calls/100B/1", "serve/calls/result-100kB/8"
_MANY, _NONE = "serve/scale/idle-1000-sessions", "serve/scale/idle-0-sessions"

BARS: tuple[Bar, ...] = (
    Bar("serve: 100 B, 32 in flight, × sparfenyuk", _against(_SERVE, "per_second", "sparfenyuk"), 20, 20),
    Bar("serve: 100 B, 32 in flight, × the floor", _against(_SERVE, "per_second", "floor"), 0.30, 0.5),
    Bar("serve: p50 alone, × sparfenyuk", _against(_ALONE, "p50_us", "sparfenyuk"), 0.2, 0.2, False),
    Bar("serve: p50 alone, × the floor (aim only)", _against(_ALONE, "p50_us", "floor"), float("inf"), 2, False),
    Bar("serve: 100 kB results, × the best of two", _against(_BIG, "per_second", "sparfenyuk", "supergateway"), 5, 5),
    Bar("serve: 100 kB results, × the floor (aim only)", _against(_BIG, "per_second", "floor"), 0, 0.8),
    Bar(
        "connect: 32 in flight, × sparfenyuk",
        _against("connect-json/calls/100B/32", "per_second", "sparfenyuk"),
        20,
        40,
    ),
    Bar("connect, SSE: the same", _against("connect-sse/calls/100B/32", "per_second", "sparfenyuk"), 18, 35),
    Bar("serve: with a static token, × without a login", _with_login("relay-token"), 0.95, 1),
    Bar("serve: with a signed token, × without a login", _with_login("relay-jwt"), 0.9, 1),
    Bar("serve: an idle session, KiB", _own("serve/idle/session", "kib_per_session"), 32, 12, False),
    Bar("serve: p50 with 1,000 idle sessions, × with none", _between(_MANY, _NONE, "p50_us"), 1.1, 1, False),
    *_bars_for_each_path(),
)


class _Needs(Results):
    """Results that have a figure for everything and remember what was looked up."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: set[tuple[str, str]] = set()

    def find_spread(self, bridge: str, cell: str, figure: str) -> Spread | None:
        """Note whose cell a bar is made of."""
        self.rows.add((bridge, cell))
        return Spread(1, 1, 1)


def bar_rows() -> set[tuple[str, str]]:
    """Return the bridges and cells by name, as pairs, whose figures the bars are made of."""
    needs = _Needs()
    for bar in BARS:
        bar.measure(needs)
    return needs.rows


def bar_lines(results: Results) -> Iterator[str]:
    """Yield the Markdown table of bars, without those that this run took no figures for."""
    yield "| what | bar | aim | reached | |"
    yield "|---|---:|---:|---:|---|"
    for bar in BARS:
        value = bar.measure(results)
        if value is None:
            continue
        sign = "≥" if bar.is_at_least else "≤"
        wanted = "–" if bar.bar in (0, float("inf")) else f"{sign} {bar.bar:g}"
        verdict = "aim" if bar.reaches(value, bar.aim) else "bar" if bar.reaches(value, bar.bar) else "**missed**"
        verdict = "not the aim" if wanted == "–" and verdict == "bar" else verdict
        yield f"| {bar.title} | {wanted} | {sign} {bar.aim:g} | {value:.3g} | {verdict} |"
