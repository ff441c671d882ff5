"""The results: one sample for each cell, bridge and round, with medians and spread over the rounds."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median


@dataclass(frozen=True, slots=True)
class Sample:
    """The figures of one cell on one bridge in one round, or why there are none."""

    bridge: str
    cell: str
    round: int
    figures: dict[str, float] = field(default_factory=dict)
    failure: str = ""


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over the rounds."""

    median: float
    least: float
    most: float

    @property
    def percent(self) -> float:
        """Half the distance between least and most, in per cent of the median."""
        return 50 * (self.most - self.least) / self.median if self.median else 0.0


class Results:
    """All samples of a run, by bridge and cell."""

    def __init__(self, samples: Iterable[Sample] = ()) -> None:
        self.samples: list[Sample] = list(samples)
        self.is_interrupted = False

    def add(self, sample: Sample) -> None:
        """Keep one more."""
        self.samples.append(sample)

    def find_failure(self, bridge: str, cell: str) -> str:
        """Return why this row has no figures; empty if it has. One wrong round fails the row."""
        return next((s.failure for s in self.samples if (s.bridge, s.cell) == (bridge, cell) and s.failure), "")

    def find_spread(self, bridge: str, cell: str, figure: str) -> Spread | None:
        """Return a figure over the rounds, if this row has it."""
        if self.find_failure(bridge, cell):
            return None
        rows = [s.figures for s in self.samples if (s.bridge, s.cell) == (bridge, cell)]
        values = [row[figure] for row in rows if figure in row]
        return Spread(median(values), min(values), max(values)) if values else None
