"""The fenced blocks of the documents.

A block that cannot run carries a mark in the line above it, invisible to readers: ``<!-- not run: why -->``.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["BLOCKS", "PAGES", "ROOT", "Block", "command_lines", "named"]

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "deploy" / "README.md", ROOT / "bench" / "README.md"]
)
_FENCE = re.compile(r"^(?:<!-- not run: (?P<why>[^>]+) -->\n)?```(?P<language>[a-z]*)\n(?P<text>.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """One fenced block."""

    page: str
    line: int
    language: str
    text: str
    why_not: str | None
    """Why the block is not run; None if it is."""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def _blocks_of(path: Path) -> Iterator[Block]:
    text = path.read_text(encoding="utf-8")
    for match in _FENCE.finditer(text):
        line = text.count("\n", 0, match.start("text"))
        yield Block(path.relative_to(ROOT).as_posix(), line, match["language"], match["text"], match["why"])


BLOCKS = [block for path in PAGES for block in _blocks_of(path)]


def named(page: str, language: str) -> list[str]:
    """Return the texts of a page's blocks in one language."""
    return [block.text for block in BLOCKS if (block.page, block.language) == (page, language)]


def command_lines(block: Block) -> Iterator[list[str]]:
    """Yield the words of each command in a block of sh."""
    for line in block.text.replace("\\\n", " ").splitlines():
        if words := shlex.split(line, comments=True):
            yield words
