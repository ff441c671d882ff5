"""How help looks: wrapped to the terminal, with bold headings where there is one."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import textwrap
from collections.abc import Iterator, Sequence

__all__ = ["HelpFormatter", "coloured"]

_HEADING = re.compile(r"^(\S[^\n]*:)$", re.MULTILINE)
_USAGE = re.compile(r"^usage:", re.MULTILINE)
_COLUMN = re.compile(r"\s*\S.*?\s{2,}(?=\S)")
_BOLD, _PLAIN = "\033[1m", "\033[0m"


class HelpFormatter(argparse.HelpFormatter):
    """Wraps paragraphs to the terminal, and the lines of tables and examples below their last column."""

    def __init__(self, prog: str) -> None:
        """Take the width from COLUMNS or the terminal; 80 without either."""
        super().__init__(prog, width=max(40, min(shutil.get_terminal_size().columns, 120)) - 1)

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(line for one in _flowing(text.splitlines()) for line in self._wrapped(indent + one))

    def _wrapped(self, line: str) -> list[str]:
        if len(line) <= self._width:
            return [line]
        column = _COLUMN.match(line)
        hanging = column.end() if column is not None else len(line) - len(line.lstrip()) + 2 * line.startswith(" ")
        if hanging > self._width // 2:
            hanging = 6
        return textwrap.wrap(line, self._width, subsequent_indent=" " * hanging, break_long_words=False)


def _flowing(lines: Sequence[str]) -> Iterator[str]:
    """Yield lines, with those of a paragraph joined into one; headings and indented lines stay."""
    paragraph: list[str] = []
    for line in [*lines, ""]:
        if line and not line.startswith((" ", "usage:")) and not line.endswith(":"):
            paragraph.append(line)
            continue
        if paragraph:
            yield " ".join(paragraph)
            paragraph = []
        yield line


def coloured(text: str) -> str:
    """Return help with bold headings, if stdout is a terminal that wants them (https://no-color.org)."""
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR") or os.environ.get("TERM") in (None, "", "dumb"):
        return text
    bold = _HEADING.sub(rf"{_BOLD}\1{_PLAIN}", text)
    return _USAGE.sub(f"{_BOLD}usage:{_PLAIN}", bold)
