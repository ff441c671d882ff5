"""Print what was found: scenarios by group, direct beside relayed; then what fails, and why. Pure: it returns lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from .columns import DIRECT, FAILS_DIRECT, Group
from .verdicts import ALLOWED, Verdict, allowed, lost


@dataclass(slots=True)
class Results:
    """The verdicts of one group, by way and scenario."""

    group: Group
    scenarios: list[str]
    is_whole: bool = True  # these are all that the runner has
    verdicts: dict[str, dict[str, Verdict]] = field(default_factory=dict)

    def verdict(self, way: str, scenario: str) -> Verdict | None:
        return self.verdicts.get(way, {}).get(scenario)

    def losses(self) -> Iterator[tuple[str, str, str]]:
        """Give each way and scenario in which something was lost, and what."""
        for way in (one for one in self.group.ways if one != DIRECT):
            for scenario in self.scenarios:
                direct, relayed = self.verdict(DIRECT, scenario), self.verdict(way, scenario)
                if direct is not None and relayed is not None and (what := lost(direct, relayed)):
                    yield way, scenario, what

    def allowances(self) -> Iterator[tuple[str, str, str]]:
        """Give each way and scenario in which a check came out as a note and may, with its name."""
        for way in (one for one in self.group.ways if one != DIRECT):
            for scenario in self.scenarios:
                direct, relayed = self.verdict(DIRECT, scenario), self.verdict(way, scenario)
                if direct is not None and relayed is not None:
                    yield from ((way, scenario, name) for name in allowed(direct, relayed))

    def direct_failures(self) -> Iterator[tuple[str, str, str | None]]:
        """Give each scenario that fails direct, why, and the reason written down beforehand."""
        for scenario, verdict in self.verdicts.get(DIRECT, {}).items():
            if not verdict.passed:
                known = FAILS_DIRECT.get(f"{self.group.role}/{self.group.sdk}/{self.group.era}/{scenario}")
                yield scenario, verdict.reason, known


def detail(role: str, era: str, found: list[Results]) -> list[str]:
    """Make the table of one role and era: a line for each scenario, a column for each SDK and way.

    A cell is the number of checks that succeeded: with "!" if one was lost, with "*" if one is a note and may be.
    """
    columns = [(one, way) for one in found for way in one.group.ways if way in one.verdicts]
    scenarios = list(dict.fromkeys(name for one in found for name in one.scenarios))
    width = max(map(len, scenarios), default=0)
    heads = [[one.group.sdk for one, _ in columns], [way for _, way in columns]]
    lines = [f"{role} mode, {era}"]
    lines += ["  " + " " * width + "".join(f"{word:>9}" for word in head) for head in heads]
    for scenario in scenarios:
        cells = "".join(f"{cell(one, way, scenario):>9}" for one, way in columns)
        lines.append(f"  {scenario:<{width}}{cells}")
    passed = "".join(f"{count(one, way):>9}" for one, way in columns)
    return [*lines, f"  {'passed':<{width}}{passed}", ""]


def cell(results: Results, way: str, scenario: str) -> str:
    """Write one verdict in a few characters."""
    verdict = results.verdict(way, scenario)
    if verdict is None:
        return "-"
    if not verdict.passed:
        return "FAIL"
    direct = results.verdict(DIRECT, scenario)
    if direct is None:
        return str(len(verdict.succeeded))
    mark = "!" if lost(direct, verdict) else "*" if allowed(direct, verdict) else ""
    return f"{len(verdict.succeeded)}{mark}"


def count(results: Results, way: str) -> str:
    """Write how many scenarios passed this way."""
    verdicts = results.verdicts[way].values()
    return f"{sum(one.passed for one in verdicts)}/{len(verdicts)}"


def findings(found: list[Results]) -> tuple[list[str], bool]:
    """Name what fails and why; the second value says whether all is as it should be."""
    lines, is_good = [], True
    for results in found:
        for scenario, why, known in results.direct_failures():
            lines.append(f"fails direct: {results.group.name} {scenario}: {known or 'UNEXPLAINED'} ({why})")
            is_good = is_good and known is not None
        for way, scenario, what in results.losses():
            lines.append(f"LOST: {results.group.name} {way} {scenario}: {what}")
            is_good = False
    for name in {name: None for one in found for _, _, name in one.allowances()}:
        ways = dict.fromkeys(
            f"{one.group.sdk} {way}" for one in found for way, _, found_name in one.allowances() if found_name == name
        )
        lines.append(f"a note instead of a success: {name}: {ALLOWED[name]} ({', '.join(ways)})")
    return lines, is_good
