"""The hooks of mkdocs: add the repository's other pages, rewrite links to them, and fill in what is generated.

At the end they look at the built pages: none may load anything from elsewhere.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

sys.path.insert(0, str(Path(__file__).parents[2]))

from docs.hooks.addresses import ROOT, files_outside, rewrite_links, site_path
from docs.hooks.reference import PARTS

__all__ = ["on_files", "on_page_markdown", "on_post_build"]

_LOADED = re.compile(
    r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"?(https?:[^\"\s>]+)|<link\b[^>]*\bhref=\"?(https?:[^\"\s>]+)"
)
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


def on_post_build(*, config: Any) -> None:
    """Look for scripts, styles, fonts and pictures of other sites. Raises PluginError."""
    for page in sorted(Path(config["site_dir"]).rglob("*.html")):
        for match in _LOADED.finditer(page.read_text(encoding="utf-8")):
            raise PluginError(f"{page}: loads {match[1] or match[2]}; put a copy of ours into docs/assets")
