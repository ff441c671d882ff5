"""The hooks of mkdocs: add the repository's other pages, rewrite links to them, and fill in what is generated."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parents[2]))

from docs.hooks.addresses import ROOT, files_outside, rewrite_links, site_path
from docs.hooks.reference import PARTS

__all__ = ["on_files", "on_page_markdown"]

_MARK = re.compile(r"<!-- generated: ([\w ]+) -->")


def on_files(files: Files, *, config: Any) -> Files:
    """Add the files outside docs/ that pages link to."""
    for name in files_outside():
        place = site_path(name)
        assert place is not None, "a file that the site shows has a place in it"
        files.append(File.generated(config, place, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, *, page: Page, config: Any, files: Files) -> str:
    """Rewrite the links of a page, and fill in its generated parts."""
    source = Path(page.file.abs_src_path or ROOT / "docs" / page.file.src_uri)
    markdown = rewrite_links(markdown, source.relative_to(ROOT).as_posix())
    return _MARK.sub(lambda match: PARTS[match[1]](), markdown)
