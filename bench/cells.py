"""The table of cells that the benchmark measures.

A cell is one row of figures, named `path/kind/what/in-flight`. Cells of one group run one after
another on the same started bridge; each group starts its bridge afresh.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

PATHS = ("serve", "connect-json", "connect-sse", "hop")
SOCKET_PATHS = ("tcp", "websocket")
IN_FLIGHT = (1, 8, 32, 128)
SIZES = {"10kB": 10_000, "100kB": 100_000, "1MB": 1_000_000}
SCALE_SIZES = {**SIZES, "16MiB": 16 * 2**20}
FIXED_RATE = 100  # calls a second: a tenth of what the slowest Python peer can do
SESSIONS = 64
IDLE_SESSIONS = 1000
EMITTED = 100_000  # notifications in all, however many listeners share them

Kind = Literal["calls", "latency", "notify", "sessions", "start", "memory", "idle", "scale"]


@dataclass(frozen=True, slots=True)
class Cell:
    """One thing to measure on one path; `load` is what the load generator is told."""

    path: str
    kind: Kind
    what: str
    load: dict[str, str] = field(default_factory=dict)
    is_quick: bool = False

    @property
    def name(self) -> str:
        """Its name, which `--only` selects by."""
        return f"{self.path}/{self.kind}/{self.what}"

    @property
    def is_one_session(self) -> bool:
        """Whether its path is one session, so that each load needs a bridge of its own."""
        return self.path.startswith("connect") or self.path in SOCKET_PATHS

    @property
    def group(self) -> str:
        """The cells that share a started bridge with it."""
        subject = self.what.rpartition("/")[0] if self.kind == "calls" else self.what.partition("-")[0]
        return f"{self.path}/{self.kind}/{subject}"


def _options(**options: int | str) -> dict[str, str]:
    return {f"--{name.replace('_', '-')}": str(value) for name, value in options.items()}


def _calls(path: str) -> Iterator[Cell]:
    for in_flight in IN_FLIGHT:
        load = _options(in_flight=in_flight, request_size=100, result_size=100)
        quick = in_flight in (1, 32) and path != "connect-sse" or in_flight == 32
        yield Cell(path, "calls", f"100B/{in_flight}", load, is_quick=quick)
    for label, size in SIZES.items():
        for side in ("result", "request"):
            for in_flight in IN_FLIGHT:
                load = _options(in_flight=in_flight, **{f"{side}_size": size})
                quick = path == "serve" and (label, side, in_flight) == ("100kB", "result", 8)
                yield Cell(path, "calls", f"{side}-{label}/{in_flight}", load, is_quick=quick)


def _notifications(path: str) -> Iterator[Cell]:
    for listeners in (1, 100) if path in ("serve", "hop") else (1,):
        load = _options(mode="notify", streams=1, sessions=listeners, in_flight=listeners, count=EMITTED // listeners)
        yield Cell(path, "notify", f"{listeners}", load)


def _sessions(path: str) -> Iterator[Cell]:
    load = _options(in_flight=SESSIONS, sessions=SESSIONS, request_size=100, result_size=100)
    yield Cell(path, "sessions", f"{SESSIONS}", load)
    for what, streams in (("session", 0), ("stream", 1)):
        load = _options(mode="open", sessions=IDLE_SESSIONS, in_flight=8, streams=streams, hold=1)
        yield Cell(path, "idle", what, load)
    for before, more in ((0, 0), (100, 100), (IDLE_SESSIONS, IDLE_SESSIONS - 100)):
        yield Cell(path, "scale", f"idle-{before}-sessions", _options(idle_sessions=more, result_size=100))


def _scale(path: str) -> Iterator[Cell]:
    for label, size in SCALE_SIZES.items():
        for side in ("result", "request"):
            yield Cell(path, "scale", f"{side}-{label}", _options(**{f"{side}_size": size}))


def _path_cells(path: str) -> Iterator[Cell]:
    is_first_answer = path != "connect-sse"
    if is_first_answer:
        yield Cell(path, "start", "first-answer", is_quick=path != "hop")
    yield from _calls(path)
    yield Cell(path, "latency", f"{FIXED_RATE}-a-second", _options(in_flight=4, rate=FIXED_RATE, result_size=100))
    yield Cell(path, "memory", "resident", is_quick=path in ("serve", "connect-json"))
    if path.startswith("connect"):
        # One stdio session cannot be looked at between two loads, so its peak is a cell of its own.
        yield Cell(path, "memory", "peak", _options(in_flight=32, result_size=100_000))
    yield from _notifications(path)
    if path in ("serve", "hop"):
        yield from _sessions(path)
    if is_first_answer:
        yield from _scale(path)


def _socket_cells(path: str) -> Iterator[Cell]:
    """The transport makes the difference to `serve`; what grows with sessions or sizes is seen there."""
    for in_flight in (1, 32):
        yield Cell(path, "calls", f"100B/{in_flight}", _options(in_flight=in_flight, request_size=100, result_size=100))


CELLS: tuple[Cell, ...] = (
    *(cell for path in PATHS for cell in _path_cells(path)),
    *(cell for path in SOCKET_PATHS for cell in _socket_cells(path)),
)
