"""The tests run the lines of docs/migrating.md, and its figures are those of the report."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from relay.app.dropins import TOOLS
from tests.dropins.examples import EXAMPLES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "migrating.md").read_text(encoding="utf-8")
LINES = re.findall(r"^mcp-relay as (.*)$", PAGE, re.MULTILINE)


def _pattern(line: str) -> str:
    """Return what an example is with any port, address and file."""
    parts = re.split(r"\{\{|\}\}|\{\w+\}", line)
    marks = re.findall(r"\{\{|\}\}|\{\w+\}", line)
    between = [re.escape(mark[0]) if len(mark) == 2 else r"[^\s\"]+?" for mark in marks]
    return "".join(re.escape(part) + mark for part, mark in zip(parts, [*between, ""], strict=True))


PATTERNS = [_pattern(example.line) for example in EXAMPLES]


@pytest.mark.parametrize("line", LINES)
def test_a_line_of_the_page_is_an_example_that_is_run(line: str) -> None:
    """With its own ports and addresses in place of the tests'."""
    assert any(re.fullmatch(pattern, line) for pattern in PATTERNS), line


def test_every_tool_is_on_the_page() -> None:
    """With a line, or as another name of one that has some."""
    assert {line.split()[0] for line in LINES} <= set(TOOLS)
    assert all(f"`{name}`" in PAGE for name in TOOLS)
    assert len(LINES) > 40


def test_the_figures_are_those_of_the_report() -> None:
    """Each figure of the page's tables stands in the report, in the row of that bridge."""
    report = (ROOT / "bench" / "results" / "report.md").read_text(encoding="utf-8").replace("**", "")
    rows = re.findall(r"^\| (\S+)[^|]* \| (\S+) \| (\S+) \| (\S+) \|$", PAGE, re.MULTILINE)
    rows = [row for row in rows if re.fullmatch(r"[\d.]+k?", row[1])]
    assert len(rows) == 11
    for bridge, *figures in rows:
        known = [line for line in report.splitlines() if line.startswith(f"| {bridge.lower()} |")]
        for figure in figures:
            exact = [found for line in known for found in re.findall(r"[\d.]+k?", line)]
            assert any(_same(figure, found) for found in exact), (bridge, figure)


def _same(shown: str, found: str) -> bool:
    """Tell whether a figure is shown as it was found, or rounded."""
    if shown == found:
        return True
    if "k" in shown or "k" in found or not re.fullmatch(r"\d+(\.\d+)?", found):
        return False
    digits = len(shown.partition(".")[2])
    return f"{float(found):.{digits}f}" == shown
